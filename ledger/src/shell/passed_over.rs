//! Entries that a leader passes over: it makes blocks, and leaves them out.
//!
//! Blocks with the entries of others are progress, so they keep the view timer from running out. Therefore each node
//! judges the leader by the entries that wait here, its own and those that their authors showed it because they wait. A
//! block of the leader that becomes final passes over an entry if all of this is so:
//!
//! - the entry was sent to this leader, and its author sent it more than once, or it is another node's;
//! - the final state with the block takes it, so no rule refuses it;
//! - the block came here in time. A node that is behind sees blocks that were made before it sent the entry;
//! - the block has room: at most half of what a block may hold. The queue of an honest leader is then empty, or as much
//!   was taken from it as a block may hold.
//!
//! A fuller block is an excuse, and so is one with a word of the operators: in the midst of it a rule may have refused the
//! entry that applies before it and after it. There are [`EXCUSES_PER_NODE`] of them for each node of the consortium: what
//! one author may have in a leader's queue fills one block at most in number and one in bytes, and at least half of each
//! block comes from the queue, in its order.
//!
//! After [`BLOCKS_MIN`] blocks that pass over an entry the voter is told since when. It gives up the term when its
//! patience ends, whatever else became final meanwhile. What a leader can do at will does not start this anew: a block
//! that comes late or that is an excuse is no such block, and takes back none. Two things do. One is that the final state
//! refuses the entry. The other is a full block of which a large part is the author's own. Who sends more than the
//! leader's queue takes of one author has to wait for itself.
//!
//! Others are told of an entry when it waits for longer than [`SEND_AGAIN`], so all of them judge alike, and f + 1 that
//! complain are joined by all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use genesis::Consortium;
use tokio::time::Instant;
use wallet::{
    digest::Digest,
    units::{NodeId, Timestamp},
};

use super::{sending::SEND_AGAIN, validator::Validator};
use crate::{
    apply::BlockContext,
    block::Block,
    checks::Checks,
    event::Entry,
    execute::{BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX, Executed},
};

/// So many blocks must pass over an entry. The first may have been proposed before the entry arrived, and the
/// second right after that. The third stands on one that became final while the leader had the entry.
const BLOCKS_MIN: u32 = 3;

/// See the module.
const EXCUSES_PER_NODE: u32 = 4;

/// Of blocks that follow each other faster than this, one is judged.
const JUDGE_AGAIN: Duration = Duration::from_millis(125);

/// An author's own entries are a large part of a full block if they alone are half of what makes it one.
const LARGE_PARTS: usize = 4;

/// A block that became final, as who waits for an entry that is not in it sees it.
pub(crate) struct Judged {
    term: u64,
    is_timely: bool,
    /// Whose entries are a large part of it, if it is more than half full.
    full_of: Option<BTreeSet<NodeId>>,
    /// Whether it has entries of governance.
    governs: bool,
    /// How often its leader is excused by a full block.
    excuses_max: u32,
}

impl Judged {
    fn new(term: u64, entries: &[Entry], is_timely: bool, nodes: usize) -> Self {
        let is_more = |(count, bytes): (usize, usize), parts: usize| {
            count > BLOCK_ENTRIES_MAX / parts || bytes > BLOCK_BYTES_MAX / parts
        };
        let add = |(count, bytes): (usize, usize), entry: &Entry| (count + 1, bytes + entry.bytes().len());
        let full_of = is_more(entries.iter().fold((0, 0), add), 2).then(|| {
            let mut by_author: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
            for entry in entries {
                let own = by_author.entry(entry.body.author).or_default();
                *own = add(*own, entry);
            }
            by_author.into_iter().filter(|(_, own)| is_more(*own, LARGE_PARTS)).map(|(author, _)| author).collect()
        });
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let governs = entries.iter().any(|entry| entry.body.event.governs());
        let excuses_max = nodes.saturating_mul(EXCUSES_PER_NODE);
        Self { term, is_timely, full_of, governs, excuses_max }
    }
}

/// What the leader of a term did with an entry.
#[derive(Default)]
pub(crate) struct Treatment {
    term: u64,
    /// By how many blocks it was excused.
    excuses: u32,
    /// Since when blocks passed over it, and how many.
    passed: Option<(Instant, u32)>,
}

impl Treatment {
    /// A block became final without the entry, which is of `author`, and which the final state takes or not.
    pub(crate) fn note(&mut self, block: &Judged, author: NodeId, applies: bool, now: Instant) {
        if block.term != self.term {
            *self = Self { term: block.term, ..Self::default() };
        }
        let waits_for_itself = block.full_of.as_ref().is_some_and(|authors| authors.contains(&author));
        if !applies || waits_for_itself {
            self.passed = None;
            return;
        }
        if !block.is_timely {
            return;
        }
        if block.full_of.is_some() || block.governs {
            self.excuses = self.excuses.saturating_add(1);
            if self.excuses <= block.excuses_max {
                return;
            }
        }
        let (since, blocks) = self.passed.unwrap_or((now, 0));
        self.passed = Some((since, blocks.saturating_add(1)));
    }

