//! The small tasks of a replica: each carries one kind of thing from here to there.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use wallet::units::NodeId;

use super::{
    fault::Fault,
    shared::{PEER_TIMEOUT, Shared},
    submission::Due,
    transport::{PeerReply, PeerRequest, SubmitReply, VOTES_MAX},
    validator::Message,
};
use crate::{block::Vote, finality::Input};

/// After this long an entry that is not final is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(500);

/// Wakes the voting thread when the log changes.
pub(crate) async fn tell_of_log(shared: Arc<Shared>) {
    let mut flushed = shared.log.flushed();
    while flushed.changed().await.is_ok() {
        shared.tell_validator(Message::Log);
    }
}

/// Sends own votes to one node, as many at once as wait.
pub(crate) async fn send_votes(shared: Arc<Shared>, to: NodeId, mut votes: mpsc::Receiver<Vote>) {
    let mut batch = Vec::new();
    while votes.recv_many(&mut batch, VOTES_MAX).await > 0 {
        let request = PeerRequest::Votes(std::mem::take(&mut batch));
        if let Ok(PeerReply::Votes { final_height }) = shared.transport.request(to, request, PEER_TIMEOUT).await {
            shared.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(to, final_height);
        }
    }
}

/// Sends submitted entries to the leader until they are final or refused.
pub(crate) async fn send_entries(shared: Arc<Shared>) {
    let mut last_leader = None;
    loop {
        let _ = timeout(SEND_AGAIN / 5, shared.outbox.added.notified()).await;
        let leader = shared.leader();
        if leader != last_leader {
            shared.outbox.forget_sent();
            last_leader = leader;
        }
        loop {
            let due = shared.outbox.due(SEND_AGAIN);
            if due.is_empty() {
                break;
            }
            let mut entries = Vec::new();
            for Due { id, entry, sent_before } in due {
                if shared.tip.borrow().state.entry(id).is_some() {
                    // It became final between the check and the submission.
                    shared.outbox.settle(std::slice::from_ref(&entry));
                } else if let Some(refusal) = sent_before.then(|| shared.check(&entry).err()).flatten() {
                    shared.outbox.refuse(id, refusal);
                } else {
                    entries.push(entry);
                }
            }
            match leader {
                Some(leader) if leader == shared.me => {
                    shared.queue.push(entries);
                }
                Some(leader) => {
                    let request = PeerRequest::Submit(entries);
                    let reply = shared.transport.request(leader, request, PEER_TIMEOUT).await;
                    if !matches!(reply, Ok(PeerReply::Submit(SubmitReply::Queued))) {
                        break;
                    }
                }
                None => break,
            }
        }
    }
}

/// Asks the peers in turn for certificates that the voter misses.
pub(crate) async fn fetch_certificates(shared: Arc<Shared>) {
    let mut asked = shared.asked.subscribe();
    let mut turn = 0;
    while asked.changed().await.is_ok() {
        let Some(from) = *asked.borrow_and_update() else { continue };
        let others: Vec<NodeId> = shared.outgoing_votes.keys().copied().collect();
        let Some(peer) = others.get(turn % others.len().max(1)) else { continue };
        turn += 1;
        let reply = shared.transport.request(*peer, PeerRequest::Certificates { from }, PEER_TIMEOUT).await;
        if let Ok(PeerReply::Certificates(certificates)) = reply {
            for certificate in certificates {
                shared.tell_validator(Message::Input(Input::Certificate(certificate)));
            }
        }
    }
}

/// Cuts the log where the voter found a certificate against it.
pub(crate) async fn cut_on_demand(shared: Arc<Shared>, mut cuts: mpsc::UnboundedReceiver<u64>) {
    while let Some(from) = cuts.recv().await {
        if let Err(fault) = shared.self_cut(from).await {
            shared.fail(fault);
        }
    }
}

/// Stops openraft when something else stopped the replica: a node that cannot vote must not order either.
pub(crate) async fn stop_core_on_fault(shared: Arc<Shared>) {
    let mut fault = shared.fault.subscribe();
    if fault.wait_for(Option::is_some).await.is_ok()
        && let Some(raft) = shared.take_raft()
    {
        // An error means that the core has ended by itself.
        let _ = raft.shutdown().await;
    }
}

/// Notices when openraft stops by itself, be it by an error of the disk or a panic.
pub(crate) async fn watch_core(shared: Arc<Shared>) {
    loop {
        let Some(raft) = shared.raft() else {
            sleep(SEND_AGAIN).await;
            continue;
        };
        let mut metrics = raft.metrics();
        let ended = loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                break fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                break "the core ended without a word".to_owned();
            }
        };
        // A self-cut or a shutdown takes the core away before it ends it.
        let is_current = shared.raft().is_some_and(|now| now.metrics().same_channel(&metrics));
        if is_current {
            return shared.fail(Fault::Raft(ended));
        }
        sleep(SEND_AGAIN / 10).await;
    }
}
