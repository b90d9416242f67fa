//! A log that was lost. Its operator says so ([`give_up`]), and the log goes on after the last end of it that is anchored:
//! what was decided until then stands by the ledger, and can be shown by those who kept it. What followed it stands in the
//! files that were moved aside, and is taken from there as far as it is undamaged and without a gap.
//!
//! Such a file begins with a record of that end, which is shorter than any decision. Which anchor is the last one a
//! restored ledger learns only from the others. So as long as nothing is decided, the beginning moves on with the anchors.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use scheduler::decision::{Decision, LogHead, verify_chain};
use wallet::{codec, digest::Digest};

use super::{DecisionFile, HEAD_BYTES, LogFault, record, whole_record};

/// What became of a log that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// After which decision it goes on, as far as the ledger here knows yet.
    pub after: LogHead,
    /// How many decisions after that were found in the files that were moved aside. They are in the new log.
    pub found: u64,
    /// Where the old file is kept; none if it had no decision.
    pub kept: Option<PathBuf>,
}

/// Gives up the log at `path`: it goes on after `anchor`, with what follows that in the files that are moved aside, now or
/// before. None if nothing is lost: then nothing is done.
///
/// # Errors
/// [`LogFault::Io`]; it can be done again then.
pub fn give_up(path: &Path, anchor: LogHead) -> Result<Option<GivenUp>, LogFault> {
    let kept = match DecisionFile::open(path) {
        Ok(log) if log.records.is_empty() => None,
        Ok(log) if log.check_anchor(anchor).is_ok() => return Ok(None),
        Ok(_) | Err(LogFault::Damaged { .. }) => Some(move_aside(path).map_err(io(path))?),
        Err(fault) => return Err(fault),
    };
    let followers = followers(path).map_err(io(path))?;
    let log = DecisionFile::go_on_after(path, anchor, &followers)?;
    Ok(Some(GivenUp { after: anchor, found: log.records.len() as u64, kept }))
}

impl DecisionFile {
    /// Holds the log against the last anchor. Where it is to begin after a lost one, and this is a later anchor than was
    /// known, it begins after that, with what follows that in the files that were moved aside.
    ///
    /// # Errors
    /// [`LogFault::AnchorMissing`] as [`Self::check_anchor`], [`LogFault::Io`] where a beginning cannot be written.
    pub fn settle(&mut self, anchor: LogHead) -> Result<(), LogFault> {
        if self.is_to_begin() && anchor.length > self.head.length {
            let followers = followers(&self.path).map_err(io(&self.path))?;
            *self = Self::go_on_after(&self.path, anchor, &followers)?;
        }
        self.check_anchor(anchor)
    }

    /// Whether a log was given up, and nothing was decided since.
    pub const fn is_to_begin(&self) -> bool {
        self.lost.is_some() && self.records.is_empty()
    }

    /// The log after a lost one that ended with `end`, in place of what stands at `path`, with those of `followers` that
    /// follow it without a gap.
    fn go_on_after(path: &Path, end: LogHead, followers: &Followers) -> Result<Self, LogFault> {
        let begun = path.with_extension("begun");
        let write = || {
            let mut file = File::create(&begun)?;
            file.write_all(&record(&codec::encode(&end)))?;
            let mut head = end;
            while let Some(next) = followers.get(&(head.length, head.hash))
                && let Ok(end) = verify_chain(std::slice::from_ref(next), head)
            {
                file.write_all(&record(&next.encode()))?;
                head = end;
            }
            file.sync_all()?;
            fs::rename(&begun, path)
        };
        write().map_err(io(path))?;
        tracing::warn!(decisions = end.length, hash = %end.hash, "the decision log goes on after one that was lost");
        Self::open(path)
    }
}

/// Decisions by what they follow: length and hash of the log before them.
type Followers = HashMap<(u64, Digest), Decision>;

/// The undamaged decisions in all files that were moved aside. Where two follow the same one, that of the later file.
fn followers(path: &Path) -> io::Result<Followers> {
    let mut followers = Followers::new();
    for kept in lost_files(path).take_while(|kept| kept.exists()) {
        let bytes = fs::read(kept)?;
        let mut at = 0;
        while at < bytes.len() {
            // A damaged head does not say where its record ends: the next one may begin at each byte.
            let Ok(Some(encoded)) = whole_record(&bytes, at) else {
                at += 1;
                continue;
            };
            at += HEAD_BYTES + encoded.len();
            if let Ok(decision) = Decision::decode(encoded) {
                followers.insert((decision.seq, decision.previous), decision);
            }
        }
    }
    Ok(followers)
}

/// The names that are given to lost files, in turn.
fn lost_files(path: &Path) -> impl Iterator<Item = PathBuf> {
    (1_u32..).map(move |number| {
        let mut name = OsString::from(path);
        name.push(format!(".lost-{number}"));
        PathBuf::from(name)
    })
}

/// Gives the file a name that none had before.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let kept = lost_files(path).find(|kept| !kept.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(path, &kept)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(kept)
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> LogFault {
    move |source| LogFault::Io { file: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
