//! The front door: where a tenant's request is placed, and how its tokens come back.
//!
//! The tenant's grant names the chosen node, so it is made once the choice is made, and anew for each node that is tried.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::Stream;
use scheduler::{load::ServedModel, router::RouteRequest};
use wallet::{
    digest::sha256,
    grant::WalletAddress,
    identity::RegionId,
    prefix::{block_hashes, prefix_root},
    units::{NodeId, TokenCount, TokenPosition},
};

use super::{Routing, choice::Choice, refusal::Refusal, tenants::Tenant};
use crate::{
    peer::{PeerFault, SessionReply, SessionRequest},
    session::{
        Sessions, agent,
        context::NodeContext,
        relay,
        request::{GenerateReply, GenerateRequest, PrefixSalt, ResumeSecret, Sampling},
        tokens::StreamItem,
    },
};

/// Nodes that are tried for one request at most.
const TRIES_MAX: usize = 3;

/// How long another node may take to admit a request.
const GENERATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests whose node is remembered, so that a stream can be resumed before the wallet is final.
const PLACED_KEPT: usize = 4096;

/// See the module. Clones are one front door.
#[derive(Clone)]
pub struct FrontDoor {
    node: Arc<NodeContext>,
    sessions: Sessions,
    routing: Routing,
    served: ServedModel,
    placed: Arc<Mutex<Placed>>,
}

/// A request for text, in tokens.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub tenant: Arc<Tenant>,
    /// Where the session may be held: the tenant's regions, or fewer.
    pub regions: BTreeSet<RegionId>,
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// How tokens are chosen and when it ends.
    pub sampling: Sampling,
    /// At most one token in this many milliseconds; 0 for as fast as it goes.
    pub pace_ms: u32,
    /// The request's id, as its client sees it.
    pub request_id: String,
}

/// A session that has begun.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its wallet.
    pub wallet: WalletAddress,
    /// The node that serves it.
    pub served_by: NodeId,
    /// By which the client resumes its stream.
    pub resume_secret: ResumeSecret,
    /// Tokens of the prompt: the position of the first generated token.
    pub prompt_tokens: TokenCount,
    /// Tokens of the prompt that were not computed again.
    pub cached_tokens: TokenCount,
}

/// Which node each of the last requests went to.
#[derive(Default)]
struct Placed {
    at: HashMap<WalletAddress, NodeId>,
    order: VecDeque<WalletAddress>,
}

impl FrontDoor {
    /// The front door of a node with these sessions.
    pub fn new(sessions: Sessions, routing: Routing) -> Self {
        let node = sessions.context().clone();
        let served = node.engine.served();
        Self { node, sessions, routing, served, placed: Arc::default() }
    }

    /// Starts a session where the router says, or where it says next if that node does not take it.
    ///
    /// # Errors
    /// [`Refusal`] of the router if nobody may serve the request, else of the last node that was tried.
    ///
    /// # Panics
    /// If the operating system has no random bytes.
    pub async fn generate(&self, ask: &Ask) -> Result<Opened, Refusal> {
        let salt = ask.tenant.prefix_salt(&self.node.consortium.id(), &ask.regions);
        let served = self.served;
        let root = prefix_root(&salt.0, &served.model, &served.numerics);
        let hashes = block_hashes(&salt.0, &root, &ask.prompt);
        let mut allowed = self.node.members().in_regions(&ask.regions);
        let mut last = None;
        for _ in 0..TRIES_MAX {
            let request = RouteRequest {
                model: served,
                hashes: &hashes,
                tokens: TokenCount::new(u32::try_from(ask.prompt.len()).unwrap_or(u32::MAX)),
                allowed: &allowed,
                subject: sha256("batchmind/v1/node/request", &[ask.request_id.as_bytes()]),
            };
            let Choice { node, matched_blocks } = match self.routing.choose(&request).await {
                Ok(choice) => choice,
                Err(refusal) => return Err(last.unwrap_or_else(|| refusal.into())),
            };
            match self.open(ask, node, &salt).await {
                Ok(opened) => {
                    let matched = hashes.get(..matched_blocks as usize).unwrap_or(&hashes);
                    self.routing.placed(node, matched);
                    return Ok(opened);
                }
                Err(refusal) if refusal.retry() || matches!(refusal, Refusal::Elsewhere { .. }) => {
                    tracing::info!(%node, code = refusal.code(), "a node did not take a request; trying the next");
                    allowed.remove(&node);
                    last = Some(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Err(last.unwrap_or_else(|| scheduler::refusal::Refusal::NobodyEligible.into()))
    }

    /// The tokens of a session from `from` on, wherever it is and goes. `at` is the node to ask first.
    pub fn stream(
        &self,
        wallet: WalletAddress,
        secret: &ResumeSecret,
        from: TokenPosition,
        at: NodeId,
    ) -> impl Stream<Item = StreamItem> + Send + use<> {
        relay::follow(&self.sessions, wallet, secret.clone(), from, at)
    }

    /// The node to which this front door sent the request behind `wallet`, if it was one of the last.
    pub fn placed_at(&self, wallet: &WalletAddress) -> Option<NodeId> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).at.get(wallet).copied()
    }

    async fn open(&self, ask: &Ask, node: NodeId, salt: &PrefixSalt) -> Result<Opened, Refusal> {
        let mut secret = ResumeSecret([0; 32]);
        getrandom::fill(&mut secret.0).expect("the operating system has random bytes");
        let mut tenant = agent::grant(&self.node, &ask.tenant.master, &ask.regions, node, self.served)?;
        tenant.prefix_salt = salt.clone();
        let request = GenerateRequest {
            tenant,
            prompt: ask.prompt.clone(),
            sampling: ask.sampling.clone(),
            pace_ms: ask.pace_ms,
            resume_secret_hash: secret.hash(),
            request_id: ask.request_id.clone(),
        };
        let reply = match node == self.node.me {
            true => self.sessions.create(request).await?,
            false => self.forward(node, request).await.map_err(|fault| Refusal::Elsewhere { node, fault })?,
        };
        let GenerateReply { wallet, served_by, prompt_tokens, cached_tokens } = reply;
        self.remember(wallet, served_by);
        Ok(Opened { wallet, served_by, resume_secret: secret, prompt_tokens, cached_tokens })
    }

    async fn forward(&self, node: NodeId, request: GenerateRequest) -> Result<GenerateReply, PeerFault> {
        let wallet = request.tenant.grant.terms.address();
        let request = SessionRequest::Generate(Box::new(request));
        match self.node.link.ask(node, request, GENERATE_TIMEOUT).await? {
            SessionReply::Generate(reply) if reply.wallet == wallet && reply.served_by == node => Ok(reply),
            _ => Err(PeerFault::unexpected(node)),
        }
    }

    fn remember(&self, wallet: WalletAddress, node: NodeId) {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        if placed.at.insert(wallet, node).is_none() {
            placed.order.push_back(wallet);
        }
        if placed.order.len() > PLACED_KEPT
            && let Some(oldest) = placed.order.pop_front()
        {
            placed.at.remove(&oldest);
        }
    }
}
