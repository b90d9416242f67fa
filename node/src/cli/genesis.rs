//! `batchmind genesis`: writing, signing and verifying the consortium document.

pub(super) mod parts;

use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use genesis::{Document, Draft, GenesisError, Heading, OperatorId, Parameters};
use serde::Serialize;
use wallet::{digest::Digest, units::Timestamp};

use super::{Failure, Output, key::KeyArguments};

/// Write, sign and verify the document that founds a consortium.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    New(New),
    /// Sign the document as one of its operators.
    ///
    /// Read the document first: the signature covers all of it but comments and other signatures. The file is written
    /// anew, with its own comments and without others.
    Sign {
        /// The document.
        file: PathBuf,
        /// Who signs.
        #[arg(long, value_name = "ID")]
        operator: OperatorId,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Check all rules and all signatures, and print the genesis hash.
    ///
    /// The hash is the consortium's id. Auditors need it, and nothing else, to verify a proof bundle.
    Verify {
        /// The document.
        file: PathBuf,
    },
}

/// Write a new document as TOML, to be read, edited and signed by every operator.
///
/// A key is given as a key file or as 64 hexadecimal digits of public key. The nodes are numbered in the order in which
/// they are given. Parameters get their defaults; edit the file to change them.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The file to write. It must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the consortium is called.
    #[arg(long)]
    name: String,
    /// A legal region: id=eu,name=European Union. The name may be left out.
    #[arg(long = "region", value_name = "PARTS", required = true, value_parser = parts::region)]
    regions: Vec<genesis::Region>,
    /// An operator: id=eu-1,key=FILE,name=First Operator. The name may be left out.
    #[arg(long = "operator", value_name = "PARTS", required = true, value_parser = parts::operator)]
    operators: Vec<genesis::Operator>,
    /// A node: name=eu-1-a,operator=eu-1,region=eu,key=FILE,peer=ADDRESS:PORT,api=http://HOST:PORT.
    #[arg(long = "node", value_name = "PARTS", required = true, value_parser = parts::node)]
    nodes: Vec<genesis::Node>,
    /// Who may read the ledger: name=Example Audit,key-hash=SHA-256 of a random API key.
    #[arg(long = "auditor", value_name = "PARTS", value_parser = parts::auditor)]
    auditors: Vec<genesis::Auditor>,
    /// A model that the operators agree to serve: name=tiny,hash=HASH,operator=eu-1.
    ///
    /// Who is added as owner=Tiny Labs,owner-key-hash=SHA-256 of a random API key, may read where its batches are.
    #[arg(long = "model", value_name = "PARTS", value_parser = parts::model)]
    models: Vec<genesis::Model>,
}

impl Command {
    pub(super) fn run(self) -> Result<Output, Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Sign { file, operator, key } => {
                let mut document = read(&file)?;
                let key = key.open()?;
                document.sign(&operator, key.as_ref()).map_err(|error| refused(&file, &error))?;
                replace(&file, &document.to_toml()).map_err(|error| unwritten(&file, &error))?;
                Ok(Output::new(&Shown::new(file, &document)))
            }
            Self::Verify { file } => {
                let consortium = read(&file)?.verify().map_err(|error| refused(&file, &error))?;
                Ok(Output::new(&Shown::new(file, consortium.document())))
            }
        }
    }
}

impl New {
    fn run(self) -> Result<Output, Failure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let created_ms = Timestamp::new(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let draft = Draft {
            consortium: Heading { name: self.name, created_ms },
            parameters: Parameters::default(),
            regions: self.regions,
            operators: self.operators,
            nodes: self.nodes,
            auditors: self.auditors,
            models: self.models,
            signatures: Default::default(),
        };
        let document = Document::new(draft).map_err(|error| refused(&self.out, &error))?;
        let written =
            fs::File::create_new(&self.out).and_then(|mut file| file.write_all(document.to_toml().as_bytes()));
        written.map_err(|error| unwritten(&self.out, &error))?;
        Ok(Output::new(&Shown::new(self.out, &document)))
    }
}

/// The document of a file: its rules are checked, its signatures are not.
pub(super) fn read(file: &Path) -> Result<Document, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::new("N-150", error, file.display()))?;
    genesis::parse(&text).map_err(|error| refused(file, &error))
}

/// Puts the new text in the old one's place at once, so that a crash leaves one of the two.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let mut new = fs::File::create(&beside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, file)
}

fn refused(file: &Path, error: &GenesisError) -> Failure {
    Failure::new(error.code(), error, file.display())
}

fn unwritten(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new("N-152", error, file.display())
}

/// What is said of a document.
#[derive(Serialize)]
struct Shown {
    genesis_hash: Digest,
    name: String,
    operators: usize,
    nodes: usize,
    unsigned: Vec<OperatorId>,
    file: PathBuf,
}

impl Shown {
    fn new(file: PathBuf, document: &Document) -> Self {
        let draft = document.draft();
        let unsigned = draft.operators.iter().map(|operator| &operator.id);
        Self {
            genesis_hash: document.hash(),
            name: draft.consortium.name.clone(),
            operators: draft.operators.len(),
            nodes: draft.nodes.len(),
            unsigned: unsigned.filter(|id| !draft.signatures.contains_key(*id)).cloned().collect(),
            file,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.genesis_hash)?;
        write!(f, "{:?}: {} operators, {} nodes", self.name, self.operators, self.nodes)?;
        if self.unsigned.is_empty() {
            return f.write_str(", signed by all");
        }
        let unsigned: Vec<&str> = self.unsigned.iter().map(OperatorId::as_str).collect();
        write!(f, ", not yet signed by {}", unsigned.join(", "))
    }
}

#[cfg(test)]
mod tests;
