use wallet::digest::sha256;

use super::*;
use crate::testing::{Chain, Session, consortium};

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

fn read(bytes: &[u8], genesis: &Digest) -> Result<(Vec<FinalBlock>, Option<End>), ArchiveInvalid> {
    let mut reader = ArchiveReader::open(bytes, genesis)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
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
    let (bytes, _, genesis) = sample();
    for length in 0..bytes.len() {
        let found = read(&bytes[..length], &genesis).expect_err("cut");
        assert!(matches!(found, ArchiveInvalid::Torn { .. }), "{length}: {found}");
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_found() {
    let (bytes, _, genesis) = sample();
    for byte in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[byte] ^= 1 << (byte % 8);
        assert!(read(&changed, &genesis).is_err(), "byte {byte}");
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
}
