//! A liar: an honest node's software behind a shim that holds its key and rewrites what it sends.
//!
//! The shim sends nothing itself. Who runs the node shows it what is sent and what comes in, and does what it says: the
//! simulation on its network, and a process of the ledger's bench on a real one.

mod ahead;
mod answers;
mod blocks;
mod giving;
pub mod lie;
mod log;
mod replies;
pub mod rng;
mod unfinal;
mod votes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use genesis::Consortium;
use ledger::{
    block::View,
    execute::Executed,
    shell::{
        terms::{Candidacy, Proof},
        transport::{PeerReply, PeerRequest, SubmitReply},
    },
    vote::Signer,
};
use openraft::EntryPayload;
use wallet::{codec, digest::Digest, units::NodeId};

use self::{lie::Lie, log::ShownLog, rng::Rng, unfinal::Unfinal};

/// Messages that are remembered for a replay.
const REMEMBERED: usize = 200;

/// What becomes of a request that the honest software wanted to send.
pub enum Sending {
    /// It is sent, perhaps changed.
    Request(Box<PeerRequest>),
    /// It is sent later.
    Late(Box<PeerRequest>, Duration),
    /// These bytes are sent.
    Bytes(Vec<u8>),
    /// Nothing is sent.
    Nothing,
}

/// A node that lies.
pub struct Liar {
    me: NodeId,
    consortium: Arc<Consortium>,
    signer: Signer,
    lies: Vec<Lie>,
    rng: Rng,
    /// What each follower was shown as the log.
    shown: BTreeMap<NodeId, ShownLog>,
    remembered: Vec<PeerRequest>,
    /// Messages that it sends by itself.
    extra: Vec<(NodeId, PeerRequest)>,
    /// The highest raft term that it sent or heard of.
    term: u64,
    /// What it finalized unseen.
    finalized_unseen: BTreeSet<(View, Digest)>,
    /// The final state of its own replica.
    pub tip: Option<Arc<Executed>>,
    /// The last proof of leadership that it saw, whoever leads.
    proof: Option<Box<Proof>>,
    /// What candidates showed, itself among them.
    candidacies: Vec<Candidacy>,
    /// Its chain of blocks that do not become final.
    unfinal: Option<Unfinal>,
    /// Terms in which it had such a chain.
    led: BTreeSet<u64>,
    /// Chunks that it handed out.
    chunks: Vec<Vec<u8>>,
    /// What it did, for the trace.
    told: Vec<(Lie, NodeId)>,
}

impl Liar {
    /// A liar with the key of `signer`, of a seed. Without any lies it is honest.
    pub fn new(consortium: Arc<Consortium>, signer: Signer, lies: Vec<Lie>, seed: u64) -> Self {
        let (me, rng) = (signer.node, Rng::new(seed, "liar"));
        let (shown, remembered, extra) = Default::default();
        Self {
            me,
            consortium,
            signer,
            lies,
            rng,
            shown,
            remembered,
            extra,
            term: 1,
            finalized_unseen: BTreeSet::new(),
            tip: None,
            proof: None,
            candidacies: Vec::new(),
            unfinal: None,
            led: BTreeSet::new(),
            chunks: Vec::new(),
            told: Vec::new(),
        }
    }

    /// From now on it tells these lies and no others.
    pub fn turn_to(&mut self, lies: Vec<Lie>) {
        (self.lies, self.unfinal) = (lies, None);
    }

    /// What is sent in place of `request`.
    pub fn request(&mut self, to: NodeId, request: PeerRequest) -> Sending {
        if self.has(Lie::Silence) {
            return Sending::Nothing;
        }
        self.remember(&request);
        let request = match request {
            PeerRequest::Append { rpc, prev_chain, proof } => match self.append(to, rpc, prev_chain, proof) {
                Some(request) => request,
                None => return Sending::Nothing,
            },
            PeerRequest::Votes(words) => match self.words(to, words) {
                Some(request) => request,
                None => return Sending::Nothing,
            },
            PeerRequest::Candidate(candidacy) => self.candidate(candidacy),
            other => other,
        };
        if self.has(Lie::Garbage) && self.rng.percent(20) {
            return Sending::Bytes(self.garbage(&request));
        }
        if self.has(Lie::Slow) && has_block(&request) {
            return Sending::Late(Box::new(request), Duration::from_millis(self.rng.range(100..1_500)));
        }
        Sending::Request(Box::new(request))
    }

