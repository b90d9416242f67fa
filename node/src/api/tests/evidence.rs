//! Evidence files by their names.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_given_by_its_name_and_nothing_else_is() {
    let alone = Alone::start().await;
    let get = async |path: &str| alone.get(&format!("/ledger/v1/evidence{path}"), Some(AUDITOR)).await;
    let page = async |query: &str| get(query).await.json::<Value>().await.expect("JSON");
    assert_eq!(page("").await, json!({"files": [], "next": null, "size": 0}));
    let folder = alone.folder.path().join("data/ledger/evidence");
    fs::create_dir_all(folder.join("folder")).expect("our own folder");
    fs::write(folder.join("fork-9"), b"two certificates").expect("our own folder");
    let listed = json!([{"name": "fork-9", "bytes": 16, "kind": null, "culprits": null}]);
    assert_eq!(page("").await, json!({"files": listed, "next": null, "size": 1}));
    // What is being written is not there yet, and what is another file under a name is described as that.
    fs::write(folder.join("invalid-7.next"), b"half of").expect("our own folder");
    fs::write(folder.join("fork-9"), b"the two certificates").expect("our own folder");
    fs::write(folder.join("fork-10"), b"").expect("our own folder");
    let expected = [("fork-10", 0), ("fork-9", 20)];
    let expected = expected.map(|(name, bytes)| json!({"name": name, "bytes": bytes, "kind": null, "culprits": null}));
    assert_eq!(page("").await["files"], json!(expected));
    // A page begins at a name: what comes between two pages moves nothing, and who asks for none gets one.
    for count in [0, 1] {
        let first = page(&format!("?count={count}")).await;
        assert_eq!(first, json!({"files": [expected[0]], "next": "fork-9", "size": 2}));
    }
    fs::write(folder.join("fork-1"), b"").expect("our own folder");
    assert_eq!(page("?from=fork-9&count=1").await, json!({"files": [expected[1]], "next": null, "size": 3}));
    fs::remove_file(folder.join("fork-1")).expect("our own folder");
    assert_eq!(page("?from=fork-8").await, json!({"files": [expected[1]], "next": null, "size": 2}), "it was removed");
    assert_eq!(page("?from=other").await, json!({"files": [], "next": null, "size": 2}));
    fs::remove_file(folder.join("fork-10")).expect("our own folder");
    fs::write(folder.join("fork-9"), b"two certificates").expect("our own folder");
    assert_eq!(get("/fork-9").await.bytes().await.expect("a body"), "two certificates");
    for name in ["fork-8", "fork-10", "invalid-7.next", "folder", "..", "%2e%2e%2fvotes", "..%2f..%2fnode.key"] {
        assert_eq!(problem(get(&format!("/{name}")).await).await, (404, "N-512".to_owned()), "{name}");
    }
    alone.node.stop().await;
}
