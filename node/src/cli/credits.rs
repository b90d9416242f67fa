//! `batchmind credits`: what the nodes earned, as a node says it and as the entries give it.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

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
    let entries = entries(client, stated.height).await?;
    if let Some((_, entry)) = entries.iter().find(|(_, entry)| entry.body.consortium != consortium.id()) {
        let detail = format!("{}, not {}", entry.body.consortium, consortium.id());
        return Err(Failure::new("N-543", "the entries are another consortium's", detail));
    }
    let credits::Rederived { awards, nodes } =
        rederive(consortium, entries.iter().map(|(height, entry)| (*height, entry)));
    let derived = accounts(&nodes, awards.values(), stated.height);
    if derived.sorted() != stated.sorted() {
        let detail = format!("stated {}, derived {}", json!(stated), json!(derived));
        return Err(Failure::new("N-540", "the node's credits are not those that its entries give", detail));
    }
    let key = |award: &Award| (award.wallet, award.epoch);
    let told: Vec<Awarded> = pages(client, "/ledger/v1/credits/awards", "awards").await?;
    let told = told.into_iter().map(|Awarded { award }| award).filter(|award| award.at <= stated.height);
    let told: BTreeMap<_, _> = told.map(|award| (key(&award), award)).collect();
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

/// All entries up to `until`, in their order. Each must have the id under which it was given out.
async fn entries(client: &Client, until: BlockHeight) -> Result<Vec<(BlockHeight, Entry)>, Failure> {
    let lines: Vec<Line> = pages(client, "/ledger/v1/entries", "entries").await?;
    let checked = lines.into_iter().map(|Line { height, id, entry }| {
        let height = height.filter(|_| entry.id() == id);
        let height = height.ok_or_else(|| Failure::new("N-542", "an entry is not the one that its id names", id))?;
        Ok((height, entry))
    });
    let in_order = checked.collect::<Result<Vec<_>, Failure>>()?.into_iter();
    Ok(in_order.take_while(|(height, _)| *height <= until).collect())
}

/// A whole list that a node gives in pages.
async fn pages<T: DeserializeOwned>(client: &Client, path: &str, name: &str) -> Result<Vec<T>, Failure> {
    let (mut from, mut all) = (0, Vec::new());
    loop {
        let mut page: Value = client.get(&format!("{path}?from={from}")).await?;
        let told = serde_json::from_value::<Vec<T>>(page.get_mut(name).map(Value::take).unwrap_or_default());
        all.extend(told.map_err(|error| {
            Failure::new("N-161", format!("the node's answer is not what was asked for: {error}"), path)
        })?);
        let (next, size) = (page["next"].as_u64(), page["size"].as_u64());
        match next.filter(|next| *next > from && Some(*next) < size) {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
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
