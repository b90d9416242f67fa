//! Standing for leader, leading, and the ways to lie.

use super::*;

/// What a lying validator does beside or instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Says nothing at all.
    Silent,
    /// Votes in both rounds for every block that it sees, whatever it signed before.
    VotesForAll,
    /// As a leader shows different blocks of one view to the two halves of the others.
    ShowsTwoChains,
    /// As a leader shows its blocks to f of the others only.
    ShowsItToFew,
    /// Collects grants as soon as it can, and then does nothing.
    LeadsSilently,
    /// Gives up all views all the time, and votes in them.
    NullifiesAndFinalizes,
    /// Sends its votes to some only.
    VotesToSome,
    /// Proposes what nobody can execute.
    ProposesNonsense,
    /// Proposes with a clock an hour late.
    ProposesLate,
}

pub(super) const LIES: [Lie; 9] = [
    Lie::Silent,
    Lie::VotesForAll,
    Lie::ShowsTwoChains,
    Lie::ShowsItToFew,
    Lie::LeadsSilently,
    Lie::NullifiesAndFinalizes,
    Lie::VotesToSome,
    Lie::ProposesNonsense,
    Lie::ProposesLate,
];

impl World {
    pub(super) fn stand(&mut self, node: usize, term: u64, permit: Option<Nullification>, parent: Option<Certificate>) {
        if self.nodes[node].standing.as_ref().is_none_or(|(standing, ..)| *standing != term) {
            self.nodes[node].grants.clear();
        }
        self.nodes[node].standing = Some((term, permit, parent));
        self.ask_for_grants(node);
    }

    pub(super) fn ask_for_grants(&mut self, node: usize) {
        let Some((term, permit, parent)) = self.nodes[node].standing.clone() else { return };
        if self.nodes[node].leads == Some(term) {
            return;
        }
        self.broadcast(node, &Message::Candidate { term, permit: permit.clone(), parent: parent.clone() });
        self.input(node, Input::Candidate { term, candidate: Self::id(node), permit, parent });
    }

    pub(super) fn granted(&mut self, node: usize, grant: SignedGrant) {
        let Some((term, permit, _)) = self.nodes[node].standing.clone() else { return };
        if grant.statement.term != term || grant.statement.candidate != Self::id(node) {
            return;
        }
        let state = &mut self.nodes[node];
        state.grants.insert(grant.validator);
        if state.grants.len() >= state.voter.validators().quorum() && state.leads != Some(term) {
            (state.leads, state.permit) = (Some(term), permit);
            self.input(node, Input::Leads { term, leader: Self::id(node) });
        }
    }

    pub(super) fn lead(&mut self, node: usize) {
        let Some(term) = self.nodes[node].leads else { return };
        let after = self.nodes[node].log.last().map_or(Digest::ZERO, |last| last.chain);
        let Some(place) = self.nodes[node].voter.may_propose(term, after) else { return };
        let mut time = self.moment().wall;
        if self.lie_of(node) == Some(Lie::ProposesLate) {
            time = Timestamp::new(time.get() - 3_600_000);
        }
        let Some(signer) = self.nodes[node].voter.signer().cloned() else { return };
        let mut block = propose(&self.chain.consortium, place, &signer, time, Vec::new()).block;
        if self.lie_of(node) == Some(Lie::ProposesNonsense) {
            block.header.state_root = Digest([9; 32]);
            block.proposal = block.header.sign(&signer.key);
        }
        let chain = chain_of(after, &block);
        self.flush(node, LogEntry { block, chain });
        self.show_log(node);
    }

    pub(super) fn show_log(&mut self, node: usize) {
        let Some(term) = self.nodes[node].leads else { return };
        let (permit, log) = (self.nodes[node].permit.clone(), self.nodes[node].log.clone());
        let few = self.nodes[node].voter.validators().faults_max();
        let Some(signer) = self.nodes[node].voter.signer().cloned() else { return };
        for (rank, to) in self.others(node).into_iter().enumerate() {
            let mut log = log.clone();
            match self.lie_of(node) {
                Some(Lie::LeadsSilently) => continue,
                Some(Lie::ShowsItToFew) if rank >= few => continue,
                Some(Lie::ShowsTwoChains) if rank % 2 == 1 => {
                    if let Some(mut last) = log.pop() {
                        let header = &mut last.block.header;
                        header.time = Timestamp::new(header.time.get() + 1);
                        last.block.proposal = header.sign(&signer.key);
                        let before = log.last().map_or(Digest::ZERO, |before| before.chain);
                        last.chain = chain_of(before, &last.block);
                        log.push(last);
                    }
                }
                _ => {}
            }
            self.send(node, to, Message::Append { term, permit: permit.clone(), log });
        }
    }

    pub(super) fn lie(&mut self, node: usize, lie: Lie) {
        let Some(key) = self.nodes[node].voter.signer().cloned() else { return };
        let last = self.nodes.iter().filter_map(|other| other.log.last()).map(|entry| entry.block.clone());
        let blocks: Vec<Block> = last.collect();
        let (consortium, term) = (self.chain.consortium.id(), self.nodes[node].voter.term());
        let epoch = epoch_of(term);
        match lie {
            Lie::VotesForAll | Lie::NullifiesAndFinalizes => {
                for block in blocks {
                    for kind in [VoteKind::Notarize, VoteKind::Finalize] {
                        let vote = Signed::sign(Ballot::for_header(kind, &block.header), &key);
                        self.broadcast(node, &Message::Vote(vote));
                    }
                }
            }
            Lie::LeadsSilently if self.nodes[node].voter.permit().is_some() || term == View::first_term(epoch) => {
                let permit = self.nodes[node].voter.permit();
                let best = self.nodes[node].voter.best_certificate();
                let parent = best.filter(|best| best.view.epoch() == epoch).cloned();
                self.broadcast(node, &Message::Candidate { term, permit, parent });
            }
            _ => {}
        }
        if lie == Lie::NullifiesAndFinalizes {
            let through = term + self.dice.below(3);
            let nullify = Nullify { consortium, epoch, from: View { number: 1, ..View::start_of(epoch) }, through };
            self.broadcast(node, &Message::Nullify(Signed::sign(nullify, &key), None));
        }
    }
}
