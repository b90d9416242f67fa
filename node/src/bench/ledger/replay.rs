//! A final chain executed again: by an auditor, who verifies every signature, and by a node that is restored, which leaves
//! those of authors to the quorum and puts everything on its disk.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    path::Path,
    sync::Arc,
    thread,
    time::Instant,
};

use genesis::Consortium;
use ledger::{
    archive::{self, ArchiveReader, End},
    block::{Block, FinalBlock, View},
    certificate::Certificate,
    execute::{Executed, Place, propose},
    replay::{Replay, Signatures},
    shell::restore::{place_of, restore},
    vote::{Ballot, Signer, Vote, VoteKind},
};
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{NodeId, Timestamp},
};

use super::{Figures, author::Author, consortium::founded, limit::signatures_per_s, member::wrong};
use crate::bench::{BenchFault, streams::median};

/// Blocks of the chain, and events in each: about as many as a block has under load.
const BLOCKS: usize = 1_000;
const EVENTS: usize = 100;

pub(super) fn figures(figures: &mut Figures, dir: &Path, rounds: u32) -> Result<(), BenchFault> {
    let (consortium, keys) = founded()?;
    let folder = tempfile::Builder::new().prefix("replay-bench-").tempdir_in(dir)?;
    let file = folder.path().join("ledger.archive");
    write_chain(&file, &consortium, keys)?;
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
        restore(&mut open(&file, &consortium)?, &ledger, |_| {}).map_err(wrong)?;
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
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut replay = Replay::new(reader.consortium().clone(), Signatures::Verified { threads });
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

fn open(file: &Path, consortium: &Consortium) -> Result<ArchiveReader<BufReader<File>>, BenchFault> {
    ArchiveReader::open(BufReader::new(File::open(file)?), &consortium.id()).map_err(wrong)
}

/// The archive of a chain in one term, each event with a signature of its own.
fn write_chain(file: &Path, consortium: &Arc<Consortium>, keys: Vec<SecretKey>) -> Result<(), BenchFault> {
    let signers: Vec<Signer> =
        keys.into_iter().zip(0..).map(|(key, node)| Signer { node: NodeId::new(node), key }).collect();
    let [leader, ..] = &signers[..] else { return Err(BenchFault::Wrong("a consortium of nobody".into())) };
    let author = Author::new(consortium.id(), leader.node, leader.key.clone());
    let mut to = BufWriter::new(File::create(file)?);
    to.write_all(&archive::head(consortium))?;
    let mut parent = Executed::genesis(consortium);
    // Before the first block, its leader began the term.
    let (mut certificate, mut after) = (None, Digest([1; 32]));
    for number in 1..=BLOCKS as u64 {
        let entries = (0..EVENTS).flat_map(|_| author.next(1, |entries| entries)).collect();
        let view = View { term: 1, number };
        let now = Timestamp::new(parent.time.get() + 10);
        let place = Place { parent, certificate, carriers: Vec::new(), skipped: None, view, after };
        let proposal = propose(consortium, place, leader, now, entries);
        let certify = |kind| certified(kind, &proposal.block, &signers[..consortium.validators().quorum()]);
        after = place_of(&proposal.block, number + 1).chain;
        let (block, last) = (proposal.block.clone(), certify(VoteKind::Finalize));
        to.write_all(&archive::block(FinalBlock { block, certificate: last, carriers: Vec::new() }))?;
        certificate = Some(certify(VoteKind::Notarize));
        parent = proposal.executed;
    }
    to.write_all(&archive::end(End { height: parent.height, raft_index: 1 + BLOCKS as u64 }))?;
    to.into_inner().map_err(wrong)?.sync_all()?;
    Ok(())
}

pub(super) fn certified(kind: VoteKind, block: &Block, signers: &[Signer]) -> Certificate {
    let ballot = Ballot::for_header(kind, &block.header);
    let signatures = signers.iter().map(|signer| (signer.node, Vote::sign(ballot, signer).signature)).collect();
    Certificate { kind, view: ballot.view, height: ballot.height, block: ballot.block, signatures }
}
