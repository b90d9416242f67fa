//! A session that runs at one place: what a node holds of it, and an engine of its own.

use std::{collections::VecDeque, path::Path, sync::Arc};

use gpu::{
    Engine, FinishReason, Model, Session as EngineSession, StepEvent,
    continuation::{ContinuationRefusal, EffectId, Resolution},
};
use wallet::{page::StreamDescriptor, units::TokenPosition};

use super::{
    Plan, SessionFault,
    hands::{At, Hands, Point, SEQUENCE, World},
    plan::ENGINE,
};
use crate::{
    engine::{Arrival, EngineEvent, Parked},
    session::{
        continuation::Stand,
        disk::{DiskFault, HolderKeys, SessionDir},
        held::Held,
        tokens::EmittedToken,
    },
};

mod timed;

/// A session, an engine of its own, and its folder.
pub struct Session {
    plan: Plan,
    dir: SessionDir,
    keys: HolderKeys,
    held: Held,
    stream: StreamDescriptor,
    engine: Engine,
    /// It is in the engine.
    runs: bool,
    /// Tokens that stand in the journal, and that its client was not shown.
    unshown: VecDeque<EmittedToken>,
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
    /// Takes the session up as the folder of `place` has it, for the holder of `epoch`: it goes on there, whether it was
    /// parked or cut off. If nothing is there and nothing was shown, it begins. Its client has every token before `shown`.
    ///
    /// # Errors
    /// Those of folder, journal and engine; fenced if a later epoch was here.
    pub fn open(plan: &Plan, model: &Arc<Model>, place: &Path, epoch: u32, shown: u32) -> Result<Self, SessionFault> {
        let dir = plan.dir(place)?;
        let known = match dir.load_keys()? {
            Some(keys) if keys.epoch.get() > epoch => {
                return Err(DiskFault::from(ContinuationRefusal::Fenced { epoch: keys.epoch.get() }).into());
            }
            Some(keys) if keys.epoch.get() == epoch => Held::reopen(&dir, &keys, model)?.map(|held| (keys, held)),
            _ => None,
        };
        let (keys, held) = match known {
            Some(known) => known,
            // It was cut off before anybody was told that it had begun.
            None if epoch == 0 && shown as usize <= plan.prompt.len() => {
                let keys = plan.keys(place, epoch);
                dir.save_keys(&keys)?;
                let start = plan.start(model);
                let held = Held::begin(&dir, &keys, start, &plan.prompt, model)?;
                (keys, held)
            }
            None => return Err(wrong("what is left in its folder is no session")),
        };
        let mut session = Self::of(plan, model, (dir, keys), held, shown);
        session.go_on()?;
        Ok(session)
    }

    /// The session at a holder that took it over, with what came for the engine.
    pub(super) fn arrived(
        plan: &Plan,
        model: &Arc<Model>,
        place: (SessionDir, HolderKeys),
        held: Held,
        arrival: &Arrival,
        shown: u32,
    ) -> Result<Self, SessionFault> {
        let mut session = Self::of(plan, model, place, held, shown);
        session.enter(arrival)?;
        Ok(session)
    }

    fn of(plan: &Plan, model: &Arc<Model>, (dir, keys): (SessionDir, HolderKeys), mut held: Held, shown: u32) -> Self {
        let unshown = held.emitted_before(TokenPosition::new(shown)).into();
        let (engine, stream) = (Engine::new(model.clone(), ENGINE), model.stream_descriptor());
        Self { plan: plan.clone(), dir, keys, held, stream, engine, runs: false, unshown }
    }

    /// All tokens so far.
    pub fn tokens(&self) -> &[u32] {
        self.held.tokens()
    }

    /// The position of the first token that the client was not shown.
    pub fn shown(&self) -> u32 {
        self.unshown.front().map_or(self.held.next(), |token| token.position).get()
    }

    /// Effects of which it is not known whether they happened.
    pub fn in_doubt(&self) -> Vec<EffectId> {
        self.held.journal().in_doubt().iter().map(|effect| effect.id).collect()
    }

    /// Whether it may move: nobody has to decide anything before, and it is not at its end.
    pub fn may_move(&self) -> bool {
        self.held.finished.is_none() && self.held.may_move().is_ok()
    }

    /// Performs the next effect.
    ///
    /// # Errors
    /// Those of what performs it. The session is taken up from its folder then.
    pub fn turn(&mut self, world: &mut dyn World) -> Result<Turn, SessionFault> {
        let doubts = self.in_doubt();
        if !doubts.is_empty() {
            return Ok(Turn::InDoubt(doubts));
        }
        if let Some(token) = self.unshown.pop_front() {
            self.show(&token, world)?;
        } else if self.held.finished.is_some() {
            self.held.sync()?;
            return Ok(Turn::Done);
        } else if let Some(index) = self.due()? {
            self.call_tool(index, world)?;
        } else {
            self.go_on()?;
            if self.runs {
                self.decode(world)?;
            }
        }
        Ok(Turn::Went)
    }

