//! Programs, and the one way in which their effects are performed.

use super::{
    decode,
    effect::{Class, Effect, EffectResult, Op, Outcome},
    head::Form,
    journal::{Journal, Recorded},
    refusal::ContinuationRefusal,
    value::{Value, WaitTree},
};

/// A computation that can stop at any of its effects and go on elsewhere. It computes nothing itself, so that its state
/// is small and known.
pub trait Program: Sized {
    /// What kind of program it is.
    const FORM: Form;

    /// Goes on until the next effect.
    ///
    /// # Errors
    /// [`ContinuationRefusal::WakeUnexpected`] if `wake` is not what it waits for, and what is wrong with its state.
    fn step(&mut self, wake: Wake) -> Result<Step, ContinuationRefusal>;

    /// The body of its continuation, when its journal is `journal`.
    ///
    /// # Errors
    /// Those of the journal's stream.
    fn encode(&self, journal: &Journal) -> Result<Vec<u8>, ContinuationRefusal>;
}

/// What a program is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It begins, or goes on after it was decoded.
    Begin,
    /// An effect is done.
    Done {
        /// What came of it.
        result: EffectResult,
        /// The number of the next effect: the position after what was recorded of this one.
        next: u32,
    },
}

/// What a program does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It asks for an effect.
    Perform(Effect),
    /// It waits for effects that it has asked for. No program of a node does; tests have one.
    Wait(WaitTree),
    /// It has ended.
    Done(Value),
    /// It has ended with an error.
    Fail(u32),
}

/// Performs effects.
pub trait Interpreter {
    /// Performs one effect. What it yields is recorded before the program is told.
    ///
    /// # Errors
    /// It is not known whether it was performed; an effect outside that cannot be done again is in doubt then. A result
    /// that is an error is an [`Outcome`].
    fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal>;
}

/// How far a program came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// It goes on with this.
    Next(Wake),
    /// It waits.
    Parked(WaitTree),
    /// It has ended.
    Done(Value),
    /// It has ended with an error.
    Failed(u32),
}

/// One step of `program`: its next effect is performed, unless the journal has its result, and recorded. Nodes use
/// [`perform`]; this is how tests drive programs of every class.
///
/// # Errors
/// Those of the program, and of [`perform`]: after any of them the program is rebuilt from the journal.
pub fn advance<P: Program>(
    program: &mut P,
    journal: &mut Journal,
    interpreter: &mut dyn Interpreter,
    wake: Wake,
) -> Result<Advanced, ContinuationRefusal> {
    nothing_in_doubt(journal)?;
    Ok(match program.step(wake)? {
        Step::Perform(effect) => Advanced::Next(perform(journal, interpreter, &effect)?),
        Step::Wait(tree) => Advanced::Parked(tree),
        Step::Done(value) => Advanced::Done(value),
        Step::Fail(code) => Advanced::Failed(code),
    })
}

/// Performs what a program has asked for, unless the journal has its result, and records it: the other half of
/// [`advance`], for a host whose program is one effect ahead. The program goes on with what is returned.
///
/// # Errors
/// [`ContinuationRefusal::InDoubt`] while effects are in doubt; nothing is performed then. Those of journal and
/// interpreter.
pub fn perform(
    journal: &mut Journal,
    interpreter: &mut dyn Interpreter,
    effect: &Effect,
) -> Result<Wake, ContinuationRefusal> {
    nothing_in_doubt(journal)?;
    let outcome = outcome(journal, interpreter, effect)?;
    let next = journal.number_after(effect);
    Ok(Wake::Done { result: EffectResult { id: effect.id, outcome }, next })
}

fn nothing_in_doubt(journal: &Journal) -> Result<(), ContinuationRefusal> {
    match journal.in_doubt() {
        [] => Ok(()),
        all @ [first, ..] => Err(ContinuationRefusal::InDoubt { count: all.len(), first: first.id }),
    }
}

fn outcome(
    journal: &mut Journal,
    interpreter: &mut dyn Interpreter,
    effect: &Effect,
) -> Result<Outcome, ContinuationRefusal> {
    if let Some(outcome) = journal.outcome(effect) {
        return Ok(outcome.clone());
    }
    match (effect.op, effect.class()) {
        // The prompt stands in the journal before, and a token that was shown is known by its position.
        (Op::Prefill, _) | (_, Class::Emit) => interpreter.perform(effect),
        (Op::Decode, _) => {
            let outcome = interpreter.perform(effect)?;
            decode::record(journal, effect, &outcome)?.agreed()?;
            Ok(outcome)
        }
        (_, Class::External { .. }) => {
            // Also if it stands there already: it has to be durable before anything happens.
            journal.intend(effect)?.agreed()?;
            complete(journal, interpreter, effect)
        }
        _ => complete(journal, interpreter, effect),
    }
}

fn complete(
    journal: &mut Journal,
    interpreter: &mut dyn Interpreter,
    effect: &Effect,
) -> Result<Outcome, ContinuationRefusal> {
    let outcome = interpreter.perform(effect).inspect_err(|_| journal.doubt(effect))?;
    journal.complete(effect, &outcome)?.agreed()?;
    Ok(outcome)
}

impl Recorded {
    /// The position, unless somebody else had recorded another result: then the program goes on with that one, rebuilt
    /// from the journal.
    fn agreed(self) -> Result<u64, ContinuationRefusal> {
        match self {
            Self::New(position) | Self::Same(position) => Ok(position),
            Self::Diverged(divergence) => Err(ContinuationRefusal::JournalConflict { position: divergence.position }),
        }
    }
}

#[cfg(test)]
mod tests;
