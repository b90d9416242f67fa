//! Entries, state machine, Merkle log, finality votes and certificates, proof bundles, credits; openraft and RocksDB
//! adapters.
//!
//! Everything outside `shell` is sans-IO: time, keys and bytes come in as arguments, effects go out as values.

pub mod apply;
pub mod archive;
pub mod author;
pub mod block;
pub mod bundle;
pub mod certificate;
pub mod checks;
pub mod credits;
pub mod epochs;
pub mod event;
pub mod evidence;
pub mod execute;
pub mod finality;
pub mod governance;
pub mod hand_over;
pub mod planted;
pub mod re_genesis;
pub mod refusal;
pub mod replay;
#[cfg(feature = "shell")]
pub mod shell;
pub mod snapshot;
pub mod state;
pub mod state_proof;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tlog;
pub mod tree;
pub mod vote;

#[cfg(test)]
mod golden;
