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
    let lies = chosen(lies(&program)?, &args.lie)?;
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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lie {
    name: String,
    /// It is told by leaders.
    of_leader: bool,
    /// It is told where a term begins, so the next leader must know before.
    of_elected: bool,
}

impl Lie {
    /// From the name, and `leader` or `elected` behind it.
    fn new(line: &str) -> Self {
        let (name, of) = line.split_once(' ').unwrap_or((line, ""));
        Self { name: name.to_owned(), of_leader: !of.is_empty(), of_elected: of == "elected" }
    }
}

/// All lies that the program can tell.
fn lies(program: &Path) -> Result<Vec<Lie>, BenchFault> {
    let missing = |fault| wrong(format!("{}: {fault}; scripts/bench builds it", program.display()));
    let output = Command::new(program).arg("lies").output().map_err(missing)?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(Lie::new).collect())
}

/// Those of these names, or all of leaders if none is named.
fn chosen(all: Vec<Lie>, names: &[String]) -> Result<Vec<Lie>, BenchFault> {
    if names.is_empty() {
        return Ok(all.into_iter().filter(|lie| lie.of_leader).collect());
    }
    let named = |name: &String| {
        all.iter().find(|lie| lie.name == *name).cloned().ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|lie| lie.name.as_str()).collect();
            wrong(format!("no lie is called {name}; there are {}", known.join(", ")))
        })
    };
    names.iter().map(named).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_all_lies_of_leaders_are_told_and_an_unknown_name_is_refused_with_those_there_are() {
        let all: Vec<Lie> = ["Censor leader", "Junk elected", "Silence"].map(Lie::new).into();
        let names = |lies: Vec<Lie>| lies.into_iter().map(|lie| (lie.name, lie.of_elected)).collect::<Vec<_>>();
        let (censor, junk) = (("Censor".to_owned(), false), ("Junk".to_owned(), true));
        assert_eq!(names(chosen(all.clone(), &[]).expect("none is unknown")), [censor, junk.clone()]);
        let chosen_names = ["Silence", "Junk"].map(str::to_owned);
        assert_eq!(names(chosen(all.clone(), &chosen_names).expect("known")), [("Silence".to_owned(), false), junk]);
        let refused = chosen(all, &["wrong".to_owned()]).expect_err("no lie has that name").to_string();
        assert!(refused.contains("no lie is called wrong; there are Censor, Junk, Silence"), "{refused}");
    }
}
