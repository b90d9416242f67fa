//! Writes all bundles and state proofs into a folder, for whoever writes another verifier: `cargo run -p auditor --bin vectors -- FOLDER`.
//!
//! The file `list` has a line for each: its file, the hash of the genesis document to verify it with, the digests of the
//! re-geneses that are named (with commas between, or `-`), the file of a checkpoint that was kept (or `-`), and what a
//! verifier must find, which is `ok` and the class of its assurance, or the code of the first check that fails; then its
//! name. The file `state-list` is the same for state
//! proofs, with the key that was asked about behind the digests, and `present` or `absent` in the place of
//! `ok`.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use auditor::{
    hostile::{self, Honest, Told, Vector},
    state_proofs,
    verdict::names,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = env::args_os().nth(1).ok_or("usage: vectors FOLDER")?.into();
    fs::create_dir_all(&folder)?;
    let honest = hostile::honest()
        .into_iter()
        .map(|Honest { name, bytes, told, class }| (name.to_owned(), bytes, told, format!("ok {class}")));
    let hostile = hostile::vectors()
        .into_iter()
        .map(|Vector { name, bytes, told, expected }| (name, bytes, told, expected.code().to_owned()));
    let mut list = String::new();
    for (number, (name, bytes, told, expected)) in honest.chain(hostile).enumerate() {
        let file = format!("{number:04}.bundle");
        fs::write(folder.join(&file), bytes)?;
        let Told { genesis, named, checkpoint } = told;
        let kept = checkpoint.as_ref().map_or("-".to_owned(), |_| format!("{number:04}.checkpoint"));
        if let Some(checkpoint) = checkpoint {
            fs::write(folder.join(&kept), checkpoint)?;
        }
        writeln!(list, "{file}\t{genesis}\t{}\t{kept}\t{expected}\t{name}", names(&named))?;
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
