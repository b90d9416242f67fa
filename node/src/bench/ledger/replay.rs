//! A final chain executed again: by an auditor, who verifies every signature, and by a node that is restored, which leaves
//! those of authors to the quorum and puts everything on its disk.

use std::{path::Path, sync::Arc, time::Instant};

use genesis::Consortium;
use ledger::{
    replay::{Replay, Signatures},
    shell::restore::restore,
};
use wallet::{identity::SecretKey, units::NodeId};

use super::{
    Figures,
    author::Author,
    chain::{ChainFile, open},
    consortium::founded,
    limit::signatures_per_s,
    member::wrong,
};
use crate::bench::{BenchFault, streams::median};

/// Blocks of the chain, and events in each: about as many as a block has under load.
const BLOCKS: usize = 1_000;
const EVENTS: usize = 100;

pub(super) fn figures(figures: &mut Figures, dir: &Path, rounds: u32) -> Result<(), BenchFault> {
    let (consortium, keys) = founded()?;
    let folder = tempfile::Builder::new().prefix("replay-bench-").tempdir_in(dir)?;
    let file = folder.path().join("ledger.archive");
    write_chain(&file, &consortium, &keys)?;
    // Each block: its leader's signature and a quorum's on it, and on the parent's certificate that it carries.
    let quorum = consortium.validators().quorum();
    let signatures = (BLOCKS * EVENTS + BLOCKS * (1 + 2 * quorum) - quorum) as f64;
    let (mut ratios, mut audited, mut restored) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let limit = signatures_per_s();
        let seconds = audit(&file, &consortium)?;
        ratios.push(signatures / seconds / limit);
        audited.push((BLOCKS * EVENTS) as f64 / seconds);
        let started = Instant::now();
        let ledger = folder.path().join(format!("ledger-{round}"));
        restore(&mut open(&file, &consortium)?, &ledger, &[], |_| {}).map_err(wrong)?;
        restored.push((BLOCKS * EVENTS) as f64 / started.elapsed().as_secs_f64());
    }
    figures.set("audit_replay_events_per_s", median(&mut audited));
    figures.set("audit_replay_vs_signature_limit_ratio", median(&mut ratios));
    figures.set("catch_up_events_per_s", median(&mut restored));
    Ok(())
}

/// How long `batchmind audit replay` takes, in seconds.
fn audit(file: &Path, consortium: &Consortium) -> Result<f64, BenchFault> {
    let started = Instant::now();
    let mut reader = open(file, consortium)?;
    let mut replay = Replay::new(reader.consortium().clone(), Signatures::Verified);
    while let Some(block) = reader.next_block().map_err(wrong)? {
        replay.step(&block).map_err(wrong)?;
    }
    let verified = replay.finish().map_err(wrong)?.verified;
    let seconds = started.elapsed().as_secs_f64();
    let expected = (BLOCKS * EVENTS) as u64;
    if verified != expected {
        return Err(BenchFault::Wrong(format!("{verified} entries were verified, not {expected}")));
    }
    Ok(seconds)
}

/// A chain whose every event has a signature of its own.
fn write_chain(file: &Path, consortium: &Arc<Consortium>, keys: &[SecretKey]) -> Result<(), BenchFault> {
    let [leader, ..] = keys else { return Err(BenchFault::Wrong("a consortium of nobody".into())) };
    let author = Author::new(consortium.id(), NodeId::ZERO, leader.clone());
    let mut chain = ChainFile::create(file, consortium, keys)?;
    for _ in 0..BLOCKS {
        chain.push((0..EVENTS).flat_map(|_| author.next(1, |entries| entries)).collect())?;
    }
    chain.finish()
}
