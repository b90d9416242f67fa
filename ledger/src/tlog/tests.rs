//! The texts against C2SP's own examples, pinned ones of ours, and hostile ones.

use proptest::prelude::*;
use wallet::{
    identity::SecretKey,
    units::{LogIndex, NodeId},
};

use super::{
    cosignature::{TIME_MAX, cosigner_name, verifier_key},
    note::{NOTE_BYTES_MAX, NoteSignature, key_id},
    proof::{LOG_PROOF_BYTES_MAX, LogProofInvalid, LogProofTooLarge},
    tile::{TileKind, entry_bundle},
    *,
};
use crate::{
    governance::{Action, Member},
    testing::{Chain, consortium, signer},
    tree::{
        log::{LogTree, leaf_hash},
        tiles,
    },
};

/// The example of signed-note.
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

/// The example of tlog-cosignature.
const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

const TIME: u64 = 1_800_000_000;

/// A log of three leaves of the sample consortium, cosigned by these nodes.
fn cosigned(nodes: impl IntoIterator<Item = u32>) -> CosignedCheckpoint {
    let checkpoint = Checkpoint::new(&consortium(4).id(), 3, LogTree::from_leaf_hashes(&leaves()).root());
    let cosignatures =
        nodes.into_iter().map(|node| Cosignature::sign(&checkpoint, &signer(node), TIME + u64::from(node)));
    CosignedCheckpoint { cosignatures: cosignatures.collect(), checkpoint }
}

fn leaves() -> Vec<Digest> {
    [&b"one"[..], b"two", b"three"].map(leaf_hash).to_vec()
}

fn note(nodes: impl IntoIterator<Item = u32>) -> Note {
    let consortium = consortium(4);
    cosigned(nodes).to_note(consortium.validators(), &consortium.id())
}

fn read(note: &Note) -> Result<CosignedCheckpoint, CheckpointInvalid> {
    let consortium = consortium(4);
    CosignedCheckpoint::from_note(note, consortium.validators(), &consortium.id())
}

fn proof() -> LogProof {
    let index = LogIndex::new(1);
    let path = tiles::inclusion_proof(&leaves()[..], index, 3).expect("infallible").expect("within");
    LogProof { extra: None, index, path, checkpoint: note(0..3) }
}

#[test]
fn the_examples_of_the_specifications_are_read_and_written_the_same() {
    for example in [NOTE, COSIGNED] {
        assert_eq!(Note::parse(example.as_bytes()).expect("a note").to_string(), example);
    }
    let note = Note::parse(NOTE.as_bytes()).expect("a note");
    let key = from_base64("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").expect("base64");
    assert_eq!(note.signatures[0].key_id, key_id("example.com/foo", key[0], &key[1..]));
    assert_eq!(wallet::digest::to_hex(&note.signatures[0].key_id), "530d903a");
    let note = Note::parse(COSIGNED.as_bytes()).expect("a note");
    let checkpoint = Checkpoint::parse(&note.text).expect("a checkpoint");
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.to_string(), note.text);
    assert_eq!(note.signatures[1].signature[..8], 1_679_315_147_u64.to_be_bytes());
}

#[test]
fn the_texts_are_pinned() {
    let (id, set) = (Digest([0xAB; 32]), consortium(4).validators().clone());
    let checkpoint = Checkpoint::new(&id, 3, LogTree::from_leaf_hashes(&leaves()).root());
    let cosignatures = vec![Cosignature::sign(&checkpoint, &signer(2), TIME)];
    let note = CosignedCheckpoint { checkpoint, cosignatures }.to_note(&set, &id);
    let key = verifier_key(&id, NodeId::new(2), &signer(2).key.public_key());
    let proof = LogProof { checkpoint: note.clone(), ..proof() };
    assert_eq!(
        [note.to_string(), key, proof.to_string()],
        [PINNED_NOTE.to_owned(), PINNED_KEY.to_owned(), format!("{PINNED_PROOF}\n{PINNED_NOTE}")]
    );
    assert_eq!(entry_bundle([&b"ab"[..], b""]), [0, 2, b'a', b'b', 0, 0]);
}

