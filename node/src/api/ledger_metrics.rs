//! What `/metrics` says of the ledger: enough to see from one node why nothing becomes final.
//!
//! `docs/operating/why-is-it-stuck.md` says what each of them means. Labels name validators by their join index, and
//! reasons that the code declares, all of them always, so that nothing is missing because it did not happen yet.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use ledger::{
    finality::{Complaint, Refusal},
    shell::{
        cause::Cause,
        lineage::Lineage,
        metrics::{Custody, Metrics},
        transport::PeerRefusal,
    },
    state::Standing,
};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use wallet::{digest::Digest, units::NodeId};

use crate::schedule::Collection;

type Labels = Vec<(&'static str, String)>;

/// Adds the metrics of a ledger to a registry, and how far the decisions are here that its entries name.
pub(super) fn register(to: &mut Registry, ledger: &Metrics, decisions: &Collection) {
    let mut shown = Shown(to);
    let (finality, causes) = (&ledger.finality, ledger.causes());
    let members = || ledger.validators.members.iter().map(|(node, _)| *node);

    shown.each(
        "waits_for",
        "1 for each reason why nothing becomes final, or this node has no part in it",
        "reason",
        Cause::ALL.iter().map(|cause| (cause.name().to_owned(), causes.contains(cause))),
    );
    shown.flag("stopped", "1 if a fault stopped the ledger", ledger.fault.is_some());

    shown.seconds("final_age", "How long nothing newer has become final here", ledger.final_age.as_secs_f64());
    shown.number("final_block_entries", "Entries of the last final block", ledger.final_block_entries);
    shown.number(
        "raft_entries_not_final",
        "Entries of the raft log above the final one",
        ledger.raft_entries_not_final,
    );
    shown.flag("epoch_closing", "1 if the last block closes its epoch", ledger.is_closing);

    shown.number("validators", "Nodes that vote", ledger.validators.members.len() as u64);
    shown.number("quorum", "Votes that a block needs", ledger.validators.quorum() as u64);
    shown.flag("validator", "1 if this node's vote counts", ledger.validators.key(ledger.me).is_some());
    shown.flag("voting", "1 if this node signs with its key", ledger.votes);
    shown.each("custody", "1 for what this node may do with its key", "state", {
        Custody::NAMES.into_iter().map(|name| (name.to_owned(), name == ledger.custody.name()))
    });
    shown.each("standing", "1 for what the ledger says that this node may do", "standing", {
        STANDINGS.into_iter().map(|(name, standing)| (name.to_owned(), ledger.standing == Some(standing)))
    });

    let of_re_genesis = |lineage: Lineage| {
        let is_first = lineage.re_genesis == Digest::ZERO;
        (if is_first { String::new() } else { lineage.re_genesis.to_string() }, u64::from(lineage.number))
    };
    let own = of_re_genesis(ledger.lineage);
    shown.number_each("lineage", "The lineage of this node, by its last re-genesis", "re_genesis", [own].into_iter());
    let left_for = ledger.left_for.map_or((String::new(), 0), of_re_genesis);
    shown.number_each(
        "left_for",
        "The lineage for which the others left this node's; 0 if they did not",
        "re_genesis",
        [left_for].into_iter(),
    );

    let unheard_for = |node: NodeId| ledger.unheard_for.get(&node).map_or(0.0, |unheard| unheard.as_secs_f64());
    let unheard = members().map(|node| (node.to_string(), unheard_for(node)));
    shown.seconds_each("node_unheard", "How long ago a validator was heard; 0 for this node", "node", unheard);
    let told = ledger.peers.iter().map(|(node, height)| (*node, *height)).chain([(ledger.me, ledger.final_height)]);
    let heights = told.map(|(node, height)| (node.to_string(), height.get()));
    shown.number_each("node_final_height", "Final height that a node told last", "node", heights);
    let of_nodes = |found: &[NodeId]| {
        let found = found.to_vec();
        members().map(move |node| (node.to_string(), found.contains(&node)))
    };
    let missing = ledger.stalled.as_ref().map_or(&[][..], |stalled| stalled.missing.as_slice());
    shown.each("vote_missing", "1 for a validator whose word is missing here", "node", of_nodes(missing));
    let asked: Vec<NodeId> = ledger.fetching_from.into_iter().collect();
    shown.each(
        "catching_up_from",
        "1 for the node that was asked last for what is missing here",
        "node",
        of_nodes(&asked),
    );

    shown.number("term", "The term that this node is in", ledger.term);
    shown.number("epoch", "The epoch whose validators vote", finality.epoch);
    let view = finality.open.as_ref().map_or(0, |open| open.view.number);
    shown.number("view", "The view in its term of the block that is voted on; 0 if none is", view);
    let leader: Vec<NodeId> = ledger.leader.into_iter().collect();
    shown.each("leader", "1 for the node that leads the term", "node", of_nodes(&leader));
    shown.each("leader_barred", "1 for a node that may not lead the term", "node", of_nodes(&finality.barred));
    shown.each("term_given_up", "1 for a validator that gave the term up", "node", of_nodes(&finality.gave_up));
    shown.each("complaint", "1 for the reason why this node gave the term up", "reason", {
        let complaint = finality.complaint.map(Complaint::name);
        Complaint::NAMES.into_iter().map(move |name| (name.to_owned(), complaint == Some(name)))
    });
    let patience = finality.patience_ms as f64 / 1_000.0;
    shown.seconds("term_patience", "After how long this node gives the term up if nothing happens", patience);
    shown.number("terms_failed", "Terms in a row that ended without a final block", u64::from(finality.failed_terms));
    let invalid = finality.invalid.len() as u64;
    shown.number("blocks_invalid", "Blocks of the log that are not voted for because they are invalid", invalid);

    shown.number(
        "entries_open",
        "Entries submitted here that are neither final nor refused",
        ledger.entries_open as u64,
    );
    shown.seconds("entries_open_age", "How long the first of them has waited", ledger.entries_open_for.as_secs_f64());
    shown.number("entries_queued", "Entries that this node is to put into blocks", ledger.entries_queued as u64);
    shown.number("promises", "Promises of leaders for blocks that are not final", ledger.promises as u64);
    let due = ledger.promise_due_blocks.and_then(|blocks| i64::try_from(blocks).ok()).unwrap_or(-1);
    shown.gauge("promise_due_blocks", "In how many blocks the first promise is due; -1 without one", due);

    let skew = ledger.block_skew_ms as f64 / 1_000.0;
    shown.seconds("block_ahead", "How much the last block's time was ahead of this node's clock", skew);
    let rules = PeerRefusal::CODES.into_iter().chain(Refusal::NAMES);
    let counts = rules.map(|rule| (rule.to_owned(), ledger.held_back.get(rule).copied().unwrap_or(0)));
    shown.counts("held_back", "Messages that a rule held back", "rule", counts);
    let complete = decisions.complete_height.get();
    let help = "Up to there the decisions that entries name are here, or were given up";
    shown.number("decisions_complete_height", help, complete);
    // Nodes that left may have made some, too.
    let each = |counts: &BTreeMap<NodeId, u64>| {
        let mut all: BTreeMap<NodeId, u64> = members().map(|node| (node, 0)).collect();
        all.extend(counts);
        all.into_iter().map(|(node, count)| (node.to_string(), count))
    };
    let (missing, given_up) = (each(&decisions.missing), each(&decisions.given_up));
    shown.number_each("decisions_missing", "Decisions of a node that are waited for", "node", missing);
    shown.number_each("decisions_given_up", "Decisions of a node that nobody handed out for long", "node", given_up);
    shown.number("pinned_states", "States that are kept for nodes that join", ledger.pinned.len() as u64);
    let newest = ledger.pinned.last().map_or(0, |height| height.get());
    shown.number("pinned_height", "Height of the newest of them; 0 without one", newest);
}

/// What a node may do, by name.
const STANDINGS: [(&str, Standing); 4] = [
    ("in_force", Standing::InForce),
    ("suspended", Standing::Suspended),
    ("keyless", Standing::Keyless),
    ("removed", Standing::Removed),
];

/// Metrics of the ledger, each under its name without what all have in front.
struct Shown<'a>(&'a mut Registry);

