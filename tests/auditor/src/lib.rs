//! Proof bundles and state proofs, honest and hostile, for two verifiers of each: the one in `ledger`, and
//! `verify_bundle.py` and `verify_state.py` beside this crate, which share no code with it. Both must take every honest
//! file, refuse every hostile one, and name the same check.

pub mod documents;
pub mod flips;
pub mod hostile;
pub mod second;
pub mod state_proofs;
pub mod story;
pub mod vectors;
pub mod verdict;
