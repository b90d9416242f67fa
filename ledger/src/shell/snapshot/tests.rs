mod forks;

use std::{collections::BTreeMap, sync::Arc};

use genesis::Consortium;
use wallet::{digest::Digest, units::NodeId};

use super::*;
use crate::{
    block::{FinalBlock, Header},
    execute::{Executed, Place, execute, propose},
    finality::Final,
    governance::{Action, Member},
    hand_over::{ClosingProof, ValidatorSets},
    shell::{
        join::{JoinFault, Joining},
        memory::MemoryDisk,
        restore::place_of,
    },
    snapshot::{Checked, ChunkInvalid, Extent, OfferInvalid, Piece, Plan, Verified, Wanted},
    testing::{Chain, Session, certify, certify_as, consortium, evidence::anchor, signer},
    tree::parts::Part,
    vote::VoteKind,
};

/// Chunks are as small as they can be, so that there are many.
const SMALL: usize = 2_000;

/// A node's final ledger, with the state of every height.
struct Holder {
    consortium: Arc<Consortium>,
    store: FinalStore,
    states: BTreeMap<BlockHeight, Executed>,
    offer: Offer,
}

impl Holder {
    fn new(chain: &Chain) -> Self {
        let consortium = chain.consortium.clone();
        let (store, tip) = FinalStore::open(Arc::<MemoryDisk>::default(), &consortium).expect("an empty disk");
        let (mut before, mut states) = (tip.executed, BTreeMap::new());
        for (block, certificate) in &chain.blocks {
            let executed = execute(&consortium, &before, block).expect("valid");
            let closes = |hand_over: &&HandOver| hand_over.closing == block.header;
            let carriers = chain.hand_overs.iter().find(closes).map(|hand_over| hand_over.proof.carriers.clone());
            let (certificate, block, carriers) = (certificate.clone(), block.clone(), carriers.unwrap_or_default());
            let log_id = place_of(&block, block.header.height.get() + 1).log_id;
            let finalized = Final { certificate, carriers, block, executed, log_index: log_id.index };
            store.commit(&finalized, &before, log_id).expect("a good disk");
            before = finalized.executed;
            states.insert(before.height, before.clone());
        }
        let tip = store.header(before.height).expect("reads").expect("blocks");
        let proof = store.proof(&tip).expect("reads").expect("final");
        let raft_index = tip.height.get() + 1;
        let newest = states.keys().rev().nth(3).copied();
        let offer = Offer { tip, proof, raft_index, states: newest.into_iter().collect() };
        Self { consortium, store, states, offer }
    }

    fn hand_overs(&self) -> Vec<HandOver> {
        let mut found = Vec::new();
        while (found.len() as u64) < self.offer.hand_overs() {
            let bytes = self.chunk(ChunkPath::HandOvers { from: found.len() as u64 }).expect("it has them");
            found.extend(codec::decode::<Vec<HandOver>>(&bytes).expect("our own"));
        }
        found
    }

    fn verified(&self) -> Verified {
        self.offer.clone().verify(sets(&self.consortium, &self.hand_overs())).expect("it is final")
    }

    fn chunk(&self, path: ChunkPath) -> Option<Vec<u8>> {
        match path {
            ChunkPath::State { height, prefix } => {
                let part = self.states.get(&height)?.state.tree().part(&prefix, SMALL)?;
                Some(codec::encode(&part))
            }
            path => stored_chunk(&self.store, path, SMALL).expect("reads"),
        }
    }

    /// Every chunk that a newcomer asks for, with what it got.
    fn chunks(&self) -> Vec<(Wanted, Vec<u8>)> {
        let (mut plan, mut found) = (Plan::new(self.extent()), Vec::new());
        while let Some(wanted) = plan.ask(|_| true) {
            let bytes = self.chunk(wanted.path()).expect("it has all");
            plan.take(wanted.check(plan.extent(), &bytes).expect("its own"));
            found.push((wanted, bytes));
        }
        assert!(plan.is_complete());
        found
    }

    fn extent(&self) -> Extent {
        Extent::choose(&[self.verified()]).expect("an offer")
    }
}

fn sets(consortium: &Consortium, hand_overs: &[HandOver]) -> ValidatorSets {
    ValidatorSets::proven(consortium, hand_overs, &[]).expect("they lead from genesis on")
}

