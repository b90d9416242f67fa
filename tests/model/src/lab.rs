//! Every state of a node that was met, and what each move makes of it: the production voter takes each step once.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use genesis::Consortium;
use ledger::{finality::Input, planted::Bug, testing, vote::VoteKind};
use wallet::digest::Digest;

use crate::{
    HONEST, LIAR,
    blocks::{BlockId, Blocks, Recipe, Word},
    bounds::Bounds,
    local::{Fault, Local, Move, STILL, World},
    said::{Said, Spans, ballot_bit},
    search::Reach,
};

/// The honest nodes whose nullify votes a block carries beside the liar's, where views were skipped.
const SKIPPERS: [u32; 2] = [1, 2];

/// Which state of a node, by the order in which they were first met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(pub u32);

/// Which move, by the order in which they were first tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MoveId(u16);

/// What a search looks at in a state of a node.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    /// Whose.
    pub node: u32,
    /// What its key has said.
    pub said: Said,
    /// The blocks of its log.
    pub log: [Option<BlockId>; 4],
    /// The height up to which they are final.
    pub tip: u8,
    /// The term that it is in.
    pub term: u64,
    /// The term through which it gave up.
    pub gave_up: u64,
    /// The height of the highest block that it finalized: its log does not lose it.
    pub keeps: u8,
    /// The rule that it broke.
    pub fault: Option<Fault>,
}

#[derive(Debug, Default)]
struct Memory {
    locals: Vec<Local>,
    briefs: Vec<Brief>,
    by_fingerprint: HashMap<Digest, LocalId>,
    /// Each with the messages that it brings.
    moves: Vec<(Move, Arc<[Input]>)>,
    numbers: HashMap<Move, MoveId>,
    /// Of each local, by the number of a move.
    after: Vec<Vec<Option<LocalId>>>,
    steps: usize,
    /// By which move each was met first, and from where.
    origins: HashMap<LocalId, (LocalId, Move)>,
    reach: HashMap<ReachKey, Arc<Reach>>,
}

type ReachKey = (LocalId, [Said; 2]);

/// See the module.
#[derive(Debug)]
pub struct Lab {
    /// Of four nodes.
    pub consortium: Arc<Consortium>,
    /// What is tried.
    pub bounds: Bounds,
    /// What is broken on purpose.
    pub mutant: Option<Bug>,
    blocks: RwLock<Blocks>,
    spans: RwLock<Spans>,
    memory: RwLock<Memory>,
}

impl Lab {
    /// Nothing met yet.
    pub fn new(bounds: Bounds, mutant: Option<Bug>) -> Self {
        let consortium = testing::consortium(4);
        let blocks = RwLock::new(Blocks::new(consortium.clone()));
        Self { consortium, bounds, mutant, blocks, spans: RwLock::default(), memory: RwLock::default() }
    }

    /// The honest nodes at their first start.
    pub fn start(&self) -> [LocalId; 3] {
        HONEST.map(|node| self.with_world(|world| Local::new(node, world))).map(|local| self.note(local))
    }

    /// What matters of it.
    pub fn briefs(&self, ids: [LocalId; 3]) -> [Brief; 3] {
        let memory = self.memory.read().expect(LOCK);
        ids.map(|id| memory.briefs[id.0 as usize])
    }

    /// What matters of one.
    pub fn brief(&self, id: LocalId) -> Brief {
        self.memory.read().expect(LOCK).briefs[id.0 as usize]
    }

    /// The moves by which a state of a node was first met.
    pub fn history(&self, id: LocalId) -> String {
        let memory = self.memory.read().expect(LOCK);
        let steps = std::iter::successors(memory.origins.get(&id), |(from, _)| memory.origins.get(from));
        let mut steps: Vec<String> = steps.map(|(_, step)| format!("{step:?}")).collect();
        steps.reverse();
        steps.join(", ")
    }

    /// What was found before.
    pub(crate) fn known_reach(&self, key: &ReachKey) -> Option<Arc<Reach>> {
        self.memory.read().expect(LOCK).reach.get(key).cloned()
    }

