//! Every vote that four processes cast, as far as their disks and certificates show.
//!
//! A node writes its vote record before a vote leaves. So whoever reads that file all the time, and once more when the
//! process is dead, sees the votes that it may have sent; certificates show the rest. Two votes of one validator, of one
//! kind and in one view, for different blocks would be a double signature, and so would two `Finalize` at one height.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use ledger::{
    block::{Ballot, Certificate, View, VoteKind},
    finality::VoteRecord,
    shell::{
        raft::RaftLogId,
        vote_record::{VoteFile, Votes as Written},
    },
};
use node::demo::cluster::Cluster;
use wallet::{
    codec,
    digest::Digest,
    units::{BlockHeight, NodeId},
};

/// How often the records are read. A block takes some tens of milliseconds.
const PERIOD: Duration = Duration::from_millis(2);

/// The bytes of a vote record, whose fields are the voter's own business.
type Record = (Digest, NodeId, (BlockHeight, BTreeMap<(BlockHeight, VoteKind, View), Digest>), Option<RaftLogId>);

/// All votes so far.
#[derive(Debug, Default)]
pub struct Votes {
    by_view: BTreeMap<(NodeId, VoteKind, View), Digest>,
    finalized: BTreeMap<(NodeId, BlockHeight), Digest>,
}

/// Reads the vote records of all nodes, in a thread of its own.
pub struct Watch {
    votes: Arc<Mutex<Votes>>,
    files: Vec<PathBuf>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Votes {
    /// How many votes are known.
    pub fn len(&self) -> usize {
        self.by_view.len()
    }

    /// Takes in the `Finalize` votes of a certificate.
    pub fn take_certificate(&mut self, certificate: &Certificate) {
        for (validator, _) in &certificate.signatures {
            self.take(*validator, VoteKind::Finalize, certificate.view, certificate.height, certificate.block);
        }
    }

    fn take_record(&mut self, (_, validator, (_, signed), _): &Record) {
        for ((height, kind, view), block) in signed {
            self.take(*validator, *kind, *view, *height, *block);
        }
    }

    fn take(&mut self, validator: NodeId, kind: VoteKind, view: View, height: BlockHeight, block: Digest) {
        let known = *self.by_view.entry((validator, kind, view)).or_insert(block);
        assert_eq!(known, block, "node {validator} cast two {kind:?} votes in {view:?}");
        if kind == VoteKind::Finalize {
            let known = *self.finalized.entry((validator, height)).or_insert(block);
            assert_eq!(known, block, "node {validator} finalized two blocks at height {height}");
        }
    }
}

impl Watch {
    /// Watches the nodes of `cluster`.
    pub fn start(cluster: &Cluster) -> Self {
        let files: Vec<PathBuf> = cluster.nodes().map(|node| find(&cluster.folder().join(node))).collect();
        let (votes, stop) = (Arc::<Mutex<Votes>>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (votes, files, stop) = (votes.clone(), files.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    look(&files, &votes);
                    std::thread::sleep(PERIOD);
                }
            })
        };
        Self { votes, files, stop, thread: Some(thread) }
    }

    /// Reads the records once more: they stand still while their processes are dead.
    pub fn look(&self) {
        look(&self.files, &self.votes);
    }

    /// All votes that were seen.
    ///
    /// # Panics
    /// If a double signature was among them.
    pub fn finish(mut self) -> Votes {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
        std::mem::take(&mut self.votes.lock().expect("the watch ended well"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look(files: &[PathBuf], votes: &Mutex<Votes>) {
    for file in files {
        let folder = file.parent().expect("a file in a folder");
        if let Some(read) = VoteFile::new(folder).load().expect("a record is replaced in one piece") {
            let record: Record = codec::decode(&codec::encode(&read)).expect("the record's layout");
            votes.lock().expect("nobody panicked").take_record(&record);
        }
    }
}

/// The vote record below a node's data folder.
fn find(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a node's folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "votes") {
                return path;
            }
        }
    }
    panic!("{} has no vote record", folder.display())
}

#[test]
fn a_record_is_read_as_its_voter_wrote_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ballot = ballot(1);
    let mut record = VoteRecord::default();
    record.sign(&ballot).expect("its first vote");
    let written = Written { consortium: ballot.consortium, node: NodeId::new(2), record, finalized_at: None };
    VoteFile::new(folder.path()).save(&written).expect("our own folder");
    let votes = Mutex::new(Votes::default());
    look(&[folder.path().join("votes")], &votes);
    let votes = votes.into_inner().expect("nobody panicked");
    assert_eq!(votes.by_view, BTreeMap::from([((NodeId::new(2), ballot.kind, ballot.view), ballot.block)]));
}

#[test]
#[should_panic(expected = "node 2 cast two Finalize votes")]
fn a_second_vote_in_a_view_is_noticed() {
    let mut votes = Votes::default();
    for block in [1, 2] {
        let Ballot { kind, view, height, block, .. } = ballot(block);
        votes.take(NodeId::new(2), kind, view, height, block);
    }
}

fn ballot(block: u8) -> Ballot {
    Ballot {
        consortium: Digest([7; 32]),
        epoch: 0,
        kind: VoteKind::Finalize,
        view: View { term: 3, number: 4 },
        height: BlockHeight::new(5),
        block: Digest([block; 32]),
    }
}
