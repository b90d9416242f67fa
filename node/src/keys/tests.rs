use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn write(file: &Path, text: &[u8], mode: u32) {
    fs::write(file, text).expect("a writable folder");
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("our own file");
}

#[test]
fn a_created_key_is_read_back_and_its_file_is_for_the_owner_alone() {
    let folder = folder();
    let file = folder.path().join("node.key");
    let key = create(&file).expect("no such file yet");
    assert_eq!(read(&file).expect("just written").public_key(), key.public_key());
    let text = fs::read(&file).expect("readable");
    assert_eq!(text, format!("{}\n", wallet::digest::to_hex(key.seed().as_ref())).into_bytes());
    assert_eq!(fs::metadata(&file).expect("it exists").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = folder();
    let file = folder.path().join("node.key");
    let key = create(&file).expect("no such file yet");
    assert_eq!(create(&file).expect_err("it exists").code(), "N-123");
    assert_eq!(open_or_create(&file, None).expect("it exists").public_key(), key.public_key());
}

#[test]
fn a_file_that_group_or_world_may_use_is_refused() {
    let folder = folder();
    let file = folder.path().join("node.key");
    let text = format!("{}\n", "7".repeat(64));
    for mode in [0o660, 0o604, 0o620, 0o601] {
        write(&file, text.as_bytes(), mode);
        let fault = read(&file).expect_err("others may use it");
        assert_eq!(fault.code(), "N-121");
        assert!(fault.to_string().contains(&format!("{mode:03o}")), "{fault}");
    }
    write(&file, text.as_bytes(), 0o400);
    read(&file).expect("the owner's alone");
}

#[test]
fn the_group_may_read_what_is_roots_and_nothing_else() {
    let folder = folder();
    let file = folder.path().join("credential");
    write(&file, format!("{}\n", "7".repeat(64)).as_bytes(), 0o440);
    let metadata = fs::metadata(&file).expect("just written");
    assert_eq!(read(&file).is_ok(), (metadata.uid(), metadata.gid()) == (0, 0));
}

#[test]
fn anything_but_64_digits_and_a_newline_is_refused_without_being_repeated() {
    let folder = folder();
    let file = folder.path().join("node.key");
    let seven = "7".repeat(64);
    for text in [seven.clone(), format!("{seven}\n\n"), format!("{seven}7\n"), format!("{}g\n", &seven[1..])] {
        write(&file, text.as_bytes(), 0o600);
        let fault = read(&file).expect_err("not a key file");
        assert_eq!(fault.code(), "N-122");
        assert!(!format!("{fault} {fault:?}").contains("7777"), "{fault}");
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).expect("one line")
}

#[test]
fn a_wrapped_key_file_opens_with_its_passphrase_alone() {
    let folder = folder();
    let [file, right, wrong] = ["wrapped.key", "right", "wrong"].map(|name| folder.path().join(name));
    let key = SecretKey::from_seed(&[7; 32]);
    let work = Work::new(8, 1).expect("the least");
    write_wrapped(&file, &key, &passphrase("correct horse"), work).expect("a new file");
    write(&right, b"correct horse\n", 0o600);
    write(&wrong, b"incorrect horse\n", 0o600);
    assert_eq!(open_file(&file, Some(&right)).expect("its passphrase").public_key(), key.public_key());
    let fault = open_file(&file, Some(&wrong)).expect_err("another one");
    assert_eq!(fault.code(), "W-136");
    assert!(!format!("{fault} {fault:?}").contains("horse"), "{fault}");
    assert_eq!(read(&file).expect_err("nobody can be asked").code(), "N-555");
    assert_eq!(fs::metadata(&file).expect("it exists").permissions().mode() & 0o777, 0o600);
    let text = fs::read(&file).expect("readable");
    assert!(!text.windows(8).any(|part| part == b"07070707"), "the key is not in it");
    let again = write_wrapped(&file, &key, &passphrase("correct horse"), work);
    assert_eq!(again.expect_err("it exists").code(), "N-123");
}

#[test]
fn a_damaged_wrapped_key_file_is_refused_before_a_passphrase_is_asked_for() {
    let folder = folder();
    let file = folder.path().join("wrapped.key");
    let work = Work::new(8, 1).expect("the least");
    write_wrapped(&file, &SecretKey::from_seed(&[7; 32]), &passphrase("correct horse"), work).expect("a new file");
    let text = fs::read_to_string(&file).expect("readable");
    let no_passphrase = folder.path().join("none");
    assert_eq!(open_file(&file, Some(&no_passphrase)).expect_err("there is none").code(), "N-120");
    for (damaged, code) in [
        (text.trim_end().to_owned(), "N-122"),
        (format!("{text}\n"), "N-122"),
        (text.replace("k4.", "k2."), "N-122"),
        (format!("{}\n", &text[..100]), "W-134"),
    ] {
        write(&file, damaged.as_bytes(), 0o600);
        assert_eq!(open_file(&file, Some(&no_passphrase)).expect_err("damaged").code(), code, "{damaged}");
    }
}
