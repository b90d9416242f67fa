//! A node whose key is wrapped under a passphrase runs as before, and what it has in memory stays there.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use crate::{
    consortium::{Running, ask, assert_gapless},
    program::{failed, succeeded},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_runs_on_a_wrapped_key_and_its_secrets_get_into_neither_a_core_dump_nor_swap() {
    let mut cluster = Running::start("warn").await;
    cluster.kill("eu-1").await.expect("it ran");
    let file = |name: &str| cluster.folder().join(name).to_string_lossy().into_owned();
    let (clear, wrapped, passphrase) = (file("eu-1.key"), file("eu-1.wrapped.key"), file("passphrase"));
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(&passphrase);
    opened.expect("our own folder").write_all(b"correct horse\n").expect("our own file");
    let public = succeeded(&["keys", "show", &clear]);
    assert_eq!(succeeded(&["keys", "wrap", &clear, "--out", &wrapped, "--passphrase-file", &passphrase]), public);
    fs::remove_file(&clear).expect("it is not needed any more");

    let config = fs::read_to_string(file("eu-1.toml")).expect("its configuration");
    let config = config.replace("\"eu-1.key\"", "\"eu-1.wrapped.key\"");
    fs::write(file("eu-1.toml"), &config).expect("our own file");
    let check = failed(&["node", "check", "--config", &file("eu-1.toml")]);
    assert_eq!(check, "N-556", "nobody says what the passphrase is");
    fs::write(file("eu-1.toml"), format!("passphrase-file = \"passphrase\"\n{config}")).expect("our own file");
    cluster.restart("eu-1").await.expect("it starts on the wrapped key");
    let mut stream = cluster.tenant("eu-1").ask(&ask("Who has the key?", 20, 7, 0)).await.expect("a session");
    stream.read_to_end().await.expect("it goes to its end");
    assert_gapless(&[&stream]);

    let process = cluster.process_id("eu-1").expect("it runs");
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("it runs");
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("a figure");
    let is_locked = locked.trim() != "0 kB";
    println!("locked: {}", locked.trim());
    assert_ne!(is_locked, cluster.log("eu-1").contains("N-565"), "it is locked, or the log says that it is not");
}