    /// Hears a request: the answer, where the honest software is not asked, and else perhaps another request than came.
    pub fn hears(&mut self, from: NodeId, request: &mut PeerRequest) -> Option<PeerReply> {
        self.remember(request);
        let one = self.favourite();
        match request {
            PeerRequest::Submit(_) if self.has(Lie::Censor) => Some(PeerReply::Submit(SubmitReply::Queued(None))),
            PeerRequest::Submit(entries) if self.has(Lie::CensorOne) => {
                entries.retain(|entry| entry.body.author != one);
                None
            }
            PeerRequest::Append { rpc, .. } => {
                self.sees_append(rpc);
                self.false_answer(rpc)
            }
            PeerRequest::Votes(words) => {
                self.sees_words(words);
                self.gather(words)
            }
            PeerRequest::Candidate(candidacy) => self.false_grant(from, candidacy),
            PeerRequest::LogEntries { after } => self.made_up_entries(*after),
            _ => None,
        }
    }

    /// What is answered in place of `reply`.
    pub fn reply(&mut self, to: NodeId, reply: PeerReply) -> Option<PeerReply> {
        if self.has(Lie::Silence) { None } else { Some(self.false_reply(to, reply)) }
    }

    /// Time passes, every tenth of a second.
    pub fn tick(&mut self) {
        if self.has(Lie::Silence) {
            return;
        }
        self.spontaneous_votes();
        self.spontaneous_raft();
        self.spontaneous_candidacy();
        if self.has(Lie::Replay) && !self.remembered.is_empty() {
            for to in self.others() {
                let request = self.rng.pick(&self.remembered).clone();
                self.extra.push((to, request));
            }
        }
    }

    /// What it sends by itself since it was asked last.
    pub fn take_extra(&mut self) -> Vec<(NodeId, PeerRequest)> {
        std::mem::take(&mut self.extra)
    }

    /// The lies that were told since it was asked last, and to whom. Not every lie says so.
    pub fn take_told(&mut self) -> Vec<(Lie, NodeId)> {
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, lie: Lie, to: NodeId) {
        self.told.push((lie, to));
    }

    fn has(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    /// All that are or were, but itself.
    fn others(&self) -> Vec<NodeId> {
        let governance = self.tip.as_ref().and_then(|tip| tip.state.governance());
        let nodes = governance.map_or(self.consortium.nodes().len(), |governance| governance.nodes as usize);
        (0..).map(NodeId::new).take(nodes).filter(|node| *node != self.me).collect()
    }

    /// The one of the others that gets what the rest does not.
    fn favourite(&self) -> NodeId {
        self.others()[0]
    }

    fn remember(&mut self, request: &PeerRequest) {
        if let PeerRequest::Append { rpc, .. } = request {
            self.term = self.term.max(rpc.vote.leader_id.term);
        }
        match request {
            PeerRequest::Append { proof: Some(proof), .. } => self.proof = Some(proof.clone()),
            PeerRequest::Candidate(candidacy) => self.candidacies.push((**candidacy).clone()),
            _ => {}
        }
        if self.remembered.len() < REMEMBERED {
            self.remembered.push(request.clone());
        } else {
            let at = self.rng.range(0..REMEMBERED as u64);
            self.remembered[usize::try_from(at).unwrap_or(0)] = request.clone();
        }
    }

    fn garbage(&mut self, request: &PeerRequest) -> Vec<u8> {
        let mut bytes = codec::encode(request);
        match self.rng.range(0..3) {
            0 => bytes.truncate(bytes.len() / 2),
            1 => {
                let at = self.rng.range(0..bytes.len() as u64);
                bytes[usize::try_from(at).unwrap_or(0)] ^= 1 << self.rng.range(0..8);
            }
            _ => bytes.iter_mut().for_each(|byte| *byte = u8::try_from(self.rng.range(0..256)).unwrap_or(0)),
        }
        bytes
    }
}

/// Whether a request brings a block.
fn has_block(request: &PeerRequest) -> bool {
    let PeerRequest::Append { rpc, .. } = request else { return false };
    rpc.entries.iter().any(|entry| matches!(entry.payload, EntryPayload::Normal(_)))
}
