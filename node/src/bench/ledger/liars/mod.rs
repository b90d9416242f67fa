//! A leader turns to lying while events come in: how long until a block of an honest leader is final everywhere.

mod run;
mod sight;

use std::{path::Path, process::Command};

use self::run::{Outcome, one_run};
use super::{Figures, LedgerArgs, consortium::Validators, kills::begin, member::wrong};
use crate::bench::{BenchFault, streams::quantile};

/// The program beside this one whose validators can lie.
const LYING_VALIDATOR: &str = "lying-validator";
/// Events in a second, all validators together.
const EVENTS_PER_S: f64 = 200.0;

/// Every lie, told by whoever leads.
pub(super) fn figures(figures: &mut Figures, args: &LedgerArgs, program: &Path, dir: &Path) -> Result<(), BenchFault> {
    let program = program.with_file_name(LYING_VALIDATOR);
    let of_leaders = of_leaders(&program)?;
    let named =
        |name: &String| of_leaders.iter().find(|lie| lie.name == *name).cloned().unwrap_or_else(|| Lie::new(name));
    let lies = if args.lie.is_empty() { of_leaders.clone() } else { args.lie.iter().map(named).collect() };
    let (mut took, mut slowest) = (Vec::new(), (0.0, ""));
    let mut all = Tally::default();
    for lie in &lies {
        let mut tally = Tally::default();
        // On new files for each lie, and after a run that left something behind.
        let mut place = None;
        for run in 1..=args.lie_runs {
            let validators = match &mut place {
                Some(validators) => validators,
                None => place.insert(start(&program, dir, args.seed)?),
            };
            let outcome = one_run(validators, lie)?;
            tracing::debug!(lie = lie.name, run, ?outcome, "a leader lied");
            if !outcome.is_settled {
                place = None;
            }
            tally.note(&outcome);
        }
        let mut times = tally.times_ms.clone();
        let (p50, max) = (quantile(&mut times, 0.5), quantile(&mut times, 1.0));
        tracing::info!(
            lie = lie.name,
            p50_ms = p50.round(),
            max_ms = max.round(),
            deposed = tally.deposed,
            untold = tally.untold,
            restarted = tally.restarted,
            new_files = tally.unsettled,
            not_recovered = tally.not_recovered,
            forks = tally.forks,
            "{} leaders lied",
            args.lie_runs
        );
        if max > slowest.0 {
            slowest = (max, &lie.name);
        }
        took.append(&mut times);
        all.add(&tally);
    }
    figures.set("liar_recovery_ms_p50", quantile(&mut took, 0.5));
    figures.set("liar_recovery_ms_p99", quantile(&mut took, 0.99));
    figures.set("liar_recovery_ms_max", slowest.0);
    figures.set("liar_slowest_behaviour", slowest.1);
    figures.set("liar_runs", took.len());
    figures.set("liar_behaviours", lies.len());
    figures.set("liar_deposed", all.deposed);
    figures.set("liar_untold", all.untold);
    figures.set("liar_not_recovered", all.not_recovered);
    figures.set("liar_forks", all.forks);
    Ok(())
}

/// What a leader is told to do.
#[derive(Clone)]
struct Lie {
    name: String,
    /// It is told where a term begins, so the next leader must know before.
    of_elected: bool,
}

impl Lie {
    /// From the name, and `elected` behind it.
    fn new(line: &str) -> Self {
        let (name, of_elected) = line.strip_suffix(" elected").map_or((line, false), |name| (name, true));
        Self { name: name.to_owned(), of_elected }
    }
}

/// All lies of leaders.
fn of_leaders(program: &Path) -> Result<Vec<Lie>, BenchFault> {
    let missing = |fault| wrong(format!("{}: {fault}; scripts/bench builds it", program.display()));
    let output = Command::new(program).arg("lies").output().map_err(missing)?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(Lie::new).collect())
}

/// Four validators that can lie and do not, with their clients.
fn start(program: &Path, dir: &Path, seed: u64) -> Result<Validators, BenchFault> {
    let mut validators = Validators::start(program, dir, seed, false)?;
    for node in validators.nodes() {
        begin(&mut validators, node, EVENTS_PER_S)?;
    }
    Ok(validators)
}

#[derive(Default)]
struct Tally {
    times_ms: Vec<f64>,
    deposed: u64,
    untold: u64,
    restarted: u64,
    unsettled: u64,
    not_recovered: u64,
    forks: u64,
}

impl Tally {
    fn note(&mut self, outcome: &Outcome) {
        self.times_ms.push(outcome.took.as_secs_f64() * 1e3);
        self.deposed += u64::from(outcome.is_deposed);
        self.untold += u64::from(outcome.told == 0);
        self.restarted += u64::from(outcome.is_restarted);
        self.unsettled += u64::from(!outcome.is_settled);
        self.not_recovered += u64::from(!outcome.is_recovered);
        self.forks += u64::from(outcome.is_forked);
    }

    fn add(&mut self, other: &Self) {
        self.deposed += other.deposed;
        self.untold += other.untold;
        self.not_recovered += other.not_recovered;
        self.forks += other.forks;
    }
}
