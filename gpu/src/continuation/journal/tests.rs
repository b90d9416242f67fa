use std::sync::Arc;

use proptest::prelude::*;
use wallet::{codec, digest::Digest};

use super::*;
use crate::{
    continuation::{body::journal_descriptor, effect::Op, memory::MemoryStream},
    stream::{Page, Stream as _},
};

const ID: Digest = Digest([1; 32]);

fn key() -> PageHashKey {
    PageHashKey::from_bytes([3; 32])
}

fn stream() -> Arc<MemoryStream> {
    MemoryStream::new(journal_descriptor(&ID))
}

fn open(stream: &Arc<MemoryStream>, epoch: u32) -> Journal {
    let writer: Arc<dyn StreamWriter> = Arc::clone(stream) as _;
    Journal::open(writer, key(), epoch).expect("readable")
}

fn code<T: std::fmt::Debug>(result: Result<T, ContinuationRefusal>) -> &'static str {
    result.expect_err("refused").code()
}

fn effect(seq: u32, op: Op) -> Effect {
    Effect::new(&ID, seq, op, vec![Value::Text("send".to_owned())]).expect("within bounds")
}

fn mail(seq: u32) -> Effect {
    effect(seq, Op::Tool { idempotent: false })
}

/// Every kind of record: what is in it after which position.
fn full(stream: &Arc<MemoryStream>) -> Journal {
    let mut journal = open(stream, 1);
    journal.prompt(&(0..3000).collect::<Vec<_>>()).expect("it goes on");
    journal.token(2, 70).expect("it goes on");
    journal.intend(&mail(3)).expect("it goes on");
    journal.complete(&mail(3), &Ok(Value::Int(5))).expect("it goes on");
    journal.complete(&effect(5, Op::LedgerTx), &Err(Failure(9))).expect("it goes on");
    journal.token(6, 71).expect("it goes on");
    journal.finish(FinishReason::EndToken).expect("it goes on");
    journal
}

fn state(journal: &Journal) -> (Vec<TokenId>, usize, u32, Option<FinishReason>, Vec<Effect>) {
    let tokens = journal.tokens().to_vec();
    (tokens, journal.prompt_tokens(), journal.seq(), journal.finished(), journal.in_doubt().to_vec())
}

#[test]
fn a_journal_reads_back_as_it_was_written() {
    let stream = stream();
    let written = full(&stream);
    let read = open(&stream, 1);
    assert_eq!(state(&read), state(&written));
    assert_eq!((read.seq(), read.prompt_tokens(), read.tokens().len()), (8, 3000, 3002));
    assert_eq!(read.outcome(&mail(3)), Some(&Ok(Value::Int(5))));
    assert_eq!(read.outcome(&effect(5, Op::LedgerTx)), Some(&Err(Failure(9))));
    assert_eq!([3000, 3001].map(|at| read.chosen_by(at)), [Some(2), Some(6)]);
    assert_eq!(read.bound().expect("a root"), written.bound().expect("a root"));
}

#[test]
fn pages_are_pinned() {
    let stream = stream();
    full(&stream);
    let heads: Vec<String> =
        stream.pages().iter().map(|page| wallet::digest::to_hex(&page.head.encode()[..16])).collect();
    assert_eq!(
        heads,
        [
            "00180000000b28010000000000000000",
            "b8130000000b28010008000000000000",
            "0110000000002801b80b000000000000",
            "01100000000018610000000000000000",
            "01100000000018610000000000000000",
            "01100000000018610000000000000000",
            "0110000000002801b90b000000000000",
            "01100000000018610000000000000000",
        ]
    );
    assert_eq!(
        stream.root(8).expect("there").to_string(),
        "8d7b8d2398dd9dca00cd8bf910c3f191e458fd9bfc989968112f6cf68cb3df5a"
    );
}

#[test]
fn the_second_writer_of_the_same_is_told_so_and_changes_nothing() {
    let stream = stream();
    let written = state(&full(&stream));
    let mut second = open(&stream, 1);
    let prompt: Vec<TokenId> = (0..3000).collect();
    assert_eq!(second.prompt(&prompt).expect("the same"), Recorded::Same(1));
    assert_eq!(second.token(2, 70).expect("the same"), Recorded::Same(2));
    assert_eq!(second.intend(&mail(3)).expect("the same"), Recorded::Same(3));
    assert_eq!(second.complete(&mail(3), &Ok(Value::Int(5))).expect("the same"), Recorded::Same(4));
    let transaction = effect(5, Op::LedgerTx);
    assert_eq!(second.complete(&transaction, &Err(Failure(9))).expect("the same"), Recorded::Same(5));
    assert_eq!(second.token(6, 71).expect("the same"), Recorded::Same(6));
    assert_eq!(second.finish(FinishReason::EndToken).expect("the same"), Recorded::Same(7));
    assert_eq!(state(&second), written);
}

