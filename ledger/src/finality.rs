//! The finality vote over what raft ordered: sans-IO, one [`Voter`] in each node.
//!
//! Upon a block flushed to the local raft log: execute it on the final state, into a stage. Upon the first valid block of
//! the next height: record, then broadcast `Notarize`. Upon a quorum of `Notarize` for the staged block: record, then
//! broadcast `Finalize`. Upon a quorum of `Finalize`: the certificate. A block is final here once it is certified and
//! was executed here to the same digest.
//!
//! Why it cannot fork with f liars: an honest validator signs `Finalize` for one block of a height and for no other, and
//! two quorums share an honest validator. Raft is not trusted for that; a lying leader only stops finality, and
//! [`Voter::status`] says since when and why. `Nullify`, which ends such a leader's term, is not built yet: a block whose
//! time is behind the clock is therefore voted for and not nullified.

mod port;
mod record;
mod tally;

use std::{collections::BTreeMap, sync::Arc};

use genesis::Consortium;
use wallet::{
    digest::Digest,
    units::{BlockHeight, Timestamp},
};

use self::tally::Tally;
pub use self::{
    port::{Conflict, Effect, Final, Input, OpenBlock, Refusal, Signer, Status},
    record::{VoteRecord, WouldEquivocate},
};
use crate::{
    block::{Ballot, Block, Certificate, Vote, VoteKind},
    execute::{BlockInvalid, Executed, execute},
};

/// Votes and certificates are kept for at most this many heights above the final one.
pub const HEIGHT_WINDOW: u64 = 64;
/// At most this many flushed blocks wait for their certificates.
pub const PENDING_BLOCKS_MAX: usize = 256;

/// The finality vote of one node.
#[derive(Debug)]
pub struct Voter {
    consortium: Arc<Consortium>,
    signer: Option<Signer>,
    record: VoteRecord,
    tip: Executed,
    tip_certificate: Option<Certificate>,
    since: Timestamp,
    /// Blocks of the raft log above the final one, by raft index.
    pending: BTreeMap<u64, Pending>,
    staged: Option<Staged>,
    tally: Tally,
    /// Certificates by height: some below the tip, to notice conflicts, and those that came early.
    certificates: BTreeMap<BlockHeight, Certificate>,
    /// From where the shell was told to cut, until it did.
    cutting: Option<u64>,
    /// Something waited at the last tick; if it still does at the next, it may have been lost.
    behind_at_last_tick: bool,
    halted: bool,
}

#[derive(Debug)]
struct Pending {
    term: u64,
    block: Box<Block>,
    digest: Digest,
    /// Why it is not voted for.
    invalid: Option<BlockInvalid>,
}

impl Pending {
    /// Whether waiting cannot make it valid.
    fn is_refused(&self) -> bool {
        self.invalid.as_ref().is_some_and(|reason| !matches!(reason, BlockInvalid::TimeAhead { .. }))
    }
}

#[derive(Debug)]
struct Staged {
    log_index: u64,
    executed: Executed,
}

impl Voter {
    /// A voter that goes on from the final state of its disk. Without a signer, or with one that is no validator, it
    /// follows the votes of others. `record` is the last one made durable; the default is only for a key that never
    /// voted.
    pub fn new(
        consortium: Arc<Consortium>,
        signer: Option<Signer>,
        tip: Executed,
        tip_certificate: Option<Certificate>,
        record: VoteRecord,
        now: Timestamp,
    ) -> Self {
        let certificates = tip_certificate.iter().map(|certificate| (tip.height, certificate.clone())).collect();
        Self {
            signer: signer.filter(|signer| consortium.validators().key(signer.node) == Some(signer.key.public_key())),
            consortium,
            record,
            tip,
            tip_certificate,
            since: now,
            pending: BTreeMap::new(),
            staged: None,
            tally: Tally::default(),
            certificates,
            cutting: None,
            behind_at_last_tick: false,
            halted: false,
        }
    }

