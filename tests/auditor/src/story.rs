//! What happened to a wallet, step by step, and the bundle that proves it. Every part can be made wrong before the next
//! one is made over it: the quorum that certifies all of it here would sign anything.

use std::{collections::BTreeMap, sync::Arc};

use genesis::{Consortium, ValidatorSet};
use ledger::{
    author::sign_batch,
    block::{Header, View},
    bundle::{Bundle, Link, MemberProof, PlacedEntry, Since, Subject, VERSION, decision_hash},
    certificate::Certificate,
    event::{
        DecisionAnchored, Entry, EntryBody, EntryParts, Event, KeyConfirmed, MigrationAccepted, MigrationOffered,
        Touch, WalletCreated, next_head,
    },
    hand_over::{ClosingProof, HandOver},
    state::{Cause, KeyRotated, Phase, Record, StateKey, WalletRecord},
    testing::{key, next_node_key, node_key},
    tlog::{Checkpoint, Cosignature, CosignedCheckpoint, Note},
    tree::{
        log::{LogTree, leaf_hash},
        several,
        state::StateTree,
        tiles::grown_since,
    },
    vote::{Ballot, Signer, Vote, VoteKind},
};
use scheduler::{action::Action, decision::Decision, refusal::Refusal, rules::RuleId};
use sha2::{Digest as _, Sha256};
use wallet::{
    codec::encode,
    digest::{Digest, sha256},
    grant::{WalletAddress, WalletTerms},
    identity::{PublicKey, SecretKey, Signature, context},
    policy::{JurisdictionPolicy, PolicyOpening, PolicyTree},
    prekey::{ExchangeKey, ExchangeSecret, SignedPrekey},
    tenant::WalletSecret,
    ticket::{ContentCommitment, HandoffTicket},
    units::{BlockHeight, KeyEpoch, LogIndex, NodeId, Timestamp, TokenPosition},
};

/// Makes a part wrong.
pub type Lie<T> = Box<dyn Fn(&mut T)>;

/// An entry before it is signed.
pub struct Step {
    /// Who the entry says that its author is.
    pub author: u32,
    /// Who signs it as its author.
    pub author_key: SecretKey,
    /// What it says. The head is put in when it is signed.
    pub event: Event,
    /// The epoch key that signs it, if one has to.
    pub holder_key: Option<SecretKey>,
    /// Signs what is signed within the event: the grant, the prekey or the ticket.
    pub inner_key: SecretKey,
    /// Signs that the envelope was opened.
    pub confirm_key: SecretKey,
    /// The consortium that the entry names.
    pub consortium: Digest,
    /// Whether it is one of three entries under one signature.
    pub in_batch: bool,
    /// Done to the event after its head and its inner signatures are in it.
    pub event_lies: Vec<Lie<Event>>,
    /// Done to the signed entry.
    pub entry_lies: Vec<Lie<EntryParts>>,
}

/// How an epoch ends: who votes after it, and the old set's word for that.
pub struct Ending {
    /// How many steps are final then.
    pub after: usize,
    /// The next set.
    pub next: ValidatorSet,
    /// Carriers above the closing block.
    pub carriers: usize,
    /// Who certifies, as whom.
    pub signers: Vec<Signer>,
    /// What kind of ballot they sign.
    pub kind: VoteKind,
    /// Done to the closing block's header before it is certified.
    pub closing_lies: Vec<Lie<Header>>,
    /// Done to the ballot before it is signed.
    pub ballot_lies: Vec<Lie<Ballot>>,
    /// Done to the finished hand-over.
    pub lies: Vec<Lie<HandOver>>,
}

