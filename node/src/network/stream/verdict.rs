//! Whether an answer is what was asked for. Nothing of one that is not becomes visible.

use gpu::stream::{Accumulator, Descriptor, Integrity, PAYLOAD_BYTES_MAX, StreamFault};
use wallet::{digest::Digest, page::payload_hash};

use super::message::{Pull, Pulled};

/// Why a remote stream does not go on. [`StreamFault`] as a plain value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// See [`StreamFault::Damaged`].
    Damaged { position: u64, reason: &'static str },
    /// See [`StreamFault::AnotherStream`].
    AnotherStream { reason: &'static str },
    /// See [`StreamFault::RootMismatch`].
    RootMismatch { from: u64, to: u64 },
    /// See [`StreamFault::BeyondTail`].
    BeyondTail { position: u64, tail: u64 },
    /// See [`StreamFault::PeerGone`].
    PeerGone { reason: String },
}

/// What a reader knows before it asks.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What goes on from the cursor; none if the origin has to say so.
    pub tip: Option<Accumulator>,
    /// The root that the stream must have at the cursor, if it is known from elsewhere.
    pub root: Option<Digest>,
}

/// What follows from an answer that holds.
#[derive(Debug)]
pub(super) struct Verified {
    /// What goes on from the cursor.
    pub start: Accumulator,
    /// What goes on from the last page.
    pub tip: Accumulator,
}

/// Checks an answer to `pull` before anything of it is kept.
pub(super) fn check(descriptor: &Descriptor, pull: &Pull, known: &Known, pulled: &Pulled) -> Result<Verified, Broken> {
    let another = |reason| Err(Broken::AnotherStream { reason });
    if pulled.stream != pull.stream {
        return another("the answer is about another one");
    }
    let after = pull.cursor.saturating_add(pulled.pages.len() as u64);
    // It may be shorter than it was: what was not durable is lost with its origin. It cannot be shorter than this.
    if pulled.state.tail < after {
        return another("it has more pages than it says");
    }
    if pulled.pages.is_empty() && pulled.state.tail > pull.cursor {
        return another("it has pages and does not give them");
    }
    let start = match (&known.tip, &pulled.start) {
        (Some(tip), _) => tip.clone(),
        (None, Some(start)) if start.len() == pull.cursor => start.clone(),
        (None, _) => return another("the peaks at the cursor are not there"),
    };
    if known.root.is_some_and(|root| root != start.root()) {
        return another("it had another root at the cursor");
    }
    check_sizes(pull, pulled)?;
    let mut tip = start.clone();
    for page in &pulled.pages {
        let position = tip.len();
        let damaged = |reason| Err(Broken::Damaged { position, reason });
        if page.head.position != position {
            return damaged("it is of another position");
        }
        if page.head.payload_bytes as usize != page.payload.len() {
            return damaged("it has another length");
        }
        if descriptor.integrity == Integrity::Plain && payload_hash(&page.payload, None) != page.head.hash {
            return damaged("it has another hash");
        }
        tip.push(&page.head);
    }
    if tip.root() != pulled.root {
        return Err(Broken::RootMismatch { from: pull.cursor, to: after });
    }
    Ok(Verified { start, tip })
}

fn check_sizes(pull: &Pull, pulled: &Pulled) -> Result<(), Broken> {
    let too_much = |reason| Err(Broken::Damaged { position: pull.cursor, reason });
    let bytes = pulled.pages.iter().fold(0_usize, |sum, page| sum.saturating_add(page.payload.len()));
    if pulled.pages.len() as u64 > u64::from(pull.pages_max) {
        return too_much("more pages came than were asked for");
    }
    if pulled.pages.len() > 1 && bytes as u64 > u64::from(pull.bytes_max) {
        return too_much("more bytes came than were asked for");
    }
    if pulled.pages.iter().any(|page| page.payload.len() > PAYLOAD_BYTES_MAX) {
        return too_much("a page is larger than pages are");
    }
    Ok(())
}

