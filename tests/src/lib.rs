//! What crosses crates: real processes, fault injection, the forger, the house rules.
//!
//! The tests themselves are one binary, `tests/it`, with a module for each subject.

/// The file that switches faults in a process; see the package `faults`.
#[path = "../faults/src/control.rs"]
pub mod control;
pub mod decoder;
pub mod forger;