#[test]
fn another_result_of_the_same_computation_is_kept_as_evidence_and_overwrites_nothing() {
    let stream = stream();
    let mut journal = full(&stream);
    let before = stream.pages().len();
    for (seq, ours, theirs) in [(2, 70, 99), (6, 71, 98)] {
        let Recorded::Diverged(divergence) = journal.token(seq, theirs).expect("evidence") else {
            panic!("a divergence at {seq}")
        };
        let first = 3000 + u64::from(seq == 6);
        assert_eq!(divergence.recorded, Entry::Token { first, token: ours });
        assert_eq!(divergence.offered, Entry::Token { first, token: theirs });
        assert_eq!(divergence.position, u64::from(seq));
    }
    let other = journal.complete(&effect(5, Op::LedgerTx), &Ok(Value::Nil)).expect("evidence");
    assert!(matches!(other, Recorded::Diverged(_)));
    assert_eq!(journal.divergences().len(), 3);
    assert_eq!((stream.pages().len(), journal.tokens()[3000..].to_vec()), (before, vec![70, 71]));
}

#[test]
fn a_writer_that_was_overtaken_goes_on_with_what_the_first_one_wrote() {
    let stream = stream();
    let (mut first, mut second) = (open(&stream, 1), open(&stream, 1));
    first.prompt(&[1, 2]).expect("it goes on");
    first.token(1, 7).expect("it goes on");
    assert_eq!(second.prompt(&[1, 2]).expect("the same"), Recorded::Same(0));
    assert_eq!(second.seq(), 2, "it has caught up");
    second.token(2, 8).expect("it goes on");
    assert!(matches!(first.token(2, 9).expect("evidence"), Recorded::Diverged(_)));
    assert_eq!(first.tokens(), [1, 2, 7, 8]);
}

#[test]
fn a_different_record_at_a_taken_position_is_refused() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    journal.prompt(&[1, 2]).expect("it goes on");
    journal.token(1, 7).expect("it goes on");
    assert_eq!(code(journal.prompt(&[1, 3])), "E-312");
    assert_eq!(code(journal.complete(&effect(1, Op::LedgerTx), &Ok(Value::Nil))), "E-312");
    assert_eq!(code(journal.intend(&mail(1))), "E-312");
}

#[test]
fn a_record_after_a_gap_or_after_the_end_is_refused() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    assert_eq!(code(journal.token(0, 1)), "E-311", "a token without a prompt");
    assert_eq!(code(journal.prompt(&[])), "E-309");
    journal.prompt(&[1, 2]).expect("it goes on");
    assert_eq!(code(journal.token(2, 1)), "E-313");
    journal.finish(FinishReason::MaxTokens).expect("it goes on");
    assert_eq!(code(journal.token(2, 1)), "E-316");
    assert_eq!(code(journal.intend(&mail(2))), "E-316");
}

#[test]
fn a_stale_epoch_is_fenced() {
    let stream = stream();
    let mut source = open(&stream, 1);
    source.prompt(&[1, 2]).expect("it goes on");
    let mut destination = open(&stream, 2);
    assert_eq!(code(source.token(1, 7)), "E-314");
    assert_eq!(code(Journal::open(Arc::clone(&stream) as _, key(), 1).map(|_| ())), "E-314");
    destination.token(1, 8).expect("it goes on");
    assert_eq!(code(source.token(1, 8)), "E-314", "not even the same");
}

#[test]
fn a_full_or_closed_stream_takes_no_record_and_loses_none() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    journal.prompt(&[1, 2]).expect("it goes on");
    stream.limit(1);
    assert_eq!(code(journal.token(1, 7)), "E-315");
    stream.limit(9);
    assert_eq!(journal.token(1, 7).expect("there is room"), Recorded::New(1));
    stream.close(1).expect("closes");
    assert_eq!(code(journal.token(2, 7)), "E-315");
    assert_eq!(open(&stream, 1).tokens(), [1, 2, 7]);
}

