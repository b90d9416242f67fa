use std::{collections::BTreeSet, sync::LazyLock};

use ledger::{
    event::{BatchEvicted, Entry, Event},
    testing::{Chain, Session, consortium},
};

use super::*;

const SOURCE: NodeId = NodeId::new(1);
const LIAR: NodeId = NodeId::new(2);

/// A block with one offer, of which the others are made.
static OFFER: LazyLock<Block> = LazyLock::new(|| {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let wallet = session.record(&chain);
    chain.push(session.offered(&wallet, session.offer(&wallet, 1, 100))).expect("valid");
    chain.blocks.last().expect("blocks").0.clone()
});

/// The block of a height, in which each of these names one decision.
fn block(height: u64, authors: &[NodeId]) -> Block {
    let mut block = OFFER.clone();
    block.header.height = BlockHeight::new(height);
    let entry = block.entries.remove(0);
    block.entries = authors.iter().map(|author| naming(&entry, *author, height)).collect();
    block
}

fn naming(entry: &Entry, author: NodeId, height: u64) -> Entry {
    entry.changed(|entry| {
        entry.body.author = author;
        let Event::MigrationOffered(offer) = &mut entry.body.event else { panic!("it is an offer") };
        offer.decision = decision(height);
    })
}

fn decision(height: u64) -> Digest {
    wallet::digest::sha256("test", &[&height.to_le_bytes()])
}

fn decisions(heights: impl IntoIterator<Item = u64>) -> BTreeSet<Digest> {
    heights.into_iter().map(decision).collect()
}

/// A collector without its network: the past is there at once, and whoever is asked answers as it is told to.
struct Scene {
    missing: Missing,
    blocks: Vec<Block>,
    now: Instant,
    time: Timestamp,
    found: BTreeSet<Digest>,
}

impl Scene {
    /// One that reads all of so many blocks before anybody answers.
    fn new(count: u64, authors: &[NodeId]) -> Self {
        let blocks: Vec<Block> = (1..=count).map(|height| block(height, authors)).collect();
        let (now, time) = (Instant::now(), OFFER.header.time);
        let mut missing = Missing::after(BlockHeight::ZERO);
        blocks.iter().for_each(|block| missing.read(block, now));
        Self { missing, blocks, now, time, found: BTreeSet::new() }
    }

    /// All that can be asked for is asked for once, and read again where there is room.
    fn round(&mut self, answers: impl Fn(&Wanted) -> bool) {
        while let Some(Unread { by, from, to }) = self.missing.unread() {
            let blocks = &self.blocks[from.get() as usize - 1..to.get() as usize];
            for block in blocks {
                if !self.missing.read_again(by, block, self.now) {
                    break;
                }
            }
        }
        assert!(self.missing.of.values().all(|of| of.wanted().count() <= WANTED_MAX), "few are waited for");
        self.now += AGAIN_AFTER_MAX;
        for _ in 0..WANTED_MAX {
            for wanted in self.missing.ask(self.now) {
                if answers(&wanted) {
                    self.missing.found(wanted.by);
                    self.found.insert(wanted.decision);
                } else {
                    let given_up = self.missing.not_found(wanted.by, true, self.time, self.now);
                    assert_eq!(given_up, None, "not within a day");
                }
                self.nothing_missing_is_counted();
            }
        }
    }

    /// The one thing that is missing is asked for, and does not come. What is given up then.
    fn is_asked_for(&mut self, is_denied: bool) -> Option<Digest> {
        self.now += AGAIN_AFTER_MAX;
        let asked = self.missing.ask(self.now);
        assert_eq!(asked.len(), 1, "it is asked for still");
        let given_up = self.missing.not_found(asked[0].by, is_denied, self.time, self.now);
        given_up.map(|given_up| given_up.decision)
    }

    /// Every decision at or below that height came, or was given up.
    fn nothing_missing_is_counted(&self) {
        let complete_to = self.missing.complete_to().get();
        assert!(decisions(1..=complete_to).is_subset(&self.found), "{complete_to}");
    }
}

#[test]
fn no_offer_of_the_past_is_forgotten_however_many_there_are() {
    let mut scene = Scene::new(700, &[SOURCE]);
    assert_eq!(scene.missing.complete_to(), BlockHeight::ZERO);
    for _ in 0..8 {
        scene.round(|_| true);
    }
    assert_eq!(scene.found, decisions(1..=700));
    assert_eq!(scene.missing.complete_to(), BlockHeight::new(700));
    assert_eq!((scene.missing.due(), scene.missing.unread()), (None, None));
}

#[test]
fn what_there_is_no_room_for_is_not_counted_as_done() {
    let mut scene = Scene::new(WANTED_MAX as u64 + 40, &[SOURCE]);
    // All that is waited for comes, and the rest was not read again yet.
    for _ in 0..WANTED_MAX {
        scene.now += AGAIN_AFTER_MAX;
        for wanted in scene.missing.ask(scene.now) {
            scene.missing.found(wanted.by);
        }
    }
    assert_eq!(scene.missing.complete_to().get(), WANTED_MAX as u64);
    let next = WANTED_MAX as u64 + 41;
    scene.missing.read(&block(next, &[SOURCE]), scene.now);
    assert_eq!(scene.missing.complete_to().get(), WANTED_MAX as u64, "nor what follows it");
    let from = BlockHeight::new(WANTED_MAX as u64 + 1);
    assert_eq!(scene.missing.unread(), Some(Unread { by: SOURCE, from, to: BlockHeight::new(next) }));
}

