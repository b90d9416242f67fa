//! Decoding through the engine's queue: in this process, in a worker process, and at another node over loopback. The
//! model has random weights and the shape of Llama-3.2-1B, so that a step takes as long as steps do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use gpu::{EngineOptions, Model, SamplingParams, synthetic::SyntheticLlama};
use tokio::{
    runtime::{Handle, Runtime},
    time::timeout,
};
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{NodeId, TokenCount},
};

use super::{Figures, rounds::median};
use crate::{
    bench::{BenchFault, ROUNDS},
    engine::{
        Arrival, EngineHandle, Placement,
        elsewhere::{Elsewhere, EngineHost, OpenEngine},
    },
    network::{
        Handler, Options, Peer, PeerNetwork,
        message::Dispatch,
        stream::{StreamExports, StreamPeers},
    },
    peer::{PeerFault, SessionLink, SessionReply, SessionRequest},
    session::request::PrefixSalt,
};

/// Tokens of the prompt.
const PROMPT: u32 = 16;
/// Tokens of each round. The time from the first to the last counts.
const TOKENS: u32 = 33;
/// Loading the model takes a while.
const PATIENCE: Duration = Duration::from_secs(180);
const ENGINE: EngineOptions = EngineOptions { block_count: 16, prefill_chunk_tokens: 64, idle_blocks_max: 0 };
const CLIENT: NodeId = NodeId::new(0);
const HOST: NodeId = NodeId::new(1);

/// The figures of the engine's places. The model goes under `dir` and is removed again.
///
/// # Errors
/// Those of the engine and of the system.
pub fn figures(figures: &mut Figures, seed: u64, dir: &Path, program: &Path) -> Result<(), BenchFault> {
    let folder = tempfile::Builder::new().prefix("placement-bench-").tempdir_in(dir)?;
    SyntheticLlama::of_one_billion(seed).write(folder.path())?;
    let model = Arc::new(Model::load(folder.path())?);
    let runtime = Runtime::new()?;
    let worker = Placement::Worker { program: program.to_owned(), model_dir: folder.path().to_owned() };
    let (elsewhere, _networks) = runtime.block_on(elsewhere(&model))?;
    let engines =
        [Placement::InProcess, worker, elsewhere].map(|placement| EngineHandle::open(model.clone(), ENGINE, placement));
    let mut rates = [(); 3].map(|()| Vec::new());
    let mut tokens: Option<Vec<u32>> = None;
    for round in 0..=ROUNDS {
        // Another one is first in each round.
        for place in (0..engines.len()).map(|place| (place + round) % engines.len()) {
            let engine = engines[place].as_ref().map_err(|error| BenchFault::Wrong(error.to_string()))?;
            let (decoded, rate) = runtime.block_on(decode(engine, round as u64))?;
            if *tokens.get_or_insert_with(|| decoded.clone()) != decoded {
                return Err(BenchFault::Wrong("two places decoded different tokens".to_owned()));
            }
            // Once each before it counts: then the model is there.
            if round > 0 {
                rates[place].push(rate);
            }
        }
    }
    let [here, worker, elsewhere] = rates.each_mut().map(|rates| median(rates));
    figures.set("in_process_decode_tokens_per_s", here);
    figures.set("worker_decode_tokens_per_s", worker);
    figures.set("worker_overhead_ratio", worker / here);
    figures.set("remote_decode_tokens_per_s", elsewhere);
    figures.set("remote_dispatch_ratio", elsewhere / here);
    Ok(())
}

