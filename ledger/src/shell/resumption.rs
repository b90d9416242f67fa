//! A vote record that is lost, older than the last one, or used by two processes.
//!
//! At its start a node asks the others what they hold signed by its key (see `statements`), and says nothing before a
//! quorum, itself included, has answered. It asks again every now and then. Where somebody shows what its record does not
//! know, or the record is missing, the node falls silent: it follows, and neither votes nor proposes. It submits
//! `ValidatorResumed` and votes again in terms after the one in which that became final; see
//! [`Statements`](crate::finality::Statements).
//! Where a `ValidatorResumed` of its key becomes final that it did not submit, another process has its key and its
//! record. Then it stays silent until it is started again, so that one of both is left.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, Hasher as _},
};

use wallet::{codec, digest::sha256, units::NodeId};

use super::{fault::Fault, validator::Validator};
use crate::{
    block::Block,
    event::{EntryBody, Event, ValidatorResumed},
    finality::{Final, Input, Statements},
};

/// So many numbers of the own `ValidatorResumed` are remembered.
const DRAWN_MAX: usize = 64;

/// Whether this process may sign with the node's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// These peers have answered, and hold nothing that the record does not know.
    Asking(BTreeSet<NodeId>),
    /// The record is the last one, as far as anybody knows.
    Trusted,
    /// It is not, for this reason. The node submitted `ValidatorResumed`.
    Silent(&'static str),
    /// Another process has this key.
    Doubled,
}

impl Validator {
    /// The first thing that the voting thread does. `may_vote`: whether there is a record, or nothing to be recorded.
    pub(crate) fn begin_custody(&mut self, may_vote: bool) -> Result<(), Fault> {
        let on_ledger = self.shared.tip.borrow().state.resumption(self.shared.me).map(|record| record.nonce);
        let foreign = on_ledger.is_some_and(|nonce| !self.votes.drawn.contains(&nonce));
        if !may_vote || self.votes.silent.is_some() || foreign {
            return self.fall_silent("the vote record is missing or not the last one");
        }
        self.trust_if_answered();
        Ok(())
    }

    /// A peer told what it holds signed by this node's key.
    pub(crate) fn heard(&mut self, from: NodeId, statements: &Statements) -> Result<(), Fault> {
        self.check_own(statements, "a peer holds what the vote record does not")?;
        if let Custody::Asking(answered) = &mut self.custody {
            answered.insert(from);
            self.trust_if_answered();
        }
        Ok(())
    }

    /// Falls silent if this node's key signed something here that its record does not know.
    pub(crate) fn check_own(&mut self, statements: &Statements, why: &'static str) -> Result<(), Fault> {
        let shared = &self.shared;
        let by = |own| statements.are_beyond(&self.votes.record, shared.me, own, &shared.name());
        let beyond = self.own.iter().any(by);
        if beyond { self.fall_silent(why) } else { Ok(()) }
    }

    /// See [`Self::check_own`], for what this node hears of itself in an input.
    pub(crate) fn check_input(&mut self, input: &Input) -> Result<(), Fault> {
        if matches!(self.custody, Custody::Silent(_) | Custody::Doubled) {
            return Ok(());
        }
        if let Input::Flushed { block, .. } = input {
            // Before this process votes for anything that stands on it.
            for nonce in self.resumptions(block) {
                self.yield_to(nonce)?;
            }
        }
        let statements = Statements::within(input, self.shared.me, &self.shared.name());
        self.check_own(&statements, "a peer shows what the vote record does not hold")
    }

    fn trust_if_answered(&mut self) {
        let Custody::Asking(answered) = &self.custody else { return };
        // Those that vote: of a quorum of them one is honest and in every other quorum. This node itself is one more.
        let validators = self.shared.validators();
        let of_others = answered.iter().filter(|node| validators.key(**node).is_some()).count();
        let own = usize::from(validators.key(self.shared.me).is_some());
        if of_others + own >= validators.quorum() {
            self.speak();
        }
    }

    fn speak(&mut self) {
        self.custody = Custody::Trusted;
        self.voter.set_signer(self.keys.clone());
        self.take_up_key();
        self.shared.votes.send_replace(true);
        self.note_recovery();
    }

    /// Signs as the ledger names this node's key, which changed with the epoch, or may have while the node was silent.
    pub(crate) fn take_up_key(&mut self) {
        if let Some(signer) = self.voter.signer() {
            self.shared.promises.sign_with(signer.clone());
        }
        if matches!(self.custody, Custody::Silent(_))
            && let Some(nonce) = self.votes.silent
        {
            self.submit_resumption(nonce);
        }
    }

