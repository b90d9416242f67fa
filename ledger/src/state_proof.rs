//! What the final state holds under a key, or that it holds nothing, in one file, for an auditor who has the genesis hash
//! and nothing else.
//!
//! The file begins as a [`crate::bundle`] does: the genesis document, how each validator set handed over to the next, a
//! header that a quorum made final, and who runs its validators. The rest is one path from the header's state root, and
//! what ends it. [`verify`] makes the checks of [`Check`] that speak of these, in their order, and stops at the first that
//! fails. See `docs/formats/state-proof.md`.

use genesis::Consortium;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wallet::{codec, digest::Digest};

use crate::{
    block::Header,
    bundle::{
        Attestation, BUNDLE_BYTES_MAX, Check, Failure, FinalView, Foundation, MemberProof, Members, NotProvable,
        decode, members_of,
    },
    certificate::Certificate,
    epochs::Epochs,
    hand_over::HandOver,
    state::{Record, StateKey},
    tree::state::{ProofInvalid, StateProof},
};

/// The format that this build writes and reads.
pub const VERSION: u32 = 2;
/// A file has at most this many bytes.
pub const STATE_PROOF_BYTES_MAX: usize = BUNDLE_BYTES_MAX;

/// See the module. All fields but the last three are those of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProofFile {
    /// [`VERSION`].
    pub version: u32,
    /// 1, and one more for each re-genesis.
    pub lineage: u32,
    /// The genesis document with all its signatures, canonically encoded.
    pub consortium: Vec<u8>,
    /// How each epoch before the header's ended, from genesis on.
    pub hand_overs: Vec<HandOver>,
    /// The block under whose state root it is proven.
    pub header: Header,
    /// What made it final. Of a block that closes its epoch, that of the last of the carriers if there are any.
    pub certificate: Certificate,
    /// Above a block that closes its epoch, up to what the certificate names.
    pub carriers: Vec<Header>,
    /// Validators of the last set that the genesis document does not list, ascending by subject.
    pub members: Vec<MemberProof>,
    /// What is asked about.
    pub key: StateKey,
    /// The hashes beside the path of the key, the state root's children first.
    pub path: Vec<Digest>,
    /// What ends the path.
    pub end: PathEnd,
}

/// Where the path of a key ends. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathEnd {
    /// At the key's own leaf: the record, canonically encoded.
    Record(Vec<u8>),
    /// In an empty subtree: nothing stands under the key.
    Empty,
    /// At the only leaf of a subtree, which is another key's: nothing stands under this one.
    Other {
        /// The other key's digest.
        key: Digest,
        /// SHA-256 of its value.
        value_hash: Digest,
    },
}

/// What a verified file proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By whose word, and as of which block.
    pub attested: Attestation,
    /// What it is about.
    pub key: StateKey,
    /// What stands there; none if nothing does.
    pub record: Option<Record>,
    /// The checks that held, in order.
    pub checks: Vec<Check>,
}

/// The checks that are made, in their order.
pub const CHECKS: [Check; 11] = [
    Check::Version,
    Check::Decode,
    Check::Lineage,
    Check::GenesisDocument,
    Check::GenesisHash,
    Check::GenesisSignatures,
    Check::HandOvers,
    Check::HeaderConsortium,
    Check::Certificate,
    Check::Members,
    Check::StateProof,
];

