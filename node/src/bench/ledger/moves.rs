//! A wallet that moves from node to node, as its holders tell the ledger.

use std::sync::Arc;

use genesis::Consortium;
use ledger::{
    event::{
        DecisionAnchored, Entry, EntryBody, Event, KeyConfirmed, MigrationAccepted, MigrationOffered, WalletCreated,
    },
    state::{Phase, State},
};
use scheduler::{
    decision::{Decision, replay},
    rules,
    situation::{BatchFacts, CandidateFacts, NodeFacts, Situation},
    thresholds::Thresholds,
};
use wallet::{
    digest::{Digest, sha256},
    grant::{WalletAddress, WalletGrant, WalletTerms},
    identity::SecretKey,
    policy::{JurisdictionPolicy, PolicyOpening, PolicyTree},
    prekey::ExchangeSecret,
    tenant::WalletSecret,
    ticket::{ContentCommitment, HandoffTicket},
    units::{BlockHeight, KeyEpoch, NodeId, Timestamp, TokenPosition},
};

use super::{audit::ENTRIES, member::wrong};
use crate::bench::BenchFault;

/// Decisions of the source between that of the last move and the anchor: two in a second, for ten seconds.
const LATER_DECISIONS: u64 = 20;

/// An entry, and where it belongs in the log.
pub(super) enum Telling {
    /// Of the wallet's beginning.
    Creation(Entry),
    /// After it.
    Later(Entry),
}

/// See the module.
pub(super) struct Moves {
    consortium: Arc<Consortium>,
    keys: Vec<SecretKey>,
    grant: WalletGrant,
    opening: PolicyOpening,
    decisions: Vec<Vec<u8>>,
    count: u32,
    anchored: bool,
}

fn key(name: &str, number: u32) -> SecretKey {
    SecretKey::from_seed(&sha256("batchmind/bench/key", &[name.as_bytes(), &number.to_le_bytes()]).0)
}

fn exchange(name: &str, number: u32) -> ExchangeSecret {
    ExchangeSecret::from_bytes(&sha256("batchmind/bench/exchange", &[name.as_bytes(), &number.to_le_bytes()]).0)
}

impl Moves {
    /// A wallet that will move `count` times, from node 0 on. The source of the last move made `decided` decisions before.
    pub(super) fn new(
        consortium: &Arc<Consortium>,
        keys: &[SecretKey],
        count: u32,
        decided: u64,
    ) -> Result<Self, BenchFault> {
        let regions = consortium.regions().iter().cloned().collect();
        let policy = JurisdictionPolicy { allowed: consortium.regions().iter().cloned().collect() };
        let tree: PolicyTree = policy.tree(&regions, &WalletSecret::from_bytes([1; 32])).map_err(wrong)?;
        let region = consortium.regions().first().ok_or_else(|| wrong("there is no region"))?;
        let tenant = key("tenant", 0);
        let terms = WalletTerms {
            consortium: consortium.id(),
            tenant_key: tenant.public_key(),
            policy: tree.commitment(),
            model: Digest([1; 32]),
            numerics: Digest([2; 32]),
            holder: NodeId::ZERO,
            nonce: [3; 16],
        };
        let opening = tree.open(region).map_err(wrong)?;
        let (grant, keys, consortium) = (terms.sign(&tenant), keys.to_vec(), consortium.clone());
        let [source, destination] = [count.saturating_sub(1), count].map(|epoch| holder_of(&keys, epoch));
        let others = (0..).map(NodeId::new).take(keys.len()).filter(|node| *node != source).collect();
        let decisions = decisions(grant.terms.address(), destination, others, decided)?;
        Ok(Self { consortium, keys, grant, opening, decisions, count, anchored: false })
    }

    /// Which wallet.
    pub(super) fn wallet(&self) -> WalletAddress {
        self.grant.terms.address()
    }

    /// How often it moves.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// The source's decisions, from that of the last move on.
    pub(super) fn decisions(&self) -> &[Vec<u8>] {
        &self.decisions
    }

    /// The next entry on `state`; none when all is told.
    pub(super) fn next(&mut self, state: &State) -> Result<Option<Telling>, BenchFault> {
        let Some(wallet) = state.wallet(self.wallet()) else { return Ok(Some(Telling::Creation(self.created()))) };
        let epoch = wallet.epoch.get();
        let (hop, receiver) = (epoch + 1, holder_of(&self.keys, epoch + 1));
        let holder = Some(key("epoch", epoch));
        Ok(Some(Telling::Later(match &wallet.phase {
            Phase::Active if epoch < self.count => {
                let event = self.offered(wallet.address, wallet.head, hop);
                self.sign(wallet.holder, Event::MigrationOffered(event), holder)
            }
            Phase::Offered(_) => {
                let event = MigrationAccepted { wallet: wallet.address, head: wallet.head };
                self.sign(receiver, Event::MigrationAccepted(event), None)
            }
            Phase::Accepted(_) => {
                let ticket = HandoffTicket {
                    wallet: wallet.address,
                    head: wallet.head,
                    epoch: KeyEpoch::new(hop),
                    source: wallet.holder,
                    receiver,
                    content: ContentCommitment(Digest([6; 32])),
                    next_token: TokenPosition::new(4_096),
                };
                let ticket = ticket.sign(&key("epoch", epoch));
                let (holder_key, exchange_key) = (key("epoch", hop).public_key(), exchange("epoch", hop).public_key());
                let opened = ticket.sign_opened(&key("confirm", hop), &holder_key, &exchange_key);
                let event = KeyConfirmed { ticket, holder_key, exchange_key, opened };
                self.sign(receiver, Event::KeyConfirmed(event), Some(key("epoch", hop)))
            }
            _ if !self.anchored => {
                self.anchored = true;
                let source = holder_of(&self.keys, epoch.saturating_sub(1));
                self.sign(source, Event::DecisionAnchored(self.anchor()?), None)
            }
            _ => return Ok(None),
        })))
    }