#[test]
fn an_effect_outside_is_intended_before_it_is_complete_and_durable_before_it_happens() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    journal.prompt(&[1]).expect("it goes on");
    assert_eq!(code(journal.complete(&mail(1), &Ok(Value::Nil))), "E-319");
    assert_eq!(code(journal.intend(&effect(1, Op::LedgerTx))), "E-319");
    let other = Effect::new(&Digest([2; 32]), 1, Op::Tool { idempotent: false }, Vec::new()).expect("within bounds");
    assert_eq!(code(journal.intend(&other)), "E-319");
    assert_eq!(stream.state().durable, 0);
    journal.intend(&mail(1)).expect("it goes on");
    assert_eq!(stream.state().durable, 2);
    assert!(journal.open_effects() == [mail(1)] && journal.in_doubt().is_empty());
    journal.complete(&mail(1), &Ok(Value::Nil)).expect("it goes on");
    assert!(journal.open_effects().is_empty());
}

#[test]
fn an_effect_is_in_doubt_exactly_while_its_intent_has_no_result() {
    let stream = stream();
    full(&stream);
    for cut in 0..=8 {
        let copy = stream.after_crash(0);
        let pages = stream.pages();
        let crashed = MemoryStream::new(journal_descriptor(&ID));
        for page in &pages[..cut] {
            let draft = crate::stream::Draft::of(&page.head);
            crashed.append(1, Expect::Any, &draft, &page.payload).expect("appends");
        }
        let journal = open(&crashed, 2);
        let expected = if cut == 4 { vec![mail(3)] } else { Vec::new() };
        assert_eq!(journal.in_doubt(), expected, "after {cut} records");
        // The intent was synced, so no crash goes back behind it.
        assert!(copy.state().tail >= 4);
    }
}

#[test]
fn an_idempotent_effect_is_never_in_doubt() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    journal.prompt(&[1]).expect("it goes on");
    let payment = effect(1, Op::Tool { idempotent: true });
    journal.intend(&payment).expect("it goes on");
    let mut journal = open(&stream, 2);
    assert!(journal.in_doubt().is_empty() && journal.open_effects() == [payment.clone()]);
    assert_eq!(code(journal.resolve(&payment.id, Resolution::Abort)), "E-318");
    journal.complete(&payment, &Ok(Value::Nil)).expect("done again, under the same key");
}

#[test]
fn a_decision_is_recorded_and_stands() {
    let decide = |how: Resolution| {
        let stream = stream();
        let mut journal = open(&stream, 1);
        journal.prompt(&[1]).expect("it goes on");
        journal.intend(&mail(1)).expect("it goes on");
        let mut journal = open(&stream, 2);
        journal.resolve(&mail(1).id, how).expect("it is in doubt");
        assert!(journal.in_doubt().is_empty());
        assert_eq!(stream.state().durable, 3);
        (stream, journal.outcome(&mail(1)).cloned())
    };
    let (stream, outcome) = decide(Resolution::AssumeDone(Value::Int(4)));
    assert_eq!(outcome, Some(Ok(Value::Int(4))));
    assert_eq!(open(&stream, 3).outcome(&mail(1)), Some(&Ok(Value::Int(4))));
    let (stream, outcome) = decide(Resolution::Abort);
    assert_eq!(outcome, Some(Err(Failure::ABORTED)));
    assert_eq!(open(&stream, 3).outcome(&mail(1)), Some(&Err(Failure::ABORTED)));
    let (stream, outcome) = decide(Resolution::Retry);
    assert_eq!(outcome, None);
    // Whoever was to try again may have done so.
    let mut third = open(&stream, 3);
    assert_eq!(third.in_doubt(), [mail(1)]);
    third.resolve(&mail(1).id, Resolution::Retry).expect("in doubt");
    third.complete(&mail(1), &Ok(Value::Nil)).expect("done");
    assert!(open(&stream, 4).in_doubt().is_empty());
}

/// The journal of a later holder, which takes these over.
fn adopted(entries: Vec<Entry>) -> (Arc<MemoryStream>, Result<Journal, ContinuationRefusal>) {
    let stream = stream();
    let mut journal = open(&stream, 2);
    let adopted = journal.adopt(entries);
    (stream, adopted.map(|()| journal))
}

#[test]
fn a_journal_that_is_taken_over_is_the_same_and_reads_back() {
    let source = full(&stream());
    let (stream, journal) = adopted(source.entries().expect("readable"));
    let journal = journal.expect("it is a journal");
    assert_eq!(state(&journal), state(&source));
    assert_eq!(journal.bound().expect("a root"), source.bound().expect("a root"));
    assert_eq!(state(&open(&stream, 2)), state(&source));
}

