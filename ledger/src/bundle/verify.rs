//! Checking a bundle: no network, no clock, no trust.

use std::fmt;

use genesis::{Consortium, Document, ValidatorSet};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    identity::RegionId,
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::{
    Assurance, BUNDLE_BYTES_MAX, Bundle, PlacedEntry, VERSION,
    check::{Check, Failure, require},
    decision_hash,
    decisions::LogEnd,
    history::{History, LastHop},
    members::{Members, proven},
    since,
};
use crate::{
    block::Header,
    certificate::Certificate,
    epochs::Epochs,
    event::{DecisionAnchored, Event},
    hand_over::{HandOver, closed_by, re_geneses},
    state::{Record, StateKey},
    tree::several,
};

/// Whose word a proof is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// Hash of the genesis document: the auditor's own.
    pub consortium: Digest,
    /// The consortium's name.
    pub name: String,
    /// How much the quorum is worth.
    pub assurance: Assurance,
    /// 1, and one more for each re-genesis.
    pub lineage: u32,
    /// How often the ledger began anew without a quorum, the first ones first: each one is in the chain by the word of
    /// those that signed it, and because the auditor named it.
    pub re_geneses: Vec<Begun>,
    /// Which validator set signed: 0 is that of genesis.
    pub epoch: u64,
    /// The final height under which all was proven.
    pub height: BlockHeight,
    /// Its block time.
    pub time: Timestamp,
    /// Who signed that it is final.
    pub signers: Vec<NodeId>,
}

/// What a verified bundle proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By whose word.
    pub attested: Attestation,
    /// Which move.
    pub moved: Move,
    /// Where the source's word for its decisions stands.
    pub anchor: Anchored,
    /// How many entries the log had at the checkpoint that the auditor pinned; none if there was none to compare with.
    pub pinned: Option<u64>,
    /// The checks that held, in order: [`verify`] makes all but [`Check::DecisionSubject`], for which a decision must be
    /// read. Those of a checkpoint and of growth are among them if there is one to compare with.
    pub checks: Vec<Check>,
}

/// A re-genesis that lies between the genesis document and what is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its digest: the auditor's own.
    pub digest: Digest,
    /// The lineage that began.
    pub lineage: u32,
    /// Its height.
    pub height: BlockHeight,
    /// Its block time.
    pub time: Timestamp,
    /// For which nodes their operators signed.
    pub signers: Vec<NodeId>,
    /// Who was lost, by their word.
    pub lost: Vec<String>,
    /// Why, by their word.
    pub reason: String,
}

/// The proven move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The epoch that the hop began.
    pub epoch: KeyEpoch,
    /// The node that handed over, and its region.
    pub source: (NodeId, RegionId),
    /// The node that holds it from there on, and its region.
    pub destination: (NodeId, RegionId),
    /// Where the confirm stands in the log.
    pub confirmed_at: LogIndex,
    /// The encoded decision that caused it, for whoever can read decisions.
    pub decision: Vec<u8>,
}

/// The anchor that covers the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchored {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// Number of decisions in the source's log then.
    pub decisions: u64,
    /// Hash of the last one.
    pub log_head: Digest,
}

/// What every proof begins with: it leads from the genesis hash to a header that a quorum made final.
pub(crate) struct Foundation<'a> {
    pub(crate) lineage: u32,
    pub(crate) consortium: &'a [u8],
    pub(crate) hand_overs: &'a [HandOver],
    pub(crate) header: &'a Header,
    pub(crate) certificate: &'a Certificate,
    pub(crate) carriers: &'a [Header],
}

