//! A node that joins a ledger of a million entries, over HTTP from several replicas: with a certified state, and with every
//! block executed.

use std::{fs, path::Path, sync::Arc, time::Instant};

use futures::{FutureExt as _, future::BoxFuture};
use genesis::{Consortium, Node, OperatorId};
use ledger::{
    block::View,
    event::Entry,
    execute::{Executed, Place, propose},
    finality::Final,
    governance::{Action, KeyClaim},
    shell::{
        clock::SystemClock,
        final_store::FinalStore,
        log_store::LogStore,
        replica::{Replica, ReplicaOptions},
        restore::place_of,
        transport::{PeerReply, PeerRequest, Transport, TransportFault},
    },
    vote::{Signer, VoteKind},
};
use wallet::{
    digest::{Digest, from_hex},
    identity::SecretKey,
    units::{NodeId, Timestamp},
};

use super::{
    Figures,
    author::Author,
    chain::certified,
    consortium::Unsigned,
    decided::decided,
    member::{hand_out, wrong},
};
use crate::{
    bench::{BenchFault, streams::median},
    joining::{Asker, Made, Order, Source, join},
    session::context::random,
    tls::client::Roots,
};

/// Entries of the ledger, but for the few that let the newcomer in.
const ENTRIES: usize = 1_000_000;
/// Events of a block, which one author signed together.
const EVENTS: usize = 256;
/// Replicas that hand out the ledger.
const SOURCES: usize = 3;

pub(super) fn figures(figures: &mut Figures, dir: &Path, rounds: u32) -> Result<(), BenchFault> {
    let founded = Founded::new()?;
    let folder = tempfile::Builder::new().prefix("join-bench-").tempdir_in(dir)?;
    let ledgers: Vec<_> = (0..SOURCES).map(|source| folder.path().join(format!("source-{source}"))).collect();
    let [first, others @ ..] = &ledgers[..] else { return Err(BenchFault::Wrong("nobody to ask".into())) };
    founded.grow(first)?;
    others.iter().try_for_each(|other| copy(first, other))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut replicas, mut urls) = (Vec::new(), Vec::new());
        for (ledger, key) in ledgers.iter().zip(&founded.keys) {
            let replica = founded.open(ledger, key).await?;
            urls.push(hand_out(&replica, &founded.consortium).await?);
            replicas.push(replica);
        }
        let (mut quick, mut slow, mut bytes) = (Vec::new(), Vec::new(), 0);
        for round in 0..rounds {
            for replays in [false, true] {
                let place = folder.path().join(format!("joined-{round}"));
                let (made, seconds) = founded.join(&urls, &place, replays).await?;
                if made.joined.executed != *replicas[0].state() || !made.dropped.is_empty() {
                    return Err(BenchFault::Wrong(format!(
                        "what came is another ledger, or nodes failed: {:?}",
                        made.dropped
                    )));
                }
                tracing::info!(part = "join", round, replays, seconds, made.bytes, "measured");
                if replays {
                    slow.push(seconds);
                } else {
                    quick.push(seconds);
                    bytes = made.bytes;
                }
                fs::remove_dir_all(&place)?;
            }
        }
        for replica in &replicas {
            replica.shutdown().await;
        }
        figures.set("join_entries", replicas[0].state().log.size());
        figures.set("join_s", median(&mut quick));
        figures.set("join_replay_s", median(&mut slow));
        figures.set("join_bytes", bytes);
        Ok(())
    })
}

/// A consortium with all its keys, and the node that joins it.
struct Founded {
    consortium: Arc<Consortium>,
    operators: Vec<(OperatorId, SecretKey)>,
    keys: Vec<SecretKey>,
    newcomer: SecretKey,
}

