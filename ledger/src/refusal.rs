//! Why the ledger refuses an entry. Codes are part of the interface: append only, each with a page in `docs/errors`.

use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::RegionId,
    units::{BlockHeight, KeyEpoch, NodeId},
};

/// What the author of a refused entry can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same intent will be refused again.
    Never,
    /// Read the wallet's state anew and sign another entry.
    WithFreshState,
    /// The ledger will take it later as it is.
    Later,
}

/// Declares each refusal once, so that code, number and list cannot drift apart.
macro_rules! refusals {
    ($(
        $(#[doc = $doc:literal])+
        #[code($code:literal, $retry:ident)] #[error($message:literal)]
        $name:ident $({ $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)+ })?
    )+) => {
        /// A rule of the ledger says no.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[doc = $doc])+ #[error($message)] $name $({ $($(#[doc = $field_doc])+ $field: $type,)+ })?,)+
        }

        impl Refusal {
            /// All codes.
            pub const CODES: &'static [&'static str] = &[$($code),+];

            /// The stable code.
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)+ }
            }

            /// What the author can do.
            pub const fn retry(&self) -> Retry {
                match self { $(Self::$name { .. } => Retry::$retry,)+ }
            }
        }
    };
}

refusals! {
    /// Signed for another consortium.
    #[code("L-201", Never)] #[error("the entry is for consortium {found}")]
    ForeignConsortium {
        /// The consortium that it names.
        found: Digest,
    }
    /// The author is no node of this consortium.
    #[code("L-202", Never)] #[error("node {author} is not in the genesis document")]
    AuthorUnknown {
        /// Who is said to have signed.
        author: NodeId,
    }
    /// The author's signature does not verify.
    #[code("L-203", Never)] #[error("the signature of node {author} does not verify")]
    AuthorSignature {
        /// Who is said to have signed.
        author: NodeId,
    }
    /// The epoch key's signature is missing, not by the key of record, or not asked for.
    #[code("L-204", Never)] #[error("the epoch key's signature is missing, not by the key of record, or out of place")]
    HolderSignature
    /// The entry is on the ledger already.
    #[code("L-205", Never)] #[error("the entry {id} is on the ledger already")]
    Replayed {
        /// Its id.
        id: Digest,
    }
    /// Too many bytes.
    #[code("L-206", Never)] #[error("the entry has {bytes} bytes")]
    EntryTooLarge {
        /// Its size.
        bytes: usize,
    }
    /// No such wallet.
    #[code("L-207", Later)] #[error("there is no wallet {wallet:?}")]
    WalletUnknown {
        /// Its address.
        wallet: WalletAddress,
    }
    /// The wallet exists already.
    #[code("L-208", Never)] #[error("wallet {wallet:?} exists already")]
    WalletExists {
        /// Its address.
        wallet: WalletAddress,
    }
    /// The wallet is over.
    #[code("L-209", Never)] #[error("wallet {wallet:?} is closed")]
    WalletClosed {
        /// Its address.
        wallet: WalletAddress,
    }
    /// Something else happened to the wallet before.
    #[code("L-210", WithFreshState)] #[error("the wallet's head is {current}, not {named}")]
    HeadMoved {
        /// The head of record.
        current: Digest,
        /// The one that the entry names.
        named: Digest,
    }
    /// Not the epoch that it must be.
    #[code("L-211", WithFreshState)] #[error("the epoch must be {expected}, not {named}")]
    WrongEpoch {
        /// What it must be.
        expected: KeyEpoch,
        /// What the entry names.
        named: KeyEpoch,
    }
    /// Only the holder may say that.
    #[code("L-212", Never)] #[error("node {holder} holds the wallet, not {author}")]
    NotHolder {
        /// The holder of record.
        holder: NodeId,
        /// Who says so.
        author: NodeId,
    }
    /// Only the receiver of the open offer may say that.
    #[code("L-213", Never)] #[error("the offer is to node {receiver}, not to {author}")]
    NotReceiver {
        /// To whom it was offered.
        receiver: NodeId,
        /// Who says so.
        author: NodeId,
    }
    /// The wallet's phase does not allow it.
    #[code("L-214", WithFreshState)] #[error("{event} does not fit the phase of the wallet")]
    WrongPhase {
        /// What was to happen.
        event: &'static str,
    }
    /// The tenant did not sign the grant.
    #[code("L-215", Never)] #[error("the tenant's grant does not verify")]
    GrantInvalid
    /// The grant is for another consortium or another holder.
    #[code("L-216", Never)] #[error("the tenant's grant is not for this consortium and holder")]
    GrantForeign
    /// The tenant's policy forbids the region.
    #[code("L-217", Never)] #[error("the tenant's policy forbids region {region}")]
    RegionForbidden {
        /// The region.
        region: RegionId,
    }
    /// The opening does not belong to the policy.
    #[code("L-218", Never)] #[error("the opening for region {region} does not belong to the wallet's policy")]
    PolicyOpening {
        /// The region that it names.
        region: RegionId,
    }
    /// The opening is for another region than that of the node in genesis.
    #[code("L-219", Never)] #[error("node {node} is in region {region}, not {opened}")]
    WrongRegion {
        /// The node.
        node: NodeId,
        /// Its region in genesis.
        region: RegionId,
        /// The region that was opened.
        opened: RegionId,
    }
    /// The destination is no node, or the holder itself.
    #[code("L-220", Never)] #[error("node {receiver} cannot receive this wallet")]
    ReceiverInvalid {
        /// The destination.
        receiver: NodeId,
    }
    /// The prekey is not by the receiver.
    #[code("L-221", Never)] #[error("the prekey is not signed by node {receiver}")]
    PrekeyInvalid {
        /// The destination.
        receiver: NodeId,
    }
    /// The prekey was used before.
    #[code("L-222", Never)] #[error("the prekey was used by another offer")]
    PrekeySpent
    /// The deadline is too near or too far.
    #[code("L-223", WithFreshState)] #[error("deadline {deadline} is not in {from}..={to}")]
    DeadlineOutOfRange {
        /// The offer's.
        deadline: BlockHeight,
        /// The first that is allowed.
        from: BlockHeight,
        /// The last that is allowed.
        to: BlockHeight,
    }
    /// The offer's deadline is over.
    #[code("L-224", Never)] #[error("the deadline was height {deadline}")]
    DeadlinePassed {
        /// The offer's.
        deadline: BlockHeight,
    }
    /// The ticket is not signed by the holder's epoch key.
    #[code("L-225", Never)] #[error("the handoff ticket is not signed by the holder's epoch key")]
    TicketInvalid
    /// The ticket names another source or receiver.
    #[code("L-226", Never)] #[error("the handoff ticket is from node {holder} to {receiver}, not as the ticket says")]
    TicketForeign {
        /// The holder of record.
        holder: NodeId,
        /// The receiver of the open offer.
        receiver: NodeId,
    }
    /// The receiver did not prove that it opened the envelope.
    #[code("L-227", Never)] #[error("the confirm key's signature does not verify")]
    NotOpened
    /// The key held an epoch before.
    #[code("L-228", Never)] #[error("the new epoch key was used before")]
    KeyReused
    /// Not a reason that the author may give.
    #[code("L-229", Never)] #[error("node {author} may not abort for that reason now")]
    AbortNotAllowed {
        /// Who says so.
        author: NodeId,
    }
    /// Too many receivers may hold an old key.
    #[code("L-230", Never)] #[error("{count} receivers are exposed already")]
    ExposedFull {
        /// How many.
        count: usize,
    }
    /// The wallet moved as often as it may.
    #[code("L-231", Never)] #[error("the wallet has had {count} keys")]
    RotationsFull {
        /// How many.
        count: usize,
    }
    /// The baseline is not one of this wallet and epoch.
    #[code("L-232", Never)] #[error("baseline {baseline} is not one of this wallet and epoch")]
    BaselineUnknown {
        /// The entry that was named.
        baseline: Digest,
    }
    /// The delta does not answer the hop's offer.
    #[code("L-233", Never)] #[error("the delta does not refer to the baseline of the hop's offer")]
    DeltaForeign
    /// The hop has a result already.
    #[code("L-234", Never)] #[error("the hop to epoch {epoch} is settled")]
    HopSettled {
        /// The epoch that it began.
        epoch: KeyEpoch,
    }
    /// No interval was measured.
    #[code("L-235", Never)] #[error("a measurement without samples")]
    NoSamples
    /// A decision log only grows.
    #[code("L-236", Never)] #[error("the decision log has {anchored} decisions already, not {named}")]
    AnchorNotAfter {
        /// What is anchored.
        anchored: u64,
        /// What the entry names.
        named: u64,
    }
    /// The boot's nonce was used before.
    #[code("L-237", Never)] #[error("the holder touched the wallet in this boot already")]
    BootReused
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let pages: BTreeSet<String> = fs::read_dir(folder)
            .expect("docs/errors")
            .map(|file| file.expect("a file").file_name().into_string().expect("ASCII"))
            .filter_map(|name| name.strip_suffix(".md").filter(|code| code.starts_with("L-2")).map(str::to_owned))
            .collect();
        let codes: BTreeSet<String> = Refusal::CODES.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!(codes.len(), Refusal::CODES.len(), "no code twice");
        assert_eq!(pages, codes);
    }
}
