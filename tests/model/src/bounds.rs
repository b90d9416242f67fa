//! What a search tries: everything within these bounds.

use ledger::block::View;

use crate::blocks::Shape;

/// See the module.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The tree of blocks, parents first.
    pub shapes: Vec<Shape>,
}

impl Bounds {
    /// All that are searched, with their names.
    pub fn all() -> Vec<(&'static str, Self)> {
        vec![("one-term", Self::one_term()), ("conflict", Self::conflict()), ("chain", Self::chain())]
    }

    /// Two conflicting blocks in the first view, one of the next term on genesis.
    pub fn one_term() -> Self {
        Self::of(vec![shape(1, 1, None, 0), shape(1, 1, None, 1), shape(2, 1, None, 0)])
    }

    /// Two conflicting blocks in the first view, and blocks of the next term on genesis and on one of them.
    pub fn conflict() -> Self {
        Self::of(vec![shape(1, 1, None, 0), shape(1, 1, None, 1), shape(2, 1, None, 0), shape(2, 1, Some(0), 0)])
    }

    /// Two blocks in a row in the first term, and blocks of the next term on genesis and on each of them.
    pub fn chain() -> Self {
        Self::of(vec![
            shape(1, 1, None, 0),
            shape(1, 2, Some(0), 0),
            shape(2, 1, None, 0),
            shape(2, 1, Some(0), 0),
            shape(2, 1, Some(1), 0),
        ])
    }

    fn of(shapes: Vec<Shape>) -> Self {
        Self { shapes }
    }
}

fn shape(term: u64, number: u64, parent: Option<usize>, variant: u64) -> Shape {
    Shape { view: View { term, number }, parent, variant }
}
