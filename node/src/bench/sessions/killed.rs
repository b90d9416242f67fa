//! Sessions in processes that are killed with SIGKILL: at exact points, at random times, and while they move.

use std::{path::Path, sync::Arc, time::Duration};

use gpu::{Engine, Model};

use super::{At, Chance, Decision, Heard, Orders, Plan, Point, Scene, SessionFault, Stop, Tally, plan, tally::Doubts};

/// Tokens of each session.
const TOKENS: u32 = 96;
const PLACES: u64 = 3;
/// After this a process does not do what it is there for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where processes are started.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The program `batchmind`.
    pub program: &'a Path,
    /// Folder of the model.
    pub model_dir: &'a Path,
    /// Under which files go.
    pub dir: &'a Path,
}

/// Drives sessions until `kills` processes were killed.
///
/// # Errors
/// Those of sessions and processes; what a client or a tool finds is in the tally.
pub fn kill_processes(ground: Ground<'_>, model: &Arc<Model>, seed: u64, kills: u64) -> Result<Tally, SessionFault> {
    let (mut tally, mut number) = (Tally::default(), 0);
    while tally.kills < kills {
        let named = |fault| SessionFault::Wrong(format!("seed {seed}, killed session {number}: {fault}"));
        let plan = Plan::random(seed, 2_000_000 + number, TOKENS, model);
        let expected = plan.undisturbed(&mut Engine::new(model.clone(), plan::ENGINE)).map_err(named)?;
        let scene = Scene::new(ground.program, ground.model_dir, ground.dir, plan, expected).map_err(named)?;
        let chance = Chance::new(seed, 3_000_000 + number);
        let mut hunt = Hunt { scene, chance, doubts: Doubts::default(), holder: 0, epoch: 0, decision: None };
        hunt.run_to_the_end(&mut tally).map_err(named)?;
        number += 1;
    }
    Ok(tally)
}

/// One session whose processes are killed.
struct Hunt {
    scene: Scene,
    chance: Chance,
    doubts: Doubts,
    holder: usize,
    epoch: u32,
    /// What the next process is to do about effects in doubt.
    decision: Option<Decision>,
}

impl Hunt {
    fn run_to_the_end(&mut self, tally: &mut Tally) -> Result<(), SessionFault> {
        loop {
            let done = match self.chance.below(8) {
                0..3 => self.kill_at_a_point(tally)?,
                3..6 => self.kill_at_a_time(tally)?,
                _ => self.migrate(tally)?,
            };
            if done {
                return tally.end(&self.scene.plan, &self.scene.client, &self.scene.tool, &self.doubts);
            }
        }
    }

    fn kill_at_a_point(&mut self, tally: &mut Tally) -> Result<bool, SessionFault> {
        let point = Point::ALL[self.chance.below(Point::ALL.len() as u64) as usize];
        let generated = self.generated();
        let tool = self.scene.plan.tools.iter().position(|tool| tool.after >= generated);
        let at = match tool.filter(|_| self.chance.percent(50)) {
            Some(index) => At::Tool(index),
            None => At::Token(generated + self.chance.below(12) as u32),
        };
        let orders = Orders { stop: Some(Stop::At(point, at)), ..self.orders() };
        let heard = self.scene.run(&orders)?;
        if heard == Heard::AtStop {
            (tally.points, tally.kills) = (tally.points + 1, tally.kills + 1);
            if let At::Tool(index) = at {
                let between = matches!(point, Point::AfterIntent | Point::InKernel | Point::BeforeJournal);
                if between && !self.scene.plan.tools[index].idempotent {
                    self.doubts.plant(&self.scene.plan.tool(index)?.id);
                }
            }
            return Ok(false);
        }
        self.ended(heard)
    }

