//! What the driver tells the process of a validator, and what it hears: a JSON object on each line.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// From the driver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Submit events, and say how that went.
    Load(Load),
    /// Say whom this validator follows.
    Leader,
    /// From now on say each final block.
    Watch,
    /// Submit these entries, encoded, and say whether they became final.
    Submit(Vec<u8>),
    /// Say which electorate the final state has.
    Electorate,
    /// Hand out the ledger to nodes that join, and say where.
    Serve,
    /// From now on tell the lie of this name, or none, and say how that was until now.
    Lie(Option<String>),
}

/// What a validator's clients do.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// How many of them there are.
    pub clients: u32,
    /// How long they go on before anything counts.
    pub lead_ms: u64,
    /// How long it counts.
    pub ms: u64,
    /// Events that all of them submit in a second, whatever becomes of those before; none: each submits its next one
    /// when the one before is final.
    pub per_s: Option<f64>,
    /// Events that one author signature covers: 1, or more with a batch.
    pub batch: u32,
}

/// From a validator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The first block is final here.
    Ready,
    /// The load is over.
    Loaded(Loaded),
    /// Whom it follows.
    Leader(Option<u32>),
    /// A block is final here.
    Final {
        /// Its height.
        height: u64,
        /// Term in which it was proposed.
        term: u64,
        /// Who proposed it.
        leader: u32,
        /// Who made entries in it.
        authors: BTreeSet<u32>,
        /// Digest of its header, in hexadecimal.
        digest: String,
    },
    /// All entries of a submission are final; or why not.
    Submitted(Option<String>),
    /// The number of the electorate.
    Electorate(u64),
    /// The ledger is handed out at this address.
    Serving(String),
    /// The lie is another now. So many messages were sent, changed or held back by the one before.
    Lied(u64),
}

/// How a load went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Loaded {
    /// Events that became final while it counted.
    pub finals: u64,
    /// Events that were refused; their clients went on with the next one.
    pub refused: u64,
    /// From the submission of an event to when its client knew that it is final, for those that count.
    pub latencies_us: Vec<u32>,
    /// Entry signatures that this validator verified, from the load's start to its end.
    pub verifications: u64,
    /// Processor time of this validator in that time, its clients' included.
    pub cpu_us: u64,
    /// Blocks that became final in that time.
    pub blocks: u64,
    /// Entries that became final in that time, all validators' together.
    pub entries: u64,
}
