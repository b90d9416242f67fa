//! The decisions that entries name, kept beside the chain so that a move stays provable without its source.

use std::collections::BTreeMap;

use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, NodeId},
};

use super::{FinalStore, GROUNDS, META, STORE, node_key};
use crate::{
    bundle::Grounds,
    shell::{
        fault::Fault,
        store::{Batch, Scan},
    },
};

/// Up to which height they are here, or were given up.
const COLLECTED: &[u8] = b"grounds";
/// Those that were given up: node and hash follow, and the value is the wallet.
const GIVEN_UP: &[u8] = b"given_up/";
/// What sorts behind all of them.
const GIVEN_UP_END: &[u8] = b"given_up0";

/// What was given up of the decisions of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// How many.
    pub count: u64,
    /// The first of them, with the wallet that each is about.
    pub first: Vec<(Digest, WalletAddress)>,
}

impl FinalStore {
    /// The decision of node `by` with that hash, if it was kept.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn grounds(&self, by: NodeId, decision: Digest) -> Result<Option<Grounds>, Fault> {
        self.rows.get(GROUNDS, &key(by, decision))
    }

    /// Keeps decisions of nodes, which have anchored them: the caller has checked it. `collected` is the height up to which
    /// those of all entries are here or were given up. Says how many of these had been given up.
    ///
    /// # Errors
    /// [`Fault`] of the disk; nothing is kept then.
    pub fn keep_grounds(&self, grounds: &[(NodeId, Grounds)], collected: BlockHeight) -> Result<u64, Fault> {
        let (mut batch, mut found) = (Batch::default(), 0);
        for (by, grounds) in grounds {
            let decision = grounds.hash();
            found += u64::from(self.is_given_up(*by, decision)?);
            batch.delete(META, &given_up_key(*by, decision));
            batch.put(GROUNDS, &key(*by, decision), grounds);
        }
        batch.put(META, COLLECTED, &collected);
        self.rows.write(batch)?;
        Ok(found)
    }

    /// Writes down that the decision of node `by` about `wallet` was asked for in vain. `collected` is as for
    /// [`Self::keep_grounds`]. Whether that is new.
    ///
    /// # Errors
    /// [`Fault`] of the disk.
    pub fn give_up_grounds(
        &self,
        by: NodeId,
        decision: Digest,
        wallet: WalletAddress,
        collected: BlockHeight,
    ) -> Result<bool, Fault> {
        let is_new = !self.is_given_up(by, decision)?;
        let mut batch = Batch::default();
        batch.put(META, &given_up_key(by, decision), &wallet);
        batch.put(META, COLLECTED, &collected);
        self.rows.write(batch)?;
        Ok(is_new)
    }

    /// What was given up and did not come since, by who made it. Of each node `first_max` are named.
    ///
    /// # Errors
    /// [`Fault`] if it is damaged.
    pub fn grounds_given_up(&self, first_max: usize) -> Result<BTreeMap<NodeId, GivenUp>, Fault> {
        let mut all: BTreeMap<NodeId, GivenUp> = BTreeMap::new();
        self.rows.scan(META, GIVEN_UP, Some(GIVEN_UP_END), |key, value| {
            let damaged = |what: &str| Fault::damaged(STORE, META, key, what);
            let named = key.strip_prefix(GIVEN_UP).and_then(|named| named.split_first_chunk::<4>());
            let (by, decision) = named.ok_or_else(|| damaged("not a node"))?;
            let decision = Digest(decision.try_into().map_err(|_| damaged("not a hash"))?);
            let wallet = codec::decode(value).map_err(|error| damaged(&error.to_string()))?;
            let of = all.entry(NodeId::new(u32::from_be_bytes(*by))).or_default();
            of.count += 1;
            if of.first.len() < first_max {
                of.first.push((decision, wallet));
            }
            Ok(Scan::More)
        })?;
        Ok(all)
    }

    fn is_given_up(&self, by: NodeId, decision: Digest) -> Result<bool, Fault> {
        Ok(self.rows.get::<WalletAddress>(META, &given_up_key(by, decision))?.is_some())
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

fn given_up_key(by: NodeId, decision: Digest) -> Vec<u8> {
    [GIVEN_UP, &key(by, decision)].concat()
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
    #[test]
    fn what_was_given_up_is_counted_once_until_it_comes() {
        let (folder, consortium) = (tempfile::tempdir().expect("tempdir"), consortium(4));
        let open = || FinalStore::open(folder.path(), &consortium).expect("opens").0;
        let grounds = Grounds { decision: decision(0, Digest::ZERO), later: Vec::new() };
        let (wallet, height) = (WalletAddress(Digest([7; 32])), BlockHeight::new(3));
        let give_up = |by, decision| open().give_up_grounds(by, decision, wallet, height).expect("writes");
        let [first, last] = [NodeId::new(0), NodeId::new(u32::MAX)];
        assert_eq!([BY, BY, last, first].map(|by| give_up(by, grounds.hash())), [true, false, true, true]);
        assert!(give_up(BY, Digest([0xff; 32])));
        assert_eq!(open().grounds_collected().expect("reads"), height);
        let of =
            |named: &[Digest], count| GivenUp { count, first: named.iter().map(|named| (*named, wallet)).collect() };
        let one = of(&[grounds.hash()], 1);
        assert_eq!(
            open().grounds_given_up(1).expect("reads"),
            [(first, one.clone()), (BY, of(&[grounds.hash()], 2)), (last, one.clone())].into()
        );
        assert_eq!(open().keep_grounds(&[(BY, grounds.clone())], height).expect("writes"), 1);
        assert_eq!(open().keep_grounds(&[(BY, grounds)], height).expect("writes"), 0, "it is here");
        let left = of(&[Digest([0xff; 32])], 1);
        assert_eq!(open().grounds_given_up(9).expect("reads"), [(first, one.clone()), (BY, left), (last, one)].into());
    }
}
