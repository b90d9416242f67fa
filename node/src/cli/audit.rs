//! `batchmind audit`: checking what operators claim.

mod blame;
mod consistency;
mod genesis;
mod log;
mod promise;
mod replay;
mod state;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use ledger::{
    bundle::{self, Anchored, Attestation, BUNDLE_BYTES_MAX, Begun, Check, Move, Report, decision_hash, judge},
    state::StateKey,
    tlog::note::NOTE_BYTES_MAX,
};
use scheduler::{
    action::Action,
    decision::{Cause, Decision, Follows},
    rules::RuleId,
};
use serde::Serialize;
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::RegionId,
    units::{KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::{Failure, Output, re_geneses::ReGeneses};

/// Check proofs without trusting anybody.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Verify the proof bundle of a migration.
    ///
    /// Needs the bundle and the genesis hash, and nothing else: no network, no clock, no node. Get the hash from a
    /// source that you trust, such as the operators' signed copies of the genesis document, not from whoever gave you
    /// the bundle. The first check that fails is named, and then nothing in the bundle is to be believed. What holds says
    /// how much it is worth: a consortium of one has only its own operator's word. A bundle from after a re-genesis is
    /// refused unless that is named. With a checkpoint that you kept it has to be a bundle of a log that only grew since:
    /// ask for it with ?since= and the size in the checkpoint's second line.
    Verify {
        /// The bundle.
        file: PathBuf,
        /// The genesis document that you trust: its hash of 64 hexadecimal digits, which is the consortium's id, or its file.
        #[arg(long, value_name = "HASH|FILE")]
        genesis: genesis::Genesis,
        #[command(flatten)]
        named: ReGeneses,
        /// The checkpoint that you kept: a signed note of C2SP.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// Verify what the state holds under a key, or that it holds nothing.
    ///
    /// Needs the file, which a node gives at /ledger/v1/state/KEY/proof, and the genesis hash, and nothing else: no
    /// network, no clock, no node. Prints the record, or that there is none: of a wallet, a spent prekey, an entry, credits,
    /// a proposal or any other. It speaks of the state after one block, whose height and time are printed too.
    State {
        /// The file.
        file: PathBuf,
        /// The genesis document that you trust: its hash of 64 hexadecimal digits, or its file.
        #[arg(long, value_name = "HASH|FILE")]
        genesis: genesis::Genesis,
        #[command(flatten)]
        named: ReGeneses,
        /// What you asked about, as in the path: wallet/HASH, prekey/HASH, entry/HASH, account/NODE, governance and so
        /// on. A file about something else is refused. Without it, read in the output what the file is about.
        #[arg(long, value_name = "KEY")]
        key: Option<StateKey>,
    },
    /// Verify evidence, and name whose key broke which rule.
    ///
    /// Needs the file and the genesis document or its hash, and nothing else: no network, no clock, no node. A node
    /// keeps such files in the folder `evidence` of its ledger. What proves nothing fails with a code, and blames nobody.
    Blame {
        /// The evidence.
        file: PathBuf,
        /// The genesis document that you trust: its file, or its hash of 64 hexadecimal digits.
        #[arg(long, value_name = "HASH|FILE")]
        genesis: genesis::Genesis,
        #[command(flatten)]
        named: ReGeneses,
    },
    /// Execute a whole ledger again.
    ///
    /// Needs the archive that a node gives (`batchmind ledger backup`) and the genesis document or its hash, and nothing
    /// else: no network, no clock, no node. Every signature is verified, every entry executed, and both roots of every
    /// block compared with what a quorum certified. The first block at which something does not hold is named.
    Replay {
        /// The archive.
        archive: PathBuf,
        /// The genesis document that you trust: its file, or its hash of 64 hexadecimal digits.
        #[arg(long, value_name = "HASH|FILE")]
        genesis: genesis::Genesis,
        #[command(flatten)]
        named: ReGeneses,
    },
    /// Verify that an entry is in the log.
    ///
    /// Needs the entry's proof (a file of C2SP's tlog-proof), the entry's bytes and the genesis document that you trust,
    /// and nothing else: no network, no clock, no node. A node gives the proof at /ledger/v1/entries/ID/tlog-proof. If
    /// the validators have changed since genesis, the proof itself shows who they are.
    Entry {
        /// The proof.
        proof: PathBuf,
        /// The entry, as it stands in the log.
        #[arg(long, value_name = "FILE")]
        entry: PathBuf,
        /// The genesis document that you trust.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        #[command(flatten)]
        named: ReGeneses,
    },
    /// Verify that the log only grew since a checkpoint.
    ///
    /// Needs a checkpoint that you kept, the proof (a node gives it at /ledger/v1/log/consistency-proof?old=SIZE, with the
    /// size in the checkpoint's second line) and the genesis document that you trust, and nothing else: no network, no
    /// clock, no node. The proof holds the later checkpoint, below its empty line: keep that for the next time. If the
    /// validators have changed since genesis, the proof itself shows who they were and are.
    Consistency {
        /// The checkpoint that you kept.
        checkpoint: PathBuf,
        /// The proof.
        proof: PathBuf,
        /// The genesis document that you trust.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        #[command(flatten)]
        named: ReGeneses,
    },
    /// Verify a leader's promise to take up an entry.
    ///
    /// Needs the file (a node gives it at /ledger/v1/entries/ID/promise) and the genesis document or its hash, and nothing
    /// else: no network, no clock, no node. Whether the promise was kept is in the log: `audit entry` shows that the entry is
    /// there. A leader that left it out although no rule refused it broke a rule, and nodes keep evidence of that.
    Promise {
        /// The file.
        file: PathBuf,
        /// The genesis document that you trust: its hash of 64 hexadecimal digits, or its file.
        #[arg(long, value_name = "HASH|FILE")]
        genesis: genesis::Genesis,
        #[command(flatten)]
        named: ReGeneses,
        /// The entry that it must name, as it was submitted. Without it the leaf hashes that it names are printed.
        #[arg(long, value_name = "FILE")]
        entry: Option<PathBuf>,
    },
    /// Print the log's origin and the validators' keys as C2SP's verifier keys, for other tools.
    ///
    /// Without a proof these are the validators of genesis; with one, those who cosign its checkpoint. Who names a
    /// re-genesis needs one.
    LogKeys {
        /// The genesis document that you trust.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// The proof of any entry, as a node gives it at /ledger/v1/entries/ID/tlog-proof.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
        #[command(flatten)]
        named: ReGeneses,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Verify { file, genesis, named, checkpoint } => {
                verify(&file, &genesis, named.digests(), checkpoint.as_deref())
            }
            Self::State { file, genesis, named, key } => state::run(&file, &genesis, named.digests(), key.as_ref()),
            Self::Blame { file, genesis, named } => blame::run(&file, &genesis, named.digests()),
            Self::Replay { archive, genesis, named } => replay::run(&archive, &genesis, named.digests()),
            Self::Entry { proof, entry, genesis, named } => log::entry(&proof, &entry, &genesis, named.digests()),
            Self::Consistency { checkpoint, proof, genesis, named } => {
                consistency::run(&checkpoint, &proof, &genesis, named.digests())
            }
            Self::Promise { file, genesis, named, entry } => {
                promise::run(&file, &genesis, named.digests(), entry.as_deref())
            }
            Self::LogKeys { genesis, proof, named } => log::keys(&genesis, proof.as_deref(), named.digests()),
        }
    }
}

