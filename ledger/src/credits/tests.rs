use super::*;
use crate::testing::{Chain, Session, consortium};

fn latency(inter_token_p50_us: u64, samples: u32) -> Latency {
    Latency { inter_token_p50: Micros::new(inter_token_p50_us), samples }
}

fn settled(before: Latency, after: Latency) -> Earned {
    settle(consortium(4).parameters(), false, Some((before, after)), BlockHeight::new(10))
}

/// A move from node 0 to 1 with a baseline, and its delta.
fn moved(before_us: u64, after_us: u64) -> Chain {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let baseline = session.baseline(&session.record(&chain), before_us, 20);
    chain.push(baseline.clone()).expect("valid");
    session.hop(&mut chain, 1, Some(baseline.id())).expect("valid");
    chain.push(session.delta(&session.record(&chain), baseline.id(), after_us, 20)).expect("valid");
    session.hop(&mut chain, 2, None).expect("valid");
    chain
}

#[test]
fn a_faster_hop_pays_its_destination_by_the_millisecond() {
    let chain = moved(30_000, 20_000);
    let account = chain.tip.state.account(NodeId::new(1));
    assert_eq!(account.balance(chain.tip.height), 10);
    assert_eq!(chain.tip.state.account(NodeId::new(0)), Account::default());
    let reasons: Vec<_> = chain.tip.state.awards().filter(|award| award.node == NodeId::new(2)).collect();
    assert_eq!(reasons[0].earned, Earned::Nothing(NothingEarned::NoBaseline));
}

#[test]
fn lots_expire_by_height() {
    let chain = moved(30_000, 20_000);
    let account = chain.tip.state.account(NodeId::new(1));
    let expires_at = account.lots[0].expires_at;
    assert!(expires_at.get() >= chain.tip.height.get() + 90_000);
    assert_eq!(account.balance(BlockHeight::new(expires_at.get() - 1)), 10);
    assert_eq!(account.balance(expires_at), 0);
}

#[test]
fn nothing_is_earned_without_enough_samples_or_enough_gain() {
    assert!(matches!(settled(latency(30_000, 8), latency(20_000, 8)), Earned::Lot(Lot { amount: 10, .. })));
    for (before, after, reason) in [
        (latency(30_000, 7), latency(20_000, 8), NothingEarned::TooFewSamples),
        (latency(30_000, 8), latency(20_000, 7), NothingEarned::TooFewSamples),
        (latency(30_000, 8), latency(27_001, 8), NothingEarned::NotFaster),
        (latency(30_000, 8), latency(40_000, 8), NothingEarned::NotFaster),
        (latency(0, 8), latency(0, 8), NothingEarned::NotFaster),
        (latency(900, 8), latency(1, 8), NothingEarned::BelowOneCredit),
    ] {
        assert_eq!(settled(before, after), Earned::Nothing(reason));
    }
    let measured = Some((latency(9, 9), latency(1, 9)));
    let own = settle(consortium(4).parameters(), true, measured, BlockHeight::ZERO);
    assert_eq!(own, Earned::Nothing(NothingEarned::SameOperator));
}

#[test]
fn a_hop_is_settled_once_and_by_the_baseline_of_its_offer() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let baselines = [9_000, 90_000].map(|us| session.baseline(&session.record(&chain), us, 20));
    for baseline in &baselines {
        chain.push(baseline.clone()).expect("valid");
    }
    session.hop(&mut chain, 1, Some(baselines[0].id())).expect("valid");
    let wallet = session.record(&chain);
    let better = chain.push(session.delta(&wallet, baselines[1].id(), 10, 20));
    assert_eq!(better, Err(crate::refusal::Refusal::DeltaForeign));
    chain.push(session.delta(&wallet, baselines[0].id(), 1_000, 20)).expect("valid");
    let twice = chain.push(session.delta(&wallet, baselines[0].id(), 10, 20));
    assert_eq!(twice, Err(crate::refusal::Refusal::HopSettled { epoch: wallet.epoch }));
}

#[test]
fn the_awards_are_rederived_from_the_entries_alone() {
    for after in [20_000, 40_000] {
        let chain = moved(30_000, after);
        let rederived = rederive(&chain.consortium, chain.entries()).awards;
        let recorded: BTreeMap<_, _> =
            chain.tip.state.awards().map(|award| ((award.wallet, award.epoch), award)).collect();
        assert_eq!(rederived.len(), 2);
        assert_eq!(rederived, recorded);
    }
}

#[test]
fn awards_follow_the_parameters_and_the_nodes_that_governance_set() {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    let (name, from, to) = ("credit_per_ms".to_owned(), 1, 3);
    chain.enact(vec![Action::SetParameter { name, from, to }]).expect("valid");
    chain.join(4, 1).expect("valid");
    for (receiver, earned) in [
        (1, Earned::Lot(Lot { amount: 30, expires_at: BlockHeight::ZERO })),
        // Node 4 is of the operator that runs node 1.
        (4, Earned::Nothing(NothingEarned::SameOperator)),
    ] {
        let baseline = session.baseline(&session.record(&chain), 30_000, 20);
        chain.push(baseline.clone()).expect("valid");
        session.hop(&mut chain, receiver, Some(baseline.id())).expect("valid");
        let wallet = session.record(&chain);
        chain.push(session.delta(&wallet, baseline.id(), 20_000, 20)).expect("valid");
        let award = chain.tip.state.award(session.address, wallet.epoch).expect("settled").earned;
        let award = match award {
            Earned::Lot(lot) => Earned::Lot(Lot { expires_at: BlockHeight::ZERO, ..lot }),
            nothing => nothing,
        };
        assert_eq!(award, earned);
    }
    let recorded: BTreeMap<_, _> = chain.tip.state.awards().map(|award| ((award.wallet, award.epoch), award)).collect();
    let rederived = rederive(&chain.consortium, chain.entries());
    assert_eq!(rederived.awards, recorded);
    assert_eq!(rederived.nodes, chain.tip.state.nodes().map(|(_, record)| record.node).collect::<Vec<_>>());
}

#[test]
fn an_account_stays_small() {
    let mut account = Account::default();
    for height in 0..5_000 {
        let at = BlockHeight::new(height);
        account.add(Lot { amount: 1, expires_at: expiry(at, 1_000) }, at);
        assert!(account.lots.len() <= 70, "{} lots at {height}", account.lots.len());
    }
    assert!((1_000..=1_070).contains(&account.balance(BlockHeight::new(4_999))));
}
