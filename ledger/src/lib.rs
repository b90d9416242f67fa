//! Entries, state machine, Merkle log, finality votes and certificates, proof bundles, credits; openraft and RocksDB adapters.

pub mod block;
pub mod event;
