//! Entries on their way to the leader, again and again until they are final or refused.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;
use wallet::units::NodeId;

use super::{
    promises::Named,
    shared::Shared,
    submission::Due,
    transport::{PeerReply, PeerRequest, SubmitReply},
};
use crate::event::Entry;

/// After this long an entry that is not final is sent again: to the leader, and by its author to everybody else, too.
pub(super) const SEND_AGAIN: Duration = Duration::from_millis(500);

/// Sends submitted entries for as long as the replica runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut last_leader = None;
    loop {
        let _ = timeout(SEND_AGAIN / 5, shared.outbox.added.notified()).await;
        let leader = shared.leader();
        if leader != last_leader {
            shared.outbox.forget_sent();
            last_leader = leader;
        }
        loop {
            let (entries, overdue) = due(&shared);
            if entries.is_empty() {
                break;
            }
            let (sent, ()) = tokio::join!(send(&shared, leader, entries), tell_others(&shared, leader, overdue));
            if !sent {
                break;
            }
        }
    }
}

/// What to send now, and what of it the leader was late with. What turned out final or refused is not sent any more.
fn due(shared: &Shared) -> (Vec<Entry>, Vec<Entry>) {
    let (mut entries, mut overdue) = (Vec::new(), Vec::new());
    for Due { entry, sent_before, for_other } in shared.outbox.due(SEND_AGAIN) {
        let id = entry.id();
        if shared.tip.borrow().state.entry(id).is_some() {
            // It became final between the check and the submission.
            shared.outbox.settle(&[id]);
            continue;
        }
        match sent_before.then(|| shared.check(&entry).err()).flatten() {
            Some(_) if for_other => shared.outbox.settle(&[id]),
            Some(refusal) => shared.outbox.refuse(id, refusal),
            None => {
                if sent_before && !for_other {
                    overdue.push(entry.clone());
                }
                entries.push(entry);
            }
        }
    }
    (entries, overdue)
}

/// Whether the leader took the entries.
async fn send(shared: &Shared, leader: Option<NodeId>, entries: Vec<Entry>) -> bool {
    match leader {
        Some(leader) => {
            let named = entries.iter().map(Named::from).collect();
            let reply = match leader == shared.me {
                true => Ok(PeerReply::Submit(shared.take_as_leader(entries, true))),
                false => shared.transport.request(leader, PeerRequest::Submit(entries), SEND_AGAIN).await,
            };
            match reply {
                Ok(PeerReply::Submit(SubmitReply::Queued(given))) => {
                    if let Some(given) = given {
                        shared.keep_promise(leader, given, named);
                    }
                    true
                }
                _ => false,
            }
        }
        None => false,
    }
}

/// Shows entries to those that do not lead: a leader that ignores an author is then complained of by all.
async fn tell_others(shared: &Shared, leader: Option<NodeId>, entries: Vec<Entry>) {
    if entries.is_empty() || leader.is_none() {
        return;
    }
    let others = shared.lines.others().into_iter().filter(|node| Some(*node) != leader);
    let request = |node| shared.transport.request(node, PeerRequest::Submit(entries.clone()), SEND_AGAIN);
    join_all(others.map(request)).await;
}
