//! The two Merkle trees: the log of entries, and the state that the entries make.

pub mod log;
pub mod partial;
pub mod parts;
pub mod several;
pub mod state;
pub mod tiles;
