//! What a node says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wallet::{
    digest::Digest,
    units::{BlockHeight, Timestamp},
};

/// The answer of `GET /admin/v1/status`. `docs/api.md` says what the fields mean.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Status {
    consortium: Digest,
    node: String,
    role: String,
    leader: Option<String>,
    lineage: u32,
    other_lineages: Vec<Elsewhere>,
    final_height: BlockHeight,
    final_time_ms: Timestamp,
    voting: bool,
    decisions: Decisions,
    waits_for: Vec<String>,
    stopped: Option<Stopped>,
    /// What is told in JSON alone.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Elsewhere {
    node: String,
    lineage: u32,
    re_genesis: Digest,
}

/// How far the decisions are here that entries name.
#[derive(Debug, Deserialize, Serialize)]
struct Decisions {
    complete_height: BlockHeight,
    missing: Vec<Counted>,
    given_up: Vec<Counted>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Counted {
    node: String,
    count: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Stopped {
    since_ms: Timestamp,
    reason: String,
    missing: Vec<String>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consortium, node, role, lineage, final_height, final_time_ms, .. } = self;
        writeln!(f, "node         {node}, {role}, of consortium {consortium}")?;
        writeln!(f, "leader       {}", self.leader.as_deref().unwrap_or("none is known"))?;
        writeln!(f, "lineage      {lineage}")?;
        writeln!(f, "final        height {final_height}, of time {final_time_ms} ms")?;
        writeln!(f, "voting       {}", if self.voting { "yes" } else { "no" })?;
        let Decisions { complete_height, missing, given_up } = &self.decisions;
        write!(f, "decisions    complete up to height {complete_height}")?;
        for (what, of) in [("missing", missing), ("given up", given_up)] {
            for Counted { node, count } in of {
                write!(f, ", {count} of {node} {what}")?;
            }
        }
        if !self.waits_for.is_empty() {
            write!(f, "\nwaits for    {}", self.waits_for.join(", "))?;
        }
        if let Some(Stopped { since_ms, reason, missing }) = &self.stopped {
            write!(f, "\nstands still since {since_ms} ms: {reason}")?;
            if !missing.is_empty() {
                write!(f, " (not heard: {})", missing.join(", "))?;
            }
        }
        for Elsewhere { node, lineage, re_genesis } in &self.other_lineages {
            write!(f, "\nwarning: {node} is in lineage {lineage}, of the re-genesis {re_genesis}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(changed: impl FnOnce(&mut Value)) -> Status {
        let mut said = json!({
            "consortium": Digest([1; 32]), "node": "eu-1", "role": "follower", "term": 4, "leader": "eu-2", "lineage": 1,
            "other_lineages": [], "final_height": 7, "final_time_ms": 70, "log_size": 9, "voting": true, "waits_for": [],
            "decisions": {"complete_height": 6, "missing": [], "given_up": []}, "stopped": null, "sessions": 2,
        });
        changed(&mut said);
        serde_json::from_value(said).expect("a status")
    }

    #[test]
    fn a_node_that_goes_on_says_so_in_few_lines() {
        let told = status(|_| ()).to_string();
        assert_eq!(told.lines().count(), 6, "{told}");
        assert!(told.contains("final        height 7") && told.contains("voting       yes"), "{told}");
        assert!(told.ends_with("decisions    complete up to height 6"), "{told}");
    }

    #[test]
    fn what_is_missing_or_was_given_up_of_the_decisions_is_said_of_each_node() {
        let told = status(|said| {
            said["decisions"]["missing"] = json!([{"node": "us-1", "count": 3}]);
            said["decisions"]["given_up"] = json!([{"node": "eu-2", "count": 1}, {"node": "us-1", "count": 2}]);
        });
        let line = "decisions    complete up to height 6, 3 of us-1 missing, 1 of eu-2 given up, 2 of us-1 given up";
        assert!(told.to_string().ends_with(line), "{told}");
    }

    #[test]
    fn a_node_that_stands_still_says_for_whom_it_waits_and_who_is_elsewhere() {
        let told = status(|said| {
            said["leader"] = Value::Null;
            said["waits_for"] = json!(["quorum_unheard"]);
            said["stopped"] = json!({"since_ms": 70, "reason": "no quorum", "missing": ["us-1", "us-2"]});
            said["other_lineages"] = json!([{"node": "us-1", "lineage": 2, "re_genesis": Digest([2; 32])}]);
        })
        .to_string();
        for part in ["none is known", "quorum_unheard", "no quorum (not heard: us-1, us-2)", "us-1 is in lineage 2"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn what_has_no_line_of_its_own_is_there_in_json() {
        let said = serde_json::to_value(status(|_| ())).expect("JSON");
        assert_eq!((&said["sessions"], &said["log_size"], &said["term"]), (&json!(2), &json!(9), &json!(4)));
    }
}
