//! Why a replica stops, said once: by its own tasks, or by a store of which somebody read what is not what was written.

use std::sync::Arc;

use tokio::sync::watch;

use super::fault::Fault;

/// Clones are one alarm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarm(watch::Sender<Option<Arc<Fault>>>);

impl Alarm {
    /// Says what stops the replica. The first to say so is believed.
    pub(crate) fn raise(&self, fault: Fault) {
        tracing::error!(%fault, "the replica stops");
        self.stop(fault);
    }

    /// Stops a replica that was told to end, which is no news to anybody.
    pub(crate) fn end(&self) {
        self.stop(Fault::Stopped);
    }

    /// What stopped it.
    pub(crate) fn raised(&self) -> Option<Arc<Fault>> {
        self.0.borrow().clone()
    }

    /// What stopped it, for whoever waits for that.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Fault>>> {
        self.0.subscribe()
    }

    fn stop(&self, fault: Fault) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Arc::new(fault));
            is_first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_the_one_that_everybody_is_told() {
        let alarm = Alarm::default();
        let seen = alarm.clone().subscribe();
        assert!(alarm.raised().is_none() && seen.borrow().is_none());
        alarm.raise(Fault::Raft("first".to_owned()));
        alarm.raise(Fault::Raft("second".to_owned()));
        alarm.end();
        for fault in [alarm.raised(), seen.borrow().clone()] {
            assert_eq!(fault.expect("raised").to_string(), "raft: first");
        }
    }
}
