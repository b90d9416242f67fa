//! Numbers on which all nodes must agree. A unit stands in each name.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// One parameter with what the document says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key in table `[parameters]`.
    pub name: &'static str,
    /// What it decides.
    pub purpose: &'static str,
    /// Its value in this document.
    pub value: u64,
    /// Its value when the document leaves it out.
    pub default: u64,
    /// What the document may set it to.
    pub range: RangeInclusive<u64>,
}

/// Declares each parameter once: its purpose, default and range serve the type, the checks and the written file.
macro_rules! parameters {
    ($(#[doc = $purpose:literal] $name:ident = $default:literal in $range:expr;)*) => {
        /// Table `[parameters]`. What the document leaves out has its default.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Parameters {
            $(#[doc = $purpose] #[doc = concat!("\n\nDefault ", $default, ", range ", stringify!($range), ".")]
            pub $name: u64,)*
        }

        impl Default for Parameters {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Parameters {
            /// All parameters, in the order in which the file shows them.
            pub fn list(&self) -> Vec<Parameter> {
                vec![$(Parameter {
                    name: stringify!($name),
                    purpose: $purpose.trim_ascii(),
                    value: self.$name,
                    default: $default,
                    range: $range,
                },)*]
            }

            /// The parameter of that name; none if there is none.
            pub fn get_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

parameters! {
    /// Of many entries, a leader waits at most this long for more before it proposes a block. A lone one does not wait.
    block_interval_ms = 20 in 1..=10_000;
    /// With nothing to order, a leader proposes an empty block this often, so that time goes on.
    idle_block_ms = 10_000 in 100..=600_000;
    /// A leader shows this often that it is alive.
    heartbeat_ms = 200 in 10..=10_000;
    /// A validator gives up a leader that it has not heard for longer than this; candidates come half of it apart.
    leader_timeout_ms = 1_000 in 50..=60_000;
    /// A block's time may be this far ahead of a validator's own clock.
    clock_ahead_ms = 2_000 in 100..=60_000;
    /// A validator complains of a leader whose block's time lags its own clock by more than this.
    clock_behind_ms = 2_000 in 100..=60_000;
    /// A validator gives up a view in which something was due for this long. Doubled for each term that failed.
    view_timeout_ms = 1_000 in 50..=60_000;
    /// But never later than after this long.
    view_timeout_max_ms = 10_000 in 51..=600_000;
    /// The deadline of an offer is at most this many blocks away. Afterwards anybody may abort it.
    offer_deadline_blocks = 1_000 in 2..=1_000_000;
    /// Credits for each millisecond of latency that a move saved. 0 mints none.
    credit_per_ms = 1 in 0..=1_000_000;
    /// A lot of credits can be spent for this many blocks.
    credit_expiry_blocks = 100_000 in 1..=1_000_000_000;
    /// Tokens in a batch, all clusters together.
    batch_tokens = 100_000 in 1_024..=10_000_000;
    /// What gives power or changes rules waits this long after a quorum of operators agreed to it.
    proposal_lock_ms = 86_400_000 in 0..=2_592_000_000;
    /// A proposal that no quorum agreed to by then has expired; so has one that nobody enacted this long after it could be.
    proposal_life_ms = 604_800_000 in 3_600_000..=7_776_000_000;
    /// Each phase of making a release gate's key, by blocks' times: 60000 or more, best 600000. 0 leaves gates off for good.
    gate_phase_ms = 0 in 0..=604_800_000;
}
