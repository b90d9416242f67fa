//! The decisions that entries name, kept beside the chain so that a move stays provable without its source.

use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{FinalStore, GROUNDS, META, node_key};
use crate::{
    bundle::Grounds,
    shell::{fault::Fault, store::Batch},
};

/// Up to which height they are here, or were given up.
const COLLECTED: &[u8] = b"grounds";

impl FinalStore {
    /// The decision of node `by` with that hash, if it was kept.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn grounds(&self, by: NodeId, decision: Digest) -> Result<Option<Grounds>, Fault> {
        self.rows.get(GROUNDS, &key(by, decision))
    }

    /// Keeps decisions of nodes, which have anchored them: the caller has checked it. `collected` is the height up to which
    /// those of all entries are here or were given up.
    ///
    /// # Errors
    /// [`Fault`] of the disk; nothing is kept then.
    pub fn keep_grounds(&self, grounds: &[(NodeId, Grounds)], collected: BlockHeight) -> Result<(), Fault> {
        let mut batch = Batch::default();
        for (by, grounds) in grounds {
            batch.put(GROUNDS, &key(*by, grounds.hash()), grounds);
        }
        batch.put(META, COLLECTED, &collected);
        self.rows.write(batch)
    }

    /// The height of the last [`Self::keep_grounds`].
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn grounds_collected(&self) -> Result<BlockHeight, Fault> {
        Ok(self.rows.get(META, COLLECTED)?.unwrap_or_default())
    }
}

/// Another node could name the same decision, and say that it stands in its own log.
fn key(by: NodeId, decision: Digest) -> Vec<u8> {
    [node_key(by).as_slice(), decision.as_bytes().as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{consortium, decision};

    const BY: NodeId = NodeId::new(1);

    #[test]
    fn a_decision_that_was_kept_is_there_after_a_start() {
        let (folder, consortium) = (tempfile::tempdir().expect("tempdir"), consortium(4));
        let open = || FinalStore::open(folder.path(), &consortium).expect("opens").0;
        let grounds = Grounds { decision: decision(0, Digest::ZERO), later: Vec::new() };
        assert_eq!(open().grounds_collected().expect("reads"), BlockHeight::ZERO);
        open().keep_grounds(&[(BY, grounds.clone())], BlockHeight::new(7)).expect("writes");
        let store = open();
        assert_eq!(store.grounds(BY, Digest::ZERO).expect("reads"), None);
        assert_eq!(store.grounds(NodeId::new(2), grounds.hash()).expect("reads"), None, "another node's is another");
        assert_eq!(store.grounds(BY, grounds.hash()).expect("reads"), Some(grounds));
        assert_eq!(store.grounds_collected().expect("reads"), BlockHeight::new(7));
    }
}
