//! The stream on disk, beside plain files with the same bytes that are synced as often.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use gpu::stream::{Cursor, Integrity, SegmentOptions, SegmentStream, StreamWriter as _};
use rustix::fs::{Advice, fadvise, statfs};
use wallet::chain::RestKey;

use super::{
    Figures,
    pages::{PAGE_BYTES, PAGES, Reader, Source, descriptor, put, take},
    rounds::{Rates, median, timed},
};
use crate::bench::{BenchFault, ROUNDS};

/// Pages between two syncs: 16 MiB.
const SYNC_EVERY: usize = 256;
/// Pages in a plain file, as in a segment: 64 MiB.
const FILE_PAGES: usize = 1024;
/// How much of a plain file is read at once.
const READ_BYTES: usize = 1 << 20;
/// As often as the stream does, the system is asked to begin writing, and as far ahead to read: so that the plain files
/// show what the disk gives to whoever asks it well.
const BEHIND_PAGES: usize = (1 << 20) / PAGE_BYTES;
const AHEAD_BYTES: u64 = 4 << 20;
/// The system reads no larger steps ahead.
const AHEAD_STEP_BYTES: u64 = 256 << 10;
/// What `statfs` says of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// Rates of all rounds, for one way of keeping the bytes.
#[derive(Default)]
struct Rounds {
    written: Vec<f64>,
    read: Vec<f64>,
    /// The smallest share of what was read that came from the disk.
    cold: Option<f64>,
}

/// The figures of streams on disk. What is written goes under `dir` and is removed again.
///
/// # Errors
/// Those of the streams and of the file system; [`BenchFault::Wrong`] if `dir` is in memory.
pub fn figures(figures: &mut Figures, source: &Source, dir: &Path) -> Result<(), BenchFault> {
    #[expect(clippy::useless_conversion, reason = "its width depends on the machine")]
    if i64::from(statfs(dir)?.f_type) == TMPFS {
        return Err(BenchFault::Wrong(format!("{} is in memory, not on a disk", dir.display())));
    }
    let [mut plain, mut open, mut sealed] = [(); 3].map(|()| Rounds::default());
    for round in 0..ROUNDS {
        let folder = tempfile::Builder::new().prefix("stream-bench-").tempdir_in(dir)?;
        let path = |name| folder.path().join(name);
        let key = RestKey::from_bytes([round as u8; 32]);
        let streams = [(&mut open, "open", None), (&mut sealed, "sealed", Some(key))].map(|(rounds, name, seal)| {
            let options = SegmentOptions { seal, ..SegmentOptions::default() };
            SegmentStream::open(&path(name), descriptor(name, Integrity::Plain), options).map(|stream| (rounds, stream))
        });
        let [(open, open_stream), (sealed, sealed_stream)] = {
            let [open, sealed] = streams;
            [open?, sealed?]
        };
        fs::create_dir(path("plain"))?;
        let amount = source.gigabytes();
        // Another one is first in each round.
        let order = [round % 3, (round + 1) % 3, (round + 2) % 3];
        for way in order {
            let (rounds, took) = match way {
                0 => (&mut *open, timed(|| write(&open_stream, source))?),
                1 => (&mut plain, timed(|| write_plain(&path("plain"), source))?),
                _ => (&mut *sealed, timed(|| write(&sealed_stream, source))?),
            };
            rounds.written.push(amount / took.as_secs_f64());
        }
        for way in order {
            match way {
                0 => open.reads(amount, &path("open"), || read(&open_stream))?,
                1 => plain.reads(amount, &path("plain"), || read_plain(&path("plain")))?,
                _ => sealed.reads(amount, &path("sealed"), || read(&sealed_stream))?,
            }
        }
    }
    let rates = |ours: &mut Vec<f64>, theirs: &mut Vec<f64>| Rates { measured: median(ours), limit: median(theirs) };
    let written = rates(&mut open.written, &mut plain.written);
    let read = rates(&mut open.read, &mut plain.read);
    figures.ratio(["persistent_write_vs_disk_ratio", "persistent_write_gb_per_s", "disk_write_gb_per_s"], written);
    figures.ratio(["persistent_read_vs_disk_ratio", "persistent_read_gb_per_s", "disk_read_gb_per_s"], read);
    let sealed = [&mut sealed.written, &mut sealed.read].map(|rates| median(rates));
    figures.set("persistent_sealed_write_gb_per_s", sealed[0]);
    figures.set("persistent_sealed_read_gb_per_s", sealed[1]);
    figures.set("persistent_sealed_write_vs_disk_ratio", sealed[0] / written.limit);
    figures.set("persistent_sealed_read_vs_disk_ratio", sealed[1] / read.limit);
    let cold = [open.cold, plain.cold].map(Option::unwrap_or_default);
    figures.set("persistent_read_from_disk_share", cold[0]);
    figures.set("disk_read_from_disk_share", cold[1]);
    Ok(())
}

