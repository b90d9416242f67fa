//! A small consortium with all its keys, a chain that everybody signs, and a session that moves. For tests only.

#[cfg(test)]
pub mod changes;
#[cfg(test)]
pub mod dice;
mod entries;
pub mod evidence;
pub mod gates;
mod governance;
mod re_genesis;
mod records;
pub mod remembered;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use genesis::{Consortium, Document, Draft, Heading, Node, Operator, Parameters, Region};
use wallet::{
    codec,
    digest::{Digest, sha256},
    grant::{WalletAddress, WalletTerms},
    identity::{RegionId, SecretKey},
    policy::{JurisdictionPolicy, PolicyTree},
    prekey::ExchangeSecret,
    tenant::WalletSecret,
    ticket::{ContentCommitment, HandoffTicket},
    units::{BlockHeight, LogIndex, Micros, NodeId, Timestamp, TokenPosition},
};

pub use self::{
    entries::{EveryEntry, every_entry},
    governance::{joining_node, next_node_key, operator_id, operator_key},
    records::every_record,
};
use crate::{
    block::{Block, FinalBlock, View},
    bundle::{FinalView, Unreadable},
    certificate::Certificate,
    event::{
        AbortReason, BaselineCommitted, BatchClosed, CloseReason, DecisionAnchored, Entry, EntryBody, Event,
        KeyConfirmed, LatencyDelta, MigrationAborted, MigrationAccepted, MigrationOffered, Touch, ValidatorResumed,
        WalletCreated,
    },
    execute::{Executed, Place, Proposal, propose},
    hand_over::{ClosingProof, HandOver},
    refusal::Refusal,
    state::WalletRecord,
    tree::{several, tiles},
    vote::{Ballot, Signer, Vote, VoteKind},
};

/// When the sample consortium was made, in ms since 1970.
pub const CREATED_MS: u64 = 1_780_000_000_000;

/// The key of operator `node`, which is also the key of its only node.
pub fn node_key(node: u32) -> SecretKey {
    key(&format!("node {node}"))
}

/// Operator `node`'s only node, as it votes and proposes.
pub fn signer(node: u32) -> Signer {
    Signer { node: NodeId::new(node), key: node_key(node) }
}

/// A key that belongs to a name.
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&sha256("test-key", &[name.as_bytes()]).0)
}

/// `nodes` operators with a node each; the last one of four or more in region us, the others in eu.
pub fn consortium(nodes: u32) -> Arc<Consortium> {
    consortium_with(nodes, Parameters::default())
}

/// The same with other parameters.
pub fn consortium_with(nodes: u32, parameters: Parameters) -> Arc<Consortium> {
    let region = |id: &str| RegionId::try_from(id.to_owned()).expect("a region name");
    let place = |node| if nodes >= 4 && node == nodes - 1 { "us" } else { "eu" };
    let draft = Draft {
        consortium: Heading { name: "Test consortium".to_owned(), created_ms: Timestamp::new(CREATED_MS) },
        parameters,
        regions: ["eu", "us"].map(|id| Region { id: region(id), name: id.to_owned() }).to_vec(),
        operators: (0..nodes)
            .map(|i| Operator {
                id: format!("op-{i:02}").parse().expect("a name"),
                name: format!("Operator {i}"),
                key: key(&format!("operator {i}")).public_key(),
            })
            .collect(),
        nodes: (0..nodes)
            .map(|i| Node {
                name: format!("node-{i:02}").parse().expect("a name"),
                operator: format!("op-{i:02}").parse().expect("a name"),
                region: region(place(i)),
                key: node_key(i).public_key(),
                peer: ([127, 0, 0, 1], 7000 + u16::try_from(i).expect("few nodes")).into(),
                api: format!("http://127.0.0.1:{}", 8000 + i),
            })
            .collect(),
        auditors: Vec::new(),
        models: Vec::new(),
        signatures: Default::default(),
    };
    let mut document = Document::new(draft).expect("the sample keeps the rules");
    for i in 0..nodes {
        let operator = format!("op-{i:02}").parse().expect("a name");
        document.sign(&operator, &key(&format!("operator {i}"))).expect("the operator's own key");
    }
    Arc::new(document.verify().expect("signed by all"))
}

