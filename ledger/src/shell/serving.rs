//! What a replica answers to its peers.

use wallet::units::{BlockHeight, NodeId};

use super::{
    log_store::blocking,
    shared::Shared,
    transport::{CERTIFICATES_MAX, ENTRIES_MAX, PeerRefusal, PeerReply, PeerRequest, SubmitReply, VOTES_MAX},
    validator::Message,
};
use crate::{apply::check_author, block::Vote, event::Entry, finality::Input};

impl Shared {
    /// Answers a request of node `from`.
    pub(crate) async fn serve(&self, from: NodeId, request: PeerRequest) -> Result<PeerReply, PeerRefusal> {
        match request {
            PeerRequest::Append { rpc, prev_chain } => {
                self.guarded_append(from, rpc, prev_chain).await.map(PeerReply::Append)
            }
            PeerRequest::RequestVote(rpc) => self.guarded_vote(from, rpc).await.map(PeerReply::RequestVote),
            PeerRequest::Votes(votes) => self.take_votes(from, votes),
            PeerRequest::Submit(entries) => self.take_entries(entries).map(PeerReply::Submit),
            PeerRequest::Certificates { from } => self.certificates(from).await,
        }
    }

    fn take_votes(&self, from: NodeId, votes: Vec<Vote>) -> Result<PeerReply, PeerRefusal> {
        if votes.len() > VOTES_MAX {
            return Err(PeerRefusal::Malformed);
        }
        if votes.iter().any(|vote| vote.validator != from) {
            return Err(PeerRefusal::NotSender);
        }
        for vote in votes {
            self.tell_validator(Message::Input(Input::Vote(vote)));
        }
        Ok(PeerReply::Votes { final_height: self.tip.borrow().height })
    }

    fn take_entries(&self, entries: Vec<Entry>) -> Result<SubmitReply, PeerRefusal> {
        if entries.len() > ENTRIES_MAX {
            return Err(PeerRefusal::Malformed);
        }
        let leader = self.leader();
        if leader != Some(self.me) {
            return Ok(SubmitReply::NotLeader(leader));
        }
        let known = |entry: &Entry| check_author(&self.consortium, entry).is_ok();
        Ok(self.queue.push(entries.into_iter().filter(known).collect()))
    }

    async fn certificates(&self, from: BlockHeight) -> Result<PeerReply, PeerRefusal> {
        let (store, until) = (self.store.clone(), self.tip.borrow().height.get());
        let last = from.get().saturating_add(CERTIFICATES_MAX as u64 - 1).min(until);
        let certificates = blocking(move || {
            let heights = (from.get().max(1)..=last).map(BlockHeight::new);
            heights.filter_map(|height| store.certificate(height).transpose()).collect()
        });
        certificates.await.map(PeerReply::Certificates).map_err(|fault| {
            self.fail(fault);
            PeerRefusal::NotReady
        })
    }
}
