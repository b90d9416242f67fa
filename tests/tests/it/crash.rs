//! Sessions whose processes are killed, at every point of the crash matrix and at random times.
//!
//! A process runs one decode session over sealed streams on disk; the driver is its client, its tool and the ledger that
//! says who holds it (`node::bench::sessions`). What is checked: the client has every token once and the tokens of a run
//! that nothing disturbed; what cannot be done again is done at most once, and whoever was cut off in the midst of it
//! says so; nobody goes on with a session that somebody else holds.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use gpu::{Engine, EngineOptions, Millionths, Model, SamplingParams, SessionSeed};
use node::bench::sessions::{
    At, Decision, Doubts, Ground, Heard, Orders, Plan, Point, Running, Scene, Stop, Tally, ToolCall, Verdict,
    cut_within, kill_processes,
};
use wallet::units::TokenCount;

use crate::program;

const TOKENS: u32 = 24;
/// The token and the tool of whose effects the points are.
const TOKEN: At = At::Token(8);
const TOOL: At = At::Tool(0);
/// When the tool is called: it cannot be called again.
const TOOL_AFTER: u32 = 9;
const PATIENCE: Duration = Duration::from_secs(60);

static MODEL: LazyLock<Arc<Model>> =
    LazyLock::new(|| Arc::new(Model::load(&program::model()).expect("the demo model is shipped")));

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// Whoever has the session, before it moves.
    Source,
    /// Whoever got the session.
    Destination,
    /// Both; the source comes back and knows nothing of the move.
    Both,
    /// Nobody at first: the way between them breaks in the midst of a move. Then as `Source`.
    Partition,
}

/// A scene and what was found in it.
struct Trial {
    scene: Scene,
    doubts: Doubts,
    planted: bool,
    folder: tempfile::TempDir,
}

#[test]
fn every_point_of_the_crash_matrix_leaves_each_token_and_each_effect_once() {
    let points = [
        Point::BeforeIntent,
        Point::AfterIntent,
        Point::InKernel,
        Point::BeforeJournal,
        Point::BeforeAdvance,
        Point::BeforeEmit,
        Point::BeforeAck,
    ];
    for death in [Death::Source, Death::Destination, Death::Both, Death::Partition] {
        for point in points {
            Trial::new().run(death, point, TOKEN);
            // What a tool yields is not shown.
            if !matches!(point, Point::BeforeEmit | Point::BeforeAck) {
                Trial::new().run(death, point, TOOL);
            }
        }
    }
}

#[test]
fn a_session_arrives_after_its_way_broke_at_every_step() {
    let (name, mut trial) = ("the way breaks", Trial::new());
    let arriving = Orders { place: 1, epoch: 1, from: Some((0, 0)), ..Orders::default() };
    let mut old = trial.parks(&Orders { park_at: Some(3), ..Orders::default() }, name);
    let there = trial.scene.place(1).join("sessions").join(trial.scene.plan.id().to_string());
    // Four entries of the journal and two pages come; then what was taken over is written, and then its keys.
    for steps in 0..8 {
        let broke = trial.scene.run(&Orders { stop: Some(Stop::Arriving(steps)), ..arriving });
        assert_eq!(broke.expect("it starts"), Heard::AtStop, "{name} after {steps}");
        let written = ["journal", "keys"].map(|part| there.join(part).exists());
        assert_eq!(written, [steps >= 6, steps >= 7], "{name} after {steps}");
    }
    trial.arrives(&arriving, &mut old, name);
    assert_eq!(trial.scene.client.end(), Verdict::default(), "{name}");
}

