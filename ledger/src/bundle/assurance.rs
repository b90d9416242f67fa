//! How much a certificate is worth: who would have to lie together.

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use genesis::{OperatorId, ValidatorSet};
use serde::{Deserialize, Serialize};
use wallet::units::NodeId;

/// What an auditor may build on: the numbers are those of the last set, `class` and `colluders` the weaker of those of
/// genesis and of the last set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assurance {
    /// The answer in a word.
    pub class: AssuranceClass,
    /// Operators who run validators.
    pub operators: usize,
    /// Validators.
    pub validators: usize,
    /// Signatures that make a certificate.
    pub quorum: usize,
    /// Validators that may lie without a fork.
    pub faults: usize,
    /// The fewest operators that run enough validators to certify two histories: 2q - n of them must sign both.
    pub colluders: usize,
}

/// See [`Assurance`]. The weakest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssuranceClass {
    /// There is one operator: nobody else has checked anything.
    ConsortiumOfOne,
    /// There are others, but one of them runs enough validators to show two histories.
    OneCanFork,
    /// Several operators would have to lie together.
    SeveralMustLie,
}

impl AssuranceClass {
    /// Its name, in texts and in JSON.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ConsortiumOfOne => "consortium-of-one",
            Self::OneCanFork => "one-can-fork",
            Self::SeveralMustLie => "several-must-lie",
        }
    }
}

impl Assurance {
    /// Validators are counted, and who runs them; none if that is not known of each.
    pub fn of<'a>(validators: &ValidatorSet, operator_of: impl Fn(NodeId) -> Option<&'a OperatorId>) -> Option<Self> {
        let (members, quorum) = (validators.members.len(), validators.quorum());
        let mut run: BTreeMap<_, usize> = BTreeMap::new();
        for (node, _) in &validators.members {
            *run.entry(operator_of(*node)?).or_default() += 1;
        }
        let operators = run.len();
        let colluders = fewest(run.into_values().collect(), 2 * quorum - members);
        let class = match (operators, colluders) {
            (1, _) => AssuranceClass::ConsortiumOfOne,
            (_, 1) => AssuranceClass::OneCanFork,
            _ => AssuranceClass::SeveralMustLie,
        };
        Some(Self { class, operators, validators: members, quorum, faults: validators.faults_max(), colluders })
    }

    /// What it is worth where it follows from a hand-over by a set that is worth `earlier`. A quorum of that set names
    /// who runs the nodes of the next one, so no later set is worth more.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        Self { class: self.class.min(earlier.class), colluders: self.colluders.min(earlier.colluders), ..self }
    }
}

/// How many of the largest of `counts` make `needed` together.
fn fewest(mut counts: Vec<usize>, needed: usize) -> usize {
    counts.sort_unstable_by_key(|count| Reverse(*count));
    let sums = counts.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    1 + sums.take_while(|sum| *sum < needed).count()
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, operators, validators, quorum, colluders, .. } = self;
        write!(f, "{}: ", class.code())?;
        match class {
            AssuranceClass::ConsortiumOfOne => f.write_str("nobody but its operator has checked this"),
            AssuranceClass::OneCanFork => write!(
                f,
                "{quorum} of {validators} validators of {operators} operators sign, but one operator runs enough of \
                 them, or ran enough at genesis, to show two histories"
            ),
            AssuranceClass::SeveralMustLie => write!(
                f,
                "{quorum} of {validators} validators of {operators} operators sign; {colluders} operators would have to \
                 lie together to show two histories"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{consortium, operator_id};

    fn of(nodes: u32) -> Assurance {
        let consortium = consortium(nodes);
        let operator_of = |node| consortium.operator_of(node).map(|operator| &operator.id);
        Assurance::of(consortium.validators(), operator_of).expect("all are listed")
    }

    #[test]
    fn a_consortium_of_one_says_so() {
        let assurance = of(1);
        assert_eq!((assurance.class, assurance.colluders), (AssuranceClass::ConsortiumOfOne, 1));
        assert_eq!(assurance.to_string(), "consortium-of-one: nobody but its operator has checked this");
    }

    #[test]
    fn several_operators_have_to_lie_where_each_runs_one_node() {
        for (nodes, colluders) in [(2, 2), (3, 3), (4, 2), (7, 3), (10, 4)] {
            let assurance = of(nodes);
            assert_eq!((assurance.class, assurance.colluders), (AssuranceClass::SeveralMustLie, colluders));
        }
    }

    #[test]
    fn those_count_who_run_a_validator_of_that_set() {
        let (consortium, ids) = (consortium(7), [0, 1].map(operator_id));
        let mut set = consortium.validators().clone();
        set.members.truncate(4);
        let by = |of: fn(u32) -> usize| Assurance::of(&set, |node| Some(&ids[of(node.get())])).expect("known");
        assert_eq!((by(|_| 0).class, by(|_| 0).operators), (AssuranceClass::ConsortiumOfOne, 1));
        assert_eq!(by(|node| usize::from(node == 3)).class, AssuranceClass::OneCanFork);
        assert_eq!(Assurance::of(&set, |node| (node.get() != 2).then_some(&ids[0])), None, "nobody knows whose it is");
    }

    #[test]
    fn no_later_set_is_worth_more_than_the_one_that_named_it() {
        let (one, four, seven) = (of(1), of(4), of(7));
        let later = seven.after(&one);
        assert_eq!((later.class, later.colluders), (AssuranceClass::ConsortiumOfOne, 1));
        assert_eq!((later.validators, later.operators, later.quorum), (7, 7, 5), "the rest is said of the last set");
        assert_eq!(seven.after(&four), Assurance { colluders: 2, ..seven });
        assert_eq!((four.after(&seven), one.after(&seven)), (four, one));
        let weak = Assurance { class: AssuranceClass::OneCanFork, colluders: 1, ..four };
        assert_eq!((seven.after(&weak).class, one.after(&weak).class), (weak.class, one.class));
    }

    #[test]
    fn the_largest_operators_are_counted_first() {
        assert_eq!(fewest(vec![1, 1, 1, 1], 2), 2);
        assert_eq!(fewest(vec![1, 1, 2], 2), 1);
        assert_eq!(fewest(vec![1, 3, 2], 5), 2);
        assert_eq!(fewest(vec![1], 1), 1);
    }
}
