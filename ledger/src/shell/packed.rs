//! A block with its encoding, as it is in the raft log and in the messages about it.
//!
//! A block goes through many hands between its leader and the disks of all: sent, hashed, stored, read again. It is
//! encoded once, by its leader, and decoded once by each other node, when it arrives.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wallet::codec;

use crate::block::Block;

/// See the module. Cheap to clone; never changes.
#[derive(Clone)]
pub struct PackedBlock(Arc<Packed>);

struct Packed {
    block: Block,
    bytes: Vec<u8>,
}

impl PackedBlock {
    /// The block.
    pub fn block(&self) -> &Block {
        &self.0.block
    }

    /// The block, without a copy if nobody else holds it.
    pub fn into_block(self) -> Block {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.block.clone(), |packed| packed.block)
    }

    /// Its encoding without the leader's signature: what comes before that, and after.
    pub fn without_proposal(&self) -> [&[u8]; 2] {
        let Block { header, proposal, .. } = self.block();
        let (header, end) = (codec::encode(header).len(), codec::encode(&(header, proposal)).len());
        [self.bytes().get(..header).unwrap_or_default(), self.bytes().get(end..).unwrap_or_default()]
    }

    /// Its encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<Block> for PackedBlock {
    fn from(block: Block) -> Self {
        let bytes = codec::encode(&block);
        Self(Arc::new(Packed { block, bytes }))
    }
}

impl PartialEq for PackedBlock {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for PackedBlock {}

impl fmt::Debug for PackedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.block().fmt(f)
    }
}

/// As a byte string: its length, then the block's encoding.
impl Serialize for PackedBlock {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        codec::bytes::serialize(self.bytes(), to)
    }
}

impl<'de> Deserialize<'de> for PackedBlock {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = codec::bytes::deserialize(from)?;
        let block = codec::decode(&bytes).map_err(de::Error::custom)?;
        Ok(Self(Arc::new(Packed { block, bytes })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Chain, Session, consortium};

    fn packed() -> PackedBlock {
        let consortium = consortium(4);
        let (chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        chain.propose(vec![session.created()]).block.into()
    }

    #[test]
    fn what_is_packed_is_read_back_as_the_same_block_and_bytes() {
        let bytes = codec::encode(&packed());
        let read: PackedBlock = codec::decode(&bytes).expect("canonical");
        assert_eq!((read.block(), read.bytes()), (packed().block(), &bytes[8..]));
        assert_eq!(read.into_block(), packed().into_block());
    }

    #[test]
    fn without_the_proposal_it_is_the_same_whatever_that_is_and_another_for_any_other_change() {
        let block = packed().into_block();
        let changed = |change: fn(&mut Block)| {
            let mut block = block.clone();
            change(&mut block);
            let packed = PackedBlock::from(block);
            packed.without_proposal().map(<[u8]>::to_vec)
        };
        let same = packed();
        assert_eq!(changed(|block| block.proposal.0 = [7; 64]), same.without_proposal());
        assert_eq!(same.without_proposal().concat().len() + 64, same.bytes().len());
        assert_ne!(changed(|block| block.header.log_size += 1), same.without_proposal());
        assert_ne!(changed(|block| block.entries.clear()), same.without_proposal());
    }

    #[test]
    fn a_packed_block_that_is_cut_short_or_followed_by_more_is_refused() {
        let good = packed();
        for wrong in [&good.bytes()[1..], &good.bytes()[..good.bytes().len() - 1], &[good.bytes(), &[0]].concat()] {
            let bytes = codec::encode(&wrong.to_vec());
            assert!(codec::decode::<PackedBlock>(&bytes).is_err());
        }
    }
}
