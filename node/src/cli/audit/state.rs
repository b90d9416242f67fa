//! `batchmind audit state`: what the state holds under a key, or that it holds nothing, checked offline.

use std::{fmt, path::Path};

use ledger::{
    bundle::{Attestation, Check},
    state::{Record, StateKey},
    state_proof::{Report, STATE_PROOF_BYTES_MAX, verify},
};
use serde::Serialize;
use wallet::digest::Digest;

use super::{genesis::Genesis, read};
use crate::cli::{Failure, Output};

pub(super) fn run(
    file: &Path,
    genesis: &Genesis,
    named: &[Digest],
    asked: Option<&StateKey>,
) -> Result<Output, Failure> {
    let (genesis, bytes) = (genesis.hash()?, read(file, STATE_PROOF_BYTES_MAX)?);
    let Report { attested, key, record, checks } = verify(&bytes, &genesis, named, asked).map_err(|failure| {
        let title = format!("the state is not proven: {failure}");
        Failure { check: Some(failure.check.code()), ..Failure::new("N-190", title, file.display()) }
    })?;
    Ok(Output::new(&Proven { verified: true, key: key.to_string(), record, attested, checks }))
}

#[derive(Serialize)]
struct Proven {
    verified: bool,
    key: String,
    /// Null if there is none.
    record: Option<Record>,
    #[serde(flatten)]
    attested: Attestation,
    checks: Vec<Check>,
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, record, attested, checks, .. } = self;
        let Attestation { consortium, name, height, time, .. } = attested;
        writeln!(f, "verified: {} checks held", checks.len())?;
        writeln!(f, "consortium   {name:?} {consortium}")?;
        writeln!(f, "key          {key}")?;
        match record {
            Some(record) => writeln!(f, "record       {}", serde_json::to_string(record).map_err(|_| fmt::Error)?)?,
            None => writeln!(f, "record       there is none")?,
        }
        writeln!(f, "as of        height {height}, block time {time} ms; the file says nothing of later blocks")?;
        write!(f, "{}", super::Worth(attested))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ledger::{state_proof::build, testing};

    use super::*;

    /// The folder with a proof of each of these keys, and what the command says of one of them.
    fn told(proof: usize, asked: Option<usize>, genesis: Option<Genesis>) -> Result<Output, Failure> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (chain, mut keys) = testing::every_record();
        keys.push("account/3".parse().expect("a key"));
        let file: PathBuf = folder.path().join("state.proof");
        let built = build(&chain.consortium, &chain, keys[proof].clone()).expect("provable");
        std::fs::write(&file, built.to_bytes()).expect("our own folder");
        run(&file, &genesis.unwrap_or(Genesis::Hash(chain.consortium.id())), &[], asked.map(|asked| &keys[asked]))
    }

    #[test]
    fn what_stands_under_a_key_is_told_with_its_block_and_worth() {
        for (proof, key) in [(0, "governance"), (7, "anchor/0"), (12, "node/4")] {
            let output = told(proof, Some(proof), None).expect("proven");
            assert_eq!((&output.json()["verified"], &output.json()["key"]), (&true.into(), &key.into()));
            assert!(output.json()["record"].is_object() && output.json()["height"].is_u64(), "{}", output.json());
            assert!(output.text().contains("several-must-lie"), "{}", output.text());
        }
        let anchor = told(7, None, None).expect("proven");
        assert_eq!(anchor.json()["record"]["Anchor"]["decisions"], 1);
    }

    #[test]
    fn that_nothing_stands_there_is_told_too() {
        let output = told(18, Some(18), None).expect("proven");
        assert!(output.json()["record"].is_null());
        assert!(output.text().contains("record       there is none"), "{}", output.text());
    }

    #[test]
    fn a_proof_of_another_key_or_another_consortium_is_refused() {
        let other = told(18, Some(6), None).expect_err("another key");
        assert_eq!((other.code.as_str(), other.check), ("N-190", Some("state-proof")));
        let foreign = Genesis::Hash(wallet::digest::Digest::ZERO);
        let foreign = told(18, Some(18), Some(foreign)).expect_err("another consortium");
        assert_eq!((foreign.code.as_str(), foreign.check), ("N-190", Some("genesis-hash")));
    }
}
