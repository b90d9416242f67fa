//! The port through which execution does what is costly, so that a validator does it once.
//!
//! An entry passes a validator more than once: when it is submitted, when the leader collects it, when the block is
//! executed; and a leader executes its own block when it makes it. [`Remembered`] keeps which signatures were good, and
//! which entries belong to a batch whose signature was, by the hash of all that this depends on; the points of the keys
//! that it met; and what the last proposal became. So it can save work and never change a result.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use wallet::{
    digest::{Digest, sha256},
    identity::{PublicKey, Signature, SignatureInvalid, VerifyingKey},
};

use crate::{block::Block, execute::Executed, vote};

/// What was good that [`Remembered`] keeps: at least as many, at most twice as many. Eight full blocks.
pub const REMEMBERED_MIN: usize = 32_768;

/// Keys whose points [`Remembered`] keeps. Authors are nodes, and few; holders are many and sign seldom.
const KEYS_MAX: usize = 1_024;

/// Checks what execution depends on, or knows that it was checked. All implementations give the same results.
pub trait Checks: fmt::Debug + Send + Sync {
    /// Checks a signature of an author or a holder over `message` under `context`.
    ///
    /// # Errors
    /// Those of [`PublicKey::verify`].
    fn verify(
        &self,
        key: &PublicKey,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureInvalid>;

    /// Checks a signature of a leader or a validator.
    ///
    /// # Errors
    /// Those of [`PublicKey::verify`].
    fn verify_vote(
        &self,
        key: &PublicKey,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureInvalid> {
        vote::verify(key, context, message, signature)
    }

    /// What `check` says of the claim with this name, which is a hash of all that `check` looks at.
    ///
    /// # Errors
    /// Those of `check`.
    fn once(
        &self,
        _claim: Digest,
        check: &mut dyn FnMut() -> Result<(), SignatureInvalid>,
    ) -> Result<(), SignatureInvalid> {
        check()
    }

    /// What executing exactly this block gave, if it is known. Its header names the parent, so there is only one result.
    fn executed(&self, _block: &Block) -> Option<Executed> {
        None
    }
}

/// Does everything each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Checks for Direct {
    fn verify(
        &self,
        key: &PublicKey,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureInvalid> {
        key.verify(context, message, signature)
    }
}

/// Verifies once, and knows it again for a while. Shared by all that check entries in one process.
#[derive(Default)]
pub struct Remembered {
    good: Mutex<Generations>,
    keys: Mutex<HashMap<PublicKey, VerifyingKey>>,
    proposal: Mutex<Option<(Block, Executed)>>,
    verified: AtomicU64,
}

/// When the young generation is full it becomes the old one, and the old one is forgotten.
#[derive(Default)]
struct Generations {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl Remembered {
    /// How many signatures of authors and holders were verified instead of remembered.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Remembers a block that this node made, and what it became, in place of the one before.
    pub fn note_proposal(&self, block: Block, executed: Executed) {
        *lock(&self.proposal) = Some((block, executed));
    }

    fn good(&self) -> MutexGuard<'_, Generations> {
        lock(&self.good)
    }

    fn point(&self, key: &PublicKey) -> Result<VerifyingKey, SignatureInvalid> {
        if let Some(known) = lock(&self.keys).get(key) {
            return Ok(*known);
        }
        let point = key.decompress()?;
        let mut keys = lock(&self.keys);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(*key, point);
        Ok(point)
    }
}

impl Checks for Remembered {
    fn verify(
        &self,
        key: &PublicKey,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureInvalid> {
        self.once(named(key, context, message, signature), &mut || {
            self.verified.fetch_add(1, Ordering::Relaxed);
            self.point(key)?.verify(context, message, signature)
        })
    }

    fn verify_vote(
        &self,
        key: &PublicKey,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureInvalid> {
        self.once(named(key, context, message, signature), &mut || self.point(key)?.verify(context, message, signature))
    }

    fn once(
        &self,
        claim: Digest,
        check: &mut dyn FnMut() -> Result<(), SignatureInvalid>,
    ) -> Result<(), SignatureInvalid> {
        if self.good().holds(&claim) {
            return Ok(());
        }
        // Not under the lock: others verify meanwhile.
        check()?;
        self.good().note(claim);
        Ok(())
    }

    fn executed(&self, block: &Block) -> Option<Executed> {
        let proposal = lock(&self.proposal);
        // The header covers the entries through the log root; that this block has them must still be seen.
        proposal.as_ref().filter(|(own, _)| own == block).map(|(_, executed)| executed.clone())
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({} verified)", self.verified())
    }
}

impl Generations {
    fn holds(&self, name: &Digest) -> bool {
        self.young.contains(name) || self.old.contains(name)
    }

    fn note(&mut self, name: Digest) {
        if self.young.len() >= REMEMBERED_MIN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name);
    }
}

/// A hash of all that makes a signature good or bad.
fn named(key: &PublicKey, context: &str, message: &[u8], signature: &Signature) -> Digest {
    sha256("batchmind/v1/ledger/remembered-signature", &[context.as_bytes(), &key.0, message, &signature.0])
}

/// Every holder of these locks leaves them consistent at each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wallet::identity::SecretKey;

    use super::*;
    use crate::{
        execute::{BlockInvalid, execute_with},
        testing::{Chain, Session, consortium},
    };

    #[test]
    fn a_good_signature_is_verified_once_and_a_bad_one_each_time() {
        let (key, memory) = (SecretKey::from_seed(&[7; 32]), Remembered::default());
        let (good, bad) = (key.sign("a", b"message"), key.sign("b", b"message"));
        for _ in 0..3 {
            assert_eq!(memory.verify(&key.public_key(), "a", b"message", &good), Ok(()));
        }
        assert_eq!(memory.verified(), 1);
        for count in 2..5 {
            assert_eq!(memory.verify(&key.public_key(), "a", b"message", &bad), Err(SignatureInvalid));
            assert_eq!(memory.verified(), count);
        }
    }

    #[test]
    fn memory_is_bounded_and_the_last_ones_are_known() {
        let mut generations = Generations::default();
        let name = |number: usize| sha256("test", &[&number.to_le_bytes()]);
        for number in 0..3 * REMEMBERED_MIN {
            generations.note(name(number));
            assert!(generations.young.len() + generations.old.len() <= 2 * REMEMBERED_MIN);
        }
        assert!((2 * REMEMBERED_MIN..3 * REMEMBERED_MIN).all(|number| generations.holds(&name(number))));
        assert!(!generations.holds(&name(0)));
    }

    #[test]
    fn points_are_bounded_and_bytes_that_are_no_point_are_not_kept() {
        let memory = Remembered::default();
        for number in 0..=KEYS_MAX as u64 {
            let seed = sha256("test", &[&number.to_le_bytes()]);
            memory.point(&SecretKey::from_seed(&seed.0).public_key()).expect("a key");
            assert!(lock(&memory.keys).len() <= KEYS_MAX);
        }
        let kept = lock(&memory.keys).len();
        assert_eq!(memory.point(&PublicKey([2; 32])), Err(SignatureInvalid));
        assert_eq!(lock(&memory.keys).len(), kept);
    }

    #[test]
    fn an_own_proposal_is_executed_once_and_a_block_with_its_header_and_other_entries_is_executed_again() {
        let consortium = consortium(4);
        let (chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        let proposal = chain.propose(vec![session.created(), session.anchored(1, 1, Digest([2; 32]))]);
        let memory = Remembered::default();
        memory.note_proposal(proposal.block.clone(), proposal.executed.clone());
        let execute = |block: &Block| execute_with(&consortium, &chain.tip, block, &memory);
        assert_eq!(execute(&proposal.block), Ok(proposal.executed));
        assert_eq!(memory.verified(), 0, "nothing was executed");
        let mut other = proposal.block.clone();
        other.entries.swap(0, 1);
        assert!(matches!(execute(&other), Err(BlockInvalid::LogRoot { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Few keys, contexts, messages and signatures, so that the same and nearly the same come again.
        #[test]
        fn what_is_remembered_never_changes_a_result(asked in prop::collection::vec((0..2_u8, 0..2_usize, 0..2_u8, 0..2_u8, 0..2_usize, 0..2_u8), 1..24)) {
            let memory = Remembered::default();
            let contexts = ["a", "ab"];
            for (key, context, message, by, under, over) in asked {
                let (key, by) = (SecretKey::from_seed(&[key; 32]).public_key(), SecretKey::from_seed(&[by; 32]));
                let signature = by.sign(contexts[under], &[over]);
                let (context, message) = (contexts[context], [message]);
                let found = memory.verify(&key, context, &message, &signature);
                prop_assert_eq!(found, Direct.verify(&key, context, &message, &signature));
                prop_assert_eq!(found, memory.verify_vote(&key, context, &message, &signature));
            }
        }
    }
}
