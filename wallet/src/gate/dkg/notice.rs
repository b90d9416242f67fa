//! What members put on the ledger during a run. The entry around it says who wrote it, and is signed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{contribution::Contribution, package::SignedPackage, transcript::Transcript};
use crate::{digest::Digest, gate::Partial, identity::PublicKey, refusal::Refusal, units::NodeId};

/// One entry of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The author's first round.
    Contributed(Box<Contribution>),
    /// The author says that another member does wrong.
    Complained(Complaint),
    /// The author's package for a member who says that it did not get one: the bytes that it sent before.
    Answered(SignedPackage),
    /// The author has its share, of the gate with this hash.
    Confirmed(Digest),
}

/// What a member says of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Complaint {
    /// No package came. It cannot be shown, so whoever is named answers on the ledger. A member names all in one notice,
    /// and may name all others in a second one, if it lost what it had.
    Missing {
        /// Who should have sent one.
        accused: BTreeSet<NodeId>,
    },
    /// A package came and is false. Anyone can check it.
    False {
        /// The package, under the sender's signature.
        package: SignedPackage,
        /// The author's release of its content; none is needed if the ciphertext itself is false.
        opening: Option<Box<Partial>>,
    },
}

impl Complaint {
    /// Who is at fault: the sender of a false package, or an accuser who shows a good one.
    ///
    /// # Errors
    /// [`Refusal::PackageMismatch`], [`Refusal::SignatureInvalid`]: it shows nothing about anybody, so it is no
    /// complaint. Neither does it if the accuser's release is false.
    pub(super) fn judge(
        transcript: &Transcript,
        accuser: NodeId,
        package: &SignedPackage,
        opening: Option<&Partial>,
        key: &PublicKey,
    ) -> Result<NodeId, Refusal> {
        let accused = package.from();
        package.check(transcript.ceremony_hash(), accused, accuser, key)?;
        let (from, to) = (transcript.contribution(accused)?, transcript.contribution(accuser)?);
        let Some(opening) = opening else {
            let label = crate::gate::GateLabel::package(transcript.ceremony_hash(), accused, accuser);
            return match to.packages.verify(&label, &package.package.ciphertext) {
                Ok(_) => Err(Refusal::PackageMismatch),
                Err(_) => Ok(accused),
            };
        };
        Ok(if package.opened(&from, &to, *opening)?.is_some() { accuser } else { accused })
    }
}
