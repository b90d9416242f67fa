//! Chains with an entry of each kind, and with an action of each kind of governance.

use genesis::Auditor;
use wallet::{
    digest::Digest,
    gate::{
        GateLabel,
        dkg::{Complaint, Notice},
    },
    grant::WalletAddress,
    units::{KeyEpoch, NodeId},
};

use super::{
    Chain, Session, consortium, consortium_with,
    gates::{KeyGeneration, gated},
    next_node_key, node_key, operator_id,
};
use crate::{
    event::{AbortReason, BatchEvicted, Entry, Event, GateWord},
    governance::{Action, Member},
    state::{GateScope, WalletRecord},
};

/// Four nodes, and a wallet that moved once.
#[derive(Debug)]
pub struct EveryEntry {
    /// The wallet's session.
    pub session: Session,
    /// The wallet when it was created.
    pub wallet: WalletRecord,
    /// All blocks of the move.
    pub moved: Chain,
    /// What could follow, one by one, and of a consortium with gates a notice of each kind.
    pub others: Vec<Entry>,
    /// The same chain after proposals with an action of each kind.
    pub governed: Chain,
    /// The same chain as it begins anew without two operators.
    pub anew: Chain,
}

/// An entry of each kind, most of them final.
pub fn every_entry() -> EveryEntry {
    let consortium = consortium(4);
    let (mut moved, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    moved.push(session.created()).expect("valid");
    let wallet = session.record(&moved);
    let baseline = session.baseline(&wallet, 30_000, 20);
    let evicted =
        BatchEvicted { wallet: wallet.address, head: wallet.head, epoch: wallet.epoch, decision: Digest([1; 32]) };
    let evicted = session.sign(0, Event::BatchEvicted(evicted), Some(&session.epoch_key(0)));
    moved.push(baseline.clone()).expect("valid");
    session.hop(&mut moved, 1, Some(baseline.id())).expect("valid");
    let record = session.record(&moved);
    let others = vec![
        evicted,
        session.delta(&record, baseline.id(), 20_000, 20),
        session.aborted(&record, 1, AbortReason::Source),
        session.touched(&record, 1),
        session.anchored(1, 1, Digest([2; 32])),
        session.closed(&record),
        session.resumed(1, 3),
    ];
    let others = others.into_iter().chain(noticed()).collect();
    let governed = governed(moved.clone());
    let mut anew = moved.clone();
    let lost = [2, 3].map(|number| Member::Operator(operator_id(number))).to_vec();
    anew.begin_anew(0, lost).expect("valid");
    EveryEntry { session, wallet, moved, others, governed, anew }
}

impl EveryEntry {
    /// All entries, each once: of the move, what could follow, of governance, and the re-genesis.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let count = self.moved.entries().count();
        let after = [&self.governed, &self.anew].into_iter().flat_map(move |chain| chain.entries().skip(count));
        let moved = self.moved.entries().map(|(_, entry)| entry);
        moved.chain(&self.others).chain(after.map(|(_, entry)| entry))
    }
}

/// What members say when their gates are made: a plain key, and a notice of each kind. Some are lies.
fn noticed() -> Vec<Entry> {
    let mut chain = Chain::new(consortium_with(4, gated()));
    let region = GateScope::Region("us".to_owned().try_into().expect("a region name"));
    let (gate, share) = chain.plain_gate(&region);
    let plain = chain.noticing(share.node(), &region, chain.plain(gate.clone()));
    let label = GateLabel::unlock(&WalletAddress(Digest([1; 32])), KeyEpoch::ZERO, share.node());
    let (ciphertext, _) = gate.encapsulate(&label, &mut |bytes: &mut [u8]| bytes.fill(2));
    let opening = share.release(&gate.verify(&label, &ciphertext).expect("just made")).expect("its gate");
    let mut generation = KeyGeneration::join(&chain, &GateScope::Global, |_| true);
    let run = *chain.gate(&GateScope::Global).run.expect("under way").transcript.ceremony_hash();
    generation.go_on(&mut chain).expect("valid");
    let said: Vec<_> = chain.entries().map(|(_, entry)| entry.clone()).collect();
    let (first, last) = (said[0].clone(), said[said.len() - 1].clone());
    let package = generation.sent[0].clone();
    let (from, to) = (package.from(), package.to());
    let notices = [
        (to, Notice::Complained(Complaint::Missing { accused: [from].into() })),
        (to, Notice::Complained(Complaint::False { package: package.clone(), opening: Some(Box::new(opening)) })),
        (from, Notice::Answered(package)),
    ];
    let word = |(node, notice)| chain.noticing(node, &GateScope::Global, GateWord::Run { run, notice });
    [plain, first, last].into_iter().chain(notices.map(word)).collect()
}

fn governed(mut chain: Chain) -> Chain {
    let joining = chain.joining_node(4, 1);
    let rotating = chain.rotating(Member::Node(NodeId::new(1)), &node_key(1), &next_node_key(1));
    chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(2)))]).expect("valid");
    let (name, key_hash) = ("Auditor".to_owned(), Digest([3; 32]));
    let actions = vec![
        chain.joining_operator(4),
        joining,
        Action::Suspend(Member::Operator(operator_id(2))),
        chain.reinstating(Member::Operator(operator_id(2))),
        Action::Remove(Member::Node(NodeId::new(2))),
        rotating,
        Action::RevokeKey(next_node_key(0).public_key()),
        Action::GrantAuditor(Auditor { name, key_hash }),
        Action::RevokeAuditor(key_hash),
        Action::SetParameter { name: "credit_per_ms".to_owned(), from: 1, to: 2 },
    ];
    chain.enact(actions).expect("valid");
    let proposal = chain.propose_actions(0, vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
    chain.withdraw(0, proposal).expect("valid");
    chain
}