    /// Takes one input and appends what the shell has to do.
    ///
    /// # Errors
    /// [`Refusal`] if the input was not taken; nothing changed then.
    pub fn step(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if self.halted {
            return Err(Refusal::Halted);
        }
        match input {
            Input::Flushed { log_index, term, block } => self.flushed(log_index, term, block, effects)?,
            Input::Truncated { from } => self.truncated(from),
            Input::Vote(vote) => self.vote(vote, effects)?,
            Input::Certificate(certificate) => self.certificate(certificate, effects)?,
            Input::Tick => self.tick(effects),
        }
        self.advance(now, effects);
        Ok(())
    }

    /// The final state.
    pub fn tip(&self) -> &Executed {
        &self.tip
    }

    /// What made the tip final; none at genesis.
    pub fn tip_certificate(&self) -> Option<&Certificate> {
        self.tip_certificate.as_ref()
    }

    /// The parent and its certificate for the next block, if nothing is open: a leader completes the blocks of its log
    /// before it proposes another.
    pub fn may_propose(&self) -> Option<(&Executed, Option<&Certificate>)> {
        let next_height = self.tip.height.next();
        let open = self.staged.is_some()
            || self.cutting.is_some()
            || self.certificates.keys().any(|height| *height > self.tip.height)
            || self
                .pending
                .values()
                .any(|pending| !pending.is_refused() && Some(pending.block.header.height) == next_height);
        (!self.halted && !open).then_some((&self.tip, self.tip_certificate.as_ref()))
    }

    /// The certificate of a recent height, for a peer that asks.
    pub fn recent_certificate(&self, height: BlockHeight) -> Option<&Certificate> {
        self.certificates.get(&height)
    }

    /// How finality stands.
    pub fn status(&self) -> Status {
        Status {
            height: self.tip.height,
            since: self.since,
            open: self.staged.as_ref().map(|staged| OpenBlock {
                block: staged.executed.digest,
                view: staged.executed.view,
                log_index: staged.log_index,
                notarized: self.tally.voters(&self.ballot(VoteKind::Notarize, &staged.executed)),
                finalized: self.tally.voters(&self.ballot(VoteKind::Finalize, &staged.executed)),
            }),
            invalid: self
                .pending
                .iter()
                .filter_map(|(index, pending)| Some((*index, pending.invalid.clone()?)))
                .collect(),
            halted: self.halted,
        }
    }

    fn flushed(
        &mut self,
        log_index: u64,
        term: u64,
        block: Box<Block>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.pending.len() >= PENDING_BLOCKS_MAX {
            return Err(Refusal::TooManyBlocks);
        }
        if let Some(certificate) = &block.parent_certificate {
            // A bad certificate makes the block invalid, which executing it finds out.
            let _ = self.certificate(certificate.clone(), effects);
        }
        let digest = block.header.digest();
        match self.pending.get(&log_index) {
            Some(held) if held.digest == digest && held.term == term => return Ok(()),
            Some(_) => self.truncated(log_index),
            None => {}
        }
        self.pending.insert(log_index, Pending { term, block, digest, invalid: None });
        Ok(())
    }

    fn truncated(&mut self, from: u64) {
        self.pending.split_off(&from);
        self.staged.take_if(|staged| staged.log_index >= from);
        self.cutting.take_if(|cut| from <= *cut);
    }

    fn vote(&mut self, vote: Vote, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if vote.ballot.height <= self.tip.height {
            return Ok(());
        }
        self.within_window(vote.ballot.height)?;
        if self.tally.holds(&vote) {
            return Ok(());
        }
        vote.verify(self.consortium.validators(), &self.consortium.id())?;
        if let Some(evidence) = self.tally.insert(vote) {
            effects.push(Effect::Equivocation(Box::new(evidence)));
        }
        Ok(())
    }

