//! Bundles and state proofs as files, for whoever writes another verifier.
//!
//! The file `list` has a line for each bundle, with tabs between: its file, the hash of the genesis document to verify it
//! with, the digests of the re-geneses that are named (with commas between, or `-`), the file of a checkpoint that was kept
//! (or `-`), and what a verifier must find, which is `ok` and the class of its assurance, or the code of the first check
//! that fails; then its name. The file `state-list` is the same for state proofs, with the key that was asked about in the
//! place of the checkpoint, and `present` or `absent` in the place of `ok`.

use std::collections::{BTreeMap, BTreeSet};

use ledger::bundle::Check;

use crate::{
    hostile::{self, Honest, Vector},
    state_proofs::{self, Case},
    verdict::names,
};

/// What each file is called, and holds.
pub type Files = BTreeMap<String, Vec<u8>>;

/// All of them.
pub fn all() -> Files {
    files(hostile::honest(), hostile::vectors(), state_proofs::honest(), state_proofs::hostile())
}

/// Honest bundles with every part and of every class, all honest state proofs, and for each check the first that breaks it.
pub fn one_for_each_check() -> Files {
    let (mut checks, mut codes): (BTreeSet<Check>, BTreeSet<String>) = Default::default();
    let vectors = hostile::vectors().into_iter().filter(|vector| checks.insert(vector.expected)).collect();
    let states = state_proofs::hostile().into_iter().filter(|case| codes.insert(case.expected.clone())).collect();
    let honest = hostile::honest().into_iter().take(9).collect();
    files(honest, vectors, state_proofs::honest(), states)
}

fn files(honest: Vec<Honest>, hostile: Vec<Vector>, states: Vec<Case>, hostile_states: Vec<Case>) -> Files {
    let honest = honest.into_iter().map(|one| (one.name.to_owned(), one.bytes, one.told, format!("ok {}", one.class)));
    let hostile = hostile.into_iter().map(|one| (one.name, one.bytes, one.told, one.expected.code().to_owned()));
    let (mut files, mut list) = (Files::new(), String::new());
    for (number, (name, bytes, told, expected)) in honest.chain(hostile).enumerate() {
        let file = format!("{number:04}.bundle");
        let kept = told.checkpoint.as_ref().map_or("-".to_owned(), |_| format!("{number:04}.checkpoint"));
        list += &format!("{file}\t{}\t{}\t{kept}\t{expected}\t{name}\n", told.genesis, names(&told.named));
        files.insert(file, bytes);
        files.extend(told.checkpoint.map(|checkpoint| (kept, checkpoint)));
    }
    files.insert("list".to_owned(), list.into_bytes());
    let mut list = String::new();
    for (number, case) in states.into_iter().chain(hostile_states).enumerate() {
        let Case { name, bytes, genesis, named, key, expected } = case;
        let file = format!("{number:04}.state");
        list += &format!("{file}\t{genesis}\t{}\t{key}\t{expected}\t{name}\n", names(&named));
        files.insert(file, bytes);
    }
    files.insert("state-list".to_owned(), list.into_bytes());
    files
}
