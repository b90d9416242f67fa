//! What nodes ask each other about decisions: those behind a move or an eviction.

use ledger::bundle::Grounds;
use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, units::NodeId};

/// A decision leads over fewer others than this to the end of a log. A node anchors twice as often.
pub const DECISIONS_MAX: u32 = 512;

/// Asks a node for a decision, its own or one that it kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroundsRequest {
    /// Who made it.
    pub by: NodeId,
    /// Its hash: what an entry names.
    pub decision: Digest,
}

/// The answer to a [`GroundsRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroundsReply {
    /// The decision, up to an anchored end of its log if there is one by now. None if the asked node does not have it.
    pub grounds: Option<Grounds>,
}

#[cfg(test)]
mod tests {
    use ledger::bundle::Link;
    use wallet::{codec::encode, digest::sha256, units::Timestamp};

    use super::*;

    #[test]
    fn the_encodings_are_pinned() {
        let request = GroundsRequest { by: NodeId::new(7), decision: Digest([1; 32]) };
        let later = vec![Link { at: Timestamp::new(8), reason: Digest([2; 32]) }];
        let reply = GroundsReply { grounds: Some(Grounds { decision: vec![1, 2], later }) };
        assert_eq!(
            sha256("golden", &[&encode(&request)]).to_string(),
            "2f3f90bb74473c2cb467bb29dd42e2aa58bc0fd14d7b5d228d3ea8f358717e5c"
        );
        assert_eq!(
            sha256("golden", &[&encode(&reply)]).to_string(),
            "d985fb93a2ee915f3771b770c4ac563acc45187e4d02a5976a4dcaca1e0252b9"
        );
    }
}