/// A chain of two epochs, the first of which a carrier ended, with some entries in each block.
fn chain() -> Chain {
    let consortium = consortium(5);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
    chain.carry(2);
    for decisions in 1..40 {
        chain.push(anchor(&consortium, decisions)).expect("valid");
    }
    chain
}

#[test]
fn what_is_taken_in_chunks_is_the_whole_ledger_up_to_the_state() {
    let holder = Holder::new(&chain());
    let extent = holder.extent();
    let at = extent.state_at();
    assert!(at < extent.tip().height && at > BlockHeight::new(30), "{at}");
    let disk = Arc::<MemoryDisk>::default();
    let (store, _) = FinalStore::open(disk.clone(), &holder.consortium).expect("an empty disk");
    let chunks = holder.chunks();
    assert!(chunks.len() > 20, "{} chunks", chunks.len());
    // In any order: each is checked for itself.
    for (wanted, bytes) in chunks.iter().rev() {
        match wanted.check(&extent, bytes).expect("its own").piece {
            Some(Piece::Blocks(blocks)) => store.put_blocks(&blocks, extent.sets()).expect("a good disk"),
            Some(Piece::Leaves(leaves)) => store.put_leaves(&leaves).expect("a good disk"),
            None => {}
        }
    }
    let block = |store: &FinalStore, height| store.block(BlockHeight::new(height)).expect("reads").expect("final");
    let log_id = place_of(&block(&store, at.get()).block, 7).log_id;
    assert_eq!(store.load_at(at).expect("it fits").executed, holder.states[&at]);
    store.make_final(at, log_id).expect("a good disk");
    for height in 1..=extent.tip().height.get() {
        assert_eq!(block(&store, height), block(&holder.store, height), "{height}");
    }
    assert_eq!(store.hand_overs(1).expect("reads"), holder.hand_overs());
    drop(store);
    let (_, tip) = FinalStore::open(disk, &holder.consortium).expect("it opens again");
    assert_eq!((tip.executed, tip.log_id), (holder.states[&at].clone(), Some(log_id)));
}

#[test]
fn no_flipped_bit_in_any_chunk_passes() {
    let holder = Holder::new(&chain());
    let extent = holder.extent();
    for (wanted, bytes) in holder.chunks() {
        // Every byte of the shorter ones.
        for byte in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            let mut changed = bytes.clone();
            changed[byte] ^= 1 << (byte % 8);
            assert!(wanted.check(&extent, &changed).is_err(), "byte {byte} of {}", wanted.path());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(wanted.check(&extent, &longer), Err(ChunkInvalid::Undecodable(_))), "{}", wanted.path());
    }
}

#[test]
fn no_chunk_passes_in_another_one_s_place() {
    let holder = Holder::new(&chain());
    let (extent, chunks) = (holder.extent(), holder.chunks());
    for (wanted, _) in &chunks {
        for (other, bytes) in chunks.iter().filter(|(other, _)| other != wanted) {
            let found = wanted.check(&extent, bytes);
            let is_all_of_it = |found: &Checked| matches!(found.piece, Some(Piece::Leaves(_)));
            // The leaves of a half are those of the whole if the other half is empty.
            assert!(found.as_ref().map_or(true, is_all_of_it), "{} for {}: {found:?}", other.path(), wanted.path());
        }
    }
}

#[test]
fn a_part_of_an_earlier_state_is_refused() {
    let holder = Holder::new(&chain());
    let extent = holder.extent();
    let earlier = &holder.states[&BlockHeight::new(extent.state_at().get() - 1)].state;
    let mut refused = 0;
    for (wanted, bytes) in holder.chunks() {
        let ChunkPath::State { prefix, .. } = wanted.path() else { continue };
        let old = earlier.tree().part(&prefix, SMALL).map(|part| codec::encode(&part));
        if let Some(old) = old.filter(|old| *old != bytes) {
            assert_eq!(wanted.check(&extent, &old).expect_err("old"), ChunkInvalid::OtherContent);
            refused += 1;
        }
    }
    assert!(refused >= 2, "the root and what leads to the change, at least: {refused}");
}

