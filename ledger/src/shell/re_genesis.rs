//! The ledger of a stopped node that begins anew: drafting a re-genesis on its last final block, and taking one that its
//! operators signed. See [`crate::re_genesis`].
//!
//! Taking it ends the raft log of before: all above the last final block is dropped, and the log begins after the
//! re-genesis as that of a restored node begins after its archive. No vote of before counts any more, because no term of
//! before comes again. So a record that was lost is no reason to be silent: in the epoch that begins nobody voted.

use std::path::Path;

use genesis::Consortium;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{
    fault::Fault,
    final_store::{FinalStore, Tip},
    log_store::{Link, LogStore},
    raft::block_of,
    restore::place_of,
    vote_record::{VoteFile, Votes},
};
use crate::{
    block::{Block, FinalBlock, View},
    checks::Direct,
    execute::{Executed, Place},
    finality::Final,
    governance::Member,
    re_genesis::{self, Dropped, FileInvalid, ReGenesis, ReGenesisFile, ReGenesisInvalid, ReGenesisProof},
    refusal::Refusal,
    vote::{Signer, VoteKind},
};

/// What whoever drafts a re-genesis says.
#[derive(Clone, Debug)]
pub struct Order {
    /// The node that drafts, and stays.
    pub author: Signer,
    /// Operators with all their nodes, and nodes of operators that stay; in any order.
    pub lost: Vec<Member>,
    /// Why, in one line.
    pub reason: String,
    /// Drawn by the author.
    pub nonce: [u8; 16],
    /// The clock of the node.
    pub now: Timestamp,
}

/// The files of a stopped node.
struct Stopped {
    store: FinalStore,
    log: LogStore,
    tip: Tip,
}

/// Drafts the re-genesis that goes on from the last final block of a stopped node.
///
/// # Errors
/// [`ReGenesisFault`].
pub fn draft(folder: &Path, consortium: &Consortium, order: Order) -> Result<ReGenesisFile, ReGenesisFault> {
    let Order { author, mut lost, reason, nonce, now } = order;
    let stopped = Stopped::open(folder, consortium)?;
    let Tip { executed: parent, certificate, carriers, .. } = &stopped.tip;
    if certificate.as_ref().is_some_and(|certificate| certificate.kind != VoteKind::Finalize) {
        return Err(ReGenesisFault::NotCompleted { height: parent.height });
    }
    let last = stopped.store.header(parent.height)?.ok_or(ReGenesisInvalid::NothingFinal)?;
    let dropped = stopped.dropped()?;
    lost.sort();
    lost.dedup();
    let event = ReGenesis { lineage: parent.state.lineage().saturating_add(1), lost, reason, dropped };
    let place = Place {
        parent: parent.clone(),
        certificate: certificate.clone(),
        carriers: carriers.clone(),
        skipped: None,
        view: View::START,
        after: stopped.end()?.chain,
    };
    let (block, executed) = re_genesis::draft(consortium, place, &author, nonce, now, event)?;
    re_genesis::execute(consortium, parent, &block, &Direct)?;
    let next = executed.validators();
    let proof = ReGenesisProof::of(last, &parent.state, parent.log.clone(), &block, &next);
    let proof = proof.ok_or(ReGenesisInvalid::OtherForm)?;
    Ok(ReGenesisFile::draft(&block, proof, next)?)
}

/// Makes a re-genesis final in the ledger of a stopped node, after all of it was checked. `named` is its digest, as whoever
/// runs the node was told; `me` is the node, if it is one. A second time it does nothing.
///
/// # Errors
/// [`ReGenesisFault`]; nothing is changed then, unless it is of the disk.
pub fn apply(
    folder: &Path,
    consortium: &Consortium,
    node: impl Fn(&Executed) -> Option<NodeId>,
    file: &ReGenesisFile,
    named: Digest,
) -> Result<Executed, ReGenesisFault> {
    let stopped = Stopped::open(folder, consortium)?;
    let tip = &stopped.tip.executed;
    if tip.digest == named {
        return Ok(stopped.tip.executed);
    }
    let last = file.last();
    match tip.height.cmp(&last.height) {
        std::cmp::Ordering::Less => Err(ReGenesisFault::Behind { own: tip.height, last: last.height }),
        std::cmp::Ordering::Greater => Err(ReGenesisFault::KnowsMore { own: tip.height, last: last.height }),
        std::cmp::Ordering::Equal if tip.digest != last.digest() => {
            Err(ReGenesisFault::OtherChain { height: tip.height, own: tip.digest, found: last.digest() })
        }
        std::cmp::Ordering::Equal => Ok(()),
    }?;
    let next = file.block();
    let executed = re_genesis::verify(consortium, tip, &next, &[named], &Direct)?;
    let FinalBlock { block, certificate, carriers } = next;
    let place = stopped.place(&block)?;
    let me = node(&executed).ok_or(ReGenesisFault::NoNode)?;
    let finalized = Final { certificate, carriers, block, executed: executed.clone(), log_index: place.log_id.index };
    // In this order: a node whose log begins above its last final block does not start, and this can be done again.
    stopped.log.begin_anew_after(place)?;
    begin_votes(folder, consortium, me, &executed)?;
    stopped.store.commit(&finalized, tip, place.log_id)?;
    Ok(executed)
}