/// The certificate with which `signers` of the sample consortium make `block` final.
pub fn certify(block: &Block, signers: impl IntoIterator<Item = u32>) -> Certificate {
    certify_as(VoteKind::Finalize, block, signers)
}

/// The certificate of a kind that `signers` of the sample consortium make for `block`.
pub fn certify_as(kind: VoteKind, block: &Block, signers: impl IntoIterator<Item = u32>) -> Certificate {
    certify_by(kind, block, signers.into_iter().map(signer))
}

fn certify_by(kind: VoteKind, block: &Block, signers: impl IntoIterator<Item = Signer>) -> Certificate {
    let ballot = Ballot::for_header(kind, &block.header);
    let sign = |signer: Signer| (signer.node, Vote::sign(ballot, &signer).signature);
    Certificate {
        kind,
        view: ballot.view,
        height: ballot.height,
        block: ballot.block,
        signatures: signers.into_iter().map(sign).collect(),
    }
}

/// A chain that a quorum signs as it grows.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Whose chain.
    pub consortium: Arc<Consortium>,
    /// The final state.
    pub tip: Executed,
    /// All blocks with their certificates.
    pub blocks: Vec<(Block, Certificate)>,
    /// How each epoch ended that did.
    pub hand_overs: Vec<HandOver>,
    leaf_hashes: Vec<Digest>,
    /// By how much block time is later than it would be, in ms.
    later_ms: u64,
    /// Keys of validators that genesis does not name.
    new_keys: Vec<SecretKey>,
}

impl Chain {
    /// No block yet.
    pub fn new(consortium: Arc<Consortium>) -> Self {
        let tip = Executed::genesis(&consortium);
        let (blocks, hand_overs, leaf_hashes, new_keys) = Default::default();
        Self { tip, consortium, blocks, hand_overs, leaf_hashes, later_ms: 0, new_keys }
    }

    /// The next block with those of `entries` that apply, not final yet.
    pub fn propose(&self, entries: Vec<Entry>) -> Proposal {
        let epoch = self.tip.state.epoch();
        let stands = self.tip.view.max(View::start_of(epoch));
        let view = stands.next_in(stands.term.max(View::first_term(epoch))).expect("few blocks");
        let (leader, _) = self.tip.validators().members[0];
        let signer = self.signer(leader).expect("the key of a validator");
        propose(&self.consortium, self.place(view), &signer, self.next_time(), entries)
    }

    /// The time of the next block.
    pub fn next_time(&self) -> Timestamp {
        Timestamp::new(CREATED_MS + 100 * (self.tip.height.get() + 1) + self.later_ms)
    }

    /// A place for a block on the final state, in `view`.
    pub fn place(&self, view: View) -> Place {
        let certificate = self.blocks.last().map(|(_, certificate)| certificate.clone());
        let (carriers, parent) = (self.carriers().to_vec(), self.tip.clone());
        Place { parent, certificate, carriers, skipped: None, view, after: Digest::ZERO }
    }