    /// Decides about an effect in doubt.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn resolve(&mut self, id: &EffectId, how: Resolution) -> Result<(), SessionFault> {
        Ok(self.held.resolve(&self.dir, &self.keys, id, how)?)
    }

    /// Takes the session out of its engine, between two tokens, and keeps in its folder what it goes on from. One that
    /// stands already stays as it is.
    ///
    /// # Errors
    /// Those of folder and engine.
    pub fn park(&mut self) -> Result<(), SessionFault> {
        if !self.runs {
            return Ok(());
        }
        let tail = self.suspend()?.tail_page(&self.stream, &self.keys.page_hash)?;
        self.held.park(&self.dir, &self.keys, false, &tail)?;
        self.leave_engine()
    }

    /// Forgets the full pages of a parked session, which is no more than a cache miss.
    ///
    /// # Errors
    /// Those of the folder.
    pub fn drop_pages(&mut self) -> Result<(), SessionFault> {
        Ok(self.held.drop_pages(&self.dir, &self.keys)?)
    }

    /// Puts a session back into its engine that stands, unless somebody has to decide something before, or it is at its end.
    ///
    /// # Errors
    /// Those of folder and engine.
    pub fn go_on(&mut self) -> Result<(), SessionFault> {
        if self.runs || self.held.finished.is_some() || self.held.may_go_on().is_err() {
            return Ok(());
        }
        let was_parked = self.held.is_parked();
        let arrival = self.held.arrival(&self.dir, &self.keys, &self.stream)?;
        self.enter(&arrival)?;
        if was_parked {
            self.held.keep_continuation(&self.dir, &self.keys, Stand::Ready, &[])?;
        }
        Ok(())
    }

    fn enter(&mut self, arrival: &Arrival) -> Result<(), SessionFault> {
        let Arrival { tokens, prompt_tokens, sampling, pages, tail, salt, .. } = arrival;
        let prompt = *prompt_tokens;
        if tokens.len() as u32 - prompt.get() >= sampling.max_tokens.get() {
            // The last token was written down, and the end after it was not.
            return Ok(self.held.finish(Some(FinishReason::MaxTokens))?);
        }
        let (tokens, sampling) = (tokens.clone(), sampling.clone());
        let session = EngineSession { tokens, prompt, sampling, salt: salt.0 };
        let started = self.engine.start(SEQUENCE, &session, pages, tail.as_ref())?;
        self.runs = true;
        match started.finish {
            Some(reason) => self.finish(reason),
            None => Ok(()),
        }
    }

    fn decode(&mut self, world: &mut dyn World) -> Result<(), SessionFault> {
        let at = At::Token(self.generated());
        world.reach(Point::BeforeIntent, at, &mut || {})?;
        world.reach(Point::AfterIntent, at, &mut || {})?;
        let engine = &mut self.engine;
        world.reach(Point::InKernel, at, &mut || drop(engine.step()))?;
        let event = self.next_event();
        world.reach(Point::BeforeJournal, at, &mut || {})?;
        let token = self.held.push(&event)?;
        world.reach(Point::BeforeAdvance, at, &mut || {})?;
        self.show(&token, world)?;
        match event.finish {
            Some(reason) => self.finish(reason),
            None => self.keep_pages(),
        }
    }

    /// What the engine chooses next.
    fn next_event(&mut self) -> EngineEvent {
        let (mut event, mut has_token) = (
            EngineEvent { position: self.held.next(), token: 0, finish: None, step_start_ns: 0, step_end_ns: 0 },
            false,
        );
        while !has_token {
            for (_, step) in self.engine.step().events {
                match step {
                    StepEvent::Token { position, token } => {
                        (event.position, event.token, has_token) = (position, token, true);
                    }
                    StepEvent::Finished { reason } => event.finish = Some(reason),
                    StepEvent::PrefillDone => {}
                }
            }
        }
        event
    }

    fn show(&self, token: &EmittedToken, world: &mut dyn World) -> Result<(), SessionFault> {
        let position = token.position.get();
        let at = At::Token(position - self.plan.prompt.len() as u32);
        world.reach(Point::BeforeEmit, at, &mut || {})?;
        world.show(position, token.id)?;
        Ok(world.reach(Point::BeforeAck, at, &mut || {})?)
    }

    fn finish(&mut self, reason: FinishReason) -> Result<(), SessionFault> {
        self.held.finish(Some(reason))?;
        self.leave_engine()
    }

    fn leave_engine(&mut self) -> Result<(), SessionFault> {
        self.runs = false;
        Ok(self.engine.release(SEQUENCE)?)
    }

    /// Takes it out of the engine's batch; every page that is full is kept.
    fn suspend(&mut self) -> Result<Parked, SessionFault> {
        let suspended = self.engine.suspend(SEQUENCE)?;
        self.keep_pages()?;
        Ok(Parked { full_pages: suspended.full_pages, tail: suspended.tail })
    }

    /// Keeps every page that has become full.
    fn keep_pages(&mut self) -> Result<(), SessionFault> {
        let full = self.engine.full_pages(SEQUENCE)?;
        let new = self.held.content.pages() as usize..full;
        let payloads = new.map(|index| self.engine.page(SEQUENCE, index)).collect::<Result<_, _>>()?;
        Ok(self.held.push_pages(&self.dir, &self.keys, &self.stream, payloads)?)
    }

    /// The tool that is to be called now.
    fn due(&self) -> Result<Option<usize>, SessionFault> {
        let Some(index) = self.plan.tools.iter().position(|tool| tool.after == self.generated()) else {
            return Ok(None);
        };
        let effect = self.plan.tool(index)?;
        Ok(self.held.journal().outcome(&effect).is_none().then_some(index))
    }

    fn call_tool(&mut self, index: usize, world: &mut dyn World) -> Result<(), SessionFault> {
        world.reach(Point::BeforeIntent, At::Tool(index), &mut || {})?;
        let effect = self.plan.tool(index)?;
        self.held.perform(&self.dir, &effect, &mut Hands { world: &mut *world })?;
        Ok(world.reach(Point::BeforeAdvance, At::Tool(index), &mut || {})?)
    }

    /// How many tokens were generated.
    fn generated(&self) -> u32 {
        (self.tokens().len() - self.plan.prompt.len()) as u32
    }
}

pub(super) fn wrong(what: &str) -> SessionFault {
    SessionFault::Wrong(what.to_owned())
}
