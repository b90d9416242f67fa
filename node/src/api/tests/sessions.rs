//! The tenants' interface: what is refused, and streams that go on.

use super::*;
use crate::api::limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX};

/// The (position, token id) of each event, and whether the stream was done.
async fn tokens(response: Response) -> (Vec<(u64, u64)>, bool) {
    let text = response.text().await.expect("the whole stream");
    let token = |event: &str| {
        let id = event.lines().find_map(|line| line.strip_prefix("id:"))?.trim().parse().expect("a position");
        let data = event.lines().find_map(|line| line.strip_prefix("data:")).expect("data");
        let chunk: Value = serde_json::from_str(data).expect("JSON");
        Some((id, chunk["choices"][0]["token_ids"][0].as_u64().expect("a token id")))
    };
    (text.split("\n\n").filter_map(token).collect(), text.trim_end().ends_with("data: [DONE]"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_a_rule_is_refused_with_its_code() {
    let alone = Alone::start().await;
    let refused = |body: Value| alone.post("/v1/chat/completions", Some(TENANT), body.to_string());
    let with = |name: &str, value: Value| {
        let mut body = chat(1);
        body[name] = value;
        body
    };
    assert_eq!(problem(refused(with("temprature", json!(1))).await).await, (400, "N-504".to_owned()));
    assert_eq!(problem(refused(with("temperature", json!(9))).await).await, (400, "N-505".to_owned()));
    assert_eq!(problem(refused(with("model", json!("huge"))).await).await, (404, "N-506".to_owned()));
    assert_eq!(problem(refused(json!([])).await).await, (400, "N-503".to_owned()));
    let endless = "x".repeat(BODY_BYTES_MAX + 1);
    let response = alone.post("/v1/chat/completions", Some(TENANT), endless).await;
    assert_eq!(problem(response).await, (413, "N-507".to_owned()));
    let wide = alone.http.get(format!("{}/v1/models", alone.url)).header("x-filler", "x".repeat(HEADER_BYTES_MAX));
    assert_eq!(problem(wide.send().await.expect("the node answers")).await, (431, "N-508".to_owned()));
    let forbidden = alone.http.post(format!("{}/v1/chat/completions", alone.url)).bearer_auth(TENANT);
    let forbidden = forbidden.header("x-batchmind-regions", "us").body(chat(1).to_string());
    assert_eq!(problem(forbidden.send().await.expect("the node answers")).await, (403, "N-510".to_owned()));
    let long = json!({"model": "tiny", "prompt": vec![7; 3000]}).to_string();
    assert_eq!(problem(alone.post("/v1/completions", Some(TENANT), long).await).await, (400, "E-102".to_owned()));
    assert_eq!(problem(alone.get("/ledger/v1/blocks/x", Some(AUDITOR)).await).await, (400, "N-509".to_owned()));
    assert_eq!(problem(alone.post("/v1/models", Some(TENANT), "").await).await, (405, "N-513".to_owned()));
    let response = alone.post("/ledger/v1/entries?wait=final", Some(AUDITOR), "no entry").await;
    assert_eq!(problem(response).await, (400, "N-517".to_owned()));
    let unknown = format!("/ledger/v1/wallets/{}", Digest::ZERO);
    assert_eq!(problem(alone.get(&unknown, Some(AUDITOR)).await).await, (404, "N-511".to_owned()));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_any_position_for_whoever_has_its_secret() {
    let alone = Alone::start().await;
    let response = alone.post("/v1/chat/completions", Some(TENANT), chat(40).to_string()).await;
    let header = |name: &str| response.headers()[name].to_str().expect("ASCII").to_owned();
    let (wallet, secret) = (header("x-batchmind-wallet"), header("x-batchmind-resume"));
    assert_eq!(header("x-batchmind-served-by"), "eu-1");
    let (all, done) = tokens(response).await;
    assert!(done && all.len() == 40, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "ids are positions without a gap: {all:?}");

    let resume = |secret: &str, last: Option<u64>| {
        let request = alone.http.get(format!("{}/v1/sessions/{wallet}/stream", alone.url)).bearer_auth(TENANT);
        let request = request.header("x-batchmind-resume", secret);
        last.map_or(request.try_clone().expect("no body"), |last| request.header("last-event-id", last)).send()
    };
    for skip in [0_usize, 1, 17, 39, 40] {
        let last = skip.checked_sub(1).map(|at| all[at].0);
        let rest = tokens(resume(&secret, last).await.expect("the node answers")).await;
        assert_eq!(rest, (all[skip..].to_vec(), true), "after {last:?}");
    }
    for unseen in [all[39].0 + 1, u64::from(u32::MAX) - 1] {
        let refused = resume(&secret, Some(unseen)).await.expect("the node answers");
        assert_eq!(problem(refused).await, (400, "N-509".to_owned()), "after {unseen}");
    }
    let wrong = resume(&"00".repeat(32), None).await.expect("the node answers");
    assert_eq!(problem(wrong).await, (403, "N-208".to_owned()));
    let malformed = resume("secret", None).await.expect("the node answers");
    assert_eq!(problem(malformed).await, (400, "N-509".to_owned()));
    alone.node.stop().await;
}
