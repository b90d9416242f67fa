//! `batchmind credits`: what the nodes earned, as a node says it and as the entries give it.

use std::{collections::BTreeMap, fmt, fs, ops::ControlFlow, path::PathBuf};

use clap::Subcommand;
use genesis::{Consortium, Node};
use ledger::{
    credits::{self, Award, Earned, Lot, rederive},
    event::Entry,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{
    Failure, Output,
    client::{Client, ClientArguments},
};

/// Show credits, or compute them anew.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the accounts as a node has them.
    Show {
        #[command(flatten)]
        client: ClientArguments,
    },
    /// Read every entry from a node, compute the accounts from them alone, and compare.
    Rederive {
        #[command(flatten)]
        client: ClientArguments,
        /// The signed genesis document.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
    },
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Show { client } => {
                Ok(Output::new(&Client::open(&client)?.get::<Credits>("/ledger/v1/credits").await?))
            }
            Self::Rederive { client, genesis } => compare(&Client::open(&client)?, &read_genesis(&genesis)?).await,
        }
    }
}

/// The accounts at one height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Credits {
    accounts: Vec<Account>,
    height: BlockHeight,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    node: String,
    balance: u64,
    lots: Vec<Lot>,
}

/// A line of `/ledger/v1/credits/awards`.
#[derive(Deserialize)]
struct Awarded {
    index: u64,
    award: Award,
}

/// A line of `/ledger/v1/entries`.
#[derive(Deserialize)]
struct Line {
    height: Option<BlockHeight>,
    id: Digest,
    entry: Entry,
}

async fn compare(client: &Client, consortium: &Consortium) -> Result<Output, Failure> {
    let stated: Credits = client.get("/ledger/v1/credits").await?;
    let entries = entries(client, consortium.id(), stated.height).await?;
    let credits::Rederived { awards, nodes } =
        rederive(consortium, entries.iter().map(|(height, entry)| (*height, entry)));
    let derived = accounts(&nodes, awards.values(), stated.height);
    if derived.sorted() != stated.sorted() {
        let detail = format!("stated {}, derived {}", json!(stated), json!(derived));
        return Err(Failure::new("N-540", "the node's credits are not those that its entries give", detail));
    }
    let key = |award: &Award| (award.wallet, award.epoch);
    let told = awards_told(client, entries.len() as u64).await?;
    let told: BTreeMap<_, _> = told.into_iter().map(|award| (key(&award), award)).collect();
    if let Some(award) = told.values().chain(awards.values()).find(|of| told.get(&key(of)) != awards.get(&key(of))) {
        let detail = format!("wallet {}, epoch {}", award.wallet.0, award.epoch);
        return Err(Failure::new("N-540", "the node's awards are not those that its entries give", detail));
    }
    let mut unpaid = BTreeMap::new();
    for award in awards.values() {
        if let Earned::Nothing(reason) = award.earned {
            *unpaid.entry(format!("{reason:?}")).or_default() += 1;
        }
    }
    let paid = awards.len() - unpaid.values().sum::<usize>();
    let (entries, awards) = (entries.len(), awards.len());
    Ok(Output::new(&Rederived { rederived: true, entries, awards, paid, unpaid, credits: derived }))
}

/// All entries up to the height `until`, in their order. Each must have the id under which it was given out.
async fn entries(
    client: &Client,
    consortium: Digest,
    until: BlockHeight,
) -> Result<Vec<(BlockHeight, Entry)>, Failure> {
    let mut all = Vec::new();
    let take = |count, lines: Vec<Line>| {
        if lines.len() as u64 != count {
            return Err(nonsense("a page does not have each of its entries", "/ledger/v1/entries"));
        }
        for Line { height, id, entry } in lines {
            let height = height.filter(|_| entry.id() == id);
            let height =
                height.ok_or_else(|| Failure::new("N-542", "an entry is not the one that its id names", id))?;
            if entry.body.consortium != consortium {
                let detail = format!("{}, not {consortium}", entry.body.consortium);
                return Err(Failure::new("N-543", "the entries are another consortium's", detail));
            }
            if height > until {
                return Ok(ControlFlow::Break(()));
            }
            all.push((height, entry));
        }
        Ok(ControlFlow::Continue(()))
    };
    pages(client, "/ledger/v1/entries", "entries", None, take).await?;
    Ok(all)
}

