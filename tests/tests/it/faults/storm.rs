//! Troubles of every kind, at random: of one node at a time, as many as a consortium of four bears, or the death of all
//! four.
//!
//! `BATCHMIND_SEED` repeats what is drawn, `BATCHMIND_STORM_ROUNDS` makes it longer. What the nodes do meanwhile is up to
//! the system, so the same seed may end otherwise.

use rustix::process::Signal;

use super::{HOUR_MS, SOME, Storm, partition::Network as _, proxies::Proxies, stop::signal};
use crate::{consortium::PATIENCE, crash::seed, decoders::SplitMix};

const ROUNDS: u64 = 4;
/// Short of what a node writes in a round.
const ROOM: u32 = 50_000;

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Killed,
    Stopped,
    Apart,
    NoSync,
    Full,
    Ahead,
    Behind,
    AllKilled,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consortium_outlives_one_trouble_after_the_other() {
    const TROUBLES: [Trouble; 8] = [
        Trouble::Killed,
        Trouble::Stopped,
        Trouble::Apart,
        Trouble::NoSync,
        Trouble::Full,
        Trouble::Ahead,
        Trouble::Behind,
        Trouble::AllKilled,
    ];
    let (seed, rounds) = (seed(), std::env::var("BATCHMIND_STORM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()));
    let mut draw = SplitMix(seed);
    let proxies = Proxies::default();
    let mut storm = Storm::start_in(|| proxies.setup(super::setup()), |_| node::demo::setup::Launch::default()).await;
    for round in 0..rounds.unwrap_or(ROUNDS) {
        let trouble = TROUBLES[draw.below(TROUBLES.len())];
        // The leader as often as all others.
        let node = if draw.below(2) == 0 { storm.leader().await } else { storm.follower().await };
        let what = format!("seed {seed}, round {round}: {node} {trouble:?}");
        println!("{what}");
        begin(&mut storm, &proxies, node, trouble).await;
        storm.load.until_more(SOME, &what).await;
        end(&mut storm, &proxies, node, trouble).await;
        storm.until_even().await;
    }
    storm.end().await;
}

async fn begin(storm: &mut Storm, proxies: &Proxies, node: &'static str, trouble: Trouble) {
    match trouble {
        Trouble::Killed => storm.kill(node).await.expect("it ran"),
        Trouble::Stopped => signal(storm, node, Signal::STOP),
        Trouble::Apart => proxies.split(&[vec![node], storm.others(node)]),
        Trouble::NoSync => {
            storm.switch(node).fail_sync(true);
            ends(storm, node).await;
        }
        Trouble::Full => {
            storm.switch(node).space_left(Some(ROOM));
            ends(storm, node).await;
        }
        Trouble::Ahead => storm.switch(node).clock_offset_ms(HOUR_MS),
        Trouble::Behind => storm.switch(node).clock_offset_ms(-HOUR_MS),
        Trouble::AllKilled => {
            storm.kill_all().await.expect("all ran");
            storm.restart_all().await.expect("all start on their own files");
        }
    }
}

async fn end(storm: &mut Storm, proxies: &Proxies, node: &'static str, trouble: Trouble) {
    storm.switch(node).fail_sync(false);
    storm.switch(node).space_left(None);
    storm.switch(node).clock_offset_ms(0);
    match trouble {
        Trouble::Stopped => signal(storm, node, Signal::CONT),
        Trouble::Apart => proxies.heal(),
        Trouble::Killed | Trouble::NoSync | Trouble::Full => {
            storm.restart(node).await.expect("it starts on its own files");
        }
        Trouble::Ahead | Trouble::Behind | Trouble::AllKilled => {}
    }
}

async fn ends(storm: &mut Storm, node: &str) {
    let status = tokio::time::timeout(PATIENCE, storm.ended(node)).await;
    let status = status.unwrap_or_else(|_| panic!("{node} does not stop")).expect("it was not killed");
    assert_eq!(status.code(), Some(1), "{node} ended with {status}");
}
