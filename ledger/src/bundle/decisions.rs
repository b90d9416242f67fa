//! The source's decision log, as far as a bundle needs it: the decision that caused the move in full, and of those after
//! it only what leads to the anchored end.

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    units::Timestamp,
};

/// A decision begins with its position, its time and the hash of the one before; the rest is its reason.
const HEAD_BYTES: usize = 48;

/// A later decision: with its place in the chain, this gives its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// When it was made, on the source's clock.
    pub at: Timestamp,
    /// Hash of what stands after its head.
    pub reason: Digest,
}

/// Why something was done: the decision that an entry names, and what leads from it to the end of the log that its node
/// anchored. Whoever keeps this needs that node no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grounds {
    /// The decision, canonically encoded.
    pub decision: Vec<u8>,
    /// The decisions after it, up to an anchored one.
    pub later: Vec<Link>,
}

/// Where a decision log stands after some decision: what an anchor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// How many decisions it has.
    pub(super) decisions: u64,
    /// Hash of the last one.
    pub(super) hash: Digest,
}

/// The hash of an encoded decision: what an offer names, what the next decision names, and what is anchored.
pub fn decision_hash(decision: &[u8]) -> Digest {
    let (head, reason) = decision.split_at(decision.len().min(HEAD_BYTES));
    hash(head, &reason_hash(reason))
}

fn reason_hash(reason: &[u8]) -> Digest {
    sha256("batchmind/v2/decision/reason", &[reason])
}

fn hash(head: &[u8], reason: &Digest) -> Digest {
    sha256("batchmind/v2/decision", &[head, reason.as_bytes()])
}

impl Grounds {
    /// The first of `decisions`, which follow each other, and what is known of those after it; none of none.
    pub fn of(decisions: &[Vec<u8>]) -> Option<Self> {
        let (decision, later) = decisions.split_first()?;
        let later = later.iter().map_while(|decision| Link::of(decision)).collect();
        Some(Self { decision: decision.clone(), later })
    }

    /// What an entry names it by.
    pub fn hash(&self) -> Digest {
        decision_hash(&self.decision)
    }

    /// The ends that the log had, after the decision and after each of those behind it.
    pub(super) fn ends(&self) -> Vec<LogEnd> {
        let Some(mut end) = LogEnd::after(&self.decision) else { return Vec::new() };
        let mut ends = vec![end];
        for link in &self.later {
            let Some(next) = end.then(link) else { break };
            end = next;
            ends.push(end);
        }
        ends
    }
}

impl Link {
    /// What a bundle keeps of a decision; none of bytes that are too short for one.
    pub(super) fn of(decision: &[u8]) -> Option<Self> {
        let (head, reason) = decision.split_at_checked(HEAD_BYTES)?;
        let (_, at, _): (u64, Timestamp, Digest) = codec::decode(head).ok()?;
        Some(Self { at, reason: reason_hash(reason) })
    }
}

impl LogEnd {
    /// The log that ends with this decision; none of bytes that are too short for one.
    pub(super) fn after(decision: &[u8]) -> Option<Self> {
        let (position, _, _): (u64, Timestamp, Digest) = codec::decode(decision.get(..HEAD_BYTES)?).ok()?;
        Some(Self { decisions: position.checked_add(1)?, hash: decision_hash(decision) })
    }

    /// The log with the next decision; none at the end of all numbers.
    pub(super) fn then(self, link: &Link) -> Option<Self> {
        let head = codec::encode(&(self.decisions, link.at, self.hash));
        Some(Self { decisions: self.decisions.checked_add(1)?, hash: hash(&head, &link.reason) })
    }
}
