//! The credits that the moves earned, computed again from the entries alone.

use std::collections::BTreeMap;

use ledger::{
    credits::{Earned, rederive},
    event::Entry,
};
use wallet::units::{BlockHeight, NodeId};

use super::super::{Figures, StepFailed, cluster::Cluster, ensure};

/// Entries in one answer of the API.
const PAGE: u64 = 256;

/// # Errors
/// [`StepFailed`] if what a node says differs from what the entries say, or no hop was settled at all.
pub async fn run(cluster: &Cluster, figures: &mut Figures) -> Result<(), StepFailed> {
    figures.step("credits of the moves, re-derived from the entries");
    let auditor = cluster.auditor("eu-3");
    let said = auditor.get("credits").await?;
    let height = BlockHeight::new(said["height"].as_u64().ok_or_else(|| StepFailed::new("credits have no height"))?);

    let mut entries: Vec<(BlockHeight, Entry)> = Vec::new();
    loop {
        let page = auditor.get(&format!("entries?from={}&count={PAGE}", entries.len())).await?;
        let rows = page.as_array().ok_or_else(|| StepFailed::new("entries are no list"))?;
        for row in rows {
            let at = BlockHeight::new(row["height"].as_u64().unwrap_or_default());
            entries.push((at, serde_json::from_value(row["entry"].clone())?));
        }
        if rows.is_empty() {
            break;
        }
    }
    let consortium = cluster.document().clone().verify().map_err(|fault| StepFailed::new(fault.to_string()))?;
    // The node's answer is of a height; what came later does not count.
    let awards = rederive(&consortium, entries.iter().filter(|(at, _)| *at <= height).map(|(at, entry)| (*at, entry)));
    let mut balances: BTreeMap<NodeId, u64> = BTreeMap::new();
    for award in awards.values() {
        if let Earned::Lot(lot) = award.earned
            && lot.expires_at > height
        {
            *balances.entry(award.node).or_default() += lot.amount;
        }
    }
    for account in said["accounts"].as_array().into_iter().flatten() {
        let name = account["node"].as_str().unwrap_or_default();
        let node = name.parse().ok().and_then(|name| consortium.node_by_name(&name)).map(|(node, _)| node);
        let node = node.ok_or_else(|| StepFailed::new(format!("{name:?} is no node of the consortium")))?;
        let derived = balances.remove(&node).unwrap_or_default();
        ensure(
            account["balance"] == derived,
            format!("{name} is said to have {} credits, the entries say {derived}", account["balance"]),
        )?;
        figures.say(&format!("   {name}: {derived} credits"));
    }
    ensure(balances.values().all(|credits| *credits == 0), format!("the node left out {balances:?}"))?;
    ensure(!awards.is_empty(), "no hop was settled; nothing was shown")?;
    let paid = awards.values().filter(|award| matches!(award.earned, Earned::Lot(_))).count();
    figures.say(&format!("   {paid} of {} settled hops were faster and paid", awards.len()));
    figures.put("credits_rederived", true);
    figures.put("hops_settled", awards.len());
    figures.put("hops_paid", paid);
    Ok(())
}
