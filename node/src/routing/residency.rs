//! Which prefix blocks this node's engine holds, and what each peer was told about them.
//!
//! A block is told only to the nodes that its tenant's policy allows. A peer is told the difference to what it knows;
//! after a lost message, or when it started anew, it is told everything again, after a `cleared`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use wallet::{digest::Digest, units::NodeId};

use super::messages::{Gossip, HASHES_MAX};

/// Who may know of a block.
pub type Audience = Arc<BTreeSet<NodeId>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Residency {
    held: HashMap<Digest, Audience>,
    peers: BTreeMap<NodeId, Told>,
}

/// What a peer is still to be told.
#[derive(Debug)]
struct Told {
    /// The receiver's boot, from its last answer.
    boot: Option<[u8; 16]>,
    /// The next message begins anew.
    cleared: bool,
    /// By block: whether it is held. The last word counts.
    pending: BTreeMap<Digest, bool>,
}

impl Residency {
    /// From now on these are to be told: a new one everything.
    pub fn tell(&mut self, peers: &[NodeId]) {
        self.peers.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            let told = || Told { boot: None, cleared: true, pending: BTreeMap::new() };
            self.peers.entry(*peer).or_insert_with(told);
        }
    }

    /// The engine holds `block`, of which `audience` may know.
    pub fn stored(&mut self, block: Digest, audience: Audience) {
        for node in audience.iter() {
            if let Some(told) = self.peers.get_mut(node) {
                told.pending.insert(block, true);
            }
        }
        self.held.insert(block, audience);
    }

    /// The engine holds `block` no longer.
    pub fn removed(&mut self, block: &Digest) {
        let Some(audience) = self.held.remove(block) else { return };
        for node in audience.iter() {
            if let Some(told) = self.peers.get_mut(node) {
                told.pending.insert(*block, false);
            }
        }
    }

    /// The engine holds nothing.
    pub fn cleared(&mut self) {
        self.held.clear();
        self.peers.values_mut().for_each(Told::begin_anew);
    }

    /// How many blocks the engine holds, as far as it told.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether `peer` has something to be told.
    pub fn has_news(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|told| told.cleared || !told.pending.is_empty())
    }

    /// What `peer` is told next, as much as one message holds; the load is not filled in. It counts as told until
    /// [`Residency::lost`].
    pub fn next(&mut self, peer: NodeId) -> Gossip {
        let Some(told) = self.peers.get_mut(&peer) else { return Gossip::default() };
        let cleared = std::mem::take(&mut told.cleared);
        if cleared {
            let may_know = self.held.iter().filter(|(_, audience)| audience.contains(&peer));
            told.pending = may_know.map(|(block, _)| (*block, true)).collect();
        }
        let mut gossip = Gossip { cleared, ..Gossip::default() };
        for _ in 0..HASHES_MAX {
            let Some((block, held)) = told.pending.pop_first() else { break };
            if held { gossip.stored.push(block) } else { gossip.removed.push(block) }
        }
        gossip
    }

    /// `peer` answered. If it is not in the boot in which it was told everything else, it is told everything again.
    pub fn answered(&mut self, peer: NodeId, boot: [u8; 16], was_cleared: bool) {
        if let Some(told) = self.peers.get_mut(&peer) {
            if told.boot.is_some_and(|known| known != boot) && !was_cleared {
                told.begin_anew();
            }
            told.boot = Some(boot);
        }
    }

    /// Nobody knows whether `peer` got the last message.
    pub fn lost(&mut self, peer: NodeId) {
        if let Some(told) = self.peers.get_mut(&peer) {
            told.begin_anew();
        }
    }
}

impl Told {
    fn begin_anew(&mut self) {
        self.cleared = true;
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: NodeId = NodeId::new(1);
    const FORBIDDEN: NodeId = NodeId::new(2);
    const BLOCK: Digest = Digest([7; 32]);

    fn residency() -> Residency {
        let mut residency = Residency::default();
        residency.tell(&[ALLOWED, FORBIDDEN]);
        for peer in [ALLOWED, FORBIDDEN] {
            assert!(residency.next(peer).cleared, "the first message begins anew");
            residency.answered(peer, [1; 16], true);
        }
        residency
    }

    fn audience() -> Audience {
        Arc::new([ALLOWED].into())
    }

    #[test]
    fn a_block_is_told_to_its_audience_alone() {
        let mut residency = residency();
        residency.stored(BLOCK, audience());
        assert!(!residency.has_news(FORBIDDEN));
        assert_eq!(residency.next(FORBIDDEN), Gossip::default());
        assert_eq!(residency.next(ALLOWED).stored, [BLOCK]);
        residency.removed(&BLOCK);
        assert!(!residency.has_news(FORBIDDEN), "not even that it is gone");
        assert_eq!(residency.next(ALLOWED).removed, [BLOCK]);
    }

    #[test]
    fn the_last_word_counts() {
        let mut residency = residency();
        residency.stored(BLOCK, audience());
        residency.removed(&BLOCK);
        residency.stored(BLOCK, audience());
        let gossip = residency.next(ALLOWED);
        assert_eq!((gossip.stored, gossip.removed), (vec![BLOCK], vec![]));
    }

    #[test]
    fn after_a_lost_message_everything_is_told_again_to_those_who_may_know() {
        let mut residency = residency();
        residency.stored(BLOCK, audience());
        let _lost = residency.next(ALLOWED);
        for peer in [ALLOWED, FORBIDDEN] {
            residency.lost(peer);
        }
        let (allowed, forbidden) = (residency.next(ALLOWED), residency.next(FORBIDDEN));
        assert_eq!((allowed.cleared, allowed.stored), (true, vec![BLOCK]));
        assert_eq!((forbidden.cleared, forbidden.stored), (true, vec![]));
    }

    #[test]
    fn a_peer_that_started_anew_is_told_everything_again() {
        let mut residency = residency();
        residency.stored(BLOCK, audience());
        let _told = residency.next(ALLOWED);
        residency.answered(ALLOWED, [1; 16], false);
        assert!(!residency.has_news(ALLOWED));
        residency.answered(ALLOWED, [2; 16], false);
        assert_eq!(residency.next(ALLOWED).stored, [BLOCK]);
    }

    #[test]
    fn what_one_message_cannot_hold_follows_in_the_next() {
        let mut residency = residency();
        let block = |i: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&i.to_be_bytes());
            Digest(hash)
        };
        (0..HASHES_MAX + 3).for_each(|i| residency.stored(block(i), audience()));
        let (first, second) = (residency.next(ALLOWED), residency.next(ALLOWED));
        assert_eq!((first.stored.len(), second.stored.len()), (HASHES_MAX, 3));
        assert!(first.is_bounded() && !residency.has_news(ALLOWED));
    }
}
