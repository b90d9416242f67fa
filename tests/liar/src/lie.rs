//! The lies: what a liar does that no honest node does.

use crate::rng::Rng;

/// Declares each lie once, with what it is.
macro_rules! lies {
    ($($(#[doc = $what:literal])+ $name:ident)*) => {
        /// One kind of lie. `docs/testing.md` lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Lie {
            $($(#[doc = $what])+ $name,)*
        }

        /// All of them, with their names and what they are.
        pub const LIES: &[(Lie, &str, &str)] = &[$((Lie::$name, stringify!($name), concat!($($what),+))),*];
    };
}

lies! {
    /// As leader: half of the followers get another block in the same view.
    Equivocate
    /// As leader: each follower gets a block of its own in the same view, and the leader's votes for it.
    BlockForEach
    /// As leader: blocks go to one follower only.
    WithholdBlocks
    /// As leader: the header has another state root.
    WrongStateRoot
    /// As leader: the header has another log root.
    WrongLogRoot
    /// As leader: the block is of an hour ahead.
    TimeAhead
    /// As leader: after its first block of a term, hundreds of blocks of an hour ahead, each in its place.
    EarlyFlood
    /// As leader: after its first block of a term, blocks with views of later terms, signed by itself.
    LaterViews
    /// As leader: the block's time stands almost still.
    TimeBehind
    /// As leader: the block is without its parent's certificate.
    WithholdCertificate
    /// As leader: the parent's certificate has one signer repeated in place of another.
    RepeatedSigner
    /// As leader: the block names another parent.
    WrongParent
    /// As leader: the block skips views.
    SkipViews
    /// As leader: the block names another leader.
    OtherLeader
    /// As leader: an entry's content is changed after its author signed it.
    ForgedEntry
    /// As leader: one follower gets another body, or another proposal signature, under the same header.
    OtherBody
    /// As leader: it serves no more than a quorum with itself in it, block upon block, and never signs Finalize.
    FinalizeWithheld
    /// As leader: entries of the other authors are thrown away, and said to be queued.
    Censor
    /// As leader: entries of one other author are thrown away, and said to be queued.
    CensorOne
    /// As leader: it shows that it is alive and sends no block.
    Stall
    /// As leader: blocks reach the followers late.
    Slow
    /// As leader: it says that everything is committed.
    FalseCommit
    /// As leader: it sends its log to some without the last entry, and another entry in its place.
    Truncate
    /// As leader: one follower's log has an entry that the others lack.
    Junk
    /// As leader: it changes who replicates.
    Membership
    /// Nothing leaves it.
    Silence
    /// It answers and asks, but does not vote.
    NoVotes
    /// Its votes go to one node only.
    VotesForOne
    /// It notarizes two blocks in a view.
    DoubleNotarize
    /// It finalizes two blocks in a view.
    DoubleFinalize
    /// It finalizes each block that it hears of, unseen.
    FinalizeUnseen
    /// Votes with the names of others.
    ForgedVotes
    /// Votes for heights and views far ahead.
    FarVotes
    /// It acknowledges appends that it throws away.
    FalseAck
    /// It answers each append with a conflict.
    FalseConflict
    /// It answers appends with a higher vote that nobody cast.
    ForgedHigherVote
    /// It sends appends of a term that nobody gave it.
    ForgedAppend
    /// It sends terms near the end of all numbers.
    WildTerms
    /// As candidate: it shows an old block as the one to build on.
    OldParent
    /// As candidate: it shows a permit with too few votes, or with one of them repeated.
    ForgedPermit
    /// As candidate, also where no term is over: it shows a permit without votes.
    EmptyPermit
    /// It stands for leader of later and later terms.
    CampaignAlways
    /// It grants every candidate.
    GrantAll
    /// It grants nobody.
    GrantNobody
    /// As leader: its appends carry no proof, or one of too few grants.
    WithholdProof
    /// It gives up every term at once, and terms far ahead.
    NullifyStorm
    /// It gives up views in which it signs Finalize.
    NullifyFinalized
    /// It says that terms are over which are not.
    FalseTermOver
    /// It sends again what it sent or heard long ago.
    Replay
    /// Some of its messages are random bytes, or cut short.
    Garbage
    /// It answers who asks for certificates with wrong ones.
    WrongCertificates
    /// It answers who asks for entries of the log with entries that are not those.
    LogEntriesForged
    /// It answers who asks for what its key signed with what that key never signed, or with nothing.
    StatementsForged
    /// As leader: a block says that other validators follow than those that its entries make, or that some follow where none do.
    WrongNextSet
    /// It says that an epoch is over, by its own word alone.
    ClosingForged
    /// To who joins: its offer is of another place in the log, of a block of its own, or of states that it lacks.
    OfferForged
    /// To who joins: hand-overs lead to other validators, lack signatures, or are of another epoch.
    HandOversForged
    /// To who joins: chunks have a changed bit, are cut short, or are others than those that were asked for.
    ChunksForged
    /// To who joins: it has nothing of what it offered.
    ChunksWithheld
}

/// The last lies matter only where the validators change, or somebody joins: they are drawn for such runs alone.
const OF_CHANGES: &[Lie] = &[
    Lie::WrongNextSet,
    Lie::ClosingForged,
    Lie::OfferForged,
    Lie::HandOversForged,
    Lie::ChunksForged,
    Lie::ChunksWithheld,
];

impl Lie {
    /// The lie of this name.
    pub fn named(name: &str) -> Option<Self> {
        LIES.iter().find(|(_, known, _)| *known == name).map(|(lie, ..)| *lie)
    }

    /// Whether a leader tells it.
    pub fn is_of_a_leader(self) -> bool {
        LIES.iter().any(|(lie, _, what)| *lie == self && what.trim().starts_with("As leader:"))
    }

    /// Whether it is told where a term begins and nowhere else: by the entry that opens it, or by the proof of who leads.
    pub fn is_of_a_terms_beginning(self) -> bool {
        matches!(self, Self::Junk | Self::Membership | Self::WithholdProof)
    }

    /// Whether it matters only where the validators change, or somebody joins.
    pub fn is_of_changes(self) -> bool {
        OF_CHANGES.contains(&self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        LIES.iter().find(|(lie, ..)| *lie == self).map_or("", |(_, name, _)| name)
    }

    /// One to three lies of a seed, for any run.
    pub fn draw(rng: &mut Rng) -> Vec<Self> {
        let of_any_run = &LIES[..LIES.len() - OF_CHANGES.len()];
        let mut lies: Vec<Self> = (0..rng.range(1..4)).map(|_| rng.pick(of_any_run).0).collect();
        lies.sort();
        lies.dedup();
        lies
    }

    /// None to two lies of a seed, for a run in which the validators change, or somebody joins.
    pub fn draw_of_changes(rng: &mut Rng) -> Vec<Self> {
        let mut lies: Vec<Self> = (0..rng.range(0..3)).map(|_| *rng.pick(OF_CHANGES)).collect();
        lies.sort();
        lies.dedup();
        lies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lies_of_changes_are_the_last_ones_so_that_older_seeds_draw_what_they_drew() {
        let last: Vec<Lie> = LIES[LIES.len() - OF_CHANGES.len()..].iter().map(|(lie, ..)| *lie).collect();
        assert_eq!(last, OF_CHANGES);
    }
}
