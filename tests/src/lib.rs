//! What crosses crates: real processes, fault injection, the forger, the house rules.
