use std::os::unix::fs::PermissionsExt as _;

use genesis::{Document, Draft, Heading, Node, Operator, Parameters, Region};
use wallet::{
    digest::to_hex,
    identity::{RegionId, SecretKey},
    keystore::{passphrase::Passphrase, wrapped::Work},
    units::Timestamp,
};
use zeroize::Zeroizing;

use super::*;
use crate::tls;

const OPERATOR_SEED: [u8; 32] = [1; 32];

/// A folder with a signed genesis of one node, the node's key, and a configuration.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        let key = keys::create(&folder.file("eu-1-a.key")).expect("a new folder");
        fs::write(folder.file("genesis.toml"), genesis_text(&key, true)).expect("a new folder");
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, text: &str) -> Result<ValidConfig, ConfigFault> {
        let path = self.file("node.toml");
        fs::write(&path, text).expect("our own folder");
        ValidConfig::load(&path)
    }

    /// The fault of [`SAMPLE`] with `from` replaced by `to`: code, and message without the folder.
    fn fault_of(&self, from: &str, to: &str) -> (&'static str, String) {
        assert_eq!(SAMPLE.matches(from).count(), 1, "{from:?} stands once in the sample");
        let fault = self.load(&SAMPLE.replace(from, to)).expect_err("it breaks a rule");
        (fault.code(), fault.to_string().replace(&format!("{}/", self.0.path().display()), ""))
    }
}

fn genesis_text(node_key: &SecretKey, signed: bool) -> String {
    genesis_of(node_key, signed, "http://127.0.0.1:8001")
}

fn genesis_of(node_key: &SecretKey, signed: bool, api: &str) -> String {
    let operator_key = SecretKey::from_seed(&OPERATOR_SEED);
    let id: genesis::OperatorId = "eu-1".parse().expect("a name");
    let region = RegionId::try_from("eu".to_owned()).expect("a region name");
    let mut document = Document::new(Draft {
        consortium: Heading { name: "Test".to_owned(), created_ms: Timestamp::new(1_780_000_000_000) },
        parameters: Parameters::default(),
        regions: vec![Region { id: region.clone(), name: "EU".to_owned() }],
        operators: vec![Operator { id: id.clone(), name: "One".to_owned(), key: operator_key.public_key() }],
        nodes: vec![Node {
            name: "eu-1-a".parse().expect("a name"),
            operator: id.clone(),
            region,
            key: node_key.public_key(),
            peer: ([127, 0, 0, 1], 7001).into(),
            api: api.to_owned(),
        }],
        auditors: Vec::new(),
        models: Vec::new(),
        signatures: Default::default(),
    })
    .expect("it keeps the rules");
    if signed {
        document.sign(&id, &operator_key).expect("its own key");
    }
    document.to_toml()
}

const SAMPLE: &str = r#"data-dir = "data"
genesis = "genesis.toml"
node = "eu-1-a"
key-file = "eu-1-a.key"
api-listen = "127.0.0.1:8001"
model-dir = "/models/tiny"
tick = "250ms"

[engine]
block-count = 64

[[tenants]]
name = "acme"
api-key-hash = "0101010101010101010101010101010101010101010101010101010101010101"
regions = ["eu"]
"#;

#[test]
fn a_whole_file_is_read_with_its_defaults() {
    let folder = Folder::new();
    let config = folder.load(SAMPLE).expect("it keeps the rules");
    assert_eq!(config.me, NodeId::new(0));
    assert_eq!(config.data_dir, folder.file("data"));
    assert_eq!(config.model_dir, Path::new("/models/tiny"));
    assert_eq!(config.peer_listen, ([127, 0, 0, 1], 7001).into());
    assert_eq!(config.tick, Duration::from_millis(250));
    let engine = EngineConfig { block_count: 64, threads: 1, place: EnginePlace::Inside, serves: BTreeSet::new() };
    assert_eq!(config.engine, engine);
    let rate = |per_s, burst| Rate { per_s, burst };
    assert_eq!(config.limits, Limits { key: rate(500, 1_000), address: rate(20, 100), stall: Duration::from_secs(60) });
    let tenant = &config.tenants[0];
    assert_eq!(tenant.master_key_file, folder.file("data/tenants/acme.key"));
    let made = tenant.master().expect("drawn on first use");
    assert_eq!(tenant.master().expect("read").expose(), made.expose());
}