const PINNED_NOTE: &str = "batchmind/abababababababababababababababababababababababababababababababab\n3\n\
Wqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n\n\
\u{2014} batchmind/abababababababababababababababababababababababababababababababab/node-2 \
lltpCAAAAABrSdIAeFLoYA8Kp3UmZGADGonT/7pFrIURqsjaNux9T9+JqlAGuNURu9IqD5tolVi/KYX7GMW7vOPm+F10SC1OwDQKBQ==\n";
const PINNED_KEY: &str = "batchmind/abababababababababababababababababababababababababababababababab/node-2+965b6908+\
BHarNaD/gr4CFhc3IScwUacaprdeu6feShEjXZYTxGwt";
const PINNED_PROOF: &str = "c2sp.org/tlog-proof@v1\nindex 1\n0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=\n\
Zx8UbF5HHooag6PCFM5LqQe486WIjRTMjNPOdbsS75Q=\n";

#[test]
fn a_checkpoint_needs_the_cosignatures_of_a_quorum() {
    assert_eq!(read(&note(0..3)).expect("a quorum"), cosigned(0..3));
    assert_eq!(read(&note(1..4)).expect("another"), cosigned(1..4));
    assert_eq!(read(&note(0..2)), Err(CheckpointInvalid::BelowQuorum { found: 2, quorum: 3 }));
    let mut twice = note([0, 1]);
    twice.signatures.push(twice.signatures[1].clone());
    assert_eq!(read(&twice), Err(CheckpointInvalid::BelowQuorum { found: 2, quorum: 3 }), "one key is one vote");
}

#[test]
fn signatures_of_unknown_keys_are_ignored_and_bad_ones_of_validators_are_not() {
    let mut foreign = note(0..3);
    foreign.signatures.extend(Note::parse(COSIGNED.as_bytes()).expect("a note").signatures);
    let mut renamed = foreign.signatures[0].clone();
    renamed.key_id[0] ^= 1;
    foreign.signatures.push(renamed);
    assert_eq!(read(&foreign).expect("a quorum besides"), cosigned(0..3));
    for (at, bit) in [(0, 1), (7, 1), (8, 0x80), (71, 1)] {
        let mut bad = note(0..4);
        bad.signatures[1].signature[at] ^= bit;
        assert_eq!(read(&bad), Err(CheckpointInvalid::BadCosignature { cosigner: NodeId::new(1) }), "byte {at}");
    }
    let mut short = note(0..4);
    short.signatures[3].signature.pop();
    assert_eq!(read(&short), Err(CheckpointInvalid::BadCosignature { cosigner: NodeId::new(3) }));
}

#[test]
fn a_cosignature_is_for_one_log_one_tree_and_one_key() {
    let good = cosigned(0..3);
    let consortium = consortium(4);
    let moved = |change: &dyn Fn(&mut CosignedCheckpoint)| {
        let mut other = good.clone();
        change(&mut other);
        read(&other.to_note(consortium.validators(), &consortium.id()))
    };
    let bad = Err(CheckpointInvalid::BadCosignature { cosigner: NodeId::ZERO });
    assert_eq!(moved(&|other| other.checkpoint.size = 4), bad);
    assert_eq!(moved(&|other| other.checkpoint.root.0[0] ^= 1), bad);
    assert_eq!(moved(&|other| other.checkpoint.extensions.push("more".to_owned())), bad);
    assert_eq!(
        moved(&|other| other.cosignatures[0].cosigner = NodeId::new(3)),
        Err(CheckpointInvalid::BadCosignature { cosigner: NodeId::new(3) })
    );
    let elsewhere = moved(&|other| other.checkpoint.origin = "batchmind/elsewhere".to_owned());
    assert!(matches!(elsewhere, Err(CheckpointInvalid::OtherOrigin { .. })));
    let stranger = Cosignature { cosigner: NodeId::new(4), ..good.cosignatures[0] };
    let refused = stranger.verify(&good.checkpoint, consortium.validators());
    assert_eq!(refused, Err(CheckpointInvalid::NotAValidator { cosigner: NodeId::new(4) }));
}

