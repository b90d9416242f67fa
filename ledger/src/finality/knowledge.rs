//! What a record can tell of a statement that somebody shows: whether the key may have signed it, as far as it knows.

use super::{VoteRecord, record::Span};
use crate::{
    block::View,
    vote::{Ballot, Grant, Nullify, VoteKind},
};

impl VoteRecord {
    /// Whether the key signed this, or may have and forgot it because it does not matter any more. If not, somebody
    /// signed with the key who does not write into this record.
    pub fn knows_ballot(&self, ballot: &Ballot) -> bool {
        let view = ballot.view;
        let given_up = || self.nullified.iter().any(|span| span.from <= view && view.term <= span.through);
        view <= self.floor
            || view.term < self.terms_from
            || self.has_signed(ballot)
            // A vote that only notarizes is forgotten where the view is given up.
            || (ballot.kind == VoteKind::Notarize && given_up())
    }

    /// See [`Self::knows_ballot`].
    pub fn knows_nullify(&self, nullify: &Nullify) -> bool {
        let Nullify { from, through, .. } = *nullify;
        if through < self.terms_from || through < self.floor.term {
            return true;
        }
        // Below the floor it does not matter any more.
        let above = View { term: self.floor.term, number: self.floor.number.saturating_add(1) };
        let from = from.max(above);
        self.nullified.iter().any(|span: &Span| span.from <= from && through <= span.through)
    }

    /// See [`Self::knows_ballot`].
    pub fn knows_grant(&self, grant: &Grant) -> bool {
        let Grant { term, candidate, .. } = *grant;
        term < self.terms_from
            || self.granted.is_some_and(|(granted, other)| term < granted || (term, candidate) == (granted, other))
    }

    /// The key came back without all that it had signed, and its `ValidatorResumed` became final in `view`. From here on
    /// it votes, grants and leads in later terms only, and gives up only views after that one.
    pub fn resume(&mut self, view: View) {
        self.raise_floor(view);
        self.terms_from = self.terms_from.max(view.term.saturating_add(1));
    }

    /// Whether the key may propose in `term`: it may have done so before in earlier ones, and forgotten it.
    pub fn may_lead(&self, term: u64) -> bool {
        term >= self.terms_from
    }
}
