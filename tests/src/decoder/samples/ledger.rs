//! What consortium and ledger write: documents, entries, blocks, votes, proofs, and what replicas say to each other.

use std::sync::{Arc, LazyLock};

use genesis::{Auditor, Consortium};
use ledger::{
    archive,
    author::sign_batch,
    block::{Block, FinalBlock, View},
    bundle::{self, Grounds},
    certificate::{Certificate, Leadership, Nullification},
    event::MigrationOffered,
    evidence::{EvidenceFile, Promised, Receipt},
    finality::Statements,
    governance::{Action, Member},
    hand_over::{ClosingProof, HandOver},
    re_genesis::ReGenesisFile,
    shell::{
        lineage::Lineage,
        log_store::Link,
        raft::RaftEntry,
        terms::{Candidacy, Proof},
        transport::{Given, PeerRefusal, PeerReply, PeerRequest, SubmitReply, Word},
    },
    state::StateKey,
    state_proof,
    testing::{self, Chain, Session},
    vote::{Ballot, Grant, Nullify, Signed, SignedNullify, Vote, VoteKind},
};
use openraft::{
    CommittedLeaderId, EntryPayload, LogId,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use wallet::{
    codec::encode,
    digest::Digest,
    units::{BlockHeight, KeyEpoch, NodeId},
};

/// The size of the log at the checkpoint from which the bundles lead on.
pub(crate) const KEPT_AT: u64 = 3;

/// A wallet that moved from node 0 to node 1, with everything around it on the ledger.
struct Ledger {
    chain: Chain,
    /// Why the wallet moved.
    grounds: Grounds,
    bundle: Vec<u8>,
    /// The same move after the validators changed, and how they did.
    later: Vec<u8>,
    hand_overs: Vec<HandOver>,
    /// And after it began anew: a bundle, and the re-genesis.
    anew: Vec<u8>,
    re_genesis: ReGenesisFile,
}

static LEDGER: LazyLock<Ledger> = LazyLock::new(|| {
    let consortium = testing::consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    // The first of its log that the anchor covers; the other is about another wallet.
    let decisions = auditor::story::decisions_of(session.address, 1);
    let [decision, next] = [0, 1].map(|at| decisions[at].clone());
    chain.push(session.created()).expect("valid");
    chain.push(session.touched(&session.record(&chain), 1)).expect("valid");
    let baseline = session.baseline(&session.record(&chain), 9_000, 32);
    let baseline_id = baseline.id();
    chain.push(baseline).expect("valid");
    let wallet = session.record(&chain);
    let offer = session.offer(&wallet, 1, chain.tip.height.get() + 100);
    let offer = MigrationOffered { baseline: Some(baseline_id), decision: testing::decision_hash(&decision), ..offer };
    chain.push(session.offered(&wallet, offer)).expect("valid");
    chain.push(session.accepted(&session.record(&chain), 1)).expect("valid");
    let wallet = session.record(&chain);
    chain.push(session.confirmed(&wallet, session.ticket(&wallet))).expect("valid");
    chain.push(session.anchored(0, 7, testing::decision_hash(&next))).expect("valid");
    let grounds = Grounds { decision, later: vec![auditor::story::link(&next)] };
    let prove = |chain: &Chain| {
        let bundle = bundle::build(&consortium, chain, session.address, KeyEpoch::new(1), &grounds, Some(KEPT_AT));
        bundle.expect("provable").to_bytes()
    };
    let bundle = prove(&chain);
    let mut changed = chain.clone();
    changed.join(4, 0).expect("valid");
    changed.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    changed.carry(2);
    let later = prove(&changed);
    let mut left = chain.clone();
    let lost = [2, 3].map(|operator| Member::Operator(testing::operator_id(operator))).to_vec();
    left.begin_anew(0, lost).expect("valid");
    let hand_over = left.hand_overs.last().expect("it began anew").clone();
    let re_genesis = ReGenesisFile::new(hand_over).expect("a whole one");
    left.push(session.touched(&session.record(&left), 1)).expect("valid");
    let anew = prove(&left);
    chain.push(session.delta(&session.record(&chain), baseline_id, 4_000, 32)).expect("valid");
    chain.push(session.closed(&session.record(&chain))).expect("valid");
    govern(&mut chain);
    Ledger { chain, grounds, bundle, later, hand_overs: changed.hand_overs, anew, re_genesis }
});

/// Lets the consortium change in every way that leaves the validator set as it is, and proposes the other ways.
fn govern(chain: &mut Chain) {
    let (name, key_hash, from) = ("Auditor".to_owned(), Digest([3; 32]), testing::operator_key(3));
    let parameter = |from, to| Action::SetParameter { name: "credit_per_ms".to_owned(), from, to };
    let (operator, node) = (Member::Operator(testing::operator_id(3)), Member::Node(NodeId::new(2)));
    let rotating = chain.rotating(operator, &from, &testing::next_node_key(9));
    let granted = Action::GrantAuditor(Auditor { name, key_hash });
    let changes = vec![rotating, chain.joining_operator(4), granted, Action::RevokeAuditor(key_hash), parameter(1, 2)];
    chain.enact(changes).expect("valid");
    let joining = chain.joining_node(4, 4);
    let closing = vec![joining, Action::Suspend(node.clone()), chain.reinstating(node)];
    let proposal = chain.propose_actions(0, closing).expect("valid");
    chain.cast(1, proposal, false).expect("valid");
    chain.withdraw(0, proposal).expect("valid");
    let revoking = vec![Action::RevokeKey(testing::node_key(2).public_key())];
    chain.propose_actions(1, revoking).expect("valid");
}

pub(crate) fn consortium() -> Arc<Consortium> {
    LEDGER.chain.consortium.clone()
}

pub(crate) fn chain() -> &'static Chain {
    &LEDGER.chain
}

