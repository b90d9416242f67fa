//! Whom a newcomer asks beside those that it was told of.

use std::{collections::BTreeSet, slice};

use ledger::governance::Member;
use wallet::digest::Digest;

use super::{super::members::addresses, *};

fn set<const N: usize>(urls: [String; N]) -> BTreeSet<String> {
    urls.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_leads_to_all_nodes_that_take_part_also_to_those_that_joined_later() {
    let testbed = testbed(true).await;
    let genesis = testbed.node(0).sessions().context().consortium.id();
    let later = "http://127.0.0.1:2".to_owned();
    // In the name of node 0, which is not told of itself.
    let found = addresses(&[honest(&testbed, 1)], &genesis, &[]).await;
    assert_eq!(found, set([url(&testbed, 1), later]));
    testbed.decide(0, vec![Action::Remove(Member::Node(NodeId::new(2)))]).await;
    testbed.until(1, |members| !members.speaks(NodeId::new(2))).await;
    assert_eq!(addresses(&[honest(&testbed, 1)], &genesis, &[]).await, set([url(&testbed, 1)]), "it left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nothing_proves_is_not_asked() {
    let testbed = testbed(true).await;
    let genesis = testbed.node(0).sessions().context().consortium.id();
    let honest = honest(&testbed, 1);
    let flipping = meddled(&testbed, 1, |_, _, bytes| flipped(&bytes)).await;
    // The record of one node in the place of another's.
    let first = Bytes::from(honest.get("/ledger/v1/snapshot/nodes/0".to_owned()).await.expect("it is there"));
    let repeating = meddled(&testbed, 1, move |_, _, _| Some(first.clone())).await;
    assert_eq!(addresses(slice::from_ref(&flipping), &genesis, &[]).await, BTreeSet::new());
    assert_eq!(addresses(&[repeating], &genesis, &[]).await, BTreeSet::new());
    assert_eq!(addresses(slice::from_ref(&honest), &Digest::ZERO, &[]).await, BTreeSet::new(), "another consortium");
    assert!(!addresses(&[flipping, honest], &genesis, &[]).await.is_empty(), "one honest node is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_out_is_asked_for_nothing_whoever_names_it() {
    let testbed = testbed(true).await;
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let other_side = meddled(&testbed, 0, move |_, _, bytes| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(bytes)
    });
    // Node 1 proves that the newcomer takes part, which nobody named.
    let (other_side, proves) = (other_side.await, url(&testbed, 1));
    let later = "http://127.0.0.1:2";
    let found = async |without: &[&str]| {
        let without: Vec<String> = without.iter().map(|url| format!("{url}/")).collect();
        let chosen = Chosen { named: vec![proves.as_str(), other_side.url()], without: &without, re_geneses: &[] };
        let (sources, dropped) = chosen.sources(&Roots::System, &asker(&testbed)).await.expect("clients");
        assert_eq!(dropped, Vec::new());
        sources.iter().map(|source| source.url().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(found(&[other_side.url()]).await, set([proves.clone(), later.to_owned()]));
    assert_eq!(found(&[other_side.url(), later]).await, set([proves.clone()]), "nor whom another proves");
    assert_eq!(asked.load(Ordering::Relaxed), 0, "not even who takes part");
    assert!(found(&[]).await.contains(other_side.url()), "otherwise it is asked");
    assert!(asked.load(Ordering::Relaxed) > 0);
}
