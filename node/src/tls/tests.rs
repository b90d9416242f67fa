use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::{
    FILE_BYTES_MAX, client,
    server::{TlsFiles, certificates},
};

/// Writes a new certificate of 127.0.0.1, which nobody else signed, and its key.
pub(crate) fn self_signed(folder: &Path, name: &str) -> TlsFiles {
    written(folder, name, IsCa::NoCa)
}

/// The same, but it says that it is an authority, as those of openssl do if nobody tells it otherwise.
pub(crate) fn authority(folder: &Path, name: &str) -> TlsFiles {
    written(folder, name, IsCa::Ca(BasicConstraints::Unconstrained))
}

fn written(folder: &Path, name: &str, is_ca: IsCa) -> TlsFiles {
    let signing_key = KeyPair::generate().expect("a new key");
    let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a host");
    parameters.is_ca = is_ca;
    let cert = parameters.self_signed(&signing_key).expect("a new certificate");
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    fs::write(&certificate, cert.pem()).expect("our own folder");
    fs::write(&key, signing_key.serialize_pem()).expect("our own folder");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    TlsFiles { certificate, key }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn other(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("other");
    fs::write(&file, text).expect("our own folder");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    file
}

#[test]
fn a_certificate_goes_with_its_own_key_alone() {
    let folder = folder();
    let (one, another) = (self_signed(folder.path(), "one"), self_signed(folder.path(), "another"));
    assert_eq!(one.read().expect("they go together").chain.len(), 1);
    let mixed = TlsFiles { certificate: one.certificate.clone(), key: another.key };
    let fault = mixed.read().expect_err("another certificate's key");
    assert_eq!(fault.code(), "N-118");
    assert!(fault.to_string().contains("one.pem") && fault.to_string().contains("another.key"), "{fault}");
}

#[test]
fn files_that_are_missing_exposed_or_something_else_are_refused_each_with_its_code() {
    let folder = folder();
    let good = self_signed(folder.path(), "good");
    let refused = |files: &TlsFiles| files.read().expect_err("it cannot be used").code();
    let with_certificate = |certificate| TlsFiles { certificate, key: good.key.clone() };
    let with_key = |key| TlsFiles { certificate: good.certificate.clone(), key };
    assert_eq!(refused(&with_certificate(folder.path().join("none"))), "N-100");
    assert_eq!(refused(&with_key(folder.path().join("none"))), "N-120");
    let key = fs::read_to_string(&good.key).expect("our own file");
    assert_eq!(refused(&with_certificate(good.key.clone())), "N-116");
    for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        assert_eq!(refused(&with_certificate(other(folder.path(), text))), "N-116", "{text:?}");
    }
    for text in ["", "no key", &key[..key.len() / 2]] {
        let fault = with_key(other(folder.path(), text)).read().expect_err("no key");
        assert_eq!(fault.code(), "N-117", "{text:?}");
    }
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).expect("our own file");
    assert_eq!(refused(&good), "N-121");
}

#[test]
fn nobody_is_believed_by_a_file_without_an_authority() {
    let folder = folder();
    let refused = |file| client::trusting(&client::Roots::File(file)).expect_err("no authority").code();
    assert_eq!(refused(folder.path().join("none")), "N-150");
    assert_eq!(refused(other(folder.path(), "")), "N-173");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refused(other(folder.path(), no_certificate)), "N-173");
}

#[test]
fn a_file_that_is_too_large_is_refused_and_not_cut() {
    let folder = folder();
    let good = self_signed(folder.path(), "good");
    let certificate = fs::read_to_string(&good.certificate).expect("our own file");
    let comment = "# nothing\n".repeat(FILE_BYTES_MAX / 10);
    let file = other(folder.path(), &format!("{certificate}{comment}{certificate}"));
    let fault = certificates(&file).expect_err("the second would be missing");
    assert_eq!(fault.code(), "N-116");
    assert!(fault.to_string().ends_with("is larger than 1048576 bytes"), "{fault}");

    let key = fs::read_to_string(&good.key).expect("our own file");
    fs::write(&good.key, format!("{key}{comment}{key}")).expect("our own file");
    let fault = good.read().expect_err("the second would be missing");
    assert_eq!(fault.code(), "N-532");
    assert!(fault.to_string().ends_with("is larger than 1048576 bytes"), "{fault}");
}
