//! A chat on eu-1 moves to eu-2 in mid-decode and goes on with the same tokens; the old key is then worth nothing.

use std::path::Path;

use tokio::process::Command;

use super::super::{DemoOptions, Figures, StepFailed, client::Ask, cluster::Cluster, ensure};

/// Most tokens of the session.
const TOKENS: u32 = 320;
/// The move is asked for after this many.
const MOVE_AFTER: usize = 40;
/// Paced for the eye, and labelled so.
const PACE_MS: u64 = 25;

/// Returns the wallet that moved.
///
/// # Errors
/// [`StepFailed`] if the tokens differ from the control run or the old key is accepted anywhere.
pub async fn run(cluster: &Cluster, options: &DemoOptions, figures: &mut Figures) -> Result<String, StepFailed> {
    figures.step("a live session moves from eu-1 to eu-2 in mid-decode");
    let ask = Ask {
        message: "What is a batch, and why can it move?".into(),
        max_tokens: TOKENS,
        seed: 11,
        pace_ms: PACE_MS,
        ignore_eos: true,
    };
    let mut stream = cluster.tenant("eu-1").ask(&ask).await?;
    ensure(stream.served_by == "eu-1", format!("the prompt ran at {}, not at eu-1", stream.served_by))?;
    stream.read_until(MOVE_AFTER).await?;
    figures.say(&format!("   (paced for the eye: one token in {PACE_MS} ms) {:?} ...", stream.text()));

    let stolen = cluster.copy_session_keys("eu-1", &stream.wallet)?;
    let wallet = stream.wallet.clone();
    let reader = tokio::spawn(async move { stream.read_to_end().await.map(|()| stream) });
    let moved = cluster.admin("eu-1")?.migrate(&wallet, "eu-2").await?;
    let report = moved
        .map_err(|problem| StepFailed::new(format!("the move was refused: {} {}", problem.code, problem.title)))?;
    figures.say(&format!("   moved at token {}, {} pages", report["tokens_at_freeze"], report["pages_moved"]));
    refuse_old_key(cluster, options, figures, &wallet, &stolen).await?;
    let stream = reader.await.map_err(|fault| StepFailed::new(fault.to_string()))??;

    let control = Ask { pace_ms: 0, ..ask };
    let mut control = cluster.tenant("eu-3").ask(&control).await?;
    control.read_to_end().await?;
    let positions: Vec<u32> = stream.seen.iter().map(|token| token.position).collect();
    ensure(positions.windows(2).all(|pair| pair[1] == pair[0] + 1), "a token position is missing or came twice")?;
    ensure(
        stream.ids() == control.ids() && stream.seen.len() == TOKENS as usize,
        format!("the moved run has {} tokens and differs from the run that never moved", stream.seen.len()),
    )?;
    figures.put("tokens_identical", true);

    Ok(wallet)
}

/// The session goes on at eu-2 while the thief speaks for it: what is refused is the key, not a closed wallet.
async fn refuse_old_key(
    cluster: &Cluster,
    options: &DemoOptions,
    figures: &mut Figures,
    wallet: &str,
    stolen: &Path,
) -> Result<(), StepFailed> {
    figures.say("   a thief who copied eu-1's keys before the move now speaks with the old epoch key:");
    let output = Command::new(&options.forger)
        .arg("old-key")
        .arg("--genesis")
        .arg(cluster.genesis_path())
        .args(["--node", "eu-1", "--node-key"])
        .arg(cluster.node_key_path("eu-1"))
        .arg("--session-keys")
        .arg(stolen)
        .args(["--wallet", wallet, "--auditor-key", cluster.auditor_key(), "--peer", "eu-2", "--peer-key"])
        .arg(cluster.node_key_path("eu-2"))
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().for_each(|line| figures.say(&format!("   {line}")));
    ensure(
        output.status.success(),
        format!("the old key was not refused: {}", String::from_utf8_lossy(&output.stderr)),
    )?;
    figures.put("old_key_refused", true);
    Ok(())
}
