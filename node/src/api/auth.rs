//! Who is asking: a tenant by the API key of this node's configuration, an auditor by one that the ledger grants, the
//! owner of a model by the one of the genesis document, or a node by its signature.

use std::{hint::black_box, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, Uri, header, request::Parts},
};
use genesis::{Consortium, Model};
use ledger::{
    governance::Member,
    shell::replica::Replica,
    state::{KeyStatus, State},
};
use sha2::{Digest as _, Sha256};
use wallet::{digest::Digest, identity::PublicKey};

use super::{problem::Problem, refusal::Refusal};
use crate::{
    joining::request::{Asked, RequestInvalid, SignedRequest},
    routing::tenants::{Tenant, Tenants},
    session::context::now,
};

/// What nodes ask for, with a signature.
const SNAPSHOT: &str = "/ledger/v1/snapshot";
/// The longest API key that is hashed.
const KEY_BYTES_MAX: usize = 512;

/// The keys that open something here. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Known>);

struct Known {
    tenants: Tenants,
    replica: Replica,
    consortium: Arc<Consortium>,
    /// Where this node is asked, as the ledger has it.
    api: String,
}

/// A request with a tenant's key.
pub struct ByTenant(pub Arc<Tenant>);

/// A request with an auditor's key, which has this hash.
pub struct ByAuditor(pub Digest);

/// A request that a node of the ledger signed, with this key.
pub struct ByNode(pub Digest);

/// A request about models: with an auditor's key, or with that of the owner of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByOwner {
    /// An auditor, who has the key of this hash and reads about all models.
    OfAll(Digest),
    /// Who has the key of this hash, and reads about the models for which the genesis document names it.
    Of(Digest),
}

impl ByOwner {
    /// The hash of the key.
    pub const fn key(self) -> Digest {
        match self {
            Self::OfAll(key) | Self::Of(key) => key,
        }
    }

    /// Whether the request may be told about `model`.
    pub fn reads(&self, model: &Model) -> bool {
        match self {
            Self::OfAll(_) => true,
            Self::Of(key_hash) => model.owner.as_ref().is_some_and(|owner| owner.key_hash == *key_hash),
        }
    }
}

impl Keys {
    /// The keys of these tenants, of the auditors and nodes of this ledger's final state, and of the owners of the models.
    /// `api` is the address under which the ledger has this node: who asks signs for it.
    pub fn new(tenants: Tenants, replica: Replica, consortium: Arc<Consortium>, api: String) -> Self {
        Self(Arc::new(Known { tenants, replica, consortium, api }))
    }

    /// The key that a request shows, if it opens something here: an API key by its hash, a node's as it is.
    pub(super) fn known(&self, headers: &HeaderMap, uri: &Uri) -> Option<Digest> {
        // Nothing else is asked for by nodes, and a signature costs more than a hash.
        let by_node = uri.path().starts_with(SNAPSHOT);
        let of_node = || by_node.then(|| self.node(headers, uri).ok()).flatten().map(|key| Digest(key.0));
        key_hash(headers).ok().filter(|key| self.opens_something(key)).or_else(of_node)
    }

    fn opens_something(&self, key: &Digest) -> bool {
        self.tenant(key).is_some() || self.is_auditor(key) || self.is_owner(key)
    }

    fn tenant(&self, key: &Digest) -> Option<Arc<Tenant>> {
        // Every hash is compared, so that the time says nothing about which one it was.
        self.0.tenants.iter().fold(None, |found, tenant| {
            let same = are_equal(&tenant.api_key_hash, key);
            if same { Some(tenant.clone()) } else { found }
        })
    }

    fn is_auditor(&self, key: &Digest) -> bool {
        is_granted(&self.0.replica.state().state, key)
    }

    fn is_owner(&self, key: &Digest) -> bool {
        self.0.consortium.models().iter().any(|model| ByOwner::Of(*key).reads(model))
    }

    /// The key of the node that signed this request.
    fn node(&self, headers: &HeaderMap, uri: &Uri) -> Result<PublicKey, Refusal> {
        let Known { replica, consortium, api, .. } = &*self.0;
        let unsigned = |reason: RequestInvalid| Refusal::RequestUnsigned { api: api.clone(), reason };
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let request: SignedRequest = header.parse().map_err(unsigned)?;
        // Before the signature, which costs more. Who knows the key of a node that takes part has it verified all the same, as
        // with TLS.
        if !takes_part(&replica.state().state, request.key) {
            return Err(Refusal::NodeUnknown { key: request.key });
        }
        let asked = Asked { consortium: consortium.id(), api, path: uri.path() };
        request.verify(&asked, now()).map_err(unsigned)?;
        Ok(request.key)
    }

    /// Why a key that is not that of `needed` opens nothing.
    fn refusal(&self, key: &Digest, needed: &'static str) -> Problem {
        let known = self.opens_something(key);
        if known { Refusal::KeyOfAnotherKind { needed }.into() } else { Refusal::KeyMissing.into() }
    }
}

/// Whether the key of this hash reads now. The hashes stand on the ledger for everybody who reads it, so what the time of
/// a lookup says of them is no secret.
fn is_granted(state: &State, key_hash: &Digest) -> bool {
    state.auditor(*key_hash).is_some_and(|record| record.granted)
}

/// Whether it is the key of a node that is in force, or let in and not reinstated yet.
fn takes_part(state: &State, key: PublicKey) -> bool {
    let record = state.key(key).filter(|record| record.status == KeyStatus::InForce);
    let Some(Member::Node(node)) = record.and_then(|record| record.member) else { return false };
    state.node(node).is_some_and(|record| record.standing.takes_part())
}

impl<S> FromRequestParts<S> for ByTenant
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (keys, key) = (Keys::from_ref(state), key_hash(&parts.headers)?);
        keys.tenant(&key).map(Self).ok_or_else(|| keys.refusal(&key, "a tenant"))
    }
}

impl<S> FromRequestParts<S> for ByAuditor
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (keys, key) = (Keys::from_ref(state), key_hash(&parts.headers)?);
        keys.is_auditor(&key).then_some(Self(key)).ok_or_else(|| keys.refusal(&key, "an auditor"))
    }
}

impl<S> FromRequestParts<S> for ByNode
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let key = Keys::from_ref(state).node(&parts.headers, &parts.uri)?;
        Ok(Self(Digest(key.0)))
    }
}

impl<S> FromRequestParts<S> for ByOwner
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (keys, key) = (Keys::from_ref(state), key_hash(&parts.headers)?);
        match (keys.is_auditor(&key), keys.is_owner(&key)) {
            (true, _) => Ok(Self::OfAll(key)),
            (false, true) => Ok(Self::Of(key)),
            (false, false) => Err(keys.refusal(&key, "a model's owner")),
        }
    }
}

/// SHA-256 of the key that the request shows.
fn key_hash(headers: &HeaderMap) -> Result<Digest, Refusal> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::KeyMissing)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7).ok_or(Refusal::KeyMissing)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") || key.len() > KEY_BYTES_MAX {
        return Err(Refusal::KeyMissing);
    }
    Ok(Digest(Sha256::digest(key).into()))
}

/// Takes the same time whatever differs.
fn are_equal(one: &Digest, other: &Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    black_box(pairs.fold(0, |differs, (a, b)| differs | (a ^ b))) == 0
}
