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

/// # Errors
/// [`StepFailed`] if no batch moved by the tick, or its decision is not in the proof of the move.
pub async fn run(cluster: &Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("eu-2 is filled until its tick moves a batch away");
    let known = cluster.admin("eu-2")?.get("moves").await?.as_array().map_or(0, Vec::len);
    let mut open: Vec<TokenStream> = Vec::new();
    let mut moved = None;
    for round in 0..240_u64 {
        let engine = cluster.admin("eu-2")?.get("engine").await?;
        let (used, total) = (engine["blocks_used"].as_u64().unwrap_or(0), engine["blocks_total"].as_u64().unwrap_or(1));
        if used * 100 < total * 97 {
            let ask = Ask {
                message: format!("Session {round}: tell me about the scheduler and its rules."),
                max_tokens: 900,
                seed: 100 + round,
                pace_ms: 60,
                ignore_eos: true,
            };
            // A full pool refuses with a code; the next round tries again.
            if let Ok(stream) = cluster.tenant("eu-2").ask(&ask).await {
                open.push(stream);
            }
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let moves = cluster.admin("eu-2")?.get("moves").await?;
        let by_tick = moves.as_array().into_iter().flatten().skip(known).find(|report| {
            report["completed"] == Value::Bool(true) && report["from"] == "eu-2" && report["rule"] != "Operator"
        });
        if let Some(report) = by_tick {
            moved = Some(report.clone());
            break;
        }
    }
    let report = moved.ok_or_else(|| StepFailed::new("the tick moved nothing away from a full eu-2"))?;
    figures.say(&format!("   {} moved to {} by rule {}", report["wallet"], report["to"], report["rule"]));
    drop(open);

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
        ensure(checked["verified"] == Value::Bool(true), format!("the decision log of {node} does not verify: {checked}"))?;
        figures.say(&format!("   {node}: {} decisions, chain whole, each replayed to the same choice", checked["decisions"]));
    }
    figures.put("decision_log_verified", true);
    Ok(())
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