impl Broken {
    /// As readers see it.
    pub fn fault(&self) -> StreamFault {
        match self.clone() {
            Self::Damaged { position, reason } => StreamFault::Damaged { position, reason },
            Self::AnotherStream { reason } => StreamFault::AnotherStream { reason },
            Self::RootMismatch { from, to } => StreamFault::RootMismatch { from, to },
            Self::BeyondTail { position, tail } => StreamFault::BeyondTail { position, tail },
            Self::PeerGone { reason } => StreamFault::PeerGone { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gpu::stream::{Page, StreamId};

    use super::*;
    use crate::network::stream::{
        message::OriginState,
        tests::{descriptor, page as page_of},
    };

    fn page(position: u64) -> Page {
        page_of(position, &[position as u8; 10])
    }

    fn tip(pages: u64) -> Accumulator {
        let mut tip = Accumulator::default();
        (0..pages).for_each(|position| tip.push(&page(position).head));
        tip
    }

    /// An honest answer to a pull of pages 2 to 4.
    fn honest() -> (Pull, Known, Pulled) {
        let stream = descriptor(Integrity::Plain).id();
        let pull = Pull { stream, cursor: 2, pages_max: 3, bytes_max: 30, wait_ms: 0, trim_below: None, peaks: false };
        let state = OriginState { tail: 9, ..OriginState::default() };
        let pages = (2..5).map(page).collect();
        let pulled = Pulled { stream, state, start: Some(tip(2)), root: tip(5).root(), pages };
        (pull, Known { tip: Some(tip(2)), root: None }, pulled)
    }

    fn verdict(change: impl FnOnce(&mut Pull, &mut Known, &mut Pulled)) -> Result<u64, &'static str> {
        let (mut pull, mut known, mut pulled) = honest();
        change(&mut pull, &mut known, &mut pulled);
        let checked = check(&descriptor(Integrity::Plain), &pull, &known, &pulled);
        checked.map(|verified| verified.tip.len()).map_err(|broken| broken.fault().code())
    }

    #[test]
    fn an_honest_answer_is_taken() {
        assert_eq!(verdict(|_, _, _| {}), Ok(5));
        assert_eq!(verdict(|_, known, _| known.tip = None), Ok(5), "the origin says what it stands on");
        assert_eq!(verdict(|_, known, _| known.root = Some(tip(2).root())), Ok(5));
    }

    #[test]
    fn pages_that_were_not_asked_for_in_number_or_size_are_refused() {
        assert_eq!(verdict(|pull, _, _| pull.pages_max = 2), Err("E-202"));
        assert_eq!(verdict(|pull, _, _| pull.bytes_max = 29), Err("E-202"));
        // A page that is larger than all that was asked for comes alone.
        let alone = |pull: &mut Pull, _: &mut Known, pulled: &mut Pulled| {
            pull.bytes_max = 1;
            pulled.pages.truncate(1);
            pulled.root = tip(3).root();
        };
        assert_eq!(verdict(alone), Ok(3));
    }

    #[test]
    fn a_page_at_another_position_with_another_length_or_hash_is_refused() {
        assert_eq!(verdict(|_, _, pulled| pulled.pages.swap(0, 1)), Err("E-202"));
        assert_eq!(verdict(|_, _, pulled| pulled.pages[1].payload.truncate(9)), Err("E-202"));
        let flip = |_: &mut Pull, _: &mut Known, pulled: &mut Pulled| {
            pulled.pages[2].payload = Bytes::from(vec![9; 10]);
        };
        assert_eq!(verdict(flip), Err("E-202"));
    }

    #[test]
    fn another_root_is_refused() {
        assert_eq!(verdict(|_, _, pulled| pulled.root = tip(4).root()), Err("E-210"));
        assert_eq!(verdict(|_, known, _| known.tip = Some(tip(1))), Err("E-202"), "what it stands on is not this");
        // Where the hashes are keyed, the root is what shows that a head was changed.
        let (pull, known, mut pulled) = honest();
        pulled.pages[0].head.hash = Digest([9; 32]);
        let checked = check(&descriptor(Integrity::Keyed), &pull, &known, &pulled);
        assert_eq!(checked.expect_err("another head").fault().code(), "E-210");
    }

    #[test]
    fn another_stream_is_refused() {
        assert_eq!(verdict(|_, _, pulled| pulled.stream = StreamId(Digest::ZERO)), Err("E-209"));
        assert_eq!(verdict(|_, known, _| known.root = Some(tip(1).root())), Err("E-209"));
        let peaks_missing = |_: &mut Pull, known: &mut Known, pulled: &mut Pulled| {
            (known.tip, pulled.start) = (None, None);
        };
        assert_eq!(verdict(peaks_missing), Err("E-209"));
        let peaks_elsewhere = |_: &mut Pull, known: &mut Known, pulled: &mut Pulled| {
            (known.tip, pulled.start) = (None, Some(tip(3)));
        };
        assert_eq!(verdict(peaks_elsewhere), Err("E-209"));
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_refused() {
        assert_eq!(verdict(|_, _, pulled| pulled.state.tail = 4), Err("E-209"), "fewer pages than came");
        assert_eq!(verdict(|_, _, pulled| pulled.pages.clear()), Err("E-209"), "it has pages and gives none");
    }
}
