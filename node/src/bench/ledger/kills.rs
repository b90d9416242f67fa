//! The leader is killed while events come in: how long until a block of its successor is final.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::{
    Figures,
    consortium::{NODES, Validators},
    orders::{Load, Order, Word},
};
use crate::bench::{BenchFault, streams::quantile};

/// Between two kills, at least, after everybody is back.
const CALM: Duration = Duration::from_millis(1500);
/// No successor came.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills `kills` leaders at `per_s` events a second.
pub(super) fn figures(
    figures: &mut Figures,
    validators: &mut Validators,
    kills: u64,
    per_s: f64,
) -> Result<(), BenchFault> {
    let mut took = Vec::new();
    for node in validators.nodes() {
        begin(validators, node, per_s)?;
    }
    for _ in 0..kills {
        thread::sleep(CALM);
        let leader = validators.leader()?;
        let term = present_term(validators)?;
        let killed = validators.kill(leader)?;
        // What the dead leader proposed and the others complete is of its term.
        let next = loop {
            let left = PATIENCE.saturating_sub(killed.elapsed());
            let heard = validators.hear(left)?.ok_or_else(|| BenchFault::Wrong("no successor became leader".into()))?;
            let Word::Final { term: found, .. } = heard.word else { continue };
            if heard.node != leader && heard.at > killed && found > term {
                break heard.at;
            }
        };
        took.push((next - killed).as_secs_f64() * 1e3);
        validators.spawn(leader)?;
        begin(validators, leader, per_s)?;
        caught_up(validators, leader)?;
    }
    figures.set("leader_kills", kills);
    figures.set("leader_kill_ms_p50", quantile(&mut took, 0.5));
    figures.set("leader_kill_ms_p99", quantile(&mut took, 0.99));
    Ok(())
}

/// Term of the next block that becomes final.
fn present_term(validators: &mut Validators) -> Result<u64, BenchFault> {
    loop {
        let heard = validators.hear(PATIENCE)?.ok_or_else(|| BenchFault::Wrong("nothing becomes final".into()))?;
        if let Word::Final { term, .. } = heard.word {
            return Ok(term);
        }
    }
}

/// A validator's clients begin, and go on for as long as it runs.
pub(super) fn begin(validators: &mut Validators, node: u32, per_s: f64) -> Result<(), BenchFault> {
    let hours = Duration::from_secs(24 * 3600);
    let load = Load {
        clients: 8,
        lead_ms: 0,
        ms: u64::try_from(hours.as_millis()).unwrap_or(u64::MAX),
        per_s: Some(per_s / f64::from(NODES)),
        batch: 1,
    };
    validators.tell(node, &Order::Watch)?;
    validators.tell(node, &Order::Load(load))
}

/// Waits until the restarted validator is where the others are.
fn caught_up(validators: &mut Validators, node: u32) -> Result<(), BenchFault> {
    let (deadline, mut heights) = (Instant::now() + PATIENCE, BTreeMap::new());
    while Instant::now() < deadline {
        let Some(heard) = validators.hear(PATIENCE)? else { break };
        if let Word::Final { height, .. } = heard.word {
            heights.insert(heard.node, height);
            let highest = heights.values().copied().max().unwrap_or_default();
            if heard.node == node && heights.len() > 1 && height + 1 >= highest {
                return Ok(());
            }
        }
    }
    Err(BenchFault::Wrong("a restarted validator did not catch up".into()))
}
