//! The finality vote over what raft ordered: sans-IO, one [`Voter`] in each node. After Simplex (Chan and Pass, 2023).
//!
//! # What is voted
//!
//! A block is proposed in a view: a term of raft and a number in it. Upon a block that is flushed to the own log and
//! executes on its parent: record, then broadcast `Notarize`. Upon a quorum of `Notarize`: record, then `Finalize`. Upon
//! a quorum of `Finalize` the block is final, with all its ancestors. Who waits too long, or sees its leader lie, signs
//! `Nullify`: it votes in no view from the one after the best that it knows up to the end of the term. A quorum of these
//! permits the next term. A node follows one leader in a term, which it says with a `Grant`.
//!
//! A block carries a quorum's word for its parent, of either kind. It stands in the view after its parent's, or in the
//! first view of a later term; then it also carries a quorum of nullify votes that cover every view between.
//!
//! # Why it cannot fork
//!
//! Two quorums share an honest validator, as long as f lie at most. An honest one votes for one block in a view, and
//! never both finalizes in a view and gives it up ([`VoteRecord`], which is durable before a signature leaves). So if a
//! block is final in view v: no other block of v has a certificate; and no quorum of nullify votes covers v, because an
//! honest validator would have had to sign both. Now take any certified block in a later view and go down from parent to
//! parent until the first that stands in v or below. The step that reaches it either goes to the view just below, which
//! is v, or is bridged by a quorum of nullify votes that cover all between; they cannot cover v, so it ends in v again.
//! There it meets the final block. So every later certified block descends from it, whatever leaders, clocks and the
//! network do. Raft is not trusted for any of this.
//!
//! # Why f validators cannot stop it
//!
//! Once messages between honest nodes arrive in bounded time: if no block becomes final, every honest timer runs out,
//! because only a certified block or a new term starts it anew. A term has no endless supply of certified blocks: after
//! its first, honest nodes vote only for one on a block that they know to be final, and what they know of that they show
//! each other. All n - f honest nodes then give up the term, which is a quorum, so all enter the next. Of the honest
//! nodes one knows the highest certified block that any of them knows, and holds it in its log. Each honest nullify vote
//! begins at or below the view after that, so this node can show parent and bridge. The turns in a term rotate, each node
//! lets a candidate pass only when its turn has come, and each term that fails doubles the patience up to a cap; so in
//! some term such a node has the first turn, and all honest nodes grant it. Its first block has a quorum of honest
//! notarizations before anybody's patience ends, and then a quorum of finalizations, because nobody has given up a view
//! of that term. Locks that could hold validators back do not exist: whoever finalized a block that did not become final
//! may vote for any later one that is in place. A leader that is known and whose term fails is barred for a while, so a
//! liar or a dead node costs few terms. f + 1 nullify votes contain an honest one: the others join it, so that nobody is
//! left behind.
//!
//! Progress is not enough where a leader takes some entries and leaves others. The shell tells since when the blocks of a
//! term pass over an entry ([`Input::PassedOver`]), and a patience with that ends in the same way, whatever is certified
//! meanwhile. It is the shell of each honest node that waits for the same entry, so at least f + 1 give up the term, and
//! all others join. What this does not see is in `docs/concepts/finality.md`.
//!
//! A log full of what nobody votes for costs the others nothing but the reading: only what a quorum voted for takes up
//! room ([`PENDING_BLOCKS_MAX`]). What is judged wrongly because a certificate came later is read once more
//! ([`Effect::ReadAgain`]). What a leader puts under a header that does not name it is no part of the block: it is cut
//! when the block is final, and fetched from others.
//!
//! # From one validator set to the next
//!
//! A block whose execution changes the set closes its epoch. The next epoch begins on it and nowhere else, once it is final
//! here: as a vote of its own, which starts at that block as the first one starts at genesis. Its views are above all of
//! the epochs before, and its first term needs no permit. So all that is said above holds within an epoch. No statement
//! of one epoch counts in another, and there is one record for all, because views only rise.
//!
//! Why two sets do not fork: whoever votes in an epoch holds its closing block as final, which is one only. Nothing is
//! final in an epoch beside that block's ancestors, itself, and carriers: blocks above it that hold nothing and are no
//! part of the chain. Why nobody stops them: as long as the closing block is final nowhere, its epoch goes on as ever,
//! with carriers for blocks. Once it is final at one honest node, that one shows the proof to whoever asks, and who does
//! not know it asks: because something waits, or because somebody speaks of a later epoch.
//!
//! Two ends of one epoch are the work of more than f liars. Whoever is still in that epoch stops, as at any fork. Whoever
//! is in a later one keeps the evidence and goes on: nothing of the old epoch is voted on any more, and its keys, of which
//! a quorum may be in nobody's care by now, must not stop those that vote after them.
//!
//! What an operator sees of all this is [`Voter::status`].