#[test]
fn a_block_of_which_anything_is_another_s_is_refused_with_what_it_is() {
    let holder = Holder::new(&chain());
    let extent = holder.extent();
    let of_blocks = |(wanted, _): &(Wanted, Vec<u8>)| matches!(wanted.path(), ChunkPath::Blocks { .. });
    for (wanted, bytes) in holder.chunks().into_iter().filter(of_blocks) {
        let chunk: Blocks = codec::decode(&bytes).expect("our own");
        let refused = |change: &dyn Fn(&mut Blocks)| {
            let mut changed = chunk.clone();
            change(&mut changed);
            wanted.check(&extent, &codec::encode(&changed)).is_err()
        };
        assert!(refused(&|chunk| drop(chunk.blocks[0].block.entries.pop())));
        assert!(refused(&|chunk| chunk.blocks[0].block.parent_certificate = Some(chunk.blocks[0].certificate.clone())));
        assert!(refused(&|chunk| chunk.blocks[0].certificate.signatures.truncate(1)));
        assert!(refused(&|chunk| drop(chunk.blocks.pop())));
        assert!(refused(&|chunk| chunk.blocks.clear()));
        assert!(refused(&|chunk| chunk.before.append(Digest::ZERO)));
        assert!(refused(&|chunk| {
            chunk.below = match &chunk.below {
                Some(_) => None,
                None => Some(chunk.blocks[0].block.header.clone()),
            }
        }));
        let tip = chunk.blocks[0].block.header.clone();
        assert!(refused(&|chunk| chunk.blocks[0].block.carriers.push(tip.clone())));
        assert!(refused(&|chunk| chunk.blocks[0].carriers.push(tip.clone())));
    }
}

#[test]
fn no_entry_passes_from_one_block_to_the_next() {
    let holder = Holder::new(&chain());
    let extent = holder.extent();
    let of_blocks = |(wanted, _): &(Wanted, Vec<u8>)| matches!(wanted.path(), ChunkPath::Blocks { .. });
    let (mut shorter, mut longer) = (0, 0);
    for (wanted, bytes) in holder.chunks().into_iter().filter(of_blocks) {
        let chunk: Blocks = codec::decode(&bytes).expect("our own");
        let refusal = |changed: &Blocks| wanted.check(&extent, &codec::encode(changed)).map(drop);
        let begins = chunk.before.size();
        // With both logs the same: they give size and root of every header in the chunk.
        if !chunk.blocks[0].block.entries.is_empty() {
            let mut changed = chunk.clone();
            let first = changed.blocks[0].block.entries.remove(0);
            changed.before.append(first.leaf_hash());
            assert_eq!(refusal(&changed), Err(ChunkInvalid::OtherContent), "less from {begins}");
            shorter += 1;
        }
        if begins > 0 {
            let mut changed = chunk.clone();
            let last = holder.store.entries(begins - 1..begins).expect("reads").remove(0);
            changed.blocks[0].block.entries.insert(0, last);
            changed.before = right_edge(&holder.store, begins - 1).expect("reads");
            assert_eq!(refusal(&changed), Err(ChunkInvalid::OtherContent), "more from {begins}");
            longer += 1;
        }
    }
    assert!(shorter >= 10 && longer >= 10, "{shorter} and {longer}");
}

#[test]
fn an_offer_is_proven_by_the_genesis_document_alone() {
    let holder = Holder::new(&chain());
    let (offer, known) = (&holder.offer, sets(&holder.consortium, &holder.hand_overs()));
    let proven = codec::encode(&(&offer.tip, &offer.proof));
    for byte in 0..proven.len() {
        let mut changed = proven.clone();
        changed[byte] ^= 1 << (byte % 8);
        let Ok((tip, proof)) = codec::decode(&changed) else { continue };
        let changed = Offer { tip, proof, ..offer.clone() };
        assert!(changed.verify(known.clone()).is_err(), "byte {byte}");
    }
    let epoch = offer.clone().verify(sets(&holder.consortium, &[])).expect_err("nothing leads there");
    assert_eq!(epoch, OfferInvalid::OtherEpoch { claimed: 1 });
    let foreign = Offer { tip: Header { consortium: Digest::ZERO, ..offer.tip.clone() }, ..offer.clone() };
    assert_eq!(foreign.verify(known.clone()).map(drop), Err(OfferInvalid::OtherBlock));
    let mut certified = offer.clone();
    certified.proof.certificate.kind = crate::vote::VoteKind::Notarize;
    assert!(matches!(certified.verify(known.clone()), Err(OfferInvalid::NotFinal(_))));
    let beyond = offer.tip.height.next().expect("few");
    for states in [vec![beyond], vec![BlockHeight::ZERO], vec![BlockHeight::new(2); 2], vec![BlockHeight::new(1); 9]] {
        let claimed = Offer { states, ..offer.clone() };
        assert_eq!(claimed.verify(known.clone()).map(drop), Err(OfferInvalid::States));
    }
}

