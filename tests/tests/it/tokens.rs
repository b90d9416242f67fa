//! An operator's key in a token: SoftHSM, spoken to by the binary as an operator speaks to it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
};

use genesis::{Document, OperatorId};
use ledger::{
    certificate::Certificate,
    event::Event,
    governance::{Action, Member},
    re_genesis::ReGenesisFile,
    testing::{self, Chain},
    vote::VoteKind,
};
use serde_json::Value;
use wallet::{codec, digest::to_hex, identity::PublicKey};

use crate::program::batchmind;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "271828";

/// A token of its own, and files beside it.
struct Token(tempfile::TempDir);

impl Token {
    /// # Panics
    /// If SoftHSM is not installed: `scripts/test` does that.
    fn new() -> Self {
        let token = Self(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir(token.file("tokens")).expect("our own folder");
        let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", token.file("tokens").display());
        fs::write(token.file("softhsm2.conf"), config).expect("our own folder");
        for (name, pin) in [("pin", PIN), ("wrong-pin", "314159")] {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(token.file(name));
            file.expect("our own folder").write_all(pin.as_bytes()).expect("our own file");
        }
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", "batchmind", "--so-pin", "161803", "--pin", PIN]);
        let init = init.env("SOFTHSM2_CONF", token.file("softhsm2.conf")).output();
        let init = init.expect("SoftHSM is there: apt-get install softhsm2");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        token
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn key(object: &str) -> String {
        format!("pkcs11:token=batchmind;object={object}?module-path={MODULE}")
    }

    /// Runs `batchmind`; a word that begins with @ is a file here.
    fn batchmind(&self, words: &[&str]) -> Output {
        let words = words.iter().map(|word| match word.strip_prefix('@') {
            Some(name) => self.file(name).to_string_lossy().into_owned(),
            None => (*word).to_owned(),
        });
        let mut command = Command::new(batchmind());
        command
            .arg("--json")
            .args(words)
            .env("SOFTHSM2_CONF", self.file("softhsm2.conf"))
            .stdin(std::process::Stdio::null());
        let output = command.output().expect("the binary starts");
        let shown = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&shown).contains(PIN), "the PIN is not shown");
        output
    }