/// See the module.
pub struct Story {
    /// Whose ledger.
    pub consortium: Arc<Consortium>,
    /// The wallet's entries, and the anchor, in the order of the log.
    pub steps: Vec<Step>,
    /// The decision that caused the last move, and those after it that the anchor covers.
    pub decisions: Vec<Vec<u8>>,
    /// Who certifies, as whom.
    pub signers: Vec<Signer>,
    /// What kind of ballot they sign.
    pub kind: VoteKind,
    /// How the epochs before the certified header's ended.
    pub endings: Vec<Ending>,
    /// Carriers above the certified header.
    pub carriers: usize,
    /// Records of nodes and keys in the state, of which the bundle shows all.
    pub members: Vec<(Subject, Record)>,
    /// The earlier tree from which the bundle shows that the log goes on, by its size.
    pub since: Option<u64>,
    /// Done to what the state says of spent prekeys, and by which entry, before it is in the state.
    pub spent_lies: Vec<Lie<Vec<(ExchangeKey, Digest)>>>,
    /// Done to the wallet's record before it is in the state.
    pub record_lies: Vec<Lie<WalletRecord>>,
    /// In place of the record's encoding, if there is something.
    pub record: Option<fn(Vec<u8>) -> Vec<u8>>,
    /// Done to the header before it is certified.
    pub header_lies: Vec<Lie<Header>>,
    /// Done to the ballot before it is signed.
    pub ballot_lies: Vec<Lie<Ballot>>,
    /// Done to the certificate.
    pub certificate_lies: Vec<Lie<Certificate>>,
    /// Done to the finished bundle.
    pub bundle_lies: Vec<Lie<Bundle>>,
}

/// A salted policy over the consortium's regions, all of which it allows but `us` where there are four nodes.
fn policy(consortium: &Consortium, allowed: &[&str]) -> PolicyTree {
    let regions = consortium.regions().iter().cloned().collect();
    let allowed = consortium.regions().iter().filter(|region| allowed.contains(&region.as_str())).cloned().collect();
    let policy = JurisdictionPolicy { allowed };
    policy.tree(&regions, &WalletSecret::from_bytes([9; 32])).expect("known regions")
}

/// The policy's leaf for the region of a node.
pub fn opening(consortium: &Consortium, node: u32) -> PolicyOpening {
    // Nodes that join later stand in the first region.
    let region = consortium.node(NodeId::new(node)).map_or(&consortium.regions()[0], |node| &node.region);
    policy(consortium, &["eu"]).open(region).expect("a region of the consortium")
}

/// A node as it signs, with its second key if it is one of `rotated`.
pub fn signer(node: u32, rotated: &[u32]) -> Signer {
    let key = if rotated.contains(&node) { next_node_key(node) } else { node_key(node) };
    Signer { node: NodeId::new(node), key }
}

/// As many of `nodes` as make a quorum of them.
fn quorum(nodes: &[u32], rotated: &[u32]) -> Vec<Signer> {
    nodes.iter().take(nodes.len() * 2 / 3 + 1).map(|node| signer(*node, rotated)).collect()
}

/// The epoch key of an epoch.
pub fn epoch_key(epoch: u32) -> SecretKey {
    key(&format!("epoch {epoch}"))
}

/// The confirm key of the hop to an epoch.
pub fn confirm_key(epoch: u32) -> SecretKey {
    key(&format!("confirm {epoch}"))
}

impl Step {
    fn new(consortium: &Consortium, author: u32, event: Event, holder_key: Option<SecretKey>) -> Self {
        Self {
            author,
            author_key: node_key(author),
            event,
            holder_key,
            inner_key: key("nobody"),
            confirm_key: key("nobody"),
            consortium: consortium.id(),
            in_batch: false,
            event_lies: Vec::new(),
            entry_lies: Vec::new(),
        }
    }

    /// The holder says that it is alive.
    pub fn touch(consortium: &Consortium, wallet: WalletAddress, holder: u32, epoch: u32) -> Self {
        let boot_key = ExchangeSecret::from_bytes(&[5; 32]).public_key();
        let event = Touch { wallet, head: Digest::ZERO, boot_nonce: [7; 16], boot_key };
        Self::new(consortium, holder, Event::Touch(event), Some(epoch_key(epoch)))
    }

    /// Any event that is not signed by an epoch key.
    pub fn plain(consortium: &Consortium, author: u32, event: Event) -> Self {
        Self::new(consortium, author, event, None)
    }

    /// Any event that is signed by the key of an epoch.
    pub fn by_holder(consortium: &Consortium, author: u32, event: Event, epoch: u32) -> Self {
        Self::new(consortium, author, event, Some(epoch_key(epoch)))
    }

