//! Why the wallet says no. Codes are stable on the wire; each has a page in `docs/errors`.

use crate::{
    codec::DecodeError,
    digest::Digest,
    handoff::Mode,
    identity::RegionId,
    units::{LogIndex, NodeId, PageIndex, TokenPosition},
};

/// A rule of the wallet was not met. Append only: codes are never reused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A policy or an opening names a region that the consortium does not have.
    #[error("region {region} is not a region of this consortium")]
    RegionUnknown {
        /// The region that was named.
        region: RegionId,
    },
    /// The tenant's policy does not let the wallet into the region.
    #[error("the tenant's policy does not allow region {region}")]
    RegionForbidden {
        /// The region that was asked for.
        region: RegionId,
    },
    /// An opening is not a leaf of the policy that the wallet committed to.
    #[error("the opening for region {region} does not belong to the committed policy")]
    OpeningInvalid {
        /// The region that the opening claims to be about.
        region: RegionId,
    },
    /// A signature does not verify.
    #[error("the signature of the {what} does not verify")]
    SignatureInvalid {
        /// What was signed.
        what: &'static str,
    },
    /// The other side's X25519 key gives an all-zero secret.
    #[error("the key agreement key contributes nothing")]
    ExchangeWeak,
    /// The hop's label and what it is used with differ.
    #[error("the hop's label does not match in its {field}")]
    LabelMismatch {
        /// The field that differs.
        field: &'static str,
    },
    /// Sealed bytes do not open under this key and label.
    #[error("the {what} does not open: wrong key, wrong place or altered bytes")]
    SealBroken {
        /// What was being opened.
        what: &'static str,
    },
    /// Bytes are not what they should be.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// A page's head or size does not fit its stream.
    #[error("the page is malformed: {reason}")]
    PageMalformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A page's content does not match the hash in its head.
    #[error("page {index} does not match its hash")]
    PageHashMismatch {
        /// The page.
        index: PageIndex,
    },
    /// A page that may still grow was to be sealed under a page key.
    #[error("page {index} is not full; only the tail envelope carries it")]
    PageNotFull {
        /// The page.
        index: PageIndex,
    },
    /// A page with other content was sealed under the same key before.
    #[error("page {index} was sealed before with other content")]
    PageChanged {
        /// The page.
        index: PageIndex,
    },
    /// The content is not what the commitment says.
    #[error("the content does not match the commitment")]
    ContentMismatch,
    /// The ticket or statement is about something else.
    #[error("the handoff ticket does not match in its {field}")]
    TicketMismatch {
        /// The field that differs.
        field: &'static str,
    },
    /// The ticket or intent names another head than the wallet has here.
    #[error("the wallet's head is {current}, not {named}")]
    HeadMismatch {
        /// Where the wallet stands in this node's copy of the ledger.
        current: Digest,
        /// What was named.
        named: Digest,
    },
    /// The node's mode does not allow it.
    #[error("a node that is {mode} for this wallet cannot do that")]
    ModeWrong {
        /// The mode that it is in.
        mode: Mode,
    },
    /// The wallet's phase on the ledger does not allow it.
    #[error("the ledger does not allow it now: {reason}")]
    PhaseWrong {
        /// What stands in the way.
        reason: &'static str,
    },
    /// Another node holds the wallet.
    #[error("the wallet is held by {holder:?}")]
    NotHolder {
        /// The holder of record, if the wallet exists.
        holder: Option<NodeId>,
    },
    /// A final entry was skipped.
    #[error("the entry at log index {at} does not follow the wallet's last one")]
    FactGap {
        /// The entry that came too early.
        at: LogIndex,
    },
    /// A token position went back.
    #[error("token position {next} lies before {current}")]
    PositionBackwards {
        /// The next position so far.
        current: TokenPosition,
        /// What was reported.
        next: TokenPosition,
    },
    /// A gate breaks a rule of gates.
    #[error("the gate is not valid: {reason}")]
    GateInvalid {
        /// The rule.
        reason: &'static str,
    },
    /// A node is not a member of the gate or of the key generation.
    #[error("node {node} is not a member")]
    NotMember {
        /// The node.
        node: NodeId,
    },
    /// A gate ciphertext was not made for this gate and label, or was altered.
    #[error("the gate ciphertext does not belong to this gate and label")]
    CiphertextInvalid,
    /// A member's part of a release is false. Its proof names the member.
    #[error("node {node} released a false part")]
    PartialInvalid {
        /// The member.
        node: NodeId,
    },
    /// Fewer members released than must.
    #[error("{have} of {need} members have released")]
    ReleasesMissing {
        /// How many did.
        have: usize,
        /// How many must.
        need: usize,
    },
    /// A key generation does not take the notice now.
    #[error("the key generation does not take it: {reason}")]
    NoticeRefused {
        /// What stands in the way.
        reason: &'static str,
    },
    /// A member's contribution to a key generation is not valid.
    #[error("the contribution of node {node} is not valid")]
    ContributionInvalid {
        /// The member.
        node: NodeId,
    },
    /// A package of a key generation is of another run, or for another member, or a complaint about it shows nothing.
    #[error("the package is not of this run and for this member, or the complaint shows nothing wrong with it")]
    PackageMismatch,
    /// A gate's member released something else at this head of the wallet.
    #[error("something else was released at this head")]
    SecondRelease,
    /// The prekey was used in another hop.
    #[error("the prekey was used before")]
    PrekeyReused,
    /// A hop's key lacks a leg that it must have, has one that it must not have, or one through another gate.
    #[error("the hop's key does not have the legs that it must have: {leg}")]
    LegWrong {
        /// The leg.
        leg: &'static str,
    },
    /// Bytes are no public key or no encapsulation of this mechanism.
    #[error("the {what} is not one of this key encapsulation mechanism")]
    KemMalformed {
        /// What it should have been.
        what: &'static str,
    },
    /// A release is about another wallet, head, gate, label, ciphertext, prekey or part than it is used for.
    #[error("the release is about something else")]
    ReleaseMismatch,
    /// A text is no wrapped key.
    #[error("not a wrapped key: {reason}")]
    WrappedKeyMalformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A wrapped key asks for more memory or time than any honest one, or than this machine has.
    #[error(
        "the wrapped key asks for {memory_kib} KiB of memory in {passes} passes, which is refused or not to be had"
    )]
    WorkTooGreat {
        /// How much memory.
        memory_kib: u64,
        /// How often it is written.
        passes: u32,
    },
    /// The passphrase does not open the wrapped key.
    #[error("another passphrase, or the wrapped key was altered")]
    PassphraseWrong,
    /// A text cannot be a passphrase.
    #[error("not a passphrase: {reason}")]
    PassphraseUnfit {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Whatever keeps the key did not sign.
    #[error("the key store did not sign: {reason}")]
    KeyStoreFailed {
        /// What it says.
        reason: String,
    },
}