    fn succeeded(&self, words: &[&str]) -> Value {
        let output = self.batchmind(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }

    fn failed(&self, words: &[&str]) -> String {
        let output = self.batchmind(words);
        assert!(!output.status.success(), "{words:?}");
        let failure: Value = serde_json::from_slice(&output.stderr).expect("one JSON object");
        failure["code"].as_str().expect("a code").to_owned()
    }

    /// Has the token make the key `object`.
    fn make(&self, object: &str) -> PublicKey {
        let made = self.succeeded(&["keys", "new", "--out", &Self::key(object), "--passphrase-file", "@pin"]);
        made["public_key"].as_str().expect("a key").parse().expect("64 digits")
    }
}

/// The sample consortium with `key` in the place of the first operator's, signed by the others.
fn document(key: PublicKey) -> Document {
    let mut draft = testing::consortium(4).document().draft().clone();
    draft.operators[0].key = key;
    draft.signatures.clear();
    let mut document = Document::new(draft).expect("it keeps the rules");
    for number in 1..4 {
        let key = testing::operator_key(number);
        document.sign(&testing::operator_id(number), &key).expect("its own key");
    }
    document
}

/// A chain of that consortium, the first of whose operators has its key in the token and signed the document with it.
fn chain(token: &Token) -> Chain {
    fs::write(token.file("genesis.toml"), document(token.make("op-00")).to_toml()).expect("our own folder");
    let with_key = ["--key", &Token::key("op-00"), "--passphrase-file", "@pin"];
    token.succeeded(&[&["genesis", "sign", "@genesis.toml", "--operator", "op-00"], &with_key[..]].concat());
    let text = fs::read_to_string(token.file("genesis.toml")).expect("just signed");
    Chain::new(Arc::new(genesis::parse(&text).and_then(Document::verify).expect("signed by all four")))
}

#[test]
fn a_document_and_a_ballot_that_a_token_signed_are_those_of_its_operator() {
    let token = Token::new();
    let mut chain = chain(&token);
    let with_key = ["--key", &Token::key("op-00"), "--passphrase-file", "@pin"];
    let cheaper = Action::SetParameter { name: "credit_per_ms".into(), from: 1, to: 2 };
    let terms = chain.terms(1, vec![cheaper]);
    let (digest, proposer) = (terms.digest(), testing::operator_key(1));
    let proposed = Event::ProposalMade(Box::new(terms.sign(&proposer)));
    fs::write(token.file("proposal"), codec::encode(&proposed)).expect("our own folder");
    chain.push(chain.governing(proposed)).expect("the ledger takes the proposal");
    let ballot = ["governance", "ballot", &digest.to_string(), "--approve", "--operator", "op-00"];
    let files = ["--proposal-file", "@proposal", "--out", "@ballot"];
    token.succeeded(&[&ballot[..], &with_key, &files].concat());
    let cast: Event = codec::decode(&fs::read(token.file("ballot")).expect("just written")).expect("an event");
    let Event::BallotCast(signed) = &cast else { panic!("another event") };
    assert_eq!(signed.ballot.operator, "op-00".parse::<OperatorId>().expect("an id"));

    let mut forged = signed.clone();
    forged.signature = signed.ballot.clone().sign(&proposer).signature;
    let refused = chain.push(chain.governing(Event::BallotCast(forged)));
    assert!(refused.is_err(), "another operator's signature does not pass for the token's");
    chain.push(chain.governing(cast)).expect("the ledger takes the ballot");
}

#[test]
fn a_re_genesis_is_signed_with_a_key_in_a_token_and_with_a_wrapped_one() {
    let token = Token::new();
    let mut chain = chain(&token);
    chain.push(testing::Session::in_eu(&chain.consortium, 0).created()).expect("something is final");
    let lost = vec![Member::Operator(testing::operator_id(3))];
    let (block, executed) = chain.draft(1, chain.beginning(lost)).expect("the rules allow it");
    let (view, height, digest) = (block.header.view, block.header.height, block.header.digest());
    let unsigned = Certificate { kind: VoteKind::Finalize, view, height, block: digest, signatures: Vec::new() };
    let draft = ReGenesisFile::new(chain.hand_over_by(&block, &executed, unsigned)).expect("a draft");
    fs::write(token.file("anew.draft"), draft.to_bytes()).expect("our own folder");

    let named = digest.to_string();
    let sign = |file: &str, key: &str, out: &str, more: &[&str]| -> Vec<String> {
        let words = ["ledger", "re-genesis", "sign", file, "--re-genesis", &named, "--key", key, "--out", out];
        words.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let succeeded = |command: &[String]| token.succeeded(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let failed = |command: &[String]| token.failed(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let in_token = Token::key("op-00");
    assert_eq!(failed(&sign("@anew.draft", &in_token, "@one", &[])), "N-556", "nobody says the PIN");
    succeeded(&sign("@anew.draft", &in_token, "@one", &["--passphrase-file", "@pin"]));

    let seed = to_hex(testing::operator_key(1).seed().as_ref()) + "\n";
    let mut options = fs::OpenOptions::new();
    let clear = options.write(true).create_new(true).mode(0o600).open(token.file("op-01.key"));
    clear.expect("our own folder").write_all(seed.as_bytes()).expect("our own file");
    token.succeeded(&["keys", "wrap", "@op-01.key", "--out", "@op-01.wrapped.key", "--passphrase-file", "@pin"]);
    let wrapped = "@op-01.wrapped.key";
    assert_eq!(failed(&sign("@one", wrapped, "@two", &["--passphrase-file", "@wrong-pin"])), "W-136");
    succeeded(&sign("@one", wrapped, "@two", &["--passphrase-file", "@pin"]));

    // Reading it verifies the signatures.
    let signed =
        ReGenesisFile::from_bytes(&fs::read(token.file("two")).expect("just written")).expect("as it was drafted");
    let missing: Vec<&OperatorId> = signed.missing().map(|signatory| &signatory.operator).collect();
    assert_eq!(missing, [&testing::operator_id(2)]);
}

#[test]
fn what_is_wrong_with_a_token_has_its_code_and_a_key_is_never_overwritten() {
    let token = Token::new();
    let (key, name) = (token.make("eu-1"), Token::key("eu-1"));
    let show = |name: &str, pin: &str| token.failed(&["keys", "show", name, "--passphrase-file", pin]);
    let shown = token.succeeded(&["keys", "show", &name, "--passphrase-file", "@pin"]);
    assert_eq!(shown["public_key"], key.to_string());
    assert_eq!(token.failed(&["keys", "new", "--out", &name, "--passphrase-file", "@pin"]), "N-123");
    assert_eq!(token.failed(&["keys", "show", &name]), "N-556");
    assert_eq!(show(&name, "@wrong-pin"), "N-562");
    assert_eq!(show(&Token::key("eu-2"), "@pin"), "N-563");
    assert_eq!(show(&name.replace("batchmind", "other"), "@pin"), "N-561");
    assert_eq!(show(&name.replace(MODULE, "/no/such.so"), "@pin"), "N-560");
    assert_eq!(show(&name.replace("object", "id"), "@pin"), "N-558");
    assert_eq!(show(&format!("{name}&pin-value={PIN}"), "@pin"), "N-558");
    token.make("eu-2");
    assert_eq!(token.succeeded(&["keys", "show", &name, "--passphrase-file", "@pin"])["public_key"], key.to_string());
}
