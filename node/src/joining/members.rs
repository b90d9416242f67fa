//! Who else may be asked for a ledger: nodes that joined after genesis, and those whose address changed.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;
use wallet::{digest::Digest, units::NodeId};

use super::{Asker, Dropped, Source};
use crate::{cli::Failure, tls::client::Roots};

/// Nodes that one source is asked about at most.
const ASKED_MAX: u32 = 1_024;
/// How long a source may take to tell of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which nodes whoever joins wants to ask.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// Addresses that it knows.
    pub named: Vec<&'a str>,
    /// Addresses that are not asked for anything, whoever names them: those of nodes on the other side of a fork.
    pub without: &'a [String],
    /// The re-geneses that it was told of.
    pub re_geneses: &'a [Digest],
}

impl Chosen<'_> {
    /// The nodes to ask: those that were named, and those that one of them proves to take part. And addresses that are not
    /// asked because the way there is open to all.
    ///
    /// # Errors
    /// Those of [`Source::each`].
    pub async fn sources(&self, roots: &Roots, asker: &Asker) -> Result<(Vec<Source>, Vec<Dropped>), Failure> {
        let mut urls = Vec::new();
        self.add(&mut urls, self.named.iter().copied());
        let (sources, _) = Source::each(roots, urls.iter().map(String::as_str), asker)?;
        let known = addresses(&sources, &asker.consortium, self.re_geneses).await;
        self.add(&mut urls, known.iter().map(String::as_str));
        Source::each(roots, urls.iter().map(String::as_str), asker)
    }

    /// Adds the addresses that may be asked and are not there yet.
    fn add<'a>(&self, urls: &mut Vec<String>, more: impl Iterator<Item = &'a str>) {
        for url in more.map(|url| url.trim_end_matches('/')) {
            let is_left_out = self.without.iter().any(|other| other.trim_end_matches('/') == url);
            if !is_left_out && !urls.iter().any(|known| known == url) {
                urls.push(url.to_owned());
            }
        }
    }
}

/// The addresses of the nodes that take part, as the final state of any of `sources` proves them from the genesis document
/// and the re-geneses that whoever joins was told of. What is not proven is left out, and so is the address of who asks.
/// A source can prove an older state, or be silent: then fewer are found.
pub(super) async fn addresses(sources: &[Source], genesis: &Digest, re_geneses: &[Digest]) -> BTreeSet<String> {
    let each = sources.iter().map(|source| known_to(source, genesis, re_geneses));
    join_all(each).await.into_iter().flatten().collect()
}

async fn known_to(source: &Source, genesis: &Digest, re_geneses: &[Digest]) -> Vec<String> {
    let mut found = Vec::new();
    let asking = async {
        // Numbers are join indices, without gaps.
        for number in 0..ASKED_MAX {
            let record = source.node(NodeId::new(number), genesis, re_geneses).await?;
            let Some(record) = record else { break };
            if record.standing.takes_part() && record.node.key != source.asker() {
                found.push(record.node.api);
            }
        }
        Ok::<_, Failure>(())
    };
    match timeout(PATIENCE, asking).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::debug!(%failure, "this node does not tell who takes part"),
        Err(_) => tracing::debug!("this node takes too long to tell who takes part"),
    }
    found
}
