//! What a running node shows of itself: that it is ready, its metrics, the operator's own socket.

use std::collections::BTreeSet;

use ::ledger::shell::cause::Cause;

use super::*;

#[test]
fn a_node_whose_finality_is_late_is_not_ready_and_an_idle_one_is() {
    let late = |now: u64| crate::api::stands_still(Timestamp::new(1_000), Timestamp::new(now), 10_000);
    assert!(!late(0) && !late(1_000) && !late(16_000));
    assert!(late(16_001) && late(u64::MAX));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_a_running_node_are_those_of_the_documentation() {
    let alone = Alone::start().await;
    // What is counted by its route is shown from the second request on.
    alone.get("/healthz", None).await;
    let shown = alone.get("/metrics", None).await.text().await.expect("text");
    let name = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
    let shown: BTreeSet<String> = shown.lines().filter(|line| !line.starts_with('#')).filter_map(name).collect();
    let text = include_str!("../../../../docs/operating/why-is-it-stuck.md");
    let named = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("batchmind_"));
    let named: BTreeSet<String> = named.filter_map(name).collect();
    assert_eq!(shown, named, "left is what a node shows, right what docs/operating/why-is-it-stuck.md names");
    let reasons = Cause::ALL.iter().map(|cause| cause.name());
    let untold: Vec<&str> = reasons.filter(|reason| !text.contains(&format!("| `{reason}` |"))).collect();
    assert_eq!(untold, [""; 0], "reasons without a row");
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_about_an_effect_in_doubt_is_one_of_three_and_about_a_session_of_the_node() {
    let alone = Alone::start().await;
    let path = format!("sessions/{}/resolve", Digest([9; 32]));
    let effect = Digest([3; 32]);
    for (how, status, code) in [("done", 404, "N-511"), ("retry", 404, "N-511"), ("perhaps", 400, "N-503")] {
        let answer = alone.admin_post(&path, &json!({"effect": effect, "how": how})).await;
        assert_eq!(problem(answer).await, (status, code.to_owned()), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_socket_is_for_the_operator_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let alone = Alone::start().await;
    let socket = alone.folder.path().join("data/admin.sock");
    let mode = fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    alone.node.stop().await;
    assert!(!socket.exists(), "a stopped node leaves no socket");
}