#[test]
fn sessions_survive_random_kills_of_their_processes() {
    let (seed, folder) = (seed(), tempfile::tempdir().expect("a folder"));
    let (binary, model_dir) = (program::batchmind(), program::model());
    let ground = Ground { program: &binary, model_dir: &model_dir, dir: folder.path() };
    let tally = kill_processes(ground, &MODEL, seed, 40).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    assert_clean(&tally, seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_survive_random_suspends_moves_and_cuts() {
    let (seed, folder) = (seed(), tempfile::tempdir().expect("a folder"));
    let tally = cut_within(&MODEL, seed, 300, folder.path()).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    assert_clean(&tally, seed);
}

/// That of the environment, or another one each time.
pub fn seed() -> u64 {
    let given = std::env::var("BATCHMIND_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| getrandom::u64().expect("the system has randomness") >> 32);
    println!("BATCHMIND_SEED={seed}");
    seed
}

fn assert_clean(tally: &Tally, seed: u64) {
    assert_eq!(tally.check(), Ok(()), "seed {seed}: {tally:?}");
    assert!(tally.moves > 0, "seed {seed}: too little happened: {tally:?}");
}

impl Trial {
    fn new() -> Self {
        let sampling = SamplingParams {
            temperature: Millionths(900_000),
            seed: SessionSeed::from_number(5),
            ignore_eos: true,
            ..SamplingParams::greedy(TokenCount::new(TOKENS))
        };
        let tools = vec![
            ToolCall { after: TOOL_AFTER, idempotent: false },
            ToolCall { after: TOOL_AFTER + 4, idempotent: true },
        ];
        let plan = Plan { seed: 11, prompt: (100..140).collect(), sampling, tools, request_id: "crash".to_owned() };
        let options = EngineOptions { block_count: 64, prefill_chunk_tokens: 64, idle_blocks_max: 0 };
        let expected = plan.undisturbed(&mut Engine::new(MODEL.clone(), options)).expect("the model decodes");
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Scene::new(&program::batchmind(), &program::model(), folder.path(), plan, expected);
        Self { scene: scene.expect("a scene"), doubts: Doubts::default(), planted: false, folder }
    }

    fn run(mut self, death: Death, point: Point, at: At) {
        let name = format!("{death:?} dies {point:?} of {at:?}");
        let tool = matches!(at, At::Tool(_));
        self.planted = tool && matches!(point, Point::AfterIntent | Point::InKernel | Point::BeforeJournal);
        let stop = Some(Stop::At(point, at));
        let source = Orders { place: 0, epoch: 0, ..Orders::default() };
        let moved = Orders { place: 1, epoch: 1, ..Orders::default() };
        let arriving = Orders { from: Some((0, 0)), ..moved };
        match death {
            Death::Source => {
                self.dies(&Orders { stop, ..source }, &name);
                let mut old = self.parks(&Orders { park_at: Some(16), ..source }, &name);
                self.arrives(&arriving, &mut old, &name);
            }
            Death::Destination => {
                let mut old = self.parks(&Orders { park_at: Some(3), ..source }, &name);
                self.arrives_and_dies(&Orders { stop, ..arriving }, &name);
                self.is_refused(&mut old, &name);
                self.ends(&moved, &name);
            }
            Death::Both => {
                let old = self.parks(&Orders { park_at: Some(3), ..source }, &name);
                self.arrives_and_dies(&Orders { stop, ..arriving }, &name);
                old.kill(Some(&mut self.scene.client)).expect("it lives");
                // It comes back and does not know that it is not the holder any more.
                let heard = self.scene.run(&source).expect("it starts");
                assert_eq!(heard, Heard::Refused("E-314".to_owned()), "{name}");
                self.ends(&moved, &name);
            }
            Death::Partition => {
                let mut old = self.parks(&Orders { park_at: Some(3), stop, ..source }, &name);
                let cut = self.scene.run(&Orders { stop: Some(Stop::Arriving(1)), ..arriving });
                assert_eq!(cut.expect("it starts"), Heard::AtStop, "{name}");
                // Nobody took the session, so it goes on where it was.
                old.tell().expect("it lives");
                assert_eq!(self.hears(&mut old), Heard::AtStop, "{name}");
                old.kill(Some(&mut self.scene.client)).expect("it lives");
                self.plant();
                let mut old = self.parks(&Orders { park_at: Some(16), ..source }, &name);
                self.arrives(&arriving, &mut old, &name);
            }
        }
        assert_eq!(self.scene.client.end(), Verdict::default(), "{name}");
        let mut tally = Tally::default();
        tally.end(&self.scene.plan, &self.scene.client, &self.scene.tool, &self.doubts).expect("effects");
        assert_eq!(tally.check(), Ok(()), "{name}: {tally:?}");
        assert_eq!(tally.planted, u64::from(self.planted), "{name}");
        drop(self.folder);
    }

    /// It is killed where it was told to stop.
    fn dies(&mut self, orders: &Orders, name: &str) {
        assert_eq!(self.scene.run(orders).expect("it starts"), Heard::AtStop, "{name}");
        self.plant();
    }

    /// It runs until it is parked, and stays.
    fn parks(&mut self, orders: &Orders, name: &str) -> Running {
        let mut orders = *orders;
        loop {
            let mut running = self.scene.start(&orders).expect("it starts");
            match self.hears(&mut running) {
                Heard::Parked => return running,
                Heard::Doubt(effects) => orders.resolve = Some(self.decides(effects, name)),
                heard => panic!("{name}: {heard:?}"),
            }
        }
    }

    /// The session comes, and runs to its end; the old holder, who did not hear of it, is refused.
    fn arrives(&mut self, orders: &Orders, old: &mut Running, name: &str) {
        let mut running = self.scene.start(orders).expect("it starts");
        assert_eq!(self.hears(&mut running), Heard::Ready, "{name}");
        self.is_refused(old, name);
        running.tell().expect("it lives");
        assert_eq!(self.hears(&mut running), Heard::Done, "{name}");
    }

    fn arrives_and_dies(&mut self, orders: &Orders, name: &str) {
        let mut running = self.scene.start(orders).expect("it starts");
        assert_eq!(self.hears(&mut running), Heard::Ready, "{name}");
        running.tell().expect("it lives");
        assert_eq!(self.hears(&mut running), Heard::AtStop, "{name}");
        running.kill(Some(&mut self.scene.client)).expect("it lives");
        self.plant();
    }

    fn is_refused(&mut self, old: &mut Running, name: &str) {
        old.tell().expect("it lives");
        assert_eq!(self.hears(old), Heard::Refused("E-314".to_owned()), "{name}");
    }

    /// It runs to its end, whatever was in doubt.
    fn ends(&mut self, orders: &Orders, name: &str) {
        let mut orders = *orders;
        loop {
            match self.scene.run(&orders).expect("it starts") {
                Heard::Done => return,
                Heard::Doubt(effects) => orders.resolve = Some(self.decides(effects, name)),
                heard => panic!("{name}: {heard:?}"),
            }
        }
    }

    fn decides(&mut self, effects: Vec<String>, name: &str) -> Decision {
        assert!(self.planted, "{name}: {effects:?} is in doubt for no reason");
        effects.into_iter().for_each(|effect| self.doubts.surface(effect));
        let effect = self.scene.plan.tool(0).expect("an effect");
        if self.scene.tool.count(&effect.id) > 0 { Decision::AssumeDone } else { Decision::Abort }
    }

    fn plant(&mut self) {
        if self.planted {
            self.doubts.plant(&self.scene.plan.tool(0).expect("an effect").id);
        }
    }

    fn hears(&mut self, running: &mut Running) -> Heard {
        running.hear(&mut self.scene.client, PATIENCE).expect("it says what it should")
    }
}
