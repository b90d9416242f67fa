//! Random operations against a plain list.

use super::{
    Open,
    case::{Case, within},
};
use crate::stream::{Accumulator, Appended, Cursor, Expect, Integrity, Next, Retention, StreamFault};

const PAGES: usize = 12;

/// Seeds for [`model`]: the first `count`, which are always the same, and one that is new each time. `BATCHMIND_SEED` says
/// which; the model prints it.
///
/// # Panics
/// If the system has no randomness.
pub fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let given = std::env::var("BATCHMIND_SEED").ok().and_then(|seed| seed.parse().ok());
    let new = given.unwrap_or_else(|| getrandom::u64().expect("the system has randomness"));
    (0..count).chain([new])
}

/// `steps` random operations against a plain list. The seed is printed: with the same one, they are the same.
pub fn model(open: &mut Open<'_>, integrity: Integrity, seed: u64, steps: usize) {
    println!("model: seed {seed}, {steps} steps, {integrity:?}");
    let mut list = List {
        case: Case::open(open, integrity, Retention::Keep, PAGES),
        salts: Vec::new(),
        trees: vec![Accumulator::new()],
        dice: Dice(seed),
        epoch: 0,
        trimmed: 0,
        durable: 0,
        closed: false,
    };
    // Some transports keep what roots need only once they were asked.
    for end in [list.case.reader(), list.case.writer()] {
        end.root(0).expect("the root of nothing");
    }
    for step in 0..steps {
        list.step(step + 1 == steps);
        list.stands();
    }
    (0..list.case.tail()).for_each(|position| list.look(position));
}

struct List {
    case: Case,
    salts: Vec<u8>,
    trees: Vec<Accumulator>,
    dice: Dice,
    epoch: u32,
    /// Pages below are not needed any more.
    trimmed: u64,
    durable: u64,
    closed: bool,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    /// Below `end`.
    const fn roll(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ word >> 31) % end
    }
}

impl List {
    fn step(&mut self, last: bool) {
        let tail = self.case.tail();
        match self.dice.roll(14) {
            _ if last => self.close(),
            0..=3 => self.append(),
            4 => self.again(),
            5 => self.other(),
            6 if self.epoch > 0 => self.stale(),
            7 if self.dice.roll(4) == 0 => {
                let epoch = self.dice.roll(u64::from(self.epoch) + 3) as u32;
                self.case.writer().fence(epoch).expect("the transport works");
                self.epoch = self.epoch.max(epoch);
            }
            8 => {
                let before = self.dice.roll(tail + 2);
                self.trim(before);
            }
            9 => {
                let synced = self.case.writer().sync().expect("the transport works");
                assert!((self.durable..=tail).contains(&synced));
            }
            10 => self.prove(),
            11 if self.dice.roll(100) == 0 => self.close(),
            _ => {
                let position = self.dice.roll(tail + 2);
                self.look(position);
            }
        }
    }

    fn append(&mut self) {
        let (position, salt) = (self.case.tail(), self.dice.roll(3) as u8);
        let at = if self.dice.roll(2) == 0 { Expect::Any } else { Expect::At(position) };
        loop {
            match self.case.put(self.epoch, at, position, salt) {
                Appended::Closed if self.closed => return,
                Appended::Ok(there) => {
                    assert!(there == position && !self.closed, "page {position} was put at {there}");
                    self.case.note(salt);
                    self.salts.push(salt);
                    let mut tree = self.trees[position as usize].clone();
                    tree.push(&self.case.heads[position as usize]);
                    self.trees.push(tree);
                    return;
                }
                Appended::Full(wake) => {
                    assert!(self.case.opened.bounded, "it is full, and should have no bound");
                    let kept = position - self.trimmed;
                    if kept >= PAGES as u64 {
                        let before = self.trimmed + 1 + self.dice.roll(kept);
                        self.trim(before);
                    }
                    within(self.case.writer().wait(wake));
                }
                other => panic!("page {position}: {other:?}"),
            }
        }
    }

    /// What is there.
    fn again(&mut self) {
        let Some(position) = self.any() else { return };
        let earliest = self.case.writer().state().earliest;
        match self.case.put(self.epoch, Expect::At(position), position, self.salts[position as usize]) {
            Appended::Same(there) => assert_eq!(there, position),
            Appended::Conflict { tail } => {
                assert!(position < earliest.max(self.trimmed), "page {position} is there, and the same");
                assert_eq!(tail, self.case.tail());
            }
            other => panic!("page {position} again: {other:?}"),
        }
    }

