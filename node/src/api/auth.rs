//! Who is asking: a tenant by the API key of this node's configuration, or an auditor by one that the ledger grants.

use std::{hint::black_box, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use ledger::{shell::replica::Replica, state::State};
use sha2::{Digest as _, Sha256};
use wallet::digest::Digest;

use super::{problem::Problem, refusal::Refusal};
use crate::routing::tenants::{Tenant, Tenants};

/// The longest API key that is hashed.
const KEY_BYTES_MAX: usize = 512;

/// The keys that open something here. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Known>);

struct Known {
    tenants: Tenants,
    replica: Replica,
}

/// A request with a tenant's key.
pub struct ByTenant(pub Arc<Tenant>);

/// A request with an auditor's key.
pub struct ByAuditor;

impl Keys {
    /// The keys of these tenants, and of the auditors of this ledger's final state.
    pub fn new(tenants: Tenants, replica: Replica) -> Self {
        Self(Arc::new(Known { tenants, replica }))
    }

    /// The hash of the key that a request shows, if the key opens something here.
    pub(super) fn known(&self, headers: &HeaderMap) -> Option<Digest> {
        let key = key_hash(headers).ok()?;
        (self.tenant(&key).is_some() || self.is_auditor(&key)).then_some(key)
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
}

/// Whether the key of this hash reads now. The hashes stand on the ledger for everybody who reads it, so what the time of
/// a lookup says of them is no secret.
fn is_granted(state: &State, key_hash: &Digest) -> bool {
    state.auditor(*key_hash).is_some_and(|record| record.granted)
}

impl<S> FromRequestParts<S> for ByTenant
where
    Keys: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (keys, key) = (Keys::from_ref(state), key_hash(&parts.headers)?);
        match keys.tenant(&key) {
            Some(tenant) => Ok(Self(tenant)),
            None if keys.is_auditor(&key) => Err(Refusal::KeyOfAnotherKind { needed: "a tenant" }.into()),
            None => Err(Refusal::KeyMissing.into()),
        }
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
        if keys.is_auditor(&key) {
            return Ok(Self);
        }
        Err(match keys.tenant(&key) {
            Some(_) => Refusal::KeyOfAnotherKind { needed: "an auditor" }.into(),
            None => Refusal::KeyMissing.into(),
        })
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
