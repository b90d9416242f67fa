//! A promise as its author keeps it: one file that anybody can check from the genesis hash alone, whether the leader kept it
//! or not.

use genesis::{Consortium, Document, GenesisError};
use serde::{Deserialize, Serialize};
use wallet::{
    codec::{self, DecodeError},
    digest::Digest,
    units::NodeId,
};

use super::{PROMISED_MAX, Promise, SignedPromise, entries_digest};
use crate::{
    certificate::CertificateInvalid,
    hand_over::{HandOver, HandOverInvalid, ValidatorSets},
};

/// The format that this build writes and reads.
pub const VERSION: u32 = 2;
/// A file has at most this many bytes.
pub const RECEIPT_BYTES_MAX: usize = 16 << 20;

/// See the module and `docs/formats/evidence.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u32,
    /// The genesis document with all its signatures, canonically encoded.
    pub consortium: Vec<u8>,
    /// From genesis to the epoch in which it was promised.
    pub hand_overs: Vec<HandOver>,
    /// What the leader promised.
    pub promised: Promised,
}

/// A promise with the leaf hashes that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// What the leader signed when it took the entries.
    pub promise: SignedPromise,
    /// The leaf hashes of all entries that it names.
    pub leaves: Vec<Digest>,
}

/// What a verified receipt proves: that `leader` signed that these entries are in its block `(term, through)` at the
/// latest, if they apply to it. Whether they are is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// The consortium's name.
    pub name: String,
    /// Who promised.
    pub leader: NodeId,
    /// By whose validator set the leader is a validator.
    pub epoch: u64,
    /// The raft term that it leads.
    pub term: u64,
    /// The number of the block within the term.
    pub through: u64,
    /// The leaf hashes of the entries.
    pub leaves: Vec<Digest>,
}