    /// Since when the leader of `term` passes over the entry.
    pub(crate) fn passed_over_since(&self, term: u64) -> Option<Instant> {
        let (since, _) = self.passed.filter(|(_, blocks)| *blocks >= BLOCKS_MIN && term == self.term)?;
        // If the leader refused it before it applied, it has it again by then.
        Some(since + SEND_AGAIN)
    }
}

impl Validator {
    /// Whether a block comes while its time is near, as the vote asks of one that is new.
    pub(super) fn is_timely(&self, block: &Block) -> bool {
        let behind_ms = self.shared.tip.borrow().state.parameters().clock_behind_ms;
        block.header.time.get().saturating_add(behind_ms) >= self.shared.clock.now().get()
    }

    /// Judges the leader of a block that became final by what waits here and is not in it.
    pub(super) fn judge_leader(&mut self, block: &Block, is_timely: bool) {
        let (shared, term) = (&self.shared, block.header.view.term);
        // What comes late says nothing, so it must not take the turn of a block that does.
        let is_judged = is_timely && block.header.leader != shared.me;
        let late = if is_judged { shared.outbox.late_again(JUDGE_AGAIN) } else { Vec::new() };
        if !late.is_empty() {
            let (tip, now, checks) = (shared.tip.borrow().clone(), shared.clock.now(), &*shared.checks);
            let applies = |entry: &Entry| (entry.id(), applies(&shared.consortium, &tip, entry, now, checks));
            let late: Vec<(Digest, bool)> = late.iter().map(applies).collect();
            let nodes = tip.state.nodes().filter(|(_, record)| record.standing.takes_part()).count();
            shared.outbox.judge(&Judged::new(term, &block.entries, is_timely, nodes), &late);
        }
        self.look_at_what_waits(term);
    }

    /// Since when the leader of `term` passes over what still waits here.
    pub(super) fn look_at_what_waits(&mut self, term: u64) {
        let since = self.shared.outbox.passed_over_since(term);
        self.passed_over = (term, since.map(|since| since.saturating_duration_since(self.steady)));
    }
}

