//! Suspending and resuming sessions of the demo model: how large their continuations are, and how long it takes.

use std::{io, path::Path, sync::Arc};

use gpu::{Millionths, Model, SamplingParams, SessionSeed, StopStrings, continuation::EffectId};
use wallet::units::TokenCount;

use super::{
    Figures,
    rounds::{median, quantile},
};
use crate::bench::{
    BenchFault, ROUNDS,
    sessions::{At, Chance, Plan, Point, Session, SessionFault, Turn, World},
};

/// Sessions whose suspensions are timed, and how often each is.
const SESSIONS: u64 = 25;
const SUSPENDS: u32 = 400;

/// Nothing is outside, and nothing is cut off.
struct Nowhere;

/// The figures of continuations.
///
/// # Errors
/// Those of sessions.
pub fn figures(figures: &mut Figures, model: &Arc<Model>, seed: u64, dir: &Path) -> Result<(), BenchFault> {
    figures.set("continuation_bytes_decode", largest(model, seed, dir)?);
    // Suspending and resuming; and signing and checking a signature in their place, after every other token.
    let mut rounds: [[Vec<f64>; 4]; ROUNDS] = Default::default();
    for number in 0..SESSIONS {
        // From short ones to those that fill the model's context, in each round.
        let tokens = 2 * SUSPENDS;
        let room = model.config().positions_max as u64 - u64::from(tokens) - 2;
        let plan = long(seed, number, 1 + room * number / SESSIONS, tokens + 1, model);
        let (mut session, _folder) = begin(&plan, model, dir)?;
        for _ in 0..SUSPENDS {
            next_token(&mut session)?;
            let [suspend, resume] = session.sign_and_verify()?;
            next_token(&mut session)?;
            let [sign, verify] = session.bare_sign_and_verify()?;
            let round = &mut rounds[number as usize % ROUNDS];
            for (times, took) in round.iter_mut().zip([suspend, resume, sign, verify]) {
                times.push(took.as_secs_f64() * 1e6);
            }
        }
    }
    figures.set("suspends_timed", rounds.iter().map(|round| round[0].len()).sum::<usize>());
    for (at, names) in [
        ["suspend_us_p50", "suspend_us_p99"],
        ["resume_us_p50", "resume_us_p99"],
        ["suspend_limit_us_p50", "suspend_limit_us_p99"],
        ["resume_limit_us_p50", "resume_limit_us_p99"],
    ]
    .into_iter()
    .enumerate()
    {
        for (name, share) in names.into_iter().zip([0.5, 0.99]) {
            figures.set(name, median(&mut rounds.each_mut().map(|round| quantile(&mut round[at], share))));
        }
    }
    Ok(())
}

/// The largest continuation of sessions from 16 tokens to the model's whole context, with as many and as long stop
/// strings, and as much that the host keeps with them, as there can be.
fn largest(model: &Arc<Model>, seed: u64, dir: &Path) -> Result<usize, BenchFault> {
    let (mut largest, mut chance, max) = (0, Chance::new(seed, 77), model.config().positions_max as u64);
    let mut contexts: Vec<u64> = (0..8).map(|power| 16 << power).filter(|context| *context < max).collect();
    contexts.extend((0..8).map(|_| 16 + chance.below(max - 32)));
    contexts.push(max - 2);
    for (number, context) in (0..).zip(contexts) {
        let mut plan = long(seed, 1000 + number, context.min(max - 2), u32::MAX, model);
        let stop = (0..4).map(|text: u64| format!("{text:>64}")).collect();
        plan.sampling = SamplingParams {
            temperature: Millionths(99_999_999),
            top_p: Millionths(999_999),
            top_k: Some(u32::MAX),
            stop: StopStrings::new(stop)?,
            ..plan.sampling
        };
        // As much as a host can keep with it.
        let fits = |request_id: &String| {
            Plan { request_id: request_id.clone(), ..plan.clone() }.start(model).terms.encode().is_ok()
        };
        plan.request_id = (1..).map(|count| "r".repeat(count)).take_while(fits).last().unwrap_or_default();
        let (mut session, _folder) = begin(&plan, model, dir)?;
        next_token(&mut session)?;
        largest = largest.max(session.continuation_bytes()?);
    }
    Ok(largest)
}

fn long(seed: u64, number: u64, prompt: u64, tokens: u32, model: &Model) -> Plan {
    let mut plan = Plan::random(seed, number, 64, model);
    let mut chance = Chance::new(seed, number);
    let vocabulary = model.config().vocabulary as u64;
    plan.prompt = (0..prompt).map(|_| (16 + chance.below(vocabulary - 16)) as u32).collect();
    plan.tools.clear();
    plan.sampling = SamplingParams {
        seed: SessionSeed::from_number(number),
        ignore_eos: true,
        ..SamplingParams::greedy(TokenCount::new(tokens))
    };
    plan
}

fn begin(plan: &Plan, model: &Arc<Model>, dir: &Path) -> Result<(Session, tempfile::TempDir), BenchFault> {
    let folder = tempfile::Builder::new().prefix("suspend-bench-").tempdir_in(dir)?;
    Ok((Session::open(plan, model, &folder.path().join("place"), 0, 0)?, folder))
}

fn next_token(session: &mut Session) -> Result<(), SessionFault> {
    let known = session.tokens().len();
    while session.tokens().len() == known {
        if session.turn(&mut Nowhere)? != Turn::Went {
            return Err(SessionFault::Wrong("the session ended too early".to_owned()));
        }
    }
    Ok(())
}

impl World for Nowhere {
    fn show(&mut self, _: u32, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn call(&mut self, _: &EffectId, _: bool, _: At) -> io::Result<()> {
        Ok(())
    }

    fn reach(&mut self, _: Point, _: At, _: &mut dyn FnMut()) -> io::Result<()> {
        Ok(())
    }
}
