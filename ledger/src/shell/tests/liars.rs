//! One node lies on the wire. It never makes the others follow it, stop, or panic.

use std::sync::Arc;

use openraft::{
    CommittedLeaderId, EntryPayload, LogId,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use wallet::{
    digest::Digest,
    units::{NodeId, Timestamp},
};

use super::cluster::{Cluster, until};
use crate::{
    block::{Block, View},
    certificate::{Leadership, Nullification},
    execute::{Place, propose},
    shell::{
        core::nobodys_entry,
        log_store::{Link, chain_hash},
        raft::{RaftEntry, RaftVote},
        replica::{EntryStatus, Replica},
        terms::{Candidacy, Proof},
        transport::{PeerRefusal, PeerReply, PeerRequest, SubmitReply, Word},
    },
    testing,
    vote::{Grant, Nullify, Signed},
};

/// What the node's guard holds of terms and votes.
fn stand(replica: &Replica) -> (u64, Option<RaftVote>, Option<NodeId>) {
    let shared = &replica.shared;
    let leads = shared.terms.leads().map(|proof| proof.leadership.leader);
    (shared.terms.entered().term, shared.log.vote().expect("reads"), leads)
}

/// The same block a moment later: as valid, and another.
fn twin(cluster_consortium: &genesis::Consortium, leader: &Replica, block: &Block, later_ms: u64) -> Option<Block> {
    let parent = leader.state();
    if parent.digest != block.header.parent {
        return None;
    }
    let place = Place {
        parent: (*parent).clone(),
        certificate: block.parent_certificate.clone(),
        carriers: Vec::new(),
        skipped: block.skipped.clone(),
        view: block.header.view,
        after: block.header.after,
    };
    let time = Timestamp::new(block.header.time.get() + later_ms);
    let signer = testing::signer(block.header.leader.get());
    Some(propose(cluster_consortium, place, &signer, time, block.entries.clone()).block)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_a_later_epoch_without_proof_waits_in_its_speakers_share() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    let (liar, replica) = (NodeId::new(3), cluster.replica(0));
    let append = || PeerRequest::Append {
        rpc: AppendEntriesRequest {
            vote: RaftVote::new_committed(View::first_term(9), 3),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        },
        prev_chain: Digest::ZERO,
        proof: None,
    };
    let refused = |reply: &PeerReply| match reply {
        PeerReply::Refused(refusal) => Some(*refusal),
        _ => None,
    };
    assert_eq!(refused(&replica.serve(liar, append()).await), Some(PeerRefusal::Unproven));
    replica.shared.lines.share(liar).expect("a line").close();
    let answer = replica.serve(liar, append()).await;
    assert_eq!(refused(&answer), Some(PeerRefusal::NotReady), "it has no share any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shows_each_follower_another_block_is_replaced_and_nothing_forks() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let liar = cluster.leader().await;
    let term = cluster.replica(liar).shared.terms.entered().term;
    let (consortium, replica) = (cluster.consortium.clone(), cluster.replica(liar));
    cluster.board.lie(move |from, to, request| {
        let PeerRequest::Append { rpc, .. } = request else { return };
        if from != NodeId::new(liar) {
            return;
        }
        for entry in &mut rpc.entries {
            let EntryPayload::Normal(packed) = &mut entry.payload else { continue };
            if let Some(twin) = twin(&consortium, &replica, packed.block(), u64::from(to.get()) + 1) {
                *packed = twin.into();
            }
        }
    });
    let author = (liar + 1) % 4;
    cluster.finalize(author, 2).await;
    assert!(cluster.replica(author).shared.terms.entered().term > term);
    cluster.board.be_honest();
    cluster.settle().await;
    cluster.finalize(liar, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_in_a_term_that_nobody_granted_changes_nothing() {
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let (liar, victim) = (NodeId::new((leader + 1) % 4), cluster.replica((leader + 2) % 4));
    let before = stand(&victim);
    for term in [before.0, before.0 + 1, 100, u64::MAX] {
        let own_grant = {
            let statement = Grant { consortium: cluster.consortium.id(), epoch: 0, term, candidate: liar };
            Signed::sign(statement, &testing::signer(liar.get())).signature
        };
        // Three times the liar's own word.
        let grants = [0, 1, 2, 3].map(|node| (NodeId::new(node), own_grant)).to_vec();
        let proofs = [
            None,
            Some(Proof { leadership: Leadership { term, leader: liar, grants }, permit: None }),
            cluster.replica(leader).shared.terms.leads().map(Arc::unwrap_or_clone),
        ];
        for proof in proofs {
            let rpc = AppendEntriesRequest {
                vote: RaftVote::new_committed(term, u64::from(liar.get())),
                prev_log_id: None,
                entries: Vec::new(),
                leader_commit: None,
            };
            let request =
                PeerRequest::Append { rpc, prev_chain: wallet::digest::Digest::ZERO, proof: proof.map(Box::new) };
            let reply = victim.serve(liar, request).await;
            assert!(matches!(reply, PeerReply::Refused(PeerRefusal::Unproven)), "{reply:?}");
        }
    }
    assert_eq!(stand(&victim), before);
    cluster.finalize(liar.get(), 2).await;
    assert_eq!(stand(&victim), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_a_higher_vote_deposes_nobody() {
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let liar = NodeId::new((leader + 1) % 4);
    let before = stand(&cluster.replica(leader));
    cluster.board.answer_falsely(move |_, answers, reply| {
        if answers == liar && matches!(reply, PeerReply::Append(_)) {
            let vote = RaftVote::new_committed(1001, u64::from(liar.get()));
            *reply = PeerReply::Append(AppendEntriesResponse::HigherVote(vote));
        }
    });
    for decisions in 2..6 {
        cluster.finalize(leader, decisions).await;
    }
    assert_eq!(stand(&cluster.replica(leader)), before);
    cluster.board.be_honest();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_no_honest_node_gives_do_not_stop_the_leader() {
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let liar = NodeId::new((leader + 1) % 4);
    let before = stand(&cluster.replica(leader));
    let turn = std::sync::atomic::AtomicUsize::new(0);
    cluster.board.answer_falsely(move |_, answers, reply| {
        if answers != liar {
            return;
        }
        // Of this leader, and yet before everything that it appended.
        let early = LogId::new(CommittedLeaderId::new(before.0, u64::from(leader)), 1);
        let far = LogId::new(CommittedLeaderId::new(u64::MAX, 1), u64::MAX);
        let lies = [
            PeerReply::Append(AppendEntriesResponse::Conflict),
            PeerReply::Append(AppendEntriesResponse::Success),
            PeerReply::Append(AppendEntriesResponse::PartialSuccess(Some(far))),
            PeerReply::Append(AppendEntriesResponse::PartialSuccess(Some(early))),
            PeerReply::Append(AppendEntriesResponse::PartialSuccess(None)),
            PeerReply::TermOver(Box::new(Nullification { votes: Vec::new() })),
            PeerReply::Refused(PeerRefusal::Unproven),
            PeerReply::Certificates(Vec::new()),
        ];
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(lie) = lies.into_iter().nth(turn % 9) {
            *reply = lie;
        }
    });
    for decisions in 2..12 {
        cluster.finalize(leader, decisions).await;
    }
    assert_eq!(stand(&cluster.replica(leader)), before);
    cluster.board.be_honest();
    cluster.settle().await;
}

/// What a leader may append after `last` that is no block, and where its log ends then.
pub(super) fn blanks(last: Link, leader: CommittedLeaderId<u64>, count: u64) -> (Vec<RaftEntry>, Link) {
    let log_id = |number| LogId::new(leader, last.log_id.index + number);
    let blank = |number| RaftEntry { log_id: log_id(number), payload: EntryPayload::Blank };
    let entries: Vec<RaftEntry> = (1..=count).map(blank).collect();
    let chain = entries.iter().fold(last.chain, chain_hash);
    (entries, Link { log_id: log_id(count), chain })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_fills_the_logs_with_is_bounded_and_stops_none_of_its_successors() {
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let liar = cluster.replica(leader);
    let proof = liar.shared.terms.leads().expect("it leads");
    let id = CommittedLeaderId::new(proof.leadership.term, u64::from(leader));
    cluster.board.isolate(NodeId::new(leader));
    for victim in (0..4).filter(|node| *node != leader).map(|node| cluster.replica(node)) {
        let mut last = victim.shared.log.last().expect("a log");
        // More than one range of openraft, and as much as one leader may have.
        for round in 0..5 {
            let (entries, end) = blanks(last, id, 256);
            let rpc = AppendEntriesRequest {
                vote: RaftVote::new_committed(id.term, id.node_id),
                prev_log_id: Some(last.log_id),
                entries,
                leader_commit: None,
            };
            let request = PeerRequest::Append { rpc, prev_chain: last.chain, proof: Some(Box::new((*proof).clone())) };
            let reply = victim.serve(NodeId::new(leader), request).await;
            let is_taken = matches!(reply, PeerReply::Append(AppendEntriesResponse::Success));
            assert_eq!(is_taken, round < 4, "round {round}: {reply:?}");
            last = end;
        }
    }
    let author = (leader + 1) % 4;
    cluster.finalize(author, 2).await;
    cluster.board.heal();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_its_leader_did_not_sign_gets_into_no_log() {
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let (liar, victim) = (cluster.replica(leader), cluster.replica((leader + 1) % 4));
    let proof = liar.shared.terms.leads().expect("it leads");
    cluster.board.isolate(NodeId::new(leader));
    let last = victim.shared.log.last().expect("a log");
    let id = CommittedLeaderId::new(proof.leadership.term, u64::from(leader));
    let parent = victim.state();
    let view = View { term: id.term, number: parent.view.number + 1 };
    let place = Place {
        parent: (*parent).clone(),
        certificate: None,
        carriers: Vec::new(),
        skipped: None,
        view,
        after: last.chain,
    };
    let now = Timestamp::new(parent.time.get() + 1);
    let signed = propose(&cluster.consortium, place, &testing::signer(leader), now, Vec::new()).block;
    let mut forged = signed.clone();
    forged.proposal.0[9] ^= 1;
    for (block, is_taken) in [(forged, false), (signed, true)] {
        let rpc = AppendEntriesRequest {
            vote: RaftVote::new_committed(id.term, id.node_id),
            prev_log_id: Some(last.log_id),
            entries: vec![RaftEntry {
                log_id: LogId::new(id, last.log_id.index + 1),
                payload: EntryPayload::Normal(block.into()),
            }],
            leader_commit: None,
        };
        let request = PeerRequest::Append { rpc, prev_chain: last.chain, proof: Some(Box::new((*proof).clone())) };
        let reply = victim.serve(NodeId::new(leader), request).await;
        assert_eq!(matches!(reply, PeerReply::Append(AppendEntriesResponse::Success)), is_taken, "{reply:?}");
        assert_eq!(victim.shared.log.last() != Some(last), is_taken);
    }
    cluster.board.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_nodes_wild_terms_end_nothing() {
    let cluster = Cluster::start_patient(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let (liar, victim) = (NodeId::new((leader + 1) % 4), cluster.replica((leader + 2) % 4));
    let before = stand(&victim);
    let signer = testing::signer(liar.get());
    for through in [before.0, 1 << 40, u64::MAX] {
        let statement =
            Nullify { consortium: cluster.consortium.id(), epoch: 0, from: View { term: 0, number: 1 }, through };
        let vote = Signed::sign(statement, &signer);
        let reply = victim.serve(liar, PeerRequest::Votes(vec![Word::Nullify { vote, best: None }])).await;
        assert!(matches!(reply, PeerReply::Votes { permit: None, .. }), "{reply:?}");
        let permits = [None, Some(Nullification { votes: vec![vote; 3] }), Some(Nullification { votes: vec![vote] })];
        for permit in permits {
            for term in [before.0 + 1, through.max(before.0 + 2)] {
                let candidacy = Candidacy { term, permit: permit.clone(), parent: None };
                let reply = victim.serve(liar, PeerRequest::Candidate(Box::new(candidacy))).await;
                assert!(matches!(reply, PeerReply::Refused(PeerRefusal::NotGranted)), "{reply:?}");
            }
        }
    }
    cluster.finalize(leader, 2).await;
    assert_eq!(stand(&victim), before);
    until("the leader leads on", || cluster.replica(leader).shared.leads_in(before.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_its_leader_starves_gets_the_entries_from_the_others() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    // Not the one that leads next, whom a leader of its own would not starve.
    let starved = (leader + 2) % 4;
    let (from_leader, to_starved) = (NodeId::new(leader), NodeId::new(starved));
    cluster.board.filter(move |from, to, request| {
        (from, to) != (from_leader, to_starved) || !matches!(request, PeerRequest::Append { .. })
    });
    let term = cluster.replica(leader).shared.terms.entered().term;
    let entry = cluster.finalize(leader, 2).await;
    let replica = cluster.replica(starved);
    replica.wait_final(entry).await.expect("final there, too");
    let first = cluster.finalize(leader, 3).await;
    replica.wait_final(first).await.expect("final there, too");
    assert_eq!(cluster.replica(leader).shared.terms.entered().term, term, "one node's complaint ended the term");
    cluster.board.heal();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_a_peer_changed_are_not_adopted() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    // Whoever leads: a change of leader changes nothing.
    let starved = (leader + 2) % 4;
    let to_starved = NodeId::new(starved);
    cluster.board.filter(move |_, to, request| to != to_starved || !matches!(request, PeerRequest::Append { .. }));
    cluster.board.answer_falsely(move |asks, _, reply| {
        if let PeerReply::LogEntries { entries, .. } = reply
            && asks == to_starved
            && let Some(first) = entries.first_mut()
        {
            first.log_id.leader_id.term += 1;
        }
    });
    let before = cluster.replica(starved).shared.log.last();
    cluster.finalize(leader, 2).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(cluster.replica(starved).shared.log.last(), before);
    cluster.board.be_honest();
    cluster.board.heal();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_shown_another_log_still_brings_its_entries_to_the_leader() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    let leader = cluster.leader().await;
    let (starved, author) = (NodeId::new((leader + 1) % 4), (leader + 2) % 4);
    cluster.board.lie(move |_, to, request| {
        if let PeerRequest::Append { prev_chain, .. } = request
            && to == starved
        {
            *prev_chain = Digest([9; 32]);
        }
    });
    // A term of which openraft never sees an append there.
    cluster.close(leader).await;
    cluster.open(leader).await.expect("opens again");
    cluster.finalize(author, 2).await;
    cluster.close(starved.get()).await;
    let replica = cluster.open(starved.get()).await.expect("opens again");
    let entry = cluster.anchor(starved.get(), 3);
    replica.submit(entry.clone()).expect("the state takes it");
    let other = cluster.replica(author);
    until("it is final", || matches!(other.status(entry.id()), EntryStatus::Final(_))).await;
    cluster.board.be_honest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_what_became_final_an_instant_ago_restarts_the_core_and_stops_nobody() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    let victim = (cluster.leader().await + 1) % 4;
    let (to_victim, replica) = (NodeId::new(victim), cluster.replica(victim));
    // openraft does not hear there what is committed, as it has not yet in that instant.
    cluster.board.lie(move |_, to, request| {
        if let PeerRequest::Append { rpc, .. } = request
            && to == to_victim
        {
            rpc.leader_commit = None;
        }
    });
    cluster.finalize(0, 2).await;
    cluster.settle().await;
    let before = replica.state();
    let final_index = replica.shared.final_at.borrow().expect("a final block").index;
    let raft = replica.shared.raft().expect("it runs");
    // What the guard let pass just before: the leader shows a log that parts there.
    let late = AppendEntriesRequest {
        vote: replica.shared.log.vote().expect("reads").expect("a vote"),
        prev_log_id: Some(nobodys_entry(final_index)),
        entries: Vec::new(),
        leader_commit: None,
    };
    // Whether there still is an answer does not matter.
    let _ = raft.append_entries(late).await;
    let is_another = || replica.shared.raft().is_some_and(|now| !now.metrics().same_channel(&raft.metrics()));
    until("the core was started again", || is_another() || replica.fault().borrow().is_some()).await;
    assert!(replica.fault().borrow().is_none(), "{:?}", replica.fault().borrow());
    cluster.board.be_honest();
    cluster.finalize(victim, 3).await;
    cluster.settle().await;
    let kept = replica.store().block(before.height).expect("reads").expect("it is there");
    assert_eq!(kept.block.header.digest(), before.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_that_the_leader_did_not_sign_is_shown_to_nobody() {
    let cluster = Cluster::start(4).await;
    cluster.finalize(0, 1).await;
    cluster.settle().await;
    // Nothing becomes final, so that promises stay.
    cluster.board.filter(|_, _, request| !matches!(request, PeerRequest::Votes(_)));
    let author = (cluster.leader().await + 1) % 4;
    let replica = cluster.replica(author);
    let submitted = |decisions| replica.submit(cluster.anchor(author, decisions)).expect("the state takes it").id;
    let honest = submitted(8);
    until("it was promised", || replica.promise(honest).is_some()).await;
    cluster.board.answer_falsely(|_, _, reply| {
        if let PeerReply::Submit(SubmitReply::Queued(Some(given))) = reply {
            given.signature.0[0] ^= 1;
        }
    });
    let cheated = submitted(9);
    until("something was said", || replica.shared.promises.for_entry(&cheated, |_| true).is_some()).await;
    assert_eq!(replica.promise(cheated), None);
    assert_eq!(replica.status(cheated), EntryStatus::Submitted);
}
