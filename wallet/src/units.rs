//! Quantities with their unit in the type, so that an index is never added to a count.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($raw);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// The quantity from its bare number.
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// The bare number.
            pub const fn get(self) -> $raw {
                self.0
            }

            /// The next one, or none at the end of the range.
            pub fn next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit! {
    /// A node's identity: the index of its join, which is never reused. Nodes of the genesis document come first.
    NodeId(u32)
}
unit! {
    /// Position of a block in the final chain. Genesis has height 0.
    BlockHeight(u64)
}
unit! {
    /// Position of a leaf (an entry) in the Merkle log, from 0.
    LogIndex(u64)
}
unit! {
    /// How often a wallet's keys have rotated. The creating holder has epoch 0.
    KeyEpoch(u32)
}
unit! {
    /// How often a gate's key was made anew. The first has epoch 0.
    GateEpoch(u32)
}
unit! {
    /// A number of tokens.
    TokenCount(u32)
}
unit! {
    /// Position of a token in a session, prompt included, from 0.
    TokenPosition(u32)
}
unit! {
    /// Position of a page in its stream, from 0.
    PageIndex(u64)
}
unit! {
    /// A number of bytes.
    ByteCount(u64)
}
unit! {
    /// Milliseconds since the Unix epoch.
    Timestamp(u64)
}
unit! {
    /// A length of time in microseconds.
    Micros(u64)
}