    /// Lets so many carriers make the tip final, which closed its epoch, instead of its own certificate.
    ///
    /// # Panics
    /// If the tip did not close its epoch.
    pub fn carry(&mut self, count: usize) {
        let (closing, _) = self.blocks.last().expect("a closing block").clone();
        let set = self.tip.voted_by();
        let signers: Vec<Signer> = set.members[..set.quorum()]
            .iter()
            .map(|(node, key)| Signer { node: *node, key: self.key_behind(*key).expect("the key of a validator") })
            .collect();
        let (mut below, mut on, mut carriers) = (closing.clone(), self.tip.clone(), Vec::new());
        for _ in 0..count {
            let certificate = Some(certify_by(VoteKind::Notarize, &below, signers.clone()));
            let view = below.header.view.next().expect("few blocks");
            let time = Timestamp::new(below.header.time.get() + 100);
            let place =
                Place { parent: on, certificate, carriers: Vec::new(), skipped: None, view, after: Digest::ZERO };
            let made = propose(&self.consortium, place, &signers[0], time, Vec::new());
            carriers.push(made.block.header.clone());
            (below, on) = (made.block, made.executed);
        }
        let certificate = certify_by(VoteKind::Finalize, &below, signers);
        let hand_over = self.hand_overs.last_mut().expect("the tip closed its epoch");
        assert_eq!(hand_over.closing, closing.header, "the tip closed its epoch");
        hand_over.proof = ClosingProof { certificate: certificate.clone(), carriers };
        self.blocks.last_mut().expect("a closing block").1 = certificate;
    }

    /// Makes one entry final in a block of its own.
    ///
    /// # Errors
    /// What the rules say against it; the chain has not grown then.
    pub fn push(&mut self, entry: Entry) -> Result<(), Refusal> {
        self.push_all(vec![entry])
    }

    /// Makes entries final in one block.
    ///
    /// # Errors
    /// What the rules say against the first that is refused; the chain has not grown then.
    pub fn push_all(&mut self, entries: Vec<Entry>) -> Result<(), Refusal> {
        let proposal = self.propose(entries);
        if let Some((_, refusal)) = proposal.refused.into_iter().next() {
            return Err(refusal);
        }
        let validators = self.tip.validators();
        let signers = validators.members.iter().rev().take(validators.quorum()).rev();
        let signers = signers.map(|(node, _)| self.signer(*node).expect("the key of a validator"));
        let certificate = certify_by(VoteKind::Finalize, &proposal.block, signers);
        self.leaf_hashes.extend(proposal.block.entries.iter().map(Entry::leaf_hash));
        self.tip = proposal.executed;
        if self.tip.is_closing() {
            let proof = ClosingProof { certificate: certificate.clone(), carriers: Vec::new() };
            let (closing, next) = (proposal.block.header.clone(), self.tip.validators());
            self.hand_overs.push(HandOver { closing, proof, next, re_genesis: None });
        }
        self.blocks.push((proposal.block, certificate));
        Ok(())
    }

    /// All blocks with what made them final.
    pub fn final_blocks(&self) -> Vec<FinalBlock> {
        let block = |(block, certificate): &(Block, Certificate)| {
            let header = &block.header;
            let hand_over = self.hand_overs.iter().find(|hand_over| hand_over.closing == *header);
            let carriers = hand_over.map_or(Vec::new(), |hand_over| hand_over.proof.carriers.clone());
            FinalBlock { block: block.clone(), certificate: certificate.clone(), carriers }
        };
        self.blocks.iter().map(block).collect()
    }

    /// All final entries with their heights.
    pub fn entries(&self) -> impl Iterator<Item = (BlockHeight, &Entry)> {
        self.blocks.iter().flat_map(|(block, _)| block.entries.iter().map(|entry| (block.header.height, entry)))
    }
}

impl FinalView for Chain {
    fn tip(&self) -> Option<(&crate::block::Header, &Certificate)> {
        self.blocks.last().map(|(block, certificate)| (&block.header, certificate))
    }

    fn carriers(&self) -> &[crate::block::Header] {
        let closes = |(block, _): &&(Block, Certificate)| block.header.is_closing();
        let closed = self.blocks.last().filter(closes).and(self.hand_overs.last());
        closed.map_or(&[], |hand_over| &hand_over.proof.carriers)
    }

    fn hand_overs(&self) -> &[HandOver] {
        let ended = self.blocks.last().map_or(0, |(block, _)| block.header.epochs_ended());
        &self.hand_overs[..ended as usize]
    }

