//! One node that chunks are asked of.

use std::time::Duration;

use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use ledger::{
    shell::join::{Dropped, Giver, GiverFault},
    snapshot::{CHUNK_BYTES_MAX, ChunkPath},
    state::{NodeRecord, Record, StateKey},
    state_proof,
};
use reqwest::{Method, header};
use tokio::time::timeout;
use wallet::{
    digest::Digest,
    identity::{PublicKey, SecretKey},
    units::NodeId,
};

use super::request::{Asked, SignedRequest};
use crate::{
    cli::{Failure, client::Client},
    session::context::now,
    tls::client::Roots,
};

/// How long a node may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The code of a chunk that is not there.
const NOT_HERE: &str = "N-525";

/// The code of an address to which everybody between could read along.
const IN_THE_CLEAR: &str = "N-172";

/// Where the chunks are.
const PATH: &str = "/ledger/v1/snapshot";

/// A node that hands out its ledger.
#[derive(Clone, Debug)]
pub struct Source {
    url: String,
    client: Client,
    asker: Asker,
}

/// Who asks for a ledger.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Of which consortium.
    pub consortium: Digest,
    /// The key of the node that asks.
    pub key: SecretKey,
}

impl Source {
    /// The node that the ledger has under the address `url`. Who it is, it is believed by the word of `roots`.
    ///
    /// # Errors
    /// Those of [`Client::private`].
    pub fn new(roots: &Roots, url: &str, asker: Asker) -> Result<Self, Failure> {
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client: Client::private(roots, url)?, asker })
    }

    /// Those of `urls` that may be asked, and the others, whose way there is open to all: one operator's address is no
    /// reason to ask nobody.
    ///
    /// # Errors
    /// N-172 with all of them if none may be asked, and the others of [`Client::private`], which are about no address.
    pub fn each<'a>(
        roots: &Roots,
        urls: impl IntoIterator<Item = &'a str>,
        asker: &Asker,
    ) -> Result<(Vec<Self>, Vec<Dropped>), Failure> {
        let (mut sources, mut dropped) = (Vec::new(), Vec::new());
        for url in urls {
            match Self::new(roots, url, asker.clone()) {
                Ok(source) => sources.push(source),
                Err(Failure { code, title, detail, .. }) if code == IN_THE_CLEAR => {
                    dropped.push(Dropped { url: detail, lied: false, reason: format!("{code}: {title}") });
                }
                Err(failure) => return Err(failure),
            }
        }
        if sources.is_empty() && !dropped.is_empty() {
            let urls: Vec<_> = dropped.iter().map(|dropped| dropped.url.as_str()).collect();
            return Err(Failure::new(IN_THE_CLEAR, "no address is left over which a ledger may come", urls.join(", ")));
        }
        Ok((sources, dropped))
    }

    /// The key that asks.
    pub(super) fn asker(&self) -> PublicKey {
        self.asker.key.public_key()
    }

    /// What the final state has of `node`, as this source proves it from the genesis document and the re-geneses that lie
    /// between; none if there never was such a node.
    ///
    /// # Errors
    /// The source's problem, and N-161 if what it sent proves nothing.
    pub(super) async fn node(
        &self,
        node: NodeId,
        genesis: &Digest,
        re_geneses: &[Digest],
    ) -> Result<Option<NodeRecord>, Failure> {
        let bytes = self.get(format!("{PATH}/nodes/{node}")).await?;
        let report = state_proof::verify(&bytes, genesis, re_geneses, Some(&StateKey::Node(node)));
        match report.map_err(|failure| Failure::new("N-161", failure, &self.url))?.record {
            Some(Record::Node(record)) => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    pub(super) async fn get(&self, path: String) -> Result<Vec<u8>, Failure> {
        let broken = |title: String| Failure::new("N-160", title, &self.url);
        let read = async {
            let asked = Asked { consortium: self.asker.consortium, api: &self.url, path: &path };
            let signed = SignedRequest::sign(&asked, now(), &self.asker.key).to_string();
            let request = self.client.request(Method::GET, &path).header(header::AUTHORIZATION, signed);
            let mut response = self.client.send(request).await?;
            let mut bytes = Vec::new();
            loop {
                let piece = response.chunk().await.map_err(|error| broken(error.without_url().to_string()))?;
                let Some(piece) = piece else { return Ok(bytes) };
                if bytes.len() + piece.len() > CHUNK_BYTES_MAX {
                    return Err(broken(format!("the answer has more than {CHUNK_BYTES_MAX} bytes")));
                }
                bytes.extend_from_slice(&piece);
            }
        };
        let late = |_| broken(format!("no whole answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, read).await.map_err(late)?
    }
}

impl Giver for Source {
    fn url(&self) -> &str {
        &self.url
    }

    fn offer(&self) -> BoxFuture<'_, Result<Vec<u8>, GiverFault>> {
        self.get(PATH.to_owned()).map_err(in_words).boxed()
    }

    fn chunk(&self, path: ChunkPath) -> BoxFuture<'_, Result<Option<Vec<u8>>, GiverFault>> {
        let answer = self.get(format!("{PATH}/{path}"));
        let or_none = |answer: Result<Vec<u8>, Failure>| match answer {
            Err(failure) if failure.code == NOT_HERE => Ok(None),
            answer => answer.map(Some).map_err(in_words),
        };
        answer.map(or_none).boxed()
    }
}

fn in_words(failure: Failure) -> GiverFault {
    GiverFault(failure.to_string())
}
