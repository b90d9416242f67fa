//! Arithmetic with one result everywhere.
//!
//! # Class D3, revision 1
//! - Every number between operations is an IEEE 754 binary32. Weights and the KV cache are bfloat16, widened exactly;
//!   values enter the cache rounded to nearest, ties to even.
//! - **Sum.** A sum of products is cut into chunks of 256 terms along its axis. Each chunk is one chain of fused
//!   multiply-adds from +0, in order; the chunks' sums are added in order, from +0. This is so for matrix products, for
//!   the mean square of RMSNorm, for scores (along the head) and for the weighted sum of values (along the tokens, from
//!   position 0). The denominator of softmax is such a sum with factors of 1.
//! - **Norm.** `(x * (1 / sqrt(mean + eps))) * weight`; division and square root are rounded correctly.
//! - **Attention.** Score = sum * `(1 / sqrt(head_dim))`; p = exp(score - maximum); out = sum(p * v) / sum(p).
//! - **exp** is the polynomial in `elementary`; silu(x) = x / (1 + exp(-x)); the gate is silu(gate) * up.
//! - **Rotation** angles, their cosine and sine are computed in binary64 by `elementary`, without libm, then rounded
//!   to binary32. The first half of a head is turned against the second: `a*c - b*s` and `b*c + a*s`, each as one
//!   product and one fused multiply-add.
//!
//! Rows never mix, so a row's bits depend on its own tokens alone. Vector instructions only compute several outputs at
//! once, each in the order above.

mod cpu;
mod elementary;
mod lanes;
mod packed;
mod rope;

use wallet::digest::{Digest, blake3};

pub(crate) use cpu::{Attention, Cpu, rms_norm};
pub(crate) use elementary::exp;
pub(crate) use packed::PackedMatrix;
pub(crate) use rope::Rope;

/// Terms of a sum in one chain.
pub(crate) const CHUNK: usize = 256;

/// Names what the engine guarantees about its arithmetic: class, revision of the rules above, format of the cache.
/// Sessions move freely between engines with the same id and model.
pub fn numerics_id() -> Digest {
    blake3("batchmind/v1/gpu/numerics", None, &[b"D3", b"revision 1", b"kv bf16"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numerics_id_is_pinned() {
        assert_eq!(numerics_id().to_string(), "8d4d3c3ad6a7fd93e715ab925abf78cfbad9e4cebd3686c53422bf29b65596d8");
    }
}
