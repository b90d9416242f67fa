//! What crosses crates: real processes, fault injection, the forger, the house rules.
//!
//! The tests themselves are one binary, `tests/it`, with a module for each subject.

pub mod decoder;
pub mod forger;