impl Foundation<'_> {
    /// The checks from [`Check::Lineage`] to [`Check::HandOvers`].
    pub(crate) fn epochs(&self, genesis: &Digest, named: &[Digest]) -> Result<(Consortium, Epochs), Failure> {
        self.lineage(named)?;
        let consortium = consortium(self.consortium, genesis)?;
        let epochs = Epochs::proven(&consortium, self.hand_overs, named)
            .map_err(|invalid| Failure::new(Check::HandOvers, invalid))?;
        Ok((consortium, epochs))
    }

    /// Whether exactly those re-geneses lie between genesis and what is proven that the auditor named, as far as their
    /// headers say.
    fn lineage(&self, named: &[Digest]) -> Result<(), Failure> {
        let found = re_geneses(self.hand_overs);
        if let Some(unknown) = found.iter().find(|digest| !named.contains(digest)) {
            let detail = format_args!("the ledger begins anew with the re-genesis {unknown}, which was not named");
            return Err(Failure::new(Check::Lineage, detail));
        }
        if let Some(missing) = named.iter().find(|digest| !found.contains(digest)) {
            let detail = format_args!("the re-genesis {missing}, which was named, is not in it");
            return Err(Failure::new(Check::Lineage, detail));
        }
        let is_counted = u64::from(self.lineage) == found.len() as u64 + 1;
        require(is_counted, Check::Lineage, "it says another lineage than it holds re-geneses for")
    }

    /// Those after it, up to [`Check::Certificate`].
    pub(crate) fn certified(&self, epochs: &Epochs) -> Result<(), Failure> {
        if self.begins_last() {
            return Ok(());
        }
        header(self.header, epochs)?;
        certificate(self, epochs)
    }

    /// Whether the header is that of the re-genesis that began the last epoch, with what made it final: both were verified
    /// with the hand-overs.
    fn begins_last(&self) -> bool {
        let Some(HandOver { closing, proof, re_genesis: Some(_), .. }) = self.hand_overs.last() else { return false };
        (closing, &proof.certificate, &proof.carriers[..]) == (self.header, self.certificate, self.carriers)
    }

    /// Whose word it is, once it is verified, as far as `members` say who runs the validators.
    pub(crate) fn attested(&self, members: &Members<'_>) -> Result<Attestation, Failure> {
        let consortium = members.consortium;
        Ok(Attestation {
            consortium: consortium.id(),
            name: consortium.name().to_owned(),
            assurance: assurance(consortium, members)?,
            lineage: self.lineage,
            re_geneses: self.hand_overs.iter().filter_map(begun).collect(),
            epoch: members.epochs.last().epoch,
            height: self.header.height,
            time: self.header.time,
            signers: self.certificate.signatures.iter().map(|(node, _)| *node).collect(),
        })
    }
}

/// Verifies a bundle against the hash of the genesis document that the auditor trusts, and the digests of the re-geneses
/// that lie between it and what is proven, as the auditor was told: all checks but [`Check::DecisionSubject`].
/// `checkpoint` is the file of a checkpoint that the auditor kept (a signed note of C2SP): then the log must go on from there.
///
/// # Errors
/// [`Failure`] names the first check that does not hold.
pub fn verify(bytes: &[u8], genesis: &Digest, named: &[Digest], checkpoint: Option<&[u8]>) -> Result<Report, Failure> {
    let bundle: Bundle = decode(bytes, VERSION)?;
    let (consortium, epochs) = bundle.foundation().epochs(genesis, named)?;
    verify_in(&bundle, &consortium, epochs, checkpoint)
}

/// What [`verify`] checks after the hand-overs, which prove `epochs`.
///
/// # Errors
/// [`Failure`] names the first check that does not hold.
pub(super) fn verify_in(
    bundle: &Bundle,
    consortium: &Consortium,
    epochs: Epochs,
    checkpoint: Option<&[u8]>,
) -> Result<Report, Failure> {
    let foundation = bundle.foundation();
    foundation.certified(&epochs)?;
    let members = Members::proven(consortium, epochs, &bundle.header.state_root, &bundle.members)?;
    let attested = foundation.attested(&members)?;
    inclusion(bundle)?;
    let pinned = checkpoint.map(|note| since::pinned(note, &members.epochs)).transpose()?;
    since::check(bundle.since.as_ref(), pinned.as_ref(), &bundle.header)?;
    for PlacedEntry { index, entry } in &bundle.entries {
        members
            .check_author(*index, entry)
            .map_err(|refusal| Failure::new(Check::EntrySignature, format_args!("log entry {index}: {refusal}")))?;
    }
    let (history, hop) = follow(bundle, &members)?;
    require(decision_hash(&bundle.decision) == hop.decision, Check::DecisionHash, "the offer names another decision")?;
    let anchor = anchor(bundle, hop.source)?;
    state(bundle, &history)?;
    sole_release(bundle, &hop)?;
    let is_made = |check: &Check| match check {
        Check::Checkpoint => pinned.is_some(),
        Check::Consistency => bundle.since.is_some(),
        check => *check != Check::DecisionSubject,
    };
    let place = |node: NodeId| {
        let region = members.region(node);
        region.map(|region| (node, region.clone())).ok_or_else(|| Failure::new(Check::Continuity, "an unknown node"))
    };
    Ok(Report {
        attested,
        moved: Move {
            wallet: history.wallet,
            epoch: history.epoch,
            source: place(hop.source)?,
            destination: place(history.holder)?,
            confirmed_at: hop.confirmed_at,
            decision: bundle.decision.clone(),
        },
        anchor,
        checks: Check::ALL.into_iter().filter(is_made).collect(),
        pinned: pinned.map(|checkpoint| checkpoint.size),
    })
}

