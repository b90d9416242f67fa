//! A session that runs at one place.

use std::{
    hint::black_box,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use gpu::{
    BLOCK_TOKENS, Engine, Model, Session as EngineSession, Suspended, TailPage,
    continuation::{
        Advanced, Body, Bound, ContinuationHead, DecodeBody, DecodeProgram, EffectId, Flags, Form, Journal,
        Program as _, Resolution, SignedContinuation, Standing, Status, Tail, Terms, Wake, advance,
    },
    numerics_id,
    stream::{Stream as _, StreamWriter as _},
};
use wallet::{
    digest::Digest,
    identity::{SecretKey, VerifyingKey, context},
    page::payload_hash,
    units::{TokenCount, TokenPosition},
};

use super::{
    Parked, Place, Plan, SessionFault, Verified,
    hands::{At, Hands, OneTool, Outbox, Point, SEQUENCE, World},
};

/// A session, an engine of its own, and its streams.
pub struct Session {
    plan: Plan,
    place: Place,
    epoch: u32,
    engine: Engine,
    journal: Journal,
    program: DecodeProgram,
    wake: Wake,
    outbox: Outbox,
    parent: Digest,
    /// Of the holder.
    key: SecretKey,
}

/// How far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// One effect further.
    Went,
    /// To its end.
    Done,
    /// Nowhere: it is not known whether these effects happened.
    InDoubt(Vec<EffectId>),
}

impl Session {
    /// Takes the session up as its streams have it, for the holder of `epoch`. Its client has every token before
    /// `shown`. If it was parked, what it is comes from its continuation, and from the plan only if it was never parked or
    /// was cut off since.
    ///
    /// # Errors
    /// Those of journal, streams and engine; fenced if a later epoch was here.
    pub fn open(
        plan: &Plan,
        model: &Arc<Model>,
        place: Place,
        epoch: u32,
        shown: u32,
        parked: Option<Verified>,
    ) -> Result<Self, SessionFault> {
        let mut journal = Journal::open(place.journal.clone(), plan.page_hash_key(), epoch)?;
        if journal.seq() == 0 {
            journal.prompt(&plan.prompt)?;
        }
        place.kv.fence(epoch)?;
        let mut engine = Engine::new(model.clone(), super::plan::ENGINE);
        let tokens = journal.tokens();
        let full = place.kv.state().tail.min((tokens.len() as u64 - 1) / BLOCK_TOKENS as u64);
        let kv = Bound { root: place.kv.root(full)?, to: full };
        let (body, tail) = match parked {
            // There may be more full pages here, from an earlier stay.
            Some(Verified { body, tail }) => (DecodeBody { kv, ..body }, tail.filter(|_| body.kv.to == full)),
            None => (begun(plan, model, &journal, kv)?, None),
        };
        if body.model != model.hash() || body.prompt.get() as usize != journal.prompt_tokens() {
            return Err(wrong("another model or prompt than its own"));
        }
        let session = EngineSession {
            tokens: tokens.to_vec(),
            prompt: body.prompt,
            sampling: body.sampling.clone(),
            salt: plan.salt(),
        };
        engine.start(SEQUENCE, &session, &place.pages(plan, full)?, tail.as_ref())?;
        let shown = shown.max(session.prompt.get());
        let program = DecodeProgram::from(plan.id(), &numerics_id(), body, &journal, TokenPosition::new(shown))?;
        let outbox = Outbox { group: plan.group, waiting: Vec::new(), next: shown };
        let (plan, wake, parent, key) = (plan.clone(), Wake::Begin, Digest::ZERO, plan.holder_key(epoch));
        Ok(Self { plan, place, epoch, engine, journal, program, wake, outbox, parent, key })
    }

    /// All tokens so far.
    pub fn tokens(&self) -> &[u32] {
        self.journal.tokens()
    }

    /// The position of the first token that the client was not shown, once it is parked.
    pub const fn shown(&self) -> u32 {
        self.outbox.next
    }

    /// Performs the next effect.
    ///
    /// # Errors
    /// Those of what performs it. The session is taken up from its streams then.
    pub fn turn(&mut self, world: &mut dyn World) -> Result<Turn, SessionFault> {
        if !self.journal.in_doubt().is_empty() {
            return Ok(Turn::InDoubt(self.journal.in_doubt().iter().map(|effect| effect.id).collect()));
        }
        if let Some(index) = self.due()? {
            self.call_tool(index, world)?;
            return Ok(Turn::Went);
        }
        let known = self.tokens().len() as u32;
        let at = At::Token(known - self.plan.prompt.len() as u32);
        if self.outbox.next == known && self.journal.finished().is_none() {
            world.reach(Point::BeforeIntent, at, &mut || {})?;
        }
        let wake = mem::replace(&mut self.wake, Wake::Begin);
        let mut hands = Hands {
            engine: &mut self.engine,
            journal: self.place.journal.clone(),
            outbox: &mut self.outbox,
            world: &mut *world,
            prompt: self.plan.prompt.len() as u32,
        };
        match advance(&mut self.program, &mut self.journal, &mut hands, wake)? {
            Advanced::Next(wake) => self.wake = wake,
            Advanced::Done(_) => {
                self.outbox.flush(&self.place.journal, world)?;
                self.place.journal.sync()?;
                return Ok(Turn::Done);
            }
            other => return Err(SessionFault::Wrong(format!("a decode session was {other:?}"))),
        }
        if self.tokens().len() as u32 > known {
            world.reach(Point::BeforeAdvance, at, &mut || {})?;
        }
        self.keep_pages()?;
        Ok(Turn::Went)
    }

