//! How much a certificate is worth: who would have to lie together.

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use genesis::Consortium;
use serde::{Deserialize, Serialize};

/// What an auditor may build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assurance {
    /// The answer in a word.
    pub class: AssuranceClass,
    /// Operators in the genesis document.
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

/// See [`Assurance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// By the genesis document alone: validators are counted, and who runs them.
    pub fn of(consortium: &Consortium) -> Self {
        let (operators, validators) = (consortium.operators().len(), consortium.validators());
        let (members, quorum) = (validators.members.len(), validators.quorum());
        let mut run: BTreeMap<_, usize> = BTreeMap::new();
        for node in consortium.nodes() {
            *run.entry(&node.operator).or_default() += 1;
        }
        let colluders = fewest(run.into_values().collect(), 2 * quorum - members);
        let class = match (operators, colluders) {
            (1, _) => AssuranceClass::ConsortiumOfOne,
            (_, 1) => AssuranceClass::OneCanFork,
            _ => AssuranceClass::SeveralMustLie,
        };
        Self { class, operators, validators: members, quorum, faults: validators.faults_max(), colluders }
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
                "{quorum} of {validators} validators of {operators} operators sign, but one operator runs enough of them \
                 to show two histories"
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
    use crate::testing::consortium;

    #[test]
    fn a_consortium_of_one_says_so() {
        let assurance = Assurance::of(&consortium(1));
        assert_eq!((assurance.class, assurance.colluders), (AssuranceClass::ConsortiumOfOne, 1));
        assert_eq!(assurance.to_string(), "consortium-of-one: nobody but its operator has checked this");
    }

    #[test]
    fn several_operators_have_to_lie_where_each_runs_one_node() {
        for (nodes, colluders) in [(2, 2), (3, 3), (4, 2), (7, 3), (10, 4)] {
            let assurance = Assurance::of(&consortium(nodes));
            assert_eq!((assurance.class, assurance.colluders), (AssuranceClass::SeveralMustLie, colluders));
        }
    }

    #[test]
    fn the_largest_operators_are_counted_first() {
        assert_eq!(fewest(vec![1, 1, 1, 1], 2), 2);
        assert_eq!(fewest(vec![1, 1, 2], 2), 1);
        assert_eq!(fewest(vec![1, 3, 2], 5), 2);
        assert_eq!(fewest(vec![1], 1), 1);
    }
}
