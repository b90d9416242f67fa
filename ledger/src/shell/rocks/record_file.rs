//! RocksDB's files of records, which are its write-ahead logs and its manifests, looked through before RocksDB reads them.
//!
//! The checksum of a record does not cover its length, and RocksDB compares it only after it has believed the record's
//! kind. Where one of these bytes has changed, RocksDB takes the record for one that a crash cut short, and drops it and
//! all that follows without a word; or it reads the same record for ever. Such a file is refused here. A record that a
//! crash did cut short is not: the file ends with it, and nobody was told that it was written.
//!
//! The format is RocksDB's `log_format.h`: blocks of 32 KiB, and in them records that do not cross their ends.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::{planted::planted, shell::fault::Fault};

const BLOCK: usize = 32 << 10;
/// Masked checksum, length, kind.
const HEADER: usize = 4 + 2 + 1;
/// A record in one piece, or its first, a middle or its last one. Others are for features that are off here.
const KINDS: std::ops::RangeInclusive<u8> = 1..=4;

/// Looks through all files of records in a folder of RocksDB's. A folder that is not there has none.
pub(super) fn check_all(folder: &Path) -> Result<(), Fault> {
    if planted!(RecordFilesUnread) {
        return Ok(());
    }
    let fault = |path: &Path, source| Fault::file(path, source);
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files.map_err(|error| fault(folder, error))?,
    };
    // A manifest that `CURRENT` does not name is one that a crash left behind, and nobody reads it.
    let current = fs::read_to_string(folder.join("CURRENT")).unwrap_or_default();
    for entry in files {
        let path = entry.map_err(|error| fault(folder, error))?.path();
        if !has_records(&path, current.trim_end()) {
            continue;
        }
        let mut file = match File::open(&path) {
            // Whoever has the database open may remove it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(|error| fault(&path, error))?,
        };
        if let Some(Damage { at, reason }) = find_damage(&mut file).map_err(|error| fault(&path, error))? {
            return Err(Fault::Record { path, at, reason });
        }
    }
    Ok(())
}

fn has_records(path: &Path, manifest: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // `LOG` is for people.
    name.ends_with(".log") || name == manifest
}

/// Where a file does not read as it was written.
#[derive(Debug, PartialEq, Eq)]
struct Damage {
    at: u64,
    reason: &'static str,
}

/// What a block ends with.
enum End {
    /// Records up to its end, or one that the end of the file cut short.
    Records,
    /// Nothing was written from here on.
    Unwritten,
}

fn find_damage(file: &mut impl Read) -> io::Result<Option<Damage>> {
    let mut block = Vec::with_capacity(BLOCK);
    let (mut before, mut is_over) = (0, false);
    loop {
        block.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(None);
        }
        let found = if is_over { check_unwritten(&block, 0) } else { check_block(&block) };
        match found {
            Ok(End::Records) => {}
            Ok(End::Unwritten) => is_over = true,
            Err((at, reason)) => return Ok(Some(Damage { at: before + at as u64, reason })),
        }
        before += BLOCK as u64;
    }
}

fn check_block(block: &[u8]) -> Result<End, (usize, &'static str)> {
    let mut at = 0;
    while let Some((header, rest)) = block.get(at..).and_then(|rest| rest.split_first_chunk::<HEADER>()) {
        let [s0, s1, s2, s3, l0, l1, kind] = *header;
        if *header == [0; HEADER] {
            return check_unwritten(block, at);
        }
        let (sum, length) = (unmask(u32::from_le_bytes([s0, s1, s2, s3])), usize::from(u16::from_le_bytes([l0, l1])));
        if !KINDS.contains(&kind) {
            return Err((at, "nobody writes records of its kind"));
        }
        let of_kind = crc32c::crc32c(&[kind]);
        match rest.get(..length) {
            Some(body) if crc32c::crc32c_append(of_kind, body) == sum => at += HEADER + length,
            Some(_) => return Err((at, "its checksum does not match")),
            None if length > BLOCK - at - HEADER => return Err((at, "it is longer than its block")),
            None if is_whole(rest, of_kind, sum) => return Err((at, "it is whole and says that it is longer")),
            None => return Ok(End::Records),
        }
    }
    Ok(End::Records)
}

