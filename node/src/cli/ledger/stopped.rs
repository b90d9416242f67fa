//! The ledger of a stopped node, as commands open it on that node's machine.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Uid, geteuid};

use crate::{cli::Failure, config::LedgerConfig};

/// The folder of the ledger, which need not be there yet.
///
/// # Errors
/// N-662 if it, or the node's folder around it, is another user's than who runs this.
pub(in crate::cli) fn folder(config: &LedgerConfig) -> Result<PathBuf, Failure> {
    let folder = config.data_dir.join("ledger");
    check_owner(if folder.exists() { &folder } else { &config.data_dir }, geteuid())?;
    Ok(folder)
}

/// RocksDB writes files anew when it opens a store: another user's the node could not open any more.
fn check_owner(folder: &Path, user: Uid) -> Result<(), Failure> {
    match fs::metadata(folder) {
        Ok(found) if found.uid() != user.as_raw() => {
            let title = format!("the ledger is the user {}'s, and this runs as user {}", found.uid(), user.as_raw());
            Err(Failure::new("N-662", title, folder.display()))
        }
        // What is not there is told where it is looked for.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_another_user_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let owner = fs::metadata(folder.path()).expect("our own folder").uid();
        assert!(check_owner(folder.path(), Uid::from_raw(owner)).is_ok());
        let refused = check_owner(folder.path(), Uid::from_raw(owner + 1)).expect_err("another user's");
        assert_eq!(refused.code, "N-662");
    }
}