pub(crate) fn hand_overs() -> &'static [HandOver] {
    &LEDGER.hand_overs
}

pub(crate) fn genesis_texts() -> Vec<Vec<u8>> {
    vec![consortium().document().to_toml().into_bytes()]
}

pub(crate) fn genesis_bytes() -> Vec<Vec<u8>> {
    vec![consortium().to_bytes()]
}

pub(crate) fn configs() -> Vec<Vec<u8>> {
    let smallest = "data-dir = \"data\"\ngenesis = \"genesis.toml\"\nnode = \"node-00\"\nkey-file = \"node.key\"\n\
                    api-listen = \"127.0.0.1:8001\"\nmodel-dir = \"model\"\n";
    let rest = "peer-listen = \"127.0.0.1:7001\"\ntick = \"250ms\"\n\n[engine]\nblock-count = 64\nthreads = 2\n\n\
                [[tenants]]\nname = \"acme\"\nregions = [\"eu\", \"us\"]\nmaster-key-file = \"acme.key\"\napi-key-hash = ";
    vec![smallest.into(), format!("{smallest}{rest}\"{}\"\n", "ab".repeat(32)).into_bytes()]
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let chain = LEDGER.chain.entries().map(|(_, entry)| encode(entry));
    let bodies = LEDGER.chain.entries().take(3).map(|(_, entry)| (entry.body.clone(), None)).collect();
    chain.chain(sign_batch(bodies, &testing::node_key(0)).iter().map(encode)).collect()
}

/// What operators may sign is among them.
pub(crate) fn events() -> Vec<Vec<u8>> {
    LEDGER.chain.entries().map(|(_, entry)| encode(&entry.body.event)).collect()
}

pub(crate) fn blocks() -> Vec<Vec<u8>> {
    LEDGER.chain.blocks.iter().map(|(block, _)| encode(block)).collect()
}

