//! The blocks that may be proposed: real ones, made by the production proposer, each once.

use std::{collections::HashMap, sync::Arc};

use genesis::Consortium;
use ledger::{
    block::{Block, View},
    certificate::{Certificate, Nullification},
    execute::{Executed, Place, propose},
    testing::{CREATED_MS, certify_as, signer},
    vote::{Ballot, Nullify, SignedNullify, VoteKind},
};
use wallet::{
    digest::{Digest, sha256},
    units::Timestamp,
};

use crate::LIAR;

/// Which block, by the order in which they were first made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u8);

/// A place in the tree of blocks that a search may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Where it is proposed.
    pub view: View,
    /// The shape on whose blocks it stands; none for genesis.
    pub parent: Option<usize>,
    /// Tells apart two blocks of one view on one parent.
    pub variant: u64,
}

/// What a nullify vote says, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    /// Who signs.
    pub node: u32,
    /// From which view on.
    pub from: View,
    /// Up to the end of which term.
    pub through: u64,
}

impl Word {
    /// The vote, signed.
    pub fn sign(self, consortium: &Consortium) -> SignedNullify {
        let (id, epoch) = (consortium.id(), consortium.validators().epoch);
        let nullify = Nullify { consortium: id, epoch, from: self.from, through: self.through };
        SignedNullify::sign(nullify, &signer(self.node))
    }
}

/// What makes a block, and nothing else does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Its place, by its number in the bounds.
    pub shape: usize,
    /// On what it stands.
    pub parent: Option<BlockId>,
    /// The nullify votes that it carries.
    pub skipped: Vec<Word>,
    /// Nobody but the liar signed the certificate of its parent.
    pub unfounded: bool,
}

/// A block with what executing it gives.
#[derive(Clone, Debug)]
pub struct Made {
    /// From what.
    pub recipe: Recipe,
    /// The block.
    pub block: Block,
    /// What it makes.
    pub executed: Executed,
    /// Its height, which is also its place in every raft log.
    pub height: u8,
}

impl Made {
    /// What a vote for it says.
    pub fn ballot(&self, kind: VoteKind) -> Ballot {
        Ballot::for_header(kind, &self.block.header)
    }

    /// Where it was proposed.
    pub fn view(&self) -> View {
        self.block.header.view
    }

    /// A certificate by these nodes, in this order.
    pub fn certificate(&self, kind: VoteKind, signers: impl IntoIterator<Item = u32>) -> Certificate {
        certify_as(kind, &self.block, signers)
    }
}

/// All blocks made so far.
#[derive(Debug)]
pub struct Blocks {
    consortium: Arc<Consortium>,
    genesis: Executed,
    made: Vec<Made>,
    by_recipe: HashMap<Recipe, BlockId>,
    by_digest: HashMap<Digest, BlockId>,
}

impl Blocks {
    /// None yet.
    pub fn new(consortium: Arc<Consortium>) -> Self {
        let genesis = Executed::genesis(&consortium);
        Self { consortium, genesis, made: Vec::new(), by_recipe: HashMap::new(), by_digest: HashMap::new() }
    }

    /// The state before the first block.
    pub fn genesis(&self) -> &Executed {
        &self.genesis
    }

    /// The block.
    pub fn get(&self, id: BlockId) -> &Made {
        &self.made[usize::from(id.0)]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (BlockId, &Made)> {
        (0_u8..).map(BlockId).zip(&self.made)
    }

    /// Whether the first is the second, or descends from it.
    pub fn descends(&self, id: BlockId, from: BlockId) -> bool {
        std::iter::successors(Some(id), |id| self.get(*id).recipe.parent).any(|id| id == from)
    }

    /// The block of a digest.
    pub fn find(&self, digest: &Digest) -> Option<BlockId> {
        self.by_digest.get(digest).copied()
    }

    /// The block of a recipe, if it was made already.
    pub fn known(&self, recipe: &Recipe) -> Option<BlockId> {
        self.by_recipe.get(recipe).copied()
    }

    /// Makes the block of a recipe, unless that was done.
    ///
    /// The parent's certificate is always that of the liar and the honest nodes 1 and 2: a voter looks at what it
    /// certifies and not at who signed, so one stands for all. Which it may only do when some quorum exists.
    pub fn make(&mut self, recipe: Recipe, shape: &Shape) -> BlockId {
        if let Some(id) = self.known(&recipe) {
            return id;
        }
        let parent = recipe.parent.map(|id| self.get(id));
        let signers: &[u32] = if recipe.unfounded { &[LIAR] } else { &[LIAR, 1, 2] };
        let certificate = parent.map(|made| made.certificate(VoteKind::Notarize, signers.iter().copied()));
        let skipped = (!recipe.skipped.is_empty())
            .then(|| Nullification { votes: recipe.skipped.iter().map(|word| word.sign(&self.consortium)).collect() });
        let height = parent.map_or(1, |made| made.height + 1);
        let place = Place {
            parent: parent.map_or(&self.genesis, |made| &made.executed).clone(),
            certificate,
            carriers: Vec::new(),
            skipped,
            view: shape.view,
            after: after(parent),
        };
        let now = Timestamp::new(CREATED_MS + 100 * u64::from(height) + shape.variant);
        let proposal = propose(&self.consortium, place, &signer(LIAR), now, Vec::new());
        self.add(recipe, proposal.block, proposal.executed, height)
    }

    fn add(&mut self, recipe: Recipe, block: Block, executed: Executed, height: u8) -> BlockId {
        let id = BlockId(u8::try_from(self.made.len()).expect("few blocks"));
        self.by_digest.insert(executed.digest, id);
        self.by_recipe.insert(recipe.clone(), id);
        self.made.push(Made { recipe, block, executed, height });
        id
    }
}

/// Chain hash of a raft log whose last entry is this block: any function of the chain will do.
pub fn after(parent: Option<&Made>) -> Digest {
    parent.map_or(Digest::ZERO, |made| sha256("batchmind/v1/test/raft-log", &[&made.executed.digest.0]))
}
