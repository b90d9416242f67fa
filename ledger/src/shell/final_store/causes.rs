//! The decisions that entries name, kept beside the chain so that a move stays provable without its source.

use wallet::{digest::Digest, units::BlockHeight};

use super::{CAUSES, FinalStore, META};
use crate::{
    bundle::Cause,
    shell::{fault::Fault, store::Batch},
};

/// Up to which height they are here, or were given up.
const COLLECTED: &[u8] = b"causes";

impl FinalStore {
    /// The decision of that hash, if it was kept.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn cause(&self, decision: Digest) -> Result<Option<Cause>, Fault> {
        self.0.get(CAUSES, decision.as_bytes())
    }

    /// Keeps decisions. The caller has checked that they are anchored. `collected` is the height up to which those of all
    /// entries are here or were given up.
    ///
    /// # Errors
    /// [`Fault`] of the disk; nothing is kept then.
    pub fn keep_causes(&self, causes: &[Cause], collected: BlockHeight) -> Result<(), Fault> {
        let mut batch = Batch::default();
        for cause in causes {
            batch.put(CAUSES, cause.hash().as_bytes(), cause);
        }
        batch.put(META, COLLECTED, &collected);
        self.0.write(batch)
    }

    /// The height of the last [`Self::keep_causes`].
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn causes_collected(&self) -> Result<BlockHeight, Fault> {
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
        let cause = Cause { decision: decision(0, Digest::ZERO), later: Vec::new() };
        assert_eq!(open().causes_collected().expect("reads"), BlockHeight::ZERO);
        open().keep_causes(std::slice::from_ref(&cause), BlockHeight::new(7)).expect("writes");
        let store = open();
        assert_eq!(store.cause(cause.hash()).expect("reads"), Some(cause));
        assert_eq!(store.cause(Digest::ZERO).expect("reads"), None);
        assert_eq!(store.causes_collected().expect("reads"), BlockHeight::new(7));
    }
}
