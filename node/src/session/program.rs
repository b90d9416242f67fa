//! The program of a session: what it asks for next, and what its journal keeps of the answer.

use gpu::continuation::{
    Bound, Chosen, ContinuationRefusal, DecodeProgram, Effect, EffectId, EffectResult, Journal, Op, Program as _,
    Recorded, Step, Value, Wake,
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

    /// The engine chose this: it is written down, and the program goes on. The caller shows a token next.
    ///
    /// # Errors
    /// Those of the journal; [`ContinuationRefusal::WakeUnexpected`] if nothing was to be chosen, or somebody else
    /// writes in the journal.
    pub(crate) fn chose(&mut self, journal: &mut Journal, chosen: Chosen) -> Result<(), ContinuationRefusal> {
        let unexpected = |reason| ContinuationRefusal::WakeUnexpected { reason };
        // Who chooses has taken the prompt in.
        while self.asks_for(Op::Prefill) {
            self.tell(Value::Nil, journal)?;
        }
        let effect = self.asked.as_ref().filter(|effect| effect.op == Op::Decode);
        let seq = effect.ok_or(unexpected("no token is to be chosen"))?.seq;
        match chosen.record(journal, seq)? {
            Recorded::New(_) => {}
            Recorded::Same(_) | Recorded::Diverged(_) => return Err(unexpected("somebody else writes in the journal")),
        }
        self.tell(chosen.to_value(), journal)?;
        // Whoever asks for its position is shown it, even if this process ends before it shows it.
        while self.asks_for(Op::Emit) {
            self.tell(Value::Nil, journal)?;
        }
        Ok(())
    }

    /// The effect that it asks for; none once it has ended.
    pub(crate) fn asked(&self) -> EffectId {
        self.asked.as_ref().map_or(EffectId::NONE, |effect| effect.id)
    }

    fn asks_for(&self, op: Op) -> bool {
        self.asked.as_ref().is_some_and(|effect| effect.op == op)
    }

    fn tell(&mut self, value: Value, journal: &Journal) -> Result<(), ContinuationRefusal> {
        let Some(effect) = self.asked.take() else { return Ok(()) };
        self.step(Wake::Done { result: EffectResult { id: effect.id, outcome: Ok(value) }, next: journal.seq() })
    }

    fn step(&mut self, wake: Wake) -> Result<(), ContinuationRefusal> {
        self.asked = match self.program.step(wake)? {
            Step::Perform(effect) => Some(effect),
            Step::Wait(_) | Step::Done(_) | Step::Fail(_) => None,
        };
        Ok(())
    }
}