#[test]
fn what_was_intended_by_the_holder_before_is_in_doubt_at_the_next() {
    for how in [None, Some(Resolution::Retry)] {
        let stream = stream();
        let mut source = open(&stream, 1);
        source.prompt(&[1]).expect("it goes on");
        source.intend(&mail(1)).expect("it goes on");
        if let Some(how) = how {
            source = open(&stream, 1);
            source.resolve(&mail(1).id, how).expect("it is in doubt");
        }
        assert!(source.in_doubt().is_empty(), "it is about to be performed");
        let journal = adopted(source.entries().expect("readable")).1.expect("it is a journal");
        assert_eq!(journal.in_doubt(), [mail(1)]);
    }
}

#[test]
fn what_would_not_be_read_back_is_not_taken_over() {
    let prompt = |tokens: usize| Entry::Prompt { first: 0, tokens: vec![7; tokens] };
    let token = |first| Entry::Token { first, token: 7 };
    for entries in [
        vec![prompt(0)],
        vec![prompt(PROMPT_CHUNK_TOKENS + 1)],
        vec![token(0)],
        vec![prompt(3), token(4)],
        vec![prompt(3), prompt(3)],
        vec![prompt(3), Entry::Record(Record::Finished(FinishReason::EndToken)), token(3)],
        vec![prompt(3), Entry::Record(Record::Intent(mail(2)))],
        vec![prompt(3), Entry::Record(Record::Intent(Effect { args: Vec::new(), ..mail(1) }))],
    ] {
        let refused = adopted(entries.clone()).1.map(|_| ());
        assert!(matches!(code(refused), "E-311" | "E-316"), "{entries:?}");
    }
}

#[test]
fn a_result_that_does_not_stand_where_its_effect_puts_it_is_none() {
    // Of the prompt, which has none, and of a token to come.
    for made_up in [effect(0, Op::Prefill), effect(2, Op::Decode)] {
        let result = EffectResult { id: made_up.id, outcome: Err(Failure(5)) };
        let entries = vec![Entry::Prompt { first: 0, tokens: vec![7; 3] }, Entry::Record(Record::Result(result))];
        let mut journal = adopted(entries).1.expect("it is a journal");
        assert_eq!((journal.seq(), journal.outcome(&made_up)), (2, None));
        journal.token(2, 70).expect("it goes on");
        assert_eq!((journal.number_after(&made_up), journal.outcome(&made_up)), (3, None));
    }
}

#[test]
fn a_result_that_was_made_up_before_its_effect_keeps_the_true_one_from_nothing() {
    let call = |seq| effect(seq, Op::Tool { idempotent: true });
    for true_one in [mail(3), call(3), effect(3, Op::LedgerTx)] {
        let made_up = EffectResult { id: true_one.id, outcome: Err(Failure(5)) };
        let planted = || Entry::Record(Record::Result(made_up.clone()));
        let entries = vec![Entry::Prompt { first: 0, tokens: vec![7; 3] }, planted(), planted()];
        let (stream, journal) = adopted(entries);
        let mut journal = journal.expect("it is a journal");
        assert_eq!((journal.seq(), journal.outcome(&true_one)), (3, None));
        if matches!(true_one.class(), Class::External { .. }) {
            journal.intend(&true_one).expect("it goes on");
            assert!(journal.open_effects() == [true_one.clone()] && journal.outcome(&true_one).is_none());
        }
        let at = u64::from(journal.seq());
        assert_eq!(journal.complete(&true_one, &Ok(Value::Int(5))).expect("it is the first"), Recorded::New(at));
        assert_eq!(journal.complete(&true_one, &Ok(Value::Int(5))).expect("the same"), Recorded::Same(at));
        for journal in [&journal, &open(&stream, 2)] {
            assert_eq!(journal.outcome(&true_one), Some(&Ok(Value::Int(5))));
            assert!(journal.open_effects().is_empty());
        }
    }
}

#[test]
fn of_an_effect_outside_there_is_no_second_result() {
    let stream = stream();
    let mut entries = full(&stream).entries().expect("readable");
    let second = EffectResult { id: mail(3).id, outcome: Err(Failure(5)) };
    entries[6] = Entry::Record(Record::Result(second));
    assert_eq!(code(adopted(entries).1.map(|_| ())), "E-311");
}

