//! Every vote that four processes cast, as far as their disks and certificates show.
//!
//! A node writes its vote record before a vote leaves. So whoever reads that file all the time, and once more when the
//! process is dead, sees the votes that it may have sent; certificates show the rest. Two votes of one validator in one
//! view for different blocks would be a double signature, and so would `Finalize` in a view that it gave up.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    block::View,
    certificate::Certificate,
    finality::VoteRecord,
    shell::vote_record::{VoteFile, Votes as Written},
    vote::{Ballot, VoteKind},
};
use node::demo::cluster::Cluster;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

/// How often the records are read. A block takes some tens of milliseconds.
const PERIOD: Duration = Duration::from_millis(2);

/// All votes so far.
#[derive(Debug, Default)]
pub struct Votes {
    by_view: BTreeMap<(NodeId, View), (Digest, VoteKind)>,
    given_up: BTreeSet<(NodeId, View, u64)>,
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

    /// Takes in the votes of a certificate.
    pub fn take_certificate(&mut self, certificate: &Certificate) {
        for (validator, _) in &certificate.signatures {
            self.take(*validator, certificate.kind, certificate.view, certificate.block);
        }
    }

    fn take_record(&mut self, validator: NodeId, record: &VoteRecord) {
        for (view, _, block, kind) in record.votes() {
            self.take(validator, kind, view, block);
        }
        self.given_up.extend(record.given_up().map(|(from, through)| (validator, from, through)));
    }

    fn take(&mut self, validator: NodeId, kind: VoteKind, view: View, block: Digest) {
        let (known, highest) = self.by_view.entry((validator, view)).or_insert((block, kind));
        assert_eq!(*known, block, "node {validator} voted twice in {view:?}");
        *highest = kind.max(*highest);
    }

    /// Looks for views that a validator finalized and gave up.
    fn check_given_up(&self) {
        for (validator, from, through) in &self.given_up {
            let mut later =
                self.by_view.range((*validator, *from)..=(*validator, View { term: *through, number: u64::MAX }));
            let finalized = later.find(|(_, (_, kind))| *kind == VoteKind::Finalize);
            assert_eq!(finalized, None, "node {validator} gave up {from:?} through term {through}");
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
        let votes = std::mem::take(&mut *self.votes.lock().expect("the watch ended well"));
        votes.check_given_up();
        votes
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
            votes.lock().expect("nobody panicked").take_record(read.node, &read.record);
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
    let later = View { term: 3, number: 5 };
    record.nullify(later, 3).expect("nothing was finalized there");
    let written = Written { record, ..Written::new(ballot.consortium, NodeId::new(2)) };
    VoteFile::new(folder.path()).save(&written).expect("our own folder");
    let votes = Mutex::new(Votes::default());
    look(&[folder.path().join("votes")], &votes);
    let votes = votes.into_inner().expect("nobody panicked");
    assert_eq!(votes.by_view, BTreeMap::from([((NodeId::new(2), ballot.view), (ballot.block, ballot.kind))]));
    assert_eq!(votes.given_up, BTreeSet::from([(NodeId::new(2), later, 3)]));
    votes.check_given_up();
}

#[test]
#[should_panic(expected = "node 2 gave up")]
fn a_view_that_was_finalized_and_given_up_is_noticed() {
    let mut votes = Votes::default();
    let Ballot { view, block, .. } = ballot(1);
    votes.take(NodeId::new(2), VoteKind::Notarize, view, block);
    votes.take(NodeId::new(2), VoteKind::Finalize, view, block);
    votes.given_up.insert((NodeId::new(2), view, view.term));
    votes.check_given_up();
}

#[test]
#[should_panic(expected = "node 2 voted twice")]
fn a_second_vote_in_a_view_is_noticed() {
    let mut votes = Votes::default();
    for block in [1, 2] {
        let Ballot { kind, view, block, .. } = ballot(block);
        votes.take(NodeId::new(2), kind, view, block);
    }
}

fn ballot(block: u8) -> Ballot {
    Ballot {
        consortium: Digest([7; 32]),
        epoch: 0,
        kind: VoteKind::Notarize,
        view: View { term: 3, number: 4 },
        height: BlockHeight::new(5),
        block: Digest([block; 32]),
    }
}
