//! `batchmind audit promise`: what a leader signed for an entry, checked offline.

use std::{fmt, path::Path};

use ledger::{
    event::Entry,
    evidence::receipt::{Commitment, RECEIPT_BYTES_MAX, Receipt},
};
use serde::Serialize;
use wallet::{codec, digest::Digest};

use super::{genesis::Genesis, log::ENTRY_BYTES_MAX, read};
use crate::cli::{Failure, Output};

pub(super) fn run(file: &Path, genesis: &Genesis, named: &[Digest], entry: Option<&Path>) -> Result<Output, Failure> {
    let not_proven = |reason: &dyn fmt::Display| {
        Failure::new("N-193", format!("the promise is not proven: {reason}"), file.display())
    };
    let genesis = genesis.hash()?;
    let receipt = Receipt::from_bytes(&read(file, RECEIPT_BYTES_MAX)?).map_err(|invalid| not_proven(&invalid))?;
    let entry = entry.map(|entry| leaf(entry, &not_proven)).transpose()?;
    let commitment = receipt.verify(&genesis, named, entry.as_ref()).map_err(|invalid| not_proven(&invalid))?;
    Ok(Output::new(&Proven { verified: true, entry, commitment }))
}

/// The leaf hash of the entry in a file.
fn leaf(file: &Path, not_proven: &dyn Fn(&dyn fmt::Display) -> Failure) -> Result<Digest, Failure> {
    let bytes = read(file, ENTRY_BYTES_MAX)?;
    let entry: Entry = codec::decode(&bytes).map_err(|error| not_proven(&format!("it is no entry: {error}")))?;
    Ok(entry.leaf_hash())
}

#[derive(Serialize)]
struct Proven {
    verified: bool,
    /// Leaf hash of the entry that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<Digest>,
    #[serde(flatten)]
    commitment: Commitment,
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Commitment { consortium, name, leader, epoch, term, through, leaves } = &self.commitment;
        writeln!(f, "verified: the leader signed it")?;
        writeln!(f, "consortium   {name:?} {consortium}")?;
        writeln!(f, "promised by  node {leader}, leader of term {term}, a validator of epoch {epoch}")?;
        write!(f, "promise      {} entries in its block {through} at the latest, if they apply to it", leaves.len())?;
        match &self.entry {
            Some(leaf) => write!(f, "\nentry        {leaf} is one of them"),
            None => leaves.iter().try_for_each(|leaf| write!(f, "\nleaf hash    {leaf}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::{
        evidence::Promised,
        testing::{
            self,
            evidence::{anchor, promise},
        },
    };

    use super::*;

    #[test]
    fn a_promise_is_told_with_the_entries_that_it_names_and_no_others() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let consortium = testing::consortium(4);
        let [one, two, other] = [1, 2, 3].map(|decisions| anchor(&consortium, decisions));
        let leaves = vec![one.leaf_hash(), two.leaf_hash()];
        let promised = Promised { promise: promise(&consortium, 1, 3, 5, &leaves), leaves };
        let receipt = Receipt::new(&consortium, Vec::new(), promised);
        let write = |name: &str, bytes: Vec<u8>| {
            std::fs::write(folder.path().join(name), bytes).expect("our own folder");
            folder.path().join(name)
        };
        let file = write("promise", receipt.to_bytes());
        let genesis = Genesis::Hash(consortium.id());
        let two = write("two.entry", codec::encode(&two));
        let told = run(&file, &genesis, &[], Some(&two)).expect("it holds");
        assert_eq!((&told.json()["leader"], &told.json()["through"]), (&1.into(), &5.into()));
        assert!(told.text().contains("in its block 5 at the latest"), "{}", told.text());
        assert!(run(&file, &genesis, &[], None).expect("it holds").text().contains(&one.leaf_hash().to_string()));
        let other = write("other.entry", codec::encode(&other));
        let cut = write("cut", receipt.to_bytes()[..90].to_vec());
        for (file, entry, genesis) in [
            (&file, Some(&other), &genesis),
            (&file, Some(&file), &genesis),
            (&file, None, &Genesis::Hash(Digest::ZERO)),
            (&cut, None, &genesis),
        ] {
            assert_eq!(run(file, genesis, &[], entry.map(|path| path.as_path())).expect_err("refused").code, "N-193");
        }
    }
}
