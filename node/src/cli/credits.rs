//! `batchmind credits`: what the nodes earned, as a node says it and as the entries give it.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use clap::Subcommand;
use genesis::{Consortium, Node};
use ledger::{
    credits::{self, Award, Earned, rederive},
    event::Entry,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{
    Failure, Output,
    client::{Client, ClientArguments},
};

/// Entries that are asked for at once.
const ENTRIES_MAX: u64 = 256;

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
    lots: Vec<PaidLot>,
    unpaid: Vec<Unpaid>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PaidLot {
    entry: Digest,
    amount: u64,
    expires_at: BlockHeight,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unpaid {
    entry: Digest,
    reason: Value,
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
    Ok(Output::new(&Rederived { rederived: true, entries: entries.len(), awards: awards.len(), credits: derived }))
}

/// All entries up to `until`, in their order. Each must have the id under which it was given out.
async fn entries(client: &Client, until: BlockHeight) -> Result<Vec<(BlockHeight, Entry)>, Failure> {
    let mut entries = Vec::new();
    loop {
        let path = format!("/ledger/v1/entries?from={}&count={ENTRIES_MAX}", entries.len());
        let lines: Vec<Line> = client.get(&path).await?;
        let count = lines.len();
        for Line { height, id, entry } in lines {
            let height = height.filter(|_| entry.id() == id);
            let height =
                height.ok_or_else(|| Failure::new("N-542", "an entry is not the one that its id names", id))?;
            if height > until {
                return Ok(entries);
            }
            entries.push((height, entry));
        }
        if count == 0 {
            return Ok(entries);
        }
    }
}

fn accounts<'a>(nodes: &[Node], awards: impl Iterator<Item = &'a Award>, height: BlockHeight) -> Credits {
    let nodes = nodes.iter().zip((0..).map(NodeId::new));
    let empty = |name: String| Account { node: name, balance: 0, lots: Vec::new(), unpaid: Vec::new() };
    let mut accounts: BTreeMap<NodeId, Account> = nodes.map(|(node, id)| (id, empty(node.name.to_string()))).collect();
    for award in awards {
        let Some(account) = accounts.get_mut(&award.node) else { continue };
        match award.earned {
            Earned::Lot(lot) if lot.expires_at > height => {
                account.balance = account.balance.saturating_add(lot.amount);
                account.lots.push(PaidLot { entry: award.entry, amount: lot.amount, expires_at: lot.expires_at });
            }
            Earned::Lot(_) => {}
            Earned::Nothing(reason) => account.unpaid.push(Unpaid { entry: award.entry, reason: json!(reason) }),
        }
    }
    Credits { accounts: accounts.into_values().collect(), height }
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
        for account in &mut sorted.accounts {
            account.lots.sort();
            account.unpaid.sort_by_key(|unpaid| unpaid.entry);
        }
        sorted
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credits at height {}", self.height)?;
        for Account { node, balance, lots, unpaid } in &self.accounts {
            write!(f, "\n{node:16} {balance:>8}  {} lots, {} moves that earned nothing", lots.len(), unpaid.len())?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Rederived {
    rederived: bool,
    entries: usize,
    awards: usize,
    #[serde(flatten)]
    credits: Credits,
}

impl fmt::Display for Rederived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} entries give {} awards, and the node's accounts are the same", self.entries, self.awards)?;
        self.credits.fmt(f)
    }
}
