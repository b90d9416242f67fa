//! A log that was lost. Its operator says so ([`give_up`]), and the log goes on after the last end of it that is anchored:
//! what was decided until then stands by the ledger, and can be shown by those who kept it.
//!
//! Such a file begins with a record of that end, which is shorter than any decision. Which anchor is the last one a
//! restored ledger learns only from the others. So as long as nothing is decided, the beginning moves on with the anchors.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use scheduler::decision::LogHead;
use wallet::codec;

use super::{DecisionFile, LogFault, record};

/// What became of a log that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// After which decision it goes on, as far as the ledger here knows yet.
    pub after: LogHead,
    /// Where the old file is kept; none if it had no decision.
    pub kept: Option<PathBuf>,
}

/// Gives up the log at `path`: it goes on after `anchor`. The old file is moved aside. None if nothing is lost: then
/// nothing is done.
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
    let log = DecisionFile::go_on_after(path, anchor)?;
    Ok(Some(GivenUp { after: log.head, kept }))
}

impl DecisionFile {
    /// Holds the log against the last anchor. Where it is to begin after a lost one, and this is a later anchor than was
    /// known, it begins after that.
    ///
    /// # Errors
    /// [`LogFault::AnchorMissing`] as [`Self::check_anchor`], [`LogFault::Io`] where a beginning cannot be written.
    pub fn settle(&mut self, anchor: LogHead) -> Result<(), LogFault> {
        if self.is_to_begin() && anchor.length > self.head.length {
            *self = Self::go_on_after(&self.path, anchor)?;
        }
        self.check_anchor(anchor)
    }

    /// Whether a log was given up, and nothing was decided since.
    pub const fn is_to_begin(&self) -> bool {
        self.lost.is_some() && self.records.is_empty()
    }

    /// The log after a lost one that ended with `end`, in place of what stands at `path`.
    fn go_on_after(path: &Path, end: LogHead) -> Result<Self, LogFault> {
        let begun = path.with_extension("begun");
        let write = || {
            let mut file = File::create(&begun)?;
            file.write_all(&record(&codec::encode(&end)))?;
            file.sync_all()?;
            fs::rename(&begun, path)
        };
        write().map_err(io(path))?;
        tracing::warn!(decisions = end.length, hash = %end.hash, "the decision log goes on after one that was lost");
        Self::open(path)
    }
}

/// Gives the file a name that none had before.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |number: u32| {
        let mut name = OsString::from(path);
        name.push(format!(".lost-{number}"));
        PathBuf::from(name)
    };
    let kept = (1..).map(named).find(|kept| !kept.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(path, &kept)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(kept)
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> LogFault {
    move |source| LogFault::Io { file: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