mod closing;
mod election;
mod epoch;
mod judging;
mod knowledge;
mod nullifies;
mod port;
mod record;
mod report;
mod stages;
mod statements;
mod tally;
mod terms;
mod timer;
mod voting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use genesis::{Consortium, Parameters, ValidatorSet};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use self::{nullifies::Nullifies, stages::Stages, statements::LastHeard, tally::Tally, terms::Terms, timer::Timer};
pub use self::{
    port::{Complaint, Conflict, Effect, Final, Input, Moment, OpenBlock, Refusal, Status},
    record::{RECORD_MAX, VoteRecord, WouldEquivocate},
    statements::{STATEMENTS_MAX, Statements},
};
use crate::{
    block::{Header, View, epoch_of},
    certificate::Certificate,
    checks::{Checks, Direct},
    execute::Executed,
    hand_over::ClosingProof,
    planted::planted,
    vote::Signer,
};

/// Votes and certificates are kept for at most this many heights above the final one.
pub const HEIGHT_WINDOW: u64 = 64;
/// At most this many executed blocks wait for their certificates, and as many refused ones are remembered.
pub const PENDING_BLOCKS_MAX: usize = 256;
/// At most this many blocks wait because they are ahead of the clock.
const EARLY_BLOCKS_MAX: usize = 16;

/// The finality vote of one node.
#[derive(Clone, Debug)]
pub struct Voter {
    consortium: Arc<Consortium>,
    checks: Arc<dyn Checks>,
    /// Those of the tip.
    parameters: Parameters,
    /// Who votes in the present epoch.
    validators: ValidatorSet,
    /// With what this node may sign, whatever the epoch.
    signers: Vec<Signer>,
    /// That of the present epoch; none if it has no vote in it.
    signer: Option<Signer>,
    record: VoteRecord,
    /// The last final block. Never a carrier.
    tip: Executed,
    /// Its header, if it became final since the start.
    tip_header: Option<Header>,
    tip_certificate: Option<Certificate>,
    /// Between the tip and what the certificate names: only if the tip closed its epoch.
    tip_carriers: Vec<Header>,
    since: Timestamp,
    /// The blocks of the own log above the tip.
    stages: Stages,
    tally: Tally,
    nullifies: Nullifies,
    heard: LastHeard,
    /// The certified blocks above the tip, by view, be they in the own log or not.
    certified: BTreeMap<View, Certificate>,
    /// The last final blocks with what made them so, to notice conflicts.
    recent: BTreeMap<BlockHeight, (Digest, Certificate)>,
    /// Why a closing block is final that is not the tip yet.
    shown: Option<ClosingProof>,
    /// Somebody spoke of a later epoch since the last tick.
    later_epoch: bool,
    terms: Terms,
    timer: Timer,
    /// Whether entries wait here.
    demand: bool,
    /// From where the shell was told to cut, until it did.
    cutting: Option<u64>,
    /// From where the shell was told to read the log once more, until it did.
    rereading: Option<u64>,
    /// Something waited at the last tick; if it still does at the next, it may have been lost.
    behind_at_last_tick: bool,
    halted: bool,
    /// Whom this node has reported, and for what.
    accused: BTreeSet<(&'static str, NodeId)>,
    /// The epochs that are over and of which it has reported two ends.
    forked: BTreeSet<u64>,
    /// The time of the present step.
    now: Moment,
    /// What the present step gives the shell to do.
    effects: Vec<Effect>,
}

impl Voter {
    /// A voter that goes on from the final state of its disk. Without a signer, or with one that is no validator, it
    /// follows the votes of others. `tip_certificate` is what made the tip final; see also [`Self::with_carriers`].
    /// `record` is the last one made durable; the default is only for a key that never voted.
    pub fn new(
        consortium: Arc<Consortium>,
        signers: impl IntoIterator<Item = Signer>,
        tip: Executed,
        tip_certificate: Option<Certificate>,
        mut record: VoteRecord,
        now: Moment,
    ) -> Self {
        let validators = tip.validators();
        let epoch = validators.epoch;
        let stands = tip.view.max(View::start_of(epoch));
        record.raise_floor(stands);
        let recorded = Some(record.term).filter(|term| epoch_of(*term) == epoch);
        let term = recorded.unwrap_or_default().max(stands.term).max(View::first_term(epoch));
        record.enter(term);
        let recent = |certificate: &Certificate| (tip.height, (tip.digest, certificate.clone()));
        let mut voter = Self {
            recent: tip_certificate.iter().map(recent).collect(),
            parameters: tip.state.parameters(),
            validators,
            signers: Vec::new(),
            signer: None,
            consortium,
            checks: Arc::new(Direct),
            record,
            tip,
            tip_header: None,
            tip_certificate,
            tip_carriers: Vec::new(),
            shown: None,
            later_epoch: false,
            since: now.wall,
            stages: Stages::default(),
            tally: Tally::default(),
            nullifies: Nullifies::default(),
            heard: LastHeard::default(),
            certified: BTreeMap::new(),
            terms: Terms::new(term, now.steady),
            timer: Timer::new(now.steady),
            demand: false,
            cutting: None,
            rereading: None,
            behind_at_last_tick: false,
            halted: false,
            accused: BTreeSet::new(),
            forked: BTreeSet::new(),
            now,
            effects: Vec::new(),
        };
        voter.set_signer(signers);
        voter
    }

