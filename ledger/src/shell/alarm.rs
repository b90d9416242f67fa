//! Why a replica stops, said once: by its own tasks, or by a store of which somebody read what is not what was written.
//!
//! Damage is remembered in a file beside the vote record. No start reads all that is on the disk, so the next one might not
//! meet it, and sign and serve until somebody does. While the file is there the replica does not start.

use std::sync::Arc;

use tokio::sync::watch;

use super::{disk::Disk, fault::Fault};

/// The file's name in the ledger's folder. It says what was found.
const FILE: &str = "damaged";

/// Clones are one alarm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarm {
    raised: watch::Sender<Option<Arc<Fault>>>,
    /// Where damage is remembered.
    dir: Option<Disk>,
}

impl Alarm {
    /// The alarm of the ledger in `dir`, which met no damage that nobody has seen to.
    ///
    /// # Errors
    /// [`Fault::MetDamage`] if it did; [`Fault::File`] if that cannot be read.
    pub(crate) fn of(dir: Disk) -> Result<Self, Fault> {
        let path = dir.path(FILE);
        if let Some(said) = dir.read(FILE).map_err(|source| Fault::file(&path, source))? {
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            return Err(Fault::MetDamage { path, said });
        }
        Ok(Self { dir: Some(dir), ..Self::default() })
    }

    /// Says what stops the replica. The first to say so is believed.
    pub(crate) fn raise(&self, fault: Fault) {
        tracing::error!(%fault, "the replica stops");
        if fault.is_damage() {
            self.remember(&fault);
        }
        self.stop(fault);
    }

    /// Before anybody is told, so that it is there when the process ends.
    fn remember(&self, fault: &Fault) {
        let Some(dir) = &self.dir else { return };
        if let Err(error) = dir.replace(FILE, format!("{fault}\n").as_bytes()) {
            tracing::error!(%error, "the next start may not know of the damage: do not start this node before it is restored");
        }
    }

    /// Stops a replica that was told to end, which is no news to anybody.
    pub(crate) fn end(&self) {
        self.stop(Fault::Stopped);
    }

    /// What stopped it.
    pub(crate) fn raised(&self) -> Option<Arc<Fault>> {
        self.raised.borrow().clone()
    }

    /// What stopped it, for whoever waits for that.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Fault>>> {
        self.raised.subscribe()
    }

    fn stop(&self, fault: Fault) {
        self.raised.send_if_modified(|first| {
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

    #[test]
    fn damage_is_remembered_until_somebody_has_seen_to_it_and_another_fault_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let of = || Alarm::of(dir.path().into());
        of().expect("nothing was met").raise(Fault::Raft("ended".to_owned()));
        of().expect("that was no damage").raise(Fault::damaged("final", "entries", b"k", "too short"));
        for _ in 0..2 {
            let refused = of().expect_err("it was met").to_string();
            assert!(refused.contains("the value at entries/6b is damaged: too short"), "{refused}");
        }
        std::fs::remove_file(dir.path().join(FILE)).expect("it is there");
        of().expect("its operator has seen to it");
    }
}