/// The tokens of one sequence, and how many there were in a second.
async fn decode(engine: &EngineHandle, round: u64) -> Result<(Vec<u32>, f64), BenchFault> {
    let wrong = |what: &str| BenchFault::Wrong(what.to_owned());
    let arrival = Arrival {
        tokens: (0..PROMPT).map(|token| 7 + token).collect(),
        prompt_tokens: TokenCount::new(PROMPT),
        sampling: SamplingParams { ignore_eos: true, ..SamplingParams::greedy(TokenCount::new(TOKENS)) },
        pages: Vec::new(),
        tail: None,
        // Nobody finds anything in a cache.
        salt: PrefixSalt([round as u8; 32]),
        pace: Duration::ZERO,
    };
    let started = timeout(PATIENCE, engine.start(arrival, false)).await;
    let (mut sequence, _) =
        started.map_err(|_| wrong("the engine does not start"))?.map_err(|refusal| wrong(&refusal.to_string()))?;
    let (mut tokens, mut times) = (Vec::new(), Vec::new());
    loop {
        let event = timeout(PATIENCE, sequence.events.recv()).await.map_err(|_| wrong("no token comes"))?;
        let event = event.ok_or_else(|| wrong("the engine is lost"))?;
        times.push(Instant::now());
        tokens.push(event.token);
        if event.finish.is_some() {
            break;
        }
    }
    drop(sequence);
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Err(wrong("there was no token")) };
    Ok((tokens, (times.len() - 1) as f64 / (*last - *first).as_secs_f64()))
}

/// Asks the host without the session protocol: only streams are measured.
struct Direct(Arc<EngineHost>);

impl SessionLink for Direct {
    fn ask(&self, to: NodeId, request: SessionRequest, _: Duration) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        let host = self.0.clone();
        async move {
            let nonsense = |reason: String| PeerFault::Nonsense { from: to, reason };
            let SessionRequest::Engine(engine) = request else { return Err(nonsense("no engine".to_owned())) };
            host.open(CLIENT, engine).map_err(|refusal| nonsense(refusal.to_string()))?;
            Ok(SessionReply::Noted)
        }
        .boxed()
    }
}

/// Nothing but streams goes between these nodes.
#[derive(Clone, Debug)]
struct Nobody;

impl Handler for Nobody {
    async fn handle(&self, _: NodeId, _: Vec<u8>) -> Vec<u8> {
        Vec::new()
    }
}

/// Two nodes on loopback, and the way from one to an engine at the other, which shares this process and the model.
async fn elsewhere(model: &Arc<Model>) -> Result<(Placement, [PeerNetwork; 2]), BenchFault> {
    let key = |node: NodeId| SecretKey::from_seed(&[1 + node.get() as u8; 32]);
    let start = |me: NodeId, peer: NodeId, address: SocketAddr, exports: StreamExports| {
        let peers = vec![Peer { node: peer, key: key(peer).public_key(), address }];
        let options = Options { me, key: key(me), listen: (Ipv4Addr::LOCALHOST, 0).into(), peers };
        PeerNetwork::start(options, Dispatch { ledger: Nobody, session: Nobody, stream: exports })
    };
    let wrong = |fault: crate::network::NetworkFault| BenchFault::Wrong(fault.to_string());
    let (at_client, at_host) = (StreamExports::default(), StreamExports::default());
    // Only the host knows where the other listens: the client's address for it is nobody's.
    let nowhere = (Ipv4Addr::LOCALHOST, 9).into();
    let client = start(CLIENT, HOST, nowhere, at_client.clone()).await.map_err(wrong)?;
    let host = start(HOST, CLIENT, client.listen_address(), at_host.clone()).await.map_err(wrong)?;
    for (network, peer) in [(&client, HOST), (&host, CLIENT)] {
        let mut connected = network.connected();
        let there = timeout(PATIENCE, connected.wait_for(|nodes| nodes.contains(&peer))).await;
        if !matches!(there, Ok(Ok(_))) {
            return Err(BenchFault::Wrong("loopback does not connect".to_owned()));
        }
    }
    let streams = Arc::new(StreamPeers::new(host.clone()));
    let engines = EngineHost::new(model.clone(), ENGINE, [CLIENT], at_host, streams);
    let engine = OpenEngine {
        queue: Digest::ZERO,
        model: model.hash(),
        numerics: gpu::numerics_id(),
        blocks: ENGINE.block_count as u32,
    };
    let place = Elsewhere {
        host: HOST,
        engine,
        link: Arc::new(Direct(Arc::new(engines))),
        exports: at_client,
        streams: Arc::new(StreamPeers::new(client.clone())),
        runtime: Handle::current(),
    };
    Ok((Placement::Elsewhere(Arc::new(place)), [client, host]))
}