fn verify(
    file: &Path,
    genesis: &genesis::Genesis,
    named: &[Digest],
    checkpoint: Option<&Path>,
) -> Result<Output, Failure> {
    let genesis = genesis.hash()?;
    let bytes = read(file, BUNDLE_BYTES_MAX)?;
    let checkpoint = checkpoint.map(|kept| read(kept, NOTE_BYTES_MAX)).transpose()?;
    let not_proven = |failure: bundle::Failure| {
        let title = format!("the bundle is not proven: {failure}");
        Failure { check: Some(failure.check.code()), ..Failure::new("N-151", title, file.display()) }
    };
    let (report, cause) = judge(&bytes, &genesis, named, checkpoint.as_deref(), |moved| {
        Cause::of_move(&moved.decision, moved.wallet, moved.destination.0)
    })
    .map_err(not_proven)?;
    let Cause { decision: Decision { at, rule, chosen, inputs, .. }, follows } = cause;
    let decision = Decided { hash: decision_hash(&report.moved.decision), at, rule, chosen, inputs, follows };
    Ok(Output::new(&Verified::of(report, decision)))
}

/// Reads no more than `bytes_max`, and one byte, by which the verifier sees that there is more.
fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|open| open.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::new("N-150", error, file.display()))?;
    Ok(bytes)
}