    /// With a memory of what this process has checked already, which it shares.
    pub fn with_checks(mut self, checks: Arc<dyn Checks>) -> Self {
        self.checks = checks;
        self
    }

    /// With the carriers between the tip, which closed its epoch, and what its certificate names. Without them this node
    /// cannot lead the first terms of the next epoch.
    pub fn with_carriers(mut self, carriers: Vec<Header>) -> Self {
        self.tip_carriers = carriers;
        self
    }

    /// With what this node signs from now on: in each epoch with the one that is a validator's, if any. More than one of
    /// them while its key is rotated.
    pub fn set_signer(&mut self, signers: impl IntoIterator<Item = Signer>) {
        self.signers = signers.into_iter().collect();
        self.choose_signer();
    }

    /// Takes one input and appends what the shell has to do.
    ///
    /// # Errors
    /// [`Refusal`] if the input was not taken. What it brought along, as a candidate's proofs, may have had effects.
    pub fn step(&mut self, now: Moment, input: Input, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if self.halted {
            return Err(Refusal::Halted);
        }
        self.now = now;
        let is_tick = matches!(input, Input::Tick);
        let taken = self.take(input);
        self.advance();
        // Not at once: the log is read on between two ticks, and what follows may be what a certificate names.
        if is_tick && !self.halted {
            self.cut_what_contradicts();
        }
        effects.append(&mut self.effects);
        taken
    }

    fn take(&mut self, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Flushed { log_index, term, leader, after, block } => {
                self.flushed(stages::Place { log_index, term, leader, after }, block)
            }
            Input::Truncated { from } => {
                self.truncated(from);
                Ok(())
            }
            Input::Vote(vote) => self.vote(vote),
            Input::Nullify(vote) => self.nullify_vote(vote),
            Input::Certificate(certificate) => self.certificate(certificate),
            Input::Nullification(nullification) => self.nullification(&nullification),
            Input::Closing(proof) => self.closing(*proof),
            Input::Later { epoch } => self.of_this_epoch(epoch),
            Input::Candidate { term, candidate, permit, parent } => {
                self.candidate(term, candidate, permit.as_ref(), parent)
            }
            Input::Leads { term, leader } => {
                self.leads(term, leader);
                Ok(())
            }
            Input::Complaint { term } => {
                self.terms.guard_complained(term);
                Ok(())
            }
            Input::Demand(demand) => {
                self.demand = demand;
                Ok(())
            }
            Input::PassedOver { term, since } => {
                if term == self.terms.term() {
                    self.timer.passed_over(since);
                }
                Ok(())
            }
            Input::Tick => {
                self.tick();
                Ok(())
            }
        }
    }

    /// Goes on as far as blocks, votes, certificates and the time allow.
    fn advance(&mut self) {
        while !self.halted {
            self.enter_term();
            let mut moved = self.judge();
            moved |= self.notarize();
            moved |= self.finalize();
            moved |= self.complete();
            moved |= self.complain();
            if self.halted || !moved {
                break;
            }
        }
        if !self.halted {
            self.campaign();
        }
    }

    /// The final state.
    pub fn tip(&self) -> &Executed {
        &self.tip
    }

    /// What certifies the tip; none at genesis. Of kind `Notarize` where a later block made it final; but of the last
    /// carrier and of kind `Finalize` where carriers stand between: see [`Final::carriers`].
    pub fn tip_certificate(&self) -> Option<&Certificate> {
        self.tip_certificate.as_ref()
    }

    /// The key with which this node votes in the present epoch; none if it has no vote.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// The record as it must be on the disk.
    pub fn record(&self) -> &VoteRecord {
        &self.record
    }

    /// Who votes in the present epoch.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    fn quorum(&self) -> usize {
        self.validators().quorum() - usize::from(planted!(QuorumOneShort))
    }

    /// The certificate by which the block is known to be certified, if it is above the tip.
    fn certificate_of(&self, view: View, block: &Digest) -> Option<&Certificate> {
        self.certified.get(&view).filter(|certificate| certificate.block == *block)
    }

    /// The highest certified block that the own log holds, or the tip, with its certificate.
    fn best(&self) -> (&Executed, Option<&Certificate>) {
        let certified = self
            .stages
            .executed()
            .filter_map(|(_, _, executed)| Some((executed, self.certificate_of(executed.view, &executed.digest)?)));
        match certified.max_by_key(|(executed, _)| executed.view) {
            Some((executed, certificate)) => (executed, Some(certificate)),
            None => (&self.tip, self.tip_certificate.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests;