impl Rounds {
    fn reads(
        &mut self,
        amount: f64,
        folder: &Path,
        work: impl FnOnce() -> Result<(), BenchFault>,
    ) -> Result<(), BenchFault> {
        forget(folder)?;
        let before = read_from_disk();
        let took: Duration = timed(work)?;
        self.read.push(amount / took.as_secs_f64());
        let share = (read_from_disk() - before) / (amount * 1e9);
        self.cold = Some(self.cold.map_or(share, |cold| cold.min(share)));
        Ok(())
    }
}

fn write(stream: &SegmentStream, source: &Source) -> Result<(), BenchFault> {
    for (number, page) in (1..).zip(source.pages()) {
        put(stream, page)?;
        if number % SYNC_EVERY == 0 {
            stream.sync()?;
        }
    }
    stream.sync()?;
    Ok(())
}

fn read(stream: &SegmentStream) -> Result<(), BenchFault> {
    // Not trimmed: that would remove files.
    take(stream, &mut Cursor(0), PAGES, false, &mut Reader::new(), |_| {})
}

fn write_plain(folder: &Path, source: &Source) -> Result<(), BenchFault> {
    let pages: Vec<&[u8]> = source.pages().collect();
    for (number, pages) in pages.chunks(FILE_PAGES).enumerate() {
        let mut file = File::create(folder.join(number.to_string()))?;
        for (number, page) in (1..).zip(pages) {
            file.write_all(page)?;
            if number % SYNC_EVERY == 0 {
                file.sync_data()?;
            } else if number % BEHIND_PAGES == 0 {
                let behind = NonZeroU64::new((BEHIND_PAGES * PAGE_BYTES) as u64);
                fadvise(&file, ((number - BEHIND_PAGES) * PAGE_BYTES) as u64, behind, Advice::DontNeed)?;
            }
        }
    }
    Ok(())
}

fn read_plain(folder: &Path) -> Result<(), BenchFault> {
    let (mut buffer, mut reader) = (vec![0; READ_BYTES], Reader::new());
    for number in 0..PAGES.div_ceil(FILE_PAGES) {
        let mut file = File::open(folder.join(number.to_string()))?;
        let (bytes, mut ahead) = ((FILE_PAGES * PAGE_BYTES) as u64, 0);
        for at in (0..bytes).step_by(READ_BYTES) {
            while ahead < bytes.min(at + READ_BYTES as u64 + AHEAD_BYTES) {
                fadvise(&file, ahead, NonZeroU64::new(AHEAD_STEP_BYTES), Advice::WillNeed)?;
                ahead += AHEAD_STEP_BYTES;
            }
            file.read_exact(&mut buffer)?;
            for page in buffer.chunks_exact(PAGE_BYTES) {
                reader.copy().copy_from_slice(page);
                reader.check()?;
            }
        }
    }
    Ok(())
}

/// Makes the system forget what it keeps in memory of these files, which are synced.
fn forget(folder: &Path) -> Result<(), BenchFault> {
    for file in files(folder)? {
        let file = File::open(file)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, BenchFault> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Bytes that this process had read from disks, rather than from memory; as the system counts.
fn read_from_disk() -> f64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|count| count.parse().ok()).unwrap_or_default()
}
