//! The other end of a [`runner`](super::runner): starts it, hears it, kills it.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum as _;
use tempfile::TempDir;

use super::{Client, Decision, Plan, SessionFault, Stop, Tool};

/// After this a process does not do what it is there for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session, its client, its tool, and folders for the places at which it may be.
pub struct Scene {
    program: PathBuf,
    model: PathBuf,
    folder: TempDir,
    /// The session.
    pub plan: Plan,
    /// Its client.
    pub client: Client,
    /// Its tools.
    pub tool: Tool,
}

/// What a process is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Orders {
    /// The place at which it runs.
    pub place: usize,
    /// The epoch in which the place holds the session.
    pub epoch: u32,
    /// The place that has parked the session, and the epoch in which it did.
    pub from: Option<(usize, u32)>,
    /// Where it stops, to be killed.
    pub stop: Option<Stop>,
    /// Before which generated token it parks.
    pub park_at: Option<u32>,
    /// What it does about effects in doubt.
    pub resolve: Option<Decision>,
}

/// What a process said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The session has arrived; it goes on when it is told to.
    Ready,
    /// It is at the point at which it was to stop.
    AtStop,
    /// Effects are in doubt.
    Doubt(Vec<String>),
    /// It has parked the session; it tries to go on when it is told to.
    Parked,
    /// The session is at its end.
    Done,
    /// It was refused, with this code.
    Refused(String),
    /// Nothing more comes.
    Gone,
    /// Nothing came until the deadline.
    Late,
}

/// A process.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Scene {
    /// A scene under `dir`. `expected` are all tokens of the undisturbed session.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(program: &Path, model: &Path, dir: &Path, plan: Plan, expected: Vec<u32>) -> Result<Self, SessionFault> {
        let folder = tempfile::Builder::new().prefix("sessions-").tempdir_in(dir)?;
        let client = Client::new(expected, plan.prompt.len() as u32);
        let tool = Tool::default();
        fs::write(folder.path().join("plan"), serde_json::to_vec(&plan).map_err(io::Error::other)?)?;
        let scene = Self { program: program.to_owned(), model: model.to_owned(), folder, plan, client, tool };
        scene.tool.listen(&scene.path("tool"))?;
        Ok(scene)
    }

    /// Starts a process.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(&self, orders: &Orders) -> Result<Running, SessionFault> {
        let mut command = Command::new(&self.program);
        command.arg("session-runner").arg("--model").arg(&self.model).arg("--plan").arg(self.path("plan"));
        command.arg("--tool").arg(self.path("tool")).arg("--place").arg(self.place(orders.place));
        command.args(["--epoch", &orders.epoch.to_string(), "--shown", &self.client.cursor().to_string()]);
        if let Some((from, epoch)) = orders.from {
            command.arg("--from").arg(self.place(from)).args(["--parked-in", &epoch.to_string()]);
        }
        if let Some(stop) = orders.stop {
            command.args(["--stop", &stop.to_string()]);
        }
        if let Some(index) = orders.park_at {
            command.args(["--park-at", &index.to_string()]);
        }
        if let Some(decision) = orders.resolve.and_then(|decision| decision.to_possible_value()) {
            command.args(["--resolve", decision.get_name()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Running { child, lines })
    }

    /// Starts a process and hears what comes of it; it is killed when it stops where it was to stop.
    ///
    /// # Errors
    /// Those of the system; [`SessionFault::Wrong`] if nothing is heard for a minute.
    pub fn run(&mut self, orders: &Orders) -> Result<Heard, SessionFault> {
        let mut running = self.start(orders)?;
        match running.hear(&mut self.client, PATIENCE)? {
            Heard::AtStop => {
                running.kill(Some(&mut self.client))?;
                Ok(Heard::AtStop)
            }
            Heard::Late => Err(SessionFault::Wrong("a process says nothing".to_owned())),
            heard => Ok(heard),
        }
    }

    /// Where a place is.
    pub fn place(&self, place: usize) -> PathBuf {
        self.path(&format!("place-{place}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Running {
    /// Hears what comes next, but for tokens: the client takes those.
    ///
    /// # Errors
    /// [`SessionFault::Wrong`] if it makes no sense.
    pub fn hear(&mut self, client: &mut Client, patience: Duration) -> Result<Heard, SessionFault> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(heard) = Heard::of(&line, client)? {
                        return Ok(heard);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Heard::Late),
                Err(RecvTimeoutError::Disconnected) => return Ok(Heard::Gone),
            }
        }
    }

    /// Tells it to go on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn tell(&mut self) -> Result<(), SessionFault> {
        let input = self.child.stdin.as_mut().ok_or_else(|| io::Error::other("no standard input"))?;
        Ok(input.write_all(b"go\n")?)
    }

    /// Kills it with SIGKILL. Tokens that are still on their way reach `client`, or nobody.
    ///
    /// # Errors
    /// Those of the system.
    pub fn kill(mut self, client: Option<&mut Client>) -> Result<(), SessionFault> {
        self.child.kill()?;
        self.child.wait()?;
        if let Some(client) = client {
            for line in self.lines.iter() {
                Heard::of(&line, client)?;
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    fn of(line: &str, client: &mut Client) -> Result<Option<Self>, SessionFault> {
        let words: Vec<&str> = line.split(' ').collect();
        Ok(Some(match words.as_slice() {
            ["token", position, token] => {
                let number = |text: &str| text.parse::<u32>().map_err(|_| SessionFault::Wrong(line.to_owned()));
                client.take(number(position)?, number(token)?);
                return Ok(None);
            }
            ["ready"] => Self::Ready,
            ["at", _] => Self::AtStop,
            ["doubt", effects @ ..] => Self::Doubt(effects.iter().map(|effect| (*effect).to_owned()).collect()),
            ["parked"] => Self::Parked,
            ["done"] => Self::Done,
            ["refused", code] => Self::Refused((*code).to_owned()),
            // What the command prints when it has ended.
            [""] => return Ok(None),
            _ => return Err(SessionFault::Wrong(format!("a process said: {line}"))),
        }))
    }
}