/// Whether an entry could be the first of the next block on `tip`, by the time of that and by the clock of this node. The
/// leader's is between the two, and what has to wait until a time applies by one of them and not by the other.
fn applies(consortium: &Consortium, tip: &Executed, entry: &Entry, now: Timestamp, checks: &dyn Checks) -> bool {
    let (height, log_index) = (tip.height.next().unwrap_or(tip.height), tip.log.next_index());
    [tip.time, now.max(tip.time)].into_iter().all(|time| {
        let at = BlockContext { name: tip.name, height, time, log_index, is_re_genesis: false };
        tip.state.clone().apply_with(consortium, entry, at, checks).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::Direct,
        event::{DecisionAnchored, EntryBody, Event},
        governance::Action,
        shell::submission::{Outbox, Queue},
        testing::{Chain, consortium, node_key},
    };

    const NODES: usize = 4;
    const AUTHOR: NodeId = NodeId::new(3);
    const OTHER: NodeId = NodeId::new(2);

    fn judged(term: u64, is_timely: bool, full_of: Option<&[NodeId]>) -> Judged {
        let excuses_max = EXCUSES_PER_NODE * NODES as u32;
        let full_of = full_of.map(|authors| authors.iter().copied().collect());
        Judged { term, is_timely, full_of, governs: false, excuses_max }
    }

    /// What is said after each of some blocks, a second apart: `None`, or since which of them the entry is passed over.
    fn treated(treatment: &mut Treatment, blocks: &[(Judged, bool)]) -> Vec<Option<usize>> {
        let began = Instant::now();
        let second = |number: usize| began + Duration::from_secs(number as u64);
        let note = |(number, (block, applies)): (usize, &(Judged, bool))| {
            treatment.note(block, AUTHOR, *applies, second(number));
            let since = treatment.passed_over_since(block.term)?;
            Some((since - SEND_AGAIN).duration_since(began).as_secs() as usize)
        };
        blocks.iter().enumerate().map(note).collect()
    }

    /// Distinct entries of one author.
    fn entries(author: u32, count: u64) -> Vec<Entry> {
        let consortium = consortium(4).id();
        let entry = |decisions| {
            let event = Event::DecisionAnchored(DecisionAnchored { decisions, log_head: Digest([7; 32]) });
            let body = EntryBody { consortium, author: NodeId::new(author), nonce: [0; 16], event };
            body.sign(&node_key(author), None)
        };
        (1..=count).map(entry).collect()
    }

    #[test]
    fn what_three_blocks_leave_out_is_passed_over_since_the_first() {
        let empty = || (judged(1, true, None), true);
        let given = treated(&mut Treatment::default(), &[empty(), empty(), empty(), empty()]);
        assert_eq!(given, [None, None, Some(0), Some(0)]);
    }

    #[test]
    fn what_the_final_state_refuses_is_not_passed_over() {
        let block = |applies| (judged(1, true, None), applies);
        let given = treated(&mut Treatment::default(), &[false, false, false, false].map(block));
        assert_eq!(given, [None; 4]);
        let given = treated(&mut Treatment::default(), &[true, true, true, false, true, true, true].map(block));
        assert_eq!(given, [None, None, Some(0), None, None, None, Some(4)]);
    }

    #[test]
    fn a_node_that_is_behind_does_not_take_old_blocks_for_a_leader_s_neglect() {
        let block = |is_timely| (judged(1, is_timely, None), true);
        let given = treated(&mut Treatment::default(), &[false, false, false, true, true, true].map(block));
        assert_eq!(given, [None, None, None, None, None, Some(3)]);
    }

    #[test]
    fn blocks_that_come_late_now_and_then_do_not_help_a_leader() {
        let block = |is_timely| (judged(1, is_timely, None), true);
        let given = treated(&mut Treatment::default(), &[true, true, false, true, false, true].map(block));
        assert_eq!(given, [None, None, None, Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn in_another_term_another_leader_is_judged() {
        let block = |term| (judged(term, true, None), true);
        let given = treated(&mut Treatment::default(), &[1, 1, 1, 2, 2, 2].map(block));
        assert_eq!(given, [None, None, Some(0), None, None, Some(3)]);
    }

    #[test]
    fn full_blocks_of_others_excuse_a_leader_a_bounded_number_of_times() {
        let excuses = EXCUSES_PER_NODE as usize * NODES;
        let full = || (judged(1, true, Some(&[OTHER])), true);
        let mut treatment = Treatment::default();
        let given = treated(&mut treatment, &(0..excuses + 3).map(|_| full()).collect::<Vec<_>>());
        let (excused, after) = given.split_at(excuses);
        assert!(excused.iter().all(Option::is_none));
        assert_eq!(after, [None, None, Some(excuses)]);
        let given = treated(&mut treatment, &[(judged(1, true, Some(&[OTHER, AUTHOR])), true)]);
        assert_eq!(given, [None], "who fills the blocks waits for itself");
    }

    #[test]
    fn an_excuse_takes_back_no_block_that_passed_over_an_entry() {
        let block = |full: &bool| (judged(1, true, full.then_some(&[OTHER])), true);
        let blocks: Vec<_> = [false, false, true, true, false].iter().map(block).collect();
        assert_eq!(treated(&mut Treatment::default(), &blocks), [None, None, None, None, Some(0)]);
    }

    #[test]
    fn an_author_waits_for_itself_where_its_own_entries_are_a_large_part_of_a_full_block() {
        let large = BLOCK_ENTRIES_MAX as u64 / LARGE_PARTS as u64 + 1;
        let full_of = |author: u64, other: u64| {
            let block = [entries(AUTHOR.get(), author), entries(OTHER.get(), other)].concat();
            Judged::new(1, &block, true, NODES).full_of
        };
        assert_eq!(full_of(large, large - 2), None, "the block has room");
        assert_eq!(full_of(large, large), Some(BTreeSet::from([AUTHOR, OTHER])));
        assert_eq!(full_of(1, 2 * large), Some(BTreeSet::from([OTHER])), "one entry of its own is no reason");
    }

    #[test]
    fn what_operators_say_excuses_a_leader_a_bounded_number_of_times() {
        let excuses = EXCUSES_PER_NODE as usize * NODES;
        let governed = || (Judged { governs: true, ..judged(1, true, None) }, true);
        let given = treated(&mut Treatment::default(), &(0..excuses + 3).map(|_| governed()).collect::<Vec<_>>());
        let (excused, after) = given.split_at(excuses);
        assert!(excused.iter().all(Option::is_none));
        assert_eq!(after, [None, None, Some(excuses)]);
    }

    #[test]
    fn what_is_locked_by_the_time_of_the_chain_is_not_passed_over_whatever_a_clock_says() {
        let mut chain = Chain::new(consortium(4));
        let action = Action::SetParameter { name: "credit_per_ms".to_owned(), from: 1, to: 2 };
        let proposal = chain.pass(vec![action]).expect("valid");
        let (entry, lock) = (chain.enacting(proposal), chain.tip.state.parameters().proposal_lock_ms);
        let unlocked = Timestamp::new(chain.tip.time.get() + lock);
        let applies = |chain: &Chain, now| applies(&chain.consortium, &chain.tip, &entry, now, &Direct);
        assert!(!applies(&chain, unlocked), "no leader that keeps to its clock could take it yet");
        chain.wait_ms(lock);
        chain.push(entries(3, 1).remove(0)).expect("valid");
        assert!(applies(&chain, unlocked));
    }

    #[test]
    fn an_honest_leader_s_queue_is_worked_off_before_its_excuses_are() {
        let queue = Queue::default();
        for author in 0..3 {
            queue.push(entries(author, BLOCK_ENTRIES_MAX as u64 + 10));
        }
        let late = entries(AUTHOR.get(), 1).remove(0);
        queue.push(vec![late.clone()]);
        let mut treatment = Treatment::default();
        for blocks in 0.. {
            // Half of each block was promised to others before.
            let mut taken = queue.take(BLOCK_ENTRIES_MAX);
            let left = taken.split_off(taken.len().min(BLOCK_ENTRIES_MAX / 2 + 1));
            queue.put_back(left);
            if taken.contains(&late) {
                assert!(blocks > 3, "it had to wait");
                return;
            }
            let block = Judged::new(1, &taken, true, NODES);
            treatment.note(&block, AUTHOR, true, Instant::now());
            assert_eq!(treatment.passed_over_since(1), None, "block {blocks}");
        }
    }

    #[test]
    fn judged_is_what_was_sent_to_this_leader_and_waits_for_long() {
        let outbox = Outbox::default();
        let own = entries(0, 1);
        outbox.add_all(own.clone());
        assert!(outbox.late().is_empty(), "it was not sent");
        outbox.due(SEND_AGAIN);
        assert!(outbox.late().is_empty(), "the leader just got it");
        outbox.due(Duration::ZERO);
        assert_eq!(outbox.late(), own);
        let shown = entries(AUTHOR.get(), 100);
        shown.iter().for_each(|entry| outbox.send_on(entry.clone()));
        assert_eq!(outbox.late(), own);
        outbox.due(SEND_AGAIN);
        let late = outbox.late();
        assert_eq!(late.len(), 65, "what is another's is late already, and of it there is a bound");
        let block = judged(1, true, None);
        let judge = || {
            outbox.judge(&block, &late.iter().map(|entry| (entry.id(), true)).collect::<Vec<_>>());
            outbox.passed_over_since(block.term)
        };
        assert_eq!([judge(), judge(), judge()].map(|since| since.is_some()), [false, false, true]);
        outbox.forget_sent();
        assert!(outbox.late().is_empty(), "the next leader was not sent it yet");
        outbox.due(SEND_AGAIN);
        assert_eq!(outbox.late(), late);
        assert_eq!(judge(), None, "and it has a beginning of its own");
        assert_eq!([judge(), judge()].map(|since| since.is_some()), [false, true]);
        assert_eq!(outbox.passed_over_since(block.term + 1), None, "that is another leader's");
        outbox.settle(&late.iter().map(Entry::id).collect::<Vec<_>>());
        assert!(outbox.late().is_empty());
        assert_eq!(outbox.passed_over_since(block.term), None, "nothing waits any more");
    }

    #[test]
    fn however_fast_blocks_follow_what_waits_is_compared_with_a_few_a_second() {
        let outbox = Outbox::default();
        outbox.send_on(entries(AUTHOR.get(), 1).remove(0));
        outbox.due(SEND_AGAIN);
        let hour = Duration::from_secs(3_600);
        assert_eq!([hour, hour, Duration::ZERO].map(|every| outbox.late_again(every).len()), [1, 0, 1]);
    }

    #[test]
    fn an_author_may_have_as_much_as_a_block_holds_in_the_queue() {
        use crate::shell::transport::SubmitReply;
        let queue = Queue::default();
        let (mut many, other) = (entries(0, BLOCK_ENTRIES_MAX as u64 + 1), entries(1, 1));
        let last = many.pop().expect("one more");
        assert_eq!(queue.push(many.clone()), SubmitReply::Queued(None));
        assert_eq!(queue.push(vec![last.clone()]), SubmitReply::Full);
        assert_eq!(queue.push(other.clone()), SubmitReply::Queued(None), "others have their own share");
        queue.put_back(queue.take(10));
        assert_eq!(queue.push(vec![last.clone()]), SubmitReply::Full, "what is put back counts again");
        assert_eq!(queue.take(BLOCK_ENTRIES_MAX + 1), [many, other].concat());
        assert_eq!(queue.push(vec![last]), SubmitReply::Queued(None));
    }
}
