//! Carrying out what was decided and stored.

use scheduler::{action::Action, decision::Logged, rules::RuleId};

use super::{Shared, lock, refusal::Refusal};
use crate::session::command::{CommandReply, SessionCommand};

impl Shared {
    /// Carries out a decision of the tick. What fails is decided again when the rules still say so.
    pub(super) async fn act_and_tell(&self, logged: &Logged) {
        let wallet = logged.decision.wallet;
        let (rule, chosen) = (logged.decision.rule, logged.decision.chosen);
        match self.act(logged).await {
            Ok(_) => tracing::info!(wallet = %wallet.0, %rule, %chosen, "decided and done"),
            Err(refusal) => {
                tracing::warn!(wallet = %wallet.0, %rule, %chosen, code = refusal.code(), %refusal, "decided and not done");
            }
        }
    }

    /// Carries out a decision and returns when it is done. The session counts as busy until then.
    pub(super) async fn act(&self, logged: &Logged) -> Result<CommandReply, Refusal> {
        let wallet = logged.decision.wallet;
        let outcome = match self.sessions.get(wallet) {
            Some(session) => session.command(command(logged)).await.map_err(Refusal::from),
            None => Err(scheduler::refusal::Refusal::BatchUnknown.into()),
        };
        lock(&self.busy).remove(&wallet);
        outcome
    }
}

fn command(logged: &Logged) -> SessionCommand {
    let (decision, rule) = (logged.hash, logged.decision.rule.to_string());
    match logged.decision.chosen {
        Action::Migrate { to } => SessionCommand::Migrate { to, decision, rule },
        // There is no tier between engine and disk.
        Action::Suspend | Action::Demote => {
            // What an operator has parked waits for the operator.
            SessionCommand::Suspend { until_read: logged.decision.rule != RuleId::Operator }
        }
        Action::Promote | Action::Keep => SessionCommand::Resume,
        Action::Evict => SessionCommand::Evict { decision },
    }
}