    /// Decides about an effect in doubt.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn resolve(&mut self, id: &EffectId, how: Resolution) -> Result<(), SessionFault> {
        self.journal.resolve(id, how)?;
        self.go_on_from(self.program.body().clone())
    }

    /// Takes the session out of its engine, between two tokens, and signs what it is now. Says how long that took: bounds
    /// of the streams, hash of the tail, body and signature, without copying the tail out of the engine and without
    /// syncing the streams.
    ///
    /// # Errors
    /// Those of streams and engine.
    pub fn park(&mut self, world: &mut dyn World) -> Result<(Parked, Duration), SessionFault> {
        let suspended = self.suspend(world)?;
        let started = Instant::now();
        let full = u64::from(suspended.full_pages);
        let tail = suspended.tail.as_ref().map(|tail| hashed(tail, &self.plan));
        let body = self.program.body_mut();
        body.kv = Bound { root: self.place.kv.root(full)?, to: full };
        body.tail = tail;
        let standing = self.standing();
        let body = self.program.encode(&self.journal)?;
        let signed = SignedContinuation::sign(Form::Decode, self.journal.seq(), &body, &standing, &self.key)?;
        let took = started.elapsed();
        // Before anybody sees what refers to them.
        self.sync()?;
        self.parent = signed.digest();
        let (continuation, tail) = (signed.as_bytes().to_vec(), suspended.tail);
        Ok((Parked { continuation, full_pages: full, tail }, took))
    }

    /// Does in the place of [`Self::park`] and [`Self::resume`] what neither can do without, and no more: hash of the tail
    /// and signature, then the hash again and the check of the signature. Says how long each took.
    ///
    /// # Errors
    /// Those of streams and engine.
    pub fn sign_and_verify(&mut self, world: &mut dyn World) -> Result<[Duration; 2], SessionFault> {
        let tail = self.suspend(world)?.tail;
        let hash = || tail.as_ref().map(|tail| hashed(tail, &self.plan));
        let (message, holder) = ([7; ContinuationHead::BYTES], self.key.verifying_key());
        let started = Instant::now();
        let signed = black_box((hash(), self.key.sign(context::GPU_CONTINUATION, &message)));
        let signing = started.elapsed();
        self.sync()?;
        let started = Instant::now();
        let verified = holder.verify(context::GPU_CONTINUATION, &message, &signed.1).is_ok() && hash() == signed.0;
        let verifying = started.elapsed();
        self.engine.resume(SEQUENCE)?;
        if verified { Ok([signing, verifying]) } else { Err(wrong("its own signature does not hold")) }
    }

    /// Takes it out of its engine; every page that is full is kept.
    fn suspend(&mut self, world: &mut dyn World) -> Result<Suspended, SessionFault> {
        self.outbox.flush(&self.place.journal, world)?;
        let suspended = self.engine.suspend(SEQUENCE)?;
        self.keep_pages()?;
        Ok(suspended)
    }

    fn sync(&self) -> Result<(), SessionFault> {
        self.place.journal.sync()?;
        self.place.kv.sync()?;
        Ok(())
    }

    /// What its holder knows of it.
    pub fn standing(&self) -> Standing {
        let status = match (self.journal.in_doubt(), self.journal.finished()) {
            ([], None) => Status::Parked,
            ([], Some(_)) => Status::Done,
            _ => Status::InDoubt,
        };
        Standing {
            id: self.plan.id(),
            epoch: self.epoch,
            flags: Flags::default(),
            status,
            priority: 0,
            parent: self.parent,
            awaits: self.journal.in_doubt().first().map_or(EffectId::NONE, |effect| effect.id),
            numerics: numerics_id(),
            policy: Digest::ZERO,
            deadline_us: 0,
        }
    }

    /// As [`Self::park`], and keeps the parked session beside its streams.
    ///
    /// # Errors
    /// Those of streams, engine and file system.
    pub fn park_here(&mut self, world: &mut dyn World) -> Result<Parked, SessionFault> {
        let (parked, _) = self.park(world)?;
        self.place.park(&parked)?;
        Ok(parked)
    }

    /// Ends the session here, and gives the place back.
    pub fn leave(self) -> Place {
        self.place
    }

    /// Puts the session that was parked here back into its engine, to go on as its continuation says. Says how long the
    /// checks took: signature, body, bounds of the streams, hash of the tail.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn resume(&mut self, parked: &Parked) -> Result<Duration, SessionFault> {
        let (parked, holder) = (parked.clone(), self.key.verifying_key());
        let started = Instant::now();
        let verified = parked.verify(&self.plan, self.epoch, &holder, &self.place, &self.journal.bound()?)?;
        let took = started.elapsed();
        self.engine.resume(SEQUENCE)?;
        self.go_on_from(verified.body)?;
        Ok(took)
    }

    /// The tool that is to be called now.
    fn due(&self) -> Result<Option<usize>, SessionFault> {
        let generated = self.tokens().len() - self.plan.prompt.len();
        let shown = self.outbox.next as usize == self.tokens().len();
        let due = self.plan.tools.iter().position(|tool| tool.after as usize == generated);
        let Some(index) = due.filter(|_| shown && self.journal.finished().is_none()) else { return Ok(None) };
        let effect = self.plan.tool(index)?;
        Ok(self.journal.outcome(&effect.id).is_none().then_some(index))
    }

    fn call_tool(&mut self, index: usize, world: &mut dyn World) -> Result<(), SessionFault> {
        world.reach(Point::BeforeIntent, At::Tool(index), &mut || {})?;
        let mut hands = Hands {
            engine: &mut self.engine,
            journal: self.place.journal.clone(),
            outbox: &mut self.outbox,
            world: &mut *world,
            prompt: self.plan.prompt.len() as u32,
        };
        let mut tool = OneTool(self.plan.tool(index)?);
        advance(&mut tool, &mut self.journal, &mut hands, Wake::Begin)?;
        world.reach(Point::BeforeAdvance, At::Tool(index), &mut || {})?;
        self.go_on_from(self.program.body().clone())
    }

    /// Goes on behind what is recorded in the journal.
    fn go_on_from(&mut self, body: DecodeBody) -> Result<(), SessionFault> {
        let shown = TokenPosition::new(self.outbox.next);
        self.program = DecodeProgram::from(self.plan.id(), &numerics_id(), body, &self.journal, shown)?;
        self.wake = Wake::Begin;
        Ok(())
    }

    /// Keeps every page that has become full.
    fn keep_pages(&mut self) -> Result<(), SessionFault> {
        for index in self.place.kv.state().tail..self.engine.full_pages(SEQUENCE)? as u64 {
            let payload = self.engine.page(SEQUENCE, index as usize)?;
            self.place.keep_page(&self.plan, self.epoch, index, &payload)?;
        }
        Ok(())
    }
}

