//! Writes bundles and state proofs into a folder, for whoever writes another verifier: `cargo run -p auditor --bin vectors
//! -- FOLDER` all of them, with `--one-for-each-check` those of the folder `golden`. See [`auditor::vectors`].

use std::{env, error::Error, fs, path::PathBuf};

use auditor::vectors;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    let is_small = arguments.pop_if(|last| last == "--one-for-each-check").is_some();
    let folder: PathBuf = arguments.pop().ok_or("usage: vectors FOLDER [--one-for-each-check]")?.into();
    fs::create_dir_all(&folder)?;
    for (name, bytes) in if is_small { vectors::one_for_each_check() } else { vectors::all() } {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
