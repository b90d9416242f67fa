use super::*;
use crate::digest::to_hex;

/// PASERK's test vectors for `k4.secret-pw` (paseto-standard/test-vectors).
const VECTORS: [(&str, u64, u32); 2] = [
    (
        concat!(
            "k4.secret-pw.Stkwnh1lHUA7p3t2GDRxdQAAAAAEAAAAAAAAAgAAAAEUtfYRjsLAnE5hGX0Ni8H_W2XdVz5laZ9MdByIYgnDQnXEEx7NyXzB",
            "HhKdNVa12XhSLNTNMLuSo5kDMsJUHlEMt8yIE-F7GMDvBXTFvNFniK1Ao0TreYqIYTSKfIvfcZhwiWuHqFGddVhOvTrNt8zi53IeF-g089U"
        ),
        64 << 10,
        2,
    ),
    (
        concat!(
            "k4.secret-pw.8SqqKhga2erPtJdHMtSD3QAAAAAQAAAAAAAAAwAAAAFgsqMCqzX86kHsjfVlP05h7FBHA-438QAYiiTY4IhpGLDnZLmxLrB4",
            "A6P_cC_o2zZR_kxzf5NgsmrsAe-FgrI4e0zd2FhVC3G9d6huc8aKqe-wcUSTLpQsCFTnkuVHM2_sIXQaPoKQl14g-ZjmGEMjtVXiDX6Tb2k"
        ),
        256 << 10,
        3,
    ),
];
const SEED: &str = "707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f";
const PUBLIC: &str = "1ce56a48c82ff99162a14bc544612674e5d61fb9317e65d4055780fdbcb4dc35";

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).expect("one line")
}

fn parse(text: &str) -> WrappedKey {
    text.parse().expect("a wrapped key")
}

/// Gives out the bytes of `parts`, in order.
fn given(parts: &[&[u8]]) -> impl FnMut(&mut [u8]) {
    let mut bytes = parts.concat().into_iter();
    move |out: &mut [u8]| out.fill_with(|| bytes.next().expect("as many as are drawn"))
}

/// Wrapped so that a test can try many passphrases.
fn cheap() -> (SecretKey, WrappedKey) {
    let (key, work) = (SecretKey::from_seed(&[0xA7; 32]), Work::new(8, 1).expect("the least that Argon2 takes"));
    let wrapped = WrappedKey::wrap(&key, &passphrase("horse"), work, &mut |bytes: &mut [u8]| bytes.fill(3));
    (key, wrapped.expect("8 KiB"))
}

#[test]
fn the_test_vectors_of_paserk_open_and_come_out_again() {
    for (text, memory_kib, passes) in VECTORS {
        let (wrapped, passphrase) = (parse(text), passphrase("correct horse battery staple"));
        assert_eq!(Work::new(memory_kib, passes), Ok(wrapped.work()));
        let key = wrapped.open(&passphrase).expect("its passphrase");
        assert_eq!((to_hex(key.seed().as_ref()), key.public_key().to_string()), (SEED.into(), PUBLIC.into()));
        let again = WrappedKey::wrap(&key, &passphrase, wrapped.work(), &mut given(&[&wrapped.salt, &wrapped.nonce]));
        assert_eq!(again.expect("256 MiB").to_string(), text);
    }
    assert_eq!(parse(VECTORS[1].0).work(), Work::MODERATE);
}

#[test]
fn another_passphrase_opens_nothing() {
    let (key, wrapped) = cheap();
    assert_eq!(wrapped.open(&passphrase("horse")).map(|key| key.public_key()), Ok(key.public_key()));
    for other in ["Horse", "horse ", "hors", "horse\u{301}"] {
        assert_eq!(wrapped.open(&passphrase(other)).map(|_| ()), Err(Refusal::PassphraseWrong), "{other}");
    }
}

