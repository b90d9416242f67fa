//! Many unpaced moves, measured at the engines and at the client.

use std::time::Duration;

use serde_json::Value;

use super::super::{
    Figures, StepFailed,
    client::{Ask, TokenStream},
    cluster::Cluster,
    figures::median,
};

/// # Errors
/// [`StepFailed`] if a move fails or no figure comes of it.
pub async fn run(cluster: &Cluster, moves: u32, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step(&format!("{moves} moves of unpaced sessions between eu-1, eu-2 and eu-3"));
    let ring = ["eu-1", "eu-2", "eu-3"];
    let (mut reports, mut gaps) = (Vec::new(), Vec::new());
    let mut round = 0_u64;
    while reports.len() < moves as usize {
        round += 1;
        if round > u64::from(moves) * 3 {
            return Err(StepFailed::new(format!("only {} of {moves} moves came about", reports.len())));
        }
        let ask = Ask {
            message: format!("Tell me about migration, part {round}."),
            max_tokens: 1900,
            seed: 1000 + round,
            pace_ms: 0,
            ignore_eos: true,
        };
        let from = ring[round as usize % 3];
        let mut stream = cluster.tenant(from).ask(&ask).await?;
        stream.read_until(20).await?;
        // The holder's latency baseline becomes final meanwhile; an offer that names one can earn credits.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let source = stream.served_by.clone();
        let to = ring.into_iter().find(|node| *node != source).unwrap_or("eu-1");
        let (admin, wallet) = (cluster.admin(&source)?, stream.wallet.clone());
        let migration = tokio::spawn(async move { admin.migrate(&wallet, to).await });
        stream.read_to_end().await?;
        match migration.await.map_err(|fault| StepFailed::new(fault.to_string()))?? {
            Ok(report) if report["completed"] == Value::Bool(true) => {
                if let Some(gap) = gap_ms(&stream, &report) {
                    gaps.push(gap);
                }
                reports.push(report);
            }
            Ok(report) => figures.say(&format!("   not completed: {report}")),
            // The session may end before its offer is final: nothing was moved, nothing is counted.
            Err(problem) => figures.say(&format!("   not moved: {} {}", problem.code, problem.title)),
        }
    }
    let of = |key: &str| -> Vec<f64> { reports.iter().filter_map(|report| report[key].as_f64()).collect() };
    let sum = |key: &str| -> u64 { reports.iter().filter_map(|report| report[key].as_u64()).sum() };
    let latencies = ["offer_final_ms", "accept_final_ms", "confirm_final_ms"].iter().flat_map(|key| of(key)).collect();
    figures.put("moves", reports.len());
    put_median(figures, "compute_stall_steps_p50", of("compute_stall_steps"))?;
    put_median(figures, "compute_stall_ms_p50", of("compute_stall_us").into_iter().map(|us| us / 1000.0).collect())?;
    put_median(figures, "emission_gap_ms_p50", gaps)?;
    put_median(figures, "final_latency_ms_p50", latencies)?;
    figures.put("bytes_moved", sum("bytes_moved"));
    figures.put("pages_verified", sum("pages_verified"));
    figures.put("final_height", cluster.auditor("eu-1").final_height().await?);
    Ok(())
}

/// Time at the client between the source's last token and the destination's first.
fn gap_ms(stream: &TokenStream, report: &Value) -> Option<f64> {
    let frozen = u32::try_from(report["tokens_at_freeze"].as_u64()?).ok()?;
    let first = stream.seen.iter().position(|token| token.position >= frozen)?;
    let last = stream.seen.get(first.checked_sub(1)?)?;
    Some(stream.seen[first].at.duration_since(last.at).as_secs_f64() * 1000.0)
}

fn put_median(figures: &mut Figures, key: &str, values: Vec<f64>) -> Result<(), StepFailed> {
    let value = median(values).ok_or_else(|| StepFailed::new(format!("nothing was measured for {key}")))?;
    figures.put(key, (value * 1000.0).round() / 1000.0);
    Ok(())
}
