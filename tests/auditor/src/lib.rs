//! Proof bundles, honest and hostile, for two verifiers: the one in `ledger`, and `verify_bundle.py` beside this crate,
//! which shares no code with it. Both must take every honest bundle, refuse every hostile one, and name the same check.

pub mod documents;
pub mod hostile;
pub mod story;
pub mod verdict;
