//! The validator set changes under running replicas.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use genesis::Parameters;
use openraft::EntryPayload;
use tokio::time::{Instant, sleep, timeout};
use wallet::{
    digest::Digest,
    units::{NodeId, Timestamp},
};

use super::{
    backup::{archive, replace},
    cluster::{Cluster, until},
    resumption::until_it_votes,
    watch_commits,
};
use crate::{
    block::View,
    event::{Entry, EntryBody, Event},
    evidence::{Evidence, EvidenceFile, Promise, entries_digest},
    governance::{
        Action, KeyClaim, Member, OperatorBallot, PROPOSALS_MAX, ProposalEnacted, ProposalTerms, Rotation, quorum,
    },
    hand_over::{CARRIERS_MAX, ValidatorSets},
    shell::{
        adoption::first_epoch,
        raft::block_of,
        transport::{PeerReply, PeerRequest, Word},
    },
    testing::{certify, next_node_key, node_key, operator_id, operator_key},
    vote::{Signed, VoteKind},
};

pub(super) const OPERATORS: u32 = 5;

/// Five nodes in a consortium in which nothing has to wait before it is enacted.
pub(super) async fn five() -> Cluster {
    let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
    Cluster::start_with(OPERATORS, parameters).await
}

pub(super) fn node(node: u32) -> NodeId {
    NodeId::new(node)
}

pub(super) fn suspend(of: u32) -> Action {
    Action::Suspend(Member::Node(node(of)))
}

pub(super) fn reinstate(of: u32) -> Action {
    Action::Reinstate { member: Member::Node(node(of)), key: node_key(of).public_key() }
}

fn rotate(cluster: &Cluster, of: u32) -> Action {
    let (from, to) = (node_key(of), next_node_key(of));
    let rotation = Rotation { member: Member::Node(node(of)), from: from.public_key(), to: to.public_key() };
    let sign = |key| KeyClaim::Rotation(&rotation).sign(&cluster.consortium.id(), key);
    let (consent, by_old_key) = (sign(&to), Some(sign(&from)));
    Action::RotateKey { rotation, consent, by_old_key }
}

impl Cluster {
    fn governing(&self, nonce: u8, event: Event) -> Entry {
        let (consortium, author) = (self.consortium.id(), node(0));
        EntryBody { consortium, author, nonce: [nonce; 16], event }.sign(&node_key(0), None)
    }

    async fn make_final(&self, entry: Entry) {
        let replica = self.replica(0);
        replica.submit(entry.clone()).expect("the state takes it");
        replica.wait_final(entry.id()).await.expect("final");
    }

    /// Proposes, approves and enacts a change at node 0.
    pub(super) async fn change(&self, number: u8, action: Action) {
        let proposal = self.pass(number, action).await;
        self.enact(number, proposal).await;
    }

    /// What the first operator may propose at node 0.
    fn terms(&self, number: u8, action: Action) -> ProposalTerms {
        let electorate = self.replica(0).state().state.governance().expect("founded").electorate;
        let (consortium, operator) = (self.consortium.id(), operator_id(0));
        ProposalTerms { consortium, electorate, operator, nonce: [number; 16], actions: vec![action] }
    }

    /// Proposes and approves a change at node 0.
    async fn pass(&self, number: u8, action: Action) -> Digest {
        let terms = self.terms(number, action);
        let proposal = terms.digest();
        let made = Event::ProposalMade(Box::new(terms.sign(&operator_key(0))));
        self.make_final(self.governing(16 * number, made)).await;
        let approving = u32::try_from(quorum(OPERATORS as usize)).expect("few");
        for operator in 1..approving {
            let ballot = OperatorBallot { proposal, operator: operator_id(operator), approves: true };
            let cast = Event::BallotCast(ballot.sign(&operator_key(operator)));
            let nonce = 16 * number + u8::try_from(operator).expect("few");
            self.make_final(self.governing(nonce, cast)).await;
        }
        proposal
    }

    async fn enact(&self, number: u8, proposal: Digest) {
        self.make_final(self.governing(16 * number + 15, Event::ProposalEnacted(ProposalEnacted { proposal }))).await;
    }