/// Why a file is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptInvalid {
    /// No reader takes it.
    #[error("{bytes} bytes are more than a receipt has")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// Another version has other fields.
    #[error("version {found} is not {VERSION}")]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// Not the one encoding.
    #[error("it is no receipt: {0}")]
    Encoding(#[from] DecodeError),
    /// Of the genesis document.
    #[error("the genesis document: {0}")]
    Document(#[from] GenesisError),
    /// Another genesis document.
    #[error("it is of consortium {found}")]
    OtherConsortium {
        /// Its hash.
        found: Digest,
    },
    /// They do not lead to the leader's validator set.
    #[error("the hand-overs: {0}")]
    HandOvers(#[from] HandOverInvalid),
    /// They lead further than that.
    #[error("the hand-overs do not end with the epoch of the promise")]
    TooManyHandOvers,
    /// The leader did not sign it.
    #[error("the promise: {0}")]
    Promise(#[from] CertificateInvalid),
    /// They are other leaves, or too many.
    #[error("the leaf hashes are not those that the leader signed")]
    OtherLeaves,
    /// The entry that was asked about is none of them.
    #[error("the promise does not name the entry")]
    OtherEntry,
}

impl Receipt {
    /// That of a promise of a leader of `consortium`; `hand_overs` lead from genesis to its epoch.
    pub fn new(consortium: &Consortium, hand_overs: Vec<HandOver>, promised: Promised) -> Self {
        Self { version: VERSION, consortium: consortium.to_bytes(), hand_overs, promised }
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a file, and checks nothing yet.
    ///
    /// # Errors
    /// [`ReceiptInvalid`] for bytes that are not the one encoding of a file of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReceiptInvalid> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptInvalid::TooLarge { bytes: bytes.len() });
        }
        match bytes.first_chunk().map(|found| u32::from_le_bytes(*found)) {
            Some(found) if found != VERSION => Err(ReceiptInvalid::OtherVersion { found }),
            _ => Ok(codec::decode(bytes)?),
        }
    }

    /// Checks it against the genesis document whose hash the author trusts and the re-geneses that it `named`, and that it names the entry with the leaf
    /// hash `asked` if that is given: no network, no clock.
    ///
    /// # Errors
    /// [`ReceiptInvalid`] for the first thing that does not hold.
    pub fn verify(
        &self,
        genesis: &Digest,
        named: &[Digest],
        asked: Option<&Digest>,
    ) -> Result<Commitment, ReceiptInvalid> {
        let document = Document::from_bytes(&self.consortium)?;
        if document.hash() != *genesis {
            return Err(ReceiptInvalid::OtherConsortium { found: document.hash() });
        }
        let consortium = document.verify()?;
        let sets = ValidatorSets::proven(&consortium, &self.hand_overs, named)?;
        sets.check_all_taken()?;
        let Promised { promise, leaves } = &self.promised;
        let Promise { epoch, term, through, entries, .. } = promise.statement;
        promise.verify(sets.of(epoch)?, &sets.name_of(epoch))?;
        if sets.last().epoch != epoch {
            return Err(ReceiptInvalid::TooManyHandOvers);
        }
        if leaves.len() > PROMISED_MAX || entries_digest(leaves) != entries {
            return Err(ReceiptInvalid::OtherLeaves);
        }
        if asked.is_some_and(|asked| !leaves.contains(asked)) {
            return Err(ReceiptInvalid::OtherEntry);
        }
        let (leader, leaves) = (promise.validator, leaves.clone());
        let name = consortium.name().to_owned();
        Ok(Commitment { consortium: consortium.id(), name, leader, epoch, term, through, leaves })
    }
}

#[cfg(test)]
mod tests {
    use wallet::digest::sha256;

    use super::*;
    use crate::{
        governance::{Action, Member},
        testing::{
            Chain, consortium,
            evidence::{anchor, promise},
            signer,
        },
        vote::Signed,
    };

    fn receipt() -> (Digest, Receipt) {
        let consortium = consortium(4);
        let leaves = vec![anchor(&consortium, 1).leaf_hash(), anchor(&consortium, 2).leaf_hash()];
        let promise = promise(&consortium, 2, 1, 3, &leaves);
        (consortium.id(), Receipt::new(&consortium, Vec::new(), Promised { promise, leaves }))
    }

    #[test]
    fn a_receipt_names_the_leader_its_block_and_the_entries() {
        let (genesis, receipt) = receipt();
        let leaves = receipt.promised.leaves.clone();
        assert_eq!(Receipt::from_bytes(&receipt.to_bytes()), Ok(receipt.clone()));
        let told = receipt.verify(&genesis, &[], Some(&leaves[1])).expect("it holds");
        assert_eq!((told.leader, told.epoch, told.term, told.through), (NodeId::new(2), 0, 1, 3));
        assert_eq!(told.leaves, leaves);
        assert_eq!(receipt.verify(&genesis, &[], Some(&Digest::ZERO)), Err(ReceiptInvalid::OtherEntry));
    }

    #[test]
    fn whoever_else_signed_or_whatever_was_changed_is_no_promise() {
        let (genesis, good) = receipt();
        let refused = |change: &dyn Fn(&mut Receipt)| {
            let mut receipt = good.clone();
            change(&mut receipt);
            receipt.verify(&genesis, &[], None).expect_err("changed")
        };
        let statement =
            |change: fn(&mut Promise)| refused(&move |receipt| change(&mut receipt.promised.promise.statement));
        use ReceiptInvalid as Invalid;
        assert!(matches!(statement(|p| p.through += 1), Invalid::Promise(CertificateInvalid::BadSignature { .. })));
        assert!(matches!(statement(|p| p.term += 1), Invalid::Promise(CertificateInvalid::BadSignature { .. })));
        assert!(matches!(statement(|p| p.epoch += 1), Invalid::Promise(CertificateInvalid::OtherEpoch { .. })));
        assert!(matches!(statement(|p| p.consortium = Digest::ZERO), Invalid::Promise(_)));
        let by = |node: u32| refused(&move |receipt| receipt.promised.promise.validator = NodeId::new(node));
        assert!(matches!(by(1), Invalid::Promise(CertificateInvalid::BadSignature { .. })));
        assert!(matches!(by(9), Invalid::Promise(CertificateInvalid::NotAValidator { .. })));
        assert_eq!(refused(&|receipt| receipt.promised.leaves.reverse()), Invalid::OtherLeaves);
        assert_eq!(refused(&|receipt| _ = receipt.promised.leaves.pop()), Invalid::OtherLeaves);
        let foreign = Promise { consortium: Digest::ZERO, ..good.promised.promise.statement };
        let foreign = Signed::sign(foreign, &signer(2));
        assert!(matches!(refused(&|receipt| receipt.promised.promise = foreign), Invalid::Promise(_)));
        let many = vec![Digest::ZERO; PROMISED_MAX + 1];
        let of_many = promise(&consortium(4), 2, 1, 3, &many);
        let too_many = Promised { promise: of_many, leaves: many };
        assert_eq!(refused(&|receipt| receipt.promised = too_many.clone()), Invalid::OtherLeaves);
        assert!(matches!(good.verify(&Digest::ZERO, &[], None), Err(Invalid::OtherConsortium { .. })));
        let bytes = good.to_bytes();
        for bit in (0..bytes.len() * 8).step_by(61) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = Receipt::from_bytes(&flipped).and_then(|receipt| receipt.verify(&genesis, &[], None));
            assert!(verdict.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn in_a_later_epoch_the_hand_overs_say_whose_the_key_is() {
        let mut chain = Chain::new(consortium(5));
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
        let genesis = chain.consortium.id();
        let leaves = vec![Digest([7; 32])];
        let term = crate::block::View::first_term(1);
        let statement = Promise { consortium: genesis, epoch: 1, term, through: 2, entries: entries_digest(&leaves) };
        let of = |node: u32| Promised { promise: Signed::sign(statement, &signer(node)), leaves: leaves.clone() };
        let receipt = |node, hand_overs: &[HandOver]| Receipt::new(&chain.consortium, hand_overs.to_vec(), of(node));
        assert_eq!(receipt(1, &chain.hand_overs).verify(&genesis, &[], None).expect("it holds").epoch, 1);
        let mut further = receipt(1, &[]);
        further.promised.promise = promise(&chain.consortium, 1, 1, 2, &leaves);
        assert!(further.verify(&genesis, &[], None).is_ok());
        further.hand_overs.clone_from(&chain.hand_overs);
        assert_eq!(further.verify(&genesis, &[], None), Err(ReceiptInvalid::TooManyHandOvers));
        assert!(matches!(receipt(1, &[]).verify(&genesis, &[], None), Err(ReceiptInvalid::Promise(_))));
        assert!(matches!(receipt(4, &chain.hand_overs).verify(&genesis, &[], None), Err(ReceiptInvalid::Promise(_))));
    }

    #[test]
    fn the_encoding_is_pinned() {
        let (_, receipt) = receipt();
        assert_eq!(
            sha256("golden", &[&receipt.to_bytes()]).to_string(),
            "87df99a41aec0ef3976a22a61f2eaa453d32c19748821f0507720962e4366118"
        );
    }

    #[test]
    fn what_is_no_receipt_is_refused_by_name() {
        let (_, receipt) = receipt();
        let other = Receipt { version: 1, ..receipt }.to_bytes();
        assert_eq!(Receipt::from_bytes(&other), Err(ReceiptInvalid::OtherVersion { found: 1 }));
        assert!(matches!(Receipt::from_bytes(&[1, 0]), Err(ReceiptInvalid::Encoding(_))));
        let large = vec![1; RECEIPT_BYTES_MAX + 1];
        assert!(matches!(Receipt::from_bytes(&large), Err(ReceiptInvalid::TooLarge { .. })));
    }
}