fn check_unwritten(block: &[u8], from: usize) -> Result<End, (usize, &'static str)> {
    match block.iter().skip(from).position(|byte| *byte != 0) {
        Some(at) => Err((from + at, "there is something after the end")),
        None => Ok(End::Unwritten),
    }
}

/// Whether the record that `bytes` begin with is all there: some length fits its checksum.
fn is_whole(bytes: &[u8], of_kind: u32, sum: u32) -> bool {
    let longer = bytes.iter().scan(of_kind, |so_far, byte| {
        *so_far = crc32c::crc32c_append(*so_far, &[*byte]);
        Some(*so_far)
    });
    of_kind == sum || longer.into_iter().any(|so_far| so_far == sum)
}

/// RocksDB masks checksums that it stores.
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of records with these lengths, as RocksDB writes it, and where each record begins.
    fn file(lengths: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for (number, length) in lengths.iter().enumerate() {
            let body: Vec<u8> = (0..*length).map(|at| (at * 31 + number * 7 + 1) as u8).collect();
            let (mut left, mut is_first) = (body.as_slice(), true);
            loop {
                let room = BLOCK - bytes.len() % BLOCK;
                if room < HEADER {
                    bytes.extend(std::iter::repeat_n(0, room));
                    continue;
                }
                let (piece, rest) = left.split_at(left.len().min(room - HEADER));
                let kind = match (is_first, rest.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                let sum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), piece);
                starts.push(bytes.len());
                bytes.extend(sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
                bytes.extend((piece.len() as u16).to_le_bytes());
                bytes.push(kind);
                bytes.extend(piece);
                (left, is_first) = (rest, false);
                if left.is_empty() {
                    break;
                }
            }
        }
        (bytes, starts)
    }

    fn damage(bytes: &[u8]) -> Option<Damage> {
        find_damage(&mut &*bytes).expect("memory")
    }

    #[test]
    fn what_rocksdb_writes_is_whole() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        let db = rocksdb::DB::open(&options, dir.path()).expect("opens");
        (0..300_u32).for_each(|n| db.put(n.to_be_bytes(), vec![n as u8; 997]).expect("writes"));
        check_all(dir.path()).expect("nobody damaged it");
    }

    #[test]
    fn every_changed_byte_of_a_record_is_found_and_so_is_every_change_of_its_head() {
        let (bytes, starts) = file(&[0, 5, 300, 40]);
        assert_eq!(damage(&bytes), None);
        for at in 0..bytes.len() {
            let in_head = starts.iter().any(|start| (*start..start + HEADER).contains(&at));
            let changes = if in_head { 1..=255 } else { 0x10..=0x10 };
            for change in changes {
                let mut bad = bytes.clone();
                bad[at] ^= change;
                assert!(damage(&bad).is_some(), "byte {at} changed by {change:#x}");
            }
        }
    }

    #[test]
    fn a_file_may_end_anywhere_in_its_last_record() {
        for lengths in [&[20, 90][..], &[BLOCK, 90], &[3 * BLOCK, BLOCK / 2]] {
            let (bytes, starts) = file(lengths);
            assert_eq!(damage(&bytes), None);
            for end in *starts.last().expect("records")..bytes.len() {
                assert_eq!(damage(&bytes[..end]), None, "cut at {end} of {lengths:?}");
            }
        }
    }

    #[test]
    fn records_do_not_cross_the_ends_of_blocks_and_nothing_follows_the_end() {
        let (mut bytes, starts) = file(&[BLOCK, 90]);
        bytes[starts[0] + 4] += 1;
        assert_eq!(damage(&bytes), Some(Damage { at: 0, reason: "it is longer than its block" }));
        let (mut bytes, _) = file(&[20]);
        bytes.resize(2 * BLOCK, 0);
        assert_eq!(damage(&bytes), None);
        bytes[BLOCK + 9] = 1;
        assert_eq!(damage(&bytes), Some(Damage { at: BLOCK as u64 + 9, reason: "there is something after the end" }));
    }
}
