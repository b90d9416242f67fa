//! The credits that the moves earned, computed again from the entries alone.

use serde_json::Value;
use tokio::process::Command;

use super::super::{Figures, StepFailed, cluster::Cluster, ensure};

/// # Errors
/// [`StepFailed`] if what a node says differs from what the entries say, or no hop was settled by its latency.
pub async fn run(cluster: &Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("credits of the moves, re-derived from the entries");
    let key_file = cluster.folder().join("auditor.key");
    std::fs::write(&key_file, cluster.auditor_key())?;
    let output = Command::new(cluster.binary())
        .args(["--json", "credits", "rederive", "--url", cluster.api_url("eu-3"), "--genesis"])
        .arg(cluster.genesis_path())
        .arg("--api-key-file")
        .arg(key_file)
        .output()
        .await?;
    ensure(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
    let rederived: Value = serde_json::from_slice(&output.stdout)?;
    for account in rederived["accounts"].as_array().into_iter().flatten() {
        figures.say(&format!("   {}: {} credits", account["node"], account["balance"]));
    }
    let paid = rederived["paid"].as_u64().unwrap_or_default();
    let unpaid = rederived["unpaid"].as_object().into_iter().flatten().filter(|(reason, _)| *reason != "NoBaseline");
    let measured: u64 = unpaid.filter_map(|(_, hops)| hops.as_u64()).sum();
    figures.say(&format!(
        "   {} entries give the same {} hops: {paid} faster and paid, {measured} measured and not",
        rederived["entries"], rederived["awards"]
    ));
    ensure(paid + measured > 0, "no hop was settled by its latency; nothing was shown")?;
    figures.put("credits_rederived", rederived["rederived"].clone());
    figures.put("hops_settled", rederived["awards"].clone());
    figures.put("hops_paid", paid);
    Ok(())
}
