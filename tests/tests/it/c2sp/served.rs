//! The log of a running node, fetched over HTTP as any C2SP client fetches one, and the proofs that the node makes itself.

use std::{collections::BTreeSet, fs};

use genesis::{Consortium, Document};
use ledger::event::{EntryBody, Event, WalletCreated};
use node::demo::client::Auditor;
use serde_json::Value;
use tokio::{runtime::Handle, task::block_in_place};
use wallet::{codec, grant::WalletTerms, identity::RegionId, policy::JurisdictionPolicy, tenant::WalletSecret};

use super::*;
use crate::{consortium::until, growing};

/// More than one tile.
const ENTRIES: u64 = 300;

/// The node as a server of tiles: each is fetched when their client asks for it.
struct Fetched(Auditor);

impl Fetched {
    /// What their client asks for is no future.
    fn tile(&self, path: &str) -> Vec<u8> {
        let fetched = || Handle::current().block_on(self.0.bytes(&format!("log/{path}")));
        block_in_place(fetched).expect("the node has the tile")
    }
}

impl TileReader for Fetched {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // Their paths begin with the height of the tiles, which C2SP fixes at 8.
        Ok(tiles.iter().map(|tile| self.tile(&tile.path().replacen("tile/8/", "tile/", 1))).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// The records in a tile of entries, as tlog-tiles has them: each after its length.
fn records(mut bundle: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk() {
        let (record, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        records.push(record);
        bundle = rest;
    }
    records
}

fn hash(value: &Value) -> Hash {
    theirs(&value.as_str().expect("a hash").parse().expect("hexadecimal"))
}

fn hashes(path: &Value) -> Vec<Hash> {
    path.as_array().expect("a list").iter().map(hash).collect()
}

/// The key with which the node would hold the wallets.
fn holder() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

/// The creation of a wallet in the region of the node. Any number of them may stand in a log.
fn creation(members: &Consortium, number: u64) -> EntryBody {
    let regions: BTreeSet<RegionId> = members.regions().iter().cloned().collect();
    let policy = JurisdictionPolicy { allowed: regions.clone() };
    let tree = policy.tree(&regions, &WalletSecret::from_bytes([1; 32])).expect("known regions");
    let (tenant, nonce) = (SecretKey::from_seed(&[1; 32]), u128::from(number).to_be_bytes());
    let terms = WalletTerms {
        consortium: members.id(),
        tenant_key: tenant.public_key(),
        policy: tree.commitment(),
        model: Digest([1; 32]),
        numerics: Digest([2; 32]),
        holder: NodeId::ZERO,
        nonce,
    };
    let opening = tree.open(&members.nodes()[0].region).expect("it is allowed");
    let event = WalletCreated { grant: terms.sign(&tenant), holder_key: holder().public_key(), opening };
    EntryBody { consortium: members.id(), author: NodeId::ZERO, nonce, event: Event::WalletCreated(event) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_running_node_serves_is_a_log_to_them() {
    let (mut cluster, _) = growing::alone().await;
    cluster.restart_all().await.expect("one node is enough");
    let document = fs::read_to_string(cluster.genesis_path()).expect("our own file");
    let members = genesis::parse(&document).and_then(Document::verify).expect("it is signed");
    let consortium = members.id();
    let key = node::keys::read(&cluster.folder().join("eu-1.key")).expect("our own file");
    let auditor = cluster.auditor("eu-1");
    for number in 0..ENTRIES {
        let entry = creation(&members, number).sign(&key, Some(&holder()));
        auditor.submit(codec::encode(&entry)).await.expect("the rules allow it");
    }

    let cosigner = Cosigner::new(&verifier_key(&consortium, NodeId::ZERO, &key.public_key()));
    let cosigners = VerifierList::new(vec![Box::new(cosigner)]);
    let mut note = Vec::new();
    until("a checkpoint covers them", async || {
        note = auditor.bytes("log/checkpoint").await.unwrap_or_default();
        let read = TheirNote::from_bytes(&note).ok();
        read.and_then(|note| TheirCheckpoint::from_bytes(note.text()).ok()).is_some_and(|head| head.size() >= ENTRIES)
    })
    .await;
    let note = TheirNote::from_bytes(&note).expect("a signed note");
    assert_eq!(note.verify(&cosigners).expect("cosigned").0.len(), 1);
    let head = TheirCheckpoint::from_bytes(note.text()).expect("a checkpoint");
    assert_eq!(head.origin(), format!("batchmind/{consortium}"));
    let (size, root) = (head.size(), *head.hash());

    let served = Fetched(auditor.clone());
    let (first, rest) = (served.tile("tile/entries/000"), served.tile(&format!("tile/entries/001.p/{}", size - 256)));
    let leaves: Vec<Hash> = records(&first).into_iter().chain(records(&rest)).map(record_hash).collect();
    assert_eq!(leaves.len() as u64, size);
    // Their client checks each tile against the root before it uses one.
    let reader = TileHashReader::new(size, root, &served);
    for place in [0, 1, 255, 256, size - 1] {
        let (leaf, old) = (leaves[place as usize], place + 1);
        let proven = auditor.get(&format!("log/inclusion?index={place}&size={size}")).await.expect("a proof");
        let path = hashes(&proven["path"]);
        assert_eq!((hash(&proven["leaf_hash"]), hash(&proven["root"])), (leaf, root));
        check_record(&path, size, root, place, leaf).expect("what the node proves is taken");
        assert_eq!(prove_record(size, place, &reader).expect("its tiles are enough"), path);

        let grown = auditor.get(&format!("log/consistency?old={old}&size={size}")).await.expect("a proof");
        let path = hashes(&grown["path"]);
        check_tree(&path, size, root, old, hash(&grown["old_root"])).expect("what the node proves is taken");
        assert_eq!(prove_tree(size, old, &reader).expect("its tiles are enough"), path);

        let entries = auditor.get(&format!("entries?from={place}&count=1")).await.expect("entries");
        let id = entries["entries"][0]["id"].as_str().expect("an id");
        let file = auditor.bytes(&format!("entries/{id}/tlog-proof")).await.expect("a file");
        let file = String::from_utf8(file).expect("a text");
        assert_eq!(check_proof_file(&file, &cosigners, leaf), (place, 1));
    }
    let other = TileHashReader::new(size, leaves[0], &served);
    assert!(prove_record(size, 0, &other).is_err(), "under another root the same tiles prove nothing");
}
