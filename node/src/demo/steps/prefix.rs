//! A long prompt is routed to the operator that holds its blocks, and elsewhere once these were evicted.

use std::time::Duration;

use super::super::{
    Figures, StepFailed,
    client::{Ask, TokenStream},
    cluster::Cluster,
    ensure,
};

/// # Errors
/// [`StepFailed`] if the second request misses the cached blocks, or still goes for them after their eviction.
pub async fn run(cluster: &Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("the same long prompt again, at another front door");
    let long = Ask {
        message: "The ledger records creation, migration and key rotation. ".repeat(14) + "What does the ledger record?",
        max_tokens: 8,
        seed: 15,
        pace_ms: 0,
        ignore_eos: true,
    };
    let first = finished(cluster, "eu-2", &long).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = finished(cluster, "eu-3", &long).await?;
    let cached = cached_tokens(&second);
    figures.say(&format!("   first ran at {}, second at {} with {cached} cached tokens", first.served_by, second.served_by));
    ensure(second.served_by == first.served_by && cached > 0, "the second request did not find the cached blocks")?;
    figures.put("prefix_routed", true);
    figures.put("prefix_cached_tokens", cached);

    figures.say(&format!("   other prompts push these blocks out of {}'s cache", first.served_by));
    for round in 0..40_u64 {
        let other = Ask { message: format!("Story number {round}: ") + &format!("{round} ").repeat(200), ..long.clone() };
        finished(cluster, &first.served_by, &other).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let third = finished(cluster, "eu-3", &long).await?;
    let cached = cached_tokens(&third);
    figures.say(&format!("   after the eviction it ran at {} with {cached} cached tokens", third.served_by));
    ensure(third.served_by != first.served_by && cached == 0, "the router did not notice the eviction")?;
    figures.put("eviction_noticed", true);
    Ok(())
}

async fn finished(cluster: &Cluster, at: &str, ask: &Ask) -> Result<TokenStream, StepFailed> {
    let mut stream = cluster.tenant(at).ask(ask).await?;
    stream.read_to_end().await?;
    Ok(stream)
}

fn cached_tokens(stream: &TokenStream) -> u64 {
    stream.usage.as_ref().map_or(0, |usage| usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default())
}
