//! One of the two processes: it does what it is told on standard input and answers on standard output.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

use clap::ValueEnum;
use rustix::process::{Signal, set_parent_process_death_signal};
use wallet::{identity::SecretKey, units::NodeId};

use super::{
    orders::{Order, Spent, Word},
    pages::Plan,
    plain,
    receiver::Receiver,
    source::Source,
};
use crate::{
    bench::{
        BenchFault,
        side::{cpu_us_now, orders, say},
        wrong,
    },
    network::{Handler, Options, Peer, PeerNetwork, message::Dispatch},
};

pub(super) const SOURCE: NodeId = NodeId::new(0);
pub(super) const RECEIVER: NodeId = NodeId::new(1);

/// What the process is told at its start.
#[derive(Clone, Debug, clap::Args)]
pub struct TransferSideArgs {
    /// Which of the two it is
    #[arg(value_enum)]
    pub role: Role,
    /// Where the randomness starts
    #[arg(long)]
    pub seed: u64,
    /// How many MiB of pages there are
    #[arg(long)]
    pub mib: u64,
    /// Where the receiver reaches the source
    #[arg(long, required_if_eq("role", "receiver"))]
    pub source: Option<SocketAddr>,
    /// Where the receiver keeps pages
    #[arg(long, required_if_eq("role", "receiver"))]
    pub dir: Option<PathBuf>,
}

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// It has the pages.
    Source,
    /// It gets them.
    Receiver,
}

/// Runs the process until whoever started it is gone.
///
/// # Errors
/// [`BenchFault`].
pub async fn run_side(args: TransferSideArgs) -> Result<(), BenchFault> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let plan = Plan::new(args.seed, args.mib);
    match (args.role, args.source, args.dir) {
        (Role::Receiver, Some(source), Some(dir)) => {
            run_receiver(plan, Receiver::open(plan, source, &dir).await?).await
        }
        (Role::Receiver, ..) => Err(wrong("a receiver needs a source and a folder")),
        (Role::Source, ..) => run_source(Source::open(plan).await?).await,
    }
}

async fn run_source(mut source: Source) -> Result<(), BenchFault> {
    let mut orders = orders();
    say(&Word::Ready { peers: source.address(), plain: source.address() })?;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Offer(hop) => {
                source.offer(hop)?;
                say(&Word::Offered)?;
            }
            Order::Send { to, sealed } => {
                let payloads = source.payloads();
                apart(move || plain::send(&payloads, to, sealed)).await?;
            }
            Order::Spent => say(&Word::Spent(Spent { cpu_us: cpu_us_now(), answered: source.answered() }))?,
            Order::Take { .. } | Order::Receive { .. } => return Err(wrong("that is the receiver's")),
        }
    }
    Ok(())
}

async fn run_receiver(plan: Plan, receiver: Receiver) -> Result<(), BenchFault> {
    let mut orders = orders();
    let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    say(&Word::Ready { peers: receiver.address(), plain: listener.local_addr()? })?;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Take { hop, keep } => {
                receiver.take(hop, keep).await?;
                say(&Word::Taken)?;
            }
            Order::Receive { sealed } => {
                let listener = listener.clone();
                apart(move || plain::receive(plan, &listener, sealed)).await?;
                say(&Word::Received)?;
            }
            Order::Spent => say(&Word::Spent(Spent { cpu_us: cpu_us_now(), answered: 0 }))?,
            Order::Offer(_) | Order::Send { .. } => return Err(wrong("that is the source's")),
        }
    }
    Ok(())
}

/// Blocking work beside the runtime's own threads.
async fn apart(work: impl FnOnce() -> Result<(), BenchFault> + Send + 'static) -> Result<(), BenchFault> {
    tokio::task::spawn_blocking(work).await.map_err(wrong)?
}

/// One end of a node's own network between the two.
pub(super) async fn network(
    me: NodeId,
    (peer, address): (NodeId, SocketAddr),
    stream: impl Handler,
) -> Result<PeerNetwork, BenchFault> {
    let key = |node: NodeId| SecretKey::from_seed(&[1 + node.get() as u8; 32]);
    let peers = vec![Peer { node: peer, key: key(peer).public_key(), address }];
    let options = Options { me, key: key(me), listen: (Ipv4Addr::LOCALHOST, 0).into(), peers };
    PeerNetwork::start(options, Dispatch { ledger: Nobody, session: Nobody, stream }).await.map_err(wrong)
}

/// Nothing but streams goes between these nodes.
#[derive(Clone, Debug)]
pub(super) struct Nobody;

impl Handler for Nobody {
    async fn handle(&self, _: NodeId, _: Vec<u8>) -> Vec<u8> {
        Vec::new()
    }
}