    /// Another page than what is there, or a page where there is none before.
    fn other(&mut self) {
        let tail = self.case.tail();
        let (position, salt) = match self.any() {
            Some(position) => (position, self.salts[position as usize] + 1),
            None => (tail + 1 + self.dice.roll(3), 0),
        };
        match self.case.put(self.epoch, Expect::At(position), position, salt) {
            Appended::Conflict { tail: there } => assert_eq!(there, tail),
            Appended::Closed if self.closed && position > tail => {}
            other => panic!("another page {position}: {other:?}"),
        }
    }

    fn stale(&mut self) {
        let epoch = self.dice.roll(u64::from(self.epoch)) as u32;
        let fenced = Appended::Fenced { epoch: self.epoch };
        let position = self.any().unwrap_or(0);
        assert_eq!(self.case.put(epoch, Expect::Any, self.case.tail(), 0), fenced);
        assert_eq!(self.case.put(epoch, Expect::At(position), position, 0), fenced);
        assert_eq!(self.case.writer().close(epoch).expect("the transport works"), fenced);
    }

    fn close(&mut self) {
        let tail = self.case.tail();
        let closed = self.case.writer().close(self.epoch).expect("the transport works");
        assert_eq!(closed, if self.closed { Appended::Same(tail) } else { Appended::Ok(tail) });
        self.closed = true;
    }

    fn trim(&mut self, before: u64) {
        // A reader trims what it knows of: the last of these pages has arrived before.
        if let Some(last) = before.min(self.case.tail()).checked_sub(1) {
            drop(self.case.see(last));
        }
        self.case.reader().trim(before).expect("the transport works");
        self.trimmed = self.trimmed.max(before.min(self.case.tail()));
    }

    fn look(&self, position: u64) {
        let tail = self.case.tail();
        if position >= tail {
            match self.case.reader().next(Cursor(position)).expect("the transport works") {
                Next::Blocked(_) => {}
                Next::End => assert!(self.closed),
                other => panic!("there are {tail} pages, yet {other:?} at {position}"),
            }
            if self.closed {
                assert!(matches!(self.case.see(tail), Next::End));
            }
            return;
        }
        match self.case.see(position) {
            Next::Item(page, after) => {
                assert_eq!(after, Cursor(position + 1));
                self.case.check(position, &page);
            }
            Next::Gap { earliest } => assert!(position < earliest && earliest <= self.trimmed),
            other => panic!("a page is at {position}, yet {other:?}"),
        }
    }

    fn prove(&mut self) {
        let mut ends = [0, 1].map(|_| self.dice.roll(self.case.tail() + 1));
        ends.sort_unstable();
        let [from, to] = ends;
        if to > self.trimmed.max(from) {
            drop(self.case.see(to - 1));
        }
        let root = |at: u64| self.trees[at as usize].root();
        for end in [self.case.reader(), self.case.writer()] {
            let earliest = end.state().earliest;
            match end.prove(from, to) {
                Ok(proof) => {
                    let roots = proof.verify(&self.case.heads[from as usize..to as usize]).expect("it fits");
                    assert_eq!((roots.from, roots.to), (root(from), root(to)));
                    match end.root(to) {
                        Ok(found) => assert_eq!(found, root(to)),
                        // What a reader trimmed may go at the writer between the two answers.
                        Err(StreamFault::NotKept { .. }) => assert!(to < self.trimmed, "page {to} was needed"),
                        Err(fault) => panic!("{fault}"),
                    }
                }
                Err(StreamFault::NotKept { .. }) => {
                    let is_hashed = self.case.descriptor.integrity != Integrity::None;
                    assert!(from < earliest.max(self.trimmed) || !is_hashed && self.trimmed > 0);
                }
                // What was trimmed before it was read may not have arrived.
                Err(StreamFault::BeyondTail { .. }) => assert!(end.state().tail < to || from <= self.trimmed),
                Err(fault) => panic!("{fault}"),
            }
        }
    }

    /// A page that was written.
    fn any(&mut self) -> Option<u64> {
        let tail = self.case.tail();
        (tail > 0).then(|| self.dice.roll(tail))
    }

    fn stands(&mut self) {
        let state = self.case.writer().state();
        assert_eq!((state.tail, state.epoch, state.closed), (self.case.tail(), self.epoch, self.closed));
        assert!(state.earliest <= self.trimmed, "what nobody trimmed is gone");
        assert!((self.durable..=state.tail).contains(&state.durable));
        self.durable = state.durable;
        let seen = self.case.reader().state();
        assert!(seen.tail <= state.tail && seen.durable <= seen.tail && seen.earliest <= self.trimmed);
    }
}
