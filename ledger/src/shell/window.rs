//! How many entries one append may carry.
//!
//! openraft gives an append a fixed time, whatever it carries, and then sends the same again. A range that takes a peer
//! longer than that would never arrive: after a change of leader that can be half of the log. So what is not answered in
//! time is halved, and what is answered is doubled.

/// The largest number of entries in one append; the log store bounds their bytes as well.
pub(crate) const ENTRIES_MAX: usize = 256;
/// With so many the first append to a peer begins: enough for the blocks since its last one in good times.
const ENTRIES_AT_FIRST: usize = 16;

/// See the module; one for each peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window(usize);

impl Window {
    pub(crate) fn new() -> Self {
        Self(ENTRIES_AT_FIRST)
    }

    /// Leaves of `entries` what one append may carry. Halves that for the next one, unless [`Self::answered`] is told:
    /// an append that comes too late is dropped, and tells nothing.
    pub(crate) fn narrow<T>(&mut self, entries: &mut Vec<T>) -> usize {
        entries.truncate(self.0);
        if !entries.is_empty() {
            self.0 = (self.0 / 2).max(1);
        }
        entries.len()
    }

    /// An append with `sent` entries was answered in time.
    pub(crate) fn answered(&mut self, sent: usize) {
        self.0 = self.0.max(sent).saturating_mul(2).min(ENTRIES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(window: &mut Window) -> usize {
        window.narrow(&mut vec![(); 1_000])
    }

    #[test]
    fn what_is_never_answered_shrinks_to_one_entry_and_what_is_answered_grows_to_the_most() {
        let mut window = Window::new();
        assert_eq!([(); 6].map(|()| sent(&mut window)), [16, 8, 4, 2, 1, 1]);
        let grown = [(); 10].map(|()| {
            let sent = sent(&mut window);
            window.answered(sent);
            sent
        });
        assert_eq!(grown, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
    }

    #[test]
    fn a_heartbeat_changes_nothing_and_a_small_append_does_not_shrink_it() {
        let mut window = Window::new();
        assert_eq!(window.narrow(&mut Vec::<()>::new()), 0);
        assert_eq!(window.narrow(&mut vec![()]), 1);
        window.answered(1);
        assert_eq!(sent(&mut window), 16);
    }
}
