//! Whoever reads a session's tokens, and knows what they should be.

use serde::Serialize;

/// A client that was promised every token once.
#[derive(Clone, Debug)]
pub struct Client {
    /// What an undisturbed run has, the prompt's tokens included.
    expected: Vec<u32>,
    /// The position of the next token: what it asks for when it comes again.
    next: u32,
    verdict: Verdict,
}

/// What did not come as it should. All zero if nothing was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Tokens that never came.
    pub lost: u64,
    /// Tokens that came again without being asked for.
    pub duplicated: u64,
    /// Tokens that are others than in the undisturbed run.
    pub different: u64,
}

impl Client {
    /// The client of a session whose prompt has `prompt` tokens.
    pub const fn new(expected: Vec<u32>, prompt: u32) -> Self {
        Self { expected, next: prompt, verdict: Verdict { lost: 0, duplicated: 0, different: 0 } }
    }

    /// The position from which on it wants tokens.
    pub const fn cursor(&self) -> u32 {
        self.next
    }

    /// Takes a token.
    pub fn take(&mut self, position: u32, token: u32) {
        if position < self.next {
            self.verdict.duplicated += 1;
            return;
        }
        self.verdict.lost += u64::from(position - self.next);
        self.verdict.different += u64::from(self.expected.get(position as usize) != Some(&token));
        self.next = position + 1;
    }

    /// The session has ended.
    pub fn end(&self) -> Verdict {
        let missing = (self.expected.len() as u64).saturating_sub(u64::from(self.next));
        Verdict { lost: self.verdict.lost + missing, ..self.verdict }
    }
}

impl std::ops::AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.different += other.different;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(tokens: &[(u32, u32)]) -> Verdict {
        let mut client = Client::new(vec![9, 9, 1, 2, 3], 2);
        tokens.iter().for_each(|(position, token)| client.take(*position, *token));
        client.end()
    }

    #[test]
    fn a_client_counts_what_is_lost_what_comes_twice_and_what_is_different() {
        assert_eq!(after(&[(2, 1), (3, 2), (4, 3)]), Verdict::default());
        assert_eq!(after(&[(2, 1), (4, 3)]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(after(&[(2, 1), (3, 2)]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(after(&[(2, 1), (2, 1), (3, 2), (4, 3)]), Verdict { duplicated: 1, ..Verdict::default() });
        assert_eq!(after(&[(2, 1), (3, 7), (4, 3)]), Verdict { different: 1, ..Verdict::default() });
        assert_eq!(after(&[(2, 1), (3, 2), (4, 3), (5, 8)]), Verdict { different: 1, ..Verdict::default() });
    }
}
