//! `batchmind audit blame`: whose key broke which rule.

use std::{fmt, path::Path};

use ledger::{
    block::epoch_of,
    evidence::{Culprit, EVIDENCE_BYTES_MAX, EvidenceFile, Rule},
};
use serde::Serialize;
use wallet::{digest::Digest, identity::PublicKey, units::NodeId};

use super::{genesis::Genesis, read};
use crate::cli::{Failure, Output};

pub(super) fn run(file: &Path, genesis: &Genesis, named: &[Digest]) -> Result<Output, Failure> {
    let genesis = genesis.hash()?;
    let bytes = read(file, EVIDENCE_BYTES_MAX)?;
    let evidence = EvidenceFile::from_bytes(&bytes);
    let verdict = evidence.and_then(|evidence| Ok((evidence.evidence().kind(), evidence.verify(&genesis, named)?)));
    let (kind, (consortium, culprits)) = verdict.map_err(|invalid| {
        Failure::new(invalid.code(), format!("the file blames nobody: {invalid}"), file.display())
    })?;
    let named = culprits.into_iter().map(|culprit| Named::of(&consortium, culprit)).collect();
    let (genesis, name) = (consortium.id(), consortium.name().to_owned());
    Ok(Output::new(&Blamed { kind, consortium: genesis, name, culprits: named }))
}

#[derive(Serialize)]
struct Blamed {
    kind: &'static str,
    consortium: Digest,
    name: String,
    culprits: Vec<Named>,
}

/// A culprit, in the names of the genesis document. A node that joined later has none there.
#[derive(Serialize)]
struct Named {
    node: NodeId,
    node_name: String,
    operator: String,
    key: PublicKey,
    /// In which the key is the node's: by the genesis document if it is 0, else by the hand-overs in the file.
    epoch: u64,
    rule: Rule,
    term: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<u64>,
}

impl Named {
    fn of(consortium: &::genesis::Consortium, culprit: Culprit) -> Self {
        let Culprit { node, key, rule, term, number: view } = culprit;
        let node_name = consortium.node(node).map(|node| node.name.to_string()).unwrap_or_default();
        let operator = consortium.operator_of(node).map(|operator| operator.id.to_string()).unwrap_or_default();
        Self { node, node_name, operator, key, epoch: epoch_of(term), rule, term, view }
    }
}

impl fmt::Display for Blamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, consortium, name, culprits } = self;
        writeln!(f, "evidence     {kind}, every signature holds")?;
        write!(f, "consortium   {name:?} {consortium}")?;
        for Named { node, node_name, operator, key, epoch, rule, term, view } in culprits {
            write!(f, "\nculprit      node {node}")?;
            if node_name.is_empty() {
                f.write_str(", which the genesis document does not list")?;
            } else {
                write!(f, " ({node_name}) of operator {operator}")?;
            }
            write!(f, "\n  key        {key}")?;
            if *epoch > 0 {
                write!(f, ", as the hand-overs in this file say, epoch {epoch}")?;
            }
            write!(f, "\n  broke      {rule}")?;
            write!(f, "\n  where      term {term}")?;
            if let Some(view) = view {
                write!(f, ", view {view}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ledger::{
        block::Header,
        evidence::Evidence,
        testing::{self, Chain, evidence::samples},
        vote::{Ballot, Vote, VoteKind},
    };

    use super::*;

    fn blame(bytes: &[u8], genesis: &str) -> Result<Output, Failure> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("case.evidence");
        std::fs::write(&file, bytes).expect("our own folder");
        run(&file, &genesis.parse().expect("a hash or a file"), &[])
    }

    #[test]
    fn node_operator_key_view_and_rule_are_named_for_each_kind() {
        let consortium = testing::consortium(4);
        for (evidence, nodes) in samples(&consortium) {
            let kind = evidence.kind();
            let output =
                blame(&EvidenceFile::new(&consortium, Vec::new(), evidence).to_bytes(), &consortium.id().to_string());
            let output = output.expect("evidence");
            let culprits = output.json()["culprits"].as_array().expect("a list").clone();
            assert_eq!((output.json()["kind"].as_str(), culprits.len()), (Some(kind), nodes.len()));
            for (culprit, node) in culprits.iter().zip(nodes) {
                let key = testing::node_key(node).public_key();
                assert_eq!(culprit["node"], node);
                assert_eq!(culprit["operator"], format!("op-{node:02}"));
                assert_eq!(culprit["node_name"], format!("node-{node:02}"));
                assert_eq!((&culprit["key"], &culprit["epoch"]), (&serde_json::json!(key), &0.into()));
                assert!(culprit["rule"].is_string() && culprit["term"].is_u64(), "{culprit}");
                assert!(output.text().contains(&key.to_string()), "{}", output.text());
            }
        }
    }

    #[test]
    fn of_a_later_epoch_it_is_said_who_gives_the_key_to_the_node() {
        let mut chain = Chain::new(testing::consortium(4));
        chain.join(4, 0).expect("valid");
        let header = chain.propose(Vec::new()).block.header;
        let other = Header { state_root: Digest([7; 32]), ..header.clone() };
        let vote = |header| Vote::sign(Ballot::for_header(VoteKind::Notarize, header), &testing::signer(4));
        let evidence = Evidence::DoubleVote(Box::new([vote(&header), vote(&other)]));
        let bytes = EvidenceFile::new(&chain.consortium, chain.hand_overs.clone(), evidence).to_bytes();
        let output = blame(&bytes, &chain.consortium.id().to_string()).expect("evidence");
        assert_eq!(
            (&output.json()["culprits"][0]["epoch"], &output.json()["culprits"][0]["node"]),
            (&1.into(), &4.into())
        );
        let key = testing::node_key(4).public_key();
        for told in [
            "node 4, which the genesis document does not list".to_owned(),
            format!("{key}, as the hand-overs in this file say, epoch 1"),
        ] {
            assert!(output.text().contains(&told), "{}", output.text());
        }
    }

    #[test]
    fn the_genesis_document_itself_serves_as_its_hash() {
        let consortium = testing::consortium(4);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let genesis = folder.path().join("genesis.toml");
        std::fs::write(&genesis, consortium.document().to_toml()).expect("our own folder");
        let (evidence, _) = samples(&consortium).swap_remove(0);
        let bytes = EvidenceFile::new(&consortium, Vec::new(), evidence).to_bytes();
        assert!(blame(&bytes, &genesis.display().to_string()).is_ok());
        let missing = blame(&bytes, "no-such.toml").expect_err("no such file");
        assert_eq!((missing.code.as_str(), missing.detail.as_str()), ("N-150", "no-such.toml"));
    }

    #[test]
    fn what_proves_nothing_fails_with_the_code_of_what_is_wrong() {
        let consortium = testing::consortium(4);
        let (evidence, _) = samples(&consortium).swap_remove(1);
        let bytes = EvidenceFile::new(&consortium, Vec::new(), evidence).to_bytes();
        let code = |bytes: &[u8], genesis: Digest| blame(bytes, &genesis.to_string()).expect_err("nothing").code;
        assert_eq!(code(&bytes, Digest::ZERO), "L-305");
        assert_eq!(code(b"no evidence", consortium.id()), "L-301");
        let mut forged = bytes;
        // A bit of the first vote's signature.
        forged[44 + 4 + 32 + 8 + 4 + 16 + 8 + 32 + 4] ^= 1;
        assert_eq!(code(&forged, consortium.id()), "L-307");
    }
}