    fn state(&self) -> &crate::state::State {
        &self.tip.state
    }

    fn inclusion(&self, places: &[LogIndex]) -> Result<Option<Vec<Digest>>, Unreadable> {
        let leaves = self.leaf_hashes.as_slice();
        Ok(several::prove(leaves, leaves.len() as u64, places).unwrap_or_else(|never| match never {}))
    }

    fn grown_since(&self, size: u64) -> Result<Option<(Digest, Vec<Digest>)>, Unreadable> {
        let leaves = self.leaf_hashes.as_slice();
        Ok(tiles::grown_since(leaves, size, leaves.len() as u64).unwrap_or_else(|never| match never {}))
    }

    fn entry(&self, index: LogIndex) -> Result<Option<Entry>, Unreadable> {
        let at = usize::try_from(index.get()).ok();
        Ok(at.and_then(|at| self.entries().nth(at)).map(|(_, entry)| entry.clone()))
    }
}

/// A tenant's session with all its keys, which makes the entries that its holders would.
#[derive(Clone, Debug)]
pub struct Session {
    consortium: Arc<Consortium>,
    /// Its wallet.
    pub address: WalletAddress,
    terms: WalletTerms,
    tenant: SecretKey,
    policy: PolicyTreeOf,
    nonce: std::cell::Cell<u64>,
    /// Of nodes that do not sign with their first key any more.
    pub keys: BTreeMap<u32, SecretKey>,
}

/// The regions that the tenant allows; the tree is made when needed.
#[derive(Clone, Debug)]
struct PolicyTreeOf {
    allowed: BTreeSet<RegionId>,
    regions: BTreeSet<RegionId>,
}

impl PolicyTreeOf {
    fn tree(&self) -> PolicyTree {
        let policy = JurisdictionPolicy { allowed: self.allowed.clone() };
        policy.tree(&self.regions, &WalletSecret::from_bytes([9; 32])).expect("known regions")
    }
}

impl Session {
    /// A session that starts at node `holder` and may stay in eu only.
    pub fn in_eu(consortium: &Arc<Consortium>, holder: u32) -> Self {
        let regions: BTreeSet<RegionId> = consortium.regions().iter().cloned().collect();
        let allowed = regions.iter().filter(|region| region.as_str() == "eu").cloned().collect();
        let (tenant, policy) = (key("tenant"), PolicyTreeOf { allowed, regions });
        let terms = WalletTerms {
            consortium: consortium.id(),
            tenant_key: tenant.public_key(),
            policy: policy.tree().commitment(),
            model: Digest([1; 32]),
            numerics: Digest([2; 32]),
            holder: NodeId::new(holder),
            nonce: [3; 16],
        };
        let address = terms.address();
        Self {
            consortium: consortium.clone(),
            address,
            terms,
            tenant,
            policy,
            nonce: std::cell::Cell::new(0),
            keys: BTreeMap::new(),
        }
    }

    /// The epoch key of `epoch`.
    pub fn epoch_key(&self, epoch: u32) -> SecretKey {
        key(&format!("epoch {epoch}"))
    }

    /// The key that only the opened envelope of the hop to `epoch` yields.
    pub fn confirm_key(&self, epoch: u32) -> SecretKey {
        key(&format!("confirm {epoch}"))
    }

