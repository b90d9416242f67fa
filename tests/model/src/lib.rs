//! Every run of the finality vote within bounds: three honest validators, one that lies, on the production voter.

pub mod blocks;
pub mod bounds;
pub mod lab;
pub mod local;
pub mod said;
pub mod search;

/// The node whose key says what it likes.
pub const LIAR: u32 = 0;
/// The others.
pub const HONEST: [u32; 3] = [1, 2, 3];
