//! Lies of a leader that goes on in a log of its own making, behind the last block that its own software wrote.

use ledger::{
    block::{Block, Header, View},
    shell::raft::{RaftEntry, RaftLogId, TypeConfig},
};
use openraft::{EntryPayload, raft::AppendEntriesRequest};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use crate::{Liar, lie::Lie, log::ShownLog};

/// More than a voter keeps.
const FLOOD: u64 = 300;

/// Later terms whose views it takes, and how many of each.
const LATER_TERMS: u64 = 40;
/// See [`LATER_TERMS`].
const VIEWS_OF_EACH: u64 = 2;

/// An hour.
const HOUR_MS: u64 = 3_600_000;

impl Liar {
    /// Drops what the own software wrote behind its first block of a term, where another log is shown: to all the same.
    pub(super) fn shorten(&self, term: u64, entries: &mut Vec<RaftEntry>, shown: &ShownLog) {
        if !self.has(Lie::EarlyFlood) && !self.has(Lie::LaterViews) {
            return;
        }
        let is_block = |entry: &RaftEntry| matches!(entry.payload, EntryPayload::Normal(_));
        let first = entries.iter().position(|entry| entry.log_id.leader_id.term == term && is_block(entry));
        if let Some(first) = first
            && shown.block(entries[first].log_id).is_none()
        {
            entries.truncate(first + 1);
        }
    }

    /// Lets an append to `to` bring what follows in the log that `to` is shown.
    pub(super) fn lengthen(&mut self, to: NodeId, rpc: &mut AppendEntriesRequest<TypeConfig>, shown: &mut ShownLog) {
        let Some(last) = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id) else { return };
        if last.leader_id.term != rpc.vote.leader_id.term {
            return;
        }
        if shown.block(last).is_some() && !shown.goes_on_after(last) {
            self.go_ahead(to, last.leader_id.term, last, shown);
        }
        // Else what was lost on the way would be lost for ever: the own software knows nothing of it.
        if !rpc.entries.is_empty() || self.rng.percent(10) {
            rpc.entries.extend(shown.after(last));
        }
    }

    fn go_ahead(&mut self, to: NodeId, term: u64, mut last: RaftLogId, shown: &mut ShownLog) {
        let mut blocks = Vec::new();
        if self.has(Lie::EarlyFlood) {
            self.tell(Lie::EarlyFlood, to);
            blocks.extend((0..FLOOD).map(|number| (None, if number == 0 { HOUR_MS } else { 1 })));
        }
        if self.has(Lie::LaterViews) {
            self.tell(Lie::LaterViews, to);
            let view = |number| View { term: term + 1 + number / VIEWS_OF_EACH, number: 1 + number % VIEWS_OF_EACH };
            blocks.extend((0..LATER_TERMS * VIEWS_OF_EACH).map(|number| (Some(view(number)), 1)));
        }
        for (view, later_ms) in blocks {
            let next = shown.go_on(last, |before, after| self.empty_block(before, after, view, later_ms));
            let Some(next) = next else { return };
            last = next;
        }
    }

    /// A block without anything in it, behind `before`.
    fn empty_block(&self, before: &Header, after: Digest, view: Option<View>, later_ms: u64) -> Block {
        let header = Header {
            height: BlockHeight::new(before.height.get().saturating_add(1)),
            view: view.unwrap_or(View { number: before.view.number + 1, ..before.view }),
            leader: self.me,
            parent: before.digest(),
            parent_certificate: Digest::ZERO,
            skipped: Digest::ZERO,
            after,
            time: Timestamp::new(before.time.get().saturating_add(later_ms)),
            ..before.clone()
        };
        let proposal = header.sign(&self.signer.key);
        Block { header, proposal, parent_certificate: None, carriers: Vec::new(), skipped: None, entries: Vec::new() }
    }
}
