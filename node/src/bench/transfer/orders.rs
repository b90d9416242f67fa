//! What the driver tells the two processes, and what it hears: a JSON object on each line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// From the driver.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The source seals all pages into the hop stream of this number, as there is room.
    Offer(u64),
    /// The receiver reads that stream and verifies every page.
    Take {
        /// Its number.
        hop: u64,
        /// Whether the pages are put on the disk first, where a later process finds them.
        keep: bool,
    },
    /// The source sends all pages over plain TCP.
    Send {
        /// Where the receiver listens.
        to: SocketAddr,
        /// Whether it seals them.
        sealed: bool,
    },
    /// The receiver reads them, and opens and hashes them if they are sealed.
    Receive {
        /// Whether they are.
        sealed: bool,
    },
    /// Say what was spent.
    Spent,
}

/// From a process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// It is there.
    Ready {
        /// Where its node listens for peers.
        peers: SocketAddr,
        /// Where it listens for plain TCP.
        plain: SocketAddr,
    },
    /// The stream is offered.
    Offered,
    /// All pages came and were verified.
    Taken,
    /// All pages came.
    Received,
    /// See [`Spent`].
    Spent(Spent),
}

/// What a process spent since its start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Spent {
    /// Processor time.
    pub(super) cpu_us: u64,
    /// Bytes of all answers to requests about streams.
    pub(super) answered: u64,
}