/// Whether it helps to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will be refused again.
    Never,
    /// The same request may succeed once more entries are final here.
    Later,
    /// The same page or envelope may arrive intact when it is sent again.
    Resend,
    /// Another destination may do.
    Elsewhere,
}

impl Refusal {
    /// Every code, in order.
    pub const CODES: [&'static str; 38] = [
        "W-101", "W-102", "W-103", "W-104", "W-105", "W-106", "W-107", "W-108", "W-109", "W-110", "W-111", "W-112",
        "W-113", "W-114", "W-115", "W-116", "W-117", "W-118", "W-119", "W-120", "W-121", "W-122", "W-123", "W-124",
        "W-125", "W-126", "W-127", "W-128", "W-129", "W-130", "W-131", "W-132", "W-133", "W-134", "W-135", "W-136",
        "W-137", "W-138",
    ];

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RegionUnknown { .. } => "W-101",
            Self::RegionForbidden { .. } => "W-102",
            Self::OpeningInvalid { .. } => "W-103",
            Self::SignatureInvalid { .. } => "W-104",
            Self::ExchangeWeak => "W-105",
            Self::LabelMismatch { .. } => "W-106",
            Self::SealBroken { .. } => "W-107",
            Self::Malformed(_) => "W-108",
            Self::PageMalformed { .. } => "W-109",
            Self::PageHashMismatch { .. } => "W-110",
            Self::PageNotFull { .. } => "W-111",
            Self::PageChanged { .. } => "W-112",
            Self::ContentMismatch => "W-113",
            Self::TicketMismatch { .. } => "W-114",
            Self::HeadMismatch { .. } => "W-115",
            Self::ModeWrong { .. } => "W-116",
            Self::PhaseWrong { .. } => "W-117",
            Self::NotHolder { .. } => "W-118",
            Self::FactGap { .. } => "W-119",
            Self::PositionBackwards { .. } => "W-120",
            Self::GateInvalid { .. } => "W-121",
            Self::NotMember { .. } => "W-122",
            Self::CiphertextInvalid => "W-123",
            Self::PartialInvalid { .. } => "W-124",
            Self::ReleasesMissing { .. } => "W-125",
            Self::NoticeRefused { .. } => "W-126",
            Self::ContributionInvalid { .. } => "W-127",
            Self::PackageMismatch => "W-128",
            Self::SecondRelease => "W-129",
            Self::PrekeyReused => "W-130",
            Self::LegWrong { .. } => "W-131",
            Self::KemMalformed { .. } => "W-132",
            Self::ReleaseMismatch => "W-133",
            Self::WrappedKeyMalformed { .. } => "W-134",
            Self::WorkTooGreat { .. } => "W-135",
            Self::PassphraseWrong => "W-136",
            Self::PassphraseUnfit { .. } => "W-137",
            Self::KeyStoreFailed { .. } => "W-138",
        }
    }

    /// Whether it helps to try again.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::RegionUnknown { .. } | Self::RegionForbidden { .. } => Retry::Elsewhere,
            Self::SealBroken { .. }
            | Self::Malformed(_)
            | Self::PageMalformed { .. }
            | Self::PageHashMismatch { .. }
            | Self::ContentMismatch => Retry::Resend,
            Self::HeadMismatch { .. }
            | Self::ModeWrong { .. }
            | Self::PhaseWrong { .. }
            | Self::NotHolder { .. }
            | Self::FactGap { .. }
            | Self::ReleasesMissing { .. } => Retry::Later,
            Self::OpeningInvalid { .. }
            | Self::SignatureInvalid { .. }
            | Self::ExchangeWeak
            | Self::LabelMismatch { .. }
            | Self::PageNotFull { .. }
            | Self::PageChanged { .. }
            | Self::TicketMismatch { .. }
            | Self::PositionBackwards { .. }
            | Self::GateInvalid { .. }
            | Self::NotMember { .. }
            | Self::CiphertextInvalid
            | Self::PartialInvalid { .. }
            | Self::NoticeRefused { .. }
            | Self::ContributionInvalid { .. }
            | Self::PackageMismatch
            | Self::SecondRelease
            | Self::PrekeyReused
            | Self::LegWrong { .. }
            | Self::KemMalformed { .. }
            | Self::ReleaseMismatch
            | Self::WrappedKeyMalformed { .. }
            | Self::WorkTooGreat { .. }
            | Self::PassphraseWrong
            | Self::PassphraseUnfit { .. }
            | Self::KeyStoreFailed { .. } => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// One of each variant.
    fn samples() -> Vec<Refusal> {
        let region = RegionId::try_from("eu".to_owned()).expect("a region name");
        let index = PageIndex::ZERO;
        vec![
            Refusal::RegionUnknown { region: region.clone() },
            Refusal::RegionForbidden { region: region.clone() },
            Refusal::OpeningInvalid { region },
            Refusal::SignatureInvalid { what: "ticket" },
            Refusal::ExchangeWeak,
            Refusal::LabelMismatch { field: "region" },
            Refusal::SealBroken { what: "page" },
            Refusal::Malformed(DecodeError::TrailingBytes { what: "u8", count: 1 }),
            Refusal::PageMalformed { reason: "crc" },
            Refusal::PageHashMismatch { index },
            Refusal::PageNotFull { index },
            Refusal::PageChanged { index },
            Refusal::ContentMismatch,
            Refusal::TicketMismatch { field: "source" },
            Refusal::HeadMismatch { current: Digest::ZERO, named: Digest::ZERO },
            Refusal::ModeWrong { mode: Mode::Idle },
            Refusal::PhaseWrong { reason: "no offer is open" },
            Refusal::NotHolder { holder: None },
            Refusal::FactGap { at: LogIndex::ZERO },
            Refusal::PositionBackwards { current: TokenPosition::ZERO, next: TokenPosition::ZERO },
            Refusal::GateInvalid { reason: "members are not in ascending order" },
            Refusal::NotMember { node: NodeId::ZERO },
            Refusal::CiphertextInvalid,
            Refusal::PartialInvalid { node: NodeId::ZERO },
            Refusal::ReleasesMissing { have: 2, need: 3 },
            Refusal::NoticeRefused { reason: "members are not sharing now" },
            Refusal::ContributionInvalid { node: NodeId::ZERO },
            Refusal::PackageMismatch,
            Refusal::SecondRelease,
            Refusal::PrekeyReused,
            Refusal::LegWrong { leg: "global gate" },
            Refusal::KemMalformed { what: "key" },
            Refusal::ReleaseMismatch,
            Refusal::WrappedKeyMalformed { reason: "it is not base64url" },
            Refusal::WorkTooGreat { memory_kib: 1 << 30, passes: 1 },
            Refusal::PassphraseWrong,
            Refusal::PassphraseUnfit { reason: "it is empty" },
            Refusal::KeyStoreFailed { reason: "the token was removed".to_owned() },
        ]
    }

    #[test]
    fn every_variant_has_its_own_listed_code() {
        let codes: Vec<_> = samples().iter().map(Refusal::code).collect();
        assert_eq!(codes, Refusal::CODES);
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let pages: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("docs/errors is part of the repository")
            .filter_map(|entry| entry.expect("a readable folder").file_name().into_string().ok())
            .filter(|name| name.starts_with("W-"))
            .collect();
        let codes: BTreeSet<String> = Refusal::CODES.iter().map(|code| format!("{code}.md")).collect();
        assert_eq!(pages, codes);
    }
}