#[test]
fn an_offer_whose_last_block_closes_its_epoch_brings_the_set_that_follows() {
    let mut chain = chain();
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    chain.carry(1);
    let holder = Holder::new(&chain);
    assert_eq!((holder.offer.tip.epoch, holder.offer.hand_overs(), holder.offer.proof.carriers.len()), (1, 2, 1));
    assert_eq!(holder.extent().sets().last().epoch, 2);
    assert!(!holder.chunks().is_empty());
}

#[test]
fn only_above_the_end_of_an_epoch_are_there_carriers() {
    let chain = chain();
    let holder = Holder::new(&chain);
    let [.., (below, _), (last, certificate)] = &chain.blocks[..] else { panic!("blocks") };
    let known = sets(&holder.consortium, &holder.hand_overs());
    let proof = ClosingProof { certificate: certificate.clone(), carriers: vec![last.header.clone()] };
    let offer = Offer { tip: below.header.clone(), proof, states: Vec::new(), ..holder.offer };
    assert_eq!(offer.proof.closes(), Some((below.header.height, below.header.digest())), "it makes that final, too");
    assert_eq!(offer.verify(known).map(drop), Err(OfferInvalid::Carriers));
}

/// A node's ledger that ends with its epoch; and the same with a final carrier above, offered as if that were the tip.
fn with_carrier() -> (Holder, Holder) {
    let consortium = consortium(5);
    let mut chain = Chain::new(consortium.clone());
    chain.push(anchor(&consortium, 1)).expect("valid");
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
    let (honest, mut liar) = (Holder::new(&chain), Holder::new(&chain));
    let (closing, raft_index) = (chain.blocks.last().expect("blocks").0.clone(), 50);
    let place = Place {
        parent: chain.tip.clone(),
        certificate: Some(certify_as(VoteKind::Notarize, &closing, 0..4)),
        carriers: Vec::new(),
        skipped: None,
        view: closing.header.view.next().expect("few blocks"),
        after: place_of(&closing, raft_index - 1).chain,
    };
    let made = propose(&consortium, place, &signer(0), closing.header.time, Vec::new());
    let (tip, certificate) = (made.block.header.clone(), certify(&made.block, 0..4));
    let carrier = FinalBlock { block: made.block, certificate: certificate.clone(), carriers: Vec::new() };
    let known = sets(&consortium, &honest.hand_overs());
    liar.store.put_blocks(&[carrier], &known).expect("a good disk");
    liar.states.insert(tip.height, made.executed);
    liar.offer = Offer { states: vec![tip.height], tip, proof: certificate.into(), raft_index };
    (honest, liar)
}

#[test]
fn the_end_of_an_epoch_is_higher_than_a_carrier_above_it() {
    let (honest, liar) = with_carrier();
    let offers = [honest.verified(), liar.verified()];
    assert!(offers[0].offer().tip.height < offers[1].offer().tip.height);
    let chosen = Extent::choose(&offers).expect("offers");
    assert_eq!(chosen.tip(), &honest.offer.tip);
    assert!(chosen.state_at() <= chosen.tip().height, "a state above the last block is none");
}

#[test]
fn a_carrier_is_no_ledger_s_last_block() {
    let (_, mut liar) = with_carrier();
    let tip = liar.offer.tip.height;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for state_at in [tip.get(), tip.get() - 1, 0] {
        liar.offer.states = [state_at].into_iter().filter(|height| *height > 0).map(BlockHeight::new).collect();
        let place = folder.path().join("ledger");
        let mut joining =
            Joining::begin(&place.as_path().into(), liar.consortium.clone(), liar.extent()).expect("an empty folder");
        let extent = joining.plan().extent().clone();
        let wanted = joining.plan().ask(|_| true).expect("headers");
        let headers = liar.chunk(wanted.path()).expect("it has all");
        let fault = joining.take(wanted.check(&extent, &headers).expect("a quorum signed it")).expect_err("a carrier");
        assert!(matches!(fault, JoinFault::Carrier { height } if height == tip), "{state_at}: {fault}");
        joining.give_up();
        assert!(fault.is_lie() && fault.is_of_offer() && !place.exists());
    }
}

