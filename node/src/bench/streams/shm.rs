//! Shared memory between two processes, beside the same processes with bare buffers.

use std::{
    io::{BufRead as _, BufReader, Write as _, stdin, stdout},
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use clap::ValueEnum;
use gpu::stream::{
    Cursor, Integrity, Next, Stream as _, Wake,
    shm::{ShmOptions, ShmReader, ShmStream},
};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{
    Figures,
    pages::{BUFFERS, PAGE_BYTES, PAGES, Reader, Source, descriptor, put_with, take},
    rounds::{Rates, median, quantile, timed},
    shared::Shared,
};
use crate::{
    bench::{BenchFault, ROUNDS},
    engine::monotonic_ns,
};

/// Pages whose way to a sleeping reader is timed in one round.
const WAKES: usize = 1000;
/// Time between them: the reader has gone to sleep.
const WAKE_EVERY: Duration = Duration::from_millis(1);
/// After this something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the second process is started with.
#[derive(Debug, clap::Args)]
pub struct SideArgs {
    /// What it reads
    #[arg(value_enum)]
    side: Side,
    /// Descriptor of the shared memory
    #[arg(long)]
    memory: RawFd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Side {
    /// Pages of a stream
    Stream,
    /// Bare buffers
    Buffers,
    /// The times at which pages come
    Wakes,
}

/// The second process. It reads as many pages as there are for each line that it gets, and answers with a line.
struct SideProcess {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// The figures of shared memory.
///
/// # Errors
/// Those of the streams, and of the second process.
pub fn figures(figures: &mut Figures, source: &Source, program: &Path) -> Result<(), BenchFault> {
    let options = ShmOptions { bytes: BUFFERS * PAGE_BYTES, pages: BUFFERS };
    let stream = ShmStream::create(descriptor("shm", Integrity::None), options)?;
    let writer = stream.writer()?;
    let mut reader = {
        let memory = stream.inheritable()?;
        SideProcess::start(program, Side::Stream, memory.as_raw_fd())?
    };
    let mut through_stream = || {
        timed(|| {
            reader.tell()?;
            source.pages().try_for_each(|page| {
                put_with(&writer, page, |wake| {
                    writer.wait_blocking(wake, Some(PATIENCE));
                })
            })?;
            let all = Wake::Room(writer.state().tail);
            if !writer.wait_blocking(all, Some(PATIENCE)) {
                return Err(BenchFault::Wrong("the other process does not read".to_owned()));
            }
            Ok(())
        })
    };

    let shared = Shared::create()?;
    let mut other = SideProcess::start(program, Side::Buffers, shared.fd().as_fd().as_raw_fd())?;
    let mut through_buffers = || {
        timed(|| {
            other.tell()?;
            shared.write_all(source);
            Ok(())
        })
    };
    // Once each before it counts: then the memory is there.
    through_stream()?;
    through_buffers()?;
    let rates = Rates::measure(source.gigabytes(), through_stream, through_buffers)?;
    figures.ratio(["shm_vs_memcpy_ratio", "shm_gb_per_s", "shm_memcpy_gb_per_s"], rates);
    wakes(figures, program)
}

fn wakes(figures: &mut Figures, program: &Path) -> Result<(), BenchFault> {
    let options = ShmOptions { bytes: BUFFERS * PAGE_BYTES, pages: BUFFERS };
    let stream = ShmStream::create(descriptor("wakes", Integrity::None), options)?;
    let writer = stream.writer()?;
    let memory = stream.inheritable()?;
    let mut reader = SideProcess::start(program, Side::Wakes, memory.as_raw_fd())?;
    drop(memory);
    let mut rounds: [Vec<f64>; ROUNDS] = Default::default();
    for times in &mut rounds {
        reader.tell()?;
        for _ in 0..WAKES {
            sleep(WAKE_EVERY);
            put_with(&writer, &monotonic_ns().to_le_bytes(), |_| {})?;
        }
        times.extend(reader.line()?.split_whitespace().filter_map(|time| time.parse::<f64>().ok()));
        if times.len() != WAKES {
            return Err(BenchFault::Wrong(format!("{} of {WAKES} pages woke the reader", times.len())));
        }
    }
    for (name, share) in [("shm_wake_us", 0.5), ("shm_wake_us_p99", 0.99)] {
        figures.set(name, median(&mut rounds.each_mut().map(|times| quantile(times, share))) / 1e3);
    }
    Ok(())
}

/// Runs the second process until its first goes away.
///
/// # Errors
/// Those of the streams; [`BenchFault::Wrong`] if pages come in another order.
pub fn side(args: &SideArgs) -> Result<(), BenchFault> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    match args.side {
        Side::Stream => {
            let stream = ShmStream::open_inherited(args.memory)?.reader()?;
            let (mut cursor, mut reader) = (Cursor(0), Reader::new());
            on_lines(|| {
                take(&stream, &mut cursor, PAGES, true, &mut reader, |wake| {
                    stream.wait_blocking(wake, Some(PATIENCE));
                })?;
                Ok(String::new())
            })
        }
        Side::Buffers => {
            let (shared, mut reader) = (Shared::open(args.memory)?, Reader::new());
            on_lines(|| shared.read_all(&mut reader).map(|()| String::new()))
        }
        Side::Wakes => {
            let stream = ShmStream::open_inherited(args.memory)?.reader()?;
            let mut cursor = Cursor(0);
            on_lines(|| arrivals(&stream, &mut cursor))
        }
    }
}

/// Nanoseconds that each page of a round took to get here.
fn arrivals(stream: &ShmReader, cursor: &mut Cursor) -> Result<String, BenchFault> {
    let mut times = Vec::new();
    while times.len() < WAKES {
        match stream.next(*cursor)? {
            Next::Item(page, after) => {
                let sent = page.payload.first_chunk().map_or(0, |sent| u64::from_le_bytes(*sent));
                times.push(monotonic_ns().saturating_sub(sent).to_string());
                drop(page);
                *cursor = after;
                stream.trim(after.0)?;
            }
            Next::Blocked(wake) => {
                stream.wait_blocking(wake, Some(PATIENCE));
            }
            other => return Err(BenchFault::Wrong(format!("a read was {other:?}"))),
        }
    }
    Ok(times.join(" "))
}

/// Says that it is there, and does `work` for each line that comes.
fn on_lines(mut work: impl FnMut() -> Result<String, BenchFault>) -> Result<(), BenchFault> {
    let mut answers = stdout().lock();
    writeln!(answers, "ready")?;
    answers.flush()?;
    for line in stdin().lines() {
        line?;
        writeln!(answers, "{}", work()?)?;
        answers.flush()?;
    }
    Ok(())
}

impl SideProcess {
    fn start(program: &Path, side: Side, memory: RawFd) -> Result<Self, BenchFault> {
        let side = side.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let mut child = Command::new(program)
            .args(["bench-side", side.as_str(), "--memory", &memory.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| BenchFault::Wrong("no standard output".to_owned()))?;
        let mut process = Self { child, lines: BufReader::new(output) };
        process.line()?;
        Ok(process)
    }

    /// Tells it to go on. Its answers to these lines are not waited for.
    fn tell(&mut self) -> Result<(), BenchFault> {
        let input = self.child.stdin.as_mut().ok_or_else(|| BenchFault::Wrong("no standard input".to_owned()))?;
        input.write_all(b"go\n")?;
        Ok(())
    }

    fn line(&mut self) -> Result<String, BenchFault> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(BenchFault::Wrong("the other process has ended".to_owned()));
        }
        Ok(line)
    }
}

impl Drop for SideProcess {
    fn drop(&mut self) {
        // It holds nothing that outlives its memory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
