//! What evidence shows of the state is enough, no more than that, and never taken for another state.

use std::{collections::BTreeSet, sync::Arc};

use genesis::{Consortium, Parameters};
use proptest::prelude::*;
use wallet::{
    codec,
    digest::{Digest, sha256},
    units::NodeId,
};

use super::{BrokenPromise, EVIDENCE_BYTES_MAX, Evidence, EvidenceFile, EvidenceInvalid, Execution};
use crate::{
    block::{Block, Header},
    event::{AbortReason, Entry, Event},
    execute::{Executed, Place, Proposal, execute, propose},
    governance::{Action, Member},
    state::{State, StateKey},
    testing::{
        Chain, Session, certify, consortium, consortium_with, every_record,
        evidence::{anchor, broken_promise, on_tip},
        operator_key, signer,
    },
    tree::partial::{EndNode, NotShown, PartialTree},
};

/// What `look` gives on `parent`, and what it gives over what it reads and writes there.
fn on_both<T>(
    consortium: &Consortium,
    header: Option<&Header>,
    parent: &Executed,
    block: &Block,
    look: impl Fn(&Executed) -> T,
) -> [T; 2] {
    let [mut on_whole, mut on_part] = [None, None];
    let keep = |kept: &mut Option<T>, parent: &Executed| {
        *kept = Some(look(parent));
        Ok(())
    };
    let execution = Execution::noted(header, parent, block, |parent| keep(&mut on_whole, parent)).expect("few records");
    execution.judged(consortium, |parent| keep(&mut on_part, parent)).expect("all is shown, and no more");
    [on_whole, on_part].map(|kept| kept.expect("it was looked at"))
}

#[test]
fn every_block_executes_over_what_it_reads_and_writes_as_over_the_whole_state() {
    let (chain, _) = every_record();
    let (mut parent, mut header) = (Executed::genesis(&chain.consortium), None);
    for (block, _) in &chain.blocks {
        let look = |parent: &Executed| execute(&chain.consortium, parent, block);
        let [on_whole, on_part] = on_both(&chain.consortium, header, &parent, block, look);
        assert_eq!(on_whole, on_part, "block {}", block.header.height);
        (parent, header) = (on_whole.expect("valid"), Some(&block.header));
    }
    assert_eq!(parent.state, chain.tip.state);
    assert!(!chain.hand_overs.is_empty(), "one of them closed its epoch");
}

/// An entry that may apply or not, by two numbers.
fn candidate(chain: &Chain, (kind, number): (u8, u8)) -> Entry {
    let holder = u32::from(number % 2);
    let session = Session::in_eu(&chain.consortium, holder);
    let wallet = chain.tip.state.wallet(session.address);
    let operator = u32::from(number % 4);
    let proposal = |actions| {
        let made = chain.terms(operator, actions).sign(&operator_key(operator));
        chain.governing(Event::ProposalMade(Box::new(made)))
    };
    let replayed = || chain.entries().nth(usize::from(number)).map(|(_, entry)| entry.clone());
    match (kind % 12, wallet) {
        (0, _) => session.anchored(holder, u64::from(number), Digest([number; 32])),
        (1, _) => session.resumed(holder, number),
        (2, _) => proposal(vec![Action::Suspend(Member::Node(NodeId::new(3)))]),
        (3, _) => proposal(vec![chain.joining_operator(5)]),
        (4, _) => replayed().unwrap_or_else(|| session.created()),
        (_, None) => session.created(),
        (5, Some(wallet)) => session.touched(&wallet, number),
        (6, Some(wallet)) => session.baseline(&wallet, 50_000, 20),
        (7, Some(wallet)) => session.offered(&wallet, session.offer(&wallet, 1 - holder, 100)),
        (8, Some(wallet)) => session.accepted(&wallet, 1 - holder),
        (9, Some(wallet)) if wallet.offer().is_some() => session.confirmed(&wallet, session.ticket(&wallet)),
        (10, Some(wallet)) => session.aborted(&wallet, wallet.holder.get(), AbortReason::Source),
        (11, Some(wallet)) if number > 200 => session.closed(&wallet),
        _ => session.created(),
    }
}