    /// The entry, and the head after it.
    fn sign(&self, number: usize, head: Digest) -> Entry {
        let mut event = self.event.clone();
        match &mut event {
            Event::WalletCreated(created) => {
                created.grant.signature = self.inner_key.sign(context::WALLET_GRANT, &encode(&created.grant.terms));
            }
            Event::MigrationOffered(offer) => offer.head = head,
            Event::MigrationAccepted(accepted) => accepted.head = head,
            Event::KeyConfirmed(confirm) => {
                let mut ticket = confirm.ticket.ticket.clone();
                ticket.head = head;
                confirm.ticket = ticket.sign(&self.inner_key);
                let (holder, exchange) = (&confirm.holder_key, &confirm.exchange_key);
                confirm.opened = confirm.ticket.sign_opened(&self.confirm_key, holder, exchange);
            }
            Event::MigrationAborted(aborted) => aborted.head = head,
            Event::Touch(touch) => touch.head = head,
            Event::BatchClosed(closed) => closed.head = head,
            _ => {}
        }
        self.event_lies.iter().for_each(|lie| lie(&mut event));
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let body = EntryBody { consortium: self.consortium, author: NodeId::new(self.author), nonce, event };
        let holder = self.holder_key.as_ref();
        let entry = if self.in_batch {
            let other = |nonce| EntryBody { nonce: [nonce; 16], ..body.clone() };
            let bodies = vec![(other(8), None), (body.clone(), holder), (other(9), None)];
            sign_batch(bodies, &self.author_key).swap_remove(1)
        } else {
            body.sign(&self.author_key, holder)
        };
        entry.changed(|entry| self.entry_lies.iter().for_each(|lie| lie(entry)))
    }
}

impl Story {
    /// A wallet that begins at node 0 and moves along `path`; a `Touch` and an entry in a batch are on the way.
    pub fn of(consortium: Arc<Consortium>, path: &[u32]) -> Self {
        let consortium_of = consortium.clone();
        let consortium = &consortium_of;
        let tenant = key("tenant");
        let terms = WalletTerms {
            consortium: consortium.id(),
            tenant_key: tenant.public_key(),
            policy: policy(consortium, &["eu"]).commitment(),
            model: Digest([1; 32]),
            numerics: Digest([2; 32]),
            holder: NodeId::new(0),
            nonce: [3; 16],
        };
        let wallet = terms.address();
        let created = WalletCreated {
            grant: terms.sign(&tenant),
            holder_key: epoch_key(0).public_key(),
            opening: opening(consortium, 0),
        };
        let mut first = Step::by_holder(consortium, 0, Event::WalletCreated(created), 0);
        first.inner_key = tenant;
        let mut steps = vec![first, Step::touch(consortium, wallet, 0, 0)];
        let (mut source, mut holder, mut decisions) = (0, 0, Vec::new());
        for (receiver, epoch) in path.iter().copied().zip(1..) {
            decisions = decisions_of(wallet, receiver);
            steps.extend(hop(consortium, wallet, (holder, receiver), epoch, decision_hash(&decisions[0])));
            (source, holder) = (holder, receiver);
        }
        let end = decision_log_end(&decisions);
        let mut anchor = Step::plain(consortium, source, Event::DecisionAnchored(end));
        anchor.in_batch = true;
        steps.push(anchor);
        let nodes: Vec<u32> = consortium.validators().members.iter().map(|(node, _)| node.get()).collect();
        let signers = quorum(&nodes, &[]);
        Self {
            consortium: consortium_of,
            steps,
            decisions,
            signers,
            kind: VoteKind::Finalize,
            endings: Vec::new(),
            carriers: 0,
            members: Vec::new(),
            since: None,
            spent_lies: Vec::new(),
            record_lies: Vec::new(),
            record: None,
            header_lies: Vec::new(),
            ballot_lies: Vec::new(),
            certificate_lies: Vec::new(),
            bundle_lies: Vec::new(),
        }
    }

    /// After `after` steps an epoch ends, and `nodes` vote from there on, those of `rotated` with their second key.
    /// Further steps by these are signed with it.
    pub fn end(&mut self, after: usize, nodes: &[u32], rotated: &[u32]) {
        let signers = std::mem::replace(&mut self.signers, quorum(nodes, rotated));
        let epoch = self.endings.len() as u64 + 1;
        let member = |node: &u32| (NodeId::new(*node), signer(*node, rotated).key.public_key());
        let next = ValidatorSet { epoch, members: nodes.iter().map(member).collect() };
        let (kind, closing_lies, ballot_lies, lies) = (VoteKind::Finalize, Vec::new(), Vec::new(), Vec::new());
        self.endings.push(Ending { after, next, carriers: 0, signers, kind, closing_lies, ballot_lies, lies });
        self.resign(after, rotated);
    }

