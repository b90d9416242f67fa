//! One node that chunks are asked of.

use std::time::Duration;

use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use ledger::{
    shell::join::{Giver, GiverFault},
    snapshot::{CHUNK_BYTES_MAX, ChunkPath},
};
use reqwest::{Method, header};
use tokio::time::timeout;
use wallet::{digest::Digest, identity::SecretKey};

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

    async fn get(&self, path: String) -> Result<Vec<u8>, Failure> {
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
