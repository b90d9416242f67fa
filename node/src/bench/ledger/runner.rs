//! The process of one validator of the bench: it does what it is told on standard input and answers on standard output.

use std::{fs, path::PathBuf, sync::Arc};

use genesis::Consortium;
use ledger::{block::Block, execute::Executed};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::sync::{mpsc, watch};
use wallet::{
    codec,
    digest::{from_hex, to_hex},
    identity::SecretKey,
    units::{BlockHeight, NodeId},
};

use super::{
    author::Author,
    clients,
    member::{Identity, Member, wrong},
    orders::{Order, Word},
    shim::Shim,
};
use crate::{
    bench::{
        BenchFault,
        side::{orders, say},
    },
    node_keys::NodeKeys,
};

/// What the process is told at its start.
#[derive(Clone, Debug, clap::Args)]
pub struct MemberArgs {
    /// The genesis document, encoded
    #[arg(long)]
    pub genesis: PathBuf,
    /// Folder of its files
    #[arg(long)]
    pub dir: PathBuf,
    /// Which node it is
    #[arg(long)]
    pub node: u32,
    /// Seed of its key, in hexadecimal: a key of the bench and of nothing else
    #[arg(long)]
    pub key: String,
    /// Seed of the key to which it is to be rotated
    #[arg(long)]
    pub next_key: Option<String>,
    /// Where the randomness starts
    #[arg(long)]
    pub seed: u64,
    /// Raft alone, without the vote
    #[arg(long)]
    pub ordering_alone: bool,
}

/// Runs the process behind a shim until it is told to stop, or whoever started it is gone.
///
/// # Errors
/// [`BenchFault`], also if the validator stopped by itself.
pub async fn run_member<S: Shim>(args: MemberArgs) -> Result<(), BenchFault> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let consortium = Arc::new(Consortium::from_bytes(&fs::read(&args.genesis)?).map_err(wrong)?);
    let key = |seed: &String| from_hex(seed).map(|seed| SecretKey::from_seed(&seed)).map_err(wrong);
    let keys = NodeKeys::new(key(&args.key)?, args.next_key.as_ref().map(key).transpose()?);
    let me = NodeId::new(args.node);
    let identity = Identity::of(consortium.clone(), me, keys, &args.dir)?;
    let author = Arc::new(Author::new(consortium.id(), me, identity.keys.key().clone()));
    let shim = S::new(consortium, identity.signer(), args.seed ^ u64::from(args.node));
    let member = match args.ordering_alone {
        true => Member::open_ordering(&identity, &args.dir).await?,
        false => Member::open(&identity, &args.dir, &shim).await?,
    };
    tokio::spawn(take_up_keys(member.watch_state(), author.clone(), me, identity.keys.clone()));
    let mut orders = orders();
    let first = member.watch_state().wait_for(|tip| tip.height > BlockHeight::ZERO).await.map(drop);
    first.map_err(wrong)?;
    say(&Word::Ready)?;
    let next = async |orders: &mut mpsc::UnboundedReceiver<Order>| {
        tokio::select! {
            order = orders.recv() => Ok(order),
            fault = member.stopped() => Err(fault),
        }
    };
    while let Some(order) = next(&mut orders).await? {
        match order {
            Order::Load(load) => {
                // What is watched goes on meanwhile, and so does everything else.
                let (member, author) = (member.clone(), author.clone());
                tokio::spawn(async move {
                    let loaded = clients::run(&member, &author, load, args.seed ^ u64::from(args.node)).await;
                    say(&Word::Loaded(loaded))
                });
            }
            Order::Leader => say(&Word::Leader(member.leader().map(NodeId::get)))?,
            Order::Submit(entries) => {
                let member = member.clone();
                tokio::spawn(async move { say(&Word::Submitted(submit(&member, &entries).await)) });
            }
            Order::Electorate => {
                let founded = member.watch_state().borrow().state.governance();
                say(&Word::Electorate(founded.map_or(0, |founded| founded.electorate)))?;
            }
            Order::Serve => say(&Word::Serving(member.serve(&identity.consortium).await?))?,
            Order::Watch => drop(tokio::spawn(tell_blocks(member.clone()))),
            Order::Lie(name) => say(&Word::Lied(shim.lie(name.as_deref()).map_err(wrong)?))?,
        }
    }
    member.stop().await;
    Ok(())
}

/// Why not all of these entries became final.
async fn submit(member: &Member, entries: &[u8]) -> Option<String> {
    match codec::decode(entries) {
        Ok(entries) => member.make_final(entries).await.err(),
        Err(error) => Some(error.to_string()),
    }
}

/// Lets the validator's clients sign with the key that the ledger names.
async fn take_up_keys(mut tips: watch::Receiver<Arc<Executed>>, author: Arc<Author>, me: NodeId, keys: NodeKeys) {
    let mut named = keys.key().public_key();
    while tips.changed().await.is_ok() {
        let node = tips.borrow_and_update().state.node(me);
        let changed = node.map(|record| record.node.key).filter(|key| *key != named);
        if let Some(key) = changed.and_then(|key| keys.named(key)) {
            named = key.public_key();
            author.take_up(key.clone());
        }
    }
}

async fn tell_blocks(member: Member) {
    let (mut state, mut said) = (member.watch_state(), member.height());
    while state.changed().await.is_ok() {
        let height = state.borrow_and_update().height.get();
        for Block { header, entries, .. } in (said + 1..=height).filter_map(|height| member.block(height)) {
            let word = Word::Final {
                height: header.height.get(),
                term: header.view.term,
                leader: header.leader.get(),
                authors: entries.iter().map(|entry| entry.body.author.get()).collect(),
                digest: to_hex(header.digest().as_bytes()),
            };
            if say(&word).is_err() {
                return;
            }
        }
        said = height;
    }
}