    /// From so many steps on those of `rotated` sign with their second key.
    pub fn resign(&mut self, after: usize, rotated: &[u32]) {
        for step in &mut self.steps[after..] {
            if rotated.contains(&step.author) {
                step.author_key = next_node_key(step.author);
            }
            if let Event::MigrationOffered(offer) = &mut step.event {
                let receiver = offer.receiver.get();
                if rotated.contains(&receiver) {
                    offer.prekey = prekey_by(receiver, &next_node_key(receiver));
                }
            }
        }
    }

    /// With a proof that the log goes on from its first `size` entries.
    pub fn going_on_from(mut self, size: u64) -> Self {
        self.since = Some(size);
        self
    }

    /// The checkpoint of a tree as an auditor keeps it: cosigned by a quorum of the set of its size.
    pub fn kept(&self, checkpoint: Checkpoint) -> Note {
        let ended = self.bundle().hand_overs.iter().position(|ended| ended.closing.log_size >= checkpoint.size);
        self.kept_of(ended.unwrap_or(self.endings.len()), checkpoint)
    }

    /// One that the set of that epoch cosigned.
    pub fn kept_of(&self, epoch: usize, checkpoint: Checkpoint) -> Note {
        let signers = self.endings.get(epoch).map_or(&self.signers, |ending| &ending.signers);
        let cosignatures = signers.iter().map(|signer| Cosignature::sign(&checkpoint, signer, 1_800_000_000)).collect();
        CosignedCheckpoint { checkpoint, cosignatures }.to_note(self.validators(epoch), &self.consortium.id())
    }

    /// The validators of an epoch.
    fn validators(&self, epoch: usize) -> &ValidatorSet {
        epoch.checked_sub(1).map_or(self.consortium.validators(), |ending| &self.endings[ending].next)
    }

    /// The step that tells `event`, by its name, for the last time.
    ///
    /// # Panics
    /// If none does.
    pub fn step(&mut self, event: &str) -> &mut Step {
        let at = self.place(event);
        &mut self.steps[at]
    }

    /// Where that step stands.
    ///
    /// # Panics
    /// If there is none.
    pub fn place(&self, event: &str) -> usize {
        self.steps.iter().rposition(|step| step.event.name() == event).unwrap_or_else(|| panic!("no step is {event}"))
    }

    /// The wallet; all zeros if the story is about none.
    pub fn wallet(&self) -> WalletAddress {
        self.steps.iter().find_map(|step| step.event.wallet()).unwrap_or_default()
    }

    /// The decision that the last offer names, put into both places.
    pub fn decide(&mut self, decisions: Vec<Vec<u8>>) {
        let Event::MigrationOffered(offer) = &mut self.step("MigrationOffered").event else { return };
        offer.decision = decision_hash(&decisions[0]);
        self.step("DecisionAnchored").event = Event::DecisionAnchored(decision_log_end(&decisions));
        self.decisions = decisions;
    }

