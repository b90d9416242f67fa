//! Why a ledger stands still, as one node sees it: a function of its [`Metrics`] and of nothing else.

use std::time::Duration;

use wallet::units::NodeId;

use super::{
    metrics::{Custody, Metrics},
    resumption::Custody::{Asking, Doubled, Silent, Trusted},
};
use crate::state::Standing;

/// What is in flight for no longer than this is on its way.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// An entry that waits for longer is late.
const LATE: Duration = Duration::from_secs(10);
/// In the quietest of times a node hears each other one about this often for each node that there is.
const HEARD_EVERY: Duration = Duration::from_secs(4);
/// A promise that is due in so many blocks is about to be kept or broken.
const DUE_BLOCKS: u64 = 1;

/// Declares each cause once, with its name and what it means.
macro_rules! causes {
    ($($(#[doc = $what:literal])+ $cause:ident = $name:literal)*) => {
        /// Why nothing becomes final, or this node has no part in it. Several may hold at once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Cause {
            $($(#[doc = $what])+ $cause,)*
        }

        impl Cause {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$cause),*];

            /// The stable name, for labels.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$cause => $name,)* }
            }
        }
    };
}

causes! {
    /// A fault stopped this replica: mostly its disk.
    Stopped = "stopped"
    /// This node does not vote before a quorum has said what it holds signed by its key.
    CustodyAsked = "custody_asked"
    /// Its vote record was not the last one: it does not vote before its `ValidatorResumed` is final.
    Silent = "silent"
    /// Another process uses its key: it does not vote.
    KeyDoubled = "key_doubled"
    /// It is no validator: it joined and was not reinstated yet, or was suspended or removed.
    NoValidator = "no_validator"
    /// The others began anew without this node, and it was not told.
    LineageLeft = "lineage_left"
    /// Fewer than a quorum are heard.
    QuorumUnheard = "quorum_unheard"
    /// Others have more that is final.
    Behind = "behind"
    /// The last block's time and this node's clock are too far apart.
    ClockOff = "clock_off"
    /// A block of the log is invalid.
    BlockInvalid = "block_invalid"
    /// Some gave the term up, and fewer than a quorum.
    TermEnding = "term_ending"
    /// Nobody leads the term.
    NoLeader = "no_leader"
    /// The leader proposes nothing although something waits.
    LeaderIdle = "leader_idle"
    /// Votes for the open block are missing.
    VotesMissing = "votes_missing"
    /// The epoch closes, and its last block or the next set's first one is not final.
    EpochClosing = "epoch_closing"
    /// Entries that were submitted here wait for long.
    EntriesLate = "entries_late"
    /// A leader's promise is about to be missed.
    PromiseDue = "promise_due"
}

impl Metrics {
    /// Why nothing becomes final, or this node has no part in it: none if all is well, as far as this node can tell.
    pub fn causes(&self) -> Vec<Cause> {
        let holds = |cause: &Cause| self.holds(*cause);
        Cause::ALL.iter().copied().filter(holds).collect()
    }

    /// Validators other than this node that were not heard for longer than ever in quiet times.
    pub fn unheard(&self) -> Vec<NodeId> {
        let nodes = u32::try_from(self.validators.members.len()).unwrap_or(u32::MAX);
        let limit = HEARD_EVERY.saturating_mul(nodes);
        self.unheard_for.iter().filter(|(_, unheard)| **unheard > limit).map(|(node, _)| *node).collect()
    }

    /// Whether more others than may lie say that they have at least two final blocks more.
    fn is_behind(&self) -> bool {
        let ahead = self.peers.values().filter(|height| height.get() > self.final_height.get().saturating_add(1));
        ahead.count() > self.validators.faults_max()
    }

