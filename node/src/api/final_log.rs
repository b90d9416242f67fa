//! The final log and its state as lists: what began in it, and where it is now.

use std::sync::Arc;

use ledger::{
    event::{Event, WalletCreated},
    execute::Executed,
    shell::{fault::Fault, final_store::FinalStore},
    state::{KeyRotated, Phase, WalletRecord},
};
use serde_json::{Value, json};
use wallet::units::LogIndex;

use super::{Api, paging::Page};
use crate::members::Members;

/// Entries that one request looks through at most. Most are no beginnings of anything.
const SCAN_ENTRIES: u64 = 2_048;

/// The final log up to one height, and the state there.
pub(super) struct FinalLog {
    pub(super) store: FinalStore,
    pub(super) executed: Arc<Executed>,
    pub(super) members: Members,
}

impl FinalLog {
    /// As it is now.
    pub(super) fn of(api: &Api) -> Self {
        let executed = api.replica().state();
        Self { store: api.replica().store().clone(), members: Members::from(executed.clone()), executed }
    }

    /// What `pick` finds in the entries of a page, with its place, as far as one request looks; and the index from which
    /// the next one has to look on.
    pub(super) fn find<T>(
        &self,
        page: Page,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<(Vec<(u64, T)>, u64), Fault> {
        let (mut found, range) = (Vec::new(), page.range(self.executed.log.size()));
        let until = range.end.min(range.start.saturating_add(SCAN_ENTRIES));
        for index in range.start..until {
            if found.len() == page.count() {
                return Ok((found, index));
            }
            let entry = self.store.entry(LogIndex::new(index))?;
            found.extend(entry.and_then(|entry| pick(&entry.body.event)).map(|picked| (index, picked)));
        }
        Ok((found, until))
    }

    /// The batches that began in a page.
    pub(super) fn batches(&self, page: Page, is: impl Fn(&WalletCreated) -> bool) -> Result<(Vec<Value>, u64), Fault> {
        let (begun, next) = self.find(page, |event| match event {
            Event::WalletCreated(created) if is(created) => Some(created.grant.terms.address()),
            _ => None,
        })?;
        let batches = begun.into_iter().filter_map(|(_, wallet)| self.executed.state.wallet(wallet));
        Ok((batches.map(|record| self.shown(&record)).collect(), next))
    }

    /// A batch.
    pub(super) fn shown(&self, record: &WalletRecord) -> Value {
        let begun = record.rotations.first().and_then(|first| self.executed.state.entry(first.entry));
        let (phase, closed) = match &record.phase {
            Phase::Active => ("active", None),
            Phase::Offered(_) => ("offered", None),
            Phase::Accepted(_) => ("accepted", None),
            Phase::Closed { reason, at } => ("closed", Some(json!({"reason": reason, "height": at}))),
        };
        json!({
            "index": begun.map(|begun| begun.log_index),
            "wallet": record.address,
            "phase": phase,
            "closed": closed,
            "place": record.rotations.last().map(|rotation| self.place(rotation)),
        })
    }

    /// Where a batch was from an epoch on.
    pub(super) fn place(&self, rotation: &KeyRotated) -> Value {
        let (node, since) = (self.members.node(rotation.holder), self.executed.state.entry(rotation.entry));
        json!({
            "epoch": rotation.epoch,
            "node": self.members.name(rotation.holder),
            "operator": node.as_ref().map(|node| &node.operator),
            "region": node.as_ref().map(|node| &node.region),
            "since": {"height": rotation.at, "time_ms": since.map(|since| since.time)},
        })
    }
}
