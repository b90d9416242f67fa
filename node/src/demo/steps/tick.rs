//! One operator is filled until its 500 ms tick moves a batch away by itself, and says by which rule.

use std::time::Duration;

use serde_json::Value;

use super::{
    super::{
        Figures, StepFailed,
        client::{Ask, TokenStream},
        cluster::Cluster,
        ensure,
    },
    audit,
};

/// The operator that is filled.
const FULL: &str = "eu-2";
/// KV blocks of 16 tokens that each session reserves for all that it may generate.
const BLOCKS_EACH: u64 = 31;
/// Tokens of the prompt, template included; a little more than it has.
const PROMPT: u64 = 45;

/// # Errors
/// [`StepFailed`] if no batch moved by the tick, or its decision is not in the proof of the move.
pub async fn run(cluster: &Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step(&format!("{FULL} is filled until its tick moves a batch away"));
    let sessions = fill(cluster, figures).await?;
    let report = wait_for_move(cluster).await?;
    figures.say(&format!("   {} moved to {} by rule {}", report["wallet"], report["to"], report["rule"]));
    close_all(cluster, &sessions).await?;

    let wallet = report["wallet"].as_str().unwrap_or_default();
    let decision = report["decision"].as_str().unwrap_or_default();
    let bundle = wait_for_anchored_bundle(cluster, wallet).await?;
    let path = cluster.folder().join("tick.bundle");
    std::fs::write(&path, bundle)?;
    let (held, said) = audit::verify(cluster, &path).await?;
    ensure(held && said.contains(decision), format!("the decision {decision} is not proved by the bundle: {said}"))?;
    figures.say(&format!("   its decision {decision} stands in the bundle of the move"));
    figures.put("moved_by_tick", true);
    figures.put("moved_by_rule", report["rule"].clone());

    for node in cluster.nodes() {
        let checked = cluster.admin(node)?.get("decisions/verify").await?;
        ensure(
            checked["verified"] == Value::Bool(true),
            format!("the decision log of {node} does not verify: {checked}"),
        )?;
        figures.say(&format!(
            "   {node}: {} decisions, chain whole, each replayed to the same choice",
            checked["decisions"]
        ));
    }
    figures.put("decision_log_verified", true);
    Ok(())
}

/// Opens sessions and gathers them at [`FULL`] until its pool is 97 % reserved.
async fn fill(cluster: &Cluster, figures: &Figures) -> Result<Vec<TokenStream>, StepFailed> {
    let mut sessions = Vec::new();
    for round in 0..40 {
        let engine = cluster.admin(FULL)?.get("engine").await?;
        let (used, total) = (engine["blocks_used"].as_u64().unwrap_or(0), engine["blocks_total"].as_u64().unwrap_or(1));
        let missing = (total * 97).div_ceil(100).saturating_sub(used);
        if used * 100 >= total * 96 {
            figures.say(&format!("   {used} of {total} blocks are reserved there, by {} sessions", sessions.len()));
            return Ok(sessions);
        }
        let tokens = missing.clamp(4, BLOCKS_EACH) * 16 - PROMPT;
        let ask = Ask {
            message: format!("Session {round}: tell me about the scheduler and its rules."),
            max_tokens: u32::try_from(tokens).map_err(|_| StepFailed::new("more tokens than a session has"))?,
            seed: 100 + round,
            // Slow enough to be there until the tick has looked, also at sessions that have just arrived.
            pace_ms: 120,
            ignore_eos: true,
        };
        let mut stream = cluster.tenant(FULL).ask(&ask).await?;
        stream.read_until(2).await?;
        if stream.served_by != FULL {
            let moved = cluster.admin(&stream.served_by)?.migrate(&stream.wallet, FULL).await?;
            if let Err(problem) = moved {
                figures.say(&format!("   one stays at {}: {} {}", stream.served_by, problem.code, problem.title));
            }
        }
        sessions.push(stream);
    }
    Err(StepFailed::new(format!("{FULL} did not fill up")))
}

/// Ends the sessions, wherever they are now.
async fn close_all(cluster: &Cluster, sessions: &[TokenStream]) -> Result<(), StepFailed> {
    for (index, node) in cluster.nodes().enumerate() {
        let here = cluster.admin(node)?.get("sessions").await?;
        for session in here.as_array().into_iter().flatten() {
            let wallet = session["wallet"].as_str().unwrap_or_default();
            if session["holder"] == index && sessions.iter().any(|ours| ours.wallet == wallet) {
                cluster.admin(node)?.close(wallet).await?;
            }
        }
    }
    Ok(())
}

/// A batch that moved in the last moments rests for ten seconds before it may move again.
async fn wait_for_move(cluster: &Cluster) -> Result<Value, StepFailed> {
    for _ in 0..250 {
        let moves = cluster.admin(FULL)?.get("moves").await?;
        let by_tick = moves.as_array().into_iter().flatten().find(|report| {
            report["completed"] == Value::Bool(true) && report["from"] == FULL && report["rule"] != "Operator"
        });
        if let Some(report) = by_tick {
            return Ok(report.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(StepFailed::new(format!("the tick moved nothing away from a full {FULL}")))
}

/// The anchor of a decision follows it by up to ten seconds.
async fn wait_for_anchored_bundle(cluster: &Cluster, wallet: &str) -> Result<Vec<u8>, StepFailed> {
    for _ in 0..150 {
        if let Ok(bundle) = cluster.auditor("eu-3").bundle(wallet).await {
            return Ok(bundle);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.auditor("eu-3").bundle(wallet).await
}
