//! A move out of the tenant's regions is refused, and so is a forged offer that tries it anyway.

use tokio::process::Command;

use super::super::{DemoOptions, Figures, StepFailed, client::Ask, cluster::Cluster, ensure};

/// # Errors
/// [`StepFailed`] if either is accepted, or refused for another reason.
pub async fn run(cluster: &Cluster, options: &DemoOptions, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("a move to us-1 is refused: the tenant allows region eu only");
    let ask =
        Ask { message: "Where may my session live?".into(), max_tokens: 200, seed: 14, pace_ms: 20, ignore_eos: true };
    let mut stream = cluster.tenant("eu-1").ask(&ask).await?;
    stream.read_until(10).await?;
    match cluster.admin(&stream.served_by.clone())?.migrate(&stream.wallet, "us-1").await? {
        Ok(report) => return Err(StepFailed::new(format!("the session moved to us-1: {report}"))),
        Err(problem) => {
            figures.say(&format!("   refused with {}: {}", problem.code, problem.title));
            ensure(problem.code == "S-201", "refused, but not for the tenant's policy")?;
        }
    }
    figures.put("forbidden_move_refused", true);

    figures.say("   a forged offer, for which eu-3 and us-1 collude with their real keys, goes to every validator:");
    let output = Command::new(&options.forger)
        .arg("forbidden-offer")
        .arg("--genesis")
        .arg(cluster.genesis_path())
        .args(["--node", "eu-3", "--node-key"])
        .arg(cluster.node_key_path("eu-3"))
        .args(["--to", "us-1", "--receiver-key"])
        .arg(cluster.node_key_path("us-1"))
        .args(["--auditor-key", cluster.auditor_key()])
        .output()
        .await?;
    String::from_utf8_lossy(&output.stdout).lines().for_each(|line| figures.say(&format!("   {line}")));
    ensure(
        output.status.success(),
        format!("the forged offer was not refused everywhere: {}", String::from_utf8_lossy(&output.stderr)),
    )?;
    figures.put("forged_move_refused", true);
    Ok(())
}
