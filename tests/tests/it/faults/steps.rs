//! A node dies in the midst of a step by which something of a session comes to its disk or leaves it: a write, of which
//! half is done, a sync, a rename, a removal. Each step is one in which it was never seen to die by chance.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt as _, time::Duration};

use node::{
    bench::sessions::Chance,
    demo::{client::TokenStream, setup::Launch},
};

use super::{setup, switch::Switch};
use crate::{
    consortium::{Running, ask, assert_gapless, assert_no_evidence, control},
    crash,
    killing::{Act, holder_and_others, read_to_end},
};

/// In which it dies, one after the other. With `BATCHMIND_ALL_STEPS` in all up to the last of these.
const STEPS: [u32; 8] = [1, 2, 3, 5, 8, 13, 21, 34];
/// Long enough not to end before.
const TOKENS: u32 = 120;
const PACE_MS: u64 = 20;
/// How long a step may still come after what was begun is over.
const SETTLES: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_in_any_step_of_a_sessions_files_costs_its_client_no_token() {
    let mut chance = Chance::new(crash::seed(), 2);
    let mut cluster = Running::prepare(setup).await;
    let mut switches = BTreeMap::new();
    for node in cluster.nodes().collect::<Vec<_>>() {
        let switch = Switch::new(&cluster.folder().join(format!("{node}.faults")));
        cluster.launch(node, Launch { through: Vec::new(), variables: switch.variables() });
        switches.insert(node, switch);
    }
    cluster.restart_all().await.expect("four operators start");
    let all = std::env::var_os("BATCHMIND_ALL_STEPS").is_some();
    let steps = if all { (1..=STEPS[STEPS.len() - 1]).collect() } else { STEPS.to_vec() };
    for act in Act::ALL {
        let mut died = 0;
        for step in &steps {
            if !dies_in(&mut cluster, &switches, act, *step, chance.below(1 << 30)).await {
                println!("{act:?} has no step {step}");
                break;
            }
            died += 1;
        }
        assert!(died > 0, "{act:?} has no step at all");
    }
    cluster.kill_all().await.expect("all four run");
    for node in cluster.nodes() {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

/// Whether a node of a session dies in this step. Whatever it does, the client gets every token.
async fn dies_in(
    cluster: &mut Running,
    switches: &BTreeMap<&'static str, Switch>,
    act: Act,
    step: u32,
    seed: u64,
) -> bool {
    let request = ask("What stands on the disk of a node that dies?", TOKENS, seed, PACE_MS);
    let expected = control(cluster, "eu-3", &request).await;
    let mut stream = cluster.tenant("eu-1").ask(&request).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let (holder, [other, _]) = holder_and_others(&stream);
    let (victim, wallet) = (act.victim(holder, other), stream.wallet.clone());
    act.prepare(cluster, holder, &wallet).await;
    if act == Act::MoveFrom {
        // Else the steps would be those of decoding, and the move's own come behind them.
        Act::Resume.prepare(cluster, holder, &wallet).await;
    }
    switches[victim].dies_at(Some(step));
    let begun = act.begin(cluster, holder, other, &wallet);
    let over = async {
        // A move whose other side died takes its time to see that.
        let begun = begun.await;
        tokio::time::sleep(SETTLES).await;
        begun.expect("it does not panic");
    };
    let died = tokio::select! {
        ended = cluster.ended(victim) => Some(ended.expect("nobody else killed it")),
        () = over => None,
    };
    switches[victim].dies_at(None);
    if let Some(status) = died {
        assert_eq!(status.signal(), Some(9), "{act:?}, step {step}: {victim} stopped for another reason");
        cluster.restart(victim).await.expect("it starts on its own files");
    }
    let parts = read_to_end(cluster, stream, "eu-1").await;
    let parts: Vec<&TokenStream> = parts.iter().collect();
    assert_gapless(&parts);
    let ids: Vec<u32> = parts.iter().flat_map(|part| part.ids()).collect();
    assert_eq!(ids, expected, "{act:?}, step {step}: {victim} gives other tokens");
    died.is_some()
}
