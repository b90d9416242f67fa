//! The decisions that entries name, kept beside the chain so that a move stays provable without its source.

use wallet::{digest::Digest, units::BlockHeight};

use super::{FinalStore, GROUNDS, META};
use crate::{
    bundle::Grounds,
    shell::{fault::Fault, store::Batch},
};

/// Up to which height they are here, or were given up.
const COLLECTED: &[u8] = b"grounds";

impl FinalStore {
    /// The decision of that hash, if it was kept.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn grounds(&self, decision: Digest) -> Result<Option<Grounds>, Fault> {
        self.0.get(GROUNDS, decision.as_bytes())
    }

    /// Keeps decisions. The caller has checked that they are anchored. `collected` is the height up to which those of all
    /// entries are here or were given up.
    ///
    /// # Errors
    /// [`Fault`] of the disk; nothing is kept then.
    pub fn keep_grounds(&self, grounds: &[Grounds], collected: BlockHeight) -> Result<(), Fault> {
        let mut batch = Batch::default();
        for grounds in grounds {
            batch.put(GROUNDS, grounds.hash().as_bytes(), grounds);
        }
        batch.put(META, COLLECTED, &collected);
        self.0.write(batch)
    }

    /// The height of the last [`Self::keep_grounds`].
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn grounds_collected(&self) -> Result<BlockHeight, Fault> {
        Ok(self.0.get(META, COLLECTED)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{consortium, decision};

    #[test]
    fn a_decision_that_was_kept_is_there_after_a_start() {
        let (folder, consortium) = (tempfile::tempdir().expect("tempdir"), consortium(4));
        let open = || FinalStore::open(folder.path(), &consortium).expect("opens").0;
        let grounds = Grounds { decision: decision(0, Digest::ZERO), later: Vec::new() };
        assert_eq!(open().grounds_collected().expect("reads"), BlockHeight::ZERO);
        open().keep_grounds(std::slice::from_ref(&grounds), BlockHeight::new(7)).expect("writes");
        let store = open();
        assert_eq!(store.grounds(grounds.hash()).expect("reads"), Some(grounds));
        assert_eq!(store.grounds(Digest::ZERO).expect("reads"), None);
        assert_eq!(store.grounds_collected().expect("reads"), BlockHeight::new(7));
    }
}
