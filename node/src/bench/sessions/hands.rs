//! What performs a session's effects: the engine, the client's line and the tools. And where it can be cut off.

use std::{io, mem, sync::Arc};

use clap::ValueEnum;
use gpu::{
    Engine, FinishReason, SequenceId, StepEvent,
    continuation::{
        Chosen, ContinuationRefusal, Effect, EffectId, Form, Interpreter, Journal, Op, Outcome, Program, Step, Value,
        Wake,
    },
    stream::{SegmentStream, StreamFault, StreamWriter as _},
};

/// The session's name in its engine.
pub(super) const SEQUENCE: SequenceId = SequenceId(1);

/// Where a session can be cut off, in the order in which it gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Point {
    /// Nothing says that the effect is to be performed.
    BeforeIntent,
    /// It is to be performed. For a tool this is on the disk.
    AfterIntent,
    /// The engine computes, or the tool has been called and did not answer yet.
    InKernel,
    /// There is a result, and it stands nowhere.
    BeforeJournal,
    /// It is in the journal, and the program does not know it.
    BeforeAdvance,
    /// The program wants it to be shown.
    BeforeEmit,
    /// It was shown, and the program does not know it.
    BeforeAck,
}

impl Point {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::BeforeIntent,
        Self::AfterIntent,
        Self::InKernel,
        Self::BeforeJournal,
        Self::BeforeAdvance,
        Self::BeforeEmit,
        Self::BeforeAck,
    ];
}

/// Which effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of the generated token with this index.
    Token(u32),
    /// That of the tool with this index.
    Tool(usize),
}

/// What is outside a session.
pub trait World {
    /// Shows a token to the client.
    ///
    /// # Errors
    /// It is not known whether the client has it.
    fn show(&mut self, position: u32, token: u32) -> io::Result<()>;

    /// Calls a tool. In the midst of it, `reach` is called.
    ///
    /// # Errors
    /// It is not known whether it was called.
    fn call(&mut self, key: &EffectId, idempotent: bool, at: At) -> io::Result<()>;

    /// The session gets to this point. Who cuts it off here does `work` first.
    ///
    /// # Errors
    /// It was cut off.
    fn reach(&mut self, point: Point, at: At, work: &mut dyn FnMut()) -> io::Result<()>;
}

/// Performs the effects of one session.
pub(super) struct Hands<'a> {
    pub engine: &'a mut Engine,
    pub journal: Arc<SegmentStream>,
    pub outbox: &'a mut Outbox,
    pub world: &'a mut dyn World,
    /// Tokens of the prompt.
    pub prompt: u32,
}

/// Tokens that are shown together, once the journal is durable.
pub(super) struct Outbox {
    pub group: usize,
    pub waiting: Vec<(u32, u32)>,
    /// The position of the first token that was not put in here.
    pub next: u32,
}

impl Outbox {
    pub fn flush(&mut self, journal: &SegmentStream, world: &mut dyn World) -> Result<(), ContinuationRefusal> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        journal.sync()?;
        for (position, token) in mem::take(&mut self.waiting) {
            world.show(position, token).map_err(gone)?;
        }
        Ok(())
    }
}

impl Hands<'_> {
    fn reach(&mut self, point: Point, at: At) -> Result<(), ContinuationRefusal> {
        self.world.reach(point, at, &mut || {}).map_err(gone)
    }

    fn decode(&mut self) -> Result<Outcome, ContinuationRefusal> {
        let known = self.engine.tokens(SEQUENCE).map_or(0, <[u32]>::len);
        let at = At::Token(known as u32 - self.prompt);
        self.reach(Point::AfterIntent, at)?;
        let engine = &mut *self.engine;
        self.world.reach(Point::InKernel, at, &mut || drop(engine.step())).map_err(gone)?;
        let mut chosen = Chosen { token: None, finish: None };
        while chosen.token.is_none() && chosen.finish.is_none() {
            let report = self.engine.step();
            if report.events.is_empty() && self.engine.usage().sequences_running == 0 {
                chosen.finish = Some(FinishReason::MaxTokens);
            }
            for (_, event) in report.events {
                match event {
                    StepEvent::Token { token, .. } => chosen.token = Some(token),
                    StepEvent::Finished { reason } => chosen.finish = Some(reason),
                    StepEvent::PrefillDone => {}
                }
            }
        }
        self.reach(Point::BeforeJournal, at)?;
        Ok(Ok(chosen.to_value()))
    }

    fn emit(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
        let [Value::Int(position), Value::Int(token)] = effect.args.as_slice() else {
            return Err(ContinuationRefusal::WakeUnexpected { reason: "an Emit of something else" });
        };
        let (position, token) = (*position as u32, *token as u32);
        let at = At::Token(position - self.prompt);
        self.reach(Point::BeforeEmit, at)?;
        self.outbox.waiting.push((position, token));
        self.outbox.next = position + 1;
        if self.outbox.waiting.len() >= self.outbox.group {
            self.outbox.flush(&self.journal, self.world)?;
        }
        self.reach(Point::BeforeAck, at)?;
        Ok(Ok(Value::Nil))
    }

    fn tool(&mut self, effect: &Effect, idempotent: bool) -> Result<Outcome, ContinuationRefusal> {
        let [Value::Int(index)] = effect.args.as_slice() else {
            return Err(ContinuationRefusal::WakeUnexpected { reason: "a tool with other arguments" });
        };
        let at = At::Tool(*index as usize);
        self.reach(Point::AfterIntent, at)?;
        self.world.call(&effect.id, idempotent, at).map_err(gone)?;
        self.reach(Point::BeforeJournal, at)?;
        Ok(Ok(Value::Bool(true)))
    }
}

impl Interpreter for Hands<'_> {
    fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
        match effect.op {
            // The engine takes in what is known when it decodes.
            Op::Prefill => Ok(Ok(Value::Nil)),
            Op::Decode => self.decode(),
            Op::Emit => self.emit(effect),
            Op::Tool { idempotent } => self.tool(effect, idempotent),
            _ => Err(ContinuationRefusal::WakeUnexpected { reason: "not an effect of a decode session" }),
        }
    }
}

/// The program that calls one tool, between two tokens of the session to which it belongs.
pub(super) struct OneTool(pub Effect);

impl Program for OneTool {
    const FORM: Form = Form::Decode;

    fn step(&mut self, wake: Wake) -> Result<Step, ContinuationRefusal> {
        Ok(match wake {
            Wake::Begin => Step::Perform(self.0.clone()),
            Wake::Done { .. } => Step::Done(Value::Nil),
        })
    }

    fn encode(&self, _: &Journal) -> Result<Vec<u8>, ContinuationRefusal> {
        // It is never parked: what it asked for is in the journal.
        Ok(Vec::new())
    }
}

fn gone(error: io::Error) -> ContinuationRefusal {
    StreamFault::PeerGone { reason: error.to_string() }.into()
}