    fn certificate(&mut self, certificate: Certificate, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let held = self.certificates.get(&certificate.height);
        if held == Some(&certificate) || (held.is_none() && certificate.height <= self.tip.height) {
            return Ok(());
        }
        self.within_window(certificate.height)?;
        certificate.verify(self.consortium.validators(), &self.consortium.id())?;
        match held {
            Some(ours) if ours.block != certificate.block => {
                let ours = ours.clone();
                self.halt(Conflict::TwoCertificates { ours, theirs: certificate }, effects);
            }
            Some(_) => {}
            None => {
                self.certificates.insert(certificate.height, certificate);
            }
        }
        Ok(())
    }

    fn within_window(&self, height: BlockHeight) -> Result<(), Refusal> {
        if height.get() > self.tip.height.get().saturating_add(HEIGHT_WINDOW) {
            return Err(Refusal::BeyondWindow { height, final_height: self.tip.height });
        }
        Ok(())
    }

    /// Sends own votes again, so that a lost one heals, and asks for what is missing.
    fn tick(&mut self, effects: &mut Vec<Effect>) {
        if let Some(signer) = &self.signer {
            let again = |ballot| Effect::Broadcast(Vote::sign(ballot, signer.node, &signer.key));
            effects.extend(self.record.ballots_above(self.tip.height, &self.consortium).into_iter().map(again));
        }
        let heard_of = self.tally.highest().max(self.certificates.keys().next_back().copied());
        let behind = self.staged.is_some() || heard_of > Some(self.tip.height);
        if behind && self.behind_at_last_tick {
            effects.extend(self.tip.height.next().map(|height| Effect::AskFor { height }));
        }
        self.behind_at_last_tick = behind;
    }

