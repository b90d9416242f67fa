//! An auditor fetches the proof of the move and checks it with no network; a flipped bit is named.

use tokio::process::Command;

use super::super::{Figures, StepFailed, cluster::Cluster, ensure};

/// # Errors
/// [`StepFailed`] if the bundle does not verify, or the tampered one does.
pub async fn run(cluster: &Cluster, wallet: &str, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("the proof of the move verifies offline from the genesis hash alone");
    let bundle = cluster.auditor("eu-3").bundle(wallet).await?;
    let path = cluster.folder().join("move.bundle");
    std::fs::write(&path, &bundle)?;
    let (held, said) = verify(cluster, &path).await?;
    figures.say(&format!("   {} bytes; {}", bundle.len(), said.trim().replace('\n', "\n   ")));
    ensure(held, "the bundle does not verify")?;
    figures.put("bundle_verified", true);

    let mut tampered = bundle;
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    let path = cluster.folder().join("tampered.bundle");
    std::fs::write(&path, &tampered)?;
    let (held, said) = verify(cluster, &path).await?;
    figures.say(&format!("   one bit flipped at byte {middle}: {}", said.trim()));
    ensure(!held && said.contains("check "), "the tampered bundle was not rejected by a named check")?;
    figures.put("tampered_bundle_rejected", true);
    Ok(())
}

/// Runs `batchmind audit verify`; whether it held, and what it said.
pub async fn verify(cluster: &Cluster, bundle: &std::path::Path) -> Result<(bool, String), StepFailed> {
    let output = Command::new(cluster.binary())
        .args(["audit", "verify"])
        .arg(bundle)
        .args(["--genesis", cluster.consortium()])
        .env_clear()
        .output()
        .await?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
