//! Configurations of a node.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{Office, refused};
use crate::program::run;

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
