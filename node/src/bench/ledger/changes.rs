//! The operators change who they are while events come in: a key of an operator and one of a node are rotated, an operator
//! and its node are added, and another operator is removed. How long nothing became final.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use genesis::{Consortium, Node, Operator, OperatorId};
use ledger::{
    block::View,
    governance::{Action, KeyClaim, Member, Rotation},
};
use wallet::{
    codec,
    digest::{from_hex, to_hex},
    identity::SecretKey,
    units::NodeId,
};

use super::{
    Figures, LedgerArgs,
    consortium::{NODES, Unsigned, Validators, silent},
    decided::decided,
    kills,
    member::wrong,
    orders::{Order, Word},
};
use crate::{
    bench::BenchFault,
    demo::setup::free_addresses,
    joining::{self, Asker, Source},
    session::context::random,
    tls::client::Roots,
};

/// Before the first change, between two, and after the last.
const CALM: Duration = Duration::from_secs(3);
/// What is decided takes effect.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events a second.
const LOAD: f64 = 200.0;
/// The validator whose keys are rotated, the one that leaves, and the one that comes.
const ROTATED: u32 = 1;
const LEAVING: u32 = 3;
const COMING: u32 = NODES;

pub(super) fn figures(figures: &mut Figures, args: &LedgerArgs, program: &Path, dir: &Path) -> Result<(), BenchFault> {
    let mut changes = Changes::start(args, program, dir)?;
    let began = Instant::now();
    changes.pass(CALM)?;
    changes.rotate_operator()?;
    changes.rotate_node()?;
    changes.add()?;
    changes.remove()?;
    let gaps = changes.gaps(began);
    figures.set("missed_blocks", gaps.iter().map(Duration::as_secs).sum::<u64>());
    figures.set("change_gap_ms_max", gaps.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3);
    figures.set("change_epochs", View { term: changes.term, number: 0 }.epoch());
    Ok(())
}

struct Changes {
    validators: Validators,
    consortium: Arc<Consortium>,
    operators: Vec<(OperatorId, SecretKey)>,
    /// Of all nodes, by number.
    node_keys: Vec<SecretKey>,
    /// When a height was first final at a validator that stays.
    finals: BTreeMap<u64, Instant>,
    /// The highest height of each validator.
    heights: BTreeMap<u32, u64>,
    /// Of the last block.
    term: u64,
}

impl Changes {
    fn start(args: &LedgerArgs, program: &Path, dir: &Path) -> Result<Self, BenchFault> {
        let unsigned = Unsigned::without_lock()?;
        let consortium = unsigned.sign()?.verify().map_err(wrong)?;
        let Unsigned { operators, seeds, .. } = unsigned;
        let node_keys = seeds.iter().map(|seed| secret(seed)).collect::<Result<_, _>>()?;
        let mut validators = Validators::prepare(program, dir, args.seed, &consortium, seeds)?;
        validators.set_next_key(ROTATED, to_hex(&random::<32>()));
        validators.start_all()?;
        for node in 0..NODES {
            kills::begin(&mut validators, node, LOAD)?;
        }
        Ok(Self {
            validators,
            consortium: Arc::new(consortium),
            operators,
            node_keys,
            finals: BTreeMap::new(),
            heights: BTreeMap::new(),
            term: 0,
        })
    }

    /// An operator has another key: the state changes, and nobody's vote.
    fn rotate_operator(&mut self) -> Result<(), BenchFault> {
        let place = ROTATED as usize;
        let (operator, key) = self.operators[place].clone();
        let next = SecretKey::from_seed(&random());
        let action = self.rotation(Member::Operator(operator), &key, &next);
        self.decide(vec![action])?;
        self.operators[place].1 = next;
        self.pass(CALM)
    }

    /// A validator votes with another key: an epoch begins.
    fn rotate_node(&mut self) -> Result<(), BenchFault> {
        let place = ROTATED as usize;
        let (key, next) = (self.node_keys[place].clone(), self.validators.next_key(ROTATED)?);
        let next = secret(&next)?;
        let action = self.rotation(Member::Node(NodeId::new(ROTATED)), &key, &next);
        self.decide(vec![action])?;
        self.node_keys[place] = next;
        self.pass(CALM)
    }

    /// An operator and its node come. The node joins from what the others hand out, catches up, and is reinstated: an
    /// epoch begins.
    fn add(&mut self) -> Result<(), BenchFault> {
        let consortium = self.consortium.id();
        let (operator_key, seed) = (SecretKey::from_seed(&random()), to_hex(&random::<32>()));
        let node_key = secret(&seed)?;
        let id: OperatorId = format!("op-{COMING}").parse().map_err(wrong)?;
        let operator = Operator { id: id.clone(), name: format!("Operator {COMING}"), key: operator_key.public_key() };
        let consent = KeyClaim::Operator(&operator).sign(&consortium, &operator_key);
        self.decide(vec![Action::AddOperator { operator, consent }])?;
        self.operators.push((id.clone(), operator_key.clone()));
        let address = free_addresses(1).map_err(wrong)?[0];
        let node = Node {
            name: format!("node-{COMING}").parse().map_err(wrong)?,
            operator: id,
            key: node_key.public_key(),
            peer: address,
            api: format!("http://127.0.0.1:{}", 9 + COMING),
            ..self.consortium.nodes()[0].clone()
        };
        let sign = |key: &SecretKey| KeyClaim::Node(&node).sign(&consortium, key);
        let (consent, by_operator) = (sign(&node_key), sign(&operator_key));
        self.decide(vec![Action::AddNode { node, consent, by_operator }])?;
        self.node_keys.push(node_key.clone());
        self.join(seed, &node_key)?;
        self.validators.spawn(COMING)?;
        self.validators.tell(COMING, &Order::Watch)?;
        let known = self.highest();
        self.until("the newcomer has what was final when it started", |changes| changes.height(COMING) > known)?;
        let key = node_key.public_key();
        self.decide(vec![Action::Reinstate { member: Member::Node(NodeId::new(COMING)), key }])?;
        kills::begin(&mut self.validators, COMING, LOAD)?;
        self.pass(CALM)
    }

