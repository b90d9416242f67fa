//! The keys of prefix blocks: one definition for the engine's prefix cache and the scheduler's router.
//!
//! A block's key commits to every token from the start of the session to the block's end, to the model and its
//! numerics, and to the tenant's salt. Two sessions share a key exactly if they may share the block. Without the salt
//! nobody can test which prompt stands behind a key, and no tenant can see another's blocks.

use crate::digest::{Digest, blake3};

/// Tokens in one block. Only full blocks have a key.
pub const BLOCK_TOKENS: usize = 16;

const ROOT_DOMAIN: &str = "batchmind/v1/prefix-root";
const BLOCK_DOMAIN: &str = "batchmind/v1/prefix-block";

/// The parent of a session's first block.
///
/// `salt` is secret and belongs to one tenant; the node derives it from the tenant's key.
pub fn prefix_root(salt: &[u8; 32], model_hash: &Digest, numerics_id: &Digest) -> Digest {
    blake3(ROOT_DOMAIN, Some(salt), &[model_hash.as_bytes(), numerics_id.as_bytes()])
}

/// The key of the block with these tokens that follows `parent`.
///
/// The tokens are absorbed as little-endian 32-bit numbers.
pub fn block_hash(salt: &[u8; 32], parent: &Digest, tokens: &[u32; BLOCK_TOKENS]) -> Digest {
    let mut bytes = [0; BLOCK_TOKENS * 4];
    for (to, token) in bytes.chunks_exact_mut(4).zip(tokens) {
        to.copy_from_slice(&token.to_le_bytes());
    }
    blake3(BLOCK_DOMAIN, Some(salt), &[parent.as_bytes(), &bytes])
}

/// The keys of all full blocks of `tokens`, in order. A partial last block has none.
///
/// `root` comes from [`prefix_root`]. To go on from block n, pass its key as `root` and the tokens that follow it.
pub fn block_hashes(salt: &[u8; 32], root: &Digest, tokens: &[u32]) -> Vec<Digest> {
    let (blocks, _partial) = tokens.as_chunks::<BLOCK_TOKENS>();
    let mut parent = *root;
    blocks
        .iter()
        .map(|block| {
            parent = block_hash(salt, &parent, block);
            parent
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: [u8; 32] = [1; 32];

    fn root() -> Digest {
        prefix_root(&SALT, &Digest([2; 32]), &Digest([3; 32]))
    }

    #[test]
    fn the_definition_is_pinned() {
        // Equal to what the Python package blake3 gives for the same definition.
        let tokens: Vec<u32> = (0..32).collect();
        let keys: Vec<String> = block_hashes(&SALT, &root(), &tokens).iter().map(Digest::to_string).collect();
        assert_eq!(root().to_string(), "e436e33e885526227bf20f0c8fcc348378e481dc8fd3003c26618b50658e6cb9");
        assert_eq!(
            keys,
            [
                "849ec62b8d521d40c4aa261794137c7d19dbd3a0949ed0ee0df690275c27b503",
                "0c519858f02c214f853d26d1a4a6ea52370618ebd5bb984f1c086f52db55b060"
            ]
        );
    }

    #[test]
    fn salt_model_and_numerics_each_separate_the_keys() {
        let (model, numerics) = (Digest([2; 32]), Digest([3; 32]));
        let others = [
            prefix_root(&[9; 32], &model, &numerics),
            prefix_root(&SALT, &Digest([9; 32]), &numerics),
            prefix_root(&SALT, &model, &Digest([9; 32])),
        ];
        for other in others {
            assert_ne!(root(), other);
        }
        assert_ne!(block_hash(&SALT, &root(), &[0; 16]), block_hash(&[9; 32], &root(), &[0; 16]));
    }

    proptest! {
        #[test]
        fn equal_keys_mean_equal_tokens_up_to_the_end_of_the_block(
            a in proptest::collection::vec(0..3_u32, 0..80),
            b in proptest::collection::vec(0..3_u32, 0..80),
        ) {
            let (keys_a, keys_b) = (block_hashes(&SALT, &root(), &a), block_hashes(&SALT, &root(), &b));
            prop_assert_eq!(keys_a.len(), a.len() / BLOCK_TOKENS);
            for (i, (key_a, key_b)) in keys_a.iter().zip(&keys_b).enumerate() {
                let end = (i + 1) * BLOCK_TOKENS;
                prop_assert_eq!(key_a == key_b, a[..end] == b[..end]);
            }
        }

        #[test]
        fn hashing_can_go_on_from_any_block(tokens in proptest::collection::vec(any::<u32>(), 16..80), cut in 1..5_usize) {
            let all = block_hashes(&SALT, &root(), &tokens);
            let cut = cut.min(all.len());
            let rest = block_hashes(&SALT, &all[cut - 1], &tokens[cut * BLOCK_TOKENS..]);
            prop_assert_eq!(&all[cut..], rest.as_slice());
        }
    }
}
