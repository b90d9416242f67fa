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

/// Sessions that were cut off did not come out as they should have. None of these may ever be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unclean {
    /// A client did not get each token once, as in a run without any disturbance.
    #[error("{} tokens were lost, {} came twice, {} were different", .0.lost, .0.duplicated, .0.different)]
    Tokens(Verdict),
    /// An effect was cut off between intent and result, and nobody said that it is in doubt.
    #[error("{surfaced} of {planted} effects in doubt were said to be in doubt")]
    Hidden {
        /// Effects that were cut off so.
        planted: u64,
        /// Of these: those that were said to be in doubt.
        surfaced: u64,
    },
    /// An effect was done twice, or never without anybody saying so.
    #[error("effects were done again {repeated} times, {skipped} were never done")]
    Effects {
        /// How often one was done again.
        repeated: u64,
        /// Those that were never done.
        skipped: u64,
    },
    /// Less was tried than was asked for.
    #[error("{points} points of {points_asked} were reached, {kills} processes of {kills_asked} killed")]
    Short {
        /// Points.
        points: u64,
        /// As many should have been.
        points_asked: u64,
        /// Processes that were killed.
        kills: u64,
        /// As many should have been.
        kills_asked: u64,
    },
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

    /// Looks for what must not be.
    ///
    /// # Errors
    /// [`Unclean`], the first of it.
    pub fn check(&self) -> Result<(), Unclean> {
        let Self { planted, surfaced, repeated, skipped, .. } = *self;
        if self.tokens != Verdict::default() {
            return Err(Unclean::Tokens(self.tokens));
        }
        if planted != surfaced {
            return Err(Unclean::Hidden { planted, surfaced });
        }
        if repeated + skipped > 0 {
            return Err(Unclean::Effects { repeated, skipped });
        }
        Ok(())
    }

    /// As [`Self::check`], and whether there were as many points and kills as were asked for.
    ///
    /// # Errors
    /// [`Unclean`], the first of it.
    pub fn check_all(&self, points_asked: u64, kills_asked: u64) -> Result<(), Unclean> {
        self.check()?;
        let Self { points, kills, .. } = *self;
        if points < points_asked || kills < kills_asked {
            return Err(Unclean::Short { points, points_asked, kills, kills_asked });
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_that_is_wrong_is_a_fault_of_its_own() {
        let clean = Tally { points: 10, kills: 3, planted: 2, surfaced: 2, ..Tally::default() };
        assert_eq!(clean.check_all(10, 3), Ok(()));
        for tokens in [
            Verdict { lost: 1, ..Verdict::default() },
            Verdict { duplicated: 1, ..Verdict::default() },
            Verdict { different: 1, ..Verdict::default() },
        ] {
            assert_eq!(Tally { tokens, ..clean.clone() }.check(), Err(Unclean::Tokens(tokens)));
        }
        let hidden = Unclean::Hidden { planted: 3, surfaced: 2 };
        assert_eq!(Tally { planted: 3, ..clean.clone() }.check(), Err(hidden));
        for (repeated, skipped) in [(1, 0), (0, 1)] {
            let effects = Tally { repeated, skipped, ..clean.clone() };
            assert_eq!(effects.check(), Err(Unclean::Effects { repeated, skipped }));
        }
        for (points_asked, kills_asked) in [(11, 3), (10, 4)] {
            let short = Unclean::Short { points: 10, points_asked, kills: 3, kills_asked };
            assert_eq!(clean.check_all(points_asked, kills_asked), Err(short));
        }
    }
}
