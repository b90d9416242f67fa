//! The stream on disk, beside plain files with the same bytes that are synced as often.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use gpu::stream::{Cursor, Integrity, SegmentOptions, SegmentStream, StreamWriter as _};
use rustix::fs::{Advice, fadvise, statfs};
use wallet::{chain::RestKey, digest::Digest, page::payload_hash};

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

/// The ways of keeping the bytes.
const WAYS: [&str; 4] = ["open", "sealed", "plain", "hashed"];

/// One of them, in one round.
enum Way {
    Stream(Box<SegmentStream>),
    /// Plain files; with the hash of each page, in memory, or without.
    Files(PathBuf, Option<Vec<Digest>>),
}

/// Rates of all rounds, for one way.
#[derive(Default)]
struct Rounds {
    written: Vec<f64>,
    read: Vec<f64>,
    /// The smallest share of what was read that came from the disk.
    cold: f64,
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
    let mut rounds = WAYS.map(|_| Rounds { cold: 1.0, ..Rounds::default() });
    // One round before those that count, so that memory is there.
    for round in 0..=ROUNDS {
        let folder = tempfile::Builder::new().prefix("stream-bench-").tempdir_in(dir)?;
        let mut ways = Vec::new();
        for name in WAYS {
            ways.push(Way::begin(name, folder.path().join(name))?);
        }
        // Another one is first in each round.
        let order: Vec<usize> = (0..WAYS.len()).map(|turn| (round + turn) % WAYS.len()).collect();
        for way in &order {
            let took = timed(|| ways[*way].write(source))?;
            // What was written leaves memory, so that whoever comes next finds as much of it, and none of its bytes.
            forget(ways[*way].folder())?;
            if round > 0 {
                rounds[*way].written.push(source.gigabytes() / took.as_secs_f64());
            }
        }
        for way in &order {
            let before = read_from_disk();
            let took = timed(|| ways[*way].read())?;
            let cold = (read_from_disk() - before) / (source.gigabytes() * 1e9);
            forget(ways[*way].folder())?;
            if round > 0 {
                rounds[*way].read.push(source.gigabytes() / took.as_secs_f64());
                rounds[*way].cold = rounds[*way].cold.min(cold);
            }
        }
    }
    let [open, sealed, plain, hashed] = rounds.map(|mut rounds| Medians::of(&mut rounds));
    let rates = |measured, limit| Rates { measured, limit };
    let (written, read) = (rates(open.written, plain.written), rates(open.read, plain.read));
    figures.ratio(["persistent_write_vs_disk_ratio", "persistent_write_gb_per_s", "disk_write_gb_per_s"], written);
    figures.ratio(["persistent_read_vs_disk_ratio", "persistent_read_gb_per_s", "disk_read_gb_per_s"], read);
    for (name, value) in [
        ("disk_hashed_write_gb_per_s", hashed.written),
        ("disk_hashed_read_gb_per_s", hashed.read),
        ("disk_hashed_write_vs_disk_ratio", hashed.written / plain.written),
        ("disk_hashed_read_vs_disk_ratio", hashed.read / plain.read),
        ("persistent_sealed_write_gb_per_s", sealed.written),
        ("persistent_sealed_read_gb_per_s", sealed.read),
        ("persistent_sealed_write_vs_disk_ratio", sealed.written / plain.written),
        ("persistent_sealed_read_vs_disk_ratio", sealed.read / plain.read),
        ("persistent_read_from_disk_share", open.cold),
        ("disk_read_from_disk_share", plain.cold),
    ] {
        figures.set(name, value);
    }
    Ok(())
}

/// The middle ones of [`Rounds`].
struct Medians {
    written: f64,
    read: f64,
    cold: f64,
}

impl Medians {
    fn of(rounds: &mut Rounds) -> Self {
        Self { written: median(&mut rounds.written), read: median(&mut rounds.read), cold: rounds.cold }
    }
}

impl Way {
    fn begin(name: &str, folder: PathBuf) -> Result<Self, BenchFault> {
        let stream = |seal| {
            let options = SegmentOptions { seal, ..SegmentOptions::default() };
            SegmentStream::open(&folder, descriptor(name, Integrity::Plain), options)
                .map(|stream| Self::Stream(Box::new(stream)))
        };
        match name {
            "open" => return Ok(stream(None)?),
            "sealed" => return Ok(stream(Some(RestKey::from_bytes([7; 32])))?),
            _ => fs::create_dir(&folder)?,
        }
        Ok(Self::Files(folder, (name == "hashed").then(Vec::new)))
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Stream(stream) => stream.folder(),
            Self::Files(folder, _) => folder,
        }
    }

    fn write(&mut self, source: &Source) -> Result<(), BenchFault> {
        match self {
            Self::Stream(stream) => write(stream, source),
            Self::Files(folder, hashes) => write_files(folder, source, hashes.as_mut()),
        }
    }

    fn read(&self) -> Result<(), BenchFault> {
        match self {
            // Not trimmed: that would remove files.
            Self::Stream(stream) => take(&**stream, &mut Cursor(0), PAGES, false, &mut Reader::new(), |_| {}),
            Self::Files(folder, hashes) => read_files(folder, hashes.as_deref()),
        }
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

fn write_files(folder: &Path, source: &Source, mut hashes: Option<&mut Vec<Digest>>) -> Result<(), BenchFault> {
    let pages: Vec<&[u8]> = source.pages().collect();
    for (number, pages) in pages.chunks(FILE_PAGES).enumerate() {
        let mut file = File::create(folder.join(number.to_string()))?;
        for (number, page) in (1..).zip(pages) {
            if let Some(hashes) = &mut hashes {
                hashes.push(payload_hash(page, None));
            }
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

fn read_files(folder: &Path, hashes: Option<&[Digest]>) -> Result<(), BenchFault> {
    let (mut buffer, mut reader) = (vec![0; READ_BYTES], Reader::new());
    let mut hashes = hashes.map(|hashes| hashes.iter());
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
                if let Some(hashes) = &mut hashes
                    && hashes.next() != Some(&payload_hash(page, None))
                {
                    return Err(BenchFault::Wrong("a plain file holds another page than was written".to_owned()));
                }
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
