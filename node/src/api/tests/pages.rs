//! Lists that come in parts, and answers that a client has already.

use ::ledger::governance::Action;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_block_and_a_leaf_are_not_sent_to_who_has_them() {
    let (alone, _, _) = with_checkpoint().await;
    let made = alone.proposal(vec![Action::SetParameter { name: "credit_per_ms".into(), from: 1, to: 2 }]);
    alone.order(Event::ProposalMade(Box::new(made))).await;
    let entries: Value = alone.get("/ledger/v1/entries", Some(AUDITOR)).await.json().await.expect("JSON");
    let leaf = format!("/ledger/v1/entries/{}/leaf", entries["entries"][0]["id"].as_str().expect("an id"));
    // A block's JSON may be another after an update, or from another node.
    for (path, kept) in [
        (leaf.as_str(), "private, max-age=31536000, immutable"),
        ("/ledger/v1/blocks/1", "private, no-cache"),
        ("/ledger/v1/entries?from=0&count=1", "private, no-cache"),
        ("/ledger/v1/decisions?from=0&count=1", "private, no-cache"),
    ] {
        let first = alone.get(path, Some(AUDITOR)).await;
        assert_eq!(first.headers()["cache-control"], kept, "{path}");
        let tag = first.headers()["etag"].clone();
        if path.contains("/entries?") {
            // What comes after the page does not change what it says.
            let made = alone.proposal(vec![Action::SetParameter { name: "credit_per_ms".into(), from: 1, to: 3 }]);
            alone.order(Event::ProposalMade(Box::new(made))).await;
        }
        let again = alone.http.get(format!("{}{path}", alone.url)).bearer_auth(AUDITOR).header("if-none-match", tag);
        assert_eq!(again.send().await.expect("the node answers").status(), 304, "{path}");
    }
    // Nothing is known of what is not final yet.
    for height in [0, 999_999] {
        let far = format!("{}/ledger/v1/blocks/{height}", alone.url);
        let far = alone.http.get(far).bearer_auth(AUDITOR).header("if-none-match", "*").send().await;
        assert_eq!(problem(far.expect("the node answers")).await, (404, "N-515".to_owned()), "{height}");
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_histories_and_proposals_come_in_pages_by_log_index() {
    let (alone, wallet, _) = with_checkpoint().await;
    let change = |to| Action::SetParameter { name: "credit_per_ms".into(), from: 1, to };
    let made = [2, 3].map(|to| alone.proposal(vec![change(to)]));
    let digests = [0, 1].map(|at: usize| json!(made[at].terms.digest()));
    for made in made {
        alone.order(Event::ProposalMade(Box::new(made))).await;
    }
    let page = async |path: String| -> Value {
        alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await.json().await.expect("JSON")
    };
    for (path, name, least) in [
        ("entries".to_owned(), "entries", 3),
        ("wallets".to_owned(), "wallets", 1),
        (format!("wallets/{wallet}"), "history", 1),
        ("governance/proposals".to_owned(), "proposals", 2),
    ] {
        let all = page(path.clone()).await[name].as_array().expect("a list").clone();
        assert!(all.len() >= least, "{path}");
        let (mut from, mut found) = (0, Vec::new());
        loop {
            let one = page(format!("{path}?from={from}&count=1")).await;
            let some = one[name].as_array().expect("a list").clone();
            assert!(some.len() <= 1 && some.iter().all(|one| one["index"].as_u64() >= Some(from)), "{path}: {one}");
            found.extend(some);
            let next = one["next"].as_u64().expect("an index");
            assert!(next > from || one["size"] == from, "{path}: {one}");
            from = next;
            if one["size"] == from {
                break;
            }
        }
        // The ledger may have grown meanwhile.
        assert_eq!(found[..all.len()], all, "{path}");
        if name == "proposals" {
            assert_eq!([&all[0]["digest"], &all[1]["digest"]], [&digests[0], &digests[1]]);
        }
    }
    alone.node.stop().await;
}
