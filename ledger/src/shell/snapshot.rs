//! What a running node hands out to one that joins: see [`crate::snapshot`].

use wallet::{codec, units::BlockHeight};

use super::{backup::end_of, fault::Fault, final_store::FinalStore, log_store::blocking, replica::Replica};
use crate::{
    hand_over::HandOver,
    snapshot::{Blocks, CHUNK_BYTES, ChunkPath, Offer},
    tree::tiles::right_edge,
};

impl Replica {
    /// What this node has; none before anything is final.
    ///
    /// # Errors
    /// [`Fault`] if the disk cannot give it.
    pub async fn offer(&self) -> Result<Option<Offer>, Fault> {
        let (store, log) = (self.store().clone(), self.shared.log.clone());
        let states = self.shared.pins.heights();
        blocking(move || {
            let end = end_of(&store, &log)?;
            let Some(tip) = store.header(end.height)? else { return Ok(None) };
            let Some(proof) = store.proof(&tip)? else { return Ok(None) };
            let states = states.into_iter().filter(|height| *height <= tip.height).collect();
            Ok(Some(Offer { tip, proof, raft_index: end.raft_index, states }))
        })
        .await
    }

    /// A chunk; none if this node does not have it, or not any more.
    ///
    /// # Errors
    /// [`Fault`] if the disk cannot give it.
    pub async fn chunk(&self, path: ChunkPath) -> Result<Option<Vec<u8>>, Fault> {
        let (store, pins) = (self.store().clone(), self.shared.pins.clone());
        let height = self.state().height;
        blocking(move || match path {
            ChunkPath::State { height, prefix } => {
                let part = pins.at(height).and_then(|pinned| pinned.state.tree().part(&prefix, CHUNK_BYTES));
                Ok(part.map(|part| codec::encode(&part)))
            }
            ChunkPath::Headers { last, .. } | ChunkPath::Blocks { last, .. } if last > height => Ok(None),
            path => stored_chunk(&store, path, CHUNK_BYTES),
        })
        .await
    }
}

/// A chunk of what is on the disk, of at most `bytes_max` bytes, or with one thing in it.
fn stored_chunk(store: &FinalStore, path: ChunkPath, bytes_max: usize) -> Result<Option<Vec<u8>>, Fault> {
    Ok(match path {
        ChunkPath::HandOvers { from } => {
            let found = hand_overs(store, from, bytes_max)?;
            (!found.is_empty()).then(|| codec::encode(&found))
        }
        ChunkPath::Headers { first, last } => {
            let headers = (first.get()..=last.get()).map(|height| store.header(BlockHeight::new(height)));
            headers.collect::<Result<Option<Vec<_>>, Fault>>()?.map(|headers| codec::encode(&headers))
        }
        ChunkPath::Blocks { first, last } => {
            blocks(store, first, last, bytes_max)?.map(|blocks| codec::encode(&blocks))
        }
        ChunkPath::State { .. } => None,
    })
}

fn hand_overs(store: &FinalStore, from: u64, bytes_max: usize) -> Result<Vec<HandOver>, Fault> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for epoch in from.. {
        let Some(hand_over) = store.hand_over(epoch)? else { break };
        bytes += codec::encoded_size(&hand_over);
        if bytes > bytes_max && !found.is_empty() {
            break;
        }
        found.push(hand_over);
    }
    Ok(found)
}

/// The last ones of these blocks that fit, at least one.
fn blocks(
    store: &FinalStore,
    first: BlockHeight,
    last: BlockHeight,
    bytes_max: usize,
) -> Result<Option<Blocks>, Fault> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for height in (first.get()..=last.get()).rev() {
        let Some(block) = store.block(BlockHeight::new(height))? else { return Ok(None) };
        bytes += codec::encoded_size(&block);
        if bytes > bytes_max && !found.is_empty() {
            break;
        }
        found.push(block);
    }
    found.reverse();
    let Some(lowest) = found.first() else { return Ok(None) };
    let below = store.header(BlockHeight::new(lowest.block.header.height.get().saturating_sub(1)))?;
    let before = right_edge(store, lowest.first_index().get())?;
    Ok(Some(Blocks { below, before, blocks: found }))
}

#[cfg(test)]
mod tests;