    fn kill_at_a_time(&mut self, tally: &mut Tally) -> Result<bool, SessionFault> {
        let orders = self.orders();
        let mut running = self.scene.start(&orders)?;
        let patience = Duration::from_millis(20 + self.chance.below(200));
        match running.hear(&mut self.scene.client, patience)? {
            Heard::Late => {
                // Half of the time the line to the client breaks with the process.
                let hears = self.chance.percent(50);
                running.kill(hears.then_some(&mut self.scene.client))?;
                (tally.points, tally.kills) = (tally.points + 1, tally.kills + 1);
                Ok(false)
            }
            heard => self.ended(heard),
        }
    }

    fn migrate(&mut self, tally: &mut Tally) -> Result<bool, SessionFault> {
        let park_at = Some(self.generated() + self.chance.below(12) as u32);
        let orders = Orders { park_at, ..self.orders() };
        let mut source = self.scene.start(&orders)?;
        match source.hear(&mut self.scene.client, PATIENCE)? {
            Heard::Parked => {}
            heard => return self.ended(heard),
        }
        (tally.points, tally.moves) = (tally.points + 1, tally.moves + 1);
        let target = (self.holder + 1 + self.chance.below(PLACES - 1) as usize) % PLACES as usize;
        let from = Some((self.holder, self.epoch));
        let arrive = Orders { place: target, epoch: self.epoch + 1, from, ..self.orders() };
        if self.chance.percent(40) {
            // Whoever it goes to dies on the way. Half of the time it is left at that.
            let stop = Some(Stop::Arriving(self.chance.below(60)));
            let mut running = self.scene.start(&Orders { stop, ..arrive })?;
            let heard = running.hear(&mut self.scene.client, PATIENCE)?;
            running.kill(Some(&mut self.scene.client))?;
            (tally.points, tally.kills) = (tally.points + 1, tally.kills + 1);
            if heard == Heard::Ready {
                // All of it was there, and it is held there now.
                (self.holder, self.epoch) = (target, self.epoch + 1);
                return Ok(false);
            }
            if heard != Heard::AtStop {
                return Err(SessionFault::Wrong(format!("an arrival was {heard:?}")));
            }
            if self.chance.percent(50) {
                return Ok(false);
            }
        }
        let mut running = self.scene.start(&arrive)?;
        match running.hear(&mut self.scene.client, PATIENCE)? {
            Heard::Ready => {}
            heard => return Err(SessionFault::Wrong(format!("an arrival was {heard:?}"))),
        }
        (self.holder, self.epoch) = (target, self.epoch + 1);
        if self.chance.percent(50) {
            // The old holder did not hear of it and tries to go on.
            source.tell()?;
            match source.hear(&mut self.scene.client, PATIENCE)? {
                Heard::Refused(code) if code == "E-314" => tally.fenced += 1,
                heard => return Err(SessionFault::Wrong(format!("the old holder was {heard:?}"))),
            }
        }
        running.tell()?;
        let patience = Duration::from_millis(self.chance.below(120));
        match running.hear(&mut self.scene.client, patience)? {
            Heard::Late => {
                running.kill(Some(&mut self.scene.client))?;
                (tally.points, tally.kills) = (tally.points + 1, tally.kills + 1);
                Ok(false)
            }
            heard => self.ended(heard),
        }
    }

    fn orders(&mut self) -> Orders {
        Orders { place: self.holder, epoch: self.epoch, resolve: self.decision.take(), ..Orders::default() }
    }

    /// Tokens that the client has.
    fn generated(&self) -> u32 {
        self.scene.client.cursor() - self.scene.plan.prompt.len() as u32
    }

    /// A process has ended by itself; true if the session has.
    fn ended(&mut self, heard: Heard) -> Result<bool, SessionFault> {
        match heard {
            Heard::Done => Ok(true),
            Heard::Doubt(effects) => {
                effects.into_iter().for_each(|effect| self.doubts.surface(effect));
                self.decision = Some(if self.chance.percent(50) { Decision::AssumeDone } else { Decision::Abort });
                Ok(false)
            }
            heard => Err(SessionFault::Wrong(format!("a process ended with {heard:?}"))),
        }
    }
}