impl StateProofFile {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    fn foundation(&self) -> Foundation<'_> {
        Foundation {
            lineage: self.lineage,
            consortium: &self.consortium,
            hand_overs: &self.hand_overs,
            header: &self.header,
            certificate: &self.certificate,
            carriers: &self.carriers,
        }
    }

    /// What stands under the key by the path, and nothing else.
    fn record(&self) -> Result<Option<Record>, Failure> {
        let failed = |invalid: ProofInvalid| Failure::new(Check::StateProof, invalid);
        let (root, key, siblings) = (&self.header.state_root, self.key.digest(), self.path.clone());
        let value = match &self.end {
            PathEnd::Record(value) => value,
            PathEnd::Empty => {
                let proof = StateProof { siblings, terminal: None };
                return proof.verify_absent(root, &key).map(|()| None).map_err(failed);
            }
            PathEnd::Other { key: other, value_hash } => {
                let proof = StateProof { siblings, terminal: Some((*other, *value_hash)) };
                return proof.verify_absent(root, &key).map(|()| None).map_err(failed);
            }
        };
        let terminal = Some((key, Digest(Sha256::digest(value).into())));
        StateProof { siblings, terminal }.verify_present(root, &key, value).map_err(failed)?;
        let record: Record = codec::decode(value).map_err(|error| Failure::new(Check::StateProof, error))?;
        if !record.is_of(&self.key) {
            return Err(Failure::new(Check::StateProof, "the record is of another kind than its key"));
        }
        Ok(Some(record))
    }
}

/// The file about `key` under the newest final block of `view`.
///
/// # Errors
/// [`NotProvable`] before the first final block, and where nobody could read or verify the file.
pub fn build(
    consortium: &Consortium,
    view: &(impl FinalView + ?Sized),
    key: StateKey,
) -> Result<StateProofFile, NotProvable> {
    let (header, certificate) = view.tip().ok_or(NotProvable::NothingFinal)?;
    let (epochs, members) = members_of(consortium, view, &[])?;
    let StateProof { siblings, terminal } = view.state().prove(key.clone());
    let end = match (view.state().record(key.clone()), terminal) {
        (Some(record), _) => PathEnd::Record(codec::encode(&record)),
        (None, Some((key, value_hash))) => PathEnd::Other { key, value_hash },
        (None, None) => PathEnd::Empty,
    };
    let file = StateProofFile {
        version: VERSION,
        lineage: epochs.sets().lineage(),
        consortium: consortium.to_bytes(),
        hand_overs: view.hand_overs().to_vec(),
        header: header.clone(),
        certificate: certificate.clone(),
        carriers: view.carriers().to_vec(),
        members,
        key,
        path: siblings,
        end,
    };
    let bytes = codec::encoded_size(&file);
    if bytes > STATE_PROOF_BYTES_MAX {
        return Err(NotProvable::TooLarge { bytes });
    }
    // The hand-overs were verified above, and their signatures cost most.
    verify_in(&file, consortium, epochs, None)?;
    Ok(file)
}

/// Verifies a file against the hash of the genesis document that the auditor trusts and the re-geneses that lie between, as
/// the auditor was told, and that it is about `asked` if that
/// is given.
///
/// # Errors
/// [`Failure`] names the first check that does not hold.
pub fn verify(bytes: &[u8], genesis: &Digest, named: &[Digest], asked: Option<&StateKey>) -> Result<Report, Failure> {
    let file: StateProofFile = decode(bytes, VERSION)?;
    let (consortium, epochs) = file.foundation().epochs(genesis, named)?;
    verify_in(&file, &consortium, epochs, asked)
}

/// What [`verify`] checks after the hand-overs, which prove `epochs`.
fn verify_in(
    file: &StateProofFile,
    consortium: &Consortium,
    epochs: Epochs,
    asked: Option<&StateKey>,
) -> Result<Report, Failure> {
    let foundation = file.foundation();
    foundation.certified(&epochs)?;
    let members = Members::proven(consortium, epochs, &file.header.state_root, &file.members)?;
    let attested = foundation.attested(&members)?;
    if let Some(asked) = asked.filter(|asked| **asked != file.key) {
        let detail = format_args!("it is about {}, and not about {asked}", file.key);
        return Err(Failure::new(Check::StateProof, detail));
    }
    let record = file.record()?;
    Ok(Report { attested, key: file.key.clone(), record, checks: CHECKS.to_vec() })
}

#[cfg(test)]
mod tests;