/// How much a proof is worth, as a line.
struct Worth<'a>(&'a Attestation);

impl fmt::Display for Worth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attestation { assurance, lineage, re_geneses, epoch, .. } = self.0;
        write!(f, "assurance    {assurance}")?;
        // Who has seen no change need not know that there are epochs.
        if *epoch != 0 {
            write!(f, " (the validators of epoch {epoch})")?;
        }
        if *lineage > 1 {
            write!(f, "\nlineage      {lineage}: what follows a re-genesis is worth the word of those that signed it")?;
        }
        re_geneses.iter().try_for_each(|Begun { digest, lineage, height, signers, lost, reason, .. }| {
            let signers: Vec<_> = signers.iter().map(ToString::to_string).collect();
            write!(f, "\nre-genesis   {digest}: lineage {lineage} began at height {height}, ")?;
            let lost = if lost.is_empty() { "nobody".to_owned() } else { lost.join(", ") };
            write!(f, "signed for nodes {}; lost: {lost}; reason: {reason:?}", signers.join(", "))
        })
    }
}

#[derive(Serialize)]
struct Verified {
    verified: bool,
    decision: Decided,
    #[serde(flatten)]
    attested: Attestation,
    moved: Moved,
    anchor: Anchored,
    /// How many entries the log had at the checkpoint that was given.
    pinned: Option<u64>,
    checks: Vec<Check>,
}

/// The proven move, without the bytes of its decision, which stands beside it.
#[derive(Serialize)]
struct Moved {
    wallet: WalletAddress,
    epoch: KeyEpoch,
    source: (NodeId, RegionId),
    destination: (NodeId, RegionId),
    confirmed_at: LogIndex,
}

/// Why the batch moved, in the words of the operator that decided it.
#[derive(Serialize)]
struct Decided {
    hash: Digest,
    at: Timestamp,
    rule: RuleId,
    chosen: Action,
    inputs: BTreeMap<String, i64>,
    /// Whether the rules of this build decide the same on these inputs. That they were measured honestly it does not show.
    follows: Follows,
}

impl Verified {
    fn of(report: Report, decision: Decided) -> Self {
        let Report { attested, moved, anchor, pinned, checks } = report;
        let Move { wallet, epoch, source, destination, confirmed_at, decision: _ } = moved;
        let moved = Moved { wallet, epoch, source, destination, confirmed_at };
        Self { verified: true, decision, attested, moved, anchor, pinned, checks }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attested, moved, anchor, pinned, checks, .. } = self;
        let Attestation { consortium, name, height, .. } = attested;
        let ((source, source_region), (destination, destination_region)) = (&moved.source, &moved.destination);
        writeln!(f, "verified: {} checks held", checks.len())?;
        writeln!(f, "consortium   {name:?} {consortium}")?;
        writeln!(f, "wallet       {}", moved.wallet.0)?;
        writeln!(f, "move         node {source} ({source_region}) -> node {destination} ({destination_region})")?;
        writeln!(f, "key epoch    {}", moved.epoch)?;
        writeln!(f, "confirmed    log index {}, final at height {height}", moved.confirmed_at)?;
        writeln!(
            f,
            "decided by   {:?}: {}, decision {}",
            self.decision.rule, self.decision.chosen, self.decision.hash
        )?;
        writeln!(f, "replayed     it follows from its inputs: {}", self.decision.follows)?;
        writeln!(f, "anchored     log index {}, {} decisions of node {source}", anchor.index, anchor.decisions)?;
        if let Some(size) = pinned {
            writeln!(f, "goes on from {size} entries: the log only grew since the checkpoint")?;
        }
        write!(f, "{}", Worth(attested))
    }
}