/// As [`verify`], and the last check: `read` is given the proven move, and gives the decision behind it, as far as whoever
/// knows the rules has a word for it.
///
/// # Errors
/// [`Failure`] names the first check that does not hold.
pub fn judge<D, E: fmt::Display>(
    bytes: &[u8],
    genesis: &Digest,
    named: &[Digest],
    checkpoint: Option<&[u8]>,
    read: impl FnOnce(&Move) -> Result<D, E>,
) -> Result<(Report, D), Failure> {
    let mut report = verify(bytes, genesis, named, checkpoint)?;
    let decision = read(&report.moved).map_err(|other| Failure::new(Check::DecisionSubject, other))?;
    report.checks.push(Check::DecisionSubject);
    Ok((report, decision))
}

/// The value that a file of this version holds.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], version: u32) -> Result<T, Failure> {
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(Failure::new(Check::Decode, format_args!("{} bytes are more than a proof has", bytes.len())));
    }
    // Another version has other fields.
    match bytes.first_chunk().map(|found| u32::from_le_bytes(*found)) {
        Some(found) if found == version => codec::decode(bytes).map_err(|error| Failure::new(Check::Decode, error)),
        Some(found) => Err(Failure::new(Check::Version, format_args!("version {found} is not {version}"))),
        None => Err(Failure::new(Check::Decode, "it is too short")),
    }
}

/// What is to be said of a hand-over that was checked, if it is a re-genesis.
fn begun(hand_over: &HandOver) -> Option<Begun> {
    let HandOver { closing, proof, re_genesis, .. } = hand_over;
    let decided = re_genesis.as_ref()?.decided()?;
    Some(Begun {
        digest: closing.digest(),
        lineage: decided.lineage,
        height: closing.height,
        time: closing.time,
        signers: proof.certificate.signatures.iter().map(|(node, _)| *node).collect(),
        lost: decided.lost.iter().map(ToString::to_string).collect(),
        reason: decided.reason.clone(),
    })
}

/// Reads the document; a wrong hash counts before bad signatures.
fn consortium(bytes: &[u8], genesis: &Digest) -> Result<Consortium, Failure> {
    let document = Document::from_bytes(bytes).map_err(|error| Failure::new(Check::GenesisDocument, error))?;
    let found = document.hash();
    if found != *genesis {
        let detail = format_args!("the document's hash is {found}, not {genesis}");
        return Err(Failure::new(Check::GenesisHash, detail));
    }
    document.verify().map_err(|error| Failure::new(Check::GenesisSignatures, error))
}

fn header(header: &Header, epochs: &Epochs) -> Result<(), Failure> {
    let validators = epochs.last();
    let same = header.consortium == epochs.sets().name()
        && header.epoch == validators.epoch
        && header.validators == validators.hash();
    require(same, Check::HeaderConsortium, "the header is of another consortium or validator set")
}