    fn created(&self) -> Entry {
        let (grant, opening) = (self.grant.clone(), self.opening.clone());
        let event = WalletCreated { grant, holder_key: key("epoch", 0).public_key(), opening };
        self.sign(NodeId::ZERO, Event::WalletCreated(event), Some(key("epoch", 0)))
    }

    fn offered(&self, wallet: WalletAddress, head: Digest, hop: u32) -> MigrationOffered {
        let receiver = holder_of(&self.keys, hop);
        let decision = self.decisions.first().map_or(Digest::ZERO, |decision| ledger::bundle::decision_hash(decision));
        MigrationOffered {
            wallet,
            head,
            epoch: KeyEpoch::new(hop),
            receiver,
            opening: self.opening.clone(),
            prekey: exchange("prekey", hop).offer(receiver, &self.keys[receiver.get() as usize]),
            ephemeral: exchange("ephemeral", hop).public_key(),
            content: ContentCommitment(Digest([4; 32])),
            confirm_key: key("confirm", hop).public_key(),
            decision,
            baseline: None,
            deadline: BlockHeight::new(ENTRIES / 256 + 500),
        }
    }

    fn anchor(&self) -> Result<DecisionAnchored, BenchFault> {
        let last = self.decisions.last().ok_or_else(|| wrong("there is no decision"))?;
        let last = Decision::decode(last).map_err(wrong)?;
        Ok(DecisionAnchored { decisions: last.seq + 1, log_head: last.hash() })
    }

    fn sign(&self, author: NodeId, event: Event, holder: Option<SecretKey>) -> Entry {
        let body =
            EntryBody { consortium: self.consortium.id(), author, nonce: crate::session::context::random(), event };
        body.sign(&self.keys[author.get() as usize], holder.as_ref())
    }
}

/// Who holds the wallet in an epoch.
fn holder_of(keys: &[SecretKey], epoch: u32) -> NodeId {
    NodeId::new(epoch % u32::try_from(keys.len()).unwrap_or(1))
}

/// A full node's decision to move the wallet to `destination`, of all `others`, by the rules, and what the node decides
/// until the anchor.
fn decisions(
    wallet: WalletAddress,
    destination: NodeId,
    others: Vec<NodeId>,
    decided: u64,
) -> Result<Vec<Vec<u8>>, BenchFault> {
    let candidate = |node| {
        let free = if node == destination { 90 } else { 60 };
        let facts = CandidateFacts {
            allowed: true,
            model_matches: true,
            numerics_match: true,
            load_age_us: 300_000,
            blocks_total_count: 100,
            blocks_free_count: free,
            queue_us: if node == destination { 0 } else { 90_000 },
            prefill_tokens_per_s: Some(4_000),
            round_trip_us: 500,
            link_bytes_per_s: Some(1_000_000_000),
            hops_in_flight_count: 0,
        };
        (node, facts)
    };
    let situation = Situation {
        wallet,
        batch: BatchFacts {
            decoding: true,
            in_engine: true,
            host_tier: true,
            ttl_us: 1_800_000_000,
            blocks_count: 10,
            move_bytes: 1_000_000,
            tail_bytes: 10_000,
            step_us: Some(20_000),
            since_hop_us: Some(90_000_000),
            ..BatchFacts::default()
        },
        source: NodeFacts { blocks_total_count: 100, blocks_free_count: 2 },
        candidates: others.into_iter().map(candidate).collect(),
        limits: Thresholds::default(),
    };
    let verdict = rules::decide(&situation).ok_or_else(|| wrong("the rules do not move the batch"))?;
    let mut decision = Decision {
        seq: decided,
        at: Timestamp::new(ENTRIES),
        previous: Digest::ZERO,
        wallet,
        rules_version: rules::TABLE_VERSION,
        rule: verdict.rule,
        inputs: situation.inputs(),
        chosen: verdict.chosen,
        refused: verdict.refused,
    };
    replay(&decision).map_err(wrong)?;
    decision.moves(wallet, destination).map_err(wrong)?;
    let mut decisions = vec![decision.encode()];
    for _ in 0..LATER_DECISIONS {
        decision = Decision { seq: decision.seq + 1, previous: decision.hash(), ..decision };
        decisions.push(decision.encode());
    }
    Ok(decisions)
}
