//! `batchmind scheduler`: why sessions were moved, parked or evicted.

mod log_lost;

use std::{fmt, path::PathBuf};

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;
use wallet::digest::Digest;

use super::{Failure, Output, admin::AdminArguments};
use crate::config::LedgerConfig;

/// Show what the scheduler decided, and check its log.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the decisions on a session, or on all: the rule, what it looked at, and what it refused.
    Explain {
        /// The wallet's address: 64 hexadecimal digits. All sessions if absent.
        #[arg(long)]
        wallet: Option<Digest>,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Your word that the decision log of a stopped node is lost or damaged: it goes on after what was anchored of it.
    ///
    /// The old file is moved aside, and what follows the anchor in it undamaged is taken over. Decisions that entries name
    /// stay provable where the ledger in the same folder, or other nodes, keep them. The ledger has to be there: restore it
    /// first. The node decides again when a block is final that was made after its start.
    LogLost {
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Let the node read its whole log, check the chain, and decide each case again.
    Verify {
        #[command(flatten)]
        admin: AdminArguments,
    },
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Explain { wallet, admin } => {
                let path = match wallet {
                    Some(wallet) => format!("/admin/v1/decisions?wallet={wallet}"),
                    None => "/admin/v1/decisions".to_owned(),
                };
                Ok(Output::new(&Explained(admin.open()?.get(&path).await?)))
            }
            Self::LogLost { config } => {
                let config = LedgerConfig::load(&config)?;
                super::apart(move || log_lost::run(&config)).await
            }
            Self::Verify { admin } => {
                let verified: Value = admin.open()?.get("/admin/v1/decisions/verify").await?;
                if verified["verified"] == Value::Bool(true) {
                    return Ok(Output::new(&Verified(verified)));
                }
                let failure = verified["failure"].as_str().unwrap_or_default();
                Err(Failure::new("N-541", "the decision log does not verify", failure))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Explained(Vec<Value>);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no decisions: everything was kept where it is");
        }
        for (i, decision) in self.0.iter().enumerate() {
            let text = |name: &str| decision[name].as_str().unwrap_or_default();
            let line = if i == 0 { "" } else { "\n\n" };
            writeln!(
                f,
                "{line}decision {} at {} ms by {}: {}",
                decision["seq"],
                decision["at"],
                text("rule"),
                decision["chosen"]
            )?;
            writeln!(f, "  wallet {}", text("wallet"))?;
            write!(f, "  hash   {}", text("hash"))?;
            for refused in decision["refused"].as_array().into_iter().flatten() {
                let (code, title) = (refused["code"].as_str(), refused["title"].as_str());
                write!(
                    f,
                    "\n  not {}: {} ({})",
                    refused["action"],
                    title.unwrap_or_default(),
                    code.unwrap_or_default()
                )?;
            }
            for (name, value) in decision["inputs"].as_object().into_iter().flatten() {
                write!(f, "\n  {name} = {value}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Verified(Value);

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.0["head"].as_str().unwrap_or_default();
        let count = |name: &str| self.0[name].as_u64().unwrap_or_default();
        write!(f, "verified: {} decisions, {} decided again, head {head}", count("decisions"), count("replayed"))?;
        match count("lost") {
            0 => Ok(()),
            lost => write!(f, "\nnote: the first {lost} are lost here: the log goes on after the anchor of the last"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_names_rule_inputs_and_refusals() {
        let explained = Explained(vec![json!({
            "seq": 3, "at": 5, "rule": "R7", "chosen": {"migrate": {"to": 2}}, "wallet": "aa", "hash": "bb",
            "refused": [{"action": "suspend", "code": "S-102", "title": "the batch is decoding"}],
            "inputs": {"batch.idle_us": 9},
        })]);
        assert_eq!(
            explained.to_string(),
            "decision 3 at 5 ms by R7: {\"migrate\":{\"to\":2}}\n  wallet aa\n  hash   bb\n  \
             not \"suspend\": the batch is decoding (S-102)\n  batch.idle_us = 9"
        );
    }
}