    /// The bundle that the story ends with.
    pub fn bundle(&self) -> Bundle {
        let mut head = Digest::ZERO;
        let (mut entries, mut rotations, mut spent, mut leaves) = (Vec::new(), Vec::new(), Vec::new(), filler(0));
        let mut sizes = vec![leaves.len()];
        for (number, step) in self.steps.iter().enumerate() {
            let entry = step.sign(number, head);
            let index = LogIndex::new(leaves.len() as u64);
            if !matches!(entry.body.event, Event::DecisionAnchored(_)) {
                head = next_head(&head, &entry.id());
            }
            rotations.extend(rotation(&entry, rotations.len()));
            spent.extend(prekey(&entry));
            leaves.push(entry.leaf_hash());
            leaves.extend(filler(number + 1));
            sizes.push(leaves.len());
            entries.push(PlacedEntry { index, entry });
        }
        let places: Vec<LogIndex> = entries.iter().map(|placed| placed.index).collect();
        let inclusion = several::prove(leaves.as_slice(), leaves.len() as u64, &places)
            .unwrap_or_else(|never| match never {})
            .unwrap_or_default();
        let prekey = spent.last().map(|(prekey, _)| *prekey).unwrap_or_default();
        self.spent_lies.iter().for_each(|lie| lie(&mut spent));
        let (record, tree) = self.state(head, rotations, spent);
        let hand_overs = self.endings.iter().enumerate();
        let hand_overs =
            hand_overs.map(|(epoch, ending)| self.hand_over(epoch, ending, &leaves[..sizes[ending.after]]));
        let hand_overs = hand_overs.collect();
        let mut header = self.header(self.endings.len(), &leaves, tree.root());
        self.header_lies.iter().for_each(|lie| lie(&mut header));
        let ClosingProof { mut certificate, carriers } =
            certify(&header, self.carriers, self.kind, &self.signers, &self.ballot_lies);
        self.certificate_lies.iter().for_each(|lie| lie(&mut certificate));
        let member = |(subject, record): &(Subject, Record)| {
            let path = tree.prove(&state_key(*subject).digest()).siblings;
            MemberProof { subject: *subject, record: encode(record), path }
        };
        let mut bundle = Bundle {
            version: VERSION,
            lineage: 1,
            consortium: self.consortium.to_bytes(),
            hand_overs,
            certificate,
            carriers,
            members: self.members.iter().map(member).collect(),
            header,
            entries,
            inclusion,
            decision: self.decisions.first().cloned().unwrap_or_default(),
            later: self.decisions.iter().skip(1).map(|decision| link(decision)).collect(),
            record,
            record_path: tree.prove(&StateKey::Wallet(self.wallet()).digest()).siblings,
            prekey_path: tree.prove(&StateKey::Prekey(prekey).digest()).siblings,
            since: self.since.map(|size| earlier(&leaves, size)),
        };
        self.bundle_lies.iter().for_each(|lie| lie(&mut bundle));
        bundle
    }

    fn state(
        &self,
        head: Digest,
        rotations: Vec<KeyRotated>,
        spent: Vec<(ExchangeKey, Digest)>,
    ) -> (Vec<u8>, StateTree) {
        let last = rotations.last().cloned();
        let Some(Event::WalletCreated(created)) = self.steps.first().map(|step| &step.event) else {
            return (Vec::new(), StateTree::default());
        };
        let terms = &created.grant.terms;
        let mut record = WalletRecord {
            address: self.wallet(),
            holder: last.as_ref().map_or(terms.holder, |rotation| rotation.holder),
            epoch: last.as_ref().map_or(KeyEpoch::ZERO, |rotation| rotation.epoch),
            head,
            holder_key: last.map_or(created.holder_key, |rotation| rotation.key),
            exchange_key: Some(ExchangeKey([8; 32])),
            tenant_key: terms.tenant_key,
            policy: terms.policy,
            model: terms.model,
            numerics: terms.numerics,
            phase: Phase::Active,
            exposed: vec![NodeId::new(1)],
            rotations,
            boot: None,
            hop: None,
            created_at: BlockHeight::new(1),
        };
        self.record_lies.iter().for_each(|lie| lie(&mut record));
        let encoded = encode(&Record::Wallet(Box::new(record)));
        let encoded = self.record.map_or(encoded.clone(), |change| change(encoded));
        let others = (0..40_u8).map(|i| (Digest(Sha256::digest([i]).into()), vec![i]));
        let own = (StateKey::Wallet(self.wallet()).digest(), encoded.clone());
        let members = self.members.iter().map(|(subject, record)| (state_key(*subject).digest(), encode(record)));
        let spent = spent.into_iter().map(|(prekey, offer)| {
            let key = StateKey::Prekey(prekey).digest();
            (key, encode(&Record::Prekey(offer)))
        });
        (encoded, others.chain([own]).chain(members).chain(spent).collect())
    }

    fn hand_over(&self, epoch: usize, ending: &Ending, leaves: &[Digest]) -> HandOver {
        let next = ending.next.clone();
        let mut closing = self.header(epoch, leaves, Digest([4; 32]));
        closing.next_validators = next.hash();
        ending.closing_lies.iter().for_each(|lie| lie(&mut closing));
        let proof = certify(&closing, ending.carriers, ending.kind, &ending.signers, &ending.ballot_lies);
        let mut hand_over = HandOver { closing, proof, next, re_genesis: None };
        ending.lies.iter().for_each(|lie| lie(&mut hand_over));
        hand_over
    }

