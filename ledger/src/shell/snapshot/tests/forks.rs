//! Two ledgers of one genesis document, each final by a quorum's signatures, offered to one that joins.

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use super::*;
use crate::shell::{
    join::{Forked, Giver, GiverFault, Order, join},
    restore::RestoreFault,
};

/// A node that joins is told by one that it has `offer`, and gets chunks of what `holder` has.
struct Source {
    url: &'static str,
    offer: Offer,
    holder: Holder,
    sends: fn(ChunkPath) -> bool,
}

impl Giver for Source {
    fn url(&self) -> &str {
        self.url
    }

    fn offer(&self) -> BoxFuture<'_, Result<Vec<u8>, GiverFault>> {
        ready(Ok(codec::encode(&self.offer))).boxed()
    }

    fn chunk(&self, path: ChunkPath) -> BoxFuture<'_, Result<Option<Vec<u8>>, GiverFault>> {
        let sent = matches!(path, ChunkPath::HandOvers { .. }) || (self.sends)(path);
        ready(Ok(sent.then(|| self.holder.chunk(path)).flatten())).boxed()
    }
}

fn source(url: &'static str, chain: &Chain) -> Source {
    let holder = Holder::new(chain);
    Source { url, offer: holder.offer.clone(), holder, sends: |_| true }
}

async fn joined(sources: Vec<Source>) -> JoinFault {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("ledger");
    let order = Order {
        consortium: consortium(5),
        re_geneses: Vec::new(),
        key: signer(9).key.public_key(),
        folder: place.as_path().into(),
        replays: false,
    };
    let givers = sources.into_iter().map(|source| Arc::new(source) as Arc<dyn Giver>).collect();
    let fault = join(givers, order, |_| {}).await.expect_err("there is no ledger");
    assert!(!place.exists());
    fault
}

/// The chain with other blocks on top, so many; `mark` tells them from those of another call.
fn grown(chain: &Chain, mark: u64, blocks: u64) -> Chain {
    let mut chain = chain.clone();
    for number in 0..blocks {
        chain.push(anchor(&chain.consortium.clone(), mark + number)).expect("valid");
    }
    chain
}

/// The chain with the end of its epoch, at which this node is suspended.
fn ended(chain: &Chain, node: u32) -> Chain {
    let mut chain = chain.clone();
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(node)))]).expect("valid");
    chain
}

fn verified(chain: &Chain) -> Verified {
    Holder::new(chain).verified()
}

fn tip(chain: &Chain) -> Header {
    chain.blocks.last().expect("blocks").0.header.clone()
}

#[test]
fn offers_of_one_chain_do_not_contradict_each_other() {
    let chain = chain();
    let end = chain.hand_overs[0].closing.height.get() as usize;
    let cut = |blocks| {
        let mut cut = chain.clone();
        cut.blocks.truncate(blocks);
        cut
    };
    let mut offers: Vec<_> =
        [1, end - 1, end, end + 1, chain.blocks.len()].map(|blocks| verified(&cut(blocks))).to_vec();
    for (one, other) in offers.iter().flat_map(|one| offers.iter().map(move |other| (one, other))) {
        assert_eq!(one.fork(other), None);
    }
    // A carrier is offered where the epoch ended below it, and where it has gone on since.
    let (honest, carrier) = with_carrier();
    let mut later = Chain::new(consortium(5));
    later.push(anchor(&later.consortium.clone(), 1)).expect("valid");
    let later = grown(&ended(&later, 4), 2, 3);
    offers = vec![honest.verified(), carrier.verified(), verified(&later)];
    for (one, other) in offers.iter().flat_map(|one| offers.iter().map(move |other| (one, other))) {
        assert_eq!(one.fork(other), None);
    }
}

#[test]
fn another_block_at_one_height_or_another_end_of_one_epoch_is_a_contradiction() {
    let base = grown(&Chain::new(consortium(5)), 1, 3);
    let (one, other) = (grown(&base, 10, 2), grown(&base, 20, 2));
    assert_eq!(verified(&one).fork(&verified(&other)), Some([tip(&one), tip(&other)]));
    let ends = [ended(&base, 3), ended(&base, 4)];
    let [end, other_end] = ends.each_ref().map(tip);
    let later = ends.each_ref().map(|chain| grown(chain, 30, 3));
    assert_eq!(verified(&later[0]).fork(&verified(&later[1])), Some([end.clone(), other_end]));
    // The old quorum ends its epoch below a block that it has made final already.
    let longer = grown(&base, 10, 9);
    assert!(tip(&longer).height > end.height);
    assert_eq!(verified(&longer).fork(&verified(&later[0])), Some([tip(&longer), end.clone()]));
    assert_eq!(verified(&later[0]).fork(&verified(&longer)), Some([end, tip(&longer)]));
}

#[tokio::test]
async fn a_join_stops_where_two_nodes_prove_ledgers_that_contradict_each_other() {
    let base = grown(&Chain::new(consortium(5)), 1, 3);
    let ends = [ended(&base, 3), ended(&base, 4)];
    let [one, other] = ends.each_ref().map(|chain| grown(chain, 30, 3));
    let side = |url: &str, end: &Chain| Box::new(Forked { url: url.to_owned(), header: tip(end) });
    let fault = joined(vec![source("one", &one), source("same", &one), source("other", &grown(&other, 40, 2))]).await;
    let JoinFault::Fork(first, second) = &fault else { panic!("{fault}") };
    assert_eq!((first, second), (&side("one", &ends[0]), &side("other", &ends[1])));
    assert!(!fault.is_lie() && !fault.is_of_offer(), "nobody is to blame, and no other offer is better");
}

#[tokio::test]
async fn a_join_stops_where_the_headers_below_the_last_block_contradict_another_one() {
    let base = grown(&Chain::new(consortium(5)), 1, 3);
    let (long, short) = (grown(&base, 10, 9), grown(&base, 20, 2));
    let of_long = long.blocks[short.blocks.len() - 1].0.header.clone();
    let sources = vec![source("short", &short), source("long", &long)];
    assert_eq!(sources[0].holder.verified().fork(&sources[1].holder.verified()), None);
    let fault = joined(sources).await;
    let JoinFault::Fork(first, second) = fault else { panic!("{fault}") };
    let side = |url: &str, header| Forked { url: url.to_owned(), header };
    assert_eq!((*first, *second), (side("long", of_long), side("short", tip(&short))));
}

/// Whoever has the keys of a quorum offers a long ledger and sends nothing of it. Meanwhile the others have as long a one.
#[tokio::test(start_paused = true)]
async fn who_has_another_block_above_what_it_proved_is_no_liar() {
    let base = grown(&Chain::new(consortium(5)), 1, 3);
    let (forged, honest) = (grown(&base, 10, 5), grown(&base, 20, 9));
    let offered = Holder::new(&base).offer;
    let silent = Source { sends: |_| false, ..source("silent", &forged) };
    let fault = joined(vec![Source { offer: offered, ..source("honest", &honest) }, silent]).await;
    // All of it came: only that these blocks stand in no raft log is missing.
    let place = base.tip.height;
    let is_of_base = matches!(&fault, JoinFault::Restore(RestoreFault::WrongPlace { height, .. }) if *height == place);
    assert!(is_of_base, "{fault}");
}
