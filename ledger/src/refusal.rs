//! Why the ledger refuses an entry. Codes are part of the interface: append only, each with a page in `docs/errors`.

use genesis::{GenesisError, OperatorId};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, RegionId},
    units::{BlockHeight, KeyEpoch, NodeId, Timestamp},
};

use crate::governance::Member;

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
    #[code("L-202", Never)] #[error("node {author} is not of this consortium, or was removed from it")]
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
    /// The author is suspended, or its key was revoked.
    #[code("L-238", Later)] #[error("node {author} is suspended or has no key, and may not say that")]
    AuthorSuspended {
        /// Who says so.
        author: NodeId,
    }
    /// The operator has no vote.
    #[code("L-239", Never)] #[error("operator {operator} is not in force")]
    OperatorNotInForce {
        /// Who is said to have signed.
        operator: OperatorId,
    }
    /// The operator's signature does not verify.
    #[code("L-240", Never)] #[error("the signature of operator {operator} does not verify")]
    OperatorSignature {
        /// Who is said to have signed.
        operator: OperatorId,
    }
    /// The proposal is put to others than the operators in force.
    #[code("L-241", WithFreshState)] #[error("the electorate is {current}, not {named}")]
    ElectorateChanged {
        /// The one of record.
        current: u64,
        /// The one that the proposal names.
        named: u64,
    }
    /// The proposal was made already.
    #[code("L-242", Never)] #[error("the proposal {proposal} was made already")]
    ProposalExists {
        /// Its digest.
        proposal: Digest,
    }
    /// The operator has as many proposals open as it may.
    #[code("L-243", Later)] #[error("operator {operator} has {count} open proposals already")]
    ProposalsFull {
        /// Who proposes.
        operator: OperatorId,
        /// How many.
        count: usize,
    }
    /// A proposal of nothing, or of too much.
    #[code("L-244", Never)] #[error("a proposal of {count} actions")]
    ActionCount {
        /// How many.
        count: usize,
    }
    /// No such proposal.
    #[code("L-245", Never)] #[error("there is no proposal {proposal}")]
    ProposalUnknown {
        /// What the entry names.
        proposal: Digest,
    }
    /// The proposal was enacted.
    #[code("L-246", Never)] #[error("the proposal {proposal} was enacted already")]
    ProposalDone {
        /// Its digest.
        proposal: Digest,
    }
    /// Too many were against the proposal.
    #[code("L-247", Never)] #[error("the proposal {proposal} was rejected")]
    ProposalRejected {
        /// Its digest.
        proposal: Digest,
    }
    /// The proposer took the proposal back.
    #[code("L-248", Never)] #[error("the proposal {proposal} was withdrawn")]
    ProposalTakenBack {
        /// Its digest.
        proposal: Digest,
    }
    /// The proposal's time is over.
    #[code("L-249", Never)] #[error("the proposal {proposal} expired at {expired_at}")]
    ProposalExpired {
        /// Its digest.
        proposal: Digest,
        /// Block time after which nothing can be done with it, in ms since 1970.
        expired_at: Timestamp,
    }
    /// The operators in force or their keys changed since the proposal was made.
    #[code("L-250", Never)] #[error("the proposal {proposal} was put to electorate {named}, and that is over")]
    ProposalSuperseded {
        /// Its digest.
        proposal: Digest,
        /// To whom it was put.
        named: u64,
    }
    /// An operator has one ballot.
    #[code("L-251", Never)] #[error("operator {operator} has voted on this proposal")]
    BallotTwice {
        /// Who voted.
        operator: OperatorId,
    }
    /// Only who made a proposal withdraws it.
    #[code("L-252", Never)] #[error("operator {operator} made the proposal, and its signature is not under the withdrawal")]
    NotProposer {
        /// Who made it.
        operator: OperatorId,
    }
    /// No quorum is for the proposal.
    #[code("L-253", Later)] #[error("{found} operators approve the proposal, and {quorum} have to")]
    ProposalNotPassed {
        /// How many are for it.
        found: usize,
        /// How many have to be.
        quorum: usize,
    }
    /// The proposal passed, and its lock is not over.
    #[code("L-254", Later)] #[error("the proposal can be enacted from {enactable_at} on")]
    ProposalLocked {
        /// Block time of the first block that may enact it, in ms since 1970.
        enactable_at: Timestamp,
    }
    /// An operator or node with that id, name or address is or was there.
    #[code("L-255", Never)] #[error("{what} is taken")]
    MemberExists {
        /// What is not new.
        what: String,
    }
    /// No such operator, node or auditor, or it left.
    #[code("L-256", Never)] #[error("{what} does not take part")]
    MemberUnknown {
        /// Who was named.
        what: String,
    }
    /// The member's standing does not allow it.
    #[code("L-257", Never)] #[error("the standing of {member} does not allow that")]
    StandingUnfit {
        /// Who was named.
        member: Member,
    }
    /// A key has one role, once.
    #[code("L-258", Never)] #[error("the key {key} has or had a role")]
    KeyKnown {
        /// The key.
        key: PublicKey,
    }
    /// The key is not the one that the action is about.
    #[code("L-259", WithFreshState)] #[error("the key {key} is not in force, or is revoked already")]
    KeyUnfit {
        /// The key.
        key: PublicKey,
    }
    /// Somebody whose word it takes did not agree to the role of a key.
    #[code("L-260", Never)] #[error("the key {key} did not sign that it agrees")]
    KeyConsent {
        /// The key.
        key: PublicKey,
    }
    /// The change breaks a rule that the genesis document has to keep.
    #[code("L-261", Never)] #[error("{reason}")]
    GenesisRule {
        /// Which.
        reason: Box<GenesisError>,
    }
    /// No such parameter, or it has another value than the proposal says.
    #[code("L-262", WithFreshState)] #[error("there is no parameter {name:?} with value {from}")]
    ParameterUnfit {
        /// Its name.
        name: String,
        /// What the proposal says of its value.
        from: u64,
    }
    /// No operator would be left to vote, or no node.
    #[code("L-263", Never)] #[error("nobody would be left to vote")]
    NobodyLeft
    /// A quorum agreed: its proposer cannot take that back.
    #[code("L-265", Never)] #[error("the proposal {proposal} has passed, and cannot be withdrawn")]
    ProposalPassed {
        /// Its digest.
        proposal: Digest,
    }
    /// Those that join would be needed for the quorum.
    #[code("L-266", Never)] #[error("{stay} validators stay, and the next quorum is {quorum}: take smaller steps")]
    StepTooLarge {
        /// How many of the present validators are in the next set.
        stay: usize,
        /// Of the next set.
        quorum: usize,
    }
    /// A parameter that nodes read from the genesis document.
    #[code("L-267", Never)] #[error("parameter {name:?} cannot be changed: nodes read it from the genesis document")]
    ParameterFixed {
        /// Its name.
        name: String,
    }
    /// Who may read about its own model alone would read about all.
    #[code("L-290", Never)] #[error("the API key with hash {key_hash} is that of the owner of model {model:?}")]
    OwnersKey {
        /// The key's hash.
        key_hash: Digest,
        /// The model's name in the genesis document.
        model: String,
    }
    /// A re-genesis in a block that is voted on.
    #[code("L-268", Never)] #[error("a re-genesis is no entry of a block that is voted on")]
    ReGenesisOutOfPlace
    /// Not the next lineage.
    #[code("L-269", Never)] #[error("the next lineage is {expected}, not {named}")]
    WrongLineage {
        /// What it must be.
        expected: u32,
        /// What the entry names.
        named: u32,
    }
    /// No reason that can be read.
    #[code("L-270", Never)] #[error("a re-genesis needs a reason of 1 to {max} bytes in one line, not {bytes} bytes")]
    ReGenesisReason {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    }
    /// Somebody is named twice, or not in order.
    #[code("L-271", Never)] #[error("who is lost must be named in ascending order, each once, {max} at most")]
    LostOutOfOrder {
        /// How many may be named.
        max: usize,
    }
    /// An operator would have a say in the next lineage and no signature under it.
    #[code("L-272", Never)]
    #[error("operator {operator} would stay in force without a node that votes: name it as lost")]
    OperatorWithoutValidator {
        /// Which.
        operator: OperatorId,
    }
    /// What was dropped is not above the last final block.
    #[code("L-273", Never)] #[error("nothing of height {highest} is dropped by a re-genesis at {height}")]
    DroppedBelow {
        /// The highest block that is said to be dropped.
        highest: BlockHeight,
        /// Of the re-genesis.
        height: BlockHeight,
    }
    /// The author came back in another lineage, or after another re-genesis.
    #[code("L-350", Never)] #[error("the node is back where {named} is in force, and here {current} is")]
    ResumedElsewhere {
        /// The name in force.
        current: Digest,
        /// The one that the entry names.
        named: Digest,
    }
    /// What was decided of a member is older than what has been done.
    #[code("L-351", Never)] #[error("{member} has its standing by the proposal {by}, which was made later")]
    DecidedLater {
        /// Who.
        member: Member,
        /// Digest of that proposal.
        by: Digest,
    }
    /// More members than there may be.
    #[code("L-264", Never)] #[error("more than {max} {what}")]
    TooManyMembers {
        /// Of which kind.
        what: &'static str,
        /// How many there may be.
        max: usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        // Between them are those of evidence.
        let is_ours = |code: &str| ["L-201".."L-296", "L-350".."L-380"].iter().any(|codes| codes.contains(&code));
        let pages: BTreeSet<String> = fs::read_dir(folder)
            .expect("docs/errors")
            .map(|file| file.expect("a file").file_name().into_string().expect("ASCII"))
            .filter_map(|name| name.strip_suffix(".md").filter(|code| is_ours(code)).map(str::to_owned))
            .collect();
        let codes: BTreeSet<String> = Refusal::CODES.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!(codes.len(), Refusal::CODES.len(), "no code twice");
        assert_eq!(pages, codes);
    }
}