    /// For the next time.
    pub(crate) fn remember_reach(&self, key: ReachKey, reach: Reach) -> Arc<Reach> {
        self.memory.write().expect(LOCK).reach.entry(key).or_insert_with(|| Arc::new(reach)).clone()
    }

    /// How many states of nodes were met, and how many steps the voter took.
    pub fn counts(&self) -> (usize, usize) {
        let memory = self.memory.read().expect(LOCK);
        (memory.locals.len(), memory.steps)
    }

    /// The number of a move.
    pub fn number(&self, step: Move) -> MoveId {
        if let Some(id) = self.memory.read().expect(LOCK).numbers.get(&step) {
            return *id;
        }
        let messages = self.with_blocks(|blocks| step.messages(blocks, &self.consortium)).into();
        let mut memory = self.memory.write().expect(LOCK);
        let id = MoveId(u16::try_from(memory.moves.len()).expect("few moves"));
        memory.moves.push((step, messages));
        memory.numbers.insert(step, id);
        id
    }

    /// What a move makes of a node. The same if nothing comes of it.
    pub fn step(&self, id: LocalId, number: MoveId) -> LocalId {
        let (at, column) = (id.0 as usize, usize::from(number.0));
        let (local, (step, messages)) = {
            let memory = self.memory.read().expect(LOCK);
            if let Some(Some(next)) = memory.after[at].get(column) {
                return *next;
            }
            (memory.locals[at].clone(), memory.moves[column].clone())
        };
        let next = self.with_world(|world| local.make(step, &messages, world)).map_or(id, |next| self.note(next));
        let mut memory = self.memory.write().expect(LOCK);
        memory.steps += 1;
        let row = &mut memory.after[at];
        if row.len() <= column {
            row.resize(column + 1, None);
        }
        row[column] = Some(next);
        if next > id {
            memory.origins.entry(next).or_insert((id, step));
        }
        next
    }

    /// The blocks that a leader could put into logs now, were the liar's every word at hand: each with its height
    /// and its parent.
    pub fn proposable(&self, briefs: &[Brief; 3]) -> Vec<(BlockId, u8, Option<BlockId>)> {
        let certified = certified(briefs);
        let recipes: Vec<Recipe> = {
            let blocks = self.blocks.read().expect(LOCK);
            let on = |parent: Option<usize>| -> Vec<Option<BlockId>> {
                match parent {
                    None => vec![None],
                    Some(shape) => {
                        let fits = |id| certified.has(ballot_bit(VoteKind::Notarize, id));
                        let of_shape = blocks.iter().filter(|(_, made)| made.recipe.shape == shape);
                        of_shape.map(|(id, _)| id).filter(|id| fits(*id)).map(Some).collect()
                    }
                }
            };
            let places = self.bounds.shapes.iter().enumerate();
            let places = places.flat_map(|(number, shape)| on(shape.parent).into_iter().map(move |at| (number, at)));
            places.filter_map(|(shape, parent)| self.recipe(shape, parent, &blocks, briefs)).collect()
        };
        recipes.into_iter().map(|recipe| self.block(recipe)).collect()
    }

    /// How a block of this shape is made, if the honest have said what it takes.
    fn recipe(&self, number: usize, parent: Option<BlockId>, blocks: &Blocks, briefs: &[Brief; 3]) -> Option<Recipe> {
        let shape = &self.bounds.shapes[number];
        let after = parent.map_or(ledger::block::View::START, |id| blocks.get(id).view());
        if shape.view.term == after.term || (shape.view.term == 1 && parent.is_none()) {
            return Some(Recipe { shape: number, parent, skipped: Vec::new(), unfounded: false });
        }
        let (from, through) = (after.next()?, shape.view.term - 1);
        let bridges = |word: &Word| word.from <= from && word.through >= through;
        let of = |node: u32| self.words(&briefs[node as usize - 1]).into_iter().find(bridges);
        let words = SKIPPERS.map(of);
        let liars = Word { node: LIAR, from, through };
        Some(Recipe { shape: number, parent, skipped: vec![liars, words[0]?, words[1]?], unfounded: false })
    }

