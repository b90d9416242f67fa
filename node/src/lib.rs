//! The binary `batchmind`: composes ledger, wallet, scheduler and engine; libp2p, transfer, REST, OpenAI API, CLI.

pub mod api;
mod backoff;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod governance;
pub mod hardening;
pub mod joining;
pub mod keys;
pub mod ledger_feed;
pub mod members;
pub mod migration;
pub mod network;
pub mod node;
pub mod node_keys;
pub mod peer;
pub mod routing;
pub mod schedule;
pub mod session;
pub mod tls;

#[cfg(test)]
mod error_pages;
#[cfg(test)]
mod testbed;
