//! One leader that turns to lying, until all are at one height again.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::{
    EVENTS_PER_S, Lie,
    sight::{Chain, Sight},
};
use crate::bench::{
    BenchFault,
    ledger::{
        consortium::{Heard, NODES, Validators},
        kills::begin,
        member::wrong,
        orders::{Order, Word},
    },
};

/// Between two lies, at least, after everybody is back.
const CALM: Duration = Duration::from_millis(500);
/// An honest validator that lacks a final block for so long does not get one any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who lied is as far as the others within this time, or starts again.
const BACK: Duration = Duration::from_secs(4);

/// How one leader's lie went.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The time of the slowest honest validator: see docs/benches.md.
    pub(super) took: Duration,
    /// A block of a later leader became final at every honest validator.
    pub(super) is_deposed: bool,
    /// Every honest validator had a final block again.
    pub(super) is_recovered: bool,
    /// Messages that were sent, changed or held back.
    pub(super) told: u64,
    /// Who lied had to start again.
    pub(super) is_restarted: bool,
    /// All are at one height again.
    pub(super) is_settled: bool,
    /// Two validators hold different final blocks of one height.
    pub(super) is_forked: bool,
}

/// Waits until who leads has a final block, and lets it lie, or the one after it.
pub(super) fn one_run(validators: &mut Validators, lie: &Lie) -> Result<Outcome, BenchFault> {
    thread::sleep(CALM);
    let (leader, term) = present_leader(validators)?;
    let (liar, began) = match lie.of_elected {
        true => elect(validators, lie, leader, term)?,
        false => {
            let began = Instant::now();
            validators.tell(leader, &Order::Lie(Some(lie.name.clone())))?;
            (leader, began)
        }
    };
    let honest = validators.nodes().into_iter().filter(|node| *node != liar);
    let mut sights: BTreeMap<u32, Sight> = honest.map(|node| (node, Sight::new(began))).collect();
    let mut chain = Chain::default();
    // An elected liar was heard already.
    let mut has_begun = lie.of_elected;
    while began.elapsed() < PATIENCE && !sights.values().all(Sight::is_over) {
        let Some(Heard { node, at, word }) = validators.hear_any(Duration::from_secs(1)) else {
            if let Some((node, how)) = validators.ended()?.filter(|(node, _)| *node != liar) {
                return Err(wrong(format!("after the lie {} the honest validator {node} ended with {how}", lie.name)));
            }
            continue;
        };
        has_begun |= matches!(word, Word::Lied(_));
        let (Word::Final { height, term: of, leader, authors, digest }, Some(sight)) = (word, sights.get_mut(&node))
        else {
            continue;
        };
        chain.takes(node, height, &digest);
        // A liar's own entries serve nobody else.
        if at > began && authors.iter().any(|author| *author != liar) {
            sight.sees_final(at, of > term && leader != liar);
        }
    }
    let took = sights.values().map(Sight::took).max().unwrap_or_default();
    let is_recovered = sights.values().all(Sight::is_over);
    let is_deposed = sights.values().all(|sight| sight.recovered.is_some());
    let (told, is_restarted, is_settled) = settle(validators, liar, has_begun, &mut chain)?;
    Ok(Outcome { took, is_deposed, is_recovered, told, is_restarted, is_settled, is_forked: chain.is_forked })
}

/// Lets the next leader lie from its first message on: the present one starts again, which ends its term. Who lies, and
/// when that began.
fn elect(validators: &mut Validators, lie: &Lie, leader: u32, term: u64) -> Result<(u32, Instant), BenchFault> {
    // Turns go round with the terms, and pass over the last leader.
    let first = u32::try_from((term + 1) % u64::from(NODES)).unwrap_or_default();
    let liar = if first == leader { (first + 1) % NODES } else { first };
    validators.tell(liar, &Order::Lie(Some(lie.name.clone())))?;
    while let Some(heard) = validators.hear(PATIENCE)? {
        if matches!(heard.word, Word::Lied(_)) {
            break;
        }
    }
    let began = validators.kill(leader)?;
    validators.spawn(leader)?;
    begin(validators, leader, EVENTS_PER_S)?;
    Ok((liar, began))
}

/// Ends the lie and waits until all are at one height: how many messages it concerned, whether the liar had to start
/// again, and whether they are.
fn settle(
    validators: &mut Validators,
    liar: u32,
    mut has_begun: bool,
    chain: &mut Chain,
) -> Result<(u64, bool, bool), BenchFault> {
    // It may have ended by itself.
    let mut told = validators.tell(liar, &Order::Lie(None)).is_err().then_some(1);
    chain.heights.clear();
    let since = Instant::now();
    let (mut is_restarted, mut is_settled) = (false, false);
    while since.elapsed() < 8 * BACK && !(is_settled && told.is_some()) {
        match validators.hear_any(Duration::from_millis(100)) {
            Some(Heard { node, word: Word::Final { height, digest, .. }, .. }) => {
                chain.takes(node, height, &digest);
                is_settled |= chain.is_even();
            }
            // Its first answer is that it begins.
            Some(Heard { word: Word::Lied(_), .. }) if !has_begun => has_begun = true,
            Some(Heard { word: Word::Lied(messages), .. }) => told = Some(messages),
            _ => {}
        }
        if !is_settled && !is_restarted && since.elapsed() > BACK {
            validators.kill(liar)?;
            validators.spawn(liar)?;
            begin(validators, liar, EVENTS_PER_S)?;
            (is_restarted, told) = (true, told.or(Some(1)));
        }
    }
    Ok((told.unwrap_or_default(), is_restarted, is_settled))
}

/// Who leads, and the term of its last final block.
fn present_leader(validators: &mut Validators) -> Result<(u32, u64), BenchFault> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let found = validators.leader()?;
        while let Some(heard) = validators.hear(PATIENCE)? {
            let Word::Final { term, leader, .. } = heard.word else { continue };
            if leader == found {
                return Ok((leader, term));
            }
            break;
        }
    }
    Err(wrong("nothing becomes final"))
}