    /// Blocks that are not in place: one of the first view of the second term with nobody's word but the liar's that the
    /// first is over, and one on a block that nobody but the liar voted for.
    pub fn forged(&self) -> Vec<(BlockId, u8, Option<BlockId>)> {
        let shapes = || self.bounds.shapes.iter().enumerate();
        let skipping = shapes().find(|(_, shape)| shape.view.term == 2 && shape.parent.is_none());
        let unfounded = shapes().find(|(_, shape)| shape.view.term == 1 && shape.parent == Some(0));
        let first = Recipe { shape: 0, parent: None, skipped: Vec::new(), unfounded: false };
        let (first, ..) = self.block(first);
        let word = Word { node: LIAR, from: ledger::block::View { term: 0, number: 1 }, through: 1 };
        let skipping = skipping.map(|(shape, _)| Recipe { shape, parent: None, skipped: vec![word], unfounded: false });
        let unfounded =
            unfounded.map(|(shape, _)| Recipe { shape, parent: Some(first), skipped: Vec::new(), unfounded: true });
        skipping.into_iter().chain(unfounded).map(|recipe| self.block(recipe)).collect()
    }

    fn block(&self, recipe: Recipe) -> (BlockId, u8, Option<BlockId>) {
        let parent = recipe.parent;
        let known = {
            let blocks = self.blocks.read().expect(LOCK);
            blocks.known(&recipe).map(|id| (id, blocks.get(id).height))
        };
        let (id, height) = known.unwrap_or_else(|| {
            let mut blocks = self.blocks.write().expect(LOCK);
            let shape = self.bounds.shapes[recipe.shape];
            let id = blocks.make(recipe, &shape);
            (id, blocks.get(id).height)
        });
        (id, height, parent)
    }

    /// The nullify votes that a node has signed.
    pub fn words(&self, brief: &Brief) -> Vec<Word> {
        let spans = self.spans.read().expect(LOCK);
        let word = |bit| {
            let (from, through) = spans.span(bit);
            Word { node: brief.node, from, through }
        };
        brief.said.nullifies().map(word).collect()
    }

    /// Gives a look at a block.
    pub fn with_blocks<T>(&self, look: impl FnOnce(&Blocks) -> T) -> T {
        look(&self.blocks.read().expect(LOCK))
    }

    /// Gives what steps need, at the time at which searches take place.
    pub fn with_world<T>(&self, run: impl FnOnce(&mut World<'_>) -> T) -> T {
        let blocks = self.blocks.read().expect(LOCK);
        let mut spans = self.spans.write().expect(LOCK);
        let (consortium, mutant) = (&self.consortium, self.mutant);
        run(&mut World { consortium, blocks: &blocks, spans: &mut spans, mutant, now: STILL })
    }

    fn note(&self, local: Local) -> LocalId {
        let fingerprint = local.fingerprint();
        let mut memory = self.memory.write().expect(LOCK);
        if let Some(id) = memory.by_fingerprint.get(&fingerprint) {
            return *id;
        }
        let id = LocalId(u32::try_from(memory.locals.len()).expect("fewer states than that"));
        let keeps = local.durable.highest_finalized().map_or(0, |(height, _)| height.get());
        let mut log = [None; 4];
        log.iter_mut().zip(&local.log).for_each(|(place, id)| *place = Some(*id));
        memory.briefs.push(Brief {
            node: local.node,
            said: local.said,
            log,
            tip: local.tip(),
            term: local.voter.term(),
            gave_up: local.voter.record().nullified_through().unwrap_or(0),
            keeps: u8::try_from(keeps).expect("few blocks"),
            fault: local.fault,
        });
        memory.by_fingerprint.insert(fingerprint, id);
        memory.locals.push(local);
        memory.after.push(Vec::new());
        id
    }
}

/// The votes that two of the honest made: with the liar's they are a quorum.
pub fn certified(briefs: &[Brief; 3]) -> Said {
    let [one, two, three] = briefs.map(|brief| brief.said);
    one.and(two).or(one.and(three)).or(two.and(three))
}

const LOCK: &str = "nobody panics with a lock";
