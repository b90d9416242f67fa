use clap::Parser as _;

use super::{super::CommandLine, *};
use crate::keys;

/// A folder with the keys of two operators and their nodes.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        for name in ["eu-1", "eu-1-a", "us-1", "us-1-a"] {
            keys::create(Path::new(&folder.file(&format!("{name}.key")))).expect("a new file");
        }
        folder
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    fn run(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("@", &self.file(""))).collect();
        let words = ["batchmind".to_owned(), "genesis".to_owned()].into_iter().chain(arguments);
        match CommandLine::try_parse_from(words).expect("it parses").command {
            super::super::Command::Genesis(command) => command.run(),
            other => panic!("{other:?} is not about genesis"),
        }
    }

    fn create(&self) -> Result<Output, Failure> {
        self.run(&NEW)
    }
}

const NEW: [&str; 17] = [
    "new",
    "--out",
    "@genesis.toml",
    "--name",
    "Two",
    "--region",
    "id=eu,name=European Union",
    "--region",
    "id=us",
    "--operator",
    "id=eu-1,key=@eu-1.key,name=First",
    "--operator",
    "id=us-1,key=@us-1.key",
    "--node",
    "name=eu-1-a,operator=eu-1,region=eu,key=@eu-1-a.key,peer=127.0.0.1:7001,api=http://127.0.0.1:8001",
    "--node",
    "name=us-1-a,operator=us-1,region=us,key=@us-1-a.key,peer=127.0.0.1:7002,api=http://127.0.0.1:8002",
];

#[test]
fn a_document_is_written_signed_by_each_and_verified_to_the_same_hash() {
    let folder = Folder::new();
    let new = folder.create().expect("a new document");
    assert_eq!(new.json()["unsigned"], serde_json::json!(["eu-1", "us-1"]));
    folder.run(&["sign", "@genesis.toml", "--operator", "eu-1", "--key", "@eu-1.key"]).expect("its own key");
    let unsigned = folder.run(&["verify", "@genesis.toml"]).expect_err("one signature is missing");
    assert_eq!((unsigned.code.as_str(), unsigned.title.as_str()), ("G-112", "not signed by us-1"));
    assert_eq!(unsigned.detail, folder.file("genesis.toml"));
    folder.run(&["sign", "@genesis.toml", "--operator", "us-1", "--key", "@us-1.key"]).expect("its own key");
    let verified = folder.run(&["verify", "@genesis.toml"]).expect("signed by all");
    assert_eq!(verified.json()["genesis_hash"], new.json()["genesis_hash"]);
    let hash = new.json()["genesis_hash"].as_str().expect("a text");
    assert_eq!(verified.text(), format!("{hash}\n\"Two\": 2 operators, 2 nodes, signed by all"));
}

#[test]
fn what_is_printed_and_written_holds_no_secret() {
    let folder = Folder::new();
    let new = folder.create().expect("a new document");
    let signed = folder.run(&["sign", "@genesis.toml", "--operator", "eu-1", "--key", "@eu-1.key"]).expect("signed");
    let text = fs::read_to_string(folder.file("genesis.toml")).expect("written");
    for name in ["eu-1", "eu-1-a"] {
        let seed = fs::read_to_string(folder.file(&format!("{name}.key"))).expect("made above");
        assert!(!format!("{new:?}{signed:?}{text}").contains(seed.trim()));
    }
}

#[test]
fn an_existing_document_is_not_overwritten() {
    let folder = Folder::new();
    folder.create().expect("a new document");
    assert_eq!(folder.create().expect_err("it exists").code, "N-152");
}

#[test]
fn a_node_in_an_unknown_region_is_refused_with_its_place() {
    let folder = Folder::new();
    let arguments = NEW.map(|argument| argument.replace("region=us", "region=uk"));
    let failure = folder.run(&arguments.each_ref().map(String::as_str)).expect_err("no such region");
    assert_eq!(failure.code, "G-105");
    assert_eq!(failure.title, "nodes[1].region names region \"uk\", which [[regions]] does not list");
    assert!(!Path::new(&folder.file("genesis.toml")).exists(), "nothing is written");
}

#[test]
fn another_operators_key_cannot_sign() {
    let folder = Folder::new();
    folder.create().expect("a new document");
    let failure = folder.run(&["sign", "@genesis.toml", "--operator", "eu-1", "--key", "@us-1.key"]);
    assert_eq!(failure.expect_err("not its key").code, "G-114");
}
