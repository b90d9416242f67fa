//! The document as TOML that people read and edit.

use std::fmt::{self, Write as _};

use crate::{Document, Draft, GenesisError, Position};

/// The longest text that [`parse`] reads.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Reads and checks a document.
///
/// # Errors
/// [`GenesisError`] for the first thing that is wrong, with its place. Signatures are not checked: see
/// [`Document::verify`].
pub fn parse(text: &str) -> Result<Document, GenesisError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(GenesisError::TooLarge {
            what: "bytes of text".to_owned(),
            count: text.len(),
            max: TEXT_BYTES_MAX,
        });
    }
    toml::de::DeTable::parse(text).map_err(|error| {
        let (position, reason) = describe(text, &error);
        GenesisError::Syntax { position, reason }
    })?;
    let draft: Draft = toml::from_str(text).map_err(|error| {
        let (position, reason) = describe(text, &error);
        GenesisError::Form { position, reason }
    })?;
    Document::new(draft)
}

impl Document {
    /// The document as TOML with a comment on each part. [`parse`] reads it back to the same document.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        write(self, &mut text).expect("writing to a string cannot fail");
        text
    }
}

fn write(document: &Document, to: &mut String) -> fmt::Result {
    let draft = document.draft();
    writeln!(to, "# The consortium document. Every operator checks it, signs it, and gets the same file.")?;
    writeln!(to, "# Its hash is the consortium's id: a change to anything but comments, order and signatures")?;
    writeln!(to, "# makes it another consortium, and all operators must sign again.")?;
    writeln!(to, "# Keys and hashes are lower-case hexadecimal.\n")?;

    writeln!(to, "[consortium]\nname = {}", quote(&draft.consortium.name))?;
    writeln!(to, "# Milliseconds since 1970-01-01 UTC.\ncreated_ms = {}\n", draft.consortium.created_ms)?;

    writeln!(to, "# What is left out has its default.\n[parameters]")?;
    for parameter in draft.parameters.list() {
        let (least, most) = (parameter.range.start(), parameter.range.end());
        writeln!(to, "# {}\n# Default {}, from {least} to {most}.", parameter.purpose, parameter.default)?;
        writeln!(to, "{} = {}", parameter.name, parameter.value)?;
    }

    writeln!(to, "\n# Legal regions, which tenants' policies allow or forbid.")?;
    for region in &draft.regions {
        writeln!(to, "[[regions]]\nid = {}\nname = {}\n", quote(region.id.as_str()), quote(&region.name))?;
    }
    writeln!(to, "# Who runs the consortium. `key` (Ed25519) signs this document and belongs on no server.")?;
    for operator in &draft.operators {
        writeln!(to, "[[operators]]\nid = {}\nname = {}", quote(operator.id.as_str()), quote(&operator.name))?;
        writeln!(to, "key = \"{}\"\n", operator.key)?;
    }
    writeln!(
        to,
        "# The nodes, each a validator. The order counts: the first is node 0. `key` (Ed25519) signs entries"
    )?;
    writeln!(to, "# and votes, `peer` is where other nodes reach it, `api` is where clients reach it.")?;
    for node in &draft.nodes {
        writeln!(to, "[[nodes]]\nname = {}\noperator = {}", quote(node.name.as_str()), quote(node.operator.as_str()))?;
        writeln!(to, "region = {}\nkey = \"{}\"", quote(node.region.as_str()), node.key)?;
        writeln!(to, "peer = \"{}\"\napi = {}\n", node.peer, quote(&node.api))?;
    }
    writeln!(
        to,
        "# Who may read the ledger. `key_hash` is the SHA-256 of a random API key: printf %s KEY | sha256sum"
    )?;
    for auditor in &draft.auditors {
        writeln!(to, "[[auditors]]\nname = {}\nkey_hash = \"{}\"\n", quote(&auditor.name), auditor.key_hash)?;
    }
    writeln!(
        to,
        "# Models that the ledger may name. `operator` answers for it. `owner` may be left out: whose model it"
    )?;
    writeln!(
        to,
        "# is, who may read where its batches are, with the random API key of which `key_hash` is the SHA-256."
    )?;
    for model in &draft.models {
        writeln!(to, "[[models]]\nhash = \"{}\"\nname = {}", model.hash, quote(&model.name))?;
        writeln!(to, "operator = {}", quote(model.operator.as_str()))?;
        if let Some(owner) = &model.owner {
            writeln!(to, "owner = {{ name = {}, key_hash = \"{}\" }}", quote(&owner.name), owner.key_hash)?;
        }
        writeln!(to)?;
    }
    writeln!(to, "# One line for each operator, written by `batchmind genesis sign`.\n[signatures]")?;
    for (operator, signature) in &draft.signatures {
        writeln!(to, "{operator} = \"{signature}\"")?;
    }
    Ok(())
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn describe(text: &str, error: &toml::de::Error) -> (Position, String) {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    // A span may not begin on a character's boundary only if the parser is wrong; then the whole text counts.
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let position =
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 };
    (position, error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use proptest::prelude::*;

    /// The refusal of the sample's text after `from` was replaced by `to`, as code and message.
    fn refusal_of(from: &str, to: &str) -> (&'static str, String) {
        let text = sample::signed().to_toml();
        assert!(text.contains(from), "the sample has {from:?}");
        let refusal = parse(&text.replacen(from, to, 1)).expect_err("must be refused");
        (refusal.code(), refusal.to_string())
    }

    fn refused(from: &str, to: &str, code: &str, message: &str) {
        assert_eq!(refusal_of(from, to), (code, message.to_owned()));
    }

    #[test]
    fn text_that_is_not_toml_is_refused_with_its_place() {
        let (code, message) = refusal_of("[consortium]", "[consortium");
        assert_eq!((code, message.starts_with("line 6, column 12: not TOML: ")), ("G-101", true), "{message}");
        let (code, message) = refusal_of("created_ms =", "name = \"twice\"\ncreated_ms =");
        assert_eq!((code, message.as_str()), ("G-101", "line 9, column 1: not TOML: duplicate key"));
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let (code, message) = refusal_of("created_ms =", "colour = 1\ncreated_ms =");
        assert_eq!(code, "G-102");
        assert_eq!(message, "line 9, column 1: unknown field `colour`, expected `name` or `created_ms`");
        let (code, message) = refusal_of("[parameters]", "[parameters]\nblock_interval = 3");
        assert_eq!(code, "G-102");
        assert!(message.starts_with("line 13, column 1: unknown field `block_interval`, expected one of"), "{message}");
        let (code, message) = refusal_of("[consortium]", "[consortiums]\n[consortium]");
        assert_eq!(code, "G-102");
        assert!(message.starts_with("line 6, column 2: unknown field `consortiums`, expected one of"), "{message}");
    }

    #[test]
    fn a_missing_field_is_refused() {
        let (code, message) = refusal_of("region = \"eu\"\n", "");
        assert_eq!(code, "G-102");
        assert!(message.ends_with(": missing field `region`"), "{message}");
    }

    #[test]
    fn bad_hexadecimal_is_refused_with_its_place() {
        let (code, message) = refusal_of("key = \"", "key = \"0x");
        assert_eq!(code, "G-102");
        assert!(message.starts_with("line 72, column 7: expected 64 hexadecimal digits, found \"0x"), "{message}");
    }

    #[test]
    fn a_bad_name_is_refused_with_its_place() {
        let (code, message) = refusal_of("operator = \"eu-1\"", "operator = \"EU 1\"");
        assert_eq!(code, "G-102");
        let rule = "\"EU 1\" is not a name: 1 to 32 lower-case letters, digits and hyphens";
        assert!(message.starts_with("line ") && message.ends_with(rule), "{message}");
    }

    #[test]
    fn empty_lists_and_texts_are_refused() {
        refused("name = \"Sample Consortium\"", "name = \" \"", "G-103", "consortium.name is empty");
        let heading = "[consortium]\nname = \"x\"\ncreated_ms = 1\n";
        let refusal = parse(heading).expect_err("no regions");
        assert_eq!((refusal.code(), refusal.to_string().as_str()), ("G-103", "regions is empty"));
        let refusal = parse(&format!("{heading}[[regions]]\nid = \"eu\"\nname = \"x\"\n")).expect_err("no operators");
        assert_eq!(refusal.to_string(), "operators is empty");
        let mut draft = sample::draft();
        draft.nodes.clear();
        assert_eq!(Document::new(draft).expect_err("no nodes").to_string(), "nodes is empty");
    }

    #[test]
    fn a_key_with_two_roles_is_refused() {
        let (first, second) = (sample::key(11).public_key(), sample::key(12).public_key());
        let message = format!("nodes[1].key repeats nodes[0].key: {first}");
        refused(&second.to_string(), &first.to_string(), "G-104", &message);
        let operator = sample::key(1).public_key();
        let message = format!("nodes[0].key repeats operators[0].key: {operator}");
        refused(&first.to_string(), &operator.to_string(), "G-104", &message);
        let message = format!("operators[1].key repeats operators[0].key: {operator}");
        refused(&sample::key(2).public_key().to_string(), &operator.to_string(), "G-104", &message);
    }

    #[test]
    fn a_key_that_is_no_point_or_a_weak_one_is_refused() {
        let node = sample::key(11).public_key().to_string();
        let (no_point, small_order) = (format!("02{}", "0".repeat(62)), "0".repeat(64));
        for bad in [no_point, small_order] {
            refused(&node, &bad, "G-116", &format!("nodes[0].key is not an Ed25519 public key: {bad}"));
        }
    }

    #[test]
    fn ids_names_and_addresses_are_used_once() {
        refused("id = \"us\"", "id = \"eu\"", "G-104", "regions[1].id repeats regions[0].id: eu");
        refused("id = \"eu-2\"", "id = \"eu-1\"", "G-104", "operators[1].id repeats operators[0].id: eu-1");
        refused("name = \"eu-2-a\"", "name = \"eu-1-a\"", "G-104", "nodes[1].name repeats nodes[0].name: eu-1-a");
        refused("127.0.0.1:7002", "127.0.0.1:7001", "G-104", "nodes[1].peer repeats nodes[0].peer: 127.0.0.1:7001");
        let message = "nodes[1].api repeats nodes[0].api: http://127.0.0.1:8001";
        refused("http://127.0.0.1:8002", "http://127.0.0.1:8001", "G-104", message);
    }

    #[test]
    fn a_models_owner_has_no_auditors_key() {
        let draft = sample::draft();
        let owner = draft.models[0].owner.as_ref().expect("the sample names one").key_hash.to_string();
        let auditor = draft.auditors[0].key_hash.to_string();
        let message = format!("models[0].owner.key_hash repeats auditors[0].key_hash: {auditor}");
        refused(&owner, &auditor, "G-104", &message);
    }

    #[test]
    fn an_unknown_region_is_refused() {
        let message = "nodes[3].region names region \"mars\", which [[regions]] does not list";
        refused("region = \"us\"", "region = \"mars\"", "G-105", message);
    }

    #[test]
    fn an_unknown_operator_is_refused() {
        let message = "nodes[0].operator names operator \"eu-9\", which [[operators]] does not list";
        refused("operator = \"eu-1\"", "operator = \"eu-9\"", "G-106", message);
        let message = "models[0].operator names operator \"eu-9\", which [[operators]] does not list";
        refused("\"tiny\"\noperator = \"eu-1\"", "\"tiny\"\noperator = \"eu-9\"", "G-106", message);
    }

    #[test]
    fn a_signature_by_an_unknown_operator_is_refused() {
        let message = "signatures.eu-9 names operator \"eu-9\", which [[operators]] does not list";
        refused("[signatures]\neu-1", "[signatures]\neu-9", "G-106", message);
    }

    #[test]
    fn a_parameter_out_of_range_is_refused() {
        let message = "parameters.block_interval_ms is 0, outside 1 to 10000";
        refused("block_interval_ms = 20", "block_interval_ms = 0", "G-107", message);
        let message = "parameters.clock_ahead_ms is 60001, outside 100 to 60000";
        refused("clock_ahead_ms = 2000", "clock_ahead_ms = 60001", "G-107", message);
        let message = "parameters.gate_phase_ms is 59999, outside 60000 to 604800000";
        refused("gate_phase_ms = 0", "gate_phase_ms = 59999", "G-107", message);
        let created = format!("created_ms = {}", sample::CREATED_MS);
        let message = "consortium.created_ms is 253402300800000, outside 0 to 253402300799999";
        refused(&created, "created_ms = 253402300800000", "G-107", message);
    }

    #[test]
    fn parameters_in_conflict_are_refused() {
        let message = "parameters.block_interval_ms must be less than parameters.idle_block_ms";
        refused("block_interval_ms = 20\n", "block_interval_ms = 10000\n", "G-108", message);
        let message = "parameters.heartbeat_ms must be less than parameters.leader_timeout_ms";
        refused("heartbeat_ms = 200", "heartbeat_ms = 1000", "G-108", message);
    }

    #[test]
    fn an_address_that_nobody_can_reach_is_refused() {
        for address in ["0.0.0.0:7001", "127.0.0.1:0", "[fe80::1%2]:7001", "224.0.0.1:7001"] {
            let rule = "must be the IP address and port of one machine, as others reach it";
            refused("127.0.0.1:7001", address, "G-109", &format!("nodes[0].peer is \"{address}\": {rule}"));
        }
        for url in ["ftp://eu-1.example", "http://", "http://eu-1.example/path", "http://user@eu-1.example"] {
            let rule = "must be http:// or https:// with host and port, in lower case and without a path";
            refused("http://127.0.0.1:8001", url, "G-109", &format!("nodes[0].api is \"{url}\": {rule}"));
        }
    }

    #[test]
    fn a_text_that_could_deceive_a_reader_is_refused() {
        let message = "operators[0].name is longer than 100 characters or has control characters";
        refused("name = \"Operator eu-1\"", "name = \"a\\u001bb\"", "G-110", message);
        refused("name = \"Operator eu-1\"", &format!("name = \"{}\"", "a".repeat(101)), "G-110", message);
        let message = "models[0].owner.name is empty";
        refused("name = \"Tiny Labs\"", "name = \" \"", "G-103", message);
    }

    #[test]
    fn a_document_beyond_its_bounds_is_refused() {
        let refusal = parse(&"#".repeat(TEXT_BYTES_MAX + 1)).expect_err("too long");
        assert_eq!(refusal.code(), "G-111");
        assert_eq!(refusal.to_string(), "bytes of text: 1048577, more than the 1048576 allowed");
        let mut draft = sample::draft();
        draft.regions = (0..257).map(|i| sample::region(&format!("r{i}"))).collect();
        let refusal = Document::new(draft).expect_err("too many");
        assert_eq!(refusal.to_string(), "regions: 257, more than the 256 allowed");
    }

    #[test]
    fn comments_white_space_and_the_order_of_keys_do_not_change_the_hash() {
        let document = sample::signed();
        let bare: String =
            document.to_toml().lines().filter(|line| !line.starts_with('#')).map(|l| format!("  {l}\n\n")).collect();
        let created = format!("created_ms = {}", sample::CREATED_MS);
        let swapped = bare.replacen(&created, "", 1).replacen("[consortium]", &format!("[consortium]\n{created}"), 1);
        assert_eq!(parse(&swapped), Ok(document));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let text: String = sample::signed()
            .to_toml()
            .lines()
            .filter(|line| !line.ends_with(" = 20"))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(!text.contains("block_interval_ms"));
        assert_eq!(parse(&text), Ok(sample::signed()));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(draft in sample::any_draft()) {
            let document = Document::new(draft).expect("the strategy keeps the rules");
            let read = parse(&document.to_toml()).expect("own text parses");
            prop_assert_eq!(read.hash(), document.hash());
            prop_assert_eq!(read, document);
        }

        #[test]
        fn no_text_makes_the_parser_panic(
            text in "(\\[\\[?(nodes|regions|signatures)\\]\\]?\n|[a-z]{1,4} ?= ?[\"0-9a-z\u{e4}]{0,6}\n){0,8}"
        ) {
            let _ = parse(&text);
        }
    }
}