/// The block that a leader makes of `candidates` on `parent`, which stands where the tip of `chain` does.
fn proposed(chain: &Chain, made: &Block, parent: &Executed, candidates: &[Entry]) -> Proposal {
    let leader = chain.signer(made.header.leader).expect("the key of a validator");
    let place = Place { parent: parent.clone(), ..chain.place(made.header.view) };
    propose(&chain.consortium, place, &leader, made.header.time, candidates.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_block_is_made_of_gives_the_same_entries_refusals_and_roots(
        blocks in prop::collection::vec(prop::collection::vec((any::<u8>(), any::<u8>()), 1..12), 1..6),
    ) {
        let parameters = Parameters { proposal_lock_ms: 0, ..Parameters::default() };
        let mut chain = Chain::new(consortium_with(4, parameters));
        for numbers in blocks {
            let candidates: Vec<Entry> = numbers.into_iter().map(|numbers| candidate(&chain, numbers)).collect();
            let made = chain.propose(candidates.clone()).block;
            let header = chain.blocks.last().map(|(block, _)| block.header.clone());
            let look = |parent: &Executed| proposed(&chain, &made, parent, &candidates);
            let [on_whole, on_part] = on_both(&chain.consortium, header.as_ref(), &chain.tip, &made, look);
            prop_assert_eq!(&on_whole.block, &on_part.block);
            prop_assert_eq!(on_whole.refused, on_part.refused);
            prop_assert_eq!(&on_whole.executed, &on_part.executed);
            // A block that holds blames nobody, and the same one with another root does.
            let blame = |block: &Block| {
                Evidence::InvalidBlock(Box::new(on_tip(&chain, block))).verify(&chain.consortium).map(|found| found.len())
            };
            prop_assert_eq!(blame(&made), Err(EvidenceInvalid::BlockHolds));
            let mut wrong = made.clone();
            wrong.header.state_root.0[7] ^= 1;
            wrong.proposal = wrong.header.sign(&signer(wrong.header.leader.get()).key);
            prop_assert_eq!(blame(&wrong), Ok(1));
            for entry in on_whole.block.entries {
                // What closes an epoch, or came twice, is left to the other test.
                let _ = chain.push(entry);
                if chain.tip.is_closing() {
                    return Ok(());
                }
            }
        }
    }
}

/// Evidence that shows another part of the state than it should, in every way that one end of a path can be wrong.
fn forged(shown: &PartialTree) -> Vec<(&'static str, PartialTree)> {
    let mut found = Vec::new();
    let records: Vec<Vec<u8>> = shown.ends.iter().filter_map(|end| value(&end.node)).collect();
    for (at, end) in shown.ends.iter().enumerate() {
        let mut with = |what, change: &dyn Fn(&mut PartialTree)| {
            let mut forged = shown.clone();
            change(&mut forged);
            found.push((what, forged));
        };
        with("an end left out", &|forged| drop(forged.ends.remove(at)));
        with("an end twice", &|forged| forged.ends.insert(at, end.clone()));
        with("an end one deeper", &|forged| forged.ends[at].depth += 1);
        with("an end higher up", &|forged| forged.ends[at].depth = end.depth.wrapping_sub(1));
        with("said to be absent", &|forged| forged.ends[at].node = EndNode::Subtree(Digest::ZERO));
        with("another hash", &|forged| forged.ends[at].node = EndNode::Subtree(Digest([3; 32])));
        if at > 0 {
            with("two ends swapped", &|forged| forged.ends.swap(at - 1, at));
        }
        if let EndNode::Record(key, value) = &end.node {
            let hash = Digest(<sha2::Sha256 as sha2::Digest>::digest(value).into());
            let leaf = leaf_alone(key, value);
            with("a key hidden", &|forged| forged.ends[at].node = EndNode::Subtree(leaf));
            with("a value left out", &|forged| forged.ends[at].node = EndNode::Other(*key, hash));
            let other = records.iter().find(|other| *other != value).expect("more than one record");
            with("another record", &|forged| forged.ends[at].node = EndNode::Record(*key, other.clone()));
            with("no record", &|forged| forged.ends[at].node = EndNode::Record(*key, vec![0xff; 3]));
            with("under another key", &|forged| {
                let mut beside = *key;
                beside.0[31] ^= 1;
                forged.ends[at].node = EndNode::Record(beside, value.clone());
            });
        }
    }
    found
}

fn value(node: &EndNode) -> Option<Vec<u8>> {
    match node {
        EndNode::Record(_, value) => Some(value.clone()),
        _ => None,
    }
}

/// The hash of a leaf: the root of a tree that holds nothing else.
fn leaf_alone(key: &Digest, value: &[u8]) -> Digest {
    State::from_leaves([(*key, value.to_vec())]).root()
}

/// What is shown of the state where the tip of `chain` stands, of `keys` and of what `execution` shows.
fn with_more(chain: &Chain, execution: &Execution, keys: impl IntoIterator<Item = Digest>) -> Execution {
    let tree = execution.state.tree().expect("a part of a tree");
    let keys = tree.iter().map(|(key, _)| *key).chain(keys).collect();
    Execution { state: chain.tip.state.tree().partial(&keys).expect("it is whole"), ..execution.clone() }
}

/// A chain with some records, an honest block on it, and the same with a root that is wrong.
fn honest_and_liar() -> (Chain, Execution, Execution) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    chain.push(anchor(&consortium, 1)).expect("valid");
    let honest = chain.propose(vec![session.touched(&session.record(&chain), 1), anchor(&consortium, 2)]).block;
    let mut wrong = honest.clone();
    wrong.header.state_root = Digest([5; 32]);
    wrong.proposal = wrong.header.sign(&signer(0).key);
    let [honest, wrong] = [honest, wrong].map(|block| on_tip(&chain, &block));
    (chain, honest, wrong)
}

