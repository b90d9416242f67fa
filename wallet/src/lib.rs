//! Identities, keys, jurisdiction policy, the hop key schedule, sealed pages and envelopes, the codec.
//!
//! Everything here is sans-IO: time and randomness come in as arguments.

pub mod chain;
pub mod codec;
pub mod content;
pub mod digest;
pub mod entropy;
pub mod gate;
pub mod grant;
pub mod handoff;
pub mod identity;
pub mod kem;
pub mod keystore;
pub mod page;
pub mod policy;
pub mod prefix;
pub mod prekey;
pub mod refusal;
pub mod schedule;
pub mod seal;
pub mod tenant;
pub mod ticket;
pub mod units;

mod aead;
mod kdf;
mod secret;