#[cfg(test)]
mod tests {
    use ledger::bundle::{Assurance, AssuranceClass};
    use wallet::units::BlockHeight;

    use super::*;

    #[test]
    fn what_is_no_bundle_fails_at_the_first_check_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("move.bundle");
        std::fs::write(&file, b"not a bundle").expect("our own folder");
        let failure = Command::Verify {
            file,
            genesis: genesis::Genesis::Hash(Digest::ZERO),
            named: ReGeneses::default(),
            checkpoint: None,
        }
        .run()
        .expect_err("not a bundle");
        assert_eq!(failure.code, "N-151");
        assert!(failure.title.starts_with("the bundle is not proven: check version failed"), "{failure}");
        assert_eq!(failure.check, Some("version"));
    }

    #[test]
    fn the_decision_is_told_in_its_own_words_and_not_in_bytes() {
        let region = |id: &str| RegionId::try_from(id.to_owned()).expect("a region's name");
        let moved = Move {
            wallet: WalletAddress(Digest::ZERO),
            epoch: KeyEpoch::new(2),
            source: (NodeId::new(0), region("eu")),
            destination: (NodeId::new(1), region("us")),
            confirmed_at: LogIndex::new(9),
            decision: vec![7; 4_000],
        };
        let assurance = Assurance {
            class: AssuranceClass::SeveralMustLie,
            operators: 4,
            validators: 4,
            quorum: 3,
            faults: 1,
            colluders: 2,
        };
        let attested = Attestation {
            consortium: Digest::ZERO,
            name: "Sample".to_owned(),
            assurance,
            lineage: 1,
            re_geneses: Vec::new(),
            epoch: 0,
            height: BlockHeight::new(3),
            time: Timestamp::new(4),
            signers: vec![NodeId::new(0)],
        };
        let report = Report {
            attested,
            moved,
            anchor: Anchored { index: LogIndex::new(10), decisions: 8, log_head: Digest::ZERO },
            pinned: Some(7),
            checks: vec![Check::Decode],
        };
        let inputs = BTreeMap::from([("pressure".to_owned(), 5)]);
        let at = Timestamp::new(2);
        let decision =
            Decided { hash: Digest::ZERO, at, rule: RuleId::R3, chosen: Action::Keep, inputs, follows: Follows::Yes };
        let json = serde_json::json!(Verified::of(report, decision));
        assert!(json["moved"].get("decision").is_none() && json["moved"]["confirmed_at"] == 9, "{json}");
        assert_eq!(json["decision"]["follows"]["answer"], "yes");
        assert_eq!(json["pinned"], 7);
        assert!(json["decision"]["inputs"]["pressure"] == 5 && json["checks"][0] == "decode", "{json}");
        assert!(json["assurance"]["class"] == "several-must-lie" && json["anchor"]["decisions"] == 8, "{json}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let named = ReGeneses::default();
        let command = Command::Verify {
            file: "no-such.bundle".into(),
            genesis: genesis::Genesis::Hash(Digest::ZERO),
            named,
            checkpoint: None,
        };
        let failure = command.run().expect_err("no such file");
        assert_eq!((failure.code.as_str(), failure.detail.as_str()), ("N-150", "no-such.bundle"));
    }
}