fn certificate(on: &Foundation<'_>, epochs: &Epochs) -> Result<(), Failure> {
    let Foundation { header, certificate, carriers, .. } = on;
    // Elsewhere nothing stands between a header and its certificate.
    let fits = if carriers.is_empty() { certificate.view == header.view } else { header.is_closing() };
    let same = fits && closed_by(certificate, carriers) == Some((header.height, header.digest()));
    require(same, Check::Certificate, "it certifies another header")?;
    let sets = epochs.sets();
    certificate.verify_final(sets.last(), &sets.name()).map_err(|invalid| Failure::new(Check::Certificate, invalid))
}

/// Of the last set; but a quorum of genesis may have made up who runs its nodes.
fn assurance(consortium: &Consortium, members: &Members<'_>) -> Result<Assurance, Failure> {
    let worth = |set: &ValidatorSet| {
        Assurance::of(set, |node| members.operator(node))
            .ok_or_else(|| Failure::new(Check::Members, "it is not said who runs each validator"))
    };
    Ok(worth(members.epochs.last())?.after(&worth(consortium.validators())?))
}

fn inclusion(bundle: &Bundle) -> Result<(), Failure> {
    let header = &bundle.header;
    let leaves: Vec<_> = bundle.entries.iter().map(|placed| (placed.index, placed.entry.leaf_hash())).collect();
    several::verify(&header.log_root, header.log_size, &leaves, &bundle.inclusion)
        .map_err(|invalid| Failure::new(Check::Inclusion, invalid))
}

/// The wallet after its entries, and the hop that the last of them confirms. The anchor is none of them.
fn follow<'a>(bundle: &'a Bundle, members: &'a Members<'a>) -> Result<(History<'a>, LastHop), Failure> {
    let mut entries =
        bundle.entries.iter().filter(|placed| !matches!(placed.entry.body.event, Event::DecisionAnchored(_)));
    let first = entries.next().ok_or_else(|| Failure::new(Check::Continuity, "the history is empty"))?;
    let mut history = History::begin(members, &first.entry)?;
    let mut hop = None;
    for PlacedEntry { index, entry } in entries {
        hop = history.read(*index, entry)?;
    }
    let hop = hop.ok_or_else(|| Failure::new(Check::Continuity, "the history does not end with a confirm"))?;
    Ok((history, hop))
}

/// The one anchor must be by the source and name the end of the log that the decision and the links make.
fn anchor(bundle: &Bundle, source: NodeId) -> Result<Anchored, Failure> {
    let mut anchors = bundle.entries.iter().filter_map(|placed| match &placed.entry.body.event {
        Event::DecisionAnchored(event) => Some((placed, event)),
        _ => None,
    });
    let (Some((PlacedEntry { index, entry }, event)), None) = (anchors.next(), anchors.next()) else {
        return Err(Failure::new(Check::Anchor, "there must be one anchor"));
    };
    require(entry.body.author == source, Check::Anchor, "it is by another node than the source")?;
    let end = bundle.later.iter().try_fold(LogEnd::after(&bundle.decision), |end, link| Some(end?.then(link)));
    let DecisionAnchored { decisions, log_head } = *event;
    let covered = end.flatten() == Some(LogEnd { decisions, hash: log_head });
    require(covered, Check::Anchor, "it does not cover the decision")?;
    Ok(Anchored { index: *index, decisions, log_head })
}

fn state(bundle: &Bundle, history: &History<'_>) -> Result<(), Failure> {
    let (root, key) = (&bundle.header.state_root, StateKey::Wallet(history.wallet));
    match proven(Check::StateProof, root, &key, &bundle.record, &bundle.record_path)? {
        Record::Wallet(record) => history.leads_to(&record),
        _ => Err(Failure::new(Check::StateProof, "the record is no wallet's")),
    }
}

/// The state says that the receiver's prekey was used once, by the offer that was confirmed: no other offer of any wallet
/// could be taken up with it.
fn sole_release(bundle: &Bundle, hop: &LastHop) -> Result<(), Failure> {
    let ((offer, prekey), root) = (hop.offer, &bundle.header.state_root);
    let record = codec::encode(&Record::Prekey(offer));
    proven(Check::SoleRelease, root, &StateKey::Prekey(prekey), &record, &bundle.prekey_path)?;
    Ok(())
}
