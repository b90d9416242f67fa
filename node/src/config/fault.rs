//! Why a configuration is refused: which file, which line, what.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use genesis::{GenesisError, NodeName};
use ledger::shell::fault::Fault;
use wallet::identity::PublicKey;

use super::TenantName;
use crate::{keys::KeyFault, tls::server::TlsFault};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not TOML, or an unknown, missing or malformed value.
    #[error("{place}: {reason}")]
    Malformed {
        /// Where the parser stopped.
        place: Place,
        /// What it met.
        reason: String,
    },
    /// The genesis document is refused.
    #[error("{}: {source} [{}]", file.display(), source.code())]
    Genesis {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: GenesisError,
    },
    /// A key is refused.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The ledger in the data folder cannot be read.
    #[error("data-dir: {source}")]
    Ledger {
        /// Why.
        source: Fault,
    },
    /// A node that neither genesis nor the ledger in the data folder has.
    #[error("{place}: there is no node {node}")]
    NodeUnknown {
        /// Where it is named.
        place: Place,
        /// The name.
        node: NodeName,
    },
    /// No key that is the node's.
    #[error("{place}: the key's public half is {found}, but that of node {node} is {expected}")]
    KeyForeign {
        /// Where the key file is named.
        place: Place,
        /// This node.
        node: NodeName,
        /// The key that the ledger in the data folder has for it, or else genesis.
        expected: PublicKey,
        /// The public half of the key in the file.
        found: PublicKey,
    },
    /// The certificate or its key is refused.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// HTTP without TLS for the world.
    #[error("{place}: api-listen is {address}; without a table [tls] only a loopback address is allowed")]
    NotLoopback {
        /// Where it is set.
        place: Place,
        /// The address.
        address: SocketAddr,
    },
    /// A certificate, and an address to which clients go without asking for one.
    #[error("{place}: with a table [tls] the node's api must begin with https://, and it is {api}")]
    ApiInTheClear {
        /// Where the node is named.
        place: Place,
        /// Its address.
        api: String,
    },
    /// A region that genesis does not list.
    #[error("{place}: tenant {tenant} names region {region:?}, which genesis does not list")]
    RegionUnknown {
        /// Where it is named.
        place: Place,
        /// By whom.
        tenant: TenantName,
        /// The region.
        region: String,
    },
    /// A tenant whose sessions could be held nowhere.
    #[error("{place}: tenant {tenant} allows no region")]
    NoRegion {
        /// Where it is set.
        place: Place,
        /// Whose.
        tenant: TenantName,
    },
    /// Two tenants with the same name or API key.
    #[error("{place}: tenant {tenant} has the {what} of another tenant")]
    TenantRepeated {
        /// The second.
        place: Place,
        /// Its name.
        tenant: TenantName,
        /// What is used twice.
        what: &'static str,
    },
    /// An engine at another operator's node, or at this very one.
    #[error("{place}: {node} is not another node of the same operator")]
    EngineForeign {
        /// Where it is named.
        place: Place,
        /// The node.
        node: NodeName,
    },
    /// A value outside its limits.
    #[error("{place}: {what} is {value}, outside {min} to {max}")]
    OutOfRange {
        /// Where it is set.
        place: Place,
        /// Which.
        what: &'static str,
        /// Its value.
        value: String,
        /// The least.
        min: String,
        /// The most.
        max: String,
    },
}

impl ConfigFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "N-100",
            Self::Malformed { .. } => "N-101",
            Self::Genesis { .. } => "N-102",
            Self::Key(fault) => fault.code(),
            Self::Tls(fault) => fault.code(),
            Self::NodeUnknown { .. } => "N-103",
            Self::KeyForeign { .. } => "N-104",
            Self::NotLoopback { .. } => "N-105",
            Self::ApiInTheClear { .. } => "N-119",
            Self::RegionUnknown { .. } => "N-106",
            Self::NoRegion { .. } => "N-107",
            Self::TenantRepeated { .. } => "N-108",
            Self::OutOfRange { .. } => "N-109",
            Self::EngineForeign { .. } => "N-110",
            Self::Ledger { .. } => "N-111",
        }
    }
}
