//! The voter's record in a file of its own: on the disk before a vote leaves.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest, units::NodeId};

use super::{fault::Fault, raft::RaftLogId};
use crate::finality::VoteRecord;

/// The file's name in the ledger's folder.
const FILE: &str = "votes";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Whose votes.
    pub consortium: Digest,
    /// Whose votes.
    pub node: NodeId,
    /// What was signed.
    pub record: VoteRecord,
    /// Raft log entry of the highest block that `Finalize` was signed for: a candidate must hold it.
    pub finalized_at: Option<RaftLogId>,
}

/// Writes the record, each time in place of the one before.
#[derive(Debug)]
pub struct VoteFile {
    path: PathBuf,
}

impl VoteFile {
    /// The record file in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE) }
    }

    /// Reads the record; none if there is no file.
    ///
    /// # Errors
    /// [`Fault::File`] if it cannot be read, [`Fault::Damaged`] if it is not what was written.
    pub fn load(&self) -> Result<Option<Votes>, Fault> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.fault(source)),
        };
        let damaged = |reason: String| Fault::damaged("votes", "file", b"", reason);
        let (sum, body) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("too short".into()))?;
        if u32::from_le_bytes(*sum) != crc32c::crc32c(body) {
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
        let next = self.path.with_extension("next");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&next)?;
            file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
            file.write_all(&body)?;
            file.sync_all()?;
            fs::rename(&next, &self.path)?;
            let dir = self.path.parent().unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| self.fault(source))
    }

    fn fault(&self, source: std::io::Error) -> Fault {
        Fault::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes() -> Votes {
        Votes {
            consortium: Digest([7; 32]),
            node: NodeId::new(2),
            record: VoteRecord::default(),
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
