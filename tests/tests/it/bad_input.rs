//! What the binary says to bad files: always one line with a code, what is wrong and where; never a panic.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

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

mod genesis {
    use super::*;

    #[test]
    fn a_key_of_two_nodes_is_refused_naming_both_places() {
        let office = Office::new();
        let (first, second) = (office.public_key("eu-1-a"), office.public_key("us-1-a"));
        office.genesis_refused(&second, &first, "G-104", &["nodes[1].key repeats nodes[0].key", &first]);
    }

    #[test]
    fn a_key_of_an_operator_and_of_a_node_is_refused() {
        let office = Office::new();
        let (operator, node) = (office.public_key("eu-1"), office.public_key("us-1-a"));
        office.genesis_refused(&node, &operator, "G-104", &["nodes[1].key repeats operators[0].key"]);
    }

    #[test]
    fn an_address_of_two_nodes_is_refused() {
        Office::new().genesis_refused(
            "127.0.0.1:7102",
            "127.0.0.1:7101",
            "G-104",
            &["nodes[1].peer repeats nodes[0].peer"],
        );
    }

    #[test]
    fn a_region_that_is_not_listed_is_refused_with_its_node() {
        let parts = ["nodes[0].region names region \"mars\""];
        Office::new().genesis_refused("region = \"eu\"", "region = \"mars\"", "G-105", &parts);
    }

    #[test]
    fn an_operator_that_is_not_listed_is_refused_with_its_node() {
        let parts = ["nodes[1].operator names operator \"mallory\""];
        Office::new().genesis_refused("operator = \"us-1\"", "operator = \"mallory\"", "G-106", &parts);
    }

    #[test]
    fn an_operator_that_did_not_sign_is_named() {
        let office = Office::new();
        let signature = office.genesis.lines().find(|line| line.starts_with("us-1 = ")).expect("a signature");
        office.genesis_refused(signature, "", "G-112", &["not signed by us-1"]);
    }

