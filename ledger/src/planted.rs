//! Bugs that can be switched on, to see that the simulation or the model check finds them. A build without the feature
//! `testing` has neither the switch nor the bugs.

/// Whether the planted bug of this name is switched on in this thread; always false where nothing is planted.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(any(test, feature = "testing"))]
        let planted = $crate::planted::is_on($crate::planted::Bug::$bug);
        #[cfg(not(any(test, feature = "testing")))]
        let planted = false;
        planted
    }};
}

pub(crate) use planted;

#[cfg(any(test, feature = "testing"))]
pub use self::switch::{BUGS, Bug, is_on, plant};

#[cfg(any(test, feature = "testing"))]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Declares each bug once, with what is wrong then.
    macro_rules! bugs {
        ($(#[doc = $what:literal] $name:ident)*) => {
            /// A bug that can be switched on.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Bug {
                $(#[doc = $what] $name,)*
            }

            /// All of them, with their names and what is wrong then.
            pub const BUGS: &[(Bug, &str, &str)] = &[$((Bug::$name, stringify!($name), $what)),*];
        };
    }

    bugs! {
        /// A restart begins with an empty vote record.
        VoteRecordForgotten
        /// A statement leaves before the record that holds it.
        VoteRecordLate
        /// The last entry of a block does not go into the log tree.
        LeafHashSkipped
        /// The state root of the header is taken for right.
        StateRootFromLeader
        /// Authors' signatures are not checked when a block is executed.
        AuthorNotChecked
        /// A follower lets the leader commit what is not final here.
        CommitNotClamped
        /// A leader counts an acknowledgement before its own final covers it.
        AckGateOff
        /// Appends are not compared with the own log.
        ChainNotCompared
        /// A certificate may count one signer twice.
        RepeatedSigner
        /// A quorum is one signer short.
        QuorumOneShort
        /// A block may stand on one that has no certificate.
        ParentNotCertified
        /// What a block carries for the views that it skips is not looked at.
        BridgeNotChecked
        /// A second block of a view is notarized.
        NotarizeTwice
        /// Only the block that a certificate names becomes final, and not its ancestors before it.
        AncestorsSkipped
        /// Notarize is signed in views that were given up.
        NotarizeAfterNullify
        /// The view timer is never started anew.
        TimerNeverReset
        /// The patience with a leader that passes over entries is started anew by each block that is certified.
        PassingOverForgotten
        /// A block that lies in the future is voted for.
        FutureAccepted
        /// A second grant in a term goes to who asks.
        SecondGrant
        /// Finalize is signed in views that were given up.
        FinalizeAfterNullify
        /// Views are given up in which Finalize was signed.
        NullifyAfterFinalize
        /// A block is stored as final without the pointer that says so.
        PointerNotWritten
        /// Appends pass without proof of who leads.
        UnprovenLeader
        /// The vote record is kept in memory only.
        VoteRecordNotWritten
        /// RocksDB's logs and manifests are not looked through before it reads them.
        RecordFilesUnread
        /// Checksums of stored values and of the vote record are not compared.
        SumsUnchecked
        /// The final store is not compared with what the raft log notes of it.
        FinalNotCompared
        /// The raft log is not compared with what the vote record notes of it.
        LogEndNotCompared
        /// That a closing block is final by a block above it is believed whoever signed that.
        ClosingNotProven
        /// The closing block of an epoch takes a quorum of the next set.
        ClosedByNextSet
        /// Who left the validators is still counted by the vote.
        RemovedStillVote
        /// What operators say of a proposal still counts when it has expired.
        ExpiredEnacted
    }

    /// From now on this thread has the bug.
    pub fn plant(bug: Bug) {
        PLANTED.set(Some(bug));
    }

    /// Whether this thread has the bug.
    pub fn is_on(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