#[test]
fn who_names_what_nobody_hands_out_holds_up_nobody_else() {
    let mut scene = Scene::new(600, &[LIAR, SOURCE]);
    for _ in 0..8 {
        scene.round(|wanted| wanted.by == SOURCE);
    }
    assert_eq!(scene.found, decisions(1..=600));
    assert_eq!(scene.missing.complete_to(), BlockHeight::ZERO, "it is asked for another day");
    assert_eq!(scene.missing.waited_for(), [(LIAR, WANTED_MAX as u64), (SOURCE, 0)].into());
}

#[test]
fn what_nobody_hands_out_is_given_up_after_a_day_and_so_many_answers() {
    let mut scene = Scene::new(1, &[LIAR]);
    for _ in 0..2 * DENIALS_MIN {
        scene.round(|_| false);
    }
    assert!(scene.missing.due().is_some(), "not within the day, however often");
    scene.time = Timestamp::new(scene.time.get() + ASKED_FOR_MS + 1);
    assert_eq!(scene.is_asked_for(true), Some(decision(1)), "it is said");
    assert_eq!((scene.missing.due(), scene.missing.complete_to().get()), (None, 1));
    // Who reads the past has to ask more than once: when it starts, nobody is connected to it.
    let mut scene = Scene::new(1, &[SOURCE]);
    scene.time = Timestamp::new(scene.time.get() + ASKED_FOR_MS + 1);
    for denials in 1..DENIALS_MIN {
        assert_eq!(scene.is_asked_for(true), None);
        assert_eq!(scene.missing.complete_to(), BlockHeight::ZERO, "{denials}");
    }
    assert_eq!(scene.is_asked_for(true), Some(decision(1)));
    assert_eq!(scene.missing.complete_to().get(), 1);
}

/// A node without connections, or with few of them, asks for nothing the less when it has them again.
#[test]
fn what_too_few_answered_is_never_given_up() {
    let mut scene = Scene::new(1, &[SOURCE]);
    scene.time = Timestamp::new(scene.time.get() + 30 * ASKED_FOR_MS);
    for _ in 0..1_000 {
        assert_eq!(scene.is_asked_for(false), None);
    }
    assert_eq!(scene.missing.complete_to(), BlockHeight::ZERO);
    for denials in 1..=DENIALS_MIN {
        assert_eq!(scene.missing.complete_to(), BlockHeight::ZERO, "a try alone says nothing");
        assert_eq!(scene.is_asked_for(true).is_some(), denials == DENIALS_MIN);
    }
    assert_eq!((scene.missing.due(), scene.missing.complete_to().get()), (None, 1));
}

/// Who had it may have been down then, such as a node that was being replaced.
#[test]
fn what_was_given_up_is_asked_for_once_more_after_a_start_and_holds_nothing() {
    let mut scene = Scene::new(0, &[]);
    scene.missing = Missing::after(BlockHeight::new(7));
    let given_up: Vec<_> = (0..2 * WANTED_MAX as u64).map(|at| (decision(at), WalletAddress(Digest::ZERO))).collect();
    scene.missing.ask_again(SOURCE, &given_up, scene.now);
    let nothing_is_held =
        |scene: &Scene| (scene.missing.complete_to().get(), scene.missing.waited_for()) == (7, [(SOURCE, 0)].into());
    assert_eq!(scene.missing.ask(scene.now), [], "the others are not connected yet");
    for _ in 0..3 {
        assert!(nothing_is_held(&scene));
        assert_eq!(scene.is_asked_for(false), None, "too few answered");
    }
    for asked in 1..=WANTED_MAX {
        assert!(scene.is_asked_for(true).is_some(), "{asked}");
        assert!(nothing_is_held(&scene));
    }
    assert_eq!(scene.missing.due(), None, "each once");
    // What is named now comes first.
    scene.missing.ask_again(SOURCE, &given_up[..1], scene.now);
    scene.missing.read(&block(8, &[SOURCE]), scene.now);
    scene.now += AGAIN_AFTER_MAX;
    let asked = scene.missing.ask(scene.now);
    assert_eq!((asked[0].decision, scene.missing.complete_to().get()), (decision(8), 7));
}

#[test]
fn who_has_much_to_be_read_again_takes_turns_with_the_others() {
    let [first, second] = [SOURCE, LIAR];
    let mut scene = Scene::new(2 * WANTED_MAX as u64, &[first, second]);
    for _ in 0..WANTED_MAX {
        scene.now += AGAIN_AFTER_MAX;
        scene.missing.ask(scene.now).iter().for_each(|wanted| scene.missing.found(wanted.by));
    }
    let turns: Vec<NodeId> = (0..4)
        .map(|_| {
            let Unread { by, from, .. } = scene.missing.unread().expect("there is room for both");
            scene.missing.read_again(by, &scene.blocks[from.get() as usize - 1], scene.now);
            by
        })
        .collect();
    assert_eq!(turns, [first, second, first, second]);
}

#[test]
fn what_an_eviction_names_is_asked_for_like_what_an_offer_names() {
    let offer = block(1, &[SOURCE]);
    let mut evicting = offer.clone();
    let entry = evicting.entries.remove(0);
    let Event::MigrationOffered(offered) = &entry.body.event else { panic!("it is an offer") };
    let event =
        BatchEvicted { wallet: offered.wallet, head: offered.head, epoch: offered.epoch, decision: decision(1) };
    evicting.entries.push(entry.changed(|entry| entry.body.event = Event::BatchEvicted(event)));
    let now = Instant::now();
    let [of_offer, of_eviction] = [offer, evicting].map(|block| {
        let mut missing = Missing::after(BlockHeight::ZERO);
        missing.read(&block, now);
        missing.ask(now + AGAIN_AFTER_MIN)
    });
    assert_eq!((of_offer.len(), of_eviction), (1, of_offer));
}
