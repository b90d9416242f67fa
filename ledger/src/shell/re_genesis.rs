//! The ledger of a stopped node that begins anew: drafting a re-genesis on its last final block, judging one that others
//! drafted, and taking one that its operators signed. See [`crate::re_genesis`].
//!
//! Taking it ends the raft log of before: all above the last final block is dropped, and the log begins after the
//! re-genesis as that of a restored node begins after its archive. Nothing is written before all is judged.
//!
//! What a node signs from then on is in a [name](crate::re_genesis::name) of its own, and so is its vote record: the old
//! one is no record of it. A new one may begin if the node never voted in that name. It did not if it has the record that
//! it had before, which says in which names it voted. Where that is gone nothing here can tell, and its operator must say
//! so ([`Record::NeverVoted`]); else the node follows in silence until its return is final, like each that lost its record.

mod votes;

use std::cmp::Ordering;

use genesis::Consortium;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

pub use self::votes::Record;
use super::{
    disk::Disk,
    fault::Fault,
    final_store::{FinalStore, Tip},
    log_store::{Link, LogStore},
    raft::block_of,
    restore::place_of,
    vote_record::{VoteFile, Votes},
};
use crate::{
    block::{Block, FinalBlock, View},
    certificate::Certificate,
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

/// Drafts the re-genesis that goes on from the last final block of a stopped node.
///
/// # Errors
/// [`ReGenesisFault`].
pub fn draft(folder: impl Into<Disk>, consortium: &Consortium, order: Order) -> Result<ReGenesisFile, ReGenesisFault> {
    let Order { author, mut lost, reason, nonce, now } = order;
    let stopped = Stopped::open(&folder.into(), consortium)?;
    stopped.check_nothing_above_is_final()?;
    let Tip { executed: parent, certificate, carriers, .. } = &stopped.tip;
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
    let (old, next) = (parent.validators(), executed.validators());
    let proof = ReGenesisProof::of(last, &parent.state, parent.log.clone(), &block, [&old, &next]);
    let proof = proof.ok_or(ReGenesisInvalid::OtherForm)?;
    Ok(ReGenesisFile::draft(&block, proof, next)?)
}

/// Checks that a re-genesis follows on the last final block of a stopped node and that all of it is so, but not who signed
/// it: what an operator can know before it signs. `now` is the node's clock.
///
/// # Errors
/// [`ReGenesisFault`].
pub fn check(
    folder: impl Into<Disk>,
    consortium: &Consortium,
    file: &ReGenesisFile,
    now: Timestamp,
) -> Result<Executed, ReGenesisFault> {
    Stopped::open(&folder.into(), consortium)?.judge(consortium, file, now)
}

/// Makes a re-genesis final in the ledger of a stopped node, after all of it was checked. `named` is its digest, as whoever
/// runs the node was told; `node` finds which node it is; `now` is its clock. Where it is final already, as in a ledger that
/// was restored from another node's, only the vote record is begun if there is none. So a second time it does nothing.
///
/// # Errors
/// [`ReGenesisFault`]; nothing is changed then, unless it is of the disk.
pub fn apply(
    folder: impl Into<Disk>,
    consortium: &Consortium,
    node: impl Fn(&Executed) -> Option<NodeId>,
    file: &ReGenesisFile,
    (named, record, now): (Digest, Record, Timestamp),
) -> Result<Executed, ReGenesisFault> {
    let folder = folder.into();
    let stopped = Stopped::open(&folder, consortium)?;
    if file.digest() != named {
        return Err(ReGenesisInvalid::NotNamed { found: file.digest() }.into());
    }
    let (executed, finalized) = match stopped.holds(file)? {
        true => (stopped.tip.executed.clone(), None),
        false => {
            let executed = stopped.judge(consortium, file, now)?;
            let FinalBlock { block, certificate, carriers } = file.block();
            executed.verify_final(&certificate).map_err(ReGenesisInvalid::Certificate)?;
            let place = stopped.place(&block)?;
            let (log_index, executed) = (place.log_id.index, executed);
            let finalized = Final { certificate, carriers, block, executed: executed.clone(), log_index };
            (executed, Some((finalized, place)))
        }
    };
    let me = node(&executed).ok_or(ReGenesisFault::NoNode)?;
    let found = stopped.votes.map_err(ReGenesisFault::Record)?;
    let begun = votes::begin(found, record, finalized.is_some(), me, &executed)?;
    // From here on things are written, in this order: a node whose log begins above its last final block does not start,
    // nor does one whose votes are in another name, and this can be done again.
    if let Some((_, place)) = &finalized {
        stopped.log.begin_anew_after(*place)?;
    }
    if let Some(votes) = &begun {
        VoteFile::new(folder).save(votes)?;
    }
    if let Some((finalized, place)) = &finalized {
        stopped.store.commit(finalized, &stopped.tip.executed, place.log_id)?;
    }
    Ok(executed)
}

/// The files of a stopped node.
struct Stopped {
    store: FinalStore,
    log: LogStore,
    tip: Tip,
    /// Only who begins a new record needs to read the old one.
    votes: Result<Option<Votes>, Fault>,
}

impl Stopped {
    fn open(folder: &Disk, consortium: &Consortium) -> Result<Self, ReGenesisFault> {
        if !folder.exists() {
            return Err(ReGenesisFault::NoLedger);
        }
        let (store, tip) = FinalStore::open(folder.join("final"), consortium)?;
        let log = LogStore::open(folder.join("log"))?;
        Ok(Self { store, log, tip, votes: VoteFile::new(folder.clone()).load() })
    }

    /// Whether the re-genesis is in the final chain.
    fn holds(&self, file: &ReGenesisFile) -> Result<bool, ReGenesisFault> {
        let height = file.header().height;
        let stands = height <= self.tip.executed.height;
        let header = if stands { self.store.header(height)? } else { None };
        Ok(header.is_some_and(|header| header.digest() == file.digest()))
    }

    /// All that can be said of a re-genesis here but whether its operators signed it.
    fn judge(&self, consortium: &Consortium, file: &ReGenesisFile, now: Timestamp) -> Result<Executed, ReGenesisFault> {
        let (tip, last) = (&self.tip.executed, file.last());
        match tip.height.cmp(&last.height) {
            Ordering::Less => Err(ReGenesisFault::Behind { own: tip.height, last: last.height }),
            Ordering::Greater => Err(ReGenesisFault::KnowsMore { own: tip.height, last: last.height }),
            Ordering::Equal if tip.digest != last.digest() => {
                Err(ReGenesisFault::OtherChain { height: tip.height, own: tip.digest, found: last.digest() })
            }
            Ordering::Equal => self.check_nothing_above_is_final(),
        }?;
        // Each later block has a later time, and nobody would vote for one until the clocks are there.
        let (time, ahead) = (file.header().time, consortium.parameters().clock_ahead_ms);
        if time.get() > now.get().saturating_add(ahead) {
            return Err(ReGenesisFault::TimeAhead { time, clock: now });
        }
        let block = file.block().block;
        self.place(&block)?;
        let executed = re_genesis::execute(consortium, tip, &block, &Direct)?;
        Ok(executed)
    }

    /// Whether nothing in the raft log or the vote record shows that a block above the last final one is final: then that
    /// must not be dropped.
    fn check_nothing_above_is_final(&self) -> Result<(), ReGenesisFault> {
        let tip = &self.tip.executed;
        // A block that was only notarized is final by a later one.
        if self.tip.certificate.as_ref().is_some_and(|certificate| certificate.kind != VoteKind::Finalize) {
            return Err(ReGenesisFault::NotCompleted { height: tip.height });
        }
        let (validators, name) = (tip.validators(), tip.name);
        let shows = |certificate: &Certificate| {
            certificate.kind == VoteKind::Finalize
                && certificate.height > tip.height
                && certificate.verify_final(&validators, &name).is_ok()
        };
        let best = self.votes.as_ref().ok().and_then(|votes| votes.as_ref()?.best.clone());
        let mut shown = best.filter(shows).map(|certificate| certificate.height);
        self.each_above(|block| {
            let certificate = block.parent_certificate.as_ref().filter(|certificate| shows(certificate));
            shown = shown.max(certificate.map(|certificate| certificate.height));
        })?;
        shown.map_or(Ok(()), |height| Err(ReGenesisFault::NotCompleted { height }))
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
        self.each_above(|block| {
            dropped.highest = dropped.highest.max(block.header.height);
            dropped.entries += block.entries.len() as u64;
        })?;
        Ok(dropped)
    }

    /// Shows each block above the last final one in the raft log.
    fn each_above(&self, mut show: impl FnMut(Block)) -> Result<(), ReGenesisFault> {
        let mut next = self.tip.log_id.map_or(0, |at| at.index + 1);
        loop {
            let entries = self.log.entries_from(next)?;
            let Some(last) = entries.last() else { return Ok(()) };
            next = last.entry.log_id.index + 1;
            entries.into_iter().filter_map(|stored| block_of(stored.entry)).for_each(&mut show);
        }
    }
}

/// Why a stopped node's ledger does not begin anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReGenesisFault {
    /// There is no ledger.
    #[error("there is no ledger: restore it from an archive, or join")]
    NoLedger,
    /// More is final than the node has followed to its end: what would be dropped, or what makes its last block final.
    #[error("the node stopped before height {height} was complete: start it until it says that nothing becomes final")]
    NotCompleted {
        /// Of that block.
        height: BlockHeight,
    },
    /// It would stand still until the clocks are there.
    #[error("its time {time} ms is ahead of this machine's clock at {clock} ms")]
    TimeAhead {
        /// Of the re-genesis.
        time: Timestamp,
        /// The clock.
        clock: Timestamp,
    },
    /// Nothing tells whether the node has voted in that name before.
    #[error("there is no vote record: nothing says that this node has not voted after this re-genesis before")]
    NoRecord,
    /// It has, and what it signed there is not known any more.
    #[error("this node has voted after this re-genesis, and its record of that is gone")]
    Voted,
    /// The vote record is another node's.
    #[error("the vote record is of node {found}, not {me}")]
    OtherRecord {
        /// Whose it is.
        found: NodeId,
        /// Which node the configuration is of.
        me: NodeId,
    },
    /// The vote record cannot be read.
    #[error("the vote record: {0}")]
    Record(#[source] Fault),
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
