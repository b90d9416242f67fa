//! The voter's record in a file of its own: on the disk before a vote leaves.

use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest, units::NodeId};

use super::{disk::Disk, fault::Fault, log_store::Flushed, raft::RaftLogId};
use crate::{certificate::Certificate, finality::VoteRecord, planted::planted};

/// The file's name in the ledger's folder.
const FILE: &str = "votes";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// In which name: the one in force, see [`crate::re_genesis::name`].
    pub consortium: Digest,
    /// In which names this key voted before. What it signed there is not recorded any more, so it votes there no more.
    pub left: Vec<Digest>,
    /// Whose votes.
    pub node: NodeId,
    /// Digest of the last final block where the record was begun in this name, if a re-genesis began the name: it has
    /// every vote that was signed on that block's ledger in this name.
    pub begun: Option<Digest>,
    /// What was signed.
    pub record: VoteRecord,
    /// Raft log entry of the highest block that `Finalize` was signed for: the guard does not cut it at a leader's
    /// word.
    pub finalized_at: Option<RaftLogId>,
    /// Of the highest certified block that the log held when a vote was last signed. Whoever finalized a block must be
    /// able to show its notarizations: those who gave up its view meanwhile sign them no more.
    pub best: Option<Certificate>,
    /// While the key is silent: of its `ValidatorResumed`.
    pub silent: Option<[u8; 16]>,
    /// Of all its `ValidatorResumed`, the last ones: those of others than these are by another process.
    pub drawn: Vec<[u8; 16]>,
    /// How long the raft log was when this was written: a log that is shorter now has lost what votes rest on.
    pub log: Flushed,
}

impl Votes {
    /// The record of a node that has signed nothing.
    pub fn new(consortium: Digest, node: NodeId) -> Self {
        let record = VoteRecord::default();
        let log = Flushed::default();
        Self {
            consortium,
            left: Vec::new(),
            node,
            begun: None,
            record,
            finalized_at: None,
            best: None,
            silent: None,
            drawn: Vec::new(),
            log,
        }
    }
}

/// Writes the record, each time in place of the one before.
#[derive(Debug)]
pub struct VoteFile {
    dir: Disk,
}

impl VoteFile {
    /// The record file in `dir`.
    pub fn new(dir: impl Into<Disk>) -> Self {
        Self { dir: dir.into() }
    }

    /// Reads the record; none if there is no file.
    ///
    /// # Errors
    /// [`Fault::File`] if it cannot be read, [`Fault::Damaged`] if it is not what was written.
    pub fn load(&self) -> Result<Option<Votes>, Fault> {
        let Some(bytes) = self.dir.read(FILE).map_err(|source| self.fault(source))? else { return Ok(None) };
        let damaged = |reason: String| Fault::damaged("votes", "file", b"", reason);
        let (sum, body) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("too short".into()))?;
        if u32::from_le_bytes(*sum) != crc32c::crc32c(body) && !planted!(SumsUnchecked) {
            return Err(damaged("its checksum does not match".into()));
        }
        codec::decode(body).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Replaces the record and returns when the new one, and its name, are on the disk.
    ///
    /// # Errors
    /// [`Fault::File`]; the old record is still there then, and nothing may be signed.
    pub fn save(&self, votes: &Votes) -> Result<(), Fault> {
        let body = codec::encode(votes);
        let bytes = [&crc32c::crc32c(&body).to_le_bytes(), body.as_slice()].concat();
        self.dir.replace(FILE, &bytes).map_err(|source| self.fault(source))
    }

    fn fault(&self, source: std::io::Error) -> Fault {
        Fault::file(self.dir.path(FILE), source)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn votes() -> Votes {
        Votes {
            consortium: Digest([7; 32]),
            left: vec![Digest([6; 32])],
            node: NodeId::new(2),
            begun: Some(Digest([8; 32])),
            record: VoteRecord::default(),
            best: None,
            silent: None,
            drawn: Vec::new(),
            log: Flushed::default(),
            finalized_at: Some(RaftLogId::new(openraft::CommittedLeaderId::new(3, 2), 9)),
        }
    }

    #[test]
    fn the_last_record_is_read_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = VoteFile::new(dir.path());
        assert_eq!(file.load().expect("no file is no fault"), None);
        file.save(&Votes { finalized_at: None, ..votes() }).expect("saves");
        file.save(&votes()).expect("saves");
        assert_eq!(VoteFile::new(dir.path()).load().expect("loads"), Some(votes()));
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_of_the_record_is_a_fault() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = VoteFile::new(dir.path());
        file.save(&votes()).expect("saves");
        let good = fs::read(dir.path().join(FILE)).expect("the file");
        for at in 0..good.len() {
            fs::write(dir.path().join(FILE), &good[..at]).expect("writes");
            assert!(matches!(file.load(), Err(Fault::Damaged { .. })), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(dir.path().join(FILE), &bad).expect("writes");
            assert!(matches!(file.load(), Err(Fault::Damaged { .. })), "flipped at {at}");
        }
    }
}