    fn header(&self, epoch: usize, leaves: &[Digest], state_root: Digest) -> Header {
        let (log, validators) = (LogTree::from_leaf_hashes(leaves), self.validators(epoch));
        Header {
            consortium: self.consortium.id(),
            height: BlockHeight::new(20 * (epoch as u64 + 1)),
            view: View { term: View::first_term(epoch as u64) + 1, number: 9 },
            leader: NodeId::new(0),
            epoch: epoch as u64,
            parent: Digest([1; 32]),
            parent_certificate: Digest([2; 32]),
            skipped: Digest::ZERO,
            after: Digest([3; 32]),
            log_size: log.size(),
            log_root: log.root(),
            state_root,
            validators: validators.hash(),
            next_validators: Digest::ZERO,
            time: Timestamp::new(ledger::testing::CREATED_MS + 9_000),
        }
    }
}

/// What `signers` make of a header, by so many carriers.
fn certify(header: &Header, carriers: usize, kind: VoteKind, signers: &[Signer], lies: &[Lie<Ballot>]) -> ClosingProof {
    let mut above: Vec<Header> = Vec::with_capacity(carriers);
    for _ in 0..carriers {
        let below = above.last().unwrap_or(header);
        above.push(carrier(below));
    }
    let certified = above.last().unwrap_or(header);
    let mut ballot = Ballot::for_header(kind, certified);
    lies.iter().for_each(|lie| lie(&mut ballot));
    let signature = |signer: &Signer| (signer.node, Vote::sign(ballot, signer).signature);
    let certificate = Certificate {
        kind,
        view: certified.view,
        height: certified.height,
        block: certified.digest(),
        signatures: signers.iter().map(signature).collect(),
    };
    ClosingProof { certificate, carriers: above }
}

/// A block of the same epoch above `below` that holds nothing.
pub fn carrier(below: &Header) -> Header {
    Header {
        height: BlockHeight::new(below.height.get().wrapping_add(1)),
        view: View { number: below.view.number + 1, ..below.view },
        parent: below.digest(),
        next_validators: Digest::ZERO,
        ..below.clone()
    }
}

/// Where a record stands in the state.
const fn state_key(subject: Subject) -> StateKey {
    match subject {
        Subject::Node(node) => StateKey::Node(node),
        Subject::Key(key) => StateKey::Key(key),
    }
}

/// Offer, acceptance and confirm of a move to `epoch`.
fn hop(
    consortium: &Consortium,
    wallet: WalletAddress,
    (source, receiver): (u32, u32),
    epoch: u32,
    decision: Digest,
) -> [Step; 3] {
    let secret = |name: &str| ExchangeSecret::from_bytes(&sha256("test", &[name.as_bytes(), &[receiver as u8]]).0);
    let offer = MigrationOffered {
        wallet,
        head: Digest::ZERO,
        epoch: KeyEpoch::new(epoch),
        receiver: NodeId::new(receiver),
        opening: opening(consortium, receiver),
        prekey: secret("prekey").offer(NodeId::new(receiver), &node_key(receiver)),
        ephemeral: secret("ephemeral").public_key(),
        content: ContentCommitment(Digest([4; 32])),
        confirm_key: confirm_key(epoch).public_key(),
        decision,
        baseline: None,
        deadline: BlockHeight::new(50),
    };
    let accepted = MigrationAccepted { wallet, head: Digest::ZERO };
    let ticket = HandoffTicket {
        wallet,
        head: Digest::ZERO,
        epoch: KeyEpoch::new(epoch),
        source: NodeId::new(source),
        receiver: NodeId::new(receiver),
        content: ContentCommitment(Digest([6; 32])),
        next_token: TokenPosition::new(8),
    };
    let confirm = KeyConfirmed {
        ticket: ticket.sign(&epoch_key(epoch - 1)),
        holder_key: epoch_key(epoch).public_key(),
        exchange_key: ExchangeSecret::from_bytes(&[8; 32]).public_key(),
        opened: Signature([0; 64]),
    };
    let mut confirm = Step::by_holder(consortium, receiver, Event::KeyConfirmed(confirm), epoch);
    confirm.inner_key = epoch_key(epoch - 1);
    confirm.confirm_key = confirm_key(epoch);
    [
        Step::by_holder(consortium, source, Event::MigrationOffered(offer), epoch - 1),
        Step::plain(consortium, receiver, Event::MigrationAccepted(accepted)),
        confirm,
    ]
}