fn blamed(consortium: &Consortium, execution: &Execution) -> Result<usize, EvidenceInvalid> {
    Evidence::InvalidBlock(Box::new(execution.clone())).verify(consortium).map(|culprits| culprits.len())
}

#[test]
fn no_other_part_of_the_state_blames_anybody() {
    let (chain, honest, wrong) = honest_and_liar();
    assert_eq!(blamed(&chain.consortium, &honest), Err(EvidenceInvalid::BlockHolds));
    assert_eq!(blamed(&chain.consortium, &wrong), Ok(1));
    let vectors = forged(&wrong.state);
    assert!(vectors.len() > 100, "{}", vectors.len());
    for (what, state) in vectors {
        for execution in [&honest, &wrong] {
            let verdict = blamed(&chain.consortium, &Execution { state: state.clone(), ..execution.clone() });
            let is_refused = matches!(verdict, Err(EvidenceInvalid::NotBound(_) | EvidenceInvalid::NotShown(_)));
            // An empty place is what it is said to be.
            assert!(is_refused || state == execution.state, "{what}: {verdict:?}");
            if matches!(what, "a key hidden" | "a value left out") {
                assert!(matches!(verdict, Err(EvidenceInvalid::NotShown(_))), "{what}: {verdict:?}");
                assert_eq!(verdict.map_err(|invalid| invalid.code()), Err("L-296"));
            }
        }
    }
}

#[test]
fn a_broken_promise_is_shown_with_what_its_walk_reads_and_in_no_other_way() {
    let consortium = consortium(4);
    let broken = broken_promise(&consortium);
    let blame = |execution: Execution| {
        Evidence::BrokenPromise(Box::new(BrokenPromise { execution, ..broken.clone() })).verify(&consortium)
    };
    assert!(blame(broken.execution.clone()).is_ok());
    for (what, state) in forged(&broken.execution.state) {
        let is_the_same = state == broken.execution.state;
        let verdict = blame(Execution { state, ..broken.execution.clone() });
        assert!(verdict.is_err() || is_the_same, "{what}: {verdict:?}");
    }
    // What shows that the block does not execute says less than the walk reads.
    let parent = broken.execution.parent.as_ref();
    let mut chain = Chain::new(consortium.clone());
    chain.push(Session::in_eu(&consortium, 0).created()).expect("valid");
    let of_block = Execution::of(&consortium, parent, &chain.tip, &broken.execution.block).expect("few records");
    assert!(matches!(blame(of_block), Err(EvidenceInvalid::NotShown(_))));
}

