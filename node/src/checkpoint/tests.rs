//! Four nodes that cosign the same trees, one of which may lie.

use futures::future::BoxFuture;
use ledger::{
    governance::{Action, Member},
    tlog::{LogProof, Note},
    tree::tiles::{Tiles as _, consistency_proof, inclusion_proof, root},
};
use wallet::{
    identity::Signature,
    units::{BlockHeight, LogIndex},
};

use super::*;
use crate::{
    node::{RunningNode, Seams},
    peer::SessionLink,
    testbed::{PATIENCE, Testbed, control},
};

const REGIONS: [&str; 4] = ["eu", "eu", "eu", "eu"];

/// The next checkpoint that `node` shows with more than `size` entries.
async fn shown(node: &RunningNode, size: Option<u64>) -> Arc<Shown> {
    let mut shown = node.checkpoints().shared.shown.subscribe();
    let grown =
        |shown: &Option<Arc<Shown>>| shown.as_ref().is_some_and(|shown| size.is_none_or(|size| shown.size() > size));
    let found = tokio::time::timeout(PATIENCE, shown.wait_for(grown)).await.expect("a checkpoint comes");
    found.expect("the service runs").clone().expect("it is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_shows_checkpoints_that_a_quorum_cosigned_and_that_only_append() {
    let testbed = Testbed::start(&REGIONS).await;
    let mut trees = Vec::new();
    for step in 0..3 {
        let mut before = None;
        if step > 0 {
            before = Some(testbed.node(step).sessions().context().replica.state().log.size());
            let client = testbed.create(step, &["eu"], &control(1).0, 0).await;
            testbed.until_created(step, &client).await;
        }
        for node in (0..4).map(|node| testbed.node(node)) {
            let context = node.sessions().context();
            let (validators, id) = (context.consortium.validators(), context.consortium.id());
            let shown = shown(node, before).await;
            let note = Note::parse(shown.note().to_string().as_bytes()).expect("a note");
            assert_eq!((&shown.validators, shown.validators.epoch), (validators, 0));
            let cosigned = &shown.cosigned;
            assert_eq!(CosignedCheckpoint::from_note(&note, validators, &id).as_ref(), Ok(cosigned));
            assert_eq!(
                root(context.replica.store(), cosigned.checkpoint.size).expect("reads"),
                cosigned.checkpoint.root
            );
            trees.push(cosigned.checkpoint.clone());
        }
    }
    trees.sort_by_key(|tree| tree.size);
    assert!(trees.windows(2).all(|pair| pair[0].size < pair[1].size || pair[0] == pair[1]), "one tree of each size");
    let store = testbed.node(0).sessions().context().replica.store();
    let (first, last) = (trees.iter().find(|tree| tree.size > 0).expect("it grew"), trees.last().expect("several"));
    let proof = consistency_proof(store, first.size, last.size).expect("reads").expect("within");
    ledger::tree::log::verify_consistency(&first.root, first.size, &last.root, last.size, &proof)
        .expect("it only grew");
}

/// Two of the peers answer with a cosignature that is not theirs of this tree.
struct Forging(Arc<dyn SessionLink>);

impl SessionLink for Forging {
    fn ask(
        &self,
        to: NodeId,
        request: SessionRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        Box::pin(async move {
            let reply = self.0.ask(to, request, timeout).await?;
            let SessionReply::Cosign(CosignReply { cosignature: Some(mut cosignature) }) = reply else {
                return Ok(reply);
            };
            match to.get() {
                1 => cosignature.signature = Signature([7; 64]),
                2 => cosignature.time += 1,
                _ => {}
            }
            Ok(SessionReply::Cosign(CosignReply { cosignature: Some(cosignature) }))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_cosignature_counts_for_nothing() {
    let mut testbed = Testbed::prepare(&REGIONS);
    let forging = Seams { link: Box::new(|link| Arc::new(Forging(link))), ..Seams::default() };
    testbed.start_node(0, forging).await;
    for node in 1..4 {
        testbed.start_node(node, Seams::default()).await;
    }
    testbed.until_final().await;
    // Each of the others has a quorum. Node 0 has its own word and that of node 3.
    for node in 1..4 {
        shown(testbed.node(node), None).await;
    }
    let shared = &testbed.node(0).checkpoints().shared;
    // What node 0 has just cosigned, node 3 may be about to.
    let honest = async {
        loop {
            let own = lock(&shared.own).back().expect("it cosigned what the others did").clone();
            if let Some(found) = shared.ask(NodeId::new(3), &own.checkpoint, &own.validators).await {
                break (own, found.cosigner);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (own, cosigner) = tokio::time::timeout(PATIENCE, honest).await.expect("it cosigns");
    assert_eq!(cosigner, NodeId::new(3));
    for peer in [1, 2] {
        let found = shared.ask(NodeId::new(peer), &own.checkpoint, &own.validators).await;
        assert!(found.is_none(), "node {peer}");
    }
    assert_eq!(testbed.node(0).checkpoints().newest(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_was_cosigned_before_anybody_gathers_is_shown_though_none_follows() {
    let testbed = Testbed::start(&["eu"]).await;
    let node = testbed.node(0);
    shown(node, None).await;
    let own = lock(&node.checkpoints().shared.own).back().expect("it is shown").clone();
    let header = node.sessions().context().replica.store().header(BlockHeight::new(1)).expect("reads").expect("final");
    let (shared, newest) = Shared::new(node.sessions().context().clone());
    let mut told = shared.shown.subscribe();
    let header = Header { log_size: own.checkpoint.size, log_root: own.checkpoint.root, ..header };
    shared.cosign(Tree { header, validators: own.validators, name: own.name });
    let gathering = tokio::spawn(gather_forever(shared, newest));
    let told = tokio::time::timeout(PATIENCE, told.wait_for(Option::is_some)).await;
    told.expect("it comes").expect("somebody gathers");
    gathering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cosigns_no_tree_twice_none_that_is_smaller_and_keeps_few() {
    let testbed = Testbed::start(&["eu"]).await;
    let node = testbed.node(0);
    shown(node, None).await;
    let (checkpoints, store) = (node.checkpoints(), node.sessions().context().replica.store());
    let header = store.header(BlockHeight::new(1)).expect("reads").expect("final");
    let validators = node.sessions().context().consortium.validators();
    let tree = |size: u64| Tree {
        header: Header { log_size: size, ..header.clone() },
        validators: validators.clone(),
        name: header.name(),
    };
    checkpoints.shared.cosign(tree(1_000));
    let asked = |size: u64| checkpoints.on_cosign(CosignRequest { size }).cosignature;
    let first = asked(1_000).expect("it is the largest");
    for size in [1_000, 999] {
        checkpoints.shared.cosign(tree(size));
    }
    assert_eq!((asked(1_000), asked(999), asked(1_001)), (Some(first), None, None));
    (1_001..=1_100).for_each(|size| checkpoints.shared.cosign(tree(size)));
    let kept: Vec<u64> = (0..=1_100).filter(|size| asked(*size).is_some()).collect();
    assert_eq!(kept, (1_100 - KEPT as u64 + 1..=1_100).collect::<Vec<_>>());
    let mut other_key = tree(1_101);
    other_key.validators.members[0].1 = wallet::identity::SecretKey::from_seed(&[9; 32]).public_key();
    let mut no_vote = tree(1_102);
    no_vote.validators.members.clear();
    for tree in [other_key, no_vote] {
        let size = tree.header.log_size;
        checkpoints.shared.cosign(tree);
        assert_eq!(asked(size), None, "its word would not count");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_hand_over_the_next_validators_cosign_and_a_suspended_node_shows_it() {
    let testbed = Testbed::start(&REGIONS).await;
    let context = testbed.node(0).sessions().context();
    let (consortium, store) = (&context.consortium, context.replica.store());
    let last = NodeId::new(3);
    testbed.decide(0, vec![Action::Suspend(Member::Node(last))]).await;
    testbed.until(0, |members| members.validators().epoch == 1).await;
    let client = testbed.create(0, &["eu"], &control(1).0, 0).await;
    testbed.until_created(0, &client).await;
    let index = store.head_swaps(client.reply.wallet, 0..u64::MAX, &context.replica.state()).expect("reads")[0];
    for node in [0, 3] {
        let shown = shown(testbed.node(node), Some(index.get())).await;
        assert_eq!((shown.validators.epoch, shown.validators.members.len()), (1, 3), "node {node}");
        assert!(shown.cosigned.cosignatures.iter().all(|cosignature| cosignature.cosigner != last));
        let path = inclusion_proof(store, index, shown.size()).expect("reads").expect("within");
        let proof = LogProof::new(index, path, shown.note(), &store.hand_overs(1).expect("reads")).expect("small");
        let leaf = store.hashes(0, index.get()..index.get() + 1).expect("reads")[0];
        assert_eq!(proof.verify(&leaf, consortium, &[]).as_ref(), Ok(&shown.cosigned));
    }
    // Trees up to the end of an epoch are its own validators', also if a later header is the first to name them.
    let state = context.replica.state();
    let closing = store.hand_over(0).expect("reads").expect("it ended").closing;
    let next = store.header(BlockHeight::new(closing.height.get() + 1)).expect("reads").expect("final");
    let epoch_of = |header: Header| tree(store, consortium.id(), &state.state, header).expect("reads").validators.epoch;
    assert_eq!((epoch_of(closing.clone()), epoch_of(next.clone())), (0, u64::from(next.log_size > closing.log_size)));
    assert_eq!(epoch_of(Header { log_size: closing.log_size, ..next.clone() }), 0);
    assert_eq!(epoch_of(Header { log_size: closing.log_size + 1, ..next }), 1);
    assert!(index > LogIndex::new(closing.log_size - 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_block_of_a_second_is_cosigned_and_after_a_start_the_last_of_these() {
    let testbed = Testbed::start(&["eu"]).await;
    let context = testbed.node(0).sessions().context();
    for _ in 0..2 {
        let client = testbed.create(0, &["eu"], &control(1).0, 0).await;
        testbed.until_created(0, &client).await;
    }
    let (store, created, tip) = (context.replica.store(), context.consortium.created(), context.replica.state().height);
    let all = candidates(store, created, Some(BlockHeight::ZERO), tip).expect("reads");
    let mut before = created;
    let mut firsts = Vec::new();
    for height in (1..=tip.get()).map(BlockHeight::new) {
        let header = store.header(height).expect("reads").expect("final");
        if header.time.get() / 1_000 != before.get() / 1_000 {
            firsts.push(header.clone());
        }
        before = header.time;
    }
    assert!(!all.is_empty() && all == firsts[firsts.len().saturating_sub(KEPT + 1)..]);
    assert_eq!(candidates(store, created, None, tip).expect("reads"), all[all.len() - 1..]);
    assert_eq!(candidates(store, created, Some(tip), tip).expect("reads"), []);
    let from = all[0].height;
    assert_eq!(candidates(store, created, Some(from), tip).expect("reads"), all[1..]);
    assert_eq!(candidates(store, created, None, BlockHeight::ZERO).expect("reads"), []);
}