impl Stopped {
    fn open(folder: &Path, consortium: &Consortium) -> Result<Self, ReGenesisFault> {
        if !folder.exists() {
            return Err(ReGenesisFault::NoLedger);
        }
        let (store, tip) = FinalStore::open(folder.join("final"), consortium)?;
        let log = LogStore::open(folder.join("log"))?;
        Ok(Self { store, log, tip })
    }

    /// The last final block's place in the raft log.
    fn end(&self) -> Result<Link, ReGenesisFault> {
        let log_id = self.tip.log_id.ok_or(ReGenesisInvalid::NothingFinal)?;
        let block = self.store.block(self.tip.executed.height)?.ok_or(ReGenesisInvalid::NothingFinal)?;
        // From the block itself: a log that was begun anew by a try before this one does not hold it any more.
        Ok(place_of(&block.block, log_id.index))
    }

    /// Where the re-genesis stands: just after the last final block.
    fn place(&self, block: &Block) -> Result<Link, ReGenesisFault> {
        let end = self.end()?;
        if end.chain != block.header.after {
            return Err(ReGenesisFault::OtherPlace { raft_index: end.log_id.index });
        }
        Ok(place_of(block, end.log_id.index + 1))
    }

    /// What stands above the last final block in the raft log.
    fn dropped(&self) -> Result<Dropped, ReGenesisFault> {
        let mut dropped = Dropped { highest: self.tip.executed.height, entries: 0 };
        let mut next = self.tip.log_id.map_or(0, |at| at.index + 1);
        loop {
            let entries = self.log.entries_from(next)?;
            let Some(last) = entries.last() else { return Ok(dropped) };
            next = last.entry.log_id.index + 1;
            for block in entries.into_iter().filter_map(|stored| block_of(stored.entry)) {
                dropped.highest = dropped.highest.max(block.header.height);
                dropped.entries += block.entries.len() as u64;
            }
        }
    }
}

/// The vote record with which the node goes into the epoch that begins.
fn begin_votes(folder: &Path, consortium: &Consortium, me: NodeId, executed: &Executed) -> Result<(), ReGenesisFault> {
    let file = VoteFile::new(folder);
    let mut votes = file.load()?.unwrap_or_else(|| Votes::new(consortium.id(), me));
    if (votes.consortium, votes.node) != (consortium.id(), me) {
        return Err(Fault::OtherConsortium { expected: consortium.id(), found: votes.consortium }.into());
    }
    // What it finalized is dropped, and what it waited for cannot come.
    (votes.finalized_at, votes.best, votes.silent) = (None, None, None);
    // Nor do signatures of before silence it that its record does not know any more: it makes no more there.
    votes.record.resume(executed.view);
    // One that came back before is not taken for another process.
    let came_back = executed.state.resumption(me).map(|record| record.nonce);
    votes.drawn.extend(came_back.filter(|nonce| !votes.drawn.contains(nonce)));
    Ok(file.save(&votes)?)
}

/// Why a stopped node's ledger does not begin anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReGenesisFault {
    /// There is no ledger.
    #[error("there is no ledger: restore it from an archive, or join")]
    NoLedger,
    /// The last block is final by a later one's certificate that the node had not followed to its end.
    #[error("the node stopped before height {height} was complete: start it until it says that nothing becomes final")]
    NotCompleted {
        /// Of its last final block.
        height: BlockHeight,
    },
    /// What follows would be missing.
    #[error(
        "this node's last final block is at height {own}, below {last}: restore it from an archive of one that has all"
    )]
    Behind {
        /// The node's.
        own: BlockHeight,
        /// On which the re-genesis stands.
        last: BlockHeight,
    },
    /// What is final here would be dropped.
    #[error("this node's last final block is at height {own}, above {last}: the re-genesis must be drafted here")]
    KnowsMore {
        /// The node's.
        own: BlockHeight,
        /// On which the re-genesis stands.
        last: BlockHeight,
    },
    /// Two final blocks of one height.
    #[error("at height {height} this node's final block is {own}, not {found}: more than f validators lied")]
    OtherChain {
        /// The height.
        height: BlockHeight,
        /// The node's block.
        own: Digest,
        /// The one on which the re-genesis stands.
        found: Digest,
    },
    /// The raft log before the last final block is another one here.
    #[error(
        "the raft log up to index {raft_index} is not the one of the node that drafted it: restore from its archive"
    )]
    OtherPlace {
        /// Of the last final block here.
        raft_index: u64,
    },
    /// The configured key is of no node.
    #[error("in the final state no node has the key of this node's configuration")]
    NoNode,
    /// The rules refuse what was drafted.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The re-genesis does not hold.
    #[error("{0}")]
    Invalid(#[from] ReGenesisInvalid),
    /// What was drafted does not hold together.
    #[error("{0}")]
    File(#[from] FileInvalid),
    /// The disk.
    #[error("{0}")]
    Store(#[from] Fault),
}
