//! The binary `batchmind`: composes ledger, wallet, scheduler and engine; libp2p, transfer, REST, OpenAI API, CLI.

pub mod cli;
pub mod config;
pub mod demo;
pub mod keys;
pub mod network;

#[cfg(test)]
mod error_pages;
