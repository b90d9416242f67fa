//! Keys at rest: wrapped under a passphrase, and named in a token.

use wallet::{
    identity::SecretKey,
    keystore::{
        passphrase::Passphrase,
        wrapped::{Work, WrappedKey},
    },
};

pub(in super::super) fn wrapped_keys() -> Vec<Vec<u8>> {
    let passphrase = Passphrase::new("correct horse".to_owned().into()).expect("one line");
    let wrap = |(memory_kib, passes)| {
        let work = Work::new(memory_kib, passes).expect("within the limits");
        let key = SecretKey::from_seed(&[7; 32]);
        WrappedKey::wrap(&key, &passphrase, work, &mut |bytes: &mut [u8]| bytes.fill(3)).expect("little memory")
    };
    [(8, 1), (1024, 2)].map(|work| wrap(work).to_string().into_bytes()).to_vec()
}

pub(in super::super) fn token_uris() -> Vec<Vec<u8>> {
    let uris = [
        "pkcs11:token=batchmind;object=eu-1?module-path=/usr/lib/softhsm/libsofthsm2.so",
        "pkcs11:object=eu%2D1%C3%B6;token=a b?module-path=%2Fm.so",
    ];
    uris.map(|uri| uri.as_bytes().to_vec()).to_vec()
}