/// What the node says that the hops earned which the first `size` entries settled.
async fn awards_told(client: &Client, size: u64) -> Result<Vec<Award>, Failure> {
    let mut all = Vec::new();
    let take = |_, lines: Vec<Awarded>| {
        all.extend(lines.into_iter().filter(|line| line.index < size).map(|line| line.award));
        Ok(ControlFlow::Continue(()))
    };
    pages(client, "/ledger/v1/credits/awards", "awards", Some(size), take).await?;
    Ok(all)
}

/// Reads a list over the log, which a node gives in pages, up to the log index `end`; without it as far as the first page
/// says that it goes, since the log grows while it is read. `take` is given of how many indices a page is and what it has,
/// and says whether it wants more. N-161 if the pages lead to no end, or one has more than its indices.
async fn pages<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    name: &str,
    mut end: Option<u64>,
    mut take: impl FnMut(u64, Vec<T>) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut from = 0_u64;
    loop {
        let mut page: Value = client.get(&format!("{path}?from={from}")).await?;
        let (next, size) = (page["next"].as_u64(), page["size"].as_u64());
        let (Some(next), Some(size)) = (next, size) else { return Err(nonsense("it has no next and size", path)) };
        let end = *end.get_or_insert(size);
        if next > size || size < end || next < from.saturating_add(1).min(end) {
            return Err(nonsense("its pages lead nowhere", path));
        }
        let lines = page.get_mut(name).map(Value::take).unwrap_or_default();
        let indices = lines.as_array().into_iter().flatten().map(|line| line["index"].as_u64());
        let mut free = from;
        let has_its_place = |index: Option<u64>| {
            let index = index.filter(|index| (free..next).contains(index));
            index.map(|index| free = index + 1).is_some()
        };
        if !indices.into_iter().all(has_its_place) {
            return Err(nonsense("a page has what is not of it", path));
        }
        let lines = serde_json::from_value(lines).map_err(|error| nonsense(error, path))?;
        if take(next - from, lines)?.is_break() || next >= end {
            return Ok(());
        }
        from = next;
    }
}

fn nonsense(reason: impl fmt::Display, path: &str) -> Failure {
    Failure::new("N-161", format!("the node's answer is not what was asked for: {reason}"), path)
}

fn accounts<'a>(nodes: &[Node], awards: impl Iterator<Item = &'a Award>, height: BlockHeight) -> Credits {
    let mut lots: BTreeMap<NodeId, BTreeMap<BlockHeight, u64>> = BTreeMap::new();
    for award in awards {
        if let Earned::Lot(Lot { amount, expires_at }) = award.earned
            && expires_at > height
        {
            let merged = lots.entry(award.node).or_default().entry(expires_at).or_default();
            *merged = merged.saturating_add(amount);
        }
    }
    let nodes = nodes.iter().zip((0..).map(NodeId::new));
    let accounts = nodes.map(|(node, id)| {
        let lots = lots.remove(&id).unwrap_or_default();
        let lots: Vec<Lot> = lots.into_iter().map(|(expires_at, amount)| Lot { amount, expires_at }).collect();
        let balance = lots.iter().fold(0, |sum: u64, lot| sum.saturating_add(lot.amount));
        Account { node: node.name.to_string(), balance, lots }
    });
    Credits { accounts: accounts.collect(), height }
}

fn read_genesis(file: &PathBuf) -> Result<Consortium, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::new("N-150", error, file.display()))?;
    let consortium = genesis::parse(&text).and_then(genesis::Document::verify);
    consortium.map_err(|error| Failure::new(error.code(), error, file.display()))
}

impl Credits {
    /// The order of lots says nothing.
    fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        sorted.accounts.iter_mut().for_each(|account| account.lots.sort_by_key(|lot| lot.expires_at));
        sorted
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credits at height {}", self.height)?;
        let mut each = self.accounts.iter();
        each.try_for_each(|Account { node, balance, lots }| write!(f, "\n{node:16} {balance:>8}  {} lots", lots.len()))
    }
}

#[derive(Serialize)]
struct Rederived {
    rederived: bool,
    entries: usize,
    awards: usize,
    /// Hops that earned credits.
    paid: usize,
    /// And those that did not, by why.
    unpaid: BTreeMap<String, usize>,
    #[serde(flatten)]
    credits: Credits,
}

impl fmt::Display for Rederived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, awards, paid, .. } = self;
        writeln!(
            f,
            "{entries} entries give {awards} awards, {paid} of them credits; the node's accounts are the same"
        )?;
        self.credits.fmt(f)
    }
}

#[cfg(test)]
mod tests;