    fn holds(&self, cause: Cause) -> bool {
        let finality = &self.finality;
        let quorum = self.validators.quorum();
        let is_validator = self.validators.key(self.me).is_some();
        let ending = !finality.gave_up.is_empty();
        let waits = ending || finality.open.is_some() || self.raft_entries_not_final > 0 || self.entries_open > 0;
        let stands_still = waits && self.final_age > IN_FLIGHT;
        // A node that does not vote cannot tell a leader that is late from one whose followers are all as it is.
        let no_proposal = stands_still && !ending && finality.open.is_none() && self.custody == Trusted;
        match cause {
            Cause::Stopped => self.fault.is_some(),
            Cause::CustodyAsked => matches!(self.custody, Asking(_)),
            Cause::Silent => matches!(self.custody, Silent(_)),
            Cause::KeyDoubled => self.custody == Doubled,
            Cause::NoValidator => !is_validator || self.standing != Some(Standing::InForce),
            Cause::LineageLeft => self.left_for.is_some(),
            Cause::QuorumUnheard => self.unheard_for.len() - self.unheard().len() + usize::from(is_validator) < quorum,
            Cause::Behind => self.is_behind(),
            // The blocks that it catches up with are old.
            Cause::ClockOff if self.is_behind() => false,
            Cause::ClockOff => {
                let (ahead, behind) = self.clock_limits_ms;
                let limit = if self.block_skew_ms > 0 { ahead } else { behind };
                self.block_skew_ms.unsigned_abs() > limit
            }
            Cause::BlockInvalid => !finality.invalid.is_empty(),
            Cause::TermEnding => stands_still && ending && finality.gave_up.len() < quorum,
            Cause::NoLeader => no_proposal && self.leader.is_none(),
            Cause::LeaderIdle => no_proposal && self.leader.is_some(),
            Cause::VotesMissing => {
                stands_still && finality.open.as_ref().is_some_and(|open| open.finalized.len() < quorum)
            }
            Cause::EpochClosing => stands_still && self.is_closing,
            Cause::EntriesLate => self.entries_open > 0 && self.entries_open_for > LATE,
            Cause::PromiseDue => stands_still && self.promise_due_blocks.is_some_and(|blocks| blocks <= DUE_BLOCKS),
        }
    }
}

