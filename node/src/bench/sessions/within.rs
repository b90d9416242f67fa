//! Sessions that are cut off at random points within this process: thousands in a minute.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gpu::{
    Engine, Model,
    continuation::{ContinuationRefusal, EffectId, Resolution, Value},
    stream::StreamFault,
};

use super::{
    Arrival, At, Chance, Client, Plan, Point, Session, SessionFault, Tally, Tool, Turn, World, plan, tally::Doubts,
};
use crate::session::disk::DiskFault;

/// Tokens of each session.
const TOKENS: u32 = 64;
/// Places between which a session moves.
const PLACES: u64 = 3;
/// Drives sessions until there were `points` points. Files go under `dir`.
///
/// # Panics
/// Outside a tokio runtime: journals are synced beside the sessions.
///
/// # Errors
/// Those of sessions; what a client or a tool finds is in the tally.
pub fn cut_within(model: &Arc<Model>, seed: u64, points: u64, dir: &Path) -> Result<Tally, SessionFault> {
    let (mut tally, mut number) = (Tally::default(), 0);
    while tally.points < points {
        let plan = Plan::random(seed, number, TOKENS, model);
        let named = |fault| SessionFault::Wrong(format!("seed {seed}, session {number}: {fault}"));
        let mut drive = Drive::begin(model, plan, Chance::new(seed, 1_000_000 + number), dir).map_err(named)?;
        drive.run_to_the_end(&mut tally).map_err(named)?;
        number += 1;
    }
    Ok(tally)
}

/// One session that is driven.
struct Drive<'a> {
    model: &'a Arc<Model>,
    plan: Plan,
    chance: Chance,
    folder: tempfile::TempDir,
    holder: u64,
    epoch: u32,
    inside: Inside,
    session: Option<Session>,
}

/// The world, in this process.
struct Inside {
    client: Client,
    tool: Tool,
    doubts: Doubts,
    plan: Plan,
    cut: Option<Cut>,
    is_cut: bool,
}

/// Where it is to be cut off.
struct Cut {
    point: Point,
    /// Of a tool's effect, and no token's.
    of_tool: bool,
    /// So often it gets past the point.
    left: u64,
}

impl<'a> Drive<'a> {
    fn begin(model: &'a Arc<Model>, plan: Plan, chance: Chance, dir: &Path) -> Result<Self, SessionFault> {
        let expected = plan.undisturbed(&mut Engine::new(model.clone(), plan::ENGINE))?;
        let client = Client::new(expected, plan.prompt.len() as u32);
        let folder = tempfile::Builder::new().prefix("sessions-").tempdir_in(dir)?;
        let (tool, doubts) = (Tool::default(), Doubts::default());
        let inside = Inside { client, tool, doubts, plan: plan.clone(), cut: None, is_cut: false };
        let mut drive = Self { model, plan, chance, folder, holder: 0, epoch: 0, inside, session: None };
        drive.take_up()?;
        Ok(drive)
    }

    fn run_to_the_end(&mut self, tally: &mut Tally) -> Result<(), SessionFault> {
        loop {
            let done = match self.chance.below(8) {
                0..4 => self.suspend(tally)?,
                4 | 5 => self.migrate(tally)?,
                _ => self.kill(tally)?,
            };
            if done {
                return tally.end(&self.plan, &self.inside.client, &self.inside.tool, &self.inside.doubts);
            }
        }
    }

    /// Goes on for some effects; true at the end.
    fn go_on(&mut self) -> Result<bool, SessionFault> {
        for _ in 0..1 + self.chance.below(14) {
            match running(&mut self.session)?.turn(&mut self.inside)? {
                Turn::Went => {}
                Turn::Done => return Ok(true),
                Turn::InDoubt(effects) => {
                    effects.iter().for_each(|effect| self.inside.doubts.surface(effect.to_string()));
                    // It may be suspended or moved before somebody decides.
                    if self.chance.percent(30) {
                        break;
                    }
                    self.decide(&effects)?;
                }
            }
        }
        Ok(false)
    }

    fn decide(&mut self, effects: &[EffectId]) -> Result<(), SessionFault> {
        for effect in effects {
            let done = self.inside.tool.count(effect) > 0;
            let how = if done { Resolution::AssumeDone(Value::Bool(true)) } else { Resolution::Abort };
            running(&mut self.session)?.resolve(effect, how)?;
        }
        Ok(())
    }

    /// Suspends it between two tokens: in its engine, or out of it, with or without the pages that it had.
    fn suspend(&mut self, tally: &mut Tally) -> Result<bool, SessionFault> {
        if self.go_on()? {
            return Ok(true);
        }
        (tally.points, tally.suspends) = (tally.points + 1, tally.suspends + 1);
        let session = running(&mut self.session)?;
        session.park()?;
        match self.chance.below(4) {
            0 => self.take_up()?,
            1 => {
                // All its pages are lost here, which is no more than a cache miss.
                session.drop_pages()?;
                self.take_up()?;
            }
            2 => {
                session.drop_pages()?;
                session.go_on()?;
            }
            _ => session.go_on()?,
        }
        Ok(false)
    }

