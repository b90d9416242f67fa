//! The node where a stream began dies; the stream goes on at the new holder, entries stay final, the node comes back.

use std::time::Duration;

use super::super::{Figures, StepFailed, client::Ask, cluster::Cluster, ensure};

/// # Errors
/// [`StepFailed`] if a token is lost or comes twice, if finality stops with one node down, or if the restarted node
/// does not catch up.
pub async fn run(cluster: &mut Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("eu-1 is killed (SIGKILL); the client goes on at eu-2 by Last-Event-ID");
    let ask = Ask {
        message: "How does a session survive the loss of a node?".into(),
        max_tokens: 240,
        seed: 12,
        pace_ms: 15,
        ignore_eos: true,
    };
    let mut before = cluster.tenant("eu-1").ask(&ask).await?;
    before.read_until(30).await?;
    cluster
        .admin("eu-1")?
        .migrate(&before.wallet, "eu-2")
        .await?
        .map_err(|problem| StepFailed::new(format!("the move was refused: {} {}", problem.code, problem.title)))?;
    let seen = before.seen.len();
    before.read_until(seen + 10).await?;
    cluster.kill("eu-1").await?;
    before.read_while_open().await;
    ensure(!before.done, "the stream ended before its node was killed; nothing was shown")?;
    let last = before.seen.last().ok_or_else(|| StepFailed::new("no token was seen before the kill"))?.position;
    figures.say(&format!(
        "   {} tokens came through eu-1; the client reconnects after position {last}",
        before.seen.len()
    ));

    let mut after = cluster.tenant("eu-2").resume(&before.wallet, &before.resume_secret, last).await?;
    after.read_to_end().await?;
    let mut control = cluster.tenant("eu-3").ask(&Ask { pace_ms: 0, ..ask }).await?;
    control.read_to_end().await?;
    let ids: Vec<u32> = before.ids().into_iter().chain(after.ids()).collect();
    let positions: Vec<u32> = before.seen.iter().chain(&after.seen).map(|token| token.position).collect();
    ensure(positions.windows(2).all(|pair| pair[1] == pair[0] + 1), "a token was lost or came twice")?;
    ensure(ids == control.ids(), "the stream differs from the run that never moved")?;
    figures.put("stream_survived_source", true);

    figures.step("entries stay final while eu-1 is down, and eu-1 catches up");
    let height_down = cluster.auditor("eu-2").final_height().await?;
    let mut session = cluster.tenant("eu-2").ask(&Ask { max_tokens: 400, pace_ms: 10, ..control_ask() }).await?;
    session.read_until(10).await?;
    cluster
        .admin(&session.served_by.clone())?
        .migrate(&session.wallet, other_than(&session.served_by))
        .await?
        .map_err(|problem| StepFailed::new(format!("no move with eu-1 down: {} {}", problem.code, problem.title)))?;
    let height_moved = cluster.auditor("eu-2").final_height().await?;
    ensure(height_moved > height_down, "no block became final with one node down")?;
    figures.put("final_while_one_down", true);

    cluster.restart("eu-1").await?;
    let target = cluster.auditor("eu-2").final_height().await?;
    let caught_up = async {
        while cluster.auditor("eu-1").final_height().await.unwrap_or_default() < target {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), caught_up)
        .await
        .map_err(|_| StepFailed::new(format!("eu-1 did not reach height {target} within 30 s")))?;
    figures.put("caught_up", true);
    Ok(())
}

fn control_ask() -> Ask {
    Ask { message: "What makes an entry final?".into(), max_tokens: 0, seed: 13, pace_ms: 0, ignore_eos: true }
}

fn other_than(node: &str) -> &'static str {
    if node == "eu-2" { "eu-3" } else { "eu-2" }
}
