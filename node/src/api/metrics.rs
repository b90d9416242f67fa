//! `/metrics`: what Prometheus reads.
//!
//! Counters are kept here. Everything else is read where it is known, at the moment it is asked for.

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Because of whom a request may be one too many.
const REFUSED_OF: [&str; 2] = ["key", "address"];

/// The counters of the HTTP interface. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    tokens: Counter,
    requests: Family<Vec<(&'static str, String)>, Counter>,
    refused: Family<Vec<(&'static str, &'static str)>, Counter>,
}

/// What is read at the moment it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Height of the last final block here.
    pub final_height: u64,
    /// Blocks that another node is ahead.
    pub final_lag_blocks: u64,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Sessions that this node serves.
    pub sessions_serving: u64,
    /// Sessions that stand because of an effect in doubt.
    pub sessions_in_doubt: u64,
    /// Sessions that wait for room in the engine.
    pub sessions_waiting_for_room: u64,
    /// Blocks of the engine's pool.
    pub blocks_total: u64,
    /// Blocks that sequences hold.
    pub blocks_used: u64,
    /// Blocks that only the prefix cache holds.
    pub blocks_cached: u64,
    /// Moves from and to this node that were completed, of those whose report is kept.
    pub moves_completed: u64,
    /// Moves from and to this node that were given up, of those whose report is kept.
    pub moves_failed: u64,
    /// Requests that this front door served here.
    pub router_requests_here: u64,
    /// Requests that it sent to another node.
    pub router_requests_elsewhere: u64,
    /// Requests whose node held leading blocks of the prompt.
    pub router_requests_matched: u64,
    /// Decisions in the log.
    pub decisions: u64,
}

impl Metrics {
    /// A token went to a client.
    pub fn token_sent(&self) {
        self.tokens.inc();
    }

    /// A request to a path was answered with a status.
    pub fn request_answered(&self, path: &str, status: u16) {
        let labels = vec![("path", path.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// A request was refused, because of `whom` there were too many.
    pub fn request_refused(&self, whom: &'static str) {
        self.refused.get_or_create(&vec![("of", whom)]).inc();
    }

    /// The OpenMetrics text, with what `more` registers.
    ///
    /// # Panics
    /// Never: writing to a string does not fail.
    pub fn render(&self, gauges: &Gauges, more: impl FnOnce(&mut Registry)) -> String {
        let mut registry = Registry::with_prefix("batchmind");
        more(&mut registry);
        for whom in REFUSED_OF {
            // Counted from zero on, so that the first one is seen as one more.
            drop(self.refused.get_or_create(&vec![("of", whom)]));
        }
        registry.register("http_tokens_sent", "Tokens sent to clients", self.tokens.clone());
        registry.register("http_requests", "Requests by path and status", self.requests.clone());
        let refused = "Requests refused because there were too many of one key or address";
        registry.register("http_requests_refused", refused, self.refused.clone());
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge("ledger_final_height", "Height of the last final block", gauges.final_height);
        gauge("ledger_final_lag_blocks", "Blocks that another node is ahead", gauges.final_lag_blocks);
        gauge("ledger_is_leader", "1 if this node leads", u64::from(gauges.is_leader));
        gauge("sessions_serving", "Sessions that this node serves", gauges.sessions_serving);
        let in_doubt = "Sessions that stand until somebody decides about an effect in doubt";
        gauge("sessions_in_doubt", in_doubt, gauges.sessions_in_doubt);
        let waiting = "Sessions that wait for room in the engine";
        gauge("sessions_waiting_for_room", waiting, gauges.sessions_waiting_for_room);
        gauge("kv_blocks", "Blocks of the engine's pool", gauges.blocks_total);
        gauge("kv_blocks_used", "Blocks that sequences hold", gauges.blocks_used);
        gauge("kv_blocks_cached", "Blocks that only the prefix cache holds", gauges.blocks_cached);
        gauge("moves_completed", "Moves from and to this node that were completed", gauges.moves_completed);
        gauge("moves_failed", "Moves from and to this node that were given up", gauges.moves_failed);
        gauge("router_requests_here", "Requests served at this front door's node", gauges.router_requests_here);
        gauge("router_requests_elsewhere", "Requests sent to another node", gauges.router_requests_elsewhere);
        gauge(
            "router_requests_matched",
            "Requests whose node held leading blocks of the prompt",
            gauges.router_requests_matched,
        );
        gauge("scheduler_decisions", "Decisions in the log", gauges.decisions);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).expect("writing to a string does not fail");
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_and_gauges_are_as_they_were_read() {
        let metrics = Metrics::default();
        metrics.token_sent();
        metrics.token_sent();
        metrics.request_answered("/v1/models", 200);
        let text = metrics.render(&Gauges { final_height: 9, is_leader: true, ..Gauges::default() }, |_| {});
        for line in [
            "batchmind_http_tokens_sent_total 2",
            r#"batchmind_http_requests_total{path="/v1/models",status="200"} 1"#,
            "batchmind_ledger_final_height 9",
            "batchmind_ledger_is_leader 1",
            "batchmind_kv_blocks_used 0",
            "batchmind_sessions_in_doubt 0",
            "batchmind_sessions_waiting_for_room 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
    }
}
