use wallet::digest::sha256;

use super::*;
use crate::testing::{Chain, Session, consortium, decision};

fn sample() -> (Vec<u8>, Vec<FinalBlock>, Digest) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    let blocks: Vec<_> = chain
        .blocks
        .into_iter()
        .map(|(block, certificate)| FinalBlock { block, certificate, carriers: Vec::new() })
        .collect();
    (written(&consortium, &blocks), blocks, consortium.id())
}

fn written(consortium: &Consortium, blocks: &[FinalBlock]) -> Vec<u8> {
    let height = blocks.last().map_or(BlockHeight::ZERO, |last| last.block.header.height);
    let frames = blocks.iter().cloned().map(block).chain([end(End { height, raft_index: 17 })]);
    [head(consortium)].into_iter().chain(frames).flatten().collect()
}

/// The decision that offers of the samples name.
fn decided() -> Grounds {
    Grounds { decision: decision(0, Digest::ZERO), later: Vec::new() }
}

/// An archive in which nodes 0 and 2 name a decision, with these decisions behind its blocks.
fn with_decisions(decisions: &[(NodeId, Grounds)]) -> (Vec<u8>, Digest) {
    let consortium = consortium(4);
    let mut chain = Chain::new(consortium.clone());
    for holder in [0, 2] {
        let session = Session::in_eu(&consortium, holder);
        chain.push(session.created()).expect("valid");
        session.hop(&mut chain, 1, None).expect("valid");
    }
    let height = chain.tip.height;
    let blocks = chain.final_blocks().into_iter().map(block);
    let decisions = decisions.iter().cloned().map(|(by, decision)| grounds(by, decision));
    let frames = [head(&consortium)].into_iter().chain(blocks).chain(decisions);
    (frames.chain([end(End { height, raft_index: 17 })]).flatten().collect(), consortium.id())
}

/// Its decisions, and how many its entries name.
fn decisions(bytes: &[u8], genesis: &Digest) -> Result<(Vec<(NodeId, Grounds)>, usize), ArchiveInvalid> {
    let mut reader = ArchiveReader::open(bytes, genesis)?;
    while reader.next_block()?.is_some() {}
    let mut decisions = Vec::new();
    while let Some(decision) = reader.next_grounds()? {
        assert_eq!(reader.end(), None, "it is not read to its end");
        decisions.push(decision);
    }
    assert!(reader.end().is_some());
    Ok((decisions, reader.named()))
}

fn read(bytes: &[u8], genesis: &Digest) -> Result<(Vec<FinalBlock>, Option<End>), ArchiveInvalid> {
    let mut reader = ArchiveReader::open(bytes, genesis)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
    assert_eq!(reader.next_grounds()?, None);
    Ok((blocks, reader.end()))
}

#[test]
fn what_was_written_is_read() {
    let (bytes, blocks, genesis) = sample();
    let height = blocks[blocks.len() - 1].block.header.height;
    let (found, end) = read(&bytes, &genesis).expect("an archive");
    assert_eq!((found, end), (blocks, Some(End { height, raft_index: 17 })));
}

#[test]
fn an_archive_without_a_block_is_one() {
    let consortium = consortium(4);
    let (blocks, end) = read(&written(&consortium, &[]), &consortium.id()).expect("an archive");
    assert_eq!((blocks, end.map(|end| end.height)), (vec![], Some(BlockHeight::ZERO)));
}

