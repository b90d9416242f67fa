//! The decision log on disk: append-only, checked when it is read again.
//!
//! A record is a head of 12 bytes (length, checksum of the decision, checksum of the head's first 8 bytes), then the
//! encoded decision. A record that the file's end cuts short was being written when the power failed; nothing was done
//! about its decision, which is carried out only after the sync, so it is cut off. Any other damage stops the node: an
//! offer or an anchor may name what was there. Where that is lost, its operator says so, and the log goes on (see `lost`).

mod fault;
mod lost;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use scheduler::decision::{Decision, LogHead, Logged, ReplayFailed, replay, verify_chain};
use wallet::{codec, digest::Digest, grant::WalletAddress};

pub use self::{
    fault::LogFault,
    lost::{GivenUp, give_up},
};

/// Length, checksum of the decision, checksum of both.
const HEAD_BYTES: usize = 12;

/// The decision log of this node, open for appending.
#[derive(Debug)]
pub struct DecisionFile {
    path: PathBuf,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// The anchored end of a log that was lost, if this one goes on after it.
    lost: Option<LogHead>,
    head: LogHead,
    /// From the first that was not lost on.
    records: Vec<Place>,
    by_hash: HashMap<Digest, u64>,
    by_wallet: BTreeMap<WalletAddress, Vec<u64>>,
}

/// Where an encoded decision stands in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    bytes: u32,
}

/// What a check of the whole log found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Whether the chain is whole and every decision follows from its inputs.
    pub verified: bool,
    /// How many decisions there are, with those that were lost.
    pub decisions: u64,
    /// How many of them were lost here: the chain begins after the anchor of the last one.
    pub lost: u64,
    /// Hash of the last one.
    pub head: Digest,
    /// How many of them the rules decide again in the same way.
    pub replayed: u64,
    /// Why the first one failed that did not hold.
    pub failure: Option<String>,
}

impl DecisionFile {
    /// Opens or creates the log, checks every record and the chain, and cuts off a record that was never whole.
    ///
    /// # Errors
    /// [`LogFault::Io`] and [`LogFault::Damaged`].
    pub fn open(path: &Path) -> Result<Self, LogFault> {
        let io = |source| LogFault::Io { file: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(io)?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            end: 0,
            lost: None,
            head: LogHead::default(),
            records: Vec::new(),
            by_hash: HashMap::new(),
            by_wallet: BTreeMap::new(),
        };
        let next = |log: &Self| {
            let at = usize::try_from(log.end).unwrap_or(usize::MAX);
            whole_record(&bytes, at).map_err(|reason| log.damaged(log.end, reason.into()))
        };
        while let Some(encoded) = next(&log)? {
            match codec::decode(encoded).ok().filter(|_: &LogHead| log.end == 0) {
                Some(lost) => (log.lost, log.head, log.end) = (Some(lost), lost, (HEAD_BYTES + encoded.len()) as u64),
                None => log.take_up(encoded)?,
            }
        }
        if log.end < bytes.len() as u64 {
            tracing::warn!(bytes = bytes.len() as u64 - log.end, "cut a decision off the log that was never whole");
            log.file.set_len(log.end).and_then(|()| log.file.sync_all()).map_err(io)?;
        }
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(log)
    }

    /// The end of the log.
    pub const fn head(&self) -> LogHead {
        self.head
    }