pub(crate) fn votes() -> Vec<Vec<u8>> {
    [VoteKind::Notarize, VoteKind::Finalize].map(|kind| encode(&vote(kind))).to_vec()
}

fn vote(kind: VoteKind) -> Vote {
    let (block, _) = &LEDGER.chain.blocks[0];
    Vote::sign(Ballot::for_header(kind, &block.header), &testing::signer(2))
}

pub(crate) fn certificates() -> Vec<Vec<u8>> {
    LEDGER.chain.blocks.iter().map(|(_, certificate)| encode(certificate)).collect()
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    vec![LEDGER.bundle.clone(), LEDGER.later.clone(), LEDGER.anew.clone()]
}

pub(crate) fn re_geneses() -> Vec<Vec<u8>> {
    vec![LEDGER.re_genesis.to_bytes()]
}

/// A chain with a record of each kind, and a key of each.
pub(crate) fn recorded() -> &'static (Chain, Vec<StateKey>) {
    static RECORDED: LazyLock<(Chain, Vec<StateKey>)> = LazyLock::new(testing::every_record);
    &RECORDED
}

/// One for each kind of record, and of three keys under which there is none.
pub(crate) fn state_proofs() -> Vec<Vec<u8>> {
    static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let (chain, keys) = recorded();
        let absent = [StateKey::Account(NodeId::new(3)), StateKey::Entry(Digest::ZERO), StateKey::Node(NodeId::new(9))];
        let keys = keys.iter().chain(&absent);
        let proof = |key: &StateKey| state_proof::build(&chain.consortium, chain, key.clone()).expect("provable");
        keys.map(|key| proof(key).to_bytes()).collect()
    });
    FILES.clone()
}

pub(crate) fn archives() -> Vec<Vec<u8>> {
    let chain = chain();
    let blocks = chain.blocks.iter().cloned().map(|(block, certificate)| FinalBlock {
        block,
        certificate,
        carriers: Vec::new(),
    });
    let end = archive::end(archive::End { height: chain.tip.height, raft_index: 9 });
    let chain: Vec<u8> =
        [archive::head(&chain.consortium)].into_iter().chain(blocks.map(archive::block)).flatten().collect();
    let decision = archive::grounds(NodeId::ZERO, LEDGER.grounds.clone());
    vec![[chain.clone(), end.clone()].concat(), [chain, decision, end].concat()]
}

/// One file of each kind, and of each sort of fork.
pub(crate) fn evidence() -> Vec<Vec<u8>> {
    static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let samples = testing::evidence::samples(&consortium());
        samples
            .into_iter()
            .map(|(evidence, _)| EvidenceFile::new(&consortium(), Vec::new(), evidence).to_bytes())
            .collect()
    });
    FILES.clone()
}

/// What each kind of evidence shows that executes a block.
pub(crate) fn partial_states() -> Vec<Vec<u8>> {
    let consortium = consortium();
    let executions =
        [testing::evidence::invalid_block(&consortium), testing::evidence::broken_promise(&consortium).execution];
    executions.iter().map(|execution| encode(&execution.state)).collect()
}

/// A promise of the first epoch, and one with hand-overs that lead further.
pub(crate) fn receipts() -> Vec<Vec<u8>> {
    let consortium = consortium();
    let leaves: Vec<Digest> = LEDGER.chain.entries().take(3).map(|(_, entry)| entry.leaf_hash()).collect();
    let promise = testing::evidence::promise(&consortium, 1, 2, 5, &leaves);
    let promised = Promised { promise, leaves };
    [&[][..], hand_overs()].map(|ended| Receipt::new(&consortium, ended.to_vec(), promised.clone()).to_bytes()).to_vec()
}