impl Shown<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        self.0.register(format!("ledger_{name}"), help, gauge);
    }

    fn number(&mut self, name: &str, help: &str, value: u64) {
        self.gauge(name, help, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, help, i64::from(value));
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) {
        let gauge: Gauge<f64, AtomicU64> = Gauge::default();
        gauge.set(value);
        self.0.register(format!("ledger_{name}_seconds"), help, gauge);
    }

    fn each(&mut self, name: &str, help: &str, label: &'static str, values: impl Iterator<Item = (String, bool)>) {
        self.number_each(name, help, label, values.map(|(of, value)| (of, u64::from(value))));
    }

    fn number_each(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (String, u64)>,
    ) {
        let family: Family<Labels, Gauge> = Family::default();
        for (of, value) in values {
            family.get_or_create(&vec![(label, of)]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.0.register(format!("ledger_{name}"), help, family);
    }

    fn seconds_each(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (String, f64)>,
    ) {
        let family: Family<Labels, Gauge<f64, AtomicU64>> = Family::default();
        for (of, value) in values {
            family.get_or_create(&vec![(label, of)]).set(value);
        }
        self.0.register(format!("ledger_{name}_seconds"), help, family);
    }

    fn counts(&mut self, name: &str, help: &str, label: &'static str, values: impl Iterator<Item = (String, u64)>) {
        let family: Family<Labels, Counter> = Family::default();
        for (of, value) in values {
            family.get_or_create(&vec![(label, of)]).inc_by(value);
        }
        self.0.register(format!("ledger_{name}"), help, family);
    }
}
