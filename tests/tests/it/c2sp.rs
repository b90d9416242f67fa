//! The log as tools see it that know nothing of this ledger: checkpoints, tiles and proofs are checked by Cloudflare's
//! `signed_note` and `tlog_tiles`, which share no code with ours. What a running node serves, too: [`served`].

mod served;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ledger::{
    tlog::{
        Checkpoint, Cosignature, CosignedCheckpoint, LogProof, Note, cosignature::verifier_key, tile::entry_bundle,
    },
    tree::{
        log::{LogTree, leaf_hash, verify_consistency, verify_inclusion},
        tiles::{Tiles as _, consistency_proof, inclusion_proof},
    },
    vote::Signer,
};
use signed_note::{Note as TheirNote, NoteError, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{
    Checkpoint as TheirCheckpoint, Error, Hash, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_record, prove_tree, record_hash,
};
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{LogIndex, NodeId},
};

const CONSORTIUM: Digest = Digest([7; 32]);
const SIZES: [u64; 9] = [1, 2, 3, 255, 256, 257, 70_000, 65_536, 65_793];

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|number| leaf_hash(&entry(number))).collect()
}

fn signer(node: u32) -> Signer {
    Signer { node: NodeId::new(node), key: SecretKey::from_seed(&[node as u8 + 1; 32]) }
}

fn validators() -> genesis::ValidatorSet {
    let members = (0..4).map(|node| (NodeId::new(node), signer(node).key.public_key())).collect();
    genesis::ValidatorSet { epoch: 0, members }
}

/// A cosigner, from its verifier key in a policy file. Their library knows plain Ed25519 keys; the message of a
/// cosignature is put together here as C2SP's tlog-cosignature says.
struct Cosigner {
    name: String,
    id: u32,
    ed25519: StandardVerifier,
}

impl Cosigner {
    fn new(vkey: &str) -> Self {
        let (name, rest) = vkey.split_once('+').expect("a name");
        let (id, key) = rest.split_once('+').expect("an id");
        let mut encoded = STANDARD.decode(key).expect("base64");
        let id = u32::from_str_radix(id, 16).expect("hex");
        assert_eq!((encoded[0], id), (4, signed_note::key_id(name, &encoded)), "timestamped Ed25519");
        encoded[0] = 1;
        let plain = format!("{name}+{:08x}+{}", signed_note::key_id(name, &encoded), STANDARD.encode(&encoded));
        Self { name: name.to_owned(), id, ed25519: StandardVerifier::new(&plain).expect("a verifier key") }
    }
}

impl Verifier for Cosigner {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let time = u64::from_be_bytes(signature[..8].try_into().expect("eight bytes"));
        let message = [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat();
        self.ed25519.verify(&message, &signature[8..])
    }
}

/// A server of tiles, by their paths alone.
struct Served(Vec<Digest>);

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            // Their paths begin with the height of the tiles, which C2SP fixes at 8.
            let path = tile.path().replacen("tile/8/", "", 1);
            let ours: ledger::tlog::TilePath = path.parse().expect("one spelling on both sides");
            assert_eq!((ours.to_string(), u32::from(ours.width)), (path, tile.width()));
            let range = ours.range_within(self.0.len() as u64).expect("they ask for tiles that there are");
            let Ok(hashes) = self.0.hashes(tile.level(), range);
            hashes.iter().flat_map(|hash| hash.0).collect()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn theirs(digest: &Digest) -> Hash {
    Hash(digest.0)
}

fn all(proof: &[Digest]) -> Vec<Hash> {
    proof.iter().map(theirs).collect()
}

fn ours(proof: &[Hash]) -> Vec<Digest> {
    proof.iter().map(|hash| Digest(hash.0)).collect()
}

/// A checkpoint of the log of `leaves` with the cosignatures of three of four validators.
fn checkpoint(leaves: &[Digest]) -> Note {
    let checkpoint = Checkpoint::new(&CONSORTIUM, leaves.len() as u64, LogTree::from_leaf_hashes(leaves).root());
    let cosignatures = [0, 1, 3].map(|node| Cosignature::sign(&checkpoint, &signer(node), 1_800_000_000)).to_vec();
    CosignedCheckpoint { checkpoint, cosignatures }.to_note(&validators(), &CONSORTIUM)
}

fn their_cosigners() -> VerifierList {
    let cosigner =
        |&(node, key): &_| Box::new(Cosigner::new(&verifier_key(&CONSORTIUM, node, &key))) as Box<dyn Verifier>;
    VerifierList::new(validators().members.iter().map(cosigner).collect())
}

