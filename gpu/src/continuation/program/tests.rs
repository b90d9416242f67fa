use std::{collections::BTreeMap, sync::Arc};

use wallet::{chain::PageHashKey, digest::Digest};

use super::*;
use crate::{
    continuation::{EffectId, Resolution, journal_descriptor, memory::MemoryStream},
    stream::StreamWriter,
};

const ID: Digest = Digest([1; 32]);
const OPS: [Op; 4] = [Op::LedgerTx, Op::Tool { idempotent: true }, Op::Tool { idempotent: false }, Op::Recv];

/// One effect of each class that is recorded, in order.
#[derive(Default)]
struct Errands {
    done: usize,
    seq: u32,
    asked: Option<EffectId>,
    outcomes: Vec<Outcome>,
}

impl Program for Errands {
    const FORM: Form = Form::Decode;

    fn step(&mut self, wake: Wake) -> Result<Step, ContinuationRefusal> {
        if let Wake::Done { result, next } = wake {
            assert_eq!(self.asked.take(), Some(result.id));
            self.outcomes.push(result.outcome);
            (self.done, self.seq) = (self.done + 1, next);
        }
        let Some(op) = OPS.get(self.done) else { return Ok(Step::Done(Value::Int(self.done as i64))) };
        let effect = Effect::new(&ID, self.seq, *op, vec![Value::Int(self.done as i64)])?;
        self.asked = Some(effect.id);
        Ok(Step::Perform(effect))
    }

    fn encode(&self, _: &Journal) -> Result<Vec<u8>, ContinuationRefusal> {
        Ok(Vec::new())
    }
}

/// The world outside: how often each effect happened. It knows those with a key by their id. The power fails once.
#[derive(Default)]
struct World {
    happened: BTreeMap<EffectId, usize>,
    fuse: Option<(usize, bool)>,
    performed: usize,
}

impl Interpreter for World {
    fn perform(&mut self, effect: &Effect) -> Result<Outcome, ContinuationRefusal> {
        let failed = || ContinuationRefusal::WakeUnexpected { reason: "the power failed" };
        let count = self.performed;
        self.performed += 1;
        if self.fuse == Some((count, false)) {
            return Err(failed());
        }
        let happened = self.happened.entry(effect.id).or_default();
        let knows = matches!(effect.class(), Class::External { idempotent: true } | Class::Commit);
        if !(knows && *happened > 0) {
            *happened += 1;
        }
        if self.fuse == Some((count, true)) {
            return Err(failed());
        }
        Ok(Ok(Value::Int(i64::from(effect.seq))))
    }
}

fn open(stream: &Arc<MemoryStream>, epoch: u32) -> Journal {
    let writer: Arc<dyn StreamWriter> = Arc::clone(stream) as _;
    Journal::open(writer, PageHashKey::from_bytes([4; 32]), epoch).expect("readable")
}

fn run(journal: &mut Journal, world: &mut World) -> Result<Vec<Outcome>, ContinuationRefusal> {
    let (mut program, mut wake) = (Errands::default(), Wake::Begin);
    loop {
        match advance(&mut program, journal, world, wake)? {
            Advanced::Next(next) => wake = next,
            Advanced::Done(_) => return Ok(program.outcomes),
            other => panic!("{other:?}"),
        }
    }
}

fn send() -> EffectId {
    Effect::new(&ID, 3, OPS[2], vec![Value::Int(2)]).expect("within bounds").id
}

#[test]
fn without_a_failure_everything_happens_once() {
    let stream = MemoryStream::new(journal_descriptor(&ID));
    let mut world = World::default();
    let outcomes = run(&mut open(&stream, 1), &mut world).expect("it ends");
    assert_eq!(outcomes, [0, 1, 3, 5].map(|seq| Ok(Value::Int(seq))));
    assert!(world.happened.len() == 4 && world.happened.values().all(|count| *count == 1));
    // Again, from the journal alone.
    let mut idle = World::default();
    assert_eq!(run(&mut open(&stream, 2), &mut idle).expect("it ends"), outcomes);
    assert_eq!(idle.performed, 0);
}

#[test]
fn whenever_the_power_fails_effects_outside_happen_once_or_are_in_doubt() {
    for at in 0..4 {
        for after in [false, true] {
            for lost in 0..3 {
                let stream = MemoryStream::new(journal_descriptor(&ID));
                let mut world = World { fuse: Some((at, after)), ..World::default() };
                run(&mut open(&stream, 1), &mut world).expect_err("the power fails");
                world.fuse = None;
                let left = (stream.pages().len() as u64).saturating_sub(lost);
                let stream = stream.after_crash(left);
                let mut journal = open(&stream, 2);
                let doubt = at == 2;
                assert_eq!(!journal.in_doubt().is_empty(), doubt, "{at} {after} {lost}");
                if doubt {
                    let before = world.performed;
                    let verdict = run(&mut journal, &mut world).map_err(|refusal| refusal.code());
                    assert_eq!(verdict, Err("E-317"), "it does not go on by itself");
                    assert_eq!(world.performed, before);
                    // Somebody looks, and says.
                    let sent = world.happened.contains_key(&send());
                    let how = if sent { Resolution::AssumeDone(Value::Int(3)) } else { Resolution::Retry };
                    journal.resolve(&send(), how).expect("it is in doubt");
                }
                run(&mut journal, &mut world).expect("it ends");
                for (id, count) in &world.happened {
                    // The last is pure: what it yields is recorded once, however often it was computed.
                    let pure = id != &send() && *count == 2 && at == 3;
                    assert!(*count == 1 || pure, "{id} happened {count} times: {at} {after} {lost}");
                }
            }
        }
    }
}

#[test]
fn an_effect_that_may_have_happened_is_in_doubt_without_a_restart_too() {
    let stream = MemoryStream::new(journal_descriptor(&ID));
    let mut world = World { fuse: Some((2, true)), ..World::default() };
    let mut journal = open(&stream, 1);
    run(&mut journal, &mut world).expect_err("it fails");
    assert_eq!(journal.in_doubt().len(), 1);
    assert_eq!(run(&mut journal, &mut world).map_err(|refusal| refusal.code()), Err("E-317"));
    journal.resolve(&send(), Resolution::Abort).expect("it is in doubt");
    let outcomes = run(&mut journal, &mut world).expect("it ends");
    assert_eq!(outcomes[2], Err(crate::continuation::Failure::ABORTED));
    assert_eq!(world.happened[&send()], 1);
}

#[test]
fn a_retry_that_was_decided_may_be_in_doubt_again() {
    let stream = MemoryStream::new(journal_descriptor(&ID));
    let mut world = World { fuse: Some((2, false)), ..World::default() };
    run(&mut open(&stream, 1), &mut world).expect_err("it fails");
    let mut journal = open(&stream, 2);
    journal.resolve(&send(), Resolution::Retry).expect("it is in doubt");
    world.fuse = Some((world.performed, true));
    run(&mut journal, &mut world).expect_err("it fails again");
    assert_eq!(open(&stream, 3).in_doubt().len(), 1);
}