pub(crate) fn ledger_requests() -> Vec<Vec<u8>> {
    let entries = LEDGER.chain.entries().map(|(_, entry)| entry.clone()).collect();
    let requests = [
        PeerRequest::Votes(vec![
            Word::Vote(vote(VoteKind::Notarize)),
            Word::Vote(vote(VoteKind::Finalize)),
            Word::Nullify { vote: nullify(2), best: Some(parent()) },
        ]),
        PeerRequest::Submit(entries),
        PeerRequest::Certificates { from: BlockHeight::new(3) },
        append(&LEDGER.chain.blocks[0].0),
        PeerRequest::Statements,
        PeerRequest::LogEntries { after: Link { log_id: log_id(1), chain: Digest([7; 32]) } },
        PeerRequest::Candidate(Box::new(Candidacy { term: 2, permit: Some(permit()), parent: Some(parent()) })),
    ];
    requests.iter().map(encode).collect()
}

pub(crate) fn ledger_replies() -> Vec<Vec<u8>> {
    let certificates = LEDGER.chain.blocks.iter().map(|(_, certificate)| certificate.clone()).collect();
    let replies = [
        PeerReply::Append(AppendEntriesResponse::Success),
        PeerReply::Granted(grant(1)),
        PeerReply::TermOver(Box::new(permit())),
        PeerReply::Votes { final_height: BlockHeight::new(7), permit: Some(Box::new(permit())) },
        PeerReply::Submit(SubmitReply::NotLeader(Some(NodeId::new(1)))),
        PeerReply::Submit(SubmitReply::Queued(Some(Given { term: 2, through: 3, signature: grant(1).signature }))),
        PeerReply::Certificates(certificates),
        PeerReply::Statements {
            held: Statements {
                votes: vec![vote(VoteKind::Finalize)],
                nullifies: vec![nullify(2)],
                grants: vec![grant(1)],
            },
            lineage: Lineage { number: 2, re_genesis: Digest([7; 32]) },
        },
        PeerReply::LogEntries {
            entries: vec![RaftEntry {
                log_id: log_id(2),
                payload: EntryPayload::Normal(LEDGER.chain.blocks[0].0.clone().into()),
            }],
            certificate: parent(),
            carriers: vec![LEDGER.chain.blocks[0].0.header.clone()],
        },
        PeerReply::Refused(PeerRefusal::WildTerm),
        PeerReply::Closing(Box::new(ClosingProof {
            certificate: parent(),
            carriers: vec![LEDGER.chain.blocks[0].0.header.clone()],
        })),
    ];
    replies.iter().map(encode).collect()
}

fn parent() -> Certificate {
    LEDGER.chain.blocks[0].1.clone()
}

fn nullify(node: u32) -> SignedNullify {
    let from = View { term: 1, number: 2 };
    let statement = Nullify { consortium: consortium().id(), epoch: 0, from, through: 1 };
    Signed::sign(statement, &testing::signer(node))
}

fn permit() -> Nullification {
    Nullification { votes: (0..3).map(nullify).collect() }
}

fn grant(node: u32) -> Signed<Grant> {
    let statement = Grant { consortium: consortium().id(), epoch: 0, term: 2, candidate: NodeId::new(1) };
    Signed::sign(statement, &testing::signer(node))
}

fn proof() -> Proof {
    let grants = (0..3).map(|node| (NodeId::new(node), grant(node).signature)).collect();
    Proof { leadership: Leadership { term: 2, leader: NodeId::new(1), grants }, permit: Some(permit()) }
}

fn append(block: &Block) -> PeerRequest {
    let entries = vec![
        RaftEntry { log_id: log_id(1), payload: EntryPayload::Blank },
        RaftEntry { log_id: log_id(2), payload: EntryPayload::Normal(block.clone().into()) },
    ];
    let vote = openraft::Vote::new_committed(1, 0);
    let rpc = AppendEntriesRequest { vote, prev_log_id: Some(log_id(0)), entries, leader_commit: None };
    PeerRequest::Append { rpc, prev_chain: Digest([7; 32]), proof: Some(Box::new(proof())) }
}

fn log_id(index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(1, 0), index)
}
