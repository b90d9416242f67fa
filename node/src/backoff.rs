//! How long something is left alone that did not work: longer after each time.

use std::time::Duration;

/// Waits that double, up to a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    last: Duration,
}

impl Backoff {
    /// Begins with `first` and ends with `most`.
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, last: Duration::ZERO }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(self.first, self.most);
        self.last
    }

    /// It works: the next wait is the first one again.
    pub(crate) const fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_once_it_works() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let waits = [200, 400, 800, 1000, 1000].map(Duration::from_millis);
        assert_eq!([(); 5].map(|()| backoff.wait()), waits);
        backoff.reset();
        assert_eq!(backoff.wait(), waits[0]);
    }
}