#[test]
fn a_time_beyond_63_bits_is_neither_signed_nor_taken() {
    let CosignedCheckpoint { checkpoint, .. } = cosigned([]);
    let last = Cosignature::sign(&checkpoint, &signer(0), u64::MAX);
    assert_eq!(last.time, TIME_MAX);
    let consortium = consortium(4);
    assert_eq!(last.verify(&checkpoint, consortium.validators()), Ok(()));
    let time = TIME_MAX + 1;
    let beyond = Cosignature { time, signature: signer(0).key.cosign(&checkpoint.to_string(), time), ..last };
    assert!(beyond.verify(&checkpoint, consortium.validators()).is_err());
}

#[test]
fn a_ledger_signature_is_no_cosignature_and_a_cosignature_no_ledger_signature() {
    use wallet::identity::context;
    let consortium = consortium(4);
    let (checkpoint, key) = (cosigned([]).checkpoint, signer(0).key);
    let text = checkpoint.to_string();
    for context in [context::LEDGER_VOTE, context::LEDGER_ENTRY, context::LEDGER_PROPOSAL, "cosignature/v1"] {
        let signature = key.sign(context, text.as_bytes());
        let forged = Cosignature { cosigner: NodeId::ZERO, time: 0, signature };
        assert!(forged.verify(&checkpoint, consortium.validators()).is_err(), "{context}");
        assert!(key.public_key().verify(context, text.as_bytes(), &key.cosign(&text, 0)).is_err(), "{context}");
    }
}

