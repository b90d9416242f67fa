//! A process that runs one session at one place, until it is done, parked, or killed.
//!
//! It says what happens on its standard output, a line for each: `ready` (a moved session is held here; it goes on after a
//! line on standard input), `token POSITION TOKEN` for its client, `at POINT` (it was told to stop there, and waits to
//! be killed), `parked` (after a line on standard input it tries to go on), and one of `doubt EFFECT`, `done` and
//! `refused CODE` at the end.

use std::{
    fs,
    io::{self, Write as _, stdin, stdout},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::ValueEnum;
use gpu::{
    Model,
    continuation::{EffectId, Resolution, Value},
    stream::StreamFault,
};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{Arrival, At, Plan, Point, Session, SessionFault, Turn, World, tool::ToolLine};
use crate::session::disk::DiskFault;

/// What the process is told.
#[derive(Clone, Debug, clap::Args)]
pub struct RunnerArgs {
    /// Folder of the model
    #[arg(long)]
    pub model: PathBuf,
    /// File with the session's plan
    #[arg(long)]
    pub plan: PathBuf,
    /// Folder of this place
    #[arg(long)]
    pub place: PathBuf,
    /// Folder of the place from which the session comes
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// The epoch in which this place holds the session, or will hold it
    #[arg(long)]
    pub epoch: u32,
    /// The epoch in which the other place has parked it
    #[arg(long)]
    pub parked_in: Option<u32>,
    /// Position of the first token that the client wants
    #[arg(long)]
    pub shown: u32,
    /// Where the tool listens
    #[arg(long)]
    pub tool: PathBuf,
    /// Where to stop and wait
    #[arg(long)]
    pub stop: Option<Stop>,
    /// Park before the generated token with this index
    #[arg(long)]
    pub park_at: Option<u32>,
    /// What is decided about effects in doubt
    #[arg(long, value_enum)]
    pub resolve: Option<Decision>,
}

/// What somebody decides about effects in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// They happened.
    AssumeDone,
    /// They did not, and will not.
    Abort,
}

/// Where a process stops and waits to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At a point of an effect: `POINT:token:INDEX` or `POINT:tool:INDEX`.
    At(Point, At),
    /// After so many steps of a session's way here: `arriving:STEPS`.
    Arriving(u64),
}

/// Runs the process.
///
/// # Errors
/// Those of the session; a refusal is told on standard output instead.
pub fn run_session(args: &RunnerArgs) -> Result<(), SessionFault> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let plan: Plan = serde_json::from_slice(&fs::read(&args.plan)?).map_err(io::Error::other)?;
    let model = Arc::new(Model::load(&args.model)?);
    match session(args, &plan, &model) {
        Err(SessionFault::Disk(DiskFault::Journal(refusal))) => say(&format!("refused {}", refusal.code()))?,
        other => other?,
    }
    Ok(())
}

fn session(args: &RunnerArgs, plan: &Plan, model: &Arc<Model>) -> Result<(), SessionFault> {
    let mut world = Outside { tool: ToolLine(args.tool.clone()), stop: args.stop };
    let Some(mut session) = open(args, plan, model)? else { return Ok(()) };
    let mut park_at = args.park_at.map(|index| plan.prompt.len() + index as usize);
    loop {
        let may_move = session.may_move();
        if park_at.take_if(|length| may_move && *length == session.tokens().len()).is_some() {
            session.park()?;
            let shown = session.shown();
            drop(session);
            say("parked")?;
            // Whoever did not hear what was decided since then may try to go on.
            if !told()? {
                return Ok(());
            }
            session = Session::open(plan, model, &args.place, args.epoch, shown)?;
        }
        match session.turn(&mut world)? {
            Turn::Went => {}
            Turn::Done => return say("done"),
            Turn::InDoubt(effects) => {
                let how = match args.resolve {
                    Some(Decision::AssumeDone) => Resolution::AssumeDone(Value::Bool(true)),
                    Some(Decision::Abort) => Resolution::Abort,
                    None => {
                        let ids: Vec<String> = effects.iter().map(ToString::to_string).collect();
                        return say(&format!("doubt {}", ids.join(" ")));
                    }
                };
                effects.iter().try_for_each(|id| session.resolve(id, how.clone()))?;
            }
        }
    }
}

/// The session: as it stands here, or brought from another place. None if it is not to go on here.
fn open(args: &RunnerArgs, plan: &Plan, model: &Arc<Model>) -> Result<Option<Session>, SessionFault> {
    let (Some(from), Some(epoch)) = (&args.from, args.parked_in) else {
        return Session::open(plan, model, &args.place, args.epoch, args.shown).map(Some);
    };
    let steps = if let Some(Stop::Arriving(steps)) = args.stop { steps } else { u64::MAX };
    let arrival = match Arrival::bring(plan, model, (from, epoch), &args.place, steps) {
        Err(SessionFault::Stream(StreamFault::PeerGone { .. })) if steps < u64::MAX => {
            say("at arriving")?;
            wait_to_be_killed();
        }
        other => other?,
    };
    let session = arrival.confirm(args.shown)?;
    say("ready")?;
    Ok(told()?.then_some(session))
}

/// Waits for a line; false if there will be none.
fn told() -> io::Result<bool> {
    Ok(stdin().lines().next().transpose()?.is_some())
}

/// The world, as this process sees it.
struct Outside {
    tool: ToolLine,
    stop: Option<Stop>,
}

impl World for Outside {
    fn show(&mut self, position: u32, token: u32) -> io::Result<()> {
        line(&format!("token {position} {token}"))
    }

    fn call(&mut self, key: &EffectId, idempotent: bool, at: At) -> io::Result<()> {
        let tool = self.tool.clone();
        tool.call(key, idempotent, || self.reach(Point::InKernel, at, &mut || {}))
    }

    fn reach(&mut self, point: Point, at: At, work: &mut dyn FnMut()) -> io::Result<()> {
        if self.stop == Some(Stop::At(point, at)) {
            let name = point.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            line(&format!("at {name}"))?;
            work();
            wait_to_be_killed();
        }
        Ok(())
    }
}

fn wait_to_be_killed() -> ! {
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn say(text: &str) -> Result<(), SessionFault> {
    Ok(line(text)?)
}

fn line(text: &str) -> io::Result<()> {
    // One write: a line is there whole or not at all.
    let mut output = stdout().lock();
    output.write_all(format!("{text}\n").as_bytes())?;
    output.flush()
}

impl FromStr for Stop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        match parts.as_slice() {
            ["arriving", steps] => Ok(Self::Arriving(number(steps)?)),
            [point, "token", index] => Ok(Self::At(Point::from_str(point, false)?, At::Token(number(index)? as u32))),
            [point, "tool", index] => Ok(Self::At(Point::from_str(point, false)?, At::Tool(number(index)? as usize))),
            _ => Err("a stop is POINT:token:INDEX, POINT:tool:INDEX or arriving:STEPS".to_owned()),
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name =
            |point: &Point| point.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned());
        match self {
            Self::At(point, At::Token(index)) => write!(f, "{}:token:{index}", name(point)),
            Self::At(point, At::Tool(index)) => write!(f, "{}:tool:{index}", name(point)),
            Self::Arriving(steps) => write!(f, "arriving:{steps}"),
        }
    }
}
