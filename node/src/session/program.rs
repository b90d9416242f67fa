//! The program of a session: what it asks for next, and what its journal keeps of the answer.

use gpu::continuation::{
    Bound, Chosen, ContinuationRefusal, DecodeProgram, Effect, EffectId, Interpreter, Journal, Op, Outcome,
    Program as _, Step, Value, Wake, perform,
};
use wallet::{digest::Digest, grant::WalletAddress, units::TokenPosition};

use super::start::{SessionStart, StreamBounds};

/// A decode program between two of its effects.
///
/// The engine runs ahead: while a session decodes, the next effect is always the next token, so that it does not wait to
/// be asked. What it chose becomes the result of the effect here, and nothing is shown that is not one.
pub(crate) struct RunningProgram {
    program: DecodeProgram,
    /// None once it has ended.
    asked: Option<Effect>,
}

impl RunningProgram {
    /// Goes on from what the journal holds. All of its tokens can be asked for by their positions.
    ///
    /// # Errors
    /// Those of [`DecodeProgram::from`].
    pub(crate) fn begin(
        wallet: WalletAddress,
        start: &SessionStart,
        journal: &Journal,
    ) -> Result<Self, ContinuationRefusal> {
        let none = Bound { root: Digest::ZERO, to: 0 };
        let bounds = StreamBounds { journal: journal.bound()?, kv: none, tail: None, finish: journal.finished() };
        let shown = TokenPosition::new(u32::try_from(journal.tokens().len()).unwrap_or(u32::MAX));
        let program = DecodeProgram::from(wallet.0, &start.numerics, start.body(bounds)?, journal, shown)?;
        let mut running = Self { program, asked: None };
        running.step(Wake::Begin)?;
        Ok(running)
    }

    /// Whether such a program asks for effects of this kind: those that it performs if they are to be performed again.
    pub(crate) const fn asks_for(op: Op) -> bool {
        matches!(op, Op::Prefill | Op::Decode | Op::Emit)
    }

    /// The engine chose this: it is written down, and the program goes on until it asks for the next token. The caller
    /// shows this one next.
    ///
    /// # Errors
    /// Those of the journal; [`ContinuationRefusal::WakeUnexpected`] if nothing was to be chosen.
    pub(crate) fn chose(&mut self, journal: &mut Journal, chosen: Chosen) -> Result<(), ContinuationRefusal> {
        let mut engine = EngineAhead(Some(chosen));
        while let Some(effect) = self.asked.as_ref().filter(|effect| engine.can_perform(effect)) {
            let wake = perform(journal, &mut engine, effect)?;
            self.step(wake)?;
        }
        match engine.0 {
            None => Ok(()),
            Some(_) => Err(ContinuationRefusal::WakeUnexpected { reason: "no token is to be chosen" }),
        }
    }

    /// The effect that it asks for; none once it has ended.
    pub(crate) fn asked(&self) -> EffectId {
        self.asked.as_ref().map_or(EffectId::NONE, |effect| effect.id)
    }

    fn step(&mut self, wake: Wake) -> Result<(), ContinuationRefusal> {
        self.asked = match self.program.step(wake)? {
            Step::Perform(effect) => Some(effect),
            Step::Wait(_) | Step::Done(_) | Step::Fail(_) => None,
        };
        Ok(())
    }
}

/// What the engine chose before it was asked, until it is.
struct EngineAhead(Option<Chosen>);

impl EngineAhead {
    const fn can_perform(&self, effect: &Effect) -> bool {
        self.0.is_some() || !matches!(effect.op, Op::Decode)
    }
}

impl Interpreter for EngineAhead {
    fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
        Ok(Ok(match effect.op {
            Op::Decode => {
                let unexpected = ContinuationRefusal::WakeUnexpected { reason: "no token was chosen" };
                self.0.take().ok_or(unexpected)?.to_value()
            }
            // Who chooses has taken the prompt in. Whoever asks for the position of a token is shown it, even if this
            // process ends before it shows it.
            _ => Value::Nil,
        }))
    }
}
