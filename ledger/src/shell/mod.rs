//! The core's shell: openraft orders blocks, RocksDB keeps them, and a guard on both sides of openraft sees to it that
//! nothing at or below the final block ever changes.
//!
//! One block is one raft log entry. The leader appends the next block once the last one is final; each validator reads
//! it from its own log, before raft commits it, and votes. [`Replica`](replica::Replica) is the way in.

mod adoption;
mod alarm;
pub mod backup;
mod blame;
mod catch_up;
pub mod cause;
pub mod clock;
mod core;
pub mod disk;
mod divergence;
mod election;
mod errands;
pub mod fault;
mod files;
pub mod final_store;
mod guard;
pub mod join;
pub mod lineage;
mod lines;
pub mod log_store;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod metrics;
mod network;
mod observed;
pub mod packed;
mod passed_over;
mod pins;
mod promises;
mod proposer;
pub mod raft;
pub mod re_genesis;
mod recovery;
pub mod replica;
pub mod restore;
mod resumption;
mod rocks;
mod sending;
mod serving;
mod shared;
mod sight;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod snapshot;
mod start;
pub mod state_machine;
mod statements;
mod store;
mod submission;
pub mod terms;
#[cfg(test)]
mod tests;
pub mod transport;
mod unfinished;
mod validator;
pub mod vote_record;
mod window;
