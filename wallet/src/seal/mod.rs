//! Sealing: pages on the way, the two envelopes of a hop, and what a node keeps on its own disk.

pub mod envelope;
pub mod pages;
pub mod rest;
pub mod segment;
