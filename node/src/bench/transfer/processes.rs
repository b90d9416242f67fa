//! The driver's end of the two processes.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use super::{
    TransferArgs,
    orders::{Order, Spent, Word},
};
use crate::bench::{BenchFault, wrong};

/// After this a process does not do what it is there for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process, its node's address and that of its plain listener.
pub(super) struct Process {
    child: Child,
    orders: ChildStdin,
    words: Receiver<Word>,
    pub(super) peers: SocketAddr,
    pub(super) plain: SocketAddr,
}

impl Process {
    /// The process that has the pages.
    pub(super) fn source(program: &Path, args: &TransferArgs) -> Result<Self, BenchFault> {
        Self::start(Command::new(program).args(["transfer-side", "source"]), args)
    }

    /// The process that gets them, which reaches the source at `source` and keeps pages in `dir`.
    pub(super) fn receiver(
        program: &Path,
        args: &TransferArgs,
        source: SocketAddr,
        dir: &Path,
    ) -> Result<Self, BenchFault> {
        let mut command = Command::new(program);
        command.args(["transfer-side", "receiver", "--source", &source.to_string()]).arg("--dir").arg(dir);
        Self::start(&mut command, args)
    }

    fn start(command: &mut Command, args: &TransferArgs) -> Result<Self, BenchFault> {
        command.args(["--seed", &args.seed.to_string(), "--mib", &args.mib.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let orders = child.stdin.take().ok_or_else(|| io::Error::other("no standard input"))?;
        let (speak, words) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // What the command prints when it has ended is no word.
            let words = lines.filter_map(|line| serde_json::from_str(&line).ok());
            words.into_iter().try_for_each(|word| speak.send(word))
        });
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut process = Self { child, orders, words, peers: nowhere, plain: nowhere };
        let Word::Ready { peers, plain } = process.hear()? else { return Err(wrong("a process is not ready")) };
        (process.peers, process.plain) = (peers, plain);
        Ok(process)
    }

    pub(super) fn tell(&mut self, order: Order) -> Result<(), BenchFault> {
        let mut line = serde_json::to_vec(&order).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(self.orders.write_all(&line)?)
    }

    /// What it says next.
    pub(super) fn hear(&mut self) -> Result<Word, BenchFault> {
        self.words.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => wrong("a process says nothing"),
            RecvTimeoutError::Disconnected => wrong("a process has ended"),
        })
    }

    /// What it spent since its start.
    pub(super) fn spent(&mut self) -> Result<Spent, BenchFault> {
        self.tell(Order::Spent)?;
        match self.hear()? {
            Word::Spent(spent) => Ok(spent),
            word => Err(wrong(format!("a process said {word:?}"))),
        }
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(mut self) -> Result<(), BenchFault> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