impl Parked {
    /// Checks that `holder`, who has the session in `epoch`, has signed the continuation, and that tail and streams are
    /// those that it refers to. `journal` is how the journal stands.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(
        self,
        plan: &Plan,
        epoch: u32,
        holder: &VerifyingKey,
        place: &Place,
        journal: &Bound,
    ) -> Result<Verified, SessionFault> {
        let Self { continuation, full_pages, tail } = self;
        let body = signed_by(continuation, plan, epoch, holder)?;
        let hashed = tail.as_ref().map(|tail| hashed(tail, plan));
        if hashed != body.tail || full_pages != body.kv.to {
            return Err(wrong("another tail than the one that was signed"));
        }
        if body.journal != *journal || place.kv.root(body.kv.to)? != body.kv.root {
            return Err(wrong("other streams than those that were signed"));
        }
        Ok(Verified { body, tail })
    }

    /// As [`Self::verify`] for a session whose pages are gone.
    ///
    /// # Errors
    /// What is wrong with its continuation.
    pub fn without_pages(self, plan: &Plan, epoch: u32, holder: &VerifyingKey) -> Result<Verified, SessionFault> {
        Ok(Verified { body: signed_by(self.continuation, plan, epoch, holder)?, tail: None })
    }
}

/// What a new session begins with.
fn begun(plan: &Plan, model: &Model, journal: &Journal, kv: Bound) -> Result<DecodeBody, SessionFault> {
    Ok(DecodeBody {
        model: model.hash(),
        sampling: plan.sampling.clone(),
        prompt: TokenCount::new(journal.prompt_tokens() as u32),
        journal: journal.bound()?,
        kv,
        tail: None,
        finish: journal.finished(),
        terms: Terms::default(),
    })
}

/// The body of a continuation that `holder` has signed in `epoch`.
fn signed_by(bytes: Vec<u8>, plan: &Plan, epoch: u32, holder: &VerifyingKey) -> Result<DecodeBody, SessionFault> {
    let signed = SignedContinuation::decode(bytes, holder)?;
    let Body::Decode(body) = signed.body()? else { return Err(wrong("a continuation of an earlier schema")) };
    if signed.head().id != plan.id() || signed.head().epoch != epoch || signed.head().numerics != numerics_id() {
        return Err(wrong("another continuation"));
    }
    Ok(body)
}

fn hashed(tail: &TailPage, plan: &Plan) -> Tail {
    Tail { rows: tail.rows, hash: payload_hash(&tail.payload, Some(&plan.page_hash_key())) }
}

fn wrong(what: &str) -> SessionFault {
    SessionFault::Wrong(what.to_owned())
}