    /// Moves it. On the way may break, and whoever it goes to may never answer.
    fn migrate(&mut self, tally: &mut Tally) -> Result<bool, SessionFault> {
        if self.go_on()? {
            return Ok(true);
        }
        let mut session = self.session.take().ok_or_else(nobody)?;
        let is_in_doubt = !session.in_doubt().is_empty();
        if !is_in_doubt && !session.may_move() {
            // It is at its end, which it has not told yet.
            self.session = Some(session);
            return Ok(false);
        }
        (tally.points, tally.moves) = (tally.points + 1, tally.moves + 1);
        session.park()?;
        drop(session);
        let target = (self.holder + 1 + self.chance.below(PLACES - 1)) % PLACES;
        if self.chance.percent(30) {
            let steps = self.chance.below(60);
            match self.bring(target, steps) {
                Err(SessionFault::Stream(StreamFault::PeerGone { .. })) => {
                    if self.chance.percent(50) {
                        // Nothing has happened: it goes on where it was, in the same epoch.
                        self.take_up()?;
                        return Ok(false);
                    }
                }
                Err(fault) if is_in_doubt && fault.is_of_doubt() => {}
                Err(fault) => return Err(fault),
                // It had no more than that.
                Ok(arrival) => drop(arrival),
            }
        }
        let arrival = match self.bring(target, u64::MAX) {
            Err(fault) if is_in_doubt && fault.is_of_doubt() => {
                // Somebody has to decide first.
                self.take_up()?;
                return Ok(false);
            }
            Ok(_) if is_in_doubt => return Err(SessionFault::Wrong("a session in doubt has moved".to_owned())),
            arrival => arrival?,
        };
        if self.chance.percent(10) {
            // It is there, and never says so: it goes on where it was, in the same epoch.
            drop(arrival);
            self.take_up()?;
            return Ok(false);
        }
        let (source, stale) = (self.holder, self.epoch);
        (self.holder, self.epoch) = (target, self.epoch + 1);
        self.session = Some(arrival.confirm(self.inside.client.cursor())?);
        if self.chance.percent(25) {
            // Who did not hear of it cannot go on.
            match Session::open(&self.plan, self.model, &self.place(source), stale, 0) {
                Err(SessionFault::Disk(DiskFault::Journal(ContinuationRefusal::Fenced { .. }))) => tally.fenced += 1,
                Err(fault) => return Err(fault),
                Ok(_) => return Err(SessionFault::Wrong("the old holder went on".to_owned())),
            }
        }
        Ok(false)
    }

    /// Cuts it off at a point, and takes up what is on the disk.
    fn kill(&mut self, tally: &mut Tally) -> Result<bool, SessionFault> {
        let point = Point::ALL[self.chance.below(Point::ALL.len() as u64) as usize];
        let waits_for_tool = !matches!(point, Point::BeforeEmit | Point::BeforeAck) && self.chance.percent(20);
        let left = if waits_for_tool { 0 } else { self.chance.below(10) };
        self.inside.cut = Some(Cut { point, of_tool: waits_for_tool, left });
        loop {
            let turned = running(&mut self.session)?.turn(&mut self.inside);
            if self.inside.is_cut {
                break;
            }
            match turned? {
                Turn::Went => {}
                Turn::Done => {
                    return Ok(true);
                }
                Turn::InDoubt(effects) => {
                    effects.iter().for_each(|effect| self.inside.doubts.surface(effect.to_string()));
                    self.decide(&effects)?;
                }
            }
        }
        (tally.points, tally.cuts) = (tally.points + 1, tally.cuts + 1);
        (self.inside.is_cut, self.inside.cut) = (false, None);
        self.take_up()?;
        Ok(false)
    }

    /// Opens the session at its holder: what was open is gone.
    fn take_up(&mut self) -> Result<(), SessionFault> {
        self.session = None;
        let (place, shown) = (self.place(self.holder), self.inside.client.cursor());
        self.session = Some(Session::open(&self.plan, self.model, &place, self.epoch, shown)?);
        Ok(())
    }

    fn bring(&self, target: u64, steps: u64) -> Result<Arrival, SessionFault> {
        let from = self.place(self.holder);
        Arrival::bring(&self.plan, self.model, (&from, self.epoch), &self.place(target), steps)
    }

    fn place(&self, place: u64) -> PathBuf {
        self.folder.path().join(place.to_string())
    }
}

impl World for Inside {
    fn show(&mut self, position: u32, token: u32) -> io::Result<()> {
        self.client.take(position, token);
        Ok(())
    }

    fn call(&mut self, key: &EffectId, idempotent: bool, at: At) -> io::Result<()> {
        self.tool.call(&key.to_string(), idempotent);
        self.reach(Point::InKernel, at, &mut || {})
    }

    fn reach(&mut self, point: Point, at: At, work: &mut dyn FnMut()) -> io::Result<()> {
        let Some(cut) = &mut self.cut else { return Ok(()) };
        if cut.point != point || cut.of_tool && !matches!(at, At::Tool(_)) {
            return Ok(());
        }
        if cut.left > 0 {
            cut.left -= 1;
            return Ok(());
        }
        work();
        self.is_cut = true;
        if let At::Tool(index) = at {
            let between = matches!(point, Point::AfterIntent | Point::InKernel | Point::BeforeJournal);
            if between && !self.plan.tools[index].idempotent {
                self.doubts.plant(&self.plan.tool(index).map_err(io::Error::other)?.id);
            }
        }
        Err(io::Error::other("cut off"))
    }
}

fn running(session: &mut Option<Session>) -> Result<&mut Session, SessionFault> {
    session.as_mut().ok_or_else(nobody)
}

fn nobody() -> SessionFault {
    SessionFault::Wrong("nobody holds the session".to_owned())
}