#[test]
fn each_bad_value_is_refused_with_file_line_and_what() {
    let folder = Folder::new();
    let cases = [
        ("tick = \"250ms\"", "tock = 1", "N-101", "node.toml:7: unknown field `tock`"),
        ("tick = \"250ms\"", "tick = 250", "N-101", "node.toml:7: invalid type: integer `250`"),
        ("250ms", "250", "N-101", "node.toml:7: \"250\" is not a length of time"),
        ("250ms", "1ms", "N-109", "node.toml:7: tick is 1ms, outside 10ms to 60s"),
        (
            "block-count = 64",
            "block-count = 1",
            "N-109",
            "node.toml:10: engine.block-count is 1, outside 16 to 4194304",
        ),
        ("block-count = 64", "blocks = 1", "N-101", "node.toml:10: unknown field `blocks`"),
        ("data-dir = \"data\"\n", "", "N-101", "missing field `data-dir`"),
        ("genesis = \"", "genesis = \"no-", "N-100", "no-genesis.toml: No such file"),
        ("key-file = \"", "key-file = \"no-", "N-120", "no-eu-1-a.key: No such file"),
        ("node = \"eu-1-a\"", "node = \"eu-9\"", "N-103", "node.toml:3: there is no node eu-9"),
        ("127.0.0.1:8001", "0.0.0.0:8001", "N-105", "node.toml:5: api-listen is 0.0.0.0:8001; without a table [tls]"),
        ("[\"eu\"]", "[\"eu\", \"us\"]", "N-106", "node.toml:15: tenant acme names region \"us\", which genesis"),
        ("[\"eu\"]", "[]", "N-107", "node.toml:15: tenant acme allows no region"),
        ("\"acme\"", "\"../acme\"", "N-101", "node.toml:13: \"../acme\" is not a tenant's name"),
        ("\"0101", "\"01", "N-101", "node.toml:14: expected 64 hexadecimal digits"),
        (
            "[engine]",
            "[limits]\nkey = { per-s = 0, burst = 9 }\n[engine]",
            "N-109",
            "node.toml:10: limits.key.per-s is 0, outside 1 to 1000000",
        ),
        (
            "[engine]",
            "[limits]\naddress = { per-s = 1, burst = 1000001 }\n[engine]",
            "N-109",
            "node.toml:10: limits.address.burst is 1000001, outside 1 to 1000000",
        ),
        (
            "[engine]",
            "[limits]\nstall = \"10ms\"\n[engine]",
            "N-109",
            "node.toml:10: limits.stall is 10ms, outside 1s to 3600s",
        ),
        ("[engine]", "[limits]\nkey = { per-s = 1 }\n[engine]", "N-101", "node.toml:10: missing field `burst`"),
        ("[engine]", "[engine", "N-101", "node.toml:9: "),
        ("64\n", "64\nplace = \"beside\"\n", "N-101", "node.toml:11: unknown variant `beside`"),
        ("64\n", "64\nplace = { node = \"eu-9\" }\n", "N-103", "node.toml:11: there is no node eu-9"),
        ("64\n", "64\nplace = { node = \"eu-1-a\" }\n", "N-110", "node.toml:11: eu-1-a is not another node"),
        ("64\n", "64\nserves = [\"eu-1-a\"]\n", "N-110", "node.toml:11: eu-1-a is not another node"),
    ];
    for (from, to, code, message) in cases {
        let (found, text) = folder.fault_of(from, to);
        assert_eq!(found, code, "{from:?} -> {to:?}: {text}");
        assert!(text.contains(message), "{from:?} -> {to:?}: {text}");
    }
}

