//! Consortium documents.

use std::fs;

use super::{Office, refused};

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
        let line = office.genesis.lines().find(|line| line.starts_with(&format!("{name} = "))).expect("a parameter");
        line.rsplit(' ').next().expect("a value").to_owned()
    };
    let (smaller, larger) = (value("view_timeout_ms"), value("view_timeout_max_ms"));
    office.genesis_refused(
        &format!("view_timeout_ms = {smaller}"),
        &format!("view_timeout_ms = {larger}"),
        "G-108",
        &["parameters.view_timeout_ms must be less than parameters.view_timeout_max_ms"],
    );
}

#[test]
fn an_address_that_nobody_could_reach_is_refused() {
    Office::new().genesis_refused("127.0.0.1:7101", "0.0.0.0:7101", "G-109", &["nodes[0].peer is \"0.0.0.0:7101\""]);
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
