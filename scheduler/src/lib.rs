//! The five clusters, the rules of the 500 ms tick, the prefix router, the decision log.
//!
//! Two clocks, and neither lives here. At request time [`router::Router`] picks the operator that answers a prompt.
//! Every 500 ms [`tick::Scheduler`] looks at C1, C3 and C4 of each batch and at the measured load of its peers, lets
//! the [`rules`] speak in order, and logs what they decide as a chain of [`decision::Decision`]s, so that anybody can
//! replay it. Everything is sans-IO and in integers: time, load and records come in as arguments.

pub mod action;
pub mod decision;
pub mod inputs;
pub mod load;
pub mod ppm;
pub mod record;
pub mod refusal;
pub mod router;
pub mod rules;
pub mod situation;
pub mod thresholds;
pub mod tick;
