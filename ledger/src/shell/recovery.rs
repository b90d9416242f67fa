//! What a node knew before it was restored from a backup, and when it knows that again.
//!
//! What is final grows, and whoever keeps something beside the ledger relies on it: a node's sessions are judged by what was
//! final when it started. A restored ledger may be older than they are. All that this node ever knew is final here again
//! - when its return is final: its `ValidatorResumed` was made after everything that it knew, and is of this start;
//! - or, where the others are no quorum without it, so that it cannot return and goes on with the vote record that it has
//!   kept, at the last block that it finalized: without its vote nothing became final;
//! - or, where its vote record begins with a re-genesis, at once: it knew nothing of what follows that, and what was above
//!   the block before it is dropped.

use super::{
    final_store::Tip, join::was_validator, log_store::LogStore, resumption::Custody, validator::Validator,
    vote_record::Votes,
};
use crate::finality::VoteRecord;

/// Whether nothing has become final on this ledger since it was restored from a backup or taken from others.
pub(crate) fn is_restored(log: &LogStore, tip: &Tip) -> bool {
    log.purged().is_some_and(|link| Some(link.log_id) == tip.log_id)
}

/// Whether this is the first start on a restored ledger, and others can make its return final. A vote record that was
/// kept says what its key signed, but not what became final without its vote.
pub(crate) fn must_return(log: &LogStore, tip: &Tip, votes: &Votes) -> bool {
    let validators = tip.executed.validators();
    let may_return = validators.key(votes.node).is_none() || validators.quorum() < validators.members.len();
    // One that joins has nothing to come back from.
    let has_voted = votes.record != VoteRecord::default() || was_validator(&tip.executed.state, votes.node);
    // Nor has one whose record begins here with a re-genesis, however often it starts before the next block is final: all
    // that its key ever said in the name that is in force since is in that record.
    let is_whole = votes.begun == Some(tip.executed.digest);
    is_restored(log, tip) && may_return && has_voted && !is_whole
}

impl Validator {
    /// Notes when all that this node ever knew is final here again.
    pub(crate) fn note_recovery(&self) {
        let index = |at: Option<super::raft::RaftLogId>| at.map(|at| at.index);
        let knows = index(*self.shared.final_at.borrow()) >= index(self.votes.finalized_at);
        if knows && self.custody == Custody::Trusted && !*self.shared.recovered.borrow() {
            self.shared.recovered.send_replace(true);
        }
    }
}
