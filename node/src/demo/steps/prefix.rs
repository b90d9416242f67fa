//! A long prompt is routed to the operator that holds its blocks, and elsewhere once these were evicted.

use std::time::Duration;

use super::super::{
    Figures, StepFailed,
    client::{Ask, TokenStream},
    cluster::Cluster,
    ensure,
};

/// Prompts of other sessions that are enough to push everything else out of one cache.
const OTHERS: usize = 8;

/// # Errors
/// [`StepFailed`] if the second request misses the cached blocks, or a third still goes for them after their eviction.
pub async fn run(cluster: &Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("the same long prompt again, at another front door");
    let long = Ask {
        message: "The ledger records creation, migration and key rotation. ".repeat(14)
            + "What does the ledger record?",
        max_tokens: 8,
        seed: 15,
        pace_ms: 0,
        ignore_eos: true,
    };
    let first = finished(cluster, "eu-2", &long).await?;
    let holder = first.served_by.as_str();
    let other_door = if holder == "eu-3" { "eu-1" } else { "eu-3" };
    // Residency is told to the other operators within a tick.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = finished(cluster, other_door, &long).await?;
    let cached = cached_tokens(&second);
    figures.say(&format!(
        "   first ran at {holder}; asked of {other_door}, it ran at {} with {cached} cached tokens",
        second.served_by
    ));
    ensure(second.served_by == holder && cached > 0, "the second request did not find the cached blocks")?;
    figures.put("prefix_routed", true);
    figures.put("prefix_cached_tokens", cached);

    figures.say(&format!("   other prompts push these blocks out of {holder}'s cache"));
    let mut landed = 0;
    for round in 0..OTHERS * 8 {
        let other =
            Ask { message: format!("Story number {round}: ") + &format!("{round} ").repeat(400), ..long.clone() };
        landed += usize::from(finished(cluster, holder, &other).await?.served_by == holder);
        if landed == OTHERS {
            break;
        }
    }
    // Of equally cheap operators the least loaded is chosen: a running session makes the old holder the busier one.
    let busy = busy_at(cluster, holder).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let third = finished(cluster, other_door, &long).await?;
    drop(busy);
    let cached = cached_tokens(&third);
    figures.say(&format!("   after the eviction it ran at {} with {cached} cached tokens", third.served_by));
    ensure(third.served_by != holder && cached == 0, "the router did not notice the eviction")?;
    figures.put("eviction_noticed", true);
    Ok(())
}

/// A paced session that runs at `holder`, wherever it began.
async fn busy_at(cluster: &Cluster, holder: &str) -> Result<TokenStream, StepFailed> {
    let ask = Ask { message: "Keep going.".into(), max_tokens: 1200, seed: 16, pace_ms: 100, ignore_eos: true };
    let mut stream = cluster.tenant(holder).ask(&ask).await?;
    stream.read_until(2).await?;
    if stream.served_by != holder {
        let moved = cluster.admin(&stream.served_by)?.migrate(&stream.wallet, holder).await?;
        moved.map_err(|problem| StepFailed::new(format!("no move to {holder}: {} {}", problem.code, problem.title)))?;
    }
    Ok(stream)
}

async fn finished(cluster: &Cluster, at: &str, ask: &Ask) -> Result<TokenStream, StepFailed> {
    let mut stream = cluster.tenant(at).ask(ask).await?;
    stream.read_to_end().await?;
    Ok(stream)
}

fn cached_tokens(stream: &TokenStream) -> u64 {
    stream
        .usage
        .as_ref()
        .map_or(0, |usage| usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default())
}
