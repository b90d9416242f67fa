//! What crosses crates, one module for each subject.

mod dependencies;
