use std::path::Path;

use gpu::{
    continuation::{Bound, Effect, Op},
    numerics_id,
};
use wallet::{digest::Digest, grant::WalletAddress, identity::SecretKey};

use super::*;
use crate::{
    node_keys::NodeKeys,
    session::{
        disk::{SessionsDir, tests::keys},
        start::SessionTerms,
    },
    testbed::{control, model_dir, prompt},
};

const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));

/// The session's folder in a node's data folder.
fn session(data_dir: &Path) -> SessionDir {
    let node = NodeKeys::new(SecretKey::from_seed(&[11; 32]), None);
    SessionsDir::open(data_dir, &node).expect("writable").session(WALLET)
}

fn start(model: &Model) -> SessionStart {
    SessionStart {
        prompt_tokens: TokenCount::new(prompt().len() as u32),
        sampling: control(48).0.to_engine().expect("valid"),
        model: model.hash(),
        numerics: numerics_id(),
        terms: SessionTerms {
            cached_tokens: TokenCount::ZERO,
            pace_ms: 0,
            origin: "eu".to_owned().try_into().expect("a region name"),
            request_id: "test".to_owned(),
        },
    }
}

/// What becomes of a session that comes with this journal, whose root `bound` is changed: the code of the refusal if there is
/// one.
fn arrives(write: impl FnOnce(&mut Journal), change: impl FnOnce(&mut Bound)) -> Option<String> {
    let (source, data) = [tempfile::tempdir(), tempfile::tempdir()].map(|dir| dir.expect("a temporary folder")).into();
    let model = Arc::new(Model::load(&model_dir()).expect("the demo model loads"));
    let mut journal = open_journal(session(source.path()).create_journal(&keys()).expect("writable"), &keys());
    let journal = journal.as_mut().expect("new");
    write(journal);
    let mut bound = journal.bound().expect("a root");
    change(&mut bound);
    let received = Received { inherited: Inherited::default(), start: start(&model), journal: bound };
    let entries = journal.entries().expect("readable");
    let held = Held::take_over(&session(data.path()), &keys(), received, entries, &model);
    held.and_then(|held| held.may_begin()).err().map(|refusal| refusal.code().to_owned())
}

fn tool(seq: u32, idempotent: bool) -> Effect {
    Effect::new(&WALLET.0, seq, Op::Tool { idempotent }, Vec::new()).expect("within bounds")
}

/// One token after the prompt.
fn begun(journal: &mut Journal) {
    journal.prompt(&prompt()).expect("it goes on");
    journal.token(1, control(48).1[0]).expect("it goes on");
}

#[test]
fn a_session_begins_at_its_next_holder_with_the_journal_that_was_signed() {
    let unverified = Some(unverified("").code().to_owned());
    assert_eq!(arrives(begun, |_| ()), None);
    assert_eq!(arrives(begun, |bound| bound.root = Digest::ZERO), unverified);
    assert_eq!(arrives(begun, |bound| bound.to -= 1), unverified);
    let other_prompt = |journal: &mut Journal| drop(journal.prompt(&prompt()[1..]).expect("it goes on"));
    assert_eq!(arrives(other_prompt, |_| ()), Some("E-309".to_owned()));
}

#[test]
fn a_session_begins_at_its_next_holder_only_if_it_goes_on_by_itself() {
    let (unverified, in_doubt) = (Some(unverified("").code().to_owned()), Some("E-317".to_owned()));
    for (idempotent, refused) in [(true, &unverified), (false, &in_doubt)] {
        let intends = |journal: &mut Journal| {
            begun(journal);
            journal.intend(&tool(2, idempotent)).expect("it goes on");
        };
        assert_eq!(arrives(intends, |_| ()), *refused);
        let called = |journal: &mut Journal| {
            intends(journal);
            journal.complete(&tool(2, idempotent), &Ok(gpu::continuation::Value::Nil)).expect("it goes on");
        };
        assert_eq!(arrives(called, |_| ()), None, "what came of it stands there");
    }
    let ended = |journal: &mut Journal| {
        begun(journal);
        journal.finish(gpu::FinishReason::EndToken).expect("it goes on");
    };
    assert_eq!(arrives(ended, |_| ()), unverified);
}
