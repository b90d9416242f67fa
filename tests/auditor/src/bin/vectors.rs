//! Writes all bundles and state proofs into a folder, for whoever writes another verifier: `cargo run -p auditor --bin vectors -- FOLDER`.
//!
//! The file `list` has a line for each: its file, the hash of the genesis document to verify it with, the digests of the
//! re-geneses that are named (with commas between, or `-`), and what a verifier must find, which is `ok` and the class of
//! its assurance, or the code of the first check that fails; then its name. The file `state-list` is the same for state
//! proofs, with the key that was asked about behind the digests, and `present` or `absent` in the place of
//! `ok`.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use auditor::{hostile, state_proofs, verdict::names};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = env::args_os().nth(1).ok_or("usage: vectors FOLDER")?.into();
    fs::create_dir_all(&folder)?;
    let honest = hostile::honest()
        .into_iter()
        .map(|(name, bytes, genesis, named, class)| (name.to_owned(), bytes, genesis, named, format!("ok {class}")));
    let hostile = hostile::vectors()
        .into_iter()
        .map(|vector| (vector.name, vector.bytes, vector.genesis, vector.named, vector.expected.code().to_owned()));
    let mut list = String::new();
    for (number, (name, bytes, genesis, named, expected)) in honest.chain(hostile).enumerate() {
        let file = format!("{number:04}.bundle");
        fs::write(folder.join(&file), bytes)?;
        writeln!(list, "{file}\t{genesis}\t{}\t{expected}\t{name}", names(&named))?;
    }
    fs::write(folder.join("list"), list)?;
    let mut list = String::new();
    for (number, case) in state_proofs::honest().into_iter().chain(state_proofs::hostile()).enumerate() {
        let state_proofs::Case { name, bytes, genesis, named, key, expected } = case;
        let file = format!("{number:04}.state");
        fs::write(folder.join(&file), bytes)?;
        writeln!(list, "{file}\t{genesis}\t{}\t{key}\t{expected}\t{name}", names(&named))?;
    }
    fs::write(folder.join("state-list"), list)?;
    Ok(())
}