#[test]
fn a_state_that_nobody_sends_is_not_chosen_again() {
    let mut offers = [Holder::new(&chain()).verified()];
    let first = Extent::choose(&offers).expect("an offer").state_at();
    assert!(offers[0].has_state(first));
    offers[0].without_state(first);
    assert_eq!(Extent::choose(&offers).expect("an offer").state_at(), BlockHeight::ZERO);
}

#[test]
fn the_state_is_asked_for_before_any_block() {
    let holder = Holder::new(&chain());
    let kinds: Vec<_> = holder.chunks().iter().map(|(wanted, _)| wanted.path()).collect();
    let is_state = |path: &ChunkPath| matches!(path, ChunkPath::State { .. });
    let last_of_state = kinds.iter().rposition(is_state).expect("it has a state");
    let first_of_blocks = kinds.iter().position(|path| matches!(path, ChunkPath::Blocks { .. })).expect("blocks");
    assert!(last_of_state > 1 && last_of_state < first_of_blocks, "{kinds:?}");
}

#[test]
fn the_highest_block_is_taken_and_the_state_that_most_have() {
    let chain = chain();
    let mut behind = chain.clone();
    behind.blocks.truncate(35);
    let offers = [(&chain, vec![20, 30]), (&chain, vec![30, 38]), (&behind, vec![10, 20])].map(|(chain, states)| {
        let mut holder = Holder::new(chain);
        holder.offer.states = states.into_iter().map(BlockHeight::new).collect();
        holder.verified()
    });
    let chosen = Extent::choose(&offers).expect("offers");
    assert_eq!((chosen.tip().height, chosen.state_at().get()), (offers[0].offer().tip.height, 30));
    assert_eq!(chosen.without_state().state_at(), BlockHeight::ZERO);
    assert!(Extent::choose(&[]).is_none());
}

#[test]
fn without_a_state_none_is_asked_for() {
    let holder = Holder::new(&chain());
    let mut plan = Plan::new(holder.extent().without_state());
    while let Some(wanted) = plan.ask(|_| true) {
        assert!(!matches!(wanted.path(), ChunkPath::State { .. }));
        let bytes = holder.chunk(wanted.path()).expect("it has all");
        plan.take(wanted.check(plan.extent(), &bytes).expect("its own"));
    }
    assert!(plan.is_complete());
}

#[test]
fn who_has_no_state_is_asked_for_all_else() {
    let holder = Holder::new(&chain());
    let mut plan = Plan::new(holder.extent());
    let is_state = |path| matches!(path, ChunkPath::State { .. });
    while let Some(wanted) = plan.ask(|path| !is_state(path)) {
        let bytes = holder.chunk(wanted.path()).expect("it has all");
        plan.take(wanted.check(plan.extent(), &bytes).expect("its own"));
    }
    assert!(plan.wants_state() && !plan.is_complete());
    assert!(plan.ask(|_| true).is_some_and(|wanted| is_state(wanted.path())) && !plan.wants_state());
}

#[test]
fn what_did_not_come_is_asked_for_again() {
    let holder = Holder::new(&chain());
    let mut plan = Plan::new(holder.extent());
    let wanted = plan.ask(|_| true).expect("headers");
    assert!(plan.ask(|_| true).is_none() && !plan.is_complete());
    plan.give_back(wanted.clone());
    assert_eq!(plan.ask(|_| true), Some(wanted));
}

#[test]
fn nobody_is_given_what_is_not_there() {
    let holder = Holder::new(&chain());
    let beyond = holder.offer.tip.height.get() + 1;
    for path in [format!("headers/1-{beyond}"), format!("blocks/{}-{beyond}", beyond - 3), "hand-overs/1".to_owned()] {
        assert_eq!(holder.chunk(path.parse().expect("a path")), None, "{path}");
    }
    let part = holder.chunk(format!("state/{}/root", beyond - 1).parse().expect("a path")).expect("all are kept");
    assert!(matches!(codec::decode(&part), Ok(Part::Halves(..))));
}
