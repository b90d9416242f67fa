//! `batchmind ledger backup`: the final chain of a node as a file.

use std::{
    fmt,
    fs::{File, Permissions},
    io::{self, BufReader, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ledger::{
    archive::{ArchiveInvalid, ArchiveReader},
    shell::{backup::Backup, fault::Fault},
};
use reqwest::Method;
use serde::Serialize;
use tempfile::NamedTempFile;
use wallet::units::BlockHeight;

use super::{
    super::{Failure, Output, client::Client, progress::Progress},
    stopped,
};
use crate::config::LedgerConfig;

/// Writes the archive of a running node to a file.
pub(super) async fn of_running(client: &Client, out: PathBuf) -> Result<Output, Failure> {
    let mut part = Part::new(out)?;
    let mut response = client.send(client.request(Method::GET, "/ledger/v1/archive")).await?;
    loop {
        let chunk = response.chunk().await;
        let chunk =
            chunk.map_err(|error| Failure::new("N-160", "the node stopped in the midst", error.without_url()))?;
        let Some(chunk) = chunk else { break };
        part.add(&chunk)?;
    }
    super::super::apart(move || part.finish(None)).await
}

/// Writes the archive of a stopped node to a file.
pub(super) fn of_stopped(config: LedgerConfig, out: PathBuf) -> Result<Output, Failure> {
    let folder = stopped::folder(&config)?;
    let unreadable = |fault: Fault| Failure::new("N-622", fault, folder.display());
    let mut part = Part::new(out)?;
    let backup = Backup::of_stopped(&folder, Arc::new(config.consortium)).map_err(unreadable)?;
    let final_height = backup.final_height().map_err(unreadable)?;
    for piece in backup {
        part.add(&piece.map_err(unreadable)?)?;
    }
    part.finish(Some(final_height))
}

/// An archive that is not whole yet. It is gone if it is dropped.
struct Part {
    /// Of its own, so that two backups do not write into one.
    file: NamedTempFile,
    out: PathBuf,
    bytes: u64,
    progress: Progress,
}

impl Part {
    fn new(out: PathBuf) -> Result<Self, Failure> {
        if out.exists() {
            return Err(not_written(&out)(io::ErrorKind::AlreadyExists.into()));
        }
        let file = tempfile::Builder::new()
            .prefix(".batchmind-backup-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder_of(&out));
        Ok(Self { file: file.map_err(not_written(&out))?, out, bytes: 0, progress: Progress::new("MiB") })
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.file.write_all(piece).map_err(not_written(&self.out))?;
        self.bytes += piece.len() as u64;
        self.progress.at(self.bytes >> 20);
        Ok(())
    }

    /// Gives it its name, once it is whole and on the disk.
    fn finish(self, final_height: Option<BlockHeight>) -> Result<Output, Failure> {
        let Self { mut file, out, bytes, progress } = self;
        drop(progress);
        let height = check(&mut file, &out)?;
        file.as_file().sync_all().map_err(not_written(&out))?;
        file.persist_noclobber(&out).map_err(|fault| not_written(&out)(fault.error))?;
        File::open(folder_of(&out)).and_then(|folder| folder.sync_all()).map_err(not_written(&out))?;
        Ok(Output::new(&BackedUp { archive: out, bytes, height, final_height }))
    }
}

/// Whether what came is an archive, whole and undamaged: whoever stands between may end an answer too early, and make it
/// look as if that were its end. What it says is checked by who replays or restores it. Gives its height.
fn check(archive: &mut NamedTempFile, name: &Path) -> Result<BlockHeight, Failure> {
    archive.rewind().map_err(not_written(name))?;
    let read = || {
        let mut reader = ArchiveReader::of_anyone(BufReader::new(archive))?;
        let mut height = BlockHeight::ZERO;
        while let Some(next) = reader.next_block()? {
            height = next.block.header.height;
        }
        while reader.next_grounds()?.is_some() {}
        Ok(height)
    };
    read().map_err(|invalid: ArchiveInvalid| Failure::new("N-156", invalid, name.display()))
}

fn folder_of(out: &Path) -> &Path {
    out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn not_written(out: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new("N-152", error, out.display())
}

#[derive(Serialize)]
struct BackedUp {
    archive: PathBuf,
    bytes: u64,
    /// Of its last block; 0 if it has none.
    height: BlockHeight,
    /// Of a stopped node: the last block that is final in its ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    final_height: Option<BlockHeight>,
}

impl fmt::Display for BackedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { archive, bytes, height, final_height } = self;
        write!(f, "{}: {bytes} bytes, up to height {height}", archive.display())?;
        match final_height {
            None => Ok(()),
            Some(last) if last == height => write!(f, "\nthe last final block of this node"),
            Some(last) => write!(
                f,
                "\nwarning: final at this node up to height {last}, by the certificate of a later block which it has not: see\n\
                 docs/errors/N-182.md before you begin anew"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_says_where_its_node_is_above_it() {
        let backed_up = |height, final_height: Option<u64>| {
            let (height, final_height) = (BlockHeight::new(height), final_height.map(BlockHeight::new));
            BackedUp { archive: "a".into(), bytes: 1, height, final_height }.to_string()
        };
        assert!(backed_up(7, Some(9)).contains("final at this node up to height 9"));
        assert!(!backed_up(9, Some(9)).contains("warning") && !backed_up(9, None).contains("warning"));
    }
}
