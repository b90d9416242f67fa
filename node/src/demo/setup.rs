//! What the operators of a demo or a test start from: the program, their addresses, and what stands around a process.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use genesis::Parameters;

use super::{StepFailed, cluster::OPERATORS};

/// What a [`Cluster`](super::cluster::Cluster) is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program that every node runs.
    pub binary: PathBuf,
    /// Folder of the model.
    pub model: PathBuf,
    /// A filter for the nodes' logs; without it that of the environment.
    pub log: Option<String>,
    /// The places of the nodes, in the order of their names in genesis. Fewer places are fewer operators.
    pub places: Vec<Place>,
    /// The numbers on which all nodes agree.
    pub parameters: Parameters,
}

/// Where a node is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where genesis says that its peers reach it.
    pub announced: SocketAddr,
    /// Where it listens for them.
    pub listens: SocketAddr,
    /// Where it answers HTTP.
    pub api: SocketAddr,
}

/// How a node's process is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// A program and its arguments, which then runs the node's program with the arguments that follow. Empty for none.
    pub through: Vec<OsString>,
    /// Environment variables that it gets in addition.
    pub variables: Vec<(OsString, OsString)>,
}

impl Setup {
    /// Nodes that talk on loopback, each at free ports, and log what the environment says.
    ///
    /// # Errors
    /// [`StepFailed`] if the system gives no ports.
    pub fn on_loopback(binary: &Path, model: &Path) -> Result<Self, StepFailed> {
        let addresses = free_addresses(2 * OPERATORS.len())?;
        let (peers, apis) = addresses.split_at(OPERATORS.len());
        let place = |index: usize| Place { announced: peers[index], listens: peers[index], api: apis[index] };
        // A token of this small model takes well below a millisecond: here a microsecond saved is worth a credit.
        let parameters = Parameters { credit_per_ms: 1000, ..Parameters::default() };
        let (binary, model) = (binary.to_owned(), model.to_owned());
        Ok(Self { binary, model, log: None, places: (0..OPERATORS.len()).map(place).collect(), parameters })
    }
}

/// Below the range from which systems give ports to whoever dials: the port of a node that is dead for a while would else
/// be somebody's when the node comes back.
const PORTS: Range<u16> = 16_000..32_000;

/// Loopback addresses that were free a moment ago. Each is another, also from those of earlier calls: whoever got one need
/// not have bound it yet.
///
/// # Errors
/// [`StepFailed`] if the system gives no ports.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, StepFailed> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut addresses = Vec::new();
    for _ in PORTS {
        if addresses.len() == count {
            break;
        }
        let drawn = getrandom::u32().map_err(|fault| StepFailed::new(fault.to_string()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + (drawn % PORTS.len() as u32) as u16));
        // An error means that somebody has it.
        if TcpListener::bind(address).is_ok() && given.insert(address.port()) {
            addresses.push(address);
        }
    }
    if addresses.len() < count {
        return Err(StepFailed::new(format!("no {count} free ports in {PORTS:?}")));
    }
    Ok(addresses)
}
