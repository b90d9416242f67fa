//! A ledger's folder as a node that was killed leaves it: an epoch's end, wallets and a complete tile among what is final,
//! a block that is not, and in every store something in tables and something in the write-ahead log.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use genesis::Consortium;
use openraft::{CommittedLeaderId, EntryPayload};
use tempfile::TempDir;
use wallet::units::{NodeId, Timestamp};

use super::reading::{Item, read_all};
use crate::{
    block::Block,
    certificate::Certificate,
    execute::{Place, execute, propose},
    finality::Final,
    governance::{Action, Member},
    shell::{
        files::Files,
        raft::{RaftEntry, RaftLogId, raft_id},
    },
    testing::{Chain, Session, certify, consortium, dice::Dice},
    tree::tiles::TILE_WIDTH,
    vote::{Ballot, VoteKind},
};

/// Whose folder.
pub const ME: NodeId = NodeId::ZERO;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Table,
    WriteAheadLog,
    Manifest,
    Current,
    Identity,
    Options,
    Votes,
}

/// How many of a hundred flips are in files of a kind.
const SHARES: [(Kind, u64); 7] = [
    (Kind::Table, 40),
    (Kind::WriteAheadLog, 25),
    (Kind::Manifest, 15),
    (Kind::Votes, 10),
    (Kind::Current, 4),
    (Kind::Options, 4),
    (Kind::Identity, 2),
];

impl Kind {
    /// One of them, by their shares.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut number = dice.below(100);
        for (kind, share) in SHARES {
            if number < share {
                return kind;
            }
            number -= share;
        }
        unreachable!("the shares make a hundred")
    }

    /// What RocksDB's `LOG` and `LOCK` are is of no kind: nobody reads them.
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        Some(match name {
            "votes" => Self::Votes,
            "CURRENT" => Self::Current,
            "IDENTITY" => Self::Identity,
            "LOCK" => return None,
            _ if name.ends_with(".sst") => Self::Table,
            _ if name.ends_with(".log") => Self::WriteAheadLog,
            _ if name.starts_with("MANIFEST-") => Self::Manifest,
            _ if name.starts_with("OPTIONS-") => Self::Options,
            _ if name.starts_with("LOG") => return None,
            _ => panic!("a file of an unknown kind: {name}"),
        })
    }
}

