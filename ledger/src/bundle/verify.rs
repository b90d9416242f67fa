//! Checking a bundle: no network, no clock, no trust.

use std::fmt;

use genesis::{Consortium, GenesisError};
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    identity::RegionId,
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId, Timestamp},
};

use super::{BUNDLE_BYTES_MAX, Bundle, ProvenEntry, VERSION, decision_hash, history::History};
use crate::{
    apply::check_author,
    event::Event,
    state::{Record, StateKey},
    tree::log::verify_inclusion,
};

/// The check that failed, and why. Nothing of the bundle is to be believed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("check {check} failed: {detail}")]
pub struct Failure {
    /// Name of the check.
    pub check: String,
    /// What was found.
    pub detail: String,
}

impl Failure {
    pub(super) fn new(check: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { check: check.into(), detail: detail.to_string() }
    }
}

/// What a verified bundle proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Hash of the genesis document: the auditor's own.
    pub consortium: Digest,
    /// The consortium's name.
    pub name: String,
    /// How much the quorum is worth.
    pub assurance: Assurance,
    /// The final height under which all was proven.
    pub height: BlockHeight,
    /// Its block time.
    pub time: Timestamp,
    /// Which move.
    pub moved: Move,
    /// The checks that held, in order.
    pub checks: Vec<String>,
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

/// How much a certificate is worth: who would have to lie together to forge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assurance {
    /// Operators in the genesis document.
    pub operators: usize,
    /// Validators.
    pub validators: usize,
    /// Signatures that make a certificate.
    pub quorum: usize,
    /// Validators that may lie without a fork.
    pub faults: usize,
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operators, validators, quorum, faults } = self;
        if *operators == 1 {
            return f.write_str("a consortium of one: nobody but its operator has checked this");
        }
        write!(f, "{quorum} of {validators} validators of {operators} operators signed; up to {faults} may have lied")
    }
}

/// Verifies a bundle against the hash of the genesis document that the auditor trusts.
///
/// # Errors
/// [`Failure`] names the first check that does not hold: `decode`, `genesis-hash`, `genesis-signatures`, `certificate`,
/// `header-consortium`, `inclusion:N`, `entry-signature:N`, `grant`, `policy`, `holder-signature`, `prekey`, `ticket`,
/// `confirm`, `continuity`, `decision-in-chain`, `anchor`, `state-proof`. N counts the history from 0; the anchor comes
/// after its last entry.
pub fn verify(bytes: &[u8], genesis: &Digest) -> Result<Report, Failure> {
    let mut checks = Checks::default();
    let bundle = checks.run("decode", decode(bytes))?;
    let consortium = consortium(&bundle.consortium, genesis, &mut checks)?;
    checks.run("certificate", certificate(&bundle, &consortium))?;
    checks.run("header-consortium", header(&bundle, &consortium))?;
    let entries: Vec<&ProvenEntry> = bundle.history.iter().chain([&bundle.anchor]).collect();
    for (i, proven) in entries.iter().enumerate() {
        checks.run(format!("inclusion:{i}"), inclusion(&bundle, proven))?;
    }
    for (i, proven) in entries.iter().enumerate() {
        checks.run(format!("entry-signature:{i}"), check_author(&consortium, &proven.entry))?;
    }
    let history = follow(&bundle, &consortium)?;
    for check in ["grant", "policy", "holder-signature", "prekey", "ticket", "confirm", "continuity"] {
        checks.held.push(check.to_owned());
    }
    let confirmed_at = bundle.history.last().map(|proven| proven.index).unwrap_or_default();
    let hop = history.last.as_ref().ok_or_else(|| Failure::new("continuity", "the history ends without a confirm"))?;
    checks.run("decision-in-chain", decisions(&bundle.decisions, hop.decision))?;
    checks.run("anchor", anchor(&bundle, hop.source))?;
    checks.run("state-proof", state(&bundle, history.wallet))?;
    history.leads_to(&wallet_record(&bundle)?)?;
    let place = |node: NodeId| {
        let region = consortium.node(node).map(|node| node.region.clone());
        region.map(|region| (node, region)).ok_or_else(|| Failure::new("continuity", "an unknown node"))
    };
    Ok(Report {
        consortium: consortium.id(),
        name: consortium.name().to_owned(),
        assurance: Assurance {
            operators: consortium.operators().len(),
            validators: consortium.validators().members.len(),
            quorum: consortium.validators().quorum(),
            faults: consortium.validators().faults_max(),
        },
        height: bundle.header.height,
        time: bundle.header.time,
        moved: Move {
            wallet: history.wallet,
            epoch: history.epoch,
            source: place(hop.source)?,
            destination: place(history.holder)?,
            confirmed_at,
            decision: bundle.decisions[0].clone(),
        },
        checks: checks.held,
    })
}

/// The names of the checks that held so far.
#[derive(Default)]
struct Checks {
    held: Vec<String>,
}

impl Checks {
    fn run<T>(&mut self, check: impl Into<String>, outcome: Result<T, impl fmt::Display>) -> Result<T, Failure> {
        let check = check.into();
        let value = outcome.map_err(|detail| Failure::new(check.clone(), detail))?;
        self.held.push(check);
        Ok(value)
    }
}