    /// Goes on as far as blocks, votes and certificates allow.
    fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while !self.halted {
            self.stage(now);
            self.notarize(effects);
            self.finalize(effects);
            self.certify();
            if !self.complete(now, effects) {
                break;
            }
        }
    }

    /// Executes the first valid block of the next height in the log. One that is ahead of the clock is waited for; one
    /// that can never be valid is passed over, so that an honest leader can go on above it.
    fn stage(&mut self, now: Timestamp) {
        if self.staged.is_some() {
            return;
        }
        for (log_index, pending) in &mut self.pending {
            if pending.is_refused() {
                continue;
            }
            match try_block(&self.consortium, &self.tip, pending, Some(now)) {
                Ok(executed) => {
                    self.staged = Some(Staged { log_index: *log_index, executed });
                    return;
                }
                // It may be valid once others are final.
                Err(BlockInvalid::Height { found, parent }) if found > parent => {}
                Err(reason) => {
                    pending.invalid = Some(reason);
                    if !pending.is_refused() {
                        return;
                    }
                }
            }
        }
    }

    fn notarize(&mut self, effects: &mut Vec<Effect>) {
        if let Some(staged) = &self.staged {
            let ballot = self.ballot(VoteKind::Notarize, &staged.executed);
            self.sign(ballot, effects);
        }
    }

    fn finalize(&mut self, effects: &mut Vec<Effect>) {
        let Some(staged) = &self.staged else { return };
        let notarize = self.ballot(VoteKind::Notarize, &staged.executed);
        let ballot = self.ballot(VoteKind::Finalize, &staged.executed);
        if self.record.has_signed(&notarize) && self.tally.count(&notarize) >= self.quorum() {
            self.sign(ballot, effects);
        }
    }

    /// Records and broadcasts a vote, unless it was signed before or would contradict one that was.
    fn sign(&mut self, ballot: Ballot, effects: &mut Vec<Effect>) {
        let Some(signer) = &self.signer else { return };
        if self.tally.voters(&ballot).contains(&signer.node) {
            return;
        }
        if !self.record.has_signed(&ballot) {
            if self.record.sign(&ballot).is_err() {
                return;
            }
            effects.push(Effect::Record(self.record.clone()));
        }
        let vote = Vote::sign(ballot, signer.node, &signer.key);
        self.tally.insert(vote.clone());
        effects.push(Effect::Broadcast(vote));
    }

    /// Makes the certificate, once enough finalize votes are here.
    fn certify(&mut self) {
        let Some(staged) = &self.staged else { return };
        let ballot = self.ballot(VoteKind::Finalize, &staged.executed);
        if self.tally.count(&ballot) >= self.quorum() {
            let certificate = self.tally.certificate(&ballot);
            self.certificates.entry(ballot.height).or_insert(certificate);
        }
    }

    /// Makes the next block final if it is certified and here. Whether that happened.
    fn complete(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let Some(certificate) = self.tip.height.next().and_then(|next| self.certificates.get(&next)).cloned() else {
            return false;
        };
        let staged = self.staged.take();
        let (log_index, executed) = match staged {
            Some(staged) if staged.executed.digest == certificate.block => (staged.log_index, staged.executed),
            staged => {
                let found = self.pending.iter().find(|(_, pending)| pending.digest == certificate.block);
                let Some((log_index, pending)) = found else {
                    self.staged = staged;
                    self.cut_what_contradicts(effects);
                    return false;
                };
                // A certificate is worth more than the own clock.
                match try_block(&self.consortium, &self.tip, pending, None) {
                    Ok(executed) => (*log_index, executed),
                    Err(reason) => {
                        self.halt(Conflict::CertifiedInvalid { certificate, reason }, effects);
                        return false;
                    }
                }
            }
        };
        let block = *self.pending.remove(&log_index).expect("staged and found blocks are pending").block;
        self.pending = self.pending.split_off(&log_index);
        self.tip = executed.clone();
        self.tip_certificate = Some(certificate.clone());
        self.since = now;
        self.behind_at_last_tick = false;
        self.record.raise_floor(self.tip.height);
        self.tally.forget_up_to(self.tip.height);
        self.certificates.retain(|height, _| height.get() + HEIGHT_WINDOW > self.tip.height.get());
        effects.push(Effect::Final(Box::new(Final { certificate, block, executed, log_index })));
        true
    }

    /// Tells the shell to cut the log from the first valid block that a certificate of the same height contradicts.
    fn cut_what_contradicts(&mut self, effects: &mut Vec<Effect>) {
        let contradicted = |pending: &Pending| {
            let certified = self.certificates.get(&pending.block.header.height);
            pending.invalid.is_none() && certified.is_some_and(|certificate| certificate.block != pending.digest)
        };
        let from = self.pending.iter().find(|(_, pending)| contradicted(pending)).map(|(index, _)| *index);
        if let Some(from) = from.filter(|from| self.cutting.is_none_or(|cut| *from < cut)) {
            self.cutting = Some(from);
            effects.push(Effect::SelfCut { from });
        }
    }

    fn halt(&mut self, conflict: Conflict, effects: &mut Vec<Effect>) {
        self.halted = true;
        effects.push(Effect::Conflict(Box::new(conflict)));
    }

    fn quorum(&self) -> usize {
        self.consortium.validators().quorum()
    }

    fn ballot(&self, kind: VoteKind, executed: &Executed) -> Ballot {
        Ballot {
            consortium: self.consortium.id(),
            epoch: self.consortium.validators().epoch,
            kind,
            view: executed.view,
            height: executed.height,
            block: executed.digest,
        }
    }
}

fn try_block(
    consortium: &Consortium,
    parent: &Executed,
    pending: &Pending,
    clock: Option<Timestamp>,
) -> Result<Executed, BlockInvalid> {
    let view = pending.block.header.view.term;
    if view > pending.term {
        return Err(BlockInvalid::TermAhead { view, log: pending.term });
    }
    execute(consortium, parent, &pending.block, clock)
}

#[cfg(test)]
mod tests;