    fn fall_silent(&mut self, why: &'static str) -> Result<(), Fault> {
        if matches!(self.custody, Custody::Silent(_) | Custody::Doubled) {
            return Ok(());
        }
        self.hush();
        self.custody = Custody::Silent(why);
        // Drawn anew at each start, so that a copy of this folder is told apart.
        let nonce = self.draw();
        self.votes.silent = Some(nonce);
        if self.votes.drawn.len() >= DRAWN_MAX {
            self.votes.drawn.remove(0);
        }
        self.votes.drawn.push(nonce);
        self.save_votes()?;
        tracing::error!(why, "this node falls silent until its ValidatorResumed is final");
        let validators = self.shared.validators();
        if validators.key(self.shared.me).is_some() && validators.quorum() == validators.members.len() {
            tracing::error!("the others have no quorum without this node: nothing becomes final any more");
        }
        self.submit_resumption(nonce);
        Ok(())
    }

    /// Submits this node's `ValidatorResumed`, signed with the key that the ledger names now, in place of the same one
    /// under another signature.
    fn submit_resumption(&self, nonce: [u8; 16]) {
        let (consortium, author) = (self.shared.consortium.id(), self.shared.me);
        let event = Event::ValidatorResumed(ValidatorResumed { name: self.shared.name(), nonce });
        let named = self.shared.tip.borrow().state.node(author).map(|record| record.node.key);
        if let Some(own) = self.keys.iter().find(|own| named == Some(own.key.public_key())) {
            let entry = EntryBody { consortium, author, nonce, event }.sign(&own.key, None);
            self.shared.outbox.settle(&[entry.id()]);
            self.shared.outbox.add_all(vec![entry]);
        }
    }

    fn hush(&mut self) {
        self.voter.set_signer(None);
        self.shared.votes.send_replace(false);
    }

    /// Looks for `ValidatorResumed` of this node's key in a block that became final.
    pub(crate) fn look_for_resumption(&mut self, finalized: &Final) -> Result<(), Fault> {
        for nonce in self.resumptions(&finalized.block) {
            if self.votes.silent != Some(nonce) || !matches!(self.custody, Custody::Silent(_)) {
                self.yield_to(nonce)?;
                continue;
            }
            let view = finalized.block.header.view;
            tracing::warn!(term = view.term, "this node resumes: it votes in later terms");
            self.votes.record = self.voter.resume(view);
            self.votes.silent = None;
            self.save_votes()?;
            self.speak();
        }
        Ok(())
    }

    /// The nonces of this key's `ValidatorResumed` in a block.
    fn resumptions(&self, block: &Block) -> Vec<[u8; 16]> {
        let own = block.entries.iter().filter(|entry| entry.body.author == self.shared.me);
        own.filter_map(|entry| match &entry.body.event {
            Event::ValidatorResumed(event) => Some(event.nonce),
            _ => None,
        })
        .collect()
    }

    /// Another process resumes with this key, or did so before this folder's time.
    fn yield_to(&mut self, nonce: [u8; 16]) -> Result<(), Fault> {
        match self.custody {
            // It is one that this process does not know of: the folder is older.
            Custody::Asking(_) if !self.votes.drawn.contains(&nonce) => {
                self.fall_silent("this key resumed, and the vote record does not know it")
            }
            Custody::Trusted if !self.votes.drawn.contains(&nonce) => {
                tracing::error!("another process resumes with this node's key: this one stays silent");
                self.hush();
                self.custody = Custody::Doubled;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A number that no other process draws.
    fn draw(&self) -> [u8; 16] {
        let now = self.shared.clock.now().get();
        let mut seed = codec::encode(&(self.shared.me, now, self.shared.tip.borrow().digest));
        #[cfg(any(test, feature = "testing"))]
        let is_simulated = super::simulated::is_on();
        #[cfg(not(any(test, feature = "testing")))]
        let is_simulated = false;
        if !is_simulated {
            // The operating system's randomness, by the one way that the standard library has to it.
            let random = std::hash::RandomState::new().build_hasher().finish();
            seed.extend_from_slice(&random.to_le_bytes());
        }
        let drawn = sha256("batchmind/v1/ledger/resumption", &[&seed]);
        drawn.0.first_chunk::<16>().copied().unwrap_or_default()
    }
}
