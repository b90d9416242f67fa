//! What is outside a session: its client's line and its tools. And where it can be cut off.

use std::io;

use clap::ValueEnum;
use gpu::{
    SequenceId,
    continuation::{ContinuationRefusal, Effect, EffectId, Interpreter, Op, Outcome, Value},
    stream::StreamFault,
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
    /// It is in the journal, and nobody was told.
    BeforeAdvance,
    /// It is to be shown.
    BeforeEmit,
    /// It was shown, and nothing more happened.
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

/// The way of a session to its tools.
pub(super) struct Hands<'a> {
    pub world: &'a mut dyn World,
}

impl Interpreter for Hands<'_> {
    fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
        let (Op::Tool { idempotent }, [Value::Int(index)]) = (effect.op, effect.args.as_slice()) else {
            return Err(ContinuationRefusal::WakeUnexpected { reason: "not a call of a tool" });
        };
        let at = At::Tool(*index as usize);
        self.world.reach(Point::AfterIntent, at, &mut || {}).map_err(gone)?;
        self.world.call(&effect.id, idempotent, at).map_err(gone)?;
        self.world.reach(Point::BeforeJournal, at, &mut || {}).map_err(gone)?;
        Ok(Ok(Value::Bool(true)))
    }
}

fn gone(error: io::Error) -> ContinuationRefusal {
    StreamFault::PeerGone { reason: error.to_string() }.into()
}