#[test]
fn with_a_certificate_http_is_served_to_the_world() {
    let folder = Folder::new();
    let files = tls::tests::self_signed(folder.0.path(), "tls");
    let world = SAMPLE.replace("127.0.0.1:8001", "0.0.0.0:8001");
    let with_tls = |key: &str| {
        let table = format!("[tls]\ncertificate-file = \"tls.pem\"\nkey-file = \"{key}\"\n\n[engine]");
        world.replace("[engine]", &table)
    };
    let config = folder.load(&with_tls("tls.key")).expect("it keeps the rules");
    assert_eq!((config.api_listen, config.tls), (([0, 0, 0, 0], 8001).into(), Some(files)));
    // Clients are sent to the address on the ledger.
    let of_node = |api: &str| fs::write(folder.file("genesis.toml"), genesis_of(config.keys.key(), true, api));
    of_node("http://203.0.113.7:8001").expect("our own folder");
    let fault = folder.load(&with_tls("tls.key")).expect_err("they would go there in the clear");
    assert_eq!(fault.code(), "N-119");
    assert!(fault.to_string().ends_with("must begin with https://, and it is http://203.0.113.7:8001"), "{fault}");
    of_node("https://203.0.113.7:8001").expect("our own folder");
    folder.load(&with_tls("tls.key")).expect("it keeps the rules");
    let foreign = folder.load(&with_tls("eu-1-a.key")).expect_err("no key in PEM");
    assert_eq!(foreign.code(), "N-117");
    assert!(!foreign.to_string().contains(&to_hex(config.keys.key().seed().as_ref())));
}

#[test]
fn two_tenants_share_neither_name_nor_key() {
    let folder = Folder::new();
    let table = &SAMPLE[SAMPLE.find("[[tenants]]").expect("it has one")..];
    let same_name = format!("{SAMPLE}{}", table.replace("\"0101", "\"0202"));
    let fault = folder.load(&same_name).expect_err("the name is taken");
    assert!(fault.to_string().ends_with("node.toml:17: tenant acme has the name of another tenant"), "{fault}");
    let same_key = format!("{SAMPLE}{}", table.replace("acme", "other"));
    let fault = folder.load(&same_key).expect_err("the key is taken");
    assert!(
        fault.to_string().ends_with("node.toml:18: tenant other has the api-key-hash of another tenant"),
        "{fault}"
    );
    assert_eq!(fault.code(), "N-108");
}

#[test]
fn a_genesis_that_an_operator_did_not_sign_is_refused() {
    let folder = Folder::new();
    let key = keys::read(&folder.file("eu-1-a.key")).expect("made above");
    fs::write(folder.file("genesis.toml"), genesis_text(&key, false)).expect("our own folder");
    let (code, text) = folder.fault_of("tick = \"250ms\"", "tick = \"251ms\"");
    assert_eq!((code, text.as_str()), ("N-102", "genesis.toml: not signed by eu-1 [G-112]"));
}

#[test]
fn a_key_that_is_not_the_nodes_is_refused() {
    let folder = Folder::new();
    keys::create(&folder.file("other.key")).expect("a new name");
    let (code, text) = folder.fault_of("key-file = \"eu-1-a.key\"", "key-file = \"other.key\"");
    assert_eq!(code, "N-104");
    assert!(text.starts_with("node.toml:4: the key's public half is "), "{text}");
}

#[test]
fn while_nothing_is_final_in_the_data_folder_genesis_says_whose_key_it_is() {
    let folder = Folder::new();
    keys::create(&folder.file("other.key")).expect("a new name");
    fs::create_dir_all(folder.file("data/ledger/final")).expect("our own folder");
    let (code, _) = folder.fault_of("key-file = \"eu-1-a.key\"", "key-file = \"other.key\"");
    assert_eq!(code, "N-104");
    folder.load(SAMPLE).expect("the key of genesis");
}

