//! Identities, keys, jurisdiction policy, the hop key schedule, sealed pages and envelopes, the codec.
//!
//! Everything here is sans-IO: time and randomness come in as arguments.

pub mod codec;
pub mod digest;
pub mod grant;
pub mod identity;
pub mod policy;
pub mod prefix;
pub mod prekey;
pub mod ticket;
pub mod units;
