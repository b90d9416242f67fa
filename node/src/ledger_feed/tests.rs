//! What is kept, and that nobody misses or hears twice what is final, whenever he asks.

use ledger::testing::every_entry;

use super::*;
use crate::testbed::{PATIENCE, Testbed, control};

/// The wallet of a chain of one move, and the chain.
fn moved() -> (WalletAddress, Vec<FinalBlock>) {
    let sample = every_entry();
    (sample.session.address, sample.moved.final_blocks())
}

fn nothing() -> Asked {
    Asked { size: 0, wallets: HashMap::new() }
}

/// What the disk says of the wallet when the log has `size` entries.
fn looked_up(blocks: &[FinalBlock], wallet: WalletAddress, size: u64) -> Vec<Placed> {
    let of = |block: &FinalBlock| {
        let (first, time) = (block.first_index().get(), block.block.header.time);
        let entries = block.block.entries.clone().into_iter().zip(first..);
        entries.map(|(entry, at)| Placed { entry, at: LogIndex::new(at), time }).collect::<Vec<_>>()
    };
    let all = blocks.iter().flat_map(of);
    all.filter(|placed| placed.entry.body.event.wallet() == Some(wallet) && placed.at.get() < size).collect()
}

fn drain(receiver: &mut mpsc::UnboundedReceiver<Arc<FinalFact>>) -> Vec<WalletFact> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|known| known.fact.clone()).collect()
}

/// A reader that comes after `asks` blocks and is told what was before after `told` of them, and a second one at the end.
fn read(blocks: &[FinalBlock], wallet: WalletAddress, asks: usize, told: usize) -> [Vec<WalletFact>; 2] {
    let mut asked = nothing();
    blocks[..asks].iter().for_each(|block| asked.take(block));
    let (sender, mut first) = mpsc::unbounded_channel();
    assert!(asked.subscribe(wallet, sender));
    let since = asked.size;
    blocks[asks..told].iter().for_each(|block| asked.take(block));
    assert_eq!(drain(&mut first), [], "not before all that was earlier");
    asked.learn(wallet, since, looked_up(blocks, wallet, since));
    blocks[told..].iter().for_each(|block| asked.take(block));
    let (sender, mut second) = mpsc::unbounded_channel();
    assert!(!asked.subscribe(wallet, sender), "it is known");
    [drain(&mut first), drain(&mut second)]
}

#[test]
fn whoever_asks_is_told_everything_once_and_in_order_whenever_he_asks_and_is_answered() {
    let (wallet, blocks) = moved();
    let [expected, _] = read(&blocks, wallet, 0, 0);
    let changes: Vec<_> = expected.iter().map(|fact| (&fact.change, fact.epoch.get())).collect();
    assert!(
        matches!(
            changes[..],
            [
                (Change::Created { .. }, 0),
                (Change::Offered { .. }, 0),
                (Change::Accepted, 0),
                (Change::Confirmed { .. }, 1)
            ]
        ),
        "{changes:?}"
    );
    for asks in 0..=blocks.len() {
        for told in asks..=blocks.len() {
            assert_eq!(read(&blocks, wallet, asks, told), [expected.clone(), expected.clone()], "{asks} {told}");
        }
    }
}

#[test]
fn what_was_looked_up_for_a_reader_that_went_is_not_told_to_the_next() {
    let (wallet, blocks) = moved();
    let [expected, _] = read(&blocks, wallet, 0, 0);
    let mut asked = nothing();
    let (sender, gone) = mpsc::unbounded_channel();
    asked.take(&blocks[0]);
    asked.subscribe(wallet, sender);
    let (early, before) = (looked_up(&blocks, wallet, asked.size), asked.size);
    drop(gone);
    asked.take(&blocks[1]);
    let (sender, mut reader) = mpsc::unbounded_channel();
    assert!(asked.subscribe(wallet, sender), "nothing was kept");
    let since = asked.size;
    asked.learn(wallet, before, early);
    assert_eq!(drain(&mut reader), []);
    asked.learn(wallet, since, looked_up(&blocks, wallet, since));
    asked.learn(wallet, since, looked_up(&blocks, wallet, since));
    blocks[2..].iter().for_each(|block| asked.take(block));
    assert_eq!(drain(&mut reader), expected);
}

#[test]
fn a_wallet_that_nobody_asks_about_is_not_kept() {
    let (wallet, blocks) = moved();
    let mut asked = nothing();
    asked.take(&blocks[0]);
    assert!(asked.wallets.is_empty());
    let (sender, reader) = mpsc::unbounded_channel();
    asked.subscribe(wallet, sender);
    asked.learn(wallet, asked.size, looked_up(&blocks, wallet, asked.size));
    blocks[1..4].iter().for_each(|block| asked.take(block));
    assert!(!asked.wallets[&wallet].facts.is_empty());
    drop(reader);
    asked.take(&blocks[4]);
    assert!(asked.wallets.is_empty(), "its last reader went");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_what_its_sessions_are_about_and_finds_the_others_on_the_disk() {
    const WALLETS: usize = 3;
    let mut testbed = Testbed::start(&["eu", "eu"]).await;
    let mut clients = Vec::new();
    for _ in 0..WALLETS {
        clients.push(testbed.create(0, &["eu"], &control(5).0, 60_000).await);
    }
    for client in &clients {
        testbed.until_created(0, client).await;
        testbed.until_created(1, client).await;
    }
    let feed = |testbed: &Testbed, node: u32| testbed.node(node).sessions().context().feed.clone();
    let height = |testbed: &Testbed, node: u32| testbed.node(node).sessions().context().replica.state().height;
    // Blocks that are final may still be on their way to the readers.
    let told = async |testbed: &Testbed, node: u32, wallet: WalletAddress| {
        let told = feed(testbed, node);
        tokio::time::timeout(PATIENCE, told.told(wallet, height(testbed, node))).await.expect("it reads on");
    };
    for node in [0, 1] {
        told(&testbed, node, clients[0].reply.wallet).await;
    }
    assert_eq!(feed(&testbed, 0).kept().0, WALLETS, "it serves them");
    assert_eq!(feed(&testbed, 1).kept(), (0, 0), "it has no session");
    testbed.stop_node(1).await;
    testbed.start_node(1, crate::node::Seams::default()).await;
    assert_eq!(feed(&testbed, 1).kept(), (0, 0), "nothing was read at its start");
    for client in &clients {
        let wallet = client.reply.wallet;
        let mut found = feed(&testbed, 1).subscribe(wallet);
        told(&testbed, 1, wallet).await;
        let created = found.try_recv().expect("it is on the disk");
        assert!(matches!(created.fact.change, Change::Created { .. }), "{created:?}");
        assert_eq!(created.fact, feed(&testbed, 0).facts(wallet)[0].fact);
    }
}