    fn epochs(&self) -> Vec<u64> {
        self.running().iter().map(|replica| replica.state().state.epoch()).collect()
    }

    pub(super) async fn all_reach(&self, epoch: u64) {
        until("the next epoch", || self.epochs().iter().all(|found| *found == epoch)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_says_beyond_its_measure_is_dropped_by_all_who_send_it() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    let (replica, one_more) = (cluster.replica(0), u8::try_from(PROPOSALS_MAX + 1).expect("few"));
    // Nothing becomes final, so each of them alone may still be taken.
    cluster.board.filter(|_, _, _| false);
    let proposed = (0..one_more).map(|number| {
        let made = cluster.terms(number, suspend(3)).sign(&operator_key(0));
        let entry = cluster.governing(number, Event::ProposalMade(Box::new(made)));
        replica.submit(entry).expect("the state takes it").id
    });
    let proposed: Vec<_> = proposed.collect();
    cluster.board.heal();
    let mut refused = Vec::new();
    for id in &proposed {
        let settled = timeout(Duration::from_secs(60), replica.wait_final(*id)).await.expect("it is not kept for ever");
        refused.extend(settled.err().map(|error| error.to_string()));
    }
    assert_eq!(refused, ["operator op-00 has 8 open proposals already"]);
    let holds_any = |node: u32| proposed.iter().any(|id| cluster.replica(node).shared.outbox.holds(id));
    until("nobody sends them on", || !(0..4).any(holds_any)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_and_comes_back_and_another_rotates_its_key() {
    let cluster = five().await;
    let watch = watch_commits(&cluster);
    cluster.finalize(0, 1).await;
    let changes = [(suspend(4), 1), (rotate(&cluster, 2), 2), (reinstate(4), 3)];
    for (action, epoch) in changes {
        cluster.change(u8::try_from(epoch).expect("few"), action).await;
        cluster.all_reach(epoch).await;
        let before = Instant::now();
        cluster.finalize(0, 10 + epoch).await;
        println!("epoch {epoch}: final again after {:?}", before.elapsed());
        let signer = cluster.replica(4).metrics().finality.epoch;
        assert_eq!(signer, epoch, "who has left follows");
    }
    cluster.settle().await;
    let (tip, term) = (cluster.replica(0).state(), cluster.replica(0).shared.terms.entered().term);
    assert_eq!((tip.view.epoch(), term >= View::first_term(3)), (3, true));
    let store = cluster.replica(3).store().clone();
    let hand_overs = store.hand_overs(3).expect("reads");
    let sets =
        ValidatorSets::proven(&cluster.consortium, &hand_overs, &[]).expect("an old quorum hands over each time");
    assert_eq!(sets.last(), &tip.validators());
    assert_eq!(sets.last().key(node(2)), Some(next_node_key(2).public_key()));
    assert!(!watch.is_finished(), "commit passed final");
    watch.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_during_whole_epochs_catches_up_and_restarts_go_on_in_the_epoch() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.close(3).await;
    cluster.change(1, suspend(4)).await;
    // Four of the next set, one of them down: three are a quorum.
    cluster.change(2, reinstate(4)).await;
    cluster.all_reach(2).await;
    cluster.open(3).await.expect("opens again");
    cluster.all_reach(2).await;
    cluster.finalize(3, 2).await;
    for restarted in 0..OPERATORS {
        cluster.close(restarted).await;
        cluster.open(restarted).await.expect("opens again");
        cluster.finalize((restarted + 1) % OPERATORS, 20 + u64::from(restarted)).await;
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_restart_right_after_a_closing_block_and_the_next_epoch_begins() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.change(1, suspend(4)).await;
    for node in 0..OPERATORS {
        cluster.close(node).await;
    }
    for node in 0..OPERATORS {
        cluster.open(node).await.expect("opens again");
    }
    cluster.finalize(0, 2).await;
    cluster.all_reach(1).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_at_the_closing_block_is_shown_how_its_epoch_ended() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.board.isolate(node(3));
    cluster.change(1, suspend(4)).await;
    cluster.finalize(0, 2).await;
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cluster.replica(3).state().state.epoch(), 0);
    cluster.board.heal();
    cluster.all_reach(1).await;
    cluster.finalize(3, 2).await;
    cluster.settle().await;
    let evidence = cluster.dir(0).join("evidence");
    let files = std::fs::read_dir(evidence).into_iter().flatten().flatten();
    let found: Vec<_> =
        files.map(|file| EvidenceFile::from_bytes(&std::fs::read(file.path()).expect("readable"))).collect();
    assert!(found.is_empty(), "nobody lied: {found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_lied_to_about_the_end_of_its_epoch_learns_the_truth_from_others() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    cluster.board.isolate(node(3));
    cluster.change(1, suspend(4)).await;
    cluster.finalize(0, 2).await;
    let (replica, lies) = (cluster.replica(0), Arc::new(AtomicU64::new(0)));
    let header = replica.store().header(replica.state().height).expect("reads").expect("final");
    let told = lies.clone();
    cluster.board.answer_falsely(move |to, from, reply| {
        let (certificate, carriers) = match reply {
            PeerReply::Closing(proof) => (&mut proof.certificate, &mut proof.carriers),
            PeerReply::LogEntries { certificate, carriers, .. } => (certificate, carriers),
            _ => return,
        };
        // One tells the truth, but not before every lie was told.
        let number = told.load(Ordering::Relaxed);
        if to != node(3) || (from == node(1) && number >= 4) {
            return;
        }
        told.store(number + 1, Ordering::Relaxed);
        match number % 4 {
            0 => certificate.block = header.parent,
            1 => certificate.signatures.truncate(2),
            2 => carriers.push(header.clone()),
            _ => carriers.extend(std::iter::repeat_n(header.clone(), CARRIERS_MAX + 1)),
        }
    });
    cluster.board.heal();
    cluster.all_reach(1).await;
    assert!(lies.load(Ordering::Relaxed) >= 4, "it was told every lie");
    cluster.board.be_honest();
    cluster.finalize(3, 2).await;
    cluster.settle().await;
}

/// The evidence that a node keeps, and whether it proves anything.
fn evidence_of(cluster: &Cluster, of: u32) -> Vec<EvidenceFile> {
    let files = fs::read_dir(cluster.dir(of).join("evidence")).into_iter().flatten().flatten();
    let read = |file: fs::DirEntry| EvidenceFile::from_bytes(&fs::read(file.path()).expect("readable"));
    files.map(|file| read(file).expect("an evidence file")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_block_that_a_carrier_made_final_is_shown_blamed_archived_and_restored() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let proposal = cluster.pass(1, suspend(4)).await;
    cluster.settle().await;
    cluster.board.isolate(node(3));
    // Nobody hears that anybody finalizes the block that ends the epoch, wherever in the log it comes to stand.
    let closed = AtomicU64::new(u64::MAX);
    cluster.board.lie(move |_, _, request| match request {
        PeerRequest::Append { rpc, .. } => {
            let enacts = |entry: &Entry| matches!(entry.body.event, Event::ProposalEnacted(_));
            let mut blocks = rpc.entries.iter().filter_map(|entry| block_of(entry.clone()));
            if let Some(block) = blocks.rfind(|block| block.entries.iter().any(enacts)) {
                closed.store(block.header.height.get(), Ordering::Relaxed);
            }
        }
        PeerRequest::Votes(words) => words.retain(|word| match word {
            Word::Vote(vote) => {
                vote.statement.kind != VoteKind::Finalize
                    || vote.statement.height.get() != closed.load(Ordering::Relaxed)
            }
            Word::Nullify { .. } => true,
        }),
        _ => {}
    });
    cluster.enact(1, proposal).await;
    cluster.finalize(0, 2).await;
    cluster.board.be_honest();
    cluster.board.heal();
    cluster.all_reach(1).await;
    cluster.finalize(3, 2).await;
    cluster.settle().await;
    let hand_over = |of: u32| cluster.replica(of).store().hand_overs(1).expect("reads").remove(0);
    let closing = hand_over(0).closing.height;
    for of in 0..OPERATORS {
        assert_eq!(hand_over(of).closing.height, closing);
        assert!(!hand_over(of).proof.carriers.is_empty(), "node {of} was shown the carriers");
    }
    // A node that restarts reads them from its disk.
    cluster.close(0).await;
    cluster.open(0).await.expect("opens again");
    cluster.finalize(0, 3).await;
    cluster.settle().await;
    // Somebody shows that the old quorum ended its epoch in two ways. What lies between is in the raft log alone.
    let blamer = cluster.replica(1);
    let mut other = blamer.store().block(closing).expect("reads").expect("final").block;
    other.header.time = Timestamp::new(other.header.time.get() + 1);
    let theirs = certify(&other, [0, 1, 2, 3]);
    blamer.shared.keep_fork(&hand_over(1).proof.certificate, &theirs).expect("kept");
    let kept = evidence_of(&cluster, 1);
    assert!(matches!(kept.iter().map(EvidenceFile::evidence).collect::<Vec<_>>()[..], [Evidence::Fork(_)]));
    let (_, culprits) = kept[0].verify(&cluster.consortium.id(), &[]).expect("it names them");
    assert!(culprits.len() > cluster.consortium.validators().faults_max());
    // An archive has the carriers, too, and whoever begins with it serves what comes after.
    let archive = archive(&cluster, 1).await;
    cluster.close(2).await;
    replace(&cluster, 2, &archive);
    let restored = cluster.open(2).await.expect("opens");
    assert_eq!(hand_over(2), hand_over(1));
    until_it_votes(&cluster, 2, 0).await;
    let begins = restored.shared.log.purged().expect("its log begins after the archive");
    let answer = restored.shared.log_entries(begins).await;
    assert!(matches!(answer, Ok(PeerReply::LogEntries { .. })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_nobody_judged_do_not_say_which_epoch_a_log_goes_on_in() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.finalize(0, 2).await;
    let shared = &cluster.replica(0).shared;
    let stored = shared.log.entries_from(1).expect("reads").into_iter().map(|stored| stored.entry);
    let mut entries: Vec<_> = stored.filter(|entry| matches!(entry.payload, EntryPayload::Normal(_))).collect();
    assert_eq!(first_epoch(&shared.store, &entries).expect("reads"), Some(0));
    let mut dead = block_of(entries[0].clone()).expect("a block");
    dead.header.epoch = u64::MAX;
    dead.header.view.term = u64::MAX;
    entries[0].payload = EntryPayload::Normal(dead.into());
    assert_eq!(first_epoch(&shared.store, &entries).expect("reads"), Some(0));
    assert_eq!(first_epoch(&shared.store, &entries[..1]).expect("reads"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_key_is_rotated_before_it_has_resumed_resumes_with_the_new_one() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.close(2).await;
    fs::remove_file(cluster.dir(2).join("votes")).expect("it was there");
    // What it says reaches nobody before its key is another.
    cluster.board.filter(|from, _, request| from != node(2) || !matches!(request, PeerRequest::Submit(_)));
    let replica = cluster.open(2).await.expect("opens");
    assert!(!replica.metrics().votes);
    cluster.change(1, rotate(&cluster, 2)).await;
    cluster.all_reach(1).await;
    cluster.board.heal();
    until_it_votes(&cluster, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_promises_with_the_key_that_the_ledger_names_even_if_it_was_asking_when_that_changed() {
    let cluster = five().await;
    cluster.finalize(0, 1).await;
    cluster.close(2).await;
    cluster.board.filter(|from, _, request| from != node(2) || !matches!(request, PeerRequest::Statements));
    let replica = cluster.open(2).await.expect("opens");
    cluster.change(1, rotate(&cluster, 2)).await;
    cluster.all_reach(1).await;
    assert!(!replica.metrics().votes, "nobody has answered it");
    cluster.board.heal();
    until("a quorum has answered", || replica.metrics().votes).await;
    let (entry, term) = (cluster.anchor(0, 9), View::first_term(1) + 9);
    let given = replica.shared.promises.give(&cluster.consortium.id(), term, std::slice::from_ref(&entry));
    let given = given.expect("little was promised");
    let entries = entries_digest(&[entry.leaf_hash()]);
    let statement = Promise { consortium: cluster.consortium.id(), epoch: 1, term, through: given.through, entries };
    let promise = Signed { statement, validator: node(2), signature: given.signature };
    assert!(promise.is_signed_by(&next_node_key(2).public_key()));
}