/// Each bit of each byte of the text. Work that grew beyond the limits is refused before it is done.
#[test]
fn a_wrapped_key_with_one_flipped_bit_is_refused() {
    let (_, wrapped) = cheap();
    let text = wrapped.to_string();
    let mut read = 0;
    for (at, bit) in (0..text.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1 << bit;
        let Ok(Ok(flipped)) = std::str::from_utf8(&bytes).map(WrappedKey::from_str) else { continue };
        assert_eq!(
            flipped.open(&passphrase("horse")).map(|_| ()),
            Err(Refusal::PassphraseWrong),
            "byte {at}, bit {bit}"
        );
        read += 1;
    }
    assert!(read > 500, "{read} texts were read and opened nothing");
}

#[test]
fn a_text_that_is_read_is_written_again_as_it_was() {
    let text = cheap().1.to_string();
    assert_eq!(text.len(), TEXT_BYTES);
    assert_eq!(parse(&text).to_string(), text);
    let last = format!("{}B", &text[..text.len() - 1]);
    for other in [&text[1..], &text[..text.len() - 1], &format!("{text}A"), &format!("{text}="), &last, ""] {
        assert!(matches!(other.parse::<WrappedKey>(), Err(Refusal::WrappedKeyMalformed { .. })), "{other}");
    }
}

#[test]
fn a_text_that_asks_for_hours_or_gigabytes_is_refused_unread() {
    let asking = |memory: u64, passes: u32, lanes: u32| {
        let (_, wrapped) = cheap();
        let mut bytes = wrapped.bytes();
        bytes[16..24].copy_from_slice(&memory.to_be_bytes());
        bytes[24..28].copy_from_slice(&passes.to_be_bytes());
        bytes[28..32].copy_from_slice(&lanes.to_be_bytes());
        format!("{HEADER}{}", URL_SAFE_NO_PAD.encode(bytes)).parse::<WrappedKey>().map(|wrapped| wrapped.work())
    };
    const GIB: u64 = 1 << 30;
    assert_eq!(asking(GIB, 4, 1), Work::new(1 << 20, 4));
    for (memory, passes) in [(GIB, 5), (GIB + 1024, 1), (u64::MAX - 1023, 1), (1 << 20, 4097), (8192, u32::MAX)] {
        assert_eq!(asking(memory, passes, 1), Err(Refusal::WorkTooGreat { memory_kib: memory / 1024, passes }));
    }
    for (memory, passes, lanes) in [(8192, 1, 0), (8192, 1, 2), (8193, 1, 1), (7168, 1, 1), (8192, 0, 1), (0, 1, 1)] {
        assert!(matches!(asking(memory, passes, lanes), Err(Refusal::WrappedKeyMalformed { .. })), "{memory} {passes}");
    }
}

#[test]
fn two_halves_of_different_keys_are_refused() {
    let (_, mut wrapped) = cheap();
    let keys = wrapped.keys(&passphrase("horse")).expect("8 KiB");
    wrapped.sealed[63] ^= 1;
    wrapped.tag = wrapped.authenticated(&keys).finalize().into_bytes().into();
    let refused = wrapped.open(&passphrase("horse")).map(|_| ());
    assert_eq!(refused, Err(Refusal::WrappedKeyMalformed { reason: "the halves are of different keys" }));
}

#[test]
fn neither_the_secret_nor_what_hides_it_is_printed() {
    let (key, wrapped) = cheap();
    let seed = key.seed();
    let refused = wrapped.open(&passphrase("zebra")).map(|_| ()).expect_err("another passphrase");
    let shown = format!("{wrapped:?} {wrapped:#?} {refused:?} {refused}");
    for hidden in [to_hex(&seed[..4]), "167".to_owned(), "zebra".to_owned(), to_hex(&wrapped.sealed[..4])] {
        assert!(!shown.contains(&hidden), "{shown}");
    }
    assert!(!wrapped.to_string().contains(&to_hex(&seed[..4])));
}
