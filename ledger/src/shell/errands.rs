//! The small tasks of a replica: each carries one kind of thing from here to there.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use openraft::error::Fatal;
use tokio::{sync::mpsc, time::sleep};
use wallet::units::NodeId;

use super::{
    core::Cut,
    fault::Fault,
    raft::Raft,
    shared::{PEER_TIMEOUT, Shared},
    transport::{CERTIFICATES_MAX, PeerReply, PeerRequest, VOTES_MAX, Word},
    validator::{Message, TICK},
};
use crate::finality::Input;

/// How often to look for a core while there is none.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The core is started again at most this often without a final block between.
const CORE_RESTARTS_MAX: u32 = 5;

/// Requests with votes that are under way to one node at most.
const VOTES_UNDER_WAY_MAX: usize = 4;

/// After so many questions for the same height, entries are asked for as well.
const ASKED_IN_VAIN: u32 = 2;

/// Tells the voting thread that time passes.
pub(crate) async fn tick(shared: Arc<Shared>) {
    loop {
        sleep(TICK).await;
        shared.tell_validator(Message::Tick);
    }
}

/// Shows the others that this leader is alive.
pub(crate) async fn heartbeat(shared: Arc<Shared>) {
    let every = Duration::from_millis(shared.consortium.parameters().heartbeat_ms);
    loop {
        sleep(every).await;
        if shared.leads().is_some()
            && let Some(raft) = shared.raft()
        {
            // An error means that the core has ended: see `watch_core`.
            let _ = raft.trigger().heartbeat().await;
        }
    }
}

/// Wakes the voting thread when the log changes.
pub(crate) async fn tell_of_log(shared: Arc<Shared>) {
    let mut flushed = shared.log.flushed();
    while flushed.changed().await.is_ok() {
        shared.tell_validator(Message::Log);
    }
}

/// Sends own votes to one node, as many at once as wait. A vote does not wait for the answer to the one before, or a
/// block would take half a round trip longer.
pub(crate) async fn send_votes(shared: Arc<Shared>, to: NodeId, mut words: mpsc::Receiver<Word>) {
    let (mut batch, mut under_way) = (Vec::new(), FuturesUnordered::new());
    loop {
        let reply = tokio::select! {
            count = words.recv_many(&mut batch, VOTES_MAX), if under_way.len() < VOTES_UNDER_WAY_MAX => {
                if count == 0 {
                    return;
                }
                let request = PeerRequest::Votes(std::mem::take(&mut batch));
                under_way.push(shared.transport.request(to, request, PEER_TIMEOUT));
                continue;
            }
            Some(reply) = under_way.next() => reply,
        };
        if let Ok(PeerReply::Closing(proof)) = reply {
            shared.tell_closing(proof);
        } else if let Ok(PeerReply::Votes { final_height, permit }) = reply {
            let mut peers = shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let known = peers.entry(to).or_insert(final_height);
            *known = final_height.max(*known);
            drop(peers);
            if let Some(permit) = permit {
                shared.tell_validator(Message::Input(Input::Nullification(*permit)));
            }
        }
    }
}

/// Asks the peers in turn for certificates that the voter misses, and where they do not help, for entries.
pub(crate) async fn fetch_certificates(shared: Arc<Shared>) {
    let mut asked = shared.asked.subscribe();
    let (mut turn, mut last, mut repeated) = (0, None, 0);
    while asked.changed().await.is_ok() {
        let Some(from) = *asked.borrow_and_update() else { continue };
        repeated = if last.replace(from) == Some(from) { repeated + 1 } else { 0 };
        let others = shared.lines.others();
        let Some(peer) = others.get(turn % others.len().max(1)) else { continue };
        turn += 1;
        shared.observed.fetch_from(*peer);
        let reply = shared.transport.request(*peer, PeerRequest::Certificates { from }, PEER_TIMEOUT).await;
        match reply {
            Ok(PeerReply::Certificates(certificates)) => {
                for certificate in certificates.into_iter().take(CERTIFICATES_MAX) {
                    shared.tell_validator(Message::Input(Input::Certificate(certificate)));
                }
            }
            Ok(PeerReply::Closing(proof)) => shared.tell_closing(proof),
            _ => {}
        }
        // Certificates alone do not help: the leader shows this node another log than the others.
        if repeated >= ASKED_IN_VAIN
            && let Err(fault) = shared.fetch_entries(*peer).await
        {
            return shared.fail(fault);
        }
    }
}

/// Cuts the log where the voter found a certificate against it.
pub(crate) async fn cut_on_demand(shared: Arc<Shared>, mut cuts: mpsc::UnboundedReceiver<Cut>) {
    while let Some(cut) = cuts.recv().await {
        if let Err(fault) = shared.self_cut(cut).await {
            shared.fail(fault);
        }
    }
}

/// Stops openraft when something else stopped the replica: a node that cannot vote must not order either.
pub(crate) async fn stop_core_on_fault(shared: Arc<Shared>) {
    let mut fault = shared.alarm.subscribe();
    if fault.wait_for(Option::is_some).await.is_ok()
        && let Some(raft) = shared.take_raft()
    {
        // An error means that the core has ended by itself.
        let _ = raft.shutdown().await;
    }
}

/// Starts openraft again when it ends by itself. A core that panicked left the log as it was at some earlier point, which
/// is where any restart begins. An error of the disk ends the replica: what the disk holds is not known then.
pub(crate) async fn watch_core(shared: Arc<Shared>) {
    let (mut restarts, mut height) = (0, shared.tip.borrow().height);
    loop {
        let Some(raft) = shared.raft() else {
            sleep(LOOK_AGAIN).await;
            continue;
        };
        let ended = wait_for_end(&raft).await;
        let _one_at_a_time = shared.guard.lock().await;
        // A self-cut or a shutdown takes the core away before it ends it.
        let is_current = shared.raft().is_some_and(|now| now.metrics().same_channel(&raft.metrics()));
        if !is_current {
            continue;
        }
        let now = shared.tip.borrow().height;
        restarts = if now > height { 1 } else { restarts + 1 };
        height = now;
        match ended {
            // A refused cut is none of the disk: what became final an instant ago stays, and the core starts on that.
            Some(fatal @ Fatal::StorageError(_)) if !shared.log.refused_a_cut() => {
                return shared.fail(Fault::Raft(fatal.to_string()));
            }
            _ if restarts > CORE_RESTARTS_MAX => {
                return shared.fail(Fault::Raft(format!("the core ended {restarts} times without a final block")));
            }
            ended => tracing::error!(?ended, restarts, "the core ended by itself: starting it again"),
        }
        if let Err(fault) = shared.restart_core(|_| Ok(())).await {
            return shared.fail(fault);
        }
    }
}

/// Returns when openraft's core has ended, with the reason if it gave one: a panic gives none.
async fn wait_for_end(raft: &Raft) -> Option<Fatal<u64>> {
    let mut metrics = raft.metrics();
    loop {
        if let Err(fatal) = &metrics.borrow_and_update().running_state {
            return Some(fatal.clone());
        }
        if metrics.changed().await.is_err() {
            return None;
        }
    }
}
