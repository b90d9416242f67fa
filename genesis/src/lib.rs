//! The consortium document: operators, regions, validator keys, parameters; signing it, verifying it, its hash.
//!
//! Text comes in and text goes out: files, clocks and random keys belong to the caller. A document goes through three
//! types, and each step can only be taken by passing its checks:
//!
//! ```text
//! TOML --parse--> Draft --Document::new--> Document --sign*, verify--> Consortium
//!                 any values               consistent                  signed by every operator
//! ```
//!
//! Everything that serves traffic asks for a [`Consortium`].

mod check;
mod consortium;
mod document;
mod draft;
mod name;
mod parameters;
mod refusal;
mod text;
mod validators;

pub use check::GATE_MEMBERS_MAX;
pub use consortium::Consortium;
pub use document::Document;
pub use draft::{Auditor, Draft, Heading, Model, Node, Operator, Owner, Region};
pub use name::{NAME_BYTES_MAX, NameInvalid, NodeName, OperatorId};
pub use parameters::{Parameter, Parameters};
pub use refusal::{GenesisError, Position};
pub use text::{TEXT_BYTES_MAX, parse};
pub use validators::ValidatorSet;

#[cfg(test)]
mod sample;