impl Custody {
    /// The stable name of what this process may do with the node's key, for labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Asking(_) => "asking",
            Trusted => "trusted",
            Silent(_) => "silent",
            Doubled => "doubled",
        }
    }

    /// The names of all.
    pub const NAMES: [&'static str; 4] = ["asking", "trusted", "silent", "doubled"];
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use wallet::{
        digest::Digest,
        units::{BlockHeight, Timestamp},
    };

    use super::*;
    use crate::{
        block::View,
        execute::{BlockInvalid, Executed},
        finality::{OpenBlock, Status},
        shell::{fault::Fault, lineage::Lineage},
        testing::consortium,
    };

    const NONE: [Cause; 0] = [];

    /// A node of four that is well, and for which nothing waits.
    fn well() -> Metrics {
        let validators = Executed::genesis(&consortium(4)).validators();
        let others = || (1..4).map(NodeId::new);
        let finality = Status {
            height: BlockHeight::new(7),
            since: Timestamp::new(1),
            open: None,
            epoch: 0,
            term: 1,
            leader: Some(NodeId::new(1)),
            gave_up: Vec::new(),
            barred: Vec::new(),
            complaint: None,
            patience_ms: 1_000,
            failed_terms: 0,
            invalid: Vec::new(),
            halted: false,
        };
        Metrics {
            me: NodeId::ZERO,
            standing: Some(Standing::InForce),
            validators,
            leader: Some(NodeId::new(1)),
            term: 1,
            final_height: BlockHeight::new(7),
            final_age: Duration::from_secs(9),
            final_block_entries: 1,
            is_closing: false,
            raft_entries_not_final: 0,
            entries_open: 0,
            entries_open_for: Duration::ZERO,
            entries_queued: 0,
            lineage: Lineage::FIRST,
            peer_lineages: Default::default(),
            left_for: None,
            peers: others().map(|node| (node, BlockHeight::new(7))).collect(),
            unheard_for: others().map(|node| (node, Duration::ZERO)).collect(),
            fetching_from: None,
            votes: true,
            custody: Trusted,
            block_skew_ms: -40,
            clock_limits_ms: (2_000, 2_000),
            held_back: Default::default(),
            promises: 0,
            promise_due_blocks: None,
            pinned: Vec::new(),
            signatures_verified: 0,
            finality,
            stalled: None,
            fault: None,
        }
    }

    /// What is found of a node that is well but for one thing.
    fn found(change: impl FnOnce(&mut Metrics)) -> Vec<Cause> {
        let mut metrics = well();
        change(&mut metrics);
        metrics.causes()
    }

    fn open(votes: u32) -> Option<OpenBlock> {
        let voters: Vec<NodeId> = (0..votes).map(NodeId::new).collect();
        let (block, view) = (Digest([1; 32]), View { term: 1, number: 8 });
        Some(OpenBlock { block, view, log_index: 9, is_closing: false, notarized: voters.clone(), finalized: voters })
    }

    #[test]
    fn a_node_that_is_well_and_idle_waits_for_nothing_however_long_ago_the_last_block_was() {
        assert_eq!(found(|_| {}), NONE);
        assert_eq!(found(|node| node.final_age = Duration::from_secs(10_000)), NONE);
        assert_eq!(found(|node| (node.entries_open, node.final_age) = (9, Duration::from_millis(300))), NONE);
    }

    #[test]
    fn what_keeps_this_node_from_voting_is_named() {
        assert_eq!(found(|node| node.fault = Some(Arc::new(Fault::Stopped))), [Cause::Stopped]);
        assert_eq!(found(|node| node.custody = Asking(BTreeSet::new())), [Cause::CustodyAsked]);
        assert_eq!(found(|node| node.custody = Silent("lost")), [Cause::Silent]);
        assert_eq!(found(|node| node.custody = Doubled), [Cause::KeyDoubled]);
        assert_eq!(found(|node| node.standing = Some(Standing::Suspended)), [Cause::NoValidator]);
        assert_eq!(found(|node| node.left_for = Some(Lineage::FIRST)), [Cause::LineageLeft]);
        assert_eq!(found(|node| node.finality.invalid = vec![(9, BlockInvalid::Validators)]), [Cause::BlockInvalid]);
    }

    #[test]
    fn a_quorum_is_unheard_when_more_than_a_quorum_can_spare_are() {
        let silence = |count: u32| {
            let minute = Duration::from_secs(60);
            found(|node| node.unheard_for.extend((1..=count).map(|peer| (NodeId::new(peer), minute))))
        };
        assert_eq!(silence(1), NONE);
        assert_eq!(silence(2), [Cause::QuorumUnheard]);
        assert_eq!(silence(3), [Cause::QuorumUnheard]);
    }

    #[test]
    fn a_node_is_behind_where_more_than_may_lie_have_two_blocks_more() {
        let ahead = |count: u32, height: u64| {
            found(|node| node.peers.extend((1..=count).map(|peer| (NodeId::new(peer), BlockHeight::new(height)))))
        };
        assert_eq!(ahead(3, 8), NONE);
        assert_eq!(ahead(1, u64::MAX), NONE, "one of four may lie");
        assert_eq!(ahead(2, 9), [Cause::Behind]);
        let catching_up = found(|node| {
            node.peers.extend((1..=2).map(|peer| (NodeId::new(peer), BlockHeight::new(9))));
            node.block_skew_ms = -1_000_000;
        });
        assert_eq!(catching_up, [Cause::Behind], "what it catches up with is old, and its clock is right");
    }

    #[test]
    fn a_clock_is_off_beyond_what_a_blocks_time_may_differ_to_either_side() {
        let skew = |ms: i64| found(|node| (node.block_skew_ms, node.clock_limits_ms) = (ms, (1_000, 3_000)));
        assert_eq!([skew(1_000), skew(-3_000)], [NONE, NONE]);
        assert_eq!([skew(1_001), skew(-3_001)], [[Cause::ClockOff]; 2]);
    }

    #[test]
    fn of_a_term_it_is_said_what_it_lacks() {
        let ending = |votes: u32| found(move |node| node.finality.gave_up = (0..votes).map(NodeId::new).collect());
        assert_eq!(ending(2), [Cause::TermEnding]);
        assert_eq!(ending(3), NONE, "that is a quorum, and the next term begins");
        assert_eq!(found(|node| (node.raft_entries_not_final, node.leader) = (1, None)), [Cause::NoLeader]);
        assert_eq!(found(|node| node.raft_entries_not_final = 1), [Cause::LeaderIdle]);
        let silent = |node: &mut Metrics| (node.raft_entries_not_final, node.custody) = (1, Silent("lost"));
        assert_eq!(found(silent), [Cause::Silent], "it may be itself who ought to propose");
        assert_eq!(found(|node| node.finality.open = open(2)), [Cause::VotesMissing]);
        assert_eq!(found(|node| node.finality.open = open(3)), NONE);
        let closing = found(|node| (node.is_closing, node.finality.open) = (true, open(2)));
        assert_eq!(closing, [Cause::VotesMissing, Cause::EpochClosing]);
    }

    #[test]
    fn entries_that_wait_for_long_and_a_promise_that_is_due_are_named() {
        let late =
            |secs: u64| found(move |node| (node.entries_open, node.entries_open_for) = (1, Duration::from_secs(secs)));
        assert_eq!(late(9), [Cause::LeaderIdle]);
        assert_eq!(late(11), [Cause::LeaderIdle, Cause::EntriesLate]);
        let due =
            |blocks: u64| found(move |node| (node.finality.open, node.promise_due_blocks) = (open(2), Some(blocks)));
        assert_eq!(due(2), [Cause::VotesMissing]);
        assert_eq!(due(1), [Cause::VotesMissing, Cause::PromiseDue]);
    }

    #[test]
    fn names_are_told_apart() {
        let names: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
    }
}