    fn join(&mut self, seed: String, key: &SecretKey) -> Result<(), BenchFault> {
        let asker = Asker { consortium: self.consortium.id(), key: key.clone() };
        let mut sources = Vec::new();
        for node in 0..2 {
            let Word::Serving(url) = self.ask(node, &Order::Serve, |word| matches!(word, Word::Serving(_)))? else {
                return Err(wrong("no address"));
            };
            sources.push(Source::new(&Roots::System, &url, asker.clone()).map_err(wrong)?);
        }
        let folder = self.validators.add(seed);
        let order = joining::Order {
            consortium: self.consortium.clone(),
            re_geneses: Vec::new(),
            key: key.public_key(),
            folder: folder.clone().into(),
            replays: false,
        };
        folder.parent().map_or(Ok(()), fs::create_dir_all)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(joining::join(sources, order, |_| {})).map_err(wrong)?;
        Ok(())
    }

    /// An operator leaves with its node: an epoch begins.
    fn remove(&mut self) -> Result<(), BenchFault> {
        let operator = self.operators[LEAVING as usize].0.clone();
        self.decide(vec![Action::Suspend(Member::Operator(operator.clone()))])?;
        // It has no vote any more.
        self.operators.retain(|(id, _)| *id != operator);
        self.pass(CALM)?;
        self.decide(vec![Action::Remove(Member::Operator(operator))])?;
        self.validators.kill(LEAVING)?;
        self.pass(CALM)
    }

    fn rotation(&self, member: Member, key: &SecretKey, next: &SecretKey) -> Action {
        let rotation = Rotation { member, from: key.public_key(), to: next.public_key() };
        let sign = |key| KeyClaim::Rotation(&rotation).sign(&self.consortium.id(), key);
        let (consent, by_old_key) = (sign(next), Some(sign(key)));
        Action::RotateKey { rotation, consent, by_old_key }
    }

    /// Enough operators propose, approve and enact.
    fn decide(&mut self, actions: Vec<Action>) -> Result<(), BenchFault> {
        let electorate = match self.ask(0, &Order::Electorate, |word| matches!(word, Word::Electorate(_)))? {
            Word::Electorate(electorate) => electorate,
            _ => return Err(wrong("no electorate")),
        };
        let consortium = self.consortium.id();
        for entries in decided(consortium, electorate, &self.operators, actions, &self.node_keys[0])? {
            let entries = codec::encode(&entries);
            let said = self.ask(0, &Order::Submit(entries), |word| matches!(word, Word::Submitted(_)))?;
            if let Word::Submitted(Some(why)) = said {
                return Err(wrong(format!("what the operators decided is refused: {why}")));
            }
        }
        Ok(())
    }

    /// Tells a validator, and waits for its answer.
    fn ask(&mut self, node: u32, order: &Order, answers: fn(&Word) -> bool) -> Result<Word, BenchFault> {
        self.validators.tell(node, order)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (from, word) = self.hear(deadline)?.ok_or_else(|| silent("an answer"))?;
            if from == node && answers(&word) {
                return Ok(word);
            }
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), BenchFault> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            self.hear(deadline)?.ok_or_else(|| silent(what))?;
        }
        Ok(())
    }

    /// Events come in for so long.
    fn pass(&mut self, time: Duration) -> Result<(), BenchFault> {
        let end = Instant::now() + time;
        while self.hear(end)?.is_some() {}
        Ok(())
    }

    /// What is said next; none when the time is over.
    fn hear(&mut self, until: Instant) -> Result<Option<(u32, Word)>, BenchFault> {
        let left = until.saturating_duration_since(Instant::now());
        let Some(heard) = self.validators.hear(left)? else { return Ok(None) };
        if let Word::Final { height, term, .. } = heard.word {
            if heard.node < LEAVING {
                self.finals.entry(height).or_insert(heard.at);
                self.term = self.term.max(term);
            }
            let highest = self.heights.entry(heard.node).or_default();
            *highest = height.max(*highest);
        }
        Ok((!left.is_zero()).then_some((heard.node, heard.word)))
    }

    fn height(&self, node: u32) -> u64 {
        self.heights.get(&node).copied().unwrap_or_default()
    }

    fn highest(&self) -> u64 {
        self.heights.values().max().copied().unwrap_or_default()
    }

    /// The times between final blocks, from `began` until now.
    fn gaps(&self, began: Instant) -> Vec<Duration> {
        let mut moments: BTreeSet<Instant> = self.finals.values().copied().filter(|at| *at > began).collect();
        moments.extend([began, Instant::now()]);
        let moments: Vec<Instant> = moments.into_iter().collect();
        moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn secret(seed: &str) -> Result<SecretKey, BenchFault> {
    from_hex(seed).map(|seed| SecretKey::from_seed(&seed)).map_err(wrong)
}