    /// Appends a decision and returns when it is on the disk. Only then may it be carried out.
    ///
    /// # Errors
    /// [`LogFault::Io`]; the node must stop then, because it does not know what is on the disk.
    ///
    /// # Panics
    /// If the decision does not continue this log: the scheduler that made it was started from another head.
    pub fn append(&mut self, logged: &Logged) -> Result<(), LogFault> {
        let Logged { decision, hash } = logged;
        assert_eq!(
            (decision.seq, decision.previous),
            (self.head.length, self.head.hash),
            "the decision continues the log"
        );
        let encoded = decision.encode();
        let record = record(&encoded);
        self.file
            .write_all_at(&record, self.end)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| LogFault::Io { file: self.path.clone(), source })?;
        self.head = LogHead { length: decision.seq + 1, hash: *hash };
        self.index(decision, *hash, encoded.len());
        Ok(())
    }

    /// The encoded decisions from the one with `hash` on: at most `count_max` and about `bytes_max` bytes. Empty if the
    /// log has no such decision.
    ///
    /// # Errors
    /// [`LogFault`] if the file cannot be read, or no longer holds what it held.
    pub fn from_hash(&self, hash: &Digest, count_max: usize, bytes_max: usize) -> Result<Vec<Vec<u8>>, LogFault> {
        let Some(&first) = self.by_hash.get(hash) else { return Ok(Vec::new()) };
        let first = self.position(first).unwrap_or(usize::MAX);
        let mut budget = bytes_max;
        let fits = |place: &&Place| {
            let fits = budget >= place.bytes as usize;
            budget = budget.saturating_sub(place.bytes as usize);
            fits
        };
        self.records.iter().skip(first).take(count_max).take_while(fits).map(|place| self.read(*place)).collect()
    }

    /// The last decisions on a wallet, or on all of them, oldest first, at most `count_max`, each with its hash.
    ///
    /// # Errors
    /// [`LogFault`] if the file cannot be read, or no longer holds what it held.
    pub fn decisions(&self, wallet: Option<WalletAddress>, count_max: usize) -> Result<Vec<Logged>, LogFault> {
        let seqs: Vec<u64> = match wallet {
            Some(wallet) => self.by_wallet.get(&wallet).cloned().unwrap_or_default(),
            None => (self.begin().length..self.head.length).collect(),
        };
        self.logged(&seqs[seqs.len().saturating_sub(count_max)..])
    }

    /// The first decisions on a wallet, or on all of them, from position `from` on, at most `count_max`, each with its
    /// hash. What was once there at a position never changes.
    ///
    /// # Errors
    /// [`LogFault`] if the file cannot be read, or no longer holds what it held.
    pub fn decisions_from(
        &self,
        wallet: Option<WalletAddress>,
        from: u64,
        count_max: usize,
    ) -> Result<Vec<Logged>, LogFault> {
        let seqs: Vec<u64> = match wallet {
            Some(wallet) => {
                let all = self.by_wallet.get(&wallet).map(Vec::as_slice).unwrap_or_default();
                let first = all.partition_point(|seq| *seq < from);
                all[first..].iter().copied().take(count_max).collect()
            }
            None => (from.max(self.begin().length)..self.head.length).take(count_max).collect(),
        };
        self.logged(&seqs)
    }

    fn logged(&self, seqs: &[u64]) -> Result<Vec<Logged>, LogFault> {
        seqs.iter()
            .filter_map(|seq| self.records.get(self.position(*seq)?))
            .map(|place| {
                let decision = Decision::decode(&self.read(*place)?);
                let decision = decision.map_err(|error| self.damaged(place.at, error.to_string()))?;
                Ok(Logged { hash: decision.hash(), decision })
            })
            .collect()
    }

    /// What the first decision here follows.
    fn begin(&self) -> LogHead {
        self.lost.unwrap_or_default()
    }

    /// Where the place of a decision stands in `records`; none of one that was lost.
    fn position(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.begin().length)?).ok()
    }

    /// Whether the log had this end once. The empty log is the beginning of each.
    ///
    /// # Errors
    /// [`LogFault::AnchorMissing`] if it did not: decisions that are on the ledger are gone or were rewritten.
    pub fn check_anchor(&self, anchor: LogHead) -> Result<(), LogFault> {
        let held = self.by_hash.get(&anchor.hash).is_some_and(|seq| seq + 1 == anchor.length);
        let is_before = anchor.length < self.begin().length;
        if held || is_before || anchor == self.begin() || self.is_to_begin() {
            return Ok(());
        }
        Err(LogFault::AnchorMissing { file: self.path.clone(), decisions: anchor.length, hash: anchor.hash })
    }

    /// Reads the whole log again from the disk: the chain, and the rules on the inputs of each decision.
    ///
    /// # Errors
    /// [`LogFault`] if the file cannot be read, or no longer holds what it held.
    pub fn verify(&self) -> Result<Verified, LogFault> {
        let decisions = self.decisions(None, usize::MAX)?;
        let plain: Vec<Decision> = decisions.into_iter().map(|logged| logged.decision).collect();
        let chain = verify_chain(&plain, self.begin());
        let failures: Vec<(u64, ReplayFailed)> =
            plain.iter().filter_map(|decision| Some((decision.seq, replay(decision).err()?))).collect();
        let failure = match (&chain, failures.first()) {
            (Err(broken), _) => Some(broken.to_string()),
            (Ok(head), _) if *head != self.head => Some("the log on the disk ends elsewhere".to_owned()),
            (Ok(_), Some((seq, failed))) => Some(format!("decision {seq}: {failed}")),
            (Ok(_), None) => None,
        };
        Ok(Verified {
            verified: failure.is_none(),
            decisions: self.head.length,
            lost: self.begin().length,
            head: self.head.hash,
            replayed: plain.len() as u64 - failures.len() as u64,
            failure,
        })
    }

    /// Takes the next decision of the file into the log.
    fn take_up(&mut self, encoded: &[u8]) -> Result<(), LogFault> {
        let decision = Decision::decode(encoded).map_err(|error| self.damaged(self.end, error.to_string()))?;
        let head = verify_chain(std::slice::from_ref(&decision), self.head);
        self.head = head.map_err(|broken| self.damaged(self.end, broken.to_string()))?;
        self.index(&decision, self.head.hash, encoded.len());
        Ok(())
    }

    /// Takes the record at the end into the indexes.
    fn index(&mut self, decision: &Decision, hash: Digest, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("a decision has at most a MiB");
        self.records.push(Place { at: self.end, bytes });
        self.by_hash.insert(hash, decision.seq);
        self.by_wallet.entry(decision.wallet).or_default().push(decision.seq);
        self.end += HEAD_BYTES as u64 + u64::from(bytes);
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, LogFault> {
        let mut record = vec![0; HEAD_BYTES + place.bytes as usize];
        self.file
            .read_exact_at(&mut record, place.at)
            .map_err(|source| LogFault::Io { file: self.path.clone(), source })?;
        let encoded = record.split_off(HEAD_BYTES);
        match record_head(&encoded) == *record {
            true => Ok(encoded),
            false => Err(self.damaged(place.at, "it changed on the disk".into())),
        }
    }

    fn damaged(&self, at: u64, reason: String) -> LogFault {
        LogFault::Damaged { file: self.path.clone(), at, reason }
    }
}

/// What the record at that byte holds, if it is there in full; none at the end or of a record that the end cuts short.
fn whole_record(bytes: &[u8], at: usize) -> Result<Option<&[u8]>, &'static str> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [length, sum, head_sum] = words(head);
    if crc32c::crc32c(&head[..8]) != head_sum {
        return Err("the checksum of its head does not match");
    }
    let Some(encoded) = rest.get(..length as usize) else { return Ok(None) };
    if crc32c::crc32c(encoded) != sum {
        return Err("its checksum does not match");
    }
    Ok(Some(encoded))
}

fn record(encoded: &[u8]) -> Vec<u8> {
    [record_head(encoded).as_slice(), encoded].concat()
}

fn record_head(encoded: &[u8]) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(encoded.len()).expect("a decision has at most a MiB");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..8].copy_from_slice(&crc32c::crc32c(encoded).to_le_bytes());
    let sum = crc32c::crc32c(&head[..8]);
    head[8..].copy_from_slice(&sum.to_le_bytes());
    head
}

fn words(head: &[u8; HEAD_BYTES]) -> [u32; 3] {
    [0, 4, 8].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]))
}

#[cfg(test)]
mod tests;
