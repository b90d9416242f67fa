//! What came of many sessions that were cut off.

use std::collections::BTreeSet;

use gpu::continuation::EffectId;

use super::{Client, Plan, SessionFault, Tool, Verdict};

/// Sums over sessions.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Points at which a session was suspended, moved or killed.
    pub points: u64,
    /// Of these: suspended and resumed, or evicted and taken up again.
    pub suspends: u64,
    /// Of these: moves, with those that were cut off.
    pub moves: u64,
    /// Of these: cut off within this process.
    pub cuts: u64,
    /// Of these: processes that were killed with SIGKILL.
    pub kills: u64,
    /// Sessions.
    pub sessions: u64,
    /// What their clients found.
    pub tokens: Verdict,
    /// Effects that cannot be done again and were cut off between intent and result.
    pub planted: u64,
    /// Of these: those that were said to be in doubt.
    pub surfaced: u64,
    /// Effects that were done more often than once.
    pub repeated: u64,
    /// Effects that were never done, and of which nobody said so.
    pub skipped: u64,
    /// Holders of an earlier epoch that were told to go on, and were refused.
    pub fenced: u64,
}

/// What is in doubt in one session.
#[derive(Clone, Debug, Default)]
pub struct Doubts {
    planted: BTreeSet<String>,
    surfaced: BTreeSet<String>,
}

impl Doubts {
    /// The effect was cut off between intent and result.
    pub fn plant(&mut self, effect: &EffectId) {
        self.planted.insert(effect.to_string());
    }

    /// It was said to be in doubt.
    pub fn surface(&mut self, effect: String) {
        self.surfaced.insert(effect);
    }

    /// Effects that were cut off and of which that was not said yet.
    pub fn hidden(&self) -> usize {
        self.planted.difference(&self.surfaced).count()
    }
}

impl Tally {
    /// A session has come to its end.
    ///
    /// # Errors
    /// Those of effects.
    pub fn end(&mut self, plan: &Plan, client: &Client, tool: &Tool, doubts: &Doubts) -> Result<(), SessionFault> {
        self.sessions += 1;
        self.tokens += client.end();
        self.planted += doubts.planted.len() as u64;
        self.surfaced += doubts.planted.intersection(&doubts.surfaced).count() as u64;
        for index in 0..plan.tools.len() {
            let effect = plan.tool(index)?;
            let (count, doubted) = (tool.count(&effect.id), doubts.surfaced.contains(&effect.id.to_string()));
            self.repeated += count.saturating_sub(1);
            self.skipped += u64::from(count == 0 && !doubted);
        }
        Ok(())
    }

    /// Whether nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.tokens == Verdict::default() && self.planted == self.surfaced && self.repeated + self.skipped == 0
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.suspends += other.suspends;
        self.moves += other.moves;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.sessions += other.sessions;
        self.tokens += other.tokens;
        self.planted += other.planted;
        self.surfaced += other.surfaced;
        self.repeated += other.repeated;
        self.skipped += other.skipped;
        self.fenced += other.fenced;
    }
}
