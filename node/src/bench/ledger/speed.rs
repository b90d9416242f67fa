//! Events in a second and how long one takes.

use std::{collections::BTreeMap, path::Path};

use super::{
    Figures, LedgerArgs, Part,
    consortium::{NODES, Validators},
    limit,
    orders::{Load, Loaded},
};
use crate::bench::{
    BenchFault,
    streams::{median, quantile},
};

/// Clients of all validators together.
const CLIENTS: [(u32, &str); 4] = [
    (1, "final_events_per_s_c1"),
    (16, "final_events_per_s_c16"),
    (64, "final_events_per_s_c64"),
    (256, "final_events_per_s_c256"),
];
/// Entries of a batch: as many as one author signature can cover.
const BATCH: u32 = 256;
/// Clients that submit batches.
const BATCH_CLIENTS: u32 = 16;
/// Before anything counts.
const LEAD_MS: u64 = 1_000;

/// The figures of all rounds, in turns, so that what else the machine does meets all of them.
#[derive(Default)]
struct Rounds(BTreeMap<&'static str, Vec<f64>>);

impl Rounds {
    fn note(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn ratio(&self, measured: &str, limit: &str) -> Option<f64> {
        let (measured, limit) = (self.0.get(measured)?, self.0.get(limit)?);
        let mut ratios: Vec<f64> = measured.iter().zip(limit).map(|(measured, limit)| measured / limit).collect();
        Some(median(&mut ratios))
    }
}

pub(super) fn figures(
    figures: &mut Figures,
    args: &LedgerArgs,
    program: &Path,
    dir: &Path,
    wanted: impl Fn(Part) -> bool,
) -> Result<(), BenchFault> {
    let mut rounds = Rounds::default();
    for round in 1..=args.rounds {
        tracing::info!(part = "speed", round, "measuring");
        rounds.note("signature_limit_per_s", limit::signatures_per_s());
        // New files each time: the state is the same size in each round.
        if wanted(Part::Speed) {
            let mut validators = Validators::start(program, dir, args.seed, false)?;
            let asked = |clients| args.clients.is_empty() || args.clients.contains(&clients);
            for (clients, name) in CLIENTS.into_iter().filter(|(clients, _)| asked(*clients)) {
                let all = closed_loop(&mut validators, clients, 1, args.ms)?;
                rounds.note(name, all.per_s);
                if clients == 256 {
                    rounds.note("final_events_per_s", all.per_s);
                    rounds.note("verifications_per_event", all.verifications_per_event);
                    rounds.note("cpu_us_per_event", all.cpu_us_per_event);
                    rounds.note("events_per_block", all.events_per_block);
                }
            }
        }
        if wanted(Part::Batch) {
            let mut validators = Validators::start(program, dir, args.seed, false)?;
            let all = closed_loop(&mut validators, BATCH_CLIENTS, BATCH, args.ms)?;
            rounds.note("batched_events_per_s", all.per_s);
            rounds.note("batched_cpu_us_per_event", all.cpu_us_per_event);
            rounds.note("batched_verifications_per_event", all.verifications_per_event);
        }
        if wanted(Part::Ordering) {
            let mut validators = Validators::start(program, dir, args.seed, true)?;
            let all = closed_loop(&mut validators, 256, 1, args.ms)?;
            rounds.note("ordering_events_per_s", all.per_s);
            rounds.note("ordering_verifications_per_event", all.verifications_per_event);
            rounds.note("ordering_cpu_us_per_event", all.cpu_us_per_event);
            rounds.note("ordering_events_per_block", all.events_per_block);
        }
    }
    let per_event = rounds.0.get("verifications_per_event").map(|values| median(&mut values.clone()));
    if let (Some(ratio), Some(per_event)) = (rounds.ratio("final_events_per_s", "signature_limit_per_s"), per_event) {
        figures.set("final_vs_signature_limit_ratio", ratio * per_event);
    }
    if let Some(ratio) = rounds.ratio("final_events_per_s", "ordering_events_per_s") {
        figures.set("finality_overhead_ratio", ratio);
    }
    for (name, mut values) in rounds.0 {
        figures.set(name, median(&mut values));
    }
    figures.set("rounds", args.rounds);
    Ok(())
}

/// What all validators' clients saw together.
struct Total {
    per_s: f64,
    verifications_per_event: f64,
    cpu_us_per_event: f64,
    events_per_block: f64,
}

/// `clients` clients, spread over the validators, each with one submission at a time.
fn closed_loop(validators: &mut Validators, clients: u32, batch: u32, ms: u64) -> Result<Total, BenchFault> {
    let of = |node: u32| clients / NODES + u32::from(node < clients % NODES);
    let loads: BTreeMap<u32, Load> = validators
        .nodes()
        .into_iter()
        .map(|node| (node, Load { clients: of(node), lead_ms: LEAD_MS, ms, per_s: None, batch }))
        .collect();
    let over = validators.load(&loads)?;
    let total = |one: fn(&Loaded) -> u64| over.values().map(one).sum::<u64>() as f64;
    let refused = total(|loaded| loaded.refused);
    if refused > 0.0 {
        tracing::warn!(refused, "events were refused");
    }
    // Each validator saw the same entries become final, but for those at the edges.
    let entries = total(|loaded| loaded.entries) / over.len().max(1) as f64;
    Ok(Total {
        per_s: total(|loaded| loaded.finals) / (ms as f64 / 1e3),
        verifications_per_event: total(|loaded| loaded.verifications) / entries.max(1.0),
        cpu_us_per_event: total(|loaded| loaded.cpu_us) / entries.max(1.0),
        events_per_block: total(|loaded| loaded.entries) / total(|loaded| loaded.blocks).max(1.0),
    })
}

/// How long one event takes while `per_s` are submitted in a second.
pub(super) fn latency(
    figures: &mut Figures,
    validators: &mut Validators,
    rate: &str,
    per_s: f64,
    ms: u64,
) -> Result<(), BenchFault> {
    let per_s = Some(per_s / f64::from(NODES));
    let load = Load { clients: 4, lead_ms: LEAD_MS, ms, per_s, batch: 1 };
    let loads = validators.nodes().into_iter().map(|node| (node, load)).collect();
    let over = validators.load(&loads)?;
    let mut took: Vec<f64> =
        over.values().flat_map(|loaded| &loaded.latencies_us).map(|micros| f64::from(*micros) / 1e3).collect();
    let (p50, p99) = match rate {
        "idle" => ("final_latency_ms_p50", "final_latency_ms_p99"),
        _ => ("final_latency_200_ms_p50", "final_latency_200_ms_p99"),
    };
    figures.set(p50, quantile(&mut took, 0.5));
    figures.set(p99, quantile(&mut took, 0.99));
    Ok(())
}