fn decode(bytes: &[u8]) -> Result<Bundle, String> {
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(format!("{} bytes are more than a bundle has", bytes.len()));
    }
    let bundle: Bundle = codec::decode(bytes).map_err(|error| error.to_string())?;
    if bundle.version != VERSION {
        return Err(format!("version {} is not {VERSION}", bundle.version));
    }
    Ok(bundle)
}

/// Reads the document; a wrong hash counts before bad signatures.
fn consortium(bytes: &[u8], genesis: &Digest, checks: &mut Checks) -> Result<Consortium, Failure> {
    let document = genesis::Document::from_bytes(bytes).map_err(|error| Failure::new("genesis-hash", error))?;
    let found = document.hash();
    let same = if found == *genesis { Ok(()) } else { Err(format!("the document's hash is {found}, not {genesis}")) };
    checks.run("genesis-hash", same)?;
    let verified: Result<Consortium, GenesisError> = document.verify();
    checks.run("genesis-signatures", verified)
}

fn certificate(bundle: &Bundle, consortium: &Consortium) -> Result<(), String> {
    let (header, certificate) = (&bundle.header, &bundle.certificate);
    if (certificate.block, certificate.height, certificate.view) != (header.digest(), header.height, header.view) {
        return Err("it certifies another header".to_owned());
    }
    certificate.verify_final(consortium.validators(), &consortium.id()).map_err(|invalid| invalid.to_string())
}

fn header(bundle: &Bundle, consortium: &Consortium) -> Result<(), &'static str> {
    let (header, validators) = (&bundle.header, consortium.validators());
    let same = header.consortium == consortium.id()
        && header.epoch == validators.epoch
        && header.validators == validators.hash();
    if same { Ok(()) } else { Err("the header is of another consortium or validator set") }
}

fn inclusion(bundle: &Bundle, proven: &ProvenEntry) -> Result<(), crate::tree::log::ProofInvalid> {
    let header = &bundle.header;
    verify_inclusion(&header.log_root, header.log_size, proven.index, &proven.entry.leaf_hash(), &proven.proof)
}

fn follow<'a>(bundle: &'a Bundle, consortium: &'a Consortium) -> Result<History<'a>, Failure> {
    let (first, rest) =
        bundle.history.split_first().ok_or_else(|| Failure::new("continuity", "the history is empty"))?;
    if !bundle.history.is_sorted_by(|one, next| one.index < next.index) {
        return Err(Failure::new("continuity", "the entries are not in the order of the log"));
    }
    let mut history = History::begin(consortium, &first.entry)?;
    rest.iter().try_for_each(|proven| history.read(&proven.entry))?;
    let last = bundle.history.last().map(|proven| &proven.entry.body.event);
    if !matches!(last, Some(Event::KeyConfirmed(_))) {
        return Err(Failure::new("continuity", "the history does not end with a confirm"));
    }
    Ok(history)
}

/// The fields that every decision begins with: position, time and the hash of the one before.
fn head_of(decision: &[u8]) -> Result<(u64, Timestamp, Digest), String> {
    let head = decision.get(..48).ok_or("a decision is too short")?;
    codec::decode(head).map_err(|error| error.to_string())
}

fn decisions(decisions: &[Vec<u8>], cause: Digest) -> Result<(), String> {
    let first = decisions.first().ok_or("no decision")?;
    if decision_hash(first) != cause {
        return Err("the first decision is not the one that the offer names".to_owned());
    }
    for pair in decisions.windows(2) {
        let ((before, _, _), (next, _, previous)) = (head_of(&pair[0])?, head_of(&pair[1])?);
        if previous != decision_hash(&pair[0]) || before.checked_add(1) != Some(next) {
            return Err(format!("decision {next} does not follow decision {before}"));
        }
    }
    Ok(())
}

fn anchor(bundle: &Bundle, source: NodeId) -> Result<(), String> {
    let body = &bundle.anchor.entry.body;
    let Event::DecisionAnchored(event) = &body.event else { return Err("it is another event".to_owned()) };
    if body.author != source {
        return Err(format!("it is by node {}, not by the source {source}", body.author));
    }
    let last = bundle.decisions.last().ok_or("no decision")?;
    let (position, _, _) = head_of(last)?;
    if event.log_head != decision_hash(last) || position.checked_add(1) != Some(event.decisions) {
        return Err("it does not cover the last decision".to_owned());
    }
    Ok(())
}

fn state(bundle: &Bundle, wallet: WalletAddress) -> Result<(), crate::tree::log::ProofInvalid> {
    let key = StateKey::Wallet(wallet).digest();
    bundle.record_proof.verify_present(&bundle.header.state_root, &key, &bundle.record)
}

fn wallet_record(bundle: &Bundle) -> Result<crate::state::WalletRecord, Failure> {
    match codec::decode(&bundle.record) {
        Ok(Record::Wallet(record)) => Ok(*record),
        Ok(_) => Err(Failure::new("state-proof", "the record is no wallet's")),
        Err(error) => Err(Failure::new("state-proof", error)),
    }
}
