//! Calls to the operator's own interface: the Unix socket in a node's folder.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, client::Client};
use crate::api::SOCKET;

/// Which node.
#[derive(Clone, Debug, Args)]
pub(super) struct AdminArguments {
    /// The node's folder (data-dir in its configuration), which holds its admin socket.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(super) data_dir: PathBuf,
}

impl AdminArguments {
    pub(super) fn open(&self) -> Result<Client, Failure> {
        Client::over_socket(&self.data_dir.join(SOCKET))
    }
}