    /// A body with a nonce of its own, signed by node `author` and, if given, by an epoch key.
    pub fn sign(&self, author: u32, event: Event, holder: Option<&SecretKey>) -> Entry {
        self.nonce.set(self.nonce.get() + 1);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonce.get().to_le_bytes());
        let body = EntryBody { consortium: self.consortium.id(), author: NodeId::new(author), nonce, event };
        body.sign(&self.key_of(author), holder)
    }

    /// The key with which a node signs.
    fn key_of(&self, node: u32) -> SecretKey {
        self.keys.get(&node).cloned().unwrap_or_else(|| node_key(node))
    }

    fn by_holder(&self, wallet: &WalletRecord, event: Event) -> Entry {
        self.sign(wallet.holder.get(), event, Some(&self.epoch_key(wallet.epoch.get())))
    }

    /// The policy's leaf for a region.
    pub fn opening(&self, region: &str) -> wallet::policy::PolicyOpening {
        let region = RegionId::try_from(region.to_owned()).expect("a region name");
        self.policy.tree().open(&region).expect("a region of the consortium")
    }

    /// The wallet's first entry.
    pub fn created(&self) -> Entry {
        let event = WalletCreated {
            grant: self.terms.clone().sign(&self.tenant),
            holder_key: self.epoch_key(0).public_key(),
            opening: self.opening("eu"),
        };
        self.sign(self.terms.holder.get(), Event::WalletCreated(event), Some(&self.epoch_key(0)))
    }

    /// The event of an offer to node `receiver`, to be changed by a test before it is signed.
    pub fn offer(&self, wallet: &WalletRecord, receiver: u32, deadline: u64) -> MigrationOffered {
        let epoch = wallet.epoch.next().expect("few epochs");
        let secret = |name: &str| ExchangeSecret::from_bytes(&sha256("test", &[name.as_bytes(), &wallet.head.0]).0);
        let region = self.consortium.node(NodeId::new(receiver)).map_or("eu", |node| node.region.as_str());
        MigrationOffered {
            wallet: self.address,
            head: wallet.head,
            epoch,
            receiver: NodeId::new(receiver),
            opening: self.opening(region),
            prekey: secret("prekey").offer(NodeId::new(receiver), &self.key_of(receiver)),
            ephemeral: secret("ephemeral").public_key(),
            content: ContentCommitment(Digest([4; 32])),
            confirm_key: self.confirm_key(epoch.get()).public_key(),
            decision: decision_hash(&decision(0, Digest::ZERO)),
            baseline: None,
            deadline: BlockHeight::new(deadline),
        }
    }

    /// An offer by the holder.
    pub fn offered(&self, wallet: &WalletRecord, offer: MigrationOffered) -> Entry {
        self.by_holder(wallet, Event::MigrationOffered(offer))
    }

    /// The acceptance by node `author`.
    pub fn accepted(&self, wallet: &WalletRecord, author: u32) -> Entry {
        let event = MigrationAccepted { wallet: self.address, head: wallet.head };
        self.sign(author, Event::MigrationAccepted(event), None)
    }

    /// The ticket that the frozen holder would sign.
    pub fn ticket(&self, wallet: &WalletRecord) -> HandoffTicket {
        HandoffTicket {
            wallet: self.address,
            head: wallet.head,
            epoch: wallet.epoch.next().expect("few epochs"),
            source: wallet.holder,
            receiver: wallet.offer().map_or(NodeId::new(u32::MAX), |offer| offer.receiver),
            content: ContentCommitment(Digest([6; 32])),
            next_token: TokenPosition::new(8),
        }
    }

    /// The receiver's confirm with that ticket under the present epoch key.
    pub fn confirmed(&self, wallet: &WalletRecord, ticket: HandoffTicket) -> Entry {
        let (author, epoch) = (ticket.receiver.get(), ticket.epoch.get());
        let ticket = ticket.sign(&self.epoch_key(wallet.epoch.get()));
        let holder_key = self.epoch_key(epoch).public_key();
        let exchange_key = ExchangeSecret::from_bytes(&[8; 32]).public_key();
        let opened = ticket.sign_opened(&self.confirm_key(epoch), &holder_key, &exchange_key);
        let event = KeyConfirmed { ticket, holder_key, exchange_key, opened };
        self.sign(author, Event::KeyConfirmed(event), Some(&self.epoch_key(epoch)))
    }

    /// An abort by node `author`.
    pub fn aborted(&self, wallet: &WalletRecord, author: u32, reason: AbortReason) -> Entry {
        let key = (reason == AbortReason::Source).then(|| self.epoch_key(wallet.epoch.get()));
        let event = MigrationAborted { wallet: self.address, head: wallet.head, reason };
        self.sign(author, Event::MigrationAborted(event), key.as_ref())
    }

    /// A touch by the holder in boot number `boot`.
    pub fn touched(&self, wallet: &WalletRecord, boot: u8) -> Entry {
        let event = Touch {
            wallet: self.address,
            head: wallet.head,
            boot_nonce: [boot; 16],
            boot_key: ExchangeSecret::from_bytes(&[boot; 32]).public_key(),
        };
        self.by_holder(wallet, Event::Touch(event))
    }

    /// The holder's measure before a move.
    pub fn baseline(&self, wallet: &WalletRecord, inter_token_p50_us: u64, samples: u32) -> Entry {
        let event = BaselineCommitted {
            wallet: self.address,
            head: wallet.head,
            epoch: wallet.epoch,
            inter_token_p50: Micros::new(inter_token_p50_us),
            samples,
        };
        self.by_holder(wallet, Event::BaselineCommitted(event))
    }

    /// The new holder's measure after a move.
    pub fn delta(&self, wallet: &WalletRecord, baseline: Digest, inter_token_p50_us: u64, samples: u32) -> Entry {
        let event = LatencyDelta {
            wallet: self.address,
            head: wallet.head,
            epoch: wallet.epoch,
            baseline,
            inter_token_p50: Micros::new(inter_token_p50_us),
            samples,
        };
        self.by_holder(wallet, Event::LatencyDelta(event))
    }

    /// The end.
    pub fn closed(&self, wallet: &WalletRecord) -> Entry {
        let event = BatchClosed { wallet: self.address, head: wallet.head, reason: CloseReason::Finished };
        self.by_holder(wallet, Event::BatchClosed(event))
    }

    /// An anchor of the decision log of node `author`.
    pub fn anchored(&self, author: u32, decisions: u64, log_head: Digest) -> Entry {
        self.sign(author, Event::DecisionAnchored(DecisionAnchored { decisions, log_head }), None)
    }

    /// The word of node `author` that it resumes in lineage 1.
    pub fn resumed(&self, author: u32, nonce: u8) -> Entry {
        let event = ValidatorResumed { name: self.consortium.id(), nonce: [nonce; 16] };
        self.sign(author, Event::ValidatorResumed(event), None)
    }

    /// The wallet as `chain` has it.
    pub fn record(&self, chain: &Chain) -> WalletRecord {
        chain.tip.state.wallet(self.address).expect("the wallet exists")
    }

    /// Makes a whole move to node `receiver` final, with a deadline 100 blocks on.
    ///
    /// # Errors
    /// What the rules say against one of its entries.
    pub fn hop(&self, chain: &mut Chain, receiver: u32, baseline: Option<Digest>) -> Result<(), Refusal> {
        let wallet = self.record(chain);
        let deadline = chain.tip.height.get() + 100;
        let offer = MigrationOffered { baseline, ..self.offer(&wallet, receiver, deadline) };
        chain.push(self.offered(&wallet, offer))?;
        chain.push(self.accepted(&self.record(chain), receiver))?;
        let wallet = self.record(chain);
        chain.push(self.confirmed(&wallet, self.ticket(&wallet)))
    }
}

/// The bytes of a decision, as far as this crate reads them: sequence number, time, hash of the one before, and a rest.
pub fn decision(sequence: u64, previous: Digest) -> Vec<u8> {
    codec::encode(&(sequence, CREATED_MS, previous, [9_u8; 8]))
}

/// See [`crate::bundle::decision_hash`].
pub fn decision_hash(decision: &[u8]) -> Digest {
    crate::bundle::decision_hash(decision)
}