#[test]
fn a_record_that_the_execution_does_not_look_at_is_refused() {
    let (chain, honest, wrong) = honest_and_liar();
    assert_eq!(with_more(&chain, &wrong, []).state.tree().map(|tree| tree.root()), Some(chain.tip.state.root()));
    let shown: BTreeSet<Digest> = wrong.state.ends.iter().filter_map(|end| key(&end.node)).collect();
    let others: Vec<Digest> =
        chain.tip.state.tree().iter().map(|(key, _)| *key).filter(|key| !shown.contains(key)).collect();
    assert!(!others.is_empty());
    for execution in [honest, wrong] {
        for key in &others {
            let verdict = blamed(&chain.consortium, &with_more(&chain, &execution, [*key]));
            assert!(verdict.is_err_and(|invalid| !matches!(invalid, EvidenceInvalid::BlockHolds)), "{key}");
        }
    }
}

fn key(node: &EndNode) -> Option<Digest> {
    match node {
        EndNode::Record(key, _) => Some(*key),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However little somebody shows, an honest block does not fail by it.
    #[test]
    fn an_honest_block_over_any_part_of_the_state_blames_nobody(
        shown in prop::collection::vec(any::<bool>(), 64),
        absent in prop::collection::vec(any::<[u8; 32]>(), 0..2),
    ) {
        let (chain, honest, _) = honest_and_liar();
        let (tree, looked_at) = (chain.tip.state.tree(), honest.state.tree().expect("a part of a tree"));
        let some = looked_at.iter().zip(shown.iter().cycle()).filter(|(_, shown)| **shown).map(|((key, _), _)| *key);
        let keys = some.chain(absent.into_iter().map(Digest)).collect();
        let state = tree.partial(&keys).expect("it is whole");
        let is_the_same = state == honest.state;
        let verdict = blamed(&chain.consortium, &Execution { state, ..honest });
        let fits = match verdict {
            Err(EvidenceInvalid::NotShown(NotShown(_)) | EvidenceInvalid::NotBound(_)) => true,
            Err(EvidenceInvalid::BlockHolds) => is_the_same,
            _ => false,
        };
        prop_assert!(fits, "{:?}", verdict);
    }
}

/// The tip of a chain in whose state there are `entries` more records, as of final entries, and a block on it that does not
/// execute.
fn among(entries: u64) -> (Arc<Consortium>, Executed, Header, Block) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let (_, created) = chain.entries().next().expect("one entry");
    let record = codec::encode(&chain.tip.state.record(StateKey::Entry(created.id())).expect("it is final"));
    let leaf = |number: u64| (sha256("test", &[&number.to_le_bytes()]), record.clone());
    let own = chain.tip.state.tree().iter().map(|(key, value)| (*key, value.to_vec()));
    chain.tip.state = State::from_leaves(own.chain((0..entries).map(leaf)).collect::<Vec<_>>());
    let (parent, certificate) = chain.blocks.last_mut().expect("a block");
    parent.header.state_root = chain.tip.state.root();
    *certificate = certify(parent, [1, 2, 3]);
    (chain.tip.digest, chain.tip.name) = (parent.header.digest(), parent.header.name());
    let header = parent.header.clone();
    let mut block = chain.propose(vec![session.touched(&session.record(&chain), 1)]).block;
    block.header.state_root = Digest([5; 32]);
    block.proposal = block.header.sign(&signer(0).key);
    (consortium, chain.tip, header, block)
}

#[test]
fn evidence_grows_with_what_a_block_looks_at_and_not_with_the_ledger() {
    let size = |entries| {
        let (consortium, parent, header, block) = among(entries);
        let execution = Execution::of(&consortium, Some(&header), &parent, &block).expect("few records");
        assert_eq!(blamed(&consortium, &execution), Ok(1));
        EvidenceFile::new(&consortium, Vec::new(), Evidence::InvalidBlock(Box::new(execution))).size()
    };
    let [few, many] = [1 << 6, 1 << 14].map(size);
    // Eight levels more for each of some ten keys, at 38 bytes.
    assert!(many - few < 16 * 10 * 38, "{few}, {many}");
    assert!(many * 500 < EVIDENCE_BYTES_MAX);
}