#[test]
fn every_archive_that_ends_too_early_is_torn() {
    let (bytes, genesis) = with_decisions(&[(NodeId::ZERO, decided())]);
    for length in 0..bytes.len() {
        let found = decisions(&bytes[..length], &genesis).expect_err("cut");
        assert!(matches!(found, ArchiveInvalid::Torn { .. }), "{length}: {found}");
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_found() {
    let (bytes, genesis) = with_decisions(&[(NodeId::ZERO, decided())]);
    for byte in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[byte] ^= 1 << (byte % 8);
        assert!(decisions(&changed, &genesis).is_err(), "byte {byte}");
    }
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_memory_is_taken() {
    let (mut bytes, _, genesis) = sample();
    bytes[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(&bytes, &genesis), Err(ArchiveInvalid::TooLarge { offset: 20, .. })));
}

#[test]
fn a_block_left_out_is_missed() {
    let (_, mut blocks, genesis) = sample();
    blocks.remove(1);
    assert!(matches!(read(&written(&consortium(4), &blocks), &genesis), Err(ArchiveInvalid::OutOfPlace { .. })));
}

#[test]
fn blocks_left_out_at_the_end_are_missed() {
    let (_, blocks, genesis) = sample();
    let frames = [block(blocks[0].clone()), end(End { height: BlockHeight::new(2), raft_index: 2 })];
    let bytes: Vec<u8> = [head(&consortium(4))].into_iter().chain(frames).flatten().collect();
    assert!(matches!(read(&bytes, &genesis), Err(ArchiveInvalid::OutOfPlace { .. })));
}

#[test]
fn nothing_may_follow_the_end() {
    let (mut bytes, _, genesis) = sample();
    let offset = bytes.len() as u64;
    bytes.push(0);
    assert!(matches!(read(&bytes, &genesis), Err(ArchiveInvalid::Trailing { offset: found }) if found == offset));
}

#[test]
fn decisions_that_entries_name_are_read_in_their_order_and_may_be_missing() {
    let [first, second] = [0, 2].map(|by| (NodeId::new(by), decided()));
    for some in [vec![], vec![first.clone()], vec![second.clone()], vec![first.clone(), second.clone()]] {
        let (bytes, genesis) = with_decisions(&some);
        assert_eq!(decisions(&bytes, &genesis).expect("an archive"), (some, 2));
    }
    for out_of_place in [[&second, &first], [&first, &first]] {
        let (bytes, genesis) = with_decisions(&out_of_place.map(Clone::clone));
        assert!(matches!(decisions(&bytes, &genesis), Err(ArchiveInvalid::OutOfPlace { .. })));
    }
}

#[test]
fn a_decision_that_no_entry_of_its_node_names_or_that_is_too_large_is_refused() {
    let other = Grounds { decision: decision(1, Digest::ZERO), later: Vec::new() };
    for unnamed in [(NodeId::new(0), other), (NodeId::new(1), decided())] {
        let (bytes, genesis) = with_decisions(&[unnamed]);
        assert!(matches!(decisions(&bytes, &genesis), Err(ArchiveInvalid::NotNamed { .. })));
    }
    let link = crate::bundle::Link { at: wallet::units::Timestamp::new(1), reason: Digest::ZERO };
    let large = Grounds { later: vec![link; GROUNDS_BYTES_MAX / 40 + 1], ..decided() };
    let (bytes, genesis) = with_decisions(&[(NodeId::ZERO, large)]);
    let found = decisions(&bytes, &genesis);
    assert!(matches!(found, Err(ArchiveInvalid::TooLarge { max: GROUNDS_BYTES_MAX, .. })), "{found:?}");
}

#[test]
fn decisions_stand_behind_all_blocks() {
    let (bytes, blocks, genesis) = sample();
    let at = bytes.len() - block(blocks[3].clone()).len() - end(End { height: BlockHeight::ZERO, raft_index: 0 }).len();
    let changed = [&bytes[..at], &grounds(NodeId::ZERO, decided()), &bytes[at..]].concat();
    assert!(matches!(decisions(&changed, &genesis), Err(ArchiveInvalid::OutOfPlace { .. })));
}

#[test]
fn an_archive_of_another_consortium_is_refused() {
    let (bytes, _, _) = sample();
    assert!(matches!(read(&bytes, &Digest([1; 32])), Err(ArchiveInvalid::OtherConsortium { .. })));
}

#[test]
fn the_encoding_is_pinned() {
    let (bytes, _, _) = sample();
    assert_eq!(
        sha256("test", &[&bytes]).to_string(),
        "4fbdd4a44307e1a370274c6eca3a884f2ac5f1757737d1eb01b234a3556d2d70"
    );
    assert_eq!(
        wallet::digest::to_hex(&end(End { height: BlockHeight::new(3), raft_index: 17 })),
        "1400000024adf00c0200000003000000000000001100000000000000"
    );
    assert_eq!(
        wallet::digest::to_hex(&grounds(NodeId::new(2), decided())),
        "5000000050ace59f030000000200000038000000000000000000000000000000008844709e010000000000000000000000000000000000000000000000000000000000000000000009090909090909090000000000000000"
    );
}
