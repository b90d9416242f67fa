//! What an auditor gets and how long it takes to check: the bundle of a move in a log of a million entries.
//!
//! No four validators order a million entries for this. The wallet's entries, and the anchor, go through the rules onto a
//! state with a record for each of the others; the others are in log and state by their hashes and ids alone.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use genesis::Consortium;
use ledger::{
    apply::BlockContext,
    block::{Header, View},
    bundle::{self, FinalView, Grounds, Unreadable, build},
    certificate::Certificate,
    event::Entry,
    hand_over::HandOver,
    state::{EntryRecord, Record, State, StateKey},
    tree::{
        log::{LogTree, leaf_hash},
        several, tiles,
    },
    vote::{Ballot, Signer, Vote, VoteKind},
};
use scheduler::decision::Decision;
use wallet::{
    codec::encode,
    digest::{Digest, sha256},
    identity::{SecretKey, context},
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::{
    Figures,
    consortium::founded,
    member::wrong,
    moves::{Moves, Telling},
};
use crate::bench::{BenchFault, streams::median};

/// Entries of the log.
pub(super) const ENTRIES: u64 = 1_000_000;
/// How often a bundle is verified.
const VERIFICATIONS: usize = 200;
/// What the wallet's creation has before it in the log, and what stands between two of its later entries.
const CREATED_AT: u64 = ENTRIES / 2;
const BETWEEN: u64 = 100;
/// Signatures behind a first move: four operators, three votes, five authors, the tenant, three of epoch keys, prekey,
/// ticket and opening.
const SIGNATURES: u32 = 19;

pub(super) fn figures(figures: &mut Figures) -> Result<(), BenchFault> {
    let (consortium, keys) = founded()?;
    let genesis = State::genesis(&consortium);
    let genesis = genesis.tree().iter().map(|(key, value)| (*key, value.to_vec()));
    let crowd = State::from_leaves(genesis.chain(others()));
    let first = Filled::new(&consortium, &keys, &crowd, 1)?;
    figures.set("bundle_log_entries", ENTRIES);
    figures.set("bundle_bytes", first.bundle()?.len());
    let (verify_ms, signatures_ms) = first.verify_ms(&keys[0])?;
    figures.set("bundle_verify_ms", verify_ms);
    figures.set("bundle_signatures_ms", signatures_ms);
    figures.set("bundle_verify_vs_signatures_ratio", signatures_ms / verify_ms);
    figures.set("bundle_bytes_10_moves", Filled::new(&consortium, &keys, &crowd, 10)?.bundle()?.len());
    Ok(())
}

/// The id of an entry that is none of the wallet's.
fn other(index: u64) -> Digest {
    sha256("batchmind/bench/other-entry", &[&index.to_le_bytes()])
}

/// What they leave in the state.
fn others() -> impl Iterator<Item = (Digest, Vec<u8>)> {
    (0..ENTRIES).map(|index| {
        let (log_index, height, time) =
            (LogIndex::new(index), BlockHeight::new(1 + index / 256), Timestamp::new(index));
        (StateKey::Entry(other(index)).digest(), encode(&Record::Entry(EntryRecord { log_index, height, time })))
    })
}

/// A ledger of so many entries on which a wallet moved.
struct Filled {
    consortium: Arc<Consortium>,
    state: State,
    leaves: Vec<Digest>,
    entries: BTreeMap<LogIndex, Entry>,
    tip: (Header, Certificate),
    moves: Moves,
}

impl Filled {
    /// The wallet moved `moves` times.
    fn new(consortium: &Arc<Consortium>, keys: &[SecretKey], crowd: &State, moves: u32) -> Result<Self, BenchFault> {
        let mut state = crowd.clone();
        let mut leaves: Vec<Digest> = (0..ENTRIES).map(|index| leaf_hash(other(index).as_bytes())).collect();
        let mut entries = BTreeMap::new();
        let mut told = Moves::new(consortium, keys, moves)?;
        // All but the creation are at the log's end, as those of a wallet that moves now.
        let mut place = ENTRIES - (u64::from(moves) * 3 + 2) * BETWEEN;
        while let Some(telling) = told.next(&state)? {
            let index = match telling {
                Telling::Creation(_) => CREATED_AT,
                Telling::Later(_) => {
                    place += BETWEEN;
                    place
                }
            };
            let (Telling::Creation(entry) | Telling::Later(entry)) = telling;
            let (height, log_index) = (BlockHeight::new(1 + index / 256), LogIndex::new(index));
            let (name, time) = (consortium.id(), Timestamp::new(index));
            let at = BlockContext { name, height, time, log_index, is_re_genesis: false };
            state.apply(consortium, &entry, at).map_err(wrong)?;
            if let Some(leaf) = leaves.get_mut(usize::try_from(index).unwrap_or(usize::MAX)) {
                *leaf = entry.leaf_hash();
            }
            entries.insert(log_index, entry);
        }
        let tip = certified(consortium, keys, &LogTree::from_leaf_hashes(&leaves), &state);
        Ok(Self { consortium: consortium.clone(), state, leaves, entries, tip, moves: told })
    }

    fn bundle(&self) -> Result<Vec<u8>, BenchFault> {
        let (wallet, epoch) = (self.moves.wallet(), KeyEpoch::new(self.moves.count()));
        let grounds = Grounds::of(self.moves.decisions()).ok_or_else(|| wrong("no decision"))?;
        let bundle = build(&self.consortium, self, wallet, epoch, &grounds, None).map_err(wrong)?;
        Ok(bundle.to_bytes())
    }

    /// The middle time of all that `batchmind audit verify` checks, and that of the signatures in it alone.
    fn verify_ms(&self, key: &SecretKey) -> Result<(f64, f64), BenchFault> {
        let (bytes, genesis) = (self.bundle()?, self.consortium.id());
        let (message, public) = ([7; 300], key.public_key());
        let signature = key.sign(context::LEDGER_ENTRY, &message);
        let (mut whole, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..VERIFICATIONS {
            let started = Instant::now();
            let moved = bundle::verify(&bytes, &genesis, &[], None).map_err(wrong)?.moved;
            let decision = Decision::decode(&moved.decision).map_err(wrong)?;
            decision.moves(moved.wallet, moved.destination.0).map_err(wrong)?;
            whole.push(started.elapsed().as_secs_f64() * 1e3);
            let started = Instant::now();
            for _ in 0..SIGNATURES {
                public.verify(context::LEDGER_ENTRY, &message, &signature).map_err(wrong)?;
            }
            alone.push(started.elapsed().as_secs_f64() * 1e3);
        }
        Ok((median(&mut whole), median(&mut alone)))
    }
}

impl FinalView for Filled {
    fn tip(&self) -> Option<(&Header, &Certificate)> {
        Some((&self.tip.0, &self.tip.1))
    }

    fn carriers(&self) -> &[Header] {
        &[]
    }

    fn hand_overs(&self) -> &[HandOver] {
        &[]
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn inclusion(&self, places: &[LogIndex]) -> Result<Option<Vec<Digest>>, Unreadable> {
        let leaves = self.leaves.as_slice();
        Ok(several::prove(leaves, leaves.len() as u64, places).unwrap_or_else(|never| match never {}))
    }

    fn grown_since(&self, size: u64) -> Result<Option<(Digest, Vec<Digest>)>, Unreadable> {
        let leaves = self.leaves.as_slice();
        Ok(tiles::grown_since(leaves, size, leaves.len() as u64).unwrap_or_else(|never| match never {}))
    }

    fn entry(&self, index: LogIndex) -> Result<Option<Entry>, Unreadable> {
        Ok(self.entries.get(&index).cloned())
    }
}

/// The header over all of it, and the quorum's word for it.
fn certified(consortium: &Consortium, keys: &[SecretKey], log: &LogTree, state: &State) -> (Header, Certificate) {
    let (view, validators) = (View { term: 3, number: 1_000 }, consortium.validators());
    let height = BlockHeight::new(1 + ENTRIES / 256);
    let header = Header {
        consortium: consortium.id(),
        height,
        view,
        leader: NodeId::new(0),
        epoch: validators.epoch,
        parent: other(ENTRIES),
        parent_certificate: other(ENTRIES + 1),
        skipped: Digest::ZERO,
        after: other(ENTRIES + 2),
        log_size: log.size(),
        log_root: log.root(),
        state_root: state.root(),
        validators: validators.hash(),
        next_validators: Digest::ZERO,
        time: Timestamp::new(ENTRIES),
    };
    let (kind, block) = (VoteKind::Finalize, header.digest());
    let ballot = Ballot::for_header(kind, &header);
    let signer = |(key, node): (&SecretKey, u32)| Signer { node: NodeId::new(node), key: key.clone() };
    let signatures = keys
        .iter()
        .zip(0..)
        .take(validators.quorum())
        .map(signer)
        .map(|signer| (signer.node, Vote::sign(ballot, &signer).signature))
        .collect();
    (header, Certificate { kind, view, height, block, signatures })
}