/// A file of the folder.
pub struct Kept {
    pub kind: Kind,
    /// Below the folder.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// The folder, and what is read from it.
pub struct Sample {
    pub consortium: Arc<Consortium>,
    folder: TempDir,
    pub files: Vec<Kept>,
    pub truth: Vec<Item>,
}

impl Sample {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let consortium = consortium(5);
        write(folder.path(), &consortium);
        let mut files = Vec::new();
        for place in ["", "log", "final"].map(|name| folder.path().join(name)) {
            for entry in fs::read_dir(place).expect("our own folder") {
                let path = entry.expect("our own folder").path();
                if let Some(kind) = Some(&path).filter(|path| path.is_file()).and_then(|path| Kind::of(path)) {
                    let bytes = fs::read(&path).expect("our own file");
                    let path = path.strip_prefix(folder.path()).expect("it is in there").to_owned();
                    files.push(Kept { kind, path, bytes });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut sample = Self { consortium, folder, files, truth: Vec::new() };
        let whole = sample.copy(|_, _| {});
        sample.truth = read_all(whole.path(), &sample.consortium).expect("nobody damaged it");
        sample
    }

    /// A copy to start on, changed. What did not change is a link: RocksDB never writes to a file again after a restart.
    pub fn copy(&self, change: impl Fn(usize, &mut Vec<u8>)) -> TempDir {
        let copy = tempfile::tempdir().expect("tempdir");
        ["log", "final"].iter().for_each(|name| fs::create_dir(copy.path().join(name)).expect("a new folder"));
        for (number, file) in self.files.iter().enumerate() {
            let (from, to) = (self.folder.path().join(&file.path), copy.path().join(&file.path));
            let mut bytes = file.bytes.clone();
            change(number, &mut bytes);
            if bytes == file.bytes {
                fs::hard_link(from, to).expect("one disk");
            } else {
                fs::write(to, bytes).expect("a new folder");
            }
        }
        copy
    }
}

/// Fills the folder, in three starts: what the first two wrote is in tables.
fn write(folder: &Path, consortium: &Arc<Consortium>) {
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    let mut files = store(folder, &chain, 0);
    let mut stored = chain.blocks.len();
    drop(files);

    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
    chain.carry(2);
    push_all(
        &mut chain,
        (1..TILE_WIDTH - 20).map(|number| session.anchored(1, number, wallet::digest::Digest([7; 32]))),
    );
    files = store(folder, &chain, stored);
    stored = chain.blocks.len();
    drop(files);

    session.hop(&mut chain, 2, None).expect("valid");
    for number in 1..40 {
        chain.push(session.anchored(2, number, wallet::digest::Digest([8; 32]))).expect("valid");
    }
    files = store(folder, &chain, stored);
    assert!(chain.tip.log.size() > TILE_WIDTH, "a tile is complete");

    // One more block, for which this node has voted.
    let (view, end) = (chain.tip.view.next().expect("few blocks"), files.log.last().expect("not empty"));
    let place = Place { after: end.chain, ..chain.place(view) };
    let leader = chain.tip.validators().members[0].0;
    let entries = vec![session.anchored(3, 1, wallet::digest::Digest([9; 32]))];
    let now = Timestamp::new(chain.tip.time.get() + 100);
    let open = propose(consortium, place, &chain.signer(leader).expect("a validator"), now, entries).block;
    append(&files, &open);
    files.votes.record.sign(&Ballot::for_header(VoteKind::Notarize, &open.header)).expect("nothing was signed");
    files.votes.best = chain.blocks.last().map(|(_, certificate)| certificate.clone());
    files.votes.log = files.log.end();
    files.vote_file.save(&files.votes).expect("our own disk");
}

/// Lets one block of these entries become final.
fn push_all(chain: &mut Chain, entries: impl Iterator<Item = crate::event::Entry>) {
    let made = chain.propose(entries.collect());
    assert!(made.refused.is_empty() && made.left_over.is_empty());
    let quorum = chain.tip.validators().quorum() as u32;
    chain.blocks.push((made.block.clone(), certify(&made.block, 0..quorum)));
    chain.tip = made.executed;
}

/// Opens the files and makes the chain's blocks after the first `from` final there.
fn store(folder: &Path, chain: &Chain, from: usize) -> Files {
    let files = Files::open(&folder.into(), &chain.consortium, ME).expect("our own disk");
    let mut before = files.tip.executed.clone();
    for (block, certificate) in &chain.blocks[from..] {
        let log_id = append(&files, block);
        let executed = execute(&chain.consortium, &before, block).expect("valid");
        let closes = |hand_over: &&crate::hand_over::HandOver| hand_over.closing == block.header;
        let carriers = chain.hand_overs.iter().find(closes).map(|hand_over| hand_over.proof.carriers.clone());
        let (certificate, block): (Certificate, Block) = (certificate.clone(), block.clone());
        let carriers = carriers.unwrap_or_default();
        let finalized = Final { certificate, carriers, block, executed, log_index: log_id.index };
        files.log.set_final(log_id).expect("it is there");
        files.store.commit(&finalized, &before, log_id).expect("our own disk");
        files.log.note_final(log_id);
        before = finalized.executed;
    }
    files
}

/// Appends a block to the raft log, after the first entry of its term.
fn append(files: &Files, block: &Block) -> RaftLogId {
    let leader = CommittedLeaderId::new(block.header.view.term, raft_id(block.header.leader));
    let next = || RaftLogId::new(leader, files.log.last().expect("not empty").log_id.index + 1);
    if files.log.last().is_some_and(|last| last.log_id.leader_id != leader) {
        let blank = RaftEntry { log_id: next(), payload: EntryPayload::Blank };
        files.log.append_proven(vec![blank]).expect("our own disk");
    }
    let log_id = next();
    let entry = RaftEntry { log_id, payload: EntryPayload::Normal(block.clone().into()) };
    files.log.append_proven(vec![entry]).expect("our own disk");
    log_id
}
