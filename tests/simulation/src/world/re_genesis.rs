//! A quorum is lost for good, and the operators that are left begin anew: see `docs/operating/re-genesis.md`.

use std::{collections::BTreeSet, fmt::Display, sync::atomic::Ordering};

use ledger::{
    archive::ArchiveReader,
    execute::Executed,
    governance::Member,
    re_genesis::ReGenesisFile,
    shell::{
        backup::Backup,
        fault::Fault,
        final_store::FinalStore,
        re_genesis::{Order, ReGenesisFault, Record, apply, draft},
        restore::restore,
    },
    testing::{operator_id, operator_key, signer},
};
use wallet::units::{NodeId, Timestamp};

use super::{Action, BOUND_MS, World};
use crate::plan::Disaster;

/// At most so often those that are left run once more, until what they know to be final is complete.
const TRIES_MAX: usize = 20;

impl World<'_> {
    /// Loses the nodes of `disaster`, lets the others begin the next lineage, and runs until the network healed in that.
    pub(super) fn begin_anew(&mut self, disaster: &Disaster) -> Result<(), String> {
        let left: BTreeSet<u32> = (0..self.plan.nodes).filter(|node| !disaster.lost.contains(node)).collect();
        self.until_something_is_final(&left)?;
        self.lost = disaster.lost.clone();
        for node in &disaster.lost {
            self.stop(*node, "lost for good");
            self.watch.loses(NodeId::new(*node));
        }
        let file = self.decide(disaster, &left)?;
        self.watch.note(&format_args!("those that are left begin anew on {:?}", file.last().view));
        // Who drafted it has all that is final, and gives it to those that have not.
        let author = file.header().leader.get();
        for node in [author].into_iter().chain(left.iter().copied().filter(|node| *node != author)) {
            self.take(node, &file)?;
        }
        self.watch.begins_anew(&file);
        left.iter().for_each(|node| self.start(*node));
        if disaster.returns {
            self.lost.clear();
            disaster.lost.iter().for_each(|node| self.start(*node));
        }
        for (at, event) in &disaster.events {
            self.later(*at, Action::Begin(event.clone()));
        }
        self.run_until(self.now_ms + disaster.heal_ms)?;
        self.heal();
        Ok(())
    }

    /// Who has nothing final begins with another genesis document.
    fn until_something_is_final(&mut self, left: &BTreeSet<u32>) -> Result<(), String> {
        let until = self.now_ms + BOUND_MS;
        while !left.iter().any(|node| self.watch.shown(NodeId::new(*node)) > 0) {
            if self.now_ms > until {
                return Err(format!("nothing is final: {}", self.describe()));
            }
            self.step()?;
        }
        Ok(())
    }

    /// The operators that are left stop their nodes, and one drafts what all of them sign.
    fn decide(&mut self, disaster: &Disaster, left: &BTreeSet<u32>) -> Result<ReGenesisFile, String> {
        for _ in 0..TRIES_MAX {
            self.run_until(self.now_ms + disaster.settle_ms)?;
            for node in left {
                self.stop(*node, "stopped by its operator");
            }
            match self.draft(disaster, left) {
                Ok(mut file) => {
                    left.iter().try_for_each(|node| file.sign(&operator_key(*node))).map_err(said)?;
                    return Ok(file);
                }
                Err(ReGenesisFault::NotCompleted { .. }) => left.iter().for_each(|node| self.start(*node)),
                Err(fault) => return Err(format!("nobody can begin anew: {fault}")),
            }
        }
        Err("what is final was never complete".to_owned())
    }

    /// On the node that has the highest final block.
    fn draft(&self, disaster: &Disaster, left: &BTreeSet<u32>) -> Result<ReGenesisFile, ReGenesisFault> {
        let mut highest = None;
        for &node in left {
            let node = &self.nodes[node as usize];
            let (_, tip) = FinalStore::open(node.ledger().join("final"), &node.consortium)?;
            highest = highest.max(Some((tip.executed.height, node.id.get())));
        }
        let author = highest.map_or(0, |(_, node)| node);
        let order = Order {
            author: signer(author),
            lost: disaster.lost.iter().map(|operator| Member::Operator(operator_id(*operator))).collect(),
            reason: "they are gone".to_owned(),
            nonce: [9; 16],
            now: self.clock_of(author),
        };
        let node = &self.nodes[author as usize];
        draft(node.ledger(), &node.consortium, order)
    }

    /// A stopped node takes the re-genesis. Who is behind is restored from the archive of the one that drafted it.
    fn take(&self, node: u32, file: &ReGenesisFile) -> Result<(), String> {
        // It may have been stopped before the process came back that died in a write.
        self.nodes[node as usize].disk.restart();
        let taken = match self.apply(node, file, Record::Kept) {
            Err(ReGenesisFault::Behind { .. }) => {
                self.put_back(node, file)?;
                self.apply(node, file, Record::NeverVoted)
            }
            Err(ReGenesisFault::NoRecord) => self.apply(node, file, Record::NeverVoted),
            taken => taken,
        };
        taken.map(drop).map_err(|fault| format!("node {node} does not begin anew: {fault}"))
    }

    fn apply(&self, node: u32, file: &ReGenesisFile, record: Record) -> Result<Executed, ReGenesisFault> {
        self.watch.note(&format_args!("node {node} begins anew: {record:?}"));
        let (host, now) = (&self.nodes[node as usize], self.clock_of(node));
        apply(host.ledger(), &host.consortium, |_| Some(host.id), file, (file.digest(), record, now))
    }

    fn put_back(&self, node: u32, file: &ReGenesisFile) -> Result<(), String> {
        let [host, giver] = [node, file.header().leader.get()].map(|node| &self.nodes[node as usize]);
        let archive = Backup::of_stopped(giver.ledger(), giver.consortium.clone()).map_err(said)?;
        let archive = archive.collect::<Result<Vec<_>, Fault>>().map_err(said)?.concat();
        let mut archive = ArchiveReader::open(archive.as_slice(), &host.consortium.id()).map_err(said)?;
        host.ledger().remove().map_err(said)?;
        self.watch.set_back(host.id);
        restore(&mut archive, host.ledger(), &[file.digest()], |_| {}).map(drop).map_err(said)
    }

    fn clock_of(&self, node: u32) -> Timestamp {
        let skew = self.nodes[node as usize].skew_ms.load(Ordering::Relaxed);
        Timestamp::new(self.clock_ms.load(Ordering::Relaxed).saturating_add_signed(skew))
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}
