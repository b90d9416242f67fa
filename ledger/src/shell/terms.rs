//! In which term this node is, who leads it, and what proves both. openraft is told; it is never asked.
//!
//! openraft believes any vote that it is shown, so it holds no elections here: a quorum ends a term by nullify votes,
//! a quorum grants the next one to a node, and each node then sets the raft vote of its own core to what is proven.

use std::sync::Arc;

use genesis::ValidatorSet;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wallet::{digest::Digest, units::NodeId};

use super::{
    raft::{RaftVote, leader_of, raft_id},
    transport::PeerRefusal,
};
use crate::certificate::{Certificate, Leadership, Nullification};

/// What a node shows that stands for leader: that it could propose at once, and that nothing else can become final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidacy {
    /// The raft term.
    pub term: u64,
    /// Why that term may begin, and why no view after that of `parent` can make a block final; none for the
    /// first term of an epoch.
    pub permit: Option<Nullification>,
    /// Of the block on which the candidate will build; none if that is genesis or closed the epoch before.
    pub parent: Option<Certificate>,
}

/// What the first appends of a leader carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// A quorum's grants.
    pub leadership: Leadership,
    /// Why the terms before are over; none for the first term of an epoch.
    pub permit: Option<Nullification>,
}

/// The term in which a node is.
#[derive(Clone, Debug)]
pub(crate) struct Entered {
    pub(crate) term: u64,
    /// Why the terms before are over. None in the first of an epoch, and after a start until it is shown again.
    pub(crate) permit: Option<Arc<Nullification>>,
}

/// See the module.
pub(crate) struct Terms {
    entered: watch::Sender<Entered>,
    leads: watch::Sender<Option<Arc<Proof>>>,
}

impl Terms {
    /// After a start in `term`, which the vote record holds.
    pub(crate) fn new(term: u64) -> Self {
        Self { entered: watch::Sender::new(Entered { term, permit: None }), leads: watch::Sender::new(None) }
    }

    pub(crate) fn entered(&self) -> Entered {
        self.entered.borrow().clone()
    }

    pub(crate) fn watch_entered(&self) -> watch::Receiver<Entered> {
        self.entered.subscribe()
    }

    /// The voter entered `term`.
    pub(crate) fn enter(&self, term: u64, permit: Option<Nullification>) {
        self.entered.send_if_modified(|now| {
            let is_newer = term > now.term || (term == now.term && now.permit.is_none() && permit.is_some());
            if is_newer {
                *now = Entered { term, permit: permit.map(Arc::new) };
            }
            is_newer
        });
    }

    /// The proof of the leader of the highest term that has one here.
    pub(crate) fn leads(&self) -> Option<Arc<Proof>> {
        self.leads.borrow().clone()
    }

    /// The proof of the leadership of `term`, if it is here.
    pub(crate) fn proof_of(&self, term: u64) -> Option<Arc<Proof>> {
        self.leads().filter(|proof| proof.leadership.term == term)
    }

    /// Whether it is proven here that `node` leads `term`.
    pub(crate) fn is_led_by(&self, term: u64, node: NodeId) -> bool {
        let leads = self.leads.borrow();
        leads.as_ref().is_some_and(|proof| proof.leadership.term == term && proof.leadership.leader == node)
    }

    /// Takes the proof that `leader` leads `term`. `validators` are those of its epoch.
    ///
    /// # Errors
    /// [`PeerRefusal::Unproven`] if it does not prove that.
    pub(crate) fn prove(
        &self,
        validators: &ValidatorSet,
        consortium: &Digest,
        term: u64,
        leader: NodeId,
        proof: Proof,
    ) -> Result<(), PeerRefusal> {
        let leadership = &proof.leadership;
        if (leadership.term, leadership.leader) != (term, leader) {
            return Err(PeerRefusal::Unproven);
        }
        leadership.verify(validators, consortium).map_err(|reason| {
            tracing::warn!(node = %leader, term, %reason, "a claim to lead without a quorum's grants");
            PeerRefusal::Unproven
        })?;
        // The voter checks the permit, and keeps it if it is one.
        self.enter(term, None);
        self.leads.send_if_modified(|known| {
            let is_newer = known.as_ref().is_none_or(|known| known.leadership.term < term);
            if is_newer {
                *known = Some(Arc::new(proof));
            }
            is_newer
        });
        Ok(())
    }
}

/// A raft vote of `term` that is for no node, and above every other of that term: with it a core follows nobody, leads
/// nothing, and has no lease to wait for.
pub(crate) fn nobodys_vote(term: u64) -> RaftVote {
    RaftVote::new(term, raft_id(NodeId::new(u32::MAX)))
}

/// The raft vote with which the core of node `me` starts in the `entered` term, where `saved` is on the disk.
///
/// A leader does not come back as leader of its term: what it appended and promised last may be lost, and it would use
/// its log ids and view numbers again. A vote of a term that this node never entered proves nothing and is dropped: so
/// a node that was driven too high finds its way back.
pub(crate) fn vote_at_start(saved: RaftVote, entered: u64, me: NodeId) -> RaftVote {
    let before = nobodys_vote(entered.saturating_sub(1));
    let follows = saved.committed && leader_of(&saved) != Some(me);
    match saved.leader_id.term {
        term if term > entered => before,
        term if term == entered && !follows => nobodys_vote(entered),
        _ if saved < before => before,
        _ => saved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId::new(2);

    #[test]
    fn a_leader_comes_back_without_its_term_and_a_follower_follows_on() {
        let led = RaftVote::new_committed(7, raft_id(ME));
        assert_eq!(vote_at_start(led, 7, ME), nobodys_vote(7));
        assert_eq!(vote_at_start(nobodys_vote(7), 7, ME), nobodys_vote(7), "also at the start after that");
        let followed = RaftVote::new_committed(7, 1);
        assert_eq!(vote_at_start(followed, 7, ME), followed);
    }

    #[test]
    fn a_vote_below_the_entered_term_is_raised_and_one_above_it_is_lowered() {
        assert_eq!(vote_at_start(RaftVote::new_committed(3, 1), 7, ME), nobodys_vote(6));
        assert_eq!(vote_at_start(RaftVote::default(), 1, ME), nobodys_vote(0));
        assert_eq!(vote_at_start(RaftVote::new_committed(u64::MAX, 1), 7, ME), nobodys_vote(6));
    }

    #[test]
    fn nobodys_vote_is_above_every_leaders_of_its_term_and_below_the_next_terms() {
        assert!(nobodys_vote(7) > RaftVote::new_committed(7, raft_id(NodeId::new(u32::MAX - 1))));
        assert!(nobodys_vote(7) < RaftVote::new_committed(8, 0));
    }
}
