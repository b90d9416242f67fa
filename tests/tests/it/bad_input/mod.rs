//! What the binary says to bad files: always one line with a code, what is wrong and where; never a panic.

mod bundle;
mod config;
mod genesis;
mod keys;

use std::{fs, path::PathBuf};

use crate::program::run;

/// A founded consortium of two operators, eu-1 and us-1, made by the binary itself, with a configuration for `eu-1-a`.
struct Office {
    folder: tempfile::TempDir,
    genesis: String,
    config: String,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        for name in ["eu-1", "eu-1-a", "us-1", "us-1-a"] {
            done(&["keys", "new", "--out", &file(&format!("{name}.key"))]);
        }
        let operator = |id: &str| format!("id={id},key={}", file(&format!("{id}.key")));
        let node = |id: &str, region: &str, port: u16| {
            let key = file(&format!("{id}-a.key"));
            format!(
                "name={id}-a,operator={id},region={region},key={key},peer=127.0.0.1:7{port},api=http://127.0.0.1:8{port}"
            )
        };
        let genesis = file("genesis.toml");
        done(&[
            "genesis",
            "new",
            "--out",
            &genesis,
            "--name",
            "Two",
            "--region",
            "id=eu",
            "--region",
            "id=us",
            "--operator",
            &operator("eu-1"),
            "--operator",
            &operator("us-1"),
            "--node",
            &node("eu-1", "eu", 101),
            "--node",
            &node("us-1", "us", 102),
        ]);
        for id in ["eu-1", "us-1"] {
            done(&["genesis", "sign", &genesis, "--operator", id, "--key", &file(&format!("{id}.key"))]);
        }
        done(&["genesis", "verify", &genesis]);
        let config = "data-dir = \"data\"\ngenesis = \"genesis.toml\"\nnode = \"eu-1-a\"\nkey-file = \"eu-1-a.key\"\n\
                      api-listen = \"127.0.0.1:8101\"\nmodel-dir = \"model\"\n\n[engine]\nblock-count = 64\n\n\
                      [[tenants]]\nname = \"acme\"\napi-key-hash = \"ab00000000000000000000000000000000000000000000000000000000000000\"\n\
                      regions = [\"eu\"]\n"
            .to_owned();
        Self { genesis: fs::read_to_string(genesis).expect("just written"), config, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn public_key(&self, name: &str) -> String {
        let shown = run(&["keys", "show", &self.file(&format!("{name}.key"))]);
        String::from_utf8_lossy(&shown.stdout).trim().to_owned()
    }

    /// `genesis verify` refuses the document with `old` replaced by `new`, and says `parts`.
    fn genesis_refused(&self, old: &str, new: &str, code: &str, parts: &[&str]) {
        assert!(self.genesis.contains(old), "the document has {old:?}");
        let file = self.file("bad.toml");
        fs::write(&file, self.genesis.replacen(old, new, 1)).expect("our own folder");
        refused(&["genesis", "verify", &file], code, &[parts, &[file.as_str()]].concat());
    }

    /// `node run` refuses the configuration with `old` replaced by `new`, and says `parts` and the line of `new`.
    fn config_refused(&self, old: &str, new: &str, code: &str, parts: &[&str]) {
        assert!(self.config.contains(old), "the configuration has {old:?}");
        let (file, text) = (self.file("bad-node.toml"), self.config.replacen(old, new, 1));
        let line = 1 + text.find(new).map_or(0, |at| text[..at].matches('\n').count());
        fs::write(&file, text).expect("our own folder");
        refused(&["node", "run", "--config", &file], code, &[parts, &[&format!("{file}:{line}: ")]].concat());
        assert!(!self.path("data").exists(), "a refused configuration creates nothing");
    }
}

fn done(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Exit status 1, nothing on standard output, one line on standard error with the code and all of `parts`.
fn refused(arguments: &[&str], code: &str, parts: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with(&format!("error[{code}]: ")), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

#[test]
fn with_json_a_refusal_is_one_object_on_standard_error() {
    let office = Office::new();
    let missing = office.file("no-such.toml");
    let output = run(&["--json", "genesis", "verify", &missing]);
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((output.status.code(), &said["code"], &said["detail"]), (Some(1), &"N-150".into(), &missing.into()));
    assert!(output.stdout.is_empty());
}