/// The decision to move `wallet` to `destination`, at position 5 of its log, and two more.
pub fn decisions_of(wallet: WalletAddress, destination: u32) -> Vec<Vec<u8>> {
    log_from(decision(wallet, Action::Migrate { to: NodeId::new(destination) }))
}

/// A decision and the two after it in the log, about another wallet.
pub fn log_from(first: Decision) -> Vec<Vec<u8>> {
    let after = |before: &Decision, chosen| Decision {
        seq: before.seq.wrapping_add(1),
        previous: before.hash(),
        wallet: WalletAddress(Digest([7; 32])),
        chosen,
        ..before.clone()
    };
    let second = after(&first, Action::Demote);
    let third = after(&second, Action::Evict);
    [first, second, third].iter().map(Decision::encode).collect()
}

/// A decision of rule 7 at position 5.
pub fn decision(wallet: WalletAddress, chosen: Action) -> Decision {
    let names = ["batch.idle_us", "batch.move_bytes", "limit.cool_down_us", "source.blocks_free_count"];
    Decision {
        seq: 5,
        at: Timestamp::new(ledger::testing::CREATED_MS),
        previous: Digest([5; 32]),
        wallet,
        rules_version: 1,
        rule: RuleId::R7,
        inputs: BTreeMap::from(names.map(|name| (name.to_owned(), -3))),
        chosen,
        refused: vec![
            (Action::Keep, Refusal::Outranked),
            (Action::Migrate { to: NodeId::new(3) }, Refusal::NotAllowed),
        ],
    }
}

/// What an anchor says of a log that ends with these decisions.
pub fn decision_log_end(decisions: &[Vec<u8>]) -> DecisionAnchored {
    let last = decisions.last().expect("at least one");
    let position = last.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).unwrap_or_default();
    DecisionAnchored { decisions: position.wrapping_add(1), log_head: decision_hash(last) }
}

/// What a bundle keeps of a later decision.
pub fn link(decision: &[u8]) -> Link {
    let at = decision.get(8..16).and_then(|at| at.try_into().ok()).map(u64::from_le_bytes).unwrap_or_default();
    let reason = sha256("batchmind/v2/decision/reason", &[decision.get(48..).unwrap_or_default()]);
    Link { at: Timestamp::new(at), reason }
}

/// The rotation that an entry brings.
fn rotation(entry: &Entry, known: usize) -> Option<KeyRotated> {
    let (key, cause): (PublicKey, Cause) = match &entry.body.event {
        Event::WalletCreated(created) => (created.holder_key, Cause::Created),
        Event::KeyConfirmed(confirm) => (confirm.holder_key, Cause::Hop),
        _ => return None,
    };
    let epoch = KeyEpoch::new(u32::try_from(known).expect("few"));
    Some(KeyRotated { epoch, holder: entry.body.author, key, cause, at: BlockHeight::new(2), entry: entry.id() })
}

/// The prekey that an entry spends, and its id.
fn prekey(entry: &Entry) -> Option<(ExchangeKey, Digest)> {
    match &entry.body.event {
        Event::MigrationOffered(offer) => Some((offer.prekey.key, entry.id())),
        _ => None,
    }
}

/// The tree of the first `size` leaves, and what leads on from it; of a size that the log never had, no path.
fn earlier(leaves: &[Digest], size: u64) -> Since {
    let grown = grown_since(leaves, size, leaves.len() as u64).unwrap_or_else(|never| match never {});
    let (root, path) = grown.unwrap_or_default();
    Since { size, root, path }
}

/// Leaves of others, of which the log is full.
fn filler(after: usize) -> Vec<Digest> {
    (0..after * 3 % 7).map(|i| leaf_hash(&[after as u8, i as u8])).collect()
}

/// A signed prekey of `node` by another key.
pub fn prekey_by(node: u32, key: &SecretKey) -> SignedPrekey {
    ExchangeSecret::from_bytes(&[6; 32]).offer(NodeId::new(node), key)
}