    #[test]
    fn a_document_changed_after_it_was_signed_is_refused_naming_the_operator() {
        Office::new().genesis_refused("name = \"Two\"", "name = \"Three\"", "G-113", &["signatures.eu-1"]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_line_and_column() {
        let office = Office::new();
        let line = 1 + office.genesis.lines().position(|line| line == "name = \"Two\"").expect("the heading's name");
        let place = format!("line {line}, column 1: unknown field `colour`");
        office.genesis_refused("name = \"Two\"", "colour = \"blue\"\nname = \"Two\"", "G-102", &[&place]);
    }

    #[test]
    fn a_missing_field_is_refused_by_name() {
        Office::new().genesis_refused("name = \"Two\"\n", "", "G-102", &["missing field `name`"]);
    }

    #[test]
    fn what_is_not_toml_is_refused_with_line_and_column() {
        Office::new().genesis_refused("[consortium]", "[consortium", "G-101", &["line ", "column ", "not TOML"]);
    }

    #[test]
    fn an_empty_name_is_refused() {
        Office::new().genesis_refused("name = \"Two\"", "name = \" \"", "G-103", &["consortium.name is empty"]);
    }

    #[test]
    fn a_parameter_outside_its_limits_is_refused_with_them() {
        let office = Office::new();
        let line = office.genesis.lines().find(|line| line.starts_with("heartbeat_ms = ")).expect("a parameter");
        office.genesis_refused(line, "heartbeat_ms = 0", "G-107", &["parameters.heartbeat_ms is 0, outside "]);
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused_with_both_names() {
        let office = Office::new();
        let value = |name: &str| {
            let line =
                office.genesis.lines().find(|line| line.starts_with(&format!("{name} = "))).expect("a parameter");
            line.rsplit(' ').next().expect("a value").to_owned()
        };
        let (smaller, larger) = (value("election_timeout_ms_min"), value("election_timeout_ms_max"));
        office.genesis_refused(
            &format!("election_timeout_ms_min = {smaller}"),
            &format!("election_timeout_ms_min = {larger}"),
            "G-108",
            &["parameters.election_timeout_ms_min must be less than parameters.election_timeout_ms_max"],
        );
    }

    #[test]
    fn an_address_that_nobody_could_reach_is_refused() {
        Office::new().genesis_refused(
            "127.0.0.1:7101",
            "0.0.0.0:7101",
            "G-109",
            &["nodes[0].peer is \"0.0.0.0:7101\""],
        );
    }

    #[test]
    fn a_text_with_control_characters_is_refused() {
        Office::new().genesis_refused("name = \"Two\"", "name = \"T\\u0007\"", "G-110", &["consortium.name"]);
    }

    #[test]
    fn a_key_that_is_no_point_of_the_curve_is_refused() {
        let office = Office::new();
        office.genesis_refused(&office.public_key("us-1-a"), &"0".repeat(64), "G-116", &["nodes[1].key", "Ed25519"]);
    }

    #[test]
    fn a_document_beyond_the_limit_is_refused_unread() {
        let office = Office::new();
        let comment = format!("# {}\n[consortium]", "x".repeat(1 << 20));
        office.genesis_refused("[consortium]", &comment, "G-111", &["more than the 1048576 allowed"]);
    }

    #[test]
    fn a_signature_with_somebody_elses_key_is_refused_and_writes_nothing() {
        let office = Office::new();
        let (genesis, foreign) = (office.file("genesis.toml"), office.file("us-1.key"));
        let sign = ["genesis", "sign", &genesis, "--operator", "eu-1", "--key", &foreign];
        refused(&sign, "G-114", &["operator eu-1", &office.public_key("eu-1"), &genesis]);
        assert_eq!(fs::read_to_string(&genesis).expect("it exists"), office.genesis);
    }

    #[test]
    fn a_signature_for_an_operator_that_is_not_listed_is_refused() {
        let office = Office::new();
        let (genesis, key) = (office.file("genesis.toml"), office.file("us-1.key"));
        refused(&["genesis", "sign", &genesis, "--operator", "mallory", "--key", &key], "G-106", &["\"mallory\""]);
    }

    #[test]
    fn a_document_that_exists_is_not_overwritten() {
        let office = Office::new();
        let (genesis, key) = (office.file("genesis.toml"), office.file("eu-1.key"));
        let operator = format!("id=eu-1,key={key}");
        let node =
            format!("name=a,operator=eu-1,region=eu,key={},peer=127.0.0.1:1,api=http://a:1", office.file("us-1.key"));
        let new = ["genesis", "new", "--out", &genesis, "--name", "N", "--region", "id=eu", "--operator", &operator];
        refused(&[&new[..], &["--node", &node]].concat(), "N-152", &[&genesis]);
        assert_eq!(fs::read_to_string(&genesis).expect("it exists"), office.genesis);
    }

    #[test]
    fn a_document_that_is_not_there_or_not_text_is_refused_by_name() {
        let office = Office::new();
        let (missing, binary) = (office.file("no-such.toml"), office.file("binary.toml"));
        refused(&["genesis", "verify", &missing], "N-150", &[&missing]);
        fs::write(&binary, [0xFF, 0xFE, 0]).expect("our own folder");
        refused(&["genesis", "verify", &binary], "N-150", &[&binary]);
    }
}

mod config {
    use super::*;

    #[test]
    fn a_configuration_that_is_not_there_is_refused_by_name() {
        let office = Office::new();
        let missing = office.file("no-such.toml");
        refused(&["node", "run", "--config", &missing], "N-100", &[&missing]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        Office::new().config_refused("[engine]", "colour = \"blue\"\n[engine]", "N-101", &["unknown field `colour`"]);
    }

    #[test]
    fn an_unknown_key_in_a_table_is_refused_with_its_line() {
        Office::new().config_refused("block-count = 64", "blocks = 64", "N-101", &["unknown field `blocks`"]);
    }

    #[test]
    fn a_value_without_a_unit_is_refused_with_its_line() {
        Office::new().config_refused("[engine]", "tick = \"500\"\n[engine]", "N-101", &["500"]);
    }

    #[test]
    fn a_value_outside_its_limits_is_refused_with_them() {
        let parts = ["engine.block-count is 3, outside 16 to 4194304"];
        Office::new().config_refused("block-count = 64", "block-count = 3", "N-109", &parts);
    }

    #[test]
    fn a_node_that_genesis_does_not_list_is_refused() {
        Office::new().config_refused("node = \"eu-1-a\"", "node = \"eu-9-a\"", "N-103", &["no node eu-9-a"]);
    }

    #[test]
    fn a_key_of_another_node_is_refused_with_both_public_halves() {
        let office = Office::new();
        let parts = [office.public_key("eu-1-a"), office.public_key("us-1-a")];
        office.config_refused("\"eu-1-a.key\"", "\"us-1-a.key\"", "N-104", &[&parts[0], &parts[1]]);
    }

    #[test]
    fn a_listener_for_the_world_is_refused_without_tls() {
        Office::new().config_refused("\"127.0.0.1:8101\"", "\"0.0.0.0:8101\"", "N-105", &["only a loopback address"]);
    }

    #[test]
    fn a_tenants_region_that_genesis_does_not_list_is_refused() {
        Office::new().config_refused("regions = [\"eu\"]", "regions = [\"mars\"]", "N-106", &["acme", "\"mars\""]);
    }

    #[test]
    fn a_tenant_without_a_region_is_refused() {
        Office::new().config_refused("regions = [\"eu\"]", "regions = []", "N-107", &["tenant acme allows no region"]);
    }

    #[test]
    fn two_tenants_with_one_api_key_are_refused() {
        let office = Office::new();
        let (_, table) = office.config.split_once("[[tenants]]").expect("a tenant");
        let second = format!("regions = [\"eu\"]\n[[tenants]]{}", table.replace("acme", "other"));
        let file = office.file("bad-node.toml");
        fs::write(&file, office.config.replacen("regions = [\"eu\"]\n", &second, 1)).expect("our own folder");
        let parts = ["tenant other has the api-key-hash of another tenant", &file];
        refused(&["node", "run", "--config", &file], "N-108", &parts);
    }

    #[test]
    fn an_unsigned_consortium_is_refused_with_its_file() {
        let office = Office::new();
        let unsigned: Vec<&str> = office.genesis.lines().filter(|line| !line.starts_with("us-1 = ")).collect();
        fs::write(office.path("genesis.toml"), unsigned.join("\n")).expect("our own folder");
        let file = office.file("node.toml");
        fs::write(&file, &office.config).expect("our own folder");
        let parts = ["not signed by us-1", "[G-112]", "genesis.toml"];
        refused(&["node", "run", "--config", &file], "N-102", &parts);
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let office = Office::new();
        fs::set_permissions(office.path("eu-1-a.key"), fs::Permissions::from_mode(0o644)).expect("our own file");
        let file = office.file("node.toml");
        fs::write(&file, &office.config).expect("our own folder");
        refused(&["node", "run", "--config", &file], "N-121", &["eu-1-a.key", "mode 644"]);
    }

    #[test]
    fn a_folder_without_a_model_is_refused() {
        let office = Office::new();
        let file = office.file("node.toml");
        fs::write(&file, &office.config).expect("our own folder");
        let output = run(&["node", "run", "--config", &file]);
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(last.starts_with("error[") && last.contains("model"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

mod keys {
    use super::*;

    #[test]
    fn a_key_that_is_not_there_is_refused_by_name() {
        let office = Office::new();
        let missing = office.file("no-such.key");
        refused(&["keys", "show", &missing], "N-120", &[&missing]);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_its_mode() {
        let office = Office::new();
        let key = office.file("eu-1.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("our own file");
        refused(&["keys", "show", &key], "N-121", &[&key, "mode 640"]);
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let office = Office::new();
        let key = office.path("broken.key");
        let digits = "c0ffee".repeat(11);
        write_private(&key, digits.as_bytes());
        let file = key.to_string_lossy();
        refused(&["keys", "show", &file], "N-122", &[&file]);
        let said = run(&["keys", "show", &file]);
        assert!(!String::from_utf8_lossy(&said.stderr).contains("c0ffee"));
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let office = Office::new();
        let key = office.file("eu-1.key");
        let before = fs::read(&key).expect("it exists");
        refused(&["keys", "new", "--out", &key], "N-123", &[&key]);
        assert_eq!(fs::read(&key).expect("it exists"), before);
    }

    fn write_private(file: &Path, bytes: &[u8]) {
        fs::write(file, bytes).expect("our own folder");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our own file");
    }
}

mod bundle {
    use super::*;

    const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn what_is_no_bundle_is_refused_at_the_first_check_by_name() {
        let office = Office::new();
        let bundle = office.file("move.bundle");
        for bytes in [&b""[..], b"not a bundle", &[0xFF; 4096]] {
            fs::write(&bundle, bytes).expect("our own folder");
            let verify = ["audit", "verify", &bundle, "--genesis", NOBODY];
            refused(&verify, "N-151", &["the bundle is not proven", "check decode failed", &bundle]);
        }
    }

    #[test]
    fn a_bundle_that_is_not_there_is_refused_by_name() {
        let office = Office::new();
        let bundle = office.file("no-such.bundle");
        refused(&["audit", "verify", &bundle, "--genesis", NOBODY], "N-150", &[&bundle]);
    }

    #[test]
    fn a_genesis_hash_that_is_none_is_a_usage_error() {
        let output = run(&["audit", "verify", "move.bundle", "--genesis", "c0ffee"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("expected 64 hexadecimal digits"), "{said}");
    }
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