#[test]
fn while_a_key_is_rotated_either_of_the_two_files_may_hold_the_one_that_the_ledger_names() {
    let folder = Folder::new();
    keys::create(&folder.file("other.key")).expect("a new name");
    let own = keys::read(&folder.file("eu-1-a.key")).expect("just made").public_key();
    let both = "key-file = \"KEY\"\nnext-key-file = \"NEXT\"";
    for (key, next) in [("eu-1-a.key", "other.key"), ("other.key", "eu-1-a.key")] {
        let config = SAMPLE.replace("key-file = \"eu-1-a.key\"", &both.replace("KEY", key).replace("NEXT", next));
        let keys = folder.load(&config).expect("one of them is the node's").keys;
        assert_eq!(keys.key().public_key(), own, "that of the ledger is the first");
        assert!(keys.next().is_some());
    }
    let (code, _) =
        folder.fault_of("key-file = \"eu-1-a.key\"", "key-file = \"other.key\"\nnext-key-file = \"other.key\"");
    assert_eq!(code, "N-104");
}

#[test]
fn a_wrapped_key_is_opened_with_the_passphrase_of_its_file_and_the_tenants_are_wrapped_with_it() {
    let folder = Folder::new();
    let key = keys::read(&folder.file("eu-1-a.key")).expect("made above");
    let passphrase = |text: &str| Passphrase::new(Zeroizing::new(text.to_owned())).expect("one line");
    let work = Work::new(8, 1).expect("the least");
    keys::write_wrapped(&folder.file("w.key"), &key, &passphrase("correct horse"), work).expect("a new file");
    for (name, text) in [("right", "correct horse\n"), ("wrong", "incorrect horse\n")] {
        fs::write(folder.file(name), text).expect("our own folder");
        fs::set_permissions(folder.file(name), fs::Permissions::from_mode(0o600)).expect("our own file");
    }
    let key_file = "key-file = \"eu-1-a.key\"";
    let wrapped = |passphrase: &str| format!("key-file = \"w.key\"\npassphrase-file = \"{passphrase}\"");
    let config = folder.load(&SAMPLE.replace(key_file, &wrapped("right"))).expect("its passphrase");
    assert_eq!(config.keys.key().public_key(), key.public_key());
    let (code, text) = folder.fault_of(key_file, &wrapped("wrong"));
    assert!(code == "W-136" && text.starts_with("w.key: ") && !text.contains("horse"), "{text}");
    let master = config.tenants[0].master().expect("drawn on first use");
    assert_eq!(config.tenants[0].master().expect("read").expose(), master.expose());
    let made = fs::read_to_string(folder.file("data/tenants/acme.key")).expect("just made");
    assert!(made.starts_with("k4.secret-pw."), "{made}");
}

#[test]
fn a_nodes_key_cannot_be_in_a_token() {
    let folder = Folder::new();
    let token = "key-file = \"pkcs11:token=a;object=b?module-path=/usr/lib/softhsm/libsofthsm2.so\"";
    let (code, text) = folder.fault_of("key-file = \"eu-1-a.key\"", token);
    assert!(code == "N-559" && text.starts_with("node.toml:4: "), "{text}");
}

#[test]
fn neither_a_configuration_nor_its_faults_print_key_material() {
    let folder = Folder::new();
    let config = folder.load(SAMPLE).expect("it keeps the rules");
    let master = config.tenants[0].master().expect("drawn on first use");
    let printed = format!("{config:?} {master:?}");
    for secret in [config.keys.key().seed().as_slice(), master.expose()] {
        assert!(!printed.contains(&to_hex(secret)) && !printed.contains(&format!("{secret:?}")), "{printed}");
    }
}
