//! What keeps secrets in memory from getting out of it by the system's own means: core dumps, debuggers, swap.
//!
//! It is of the process and not of single secrets, since copies of a key are where one would not look for them: in libp2p,
//! in buffers that were outgrown, on stacks. Prompts and KV pages are covered with them. Who is root on the machine reads
//! all of it nonetheless.

use std::io;

use rustix::{
    mm::{MlockAllFlags, mlockall, munlockall},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

/// Why the memory is not locked.
#[derive(Debug, thiserror::Error)]
#[error(
    "the memory of this process is not locked, so secrets may get into swap: {0}; raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity in a unit of systemd), or turn swap off"
)]
pub struct NotLocked(#[from] io::Error);

impl NotLocked {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        "N-565"
    }
}

/// From now on this process leaves no core dump, and no other process of its user can read its memory. The limit is
/// inherited by its children.
///
/// # Errors
/// What the system says.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Keeps all pages of this process that are ever touched out of swap. Only without a limit: with one, the first allocation
/// beyond it would fail.
///
/// # Errors
/// [`NotLocked`] if the limit cannot be lifted.
pub fn lock_memory() -> Result<(), NotLocked> {
    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, unlimited).map_err(io::Error::from)?;
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(io::Error::from)?)
}

/// Undoes [`lock_memory`].
///
/// # Errors
/// What the system says.
pub fn unlock_memory() -> Result<(), NotLocked> {
    Ok(munlockall().map_err(io::Error::from)?)
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_process_that_forbids_core_dumps_leaves_none() {
        forbid_core_dumps().expect("everybody may have less");
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