#[test]
fn no_more_effects_are_open_at_a_time_than_may_be() {
    let mut journal = open(&stream(), 1);
    journal.prompt(&[1]).expect("it goes on");
    for _ in 0..OPEN_MAX {
        journal.intend(&effect(journal.seq(), Op::Tool { idempotent: true })).expect("it goes on");
    }
    let refused = journal.intend(&effect(journal.seq(), Op::Tool { idempotent: true }));
    assert_eq!(code(refused), "E-311");
    let first = effect(1, Op::Tool { idempotent: true });
    journal.complete(&first, &Ok(Value::Nil)).expect("it goes on");
    journal.intend(&effect(journal.seq(), Op::Tool { idempotent: true })).expect("there is room again");
}

#[test]
fn a_journal_grows_no_larger_than_what_can_leave_its_holder() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    let entries = |journal: &Journal| codec::encoded_size(&journal.entries().expect("readable"));
    let prompt = (JOURNAL_BYTES_MAX / (4 * PROMPT_CHUNK_TOKENS + 24)) * PROMPT_CHUNK_TOKENS;
    journal.prompt(&vec![7; prompt]).expect("it fits");
    let refused = loop {
        match journal.token(journal.seq(), 7) {
            Ok(_) => {}
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refused.code(), "E-315");
    // The count of entries travels before them.
    let size = entries(&journal) - 8;
    assert!(size <= JOURNAL_BYTES_MAX && size + 16 > JOURNAL_BYTES_MAX, "{size}");
    assert_eq!(state(&open(&stream, 1)), state(&journal), "nothing was lost");
}

#[test]
fn a_journal_that_takes_no_more_tokens_still_takes_its_end() {
    let prompt = (JOURNAL_BYTES_MAX / (4 * PROMPT_CHUNK_TOKENS + 24)) * PROMPT_CHUNK_TOKENS;
    // Whatever is left beside whole tokens.
    for more in 1..=4 {
        let mut journal = open(&stream(), 1);
        journal.prompt(&vec![7; prompt + more]).expect("it fits");
        let left = journal.tokens_left();
        assert!(left > 0);
        for left in (0..left).rev() {
            journal.token(journal.seq(), 7).expect("there is room");
            assert_eq!(journal.tokens_left(), left);
        }
        let size = codec::encoded_size(&journal.entries().expect("readable")) - 8;
        assert!(size + 12 <= JOURNAL_BYTES_MAX && size + 12 + 16 > JOURNAL_BYTES_MAX, "{size}");
        journal.finish(FinishReason::ContextFull).expect("there is room");
    }
}

#[test]
fn a_journal_under_another_key_or_of_another_continuation_is_refused() {
    let stream = stream();
    full(&stream);
    let other = Journal::open(Arc::clone(&stream) as _, PageHashKey::from_bytes([4; 32]), 1);
    assert_eq!(code(other.map(|_| ())), "E-311");
    let moved = MemoryStream::new(journal_descriptor(&Digest([2; 32])));
    for page in stream.pages() {
        moved.append(1, Expect::Any, &crate::stream::Draft::of(&page.head), &page.payload).expect("appends");
    }
    assert_eq!(code(Journal::open(moved, key(), 1).map(|_| ())), "E-311", "its effects are another's");
}

#[test]
fn a_value_that_would_not_be_read_back_is_not_written() {
    let stream = stream();
    let mut journal = open(&stream, 1);
    journal.prompt(&[1]).expect("it goes on");
    for value in [Value::Bytes(vec![0; 2000]), Value::Tuple(vec![Value::Bytes(vec![0; 1024]); 100])] {
        assert_eq!(code(journal.complete(&effect(1, Op::LedgerTx), &Ok(value))), "E-310");
    }
    assert_eq!(journal.seq(), 1);
}

proptest! {
    #[test]
    fn a_flipped_bit_in_any_page_is_found(position in 0..8_usize, bit: usize, in_head: bool) {
        let stream = stream();
        full(&stream);
        let Page { head, payload } = stream.pages()[position].clone();
        let (mut head, mut payload) = (head.encode(), payload.to_vec());
        let bytes = if in_head { head.as_mut_slice() } else { payload.as_mut_slice() };
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(head) = wallet::page::PageHead::decode(&head) {
            stream.replace(position, Page { head, payload: payload.into() });
            prop_assert_eq!(code(Journal::open(stream, key(), 1).map(|_| ())), "E-311");
        }
    }
}
