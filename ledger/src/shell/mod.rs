//! The core's shell: openraft orders blocks, RocksDB keeps them, and a guard on both sides of openraft sees to it that
//! nothing at or below the final block ever changes.
//!
//! One block is one raft log entry. The leader appends the next block once the last one is final; each validator reads
//! it from its own log, before raft commits it, and votes. [`Replica`](replica::Replica) is the way in.

pub mod clock;
mod errands;
pub mod fault;
pub mod final_store;
mod guard;
pub mod log_store;
pub mod metrics;
mod network;
mod proposer;
pub mod raft;
pub mod replica;
mod rocks;
mod serving;
mod shared;
mod start;
pub mod state_machine;
mod submission;
#[cfg(test)]
mod tests;
pub mod transport;
mod validator;
pub mod vote_record;
