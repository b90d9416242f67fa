//! All that a node builds on when it starts, and all that it would serve and sign.

use std::{path::Path, sync::Arc, time::Duration};

use genesis::Consortium;
use wallet::{
    codec,
    units::{BlockHeight, LogIndex, NodeId, Timestamp},
};

use super::folder::ME;
use crate::{
    finality::{Input, Moment, Voter},
    shell::{
        fault::Fault,
        files::Files,
        raft::{block_of, node_id},
    },
    testing::signer,
    tree::tiles::{TILE_WIDTH, Tiles as _, inclusion_proof},
};

/// Something that was read.
pub struct Item {
    pub what: String,
    pub bytes: Result<Vec<u8>, Fault>,
}

/// Starts on a folder and reads everything.
pub fn read_all(folder: &Path, consortium: &Arc<Consortium>) -> Result<Vec<Item>, Fault> {
    let files = Files::open(&folder.into(), consortium, ME)?;
    let mut items = Vec::new();
    let mut note = |what: String, bytes: Result<Vec<u8>, Fault>| items.push(Item { what, bytes });

    let (store, executed) = (&files.store, &files.tip.executed);
    let state: Vec<_> = executed.state.tree().iter().map(|(key, value)| (*key, value.to_vec())).collect();
    let tip = (executed.digest, executed.height, executed.view, executed.time, executed.log.root());
    let tip = (tip, &files.tip.certificate, &files.tip.carriers, files.tip.log_id);
    note("the tip".to_owned(), Ok(codec::encode(&(tip, executed.state.tree().root(), state))));
    for height in (1..=executed.height.get()).map(BlockHeight::new) {
        let block =
            store.block(height).map(|block| block.map(|found| (found.block, found.certificate, found.carriers)));
        note(format!("block {height}"), block.map(|block| codec::encode(&block)));
    }
    let epochs = executed.state.epoch();
    note("hand-overs".to_owned(), store.hand_overs(epochs).map(|all| codec::encode(&all)));
    let size = executed.log.size();
    note("entries".to_owned(), store.entry_bytes(0..size).map(|all| all.concat()));
    note("leaves".to_owned(), store.hashes(0, 0..size).map(|all| codec::encode(&all)));
    note("tiles".to_owned(), store.hashes(1, 0..size / TILE_WIDTH).map(|all| codec::encode(&all)));
    for index in [0, size / 2, size - 1] {
        let proof = inclusion_proof(store, LogIndex::new(index), size);
        note(format!("the proof of entry {index}"), proof.map(|proof| codec::encode(&proof)));
    }
    for wallet in executed.state.wallets() {
        let places = store.wallet_entries(wallet.address, 0..size, usize::MAX, executed);
        note("the entries of a wallet".to_owned(), places.map(|places| codec::encode(&places)));
        let last = store.last_eviction(wallet.address, executed);
        note("the last eviction of a wallet".to_owned(), last.map(|last| codec::encode(&last)));
    }
    for node in (0..5).map(NodeId::new) {
        for from in [0, size / 2, size - 1].map(LogIndex::new) {
            let place = store.anchor_from(node, from, executed);
            note(format!("an anchor of node {node}"), place.map(|place| codec::encode(&place)));
        }
    }

    let log = &files.log;
    for index in 0..=log.last().map_or(0, |last| last.log_id.index) {
        let entry = log.entry(index).map(|entry| codec::encode(&entry.map(|stored| (stored.chain, stored.entry))));
        note(format!("raft entry {index}"), entry);
    }
    note("the end of the log".to_owned(), Ok(codec::encode(&(log.end(), log.purged()))));
    note("raft's vote".to_owned(), log.vote().map(|vote| codec::encode(&vote)));
    note("the votes".to_owned(), Ok(codec::encode(&(&files.votes, files.may_vote))));
    note("what it says next".to_owned(), says_next(&files, consortium).map(String::into_bytes));
    Ok(items)
}

/// What the node's key would sign now: the voter begins as in [`crate::shell::start`], and reads the log.
fn says_next(files: &Files, consortium: &Arc<Consortium>) -> Result<String, Fault> {
    let tip = files.tip.clone();
    let wall = Timestamp::new(tip.executed.time.get() + 200);
    let now = Moment { wall, steady: Duration::ZERO };
    let next = tip.log_id.map_or(0, |at| at.index + 1);
    let record = files.votes.record.clone();
    let mut voter = Voter::new(consortium.clone(), [signer(0)], tip.executed, tip.certificate, record, now)
        .with_carriers(tip.carriers);
    let mut said = Vec::new();
    let mut tell = |input| voter.step(now, input, &mut said);
    if let Some(best) = files.votes.best.clone() {
        let _ = tell(Input::Certificate(best));
    }
    let mut after = files.log.link(next.saturating_sub(1))?.map(|link| link.chain).unwrap_or_default();
    for stored in files.log.entries_from(next)? {
        let log_id = stored.entry.log_id;
        if let Some(block) = block_of(stored.entry) {
            let (term, leader) = (log_id.leader_id.term, node_id(log_id.leader_id.node_id).unwrap_or(NodeId::ZERO));
            let _ = tell(Input::Flushed { log_index: log_id.index, term, leader, after, block: Box::new(block) });
        }
        after = stored.chain;
    }
    let _ = tell(Input::Tick);
    Ok(format!("{said:?} {:?}", voter.status()))
}
