//! Who may ask, how much, and over what: keys, limits, TLS; and that no key is shown.

use ::ledger::governance::Action;
use wallet::digest::to_hex;

use super::*;
use crate::tls::{
    self,
    client::{Roots, trusting},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_certificate_speaks_tls_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = tls::tests::self_signed(folder.path(), "tls");
    let table = "[tls]\ncertificate-file = \"tls.pem\"\nkey-file = \"tls.key\"\n";
    write_files(folder.path(), "https://127.0.0.1:9", "127.0.0.1:0", table, &[AUDITOR]);
    let config = ValidConfig::load(&folder.path().join("node.toml")).expect("a valid configuration");
    let node = RunningNode::start(config).await.expect("it starts");
    let address = node.api_address();
    let in_the_clear = plain().build().expect("a client").get(format!("http://{address}/healthz")).send().await;
    assert!(in_the_clear.is_err(), "{in_the_clear:?}");
    let trusting = trusting(&Roots::File(files.certificate)).expect("an authority");
    let answer = trusting.build().expect("a client").get(format!("https://{address}/healthz")).send().await;
    assert_eq!(answer.expect("the node answers").text().await.expect("text"), "ok\n");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_told_to_wait_and_nobody_else_is() {
    let alone =
        Alone::start_with("[limits]\nkey = { per-s = 1, burst = 3 }\naddress = { per-s = 1, burst = 2 }\n").await;
    let refused = async |path: &str, key: Option<&str>| {
        for _ in 0..100 {
            let answer = alone.get(path, key).await;
            if answer.status() == 429 {
                let wait: u64 = answer.headers()["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
                assert!((1..=3).contains(&wait), "{wait}");
                assert_eq!(problem(answer).await, (429, "N-527".to_owned()));
                return;
            }
        }
        panic!("{path} is answered without an end");
    };
    refused("/ledger/v1/status", Some(AUDITOR)).await;
    // Guessing keys is asking without one, and so is a path that is not there.
    refused("/ledger/v1/status", Some("guess")).await;
    refused("/nowhere", None).await;
    assert_eq!(alone.get("/v1/models", Some(TENANT)).await.status(), 200, "its share is its own");
    for path in ["/healthz", "/readyz", "/metrics"] {
        for _ in 0..10 {
            assert_eq!(alone.get(path, None).await.status(), 200, "{path}");
        }
    }
    for _ in 0..1_000 {
        assert_eq!(alone.get("/healthz", None).await.status(), 200);
    }
    let metrics = alone.get("/metrics", None).await.text().await.expect("text");
    for of in ["key", "address"] {
        let counted = format!("batchmind_http_requests_refused_total{{of=\"{of}\"}}");
        let is_counted = metrics.lines().any(|line| line.starts_with(&counted) && !line.ends_with(" 0"));
        assert!(is_counted, "{counted} is missing in {metrics}");
    }
    // They ask the engine, so not without an end either.
    let mut watched = false;
    for _ in 0..5_000 {
        watched |= alone.get("/metrics", None).await.status() == 429;
        if watched {
            break;
        }
    }
    assert!(watched, "/metrics is answered without an end");
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_opens_its_own_paths_and_nobody_elses() {
    let alone = Alone::start().await;
    for (path, own, other) in [("/v1/models", TENANT, AUDITOR), ("/ledger/v1/status", AUDITOR, TENANT)] {
        assert_eq!(problem(alone.get(path, None).await).await, (401, "N-501".to_owned()));
        assert_eq!(problem(alone.get(path, Some("guess")).await).await, (401, "N-501".to_owned()));
        assert_eq!(problem(alone.get(path, Some(other)).await).await, (403, "N-502".to_owned()));
        assert_eq!(alone.get(path, Some(own)).await.status(), 200);
    }
    let guess = alone.post("/v1/chat/completions", Some(AUDITOR), chat(1).to_string()).await;
    assert_eq!(problem(guess).await, (403, "N-502".to_owned()));
    assert_eq!(problem(alone.get("/admin/v1/status", Some(AUDITOR)).await).await, (404, "N-512".to_owned()));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditors_key_opens_while_the_ledger_grants_it_and_no_longer() {
    const LATER: &str = "the-later-auditors-api-key-0123";
    let alone = Alone::start().await;
    let status = async |key: &str| alone.get("/ledger/v1/status", Some(key)).await.status().as_u16();
    assert_eq!((status(AUDITOR).await, status(LATER).await), (200, 401));
    let hash = |key: &str| Digest(Sha256::digest(key.as_bytes()).into());
    let later = Auditor { name: "Later".into(), key_hash: hash(LATER) };
    let made = alone.proposal(vec![Action::RevokeAuditor(hash(AUDITOR)), Action::GrantAuditor(later)]);
    alone.order(Event::ProposalMade(Box::new(made))).await;
    // The node enacts it by itself, and both actions are one entry.
    let granted = async {
        while status(LATER).await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), granted).await.expect("the node enacts it");
    assert_eq!(status(AUDITOR).await, 401);
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_metric_shows_a_key() {
    let alone = Alone::start().await;
    let response = alone.post("/v1/chat/completions", Some(TENANT), chat(20).to_string()).await;
    let secret = response.headers()["x-batchmind-resume"].to_str().expect("ASCII").to_owned();
    let wallet = response.headers()["x-batchmind-wallet"].to_str().expect("ASCII").to_owned();
    let mut said = response.text().await.expect("the whole stream");
    for path in ["/metrics", "/readyz", "/healthz"] {
        said += &alone.get(path, None).await.text().await.expect("text");
    }
    let on_ledger = async {
        while alone.get(&format!("/ledger/v1/wallets/{wallet}"), Some(AUDITOR)).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), on_ledger).await.expect("the wallet becomes final");
    for path in ["status", "checkpoint", "entries", "blocks/1", "credits", &format!("wallets/{wallet}")] {
        said += &alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await.text().await.expect("text");
    }
    for path in ["status", "sessions", &format!("sessions/{wallet}"), "moves", "decisions", "engine", "router"] {
        said += &alone.admin(path).await.to_string();
    }
    let seed = |file: &str| {
        let seed = keys::read(&alone.folder.path().join(file)).expect("a key file").seed();
        [to_hex(seed.as_ref()), json!(seed.as_ref()).to_string()]
    };
    let keys = [seed("node.key"), seed("acme.key"), [TENANT.to_owned(), AUDITOR.to_owned()], [secret.clone(), secret]];
    for key in keys.iter().flatten() {
        assert!(!said.contains(key.as_str()), "a key is shown");
    }
    assert_eq!(alone.admin("decisions/verify").await["verified"], true);
    alone.node.stop().await;
}