#[test]
fn what_is_no_note_is_refused() {
    let line = "\u{2014} example.com/foo Uw2QOgE=\n";
    assert!(Note::parse(format!("text\n\n{line}").as_bytes()).is_ok());
    for hostile in [
        String::new(),
        "text\n".to_owned(),
        "text\n\n".to_owned(),
        format!("text\n{line}"),
        format!("text\n\n{}", line.trim_end()),
        format!("text\n\n{line}\n"),
        format!("te\txt\n\n{line}"),
        format!("text\r\n\r\n{line}"),
        format!("text\n\n{line}more\n"),
        "text\n\n- example.com/foo Uw2QOgE=\n".to_owned(),
        "text\n\n\u{2014}  Uw2QOgE=\n".to_owned(),
        "text\n\n\u{2014} a+b Uw2QOgE=\n".to_owned(),
        "text\n\n\u{2014} a\u{2003}b Uw2QOgE=\n".to_owned(),
        "text\n\n\u{2014} name Uw2QOg==\n".to_owned(),
        "text\n\n\u{2014} name Uw2QOgE\n".to_owned(),
        "text\n\n\u{2014} name Uw2QOgF=\n".to_owned(),
        "text\n\n\u{2014} name Uw2QOgE= \n".to_owned(),
        "text\n\n\u{2014} name Uw2Q OgE=\n".to_owned(),
        format!("{}\n\n{line}", "x".repeat(NOTE_BYTES_MAX)),
    ] {
        assert!(Note::parse(hostile.as_bytes()).is_err(), "{:?}", hostile.get(..80).unwrap_or(&hostile));
    }
    assert!(Note::parse(b"\xFF\n\n").is_err());
    // A text may have empty lines: the last one ends it.
    let poem = format!("one\n\ntwo\n\n{line}");
    assert_eq!(Note::parse(poem.as_bytes()).expect("a note").text, "one\n\ntwo\n");
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let root = to_base64(&[7; 32]);
    assert!(Checkpoint::parse(&format!("o\n0\n{root}\n")).is_ok());
    assert!(Checkpoint::parse(&format!("o\n{}\n{root}\nmore\n", u64::MAX)).is_ok());
    for hostile in [
        String::new(),
        "\n".to_owned(),
        format!("\n1\n{root}\n"),
        format!("o\n1\n{root}"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n 1\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n1\n{}\n", root.trim_end_matches('=')),
        format!("o\n1\n{}\n", to_base64(&[7; 31])),
        format!("o\n1\n{}\n", to_base64(&[7; 33])),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\n\nmore\n"),
        "o\n1\n".to_owned(),
    ] {
        assert!(Checkpoint::parse(&hostile).is_err(), "{hostile:?}");
    }
}

#[test]
fn a_proof_proves_its_entry_and_no_other() {
    let consortium = consortium(4);
    let (good, leaves) = (proof(), leaves());
    let verify = |proof: &LogProof, leaf: usize| proof.verify(&leaves[leaf], &consortium, &[]);
    assert_eq!(verify(&good, 1), Ok(cosigned(0..3)));
    assert_eq!(verify(&good, 0), Err(LogProofInvalid::NotIncluded));
    for index in [0, 2, 3, u64::MAX] {
        let moved = LogProof { index: LogIndex::new(index), ..good.clone() };
        assert_eq!(verify(&moved, 1), Err(LogProofInvalid::NotIncluded), "at {index}");
    }
    let unsigned = LogProof { checkpoint: note(0..2), ..good };
    assert!(matches!(verify(&unsigned, 1), Err(LogProofInvalid::Checkpoint(CheckpointInvalid::BelowQuorum { .. }))));
}

#[test]
fn what_is_no_proof_file_is_refused() {
    let good = proof().to_string();
    assert_eq!(LogProof::parse(good.as_bytes()), Ok(proof()));
    let extra = LogProof { extra: Some(b"hint".to_vec()), ..proof() };
    assert_eq!(LogProof::parse(extra.to_string().as_bytes()), Ok(extra));
    let hash = format!("{}\n", to_base64(&[1; 32]));
    let many = |count: usize| good.replacen("index 1\n", &format!("index 1\n{}", hash.repeat(count)), 1);
    assert!(LogProof::parse(many(62).as_bytes()).is_ok() && LogProof::parse(many(63).as_bytes()).is_err());
    for (from, to) in [
        ("@v1", "@v2"),
        ("index 1", "index 01"),
        ("index 1", "index -1"),
        ("index 1", "Index 1"),
        ("index 1", "extra \nindex 1"),
        ("index 1", "extra !\nindex 1"),
        ("index 1\n", "index 1\n\n"),
        ("index 1\n", ""),
        ("\n\nbatchmind", "\nbatchmind"),
        ("tlog-proof@v1\n", "tlog-proof@v1\r\n"),
    ] {
        let hostile = good.replacen(from, to, 1);
        assert_ne!(hostile, good);
        assert!(LogProof::parse(hostile.as_bytes()).is_err(), "{to:?}");
    }
    assert!(LogProof::parse(&vec![b'a'; proof::LOG_PROOF_BYTES_MAX + 1]).is_err());
}

/// With as many carriers as there may be a hand-over has some 88 KB.
#[test]
fn a_log_proof_that_no_reader_takes_is_not_made() {
    let mut chain = Chain::new(consortium(5));
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
    let mut hand_over = chain.hand_overs[0].clone();
    hand_over.proof.carriers = vec![hand_over.closing.clone(); crate::hand_over::CARRIERS_MAX];
    let LogProof { index, path, checkpoint, .. } = proof();
    let of = |count| LogProof::new(index, path.clone(), checkpoint.clone(), &vec![hand_over.clone(); count]);
    let taken = of(10).expect("it fits");
    assert_eq!(LogProof::parse(taken.to_string().as_bytes()), Ok(taken));
    // The one is too large in base64 alone, the other as it is.
    for (count, is_small) in [(150, true), (200, false)] {
        let LogProofTooLarge { bytes } = of(count).expect_err("it is too large");
        assert_eq!(bytes < LOG_PROOF_BYTES_MAX, is_small, "{bytes}");
    }
}

#[test]
fn a_tile_has_one_path() {
    let hashes = |level, index, width| TilePath { kind: TileKind::Hashes(level), index, width };
    let entries = |index, width| TilePath { kind: TileKind::Entries, index, width };
    for (path, tile) in [
        ("0/000", hashes(0, 0, 256)),
        ("63/999", hashes(63, 999, 256)),
        ("1/x001/000.p/1", hashes(1, 1_000, 1)),
        ("0/x001/x234/067", hashes(0, 1_234_067, 256)),
        ("entries/x001/x234/067.p/255", entries(1_234_067, 255)),
        ("0/x018/x446/x744/x073/x709/x551/615", hashes(0, u64::MAX, 256)),
    ] {
        assert_eq!(path.parse(), Ok(tile), "{path}");
        assert_eq!(tile.to_string(), path);
    }
    for hostile in [
        "",
        "0",
        "0/",
        "/000",
        "0/0",
        "0/00",
        "0/0000",
        "0/x000",
        "0/x000/000",
        "0/001/000",
        "0/x1/000",
        "0/+01",
        "0/0 1",
        "00/000",
        "64/000",
        "256/000",
        "-1/000",
        "data/000",
        "Entries/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000.p",
        "0/000.p/1/",
        "0/000/",
        "0/x018/x446/x744/x073/x709/x551/616",
        "0/../000",
        "0/x001/x000",
        "0/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(hostile.parse::<TilePath>().is_err(), "{hostile:?}");
    }
}

#[test]
fn a_log_has_the_tiles_that_the_specification_counts() {
    let has = |path: &str, size: u64| path.parse::<TilePath>().expect("a path").range_within(size).is_some();
    // The specification's example: 273 full tiles of level 0, a partial one of 112, 1 of level 1, 17, and 1 of level 2.
    let size = 70_000;
    for (last, beyond) in [
        ("0/272", "0/273"),
        ("0/273.p/112", "0/273.p/113"),
        ("1/000", "1/001"),
        ("1/001.p/17", "1/001.p/18"),
        ("2/000.p/1", "2/000.p/2"),
        ("entries/273.p/112", "entries/273.p/113"),
    ] {
        assert!(has(last, size) && !has(beyond, size), "{last} {beyond}");
    }
    assert!(has("1/000.p/1", 256) && !has("1/000.p/1", 255) && !has("0/000.p/1", 0));
    assert!(!has("8/000.p/1", u64::MAX) && !has("63/000.p/1", u64::MAX));
    assert!(!has("0/x018/x446/x744/x073/x709/x551/615", u64::MAX), "its places would be beyond 2^64");
}

proptest! {
    #[test]
    fn each_path_is_read_back(level in 0..=63_u8, index in any::<u64>(), width in 1..=256_u16, entries in any::<bool>()) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
        let path = TilePath { kind, index, width };
        prop_assert_eq!(path.to_string().parse(), Ok(path));
    }

    #[test]
    fn what_is_read_is_written_the_same(
        text in "[a-z\n\u{e9}=/+ ]{0,40}", name in "[a-z./]{1,12}", key in any::<[u8; 4]>(), signature in prop::collection::vec(any::<u8>(), 1..80), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let note = Note { text: format!("{text}\n"), signatures: vec![NoteSignature { name, key_id: key, signature }] };
        let mut bytes = note.to_string().into_bytes();
        prop_assert_eq!(Note::parse(&bytes), Ok(note));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Note::parse(&bytes) {
            prop_assert_eq!(read.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn a_damaged_proof_file_is_refused_or_says_the_same(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let consortium = consortium(4);
        let mut bytes = proof().to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = LogProof::parse(&bytes) {
            prop_assert_eq!(&read.to_string().into_bytes(), &bytes);
            if let Ok(proven) = read.verify(&leaves()[1], &consortium, &[]) {
                prop_assert_eq!(proven.checkpoint, cosigned([]).checkpoint);
            }
        }
    }
}

#[test]
fn names_of_cosigners_are_names_of_keys() {
    let name = cosigner_name(&Digest([0xAB; 32]), NodeId::new(7));
    assert_eq!(name, format!("batchmind/{}/node-7", "ab".repeat(32)));
    let key = SecretKey::from_seed(&[1; 32]).public_key();
    assert_eq!(
        verifier_key(&Digest::ZERO, NodeId::new(7), &key).split('+').next(),
        Some(cosigner_name(&Digest::ZERO, NodeId::new(7)).as_str())
    );
}
