//! Values of the ledger that are not what was written, met by whoever asks over HTTP.

use super::*;

/// Changes a byte of the index of wallets in the final store, where it stands as `wallet`: nobody reads it when a node
/// starts.
fn damage_index(folder: &Path, consortium: &genesis::Consortium, wallet: &Digest) {
    let folder = folder.join("data/ledger/final");
    // RocksDB moves what stands in its write-ahead log into tables when it opens.
    drop(::ledger::shell::final_store::FinalStore::open(folder.as_path(), consortium).expect("it is sound"));
    let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let mut damaged = 0;
    for file in fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        let mut bytes = fs::read(&path).expect("readable");
        // A table names its family.
        let is_index = path.extension().is_some_and(|end| end == "sst") && holds(&bytes, b"by_wallet").is_some();
        if let Some(at) = holds(&bytes, wallet.as_bytes()).filter(|_| is_index) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("writable");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the wallet is in the index");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_value_that_a_request_meets_ends_the_node_with_its_fault_and_a_missing_one_does_not() {
    let (mut alone, wallet, _) = with_checkpoint().await;
    let path = format!("/ledger/v1/wallets/{wallet}");
    let (consortium, address) = (alone.consortium(), wallet.parse().expect("a digest"));
    alone.node.stop().await;
    damage_index(alone.folder.path(), &consortium, &address);
    let config = ValidConfig::load(&alone.folder.path().join("node.toml")).expect("a valid configuration");
    alone.node = RunningNode::start(config).await.expect("nothing that it starts on is damaged");

    let missing = alone.get(&format!("/ledger/v1/wallets/{}", Digest([9; 32])), Some(AUDITOR)).await;
    assert_eq!(problem(missing).await, (404, "N-511".to_owned()));
    let missing = alone.get("/ledger/v1/blocks/1000000", Some(AUDITOR)).await;
    assert_eq!(problem(missing).await.1, "N-515");
    let fault = alone.node.sessions().context().replica.fault();
    assert!(fault.borrow().is_none(), "{:?}", fault.borrow());

    let refused = alone.get(&path, Some(AUDITOR)).await;
    assert_eq!(problem(refused).await, (500, "N-519".to_owned()));
    let ended = tokio::time::timeout(Duration::from_secs(60), alone.node.run());
    let reason = ended.await.expect("the node ends").expect("and says why");
    assert!(reason.starts_with("final: ") && reason.contains("checksum"), "{reason}");
}
