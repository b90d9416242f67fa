//! A node is killed (SIGKILL) at a random moment of a session's life: while it decodes, is parked, goes on, or moves. The
//! node is the session's holder, or the one to which it moves. Whatever came of that, the client gets each token once, and
//! the tokens of a run that nothing disturbed.

use std::time::{Duration, Instant};

use node::{
    bench::sessions::Chance,
    demo::{
        client::{Admin, TokenStream},
        cluster::Cluster,
    },
};

use tokio::task::JoinHandle;

use crate::{
    consortium::{EU, PATIENCE, Running, ask, assert_gapless, assert_no_evidence, control},
    crash, program,
};

const ROUNDS: u64 = 16;
/// Long enough not to end before the kill.
const TOKENS: u32 = 150;
const PACE_MS: u64 = 20;
/// The kill comes within this time, in milliseconds, after what it is to cut off was begun. A move takes about so long.
const WITHIN_MS: u64 = 400;
/// How long a client waits for a token before it asks again.
const STALLED: Duration = Duration::from_secs(5);

/// What is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Decode,
    Park,
    Resume,
    /// The holder dies.
    MoveFrom,
    /// The other one dies.
    MoveTo,
}

impl Act {
    pub const ALL: [Self; 5] = [Self::Decode, Self::Park, Self::Resume, Self::MoveFrom, Self::MoveTo];

    /// Who dies.
    pub fn victim(self, holder: &'static str, other: &'static str) -> &'static str {
        if self == Self::MoveTo { other } else { holder }
    }

    /// Does what has to be before it.
    pub async fn prepare(self, cluster: &Cluster, holder: &str, wallet: &str) {
        if self == Self::Resume {
            // It may be refused, if the session ended; the end of the round says so.
            let _ = command(cluster, holder, "suspend", wallet).await;
        }
    }

    /// Begins it. What came of it shows at the end of the round.
    pub fn begin(self, cluster: &Cluster, holder: &str, other: &'static str, wallet: &str) -> JoinHandle<()> {
        match self {
            Self::Decode => tokio::spawn(async {}),
            Self::Park => command(cluster, holder, "suspend", wallet),
            Self::Resume => command(cluster, holder, "resume", wallet),
            Self::MoveFrom | Self::MoveTo => {
                let (wallet, admin) = (wallet.to_owned(), cluster.admin(holder).expect("its socket"));
                tokio::spawn(async move { drop(admin.migrate(&wallet, other).await) })
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_at_any_moment_of_a_session_costs_its_client_no_token() {
    let seed = crash::seed();
    let mut chance = Chance::new(seed, 1);
    let mut cluster = Running::start("warn,node=info").await;
    for round in 0..ROUNDS {
        // Each comes up.
        let act = Act::ALL[(round as usize) % Act::ALL.len()];
        let request = ask("What does a session lose when its node dies?", TOKENS, chance.below(1 << 30), PACE_MS);
        let expected = control(&cluster, "eu-3", &request).await;
        let door = EU[chance.below(3) as usize];
        let mut stream = cluster.tenant(door).ask(&request).await.expect("a session");
        stream.read_until(5).await.expect("its first tokens");
        let victim = cut_off(&mut cluster, &stream, act, &mut chance).await;
        println!("round {round}: {act:?}, {victim} dies, the client is at {door}");
        cluster.restart(victim).await.expect("it starts on its own files");
        let parts = read_to_end(&cluster, stream, door).await;
        let parts: Vec<&TokenStream> = parts.iter().collect();
        assert_gapless(&parts);
        let ids: Vec<u32> = parts.iter().flat_map(|part| part.ids()).collect();
        assert_eq!(ids, expected, "seed {seed}, round {round}: {act:?} with {victim} killed gives other tokens");
    }
    cluster.kill_all().await.expect("all four run");
    for node in cluster.nodes() {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

/// Begins what is to be cut off, and kills the node. Its name.
async fn cut_off(cluster: &mut Running, stream: &TokenStream, act: Act, chance: &mut Chance) -> &'static str {
    let (holder, others) = holder_and_others(stream);
    let other = others[chance.below(2) as usize];
    act.prepare(cluster, holder, &stream.wallet).await;
    let begun = act.begin(cluster, holder, other, &stream.wallet);
    tokio::time::sleep(Duration::from_millis(chance.below(WITHIN_MS))).await;
    let victim = act.victim(holder, other);
    cluster.kill(victim).await.expect("it ran");
    begun.await.expect("it does not panic");
    victim
}

/// Who serves a stream, and the two who could.
pub fn holder_and_others(stream: &TokenStream) -> (&'static str, [&'static str; 2]) {
    let holder = EU.into_iter().find(|node| *node == stream.served_by).expect("a node of the region");
    let mut others = EU.into_iter().filter(|node| *node != holder);
    (holder, [(); 2].map(|()| others.next().expect("three nodes")))
}

/// `batchmind wallet` for one session, at a node that may die meanwhile.
fn command(cluster: &Cluster, node: &str, word: &'static str, wallet: &str) -> JoinHandle<()> {
    let folder = cluster.folder().join(node).to_str().expect("a path of our own").to_owned();
    let wallet = wallet.to_owned();
    tokio::task::spawn_blocking(move || drop(program::run(&["wallet", word, &wallet, "--data-dir", &folder])))
}

/// The client reads on until it has the last token: all parts of its stream.
pub async fn read_to_end(cluster: &Cluster, first: TokenStream, door: &str) -> Vec<TokenStream> {
    let begun = Instant::now();
    let (wallet, secret) = (first.wallet.clone(), first.resume_secret.clone());
    let (mut parts, mut refused) = (vec![first], None);
    while let Some(part) = parts.last_mut().filter(|part| !part.done) {
        // An error means that it stands: parked, or at a node that is not back yet.
        let _ = tokio::time::timeout(STALLED, part.read_while_open()).await;
        if part.done {
            break;
        }
        let last = parts.iter().flat_map(|part| &part.seen).last().expect("its first tokens").position;
        if begun.elapsed() > PATIENCE {
            for node in EU {
                let view = cluster.admin(node).expect("its socket").get(&format!("sessions/{wallet}")).await;
                println!("{node}: {view:?}");
            }
            panic!("the client at {door} is not served behind {last}, in {} parts: {refused:?}", parts.len());
        }
        wake(cluster, &wallet).await;
        // A node sends the client to the holder, and its key does not follow it there: so it asks each of them.
        let known = parts.len();
        for node in [door].into_iter().chain(EU) {
            match cluster.tenant(node).resume(&wallet, &secret, last).await {
                Ok(next) => {
                    parts.push(next);
                    break;
                }
                Err(refusal) => refused = Some(refusal),
            }
        }
        if parts.len() == known {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    parts
}

/// Lets a session go on that is parked somewhere.
async fn wake(cluster: &Cluster, wallet: &str) {
    for node in EU {
        if mode(&cluster.admin(node).expect("its socket"), wallet).await.is_some_and(|mode| mode == "suspended") {
            command(cluster, node, "resume", wallet).await.expect("it does not panic");
        }
    }
}

async fn mode(admin: &Admin, wallet: &str) -> Option<String> {
    let view = admin.get(&format!("sessions/{wallet}")).await.ok()?;
    Some(view["mode"].as_str()?.to_owned())
}
