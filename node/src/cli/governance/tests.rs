use ledger::governance::Member;
use wallet::{
    identity::{PublicKey, SecretKey, context},
    units::NodeId,
};

use super::*;
use crate::keys;

/// A folder with a genesis document and the keys behind it.
struct Folder(tempfile::TempDir);

impl Folder {
    async fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        for name in ["eu-1", "eu-1-a", "new"] {
            keys::create(Path::new(&folder.file(&format!("{name}.key")))).expect("a new file");
        }
        let new = [
            "genesis",
            "new",
            "--out",
            "@genesis.toml",
            "--name",
            "One",
            "--region",
            "id=eu",
            "--operator",
            "id=eu-1,key=@eu-1.key",
            "--node",
            "name=eu-1-a,operator=eu-1,region=eu,key=@eu-1-a.key,peer=127.0.0.1:7001,api=http://127.0.0.1:8001",
        ];
        folder.run(&new).await.expect("a document");
        folder
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    fn key(&self, name: &str) -> SecretKey {
        keys::read(Path::new(&self.file(name))).expect("it was made")
    }

    fn consortium(&self) -> Digest {
        genesis::read(Path::new(&self.file("genesis.toml"))).expect("it was made").hash()
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output, Failure> {
        super::super::run(arguments.iter().map(|argument| argument.replace('@', &self.file("")))).await
    }

    /// Signs a proposal of `action` without a node.
    async fn propose(&self, action: &str, out: &str) -> Result<Output, Failure> {
        let action = action.replace('@', &self.file(""));
        self.run(&[
            "governance",
            "propose",
            "--action",
            &action,
            "--genesis",
            "@genesis.toml",
            "--electorate",
            "4",
            "--operator",
            "eu-1",
            "--key",
            "@eu-1.key",
            "--out",
            out,
        ])
        .await
    }
}

#[test]
fn every_kind_of_action_is_read_and_nothing_else() {
    let (key, other) = ("11".repeat(32), "22".repeat(32));
    let public = |byte: u8| PublicKey([byte; 32]);
    let node = Member::Node(NodeId::new(3));
    for (text, action) in [
        ("suspend,node=3".to_owned(), Action::Suspend(node.clone())),
        (format!("reinstate,node=3,key={key}"), Action::Reinstate { member: node.clone(), key: public(0x11) }),
        ("remove,operator=eu-1".to_owned(), Action::Remove(Member::Operator("eu-1".parse().expect("an id")))),
        (format!("revoke-key,key={key}"), Action::RevokeKey(public(0x11))),
        (format!("revoke-auditor,key-hash={key}"), Action::RevokeAuditor(Digest([0x11; 32]))),
        (
            "set-parameter,name=batch_tokens,from=1,to=2".to_owned(),
            Action::SetParameter { name: "batch_tokens".into(), from: 1, to: 2 },
        ),
        (
            format!("rotate-key,node=3,from={key},to={other},consent={}", "33".repeat(64)),
            Action::RotateKey {
                rotation: ledger::governance::Rotation { member: node, from: public(0x11), to: public(0x22) },
                consent: Signature([0x33; 64]),
                by_old_key: None,
            },
        ),
    ] {
        assert_eq!(action::read(&text), Ok(Asked::Whole(action)), "{text}");
        assert!(action::read(&format!("{text},more=1")).is_err_and(|error| error.contains("more")), "{text}");
    }
    for text in ["suspend", "suspend,node=x", "suspend,node=1,operator=eu-1", "explode,node=1", "set-parameter,name=x"]
    {
        assert!(action::read(text).is_err(), "{text}");
    }
    assert!(matches!(action::read(&format!("rotate-key,node=3,from={key},to={other}")), Ok(Asked::Rotation(_))));
}

#[tokio::test]
async fn what_is_signed_without_a_node_is_the_proposal_that_is_printed() {
    let folder = Folder::new().await;
    let output = folder.propose("suspend,node=3", "@signed").await.expect("it is signed");
    let Event::ProposalMade(made) = read(Path::new(&folder.file("signed"))).expect("it was written") else {
        panic!("another event")
    };
    let terms = &made.terms;
    assert_eq!(output.json()["proposal"], serde_json::json!(terms.digest()));
    assert!(output.text().contains("suspend node 3"), "{}", output.text());
    assert_eq!((terms.consortium, terms.electorate), (folder.consortium(), 4));
    assert_eq!(terms.actions, [Action::Suspend(Member::Node(NodeId::new(3)))]);
    let key = folder.key("eu-1.key").public_key();
    key.verify(context::GOVERNANCE_PROPOSAL, &codec::encode(terms), &made.signature).expect("the operator signed it");
    let again = folder.propose("suspend,node=3", "@signed").await.expect_err("the file exists");
    assert_eq!(again.code, "N-152");
}

#[tokio::test]
async fn a_ballot_is_signed_only_for_the_proposal_that_its_digest_names() {
    let folder = Folder::new().await;
    folder.propose("suspend,node=3", "@one").await.expect("it is signed");
    let other = folder.propose("suspend,node=2", "@other").await.expect("it is signed");
    let digest = other.json()["proposal"].as_str().expect("a digest").to_owned();
    let vote = async |file: &str| {
        folder
            .run(&[
                "governance",
                "ballot",
                &digest,
                "--approve",
                "--operator",
                "eu-1",
                "--key",
                "@eu-1.key",
                "--proposal-file",
                file,
                "--out",
                "@ballot",
            ])
            .await
    };
    assert_eq!(vote("@one").await.expect_err("another proposal").code, "N-159");
    assert_eq!(vote("@genesis.toml").await.expect_err("no proposal").code, "N-158");
    let output = vote("@other").await.expect("that proposal");
    assert!(output.text().contains("suspend node 2"), "who votes sees on what: {}", output.text());
    let Event::BallotCast(cast) = read(Path::new(&folder.file("ballot"))).expect("it was written") else {
        panic!("another event")
    };
    assert!(cast.ballot.approves && cast.ballot.proposal.to_string() == digest);
    let key = folder.key("eu-1.key").public_key();
    key.verify(context::GOVERNANCE_BALLOT, &codec::encode(&cast.ballot), &cast.signature).expect("the operator signed");
}

#[tokio::test]
async fn a_new_key_takes_a_role_only_with_its_own_consent() {
    let folder = Folder::new().await;
    let action = format!("rotate-key,node=0,from={},to=@new.key", folder.key("eu-1-a.key").public_key());
    assert_eq!(folder.propose(&action, "@signed").await.expect_err("no consent").code, "N-153");
    let consent_of = async |key: &str| {
        folder.run(&["governance", "consent", "--genesis", "@genesis.toml", "--action", &action, "--key", key]).await
    };
    assert_eq!(consent_of("@eu-1.key").await.expect_err("another key").code, "N-153");
    let consent = consent_of("@new.key").await.expect("its own key").text().to_owned();
    let old = consent_of("@eu-1-a.key").await.expect("the key that is replaced").text().to_owned();
    let renewed = folder.propose(&format!("{action},consent={consent},by-old-key={old}"), "@renewed").await;
    assert!(renewed.expect("it is signed").text().contains("by the word of the old one"));
    folder.propose(&format!("{action},consent={consent}"), "@signed").await.expect("it is signed");
    let Event::ProposalMade(made) = read(Path::new(&folder.file("signed"))).expect("it was written") else {
        panic!("another event")
    };
    let [Action::RotateKey { rotation, consent, by_old_key: None }] = made.terms.actions.as_slice() else {
        panic!("another action")
    };
    let claim = ledger::governance::KeyClaim::Rotation(rotation);
    claim.verify(&folder.consortium(), consent).expect("the new key signed");
}