#[test]
fn a_checkpoint_of_ours_is_one_of_theirs() {
    let leaves = leaves(300);
    let ours = checkpoint(&leaves).to_string();
    let note = TheirNote::from_bytes(ours.as_bytes()).expect("a signed note");
    let (verified, unverified) = note.verify(&their_cosigners()).expect("cosigned");
    assert_eq!((verified.len(), unverified.len()), (3, 0));
    assert_eq!(note.to_bytes(), ours.as_bytes());
    let head = TheirCheckpoint::from_bytes(note.text()).expect("a checkpoint");
    assert_eq!((head.origin(), head.size()), (format!("batchmind/{CONSORTIUM}").as_str(), 300));
    assert_eq!(head.hash().0, LogTree::from_leaf_hashes(&leaves).root().0);

    let forged = ours.replacen("\n300\n", "\n301\n", 1);
    let note = TheirNote::from_bytes(forged.as_bytes()).expect("a signed note");
    assert!(matches!(note.verify(&their_cosigners()), Err(NoteError::InvalidSignature { .. })));
}

#[test]
fn proofs_of_ours_are_accepted_by_theirs_and_the_other_way_round() {
    for size in SIZES {
        let leaves = leaves(size);
        let root = LogTree::from_leaf_hashes(&leaves).root();
        let served = Served(leaves.clone());
        // It checks each tile against the root before it uses one.
        let reader = TileHashReader::new(size, theirs(&root), &served);
        for place in [0, 1, size / 2, size - 1].into_iter().filter(|place| *place < size) {
            let leaf = record_hash(&entry(place));
            let index = LogIndex::new(place);
            let Ok(Some(proof)) = inclusion_proof(&leaves[..], index, size) else { panic!("within") };
            check_record(&all(&proof), size, theirs(&root), place, leaf).expect("ours is taken");
            let theirs_is = prove_record(size, place, &reader).expect("tiles are enough");
            assert_eq!(ours(&theirs_is), proof, "{place} of {size}");
            verify_inclusion(&root, size, index, &Digest(leaf.0), &ours(&theirs_is)).expect("theirs is taken");

            let old = place + 1;
            let old_root = LogTree::from_leaf_hashes(&leaves[..old as usize]).root();
            let Ok(Some(proof)) = consistency_proof(&leaves[..], old, size) else { panic!("within") };
            check_tree(&all(&proof), size, theirs(&root), old, theirs(&old_root)).expect("ours is taken");
            let theirs_is = prove_tree(size, old, &reader).expect("tiles are enough");
            assert_eq!(ours(&theirs_is), proof, "{old} to {size}");
            verify_consistency(&old_root, old, &root, size, &ours(&theirs_is)).expect("theirs is taken");
        }
    }
}

#[test]
fn an_entry_bundle_hashes_to_the_tile_of_level_0() {
    let entries: Vec<Vec<u8>> = (0..256).map(entry).collect();
    let bundle = entry_bundle(entries.iter().map(Vec::as_slice));
    let (mut rest, mut hashes) = (&bundle[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        hashes.extend(record_hash(entry).0);
        rest = after;
    }
    assert_eq!(hashes, leaves(256).iter().flat_map(|hash| hash.0).collect::<Vec<u8>>());
}

#[test]
fn a_proof_file_of_ours_is_checked_by_hand_with_theirs() {
    let leaves = leaves(70_000);
    let index = LogIndex::new(4_711);
    let Ok(Some(path)) = inclusion_proof(&leaves[..], index, 70_000) else { panic!("within") };
    let file = LogProof { extra: None, index, path, checkpoint: checkpoint(&leaves) }.to_string();

    assert_eq!(check_proof_file(&file, &their_cosigners(), record_hash(&entry(4_711))), (4_711, 3));
}

/// Checks a proof file that `leaf` is in the log: at which place, and by the word of how many.
fn check_proof_file(file: &str, cosigners: &VerifierList, leaf: Hash) -> (u64, usize) {
    let (head, note) = file.split_once("\n\n").expect("an empty line");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    let place = lines.next().and_then(|line| line.strip_prefix("index ")).expect("an index").parse().expect("a number");
    let path: Vec<Hash> = lines.map(|line| Hash::parse_hash(line).expect("a hash")).collect();
    let note = TheirNote::from_bytes(note.as_bytes()).expect("a signed note");
    let cosigned = note.verify(cosigners).expect("cosigned").0.len();
    let head = TheirCheckpoint::from_bytes(note.text()).expect("a checkpoint");
    check_record(&path, head.size(), *head.hash(), place, leaf).expect("included");
    (place, cosigned)
}