impl Founded {
    fn new() -> Result<Self, BenchFault> {
        let mut unsigned = Unsigned::new()?;
        unsigned.draft.parameters.proposal_lock_ms = 0;
        let consortium = unsigned.sign()?.verify().map_err(wrong)?;
        let key = |seed: &String| from_hex(seed).map(|seed| SecretKey::from_seed(&seed)).map_err(wrong);
        let Unsigned { operators, seeds, .. } = unsigned;
        let keys = seeds.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { consortium: Arc::new(consortium), operators, keys, newcomer: SecretKey::from_seed(&random()) })
    }

    /// Entries with which the operators let the newcomer in: first those that decide it, then the one that enacts it.
    fn admission(&self) -> Result<[Vec<Entry>; 2], BenchFault> {
        let consortium = self.consortium.id();
        let [(_, key), ..] = &self.operators[..] else {
            return Err(BenchFault::Wrong("a consortium of nobody".into()));
        };
        let node = Node {
            name: "newcomer".parse().map_err(wrong)?,
            key: self.newcomer.public_key(),
            api: "http://127.0.0.1:1".to_owned(),
            peer: ([127, 0, 0, 1], 1).into(),
            ..self.consortium.nodes()[0].clone()
        };
        let sign = |key: &SecretKey| KeyClaim::Node(&node).sign(&consortium, key);
        let (consent, by_operator) = (sign(&self.newcomer), sign(key));
        let actions = vec![Action::AddNode { node, consent, by_operator }];
        decided(consortium, 0, &self.operators, actions, &self.keys[0])
    }

    /// Makes the ledger folder of a node on which a chain in one term is final.
    fn grow(&self, folder: &Path) -> Result<(), BenchFault> {
        let signers: Vec<Signer> =
            self.keys.iter().zip(0..).map(|(key, node)| Signer { node: NodeId::new(node), key: key.clone() }).collect();
        let quorum = &signers[..self.consortium.validators().quorum()];
        let leader = &signers[0];
        let author = Author::new(self.consortium.id(), leader.node, leader.key.clone());
        let load = (0..ENTRIES / EVENTS).map(|_| author.next(EVENTS, |entries| entries));
        let (store, _) = FinalStore::open(folder.join("final"), &self.consortium).map_err(wrong)?;
        let mut parent = Executed::genesis(&self.consortium);
        // Before the first block, its leader began the term.
        let (mut certificate, mut after, mut last) = (None, Digest([1; 32]), None);
        for (entries, number) in self.admission()?.into_iter().chain(load).zip(1..) {
            let (view, count) = (View { term: 1, number }, entries.len());
            let now = Timestamp::new(parent.time.get() + 10);
            let place = Place { parent: parent.clone(), certificate, carriers: Vec::new(), skipped: None, view, after };
            let made = propose(&self.consortium, place, leader, now, entries);
            if made.block.entries.len() != count {
                return Err(BenchFault::Wrong(format!("entries are refused: {:?}", made.refused.first())));
            }
            let certify = |kind| certified(kind, &made.block, quorum);
            certificate = Some(certify(VoteKind::Notarize));
            let place = place_of(&made.block, number + 1);
            let (certificate, carriers, log_index) = (certify(VoteKind::Finalize), Vec::new(), number + 1);
            let finalized = Final { certificate, carriers, block: made.block, executed: made.executed, log_index };
            store.commit(&finalized, &parent, place.log_id).map_err(wrong)?;
            (after, last, parent) = (place.chain, Some(place), finalized.executed);
        }
        let last = last.ok_or_else(|| BenchFault::Wrong("a ledger without a block".into()))?;
        LogStore::open(folder.join("log")).and_then(|log| log.begin_after(last)).map_err(wrong)
    }

    async fn open(&self, folder: &Path, key: &SecretKey) -> Result<Replica, BenchFault> {
        let me = self.consortium.nodes().iter().zip(0..).find(|(node, _)| node.key == key.public_key());
        let (_, me) = me.ok_or_else(|| BenchFault::Wrong("no node has this key".into()))?;
        let options = ReplicaOptions {
            dir: folder.into(),
            consortium: self.consortium.clone(),
            me: NodeId::new(me),
            node_key: key.clone(),
            next_key: None,
            clock: Arc::new(SystemClock),
        };
        Replica::open(options, Arc::new(Nobody)).await.map_err(wrong)
    }

    /// Lets the newcomer join, into the folder `place`: its ledger, and how many seconds it took.
    async fn join(&self, urls: &[String], place: &Path, replays: bool) -> Result<(Made, f64), BenchFault> {
        let asker = Asker { consortium: self.consortium.id(), key: self.newcomer.clone() };
        let source = |url: &String| Source::new(&Roots::System, url, asker.clone());
        let sources = urls.iter().map(source).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let key = self.newcomer.public_key();
        let (consortium, re_geneses) = (self.consortium.clone(), Vec::new());
        let order = Order { consortium, re_geneses, key, folder: place.join("ledger").into(), replays };
        fs::create_dir_all(place)?;
        let started = Instant::now();
        let made = join(sources, order, |_| {}).await.map_err(wrong)?;
        Ok((made, started.elapsed().as_secs_f64()))
    }
}

/// The replicas only hand out what they have.
struct Nobody;

impl Transport for Nobody {
    fn request(
        &self,
        to: NodeId,
        _: PeerRequest,
        _: std::time::Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>> {
        async move { Err(TransportFault::Unreachable(to)) }.boxed()
    }
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> Result<(), BenchFault> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let to = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy(&file.path(), &to)?;
        } else {
            fs::copy(file.path(), to)?;
        }
    }
    Ok(())
}
