//! Who else may be asked for a ledger: nodes that joined after genesis, and those whose address changed.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;
use wallet::{digest::Digest, units::NodeId};

use super::Source;

/// Nodes that one source is asked about at most.
const ASKED_MAX: u32 = 1_024;
/// How long a source may take to tell of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// The addresses of the nodes that take part, as the final state of any of `sources` proves them from the genesis document
/// and the re-geneses that whoever joins was told of. What is not proven is left out, and so is the address of who asks.
/// A source can prove an older state, or be silent: then fewer are found.
pub async fn addresses(sources: &[Source], genesis: &Digest, re_geneses: &[Digest]) -> BTreeSet<String> {
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
        Ok::<_, crate::cli::Failure>(())
    };
    match timeout(PATIENCE, asking).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::debug!(%failure, "this node does not tell who takes part"),
        Err(_) => tracing::debug!("this node takes too long to tell who takes part"),
    }
    found
}
