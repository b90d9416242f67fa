//! What clients may have this node read or prove, and ask of other nodes, at a time: however often they ask.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::sync::Semaphore;
use wallet::{digest::Digest, grant::WalletAddress};

use super::{
    problem::Problem,
    refusal::Refusal,
    turns::{Turn, Turns},
};

/// Looks through the log, and proofs from it, at a time: for readers, and for nodes, which shall not wait for these.
const SCANS_MAX: usize = 4;
const NODES_SCANS_MAX: usize = 2;
/// How many of them a key may have under way, of which one is done at a time.
const LINE_MAX: usize = 64;

/// Questions to other nodes at a time. They go over the links on which the ledger agrees.
const QUESTIONS_MAX: usize = 2;

/// Answers that are kept, and how long each may be as a text; one that is longer is asked for again.
const KEPT_MAX: usize = 1_024;
const KEPT_BYTES_MAX: usize = 16 << 10;

/// Turns to ask. Clones share them.
#[derive(Clone)]
pub(super) struct Asking(Arc<Shared>);

struct Shared {
    scans: Turns,
    of_nodes: Turns,
    questions: Semaphore,
    known: Mutex<BTreeMap<(Digest, WalletAddress), Value>>,
}

impl Default for Asking {
    fn default() -> Self {
        let (scans, of_nodes) = (Turns::new(SCANS_MAX, LINE_MAX), Turns::new(NODES_SCANS_MAX, LINE_MAX));
        Self(Arc::new(Shared { scans, of_nodes, questions: Semaphore::new(QUESTIONS_MAX), known: Mutex::default() }))
    }
}

impl Asking {
    /// Reads from the disk for a reader with this key, once it is its turn.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        key: Digest,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.turn(key).await?.spend(work).await
    }

    /// The next turn of a reader with this key.
    pub(super) async fn turn(&self, key: Digest) -> Result<Turn, Refusal> {
        self.0.scans.wait(key).await.ok_or(Refusal::LineFull { count_max: LINE_MAX })
    }

    /// The next turn of a node with this key.
    pub(super) async fn turn_of_node(&self, key: Digest) -> Result<Turn, Refusal> {
        self.0.of_nodes.wait(key).await.ok_or(Refusal::LineFull { count_max: LINE_MAX })
    }

    /// The reason that stands in a decision about a wallet. It never changes, so it is asked for once. None if nobody
    /// tells it, or as many questions are being asked as may be.
    pub(super) async fn reason(
        &self,
        decision: Digest,
        wallet: WalletAddress,
        ask: impl Future<Output = Option<Value>>,
    ) -> Option<Value> {
        let known = || self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(&(decision, wallet)).cloned();
        if found.is_some() {
            return found;
        }
        let _turn = self.0.questions.try_acquire().ok()?;
        let told = ask.await?;
        if told.to_string().len() <= KEPT_BYTES_MAX {
            let mut known = known();
            if known.len() >= KEPT_MAX {
                known.pop_first();
            }
            known.insert((decision, wallet), told.clone());
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::poll;
    use serde_json::json;

    use super::*;

    const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));

    #[tokio::test]
    async fn no_more_questions_are_asked_at_a_time_than_there_may_be() {
        let asking = Asking::default();
        let mut silent = Vec::new();
        for decision in 0..QUESTIONS_MAX {
            let decision = Digest([u8::try_from(decision).expect("few"); 32]);
            let mut question = Box::pin(asking.reason(decision, WALLET, pending()));
            assert!(poll!(&mut question).is_pending());
            silent.push(question);
        }
        let other = Digest([9; 32]);
        assert_eq!(asking.reason(other, WALLET, async { panic!("nobody is asked") }).await, None);
        silent.pop();
        assert_eq!(asking.reason(other, WALLET, ready(Some(json!(1)))).await, Some(json!(1)));
    }

    #[tokio::test]
    async fn what_was_told_is_not_asked_again_and_what_was_not_is() {
        let (asking, decision) = (Asking::default(), Digest([2; 32]));
        assert_eq!(asking.reason(decision, WALLET, ready(None)).await, None);
        assert_eq!(asking.reason(decision, WALLET, ready(Some(json!(1)))).await, Some(json!(1)));
        assert_eq!(asking.reason(decision, WALLET, async { panic!("it is known") }).await, Some(json!(1)));
        let other = WalletAddress(Digest([3; 32]));
        assert_eq!(asking.reason(decision, other, ready(None)).await, None, "it is about another wallet");
    }

    #[tokio::test]
    async fn no_more_reasons_are_kept_than_there_may_be_and_no_long_ones() {
        let asking = Asking::default();
        for decision in 0..KEPT_MAX + 10 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&decision.to_be_bytes());
            asking.reason(Digest(hash), WALLET, ready(Some(json!(decision)))).await;
        }
        let long = "a".repeat(KEPT_BYTES_MAX);
        let (decision, told) = (Digest([9; 32]), json!(long));
        assert_eq!(asking.reason(decision, WALLET, ready(Some(told.clone()))).await, Some(told));
        let known = asking.0.known.lock().expect("nobody panicked");
        assert!(known.len() <= KEPT_MAX && !known.contains_key(&(decision, WALLET)), "{}", known.len());
    }

    #[tokio::test]
    async fn a_reader_with_a_full_line_is_refused_and_neither_others_nor_nodes_wait_for_it() {
        let (asking, [reader, other]) = (Asking::default(), [Digest([1; 32]), Digest([2; 32])]);
        let _busy = asking.turn(reader).await.expect("the first");
        let mut line = Vec::new();
        for _ in 1..LINE_MAX {
            let mut waiting = Box::pin(asking.turn(reader));
            assert!(poll!(&mut waiting).is_pending());
            line.push(waiting);
        }
        assert_eq!(asking.turn(reader).await.err().map(|refusal| refusal.code()), Some("N-671"));
        assert!(poll!(Box::pin(asking.turn(other))).is_ready());
        let _all: Vec<_> = (3..3 + SCANS_MAX as u8).map(|key| asking.0.scans.take(Digest([key; 32]))).collect();
        assert!(poll!(Box::pin(asking.turn(other))).is_pending(), "all readers' turns are taken");
        assert!(poll!(Box::pin(asking.turn_of_node(reader))).is_ready());
    }
}
