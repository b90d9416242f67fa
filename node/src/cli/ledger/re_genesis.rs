//! `batchmind ledger re-genesis`: how operators go on whose validators are no quorum any more.
//!
//! One drafts on its stopped node, each checks that on its own, signs on a machine without a network, and makes it final on
//! its own stopped node. All of them name the re-genesis by its digest.

mod shown;

use std::{
    fmt,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Subcommand;
use ledger::{
    execute::Executed,
    governance::Member,
    re_genesis::{FileInvalid, RE_GENESIS_BYTES_MAX, ReGenesisFile},
    shell::{
        final_store::FinalStore,
        re_genesis::{Order, ReGenesisFault, Record, apply, check, draft},
    },
    vote::Signer,
};
use serde::Serialize;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use self::shown::{Shown, operators};
use super::super::{Failure, Output, fields::Fields, governance::member_of, key::KeyArguments};
use crate::{config::LedgerConfig, session::context::random};

/// A machine that signs knows no consortium's parameters, and its clock is right to within this, in ms.
const AHEAD_MS_MAX: u64 = 60_000;

/// Go on from the last final block where the validators are no quorum any more.
///
/// Only operators can do this, and only openly: whoever reads the ledger sees that it began anew, what was dropped and who
/// signed, and takes it only by its name. Stop the nodes that are left first. See docs/operating/re-genesis.md.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Draft a re-genesis, on the stopped node whose last final block is the highest.
    Draft {
        /// The configuration of that node, which stays.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Who is lost: operator=ID with all its nodes, or node=NUMBER; may be repeated. Nobody, where only votes are lost.
        #[arg(long, value_name = "MEMBER", value_parser = member)]
        lost: Vec<Member>,
        /// Why, in one line.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The file for the operators to sign, which must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what a re-genesis says, and who has signed it.
    Show {
        /// What `draft` or `sign` wrote.
        file: PathBuf,
    },
    /// Check on a stopped node that a re-genesis follows on its last final block, and that all that it says is so.
    ///
    /// Do this before you sign: whoever signs answers for it to all who take it by its digest.
    Check {
        /// What `draft` or `sign` wrote.
        file: PathBuf,
        /// The configuration of the node.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Sign a re-genesis with an operator's key. Needs no network and no node.
    Sign {
        /// What `draft` or `sign` wrote.
        file: PathBuf,
        /// The digest of what you mean to sign: read `show`, and compare it with the other operators.
        #[arg(long = "re-genesis", value_name = "HASH")]
        named: Digest,
        #[command(flatten)]
        key: KeyArguments,
        /// The signed file, which must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a re-genesis final in the ledger of a stopped node. What stands above the last final block is dropped.
    ///
    /// Start no node before all that stay have applied it. In a ledger that was restored from another node's, and has the
    /// re-genesis already, this only begins the vote record.
    Apply {
        /// The signed files: together they need a signature of each operator that stays.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The configuration of the node.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The digest of the re-genesis that you mean.
        #[arg(long = "re-genesis", value_name = "HASH")]
        named: Digest,
        /// Your word that this node never voted after this re-genesis, where its vote record is gone. If it did vote, others
        /// may hold two votes of its key that contradict each other.
        #[arg(long)]
        never_voted: bool,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Draft { config, lost, reason, out } => drafted(&LedgerConfig::load(&config)?, lost, reason, &out),
            Self::Show { file } => Ok(Output::new(&Shown::of(&read(&file)?, None))),
            Self::Check { file, config } => checked(&file, &LedgerConfig::load(&config)?),
            Self::Sign { file, named, key, out } => signed(&file, named, &key, &out),
            Self::Apply { files, config, named, never_voted } => {
                let record = if never_voted { Record::NeverVoted } else { Record::Kept };
                applied(&files, &LedgerConfig::load(&config)?, named, record)
            }
        }
    }
}

/// Reads `operator=ID` or `node=NUMBER`.
fn member(text: &str) -> Result<Member, String> {
    let mut fields = Fields::parse(text)?;
    let member = member_of(&mut fields)?;
    fields.finish().map(|()| member)
}

fn drafted(config: &LedgerConfig, lost: Vec<Member>, reason: String, out: &Path) -> Result<Output, Failure> {
    let folder = config.data_dir.join("ledger");
    let executed = tip(&folder, config)?;
    let author = own_node(&executed, config).and_then(|node| {
        let key = executed.state.node(node)?.node.key;
        Some(Signer { node, key: config.keys.named(key)?.clone() })
    });
    let author = author.ok_or_else(|| refused(ReGenesisFault::NoNode, &folder))?;
    let order = Order { author, lost, reason, nonce: random(), now: now() };
    let file = draft(&folder, &config.consortium, order).map_err(|fault| refused(fault, &folder))?;
    write(out, &file)?;
    Ok(Output::new(&Shown::of(&file, Some(out))))
}

fn checked(path: &Path, config: &LedgerConfig) -> Result<Output, Failure> {
    let (file, folder) = (read(path)?, config.data_dir.join("ledger"));
    check(&folder, &config.consortium, &file, now()).map_err(|fault| refused(fault, &folder))?;
    Ok(Output::new(&Shown::of(&file, None)))
}

fn signed(file: &Path, named: Digest, key: &KeyArguments, out: &Path) -> Result<Output, Failure> {
    let mut signed = read(file)?;
    let (time, clock) = (signed.header().time, now());
    if time.get() > clock.get().saturating_add(AHEAD_MS_MAX) {
        return Err(refused(ReGenesisFault::TimeAhead { time, clock }, file));
    }
    if signed.digest() != named {
        let title = format!("the file is the re-genesis {}, not {named}", signed.digest());
        return Err(Failure::new("N-175", title, file.display()));
    }
    signed.sign(key.open()?.as_ref()).map_err(|invalid| match invalid {
        FileInvalid::NotSigned(refusal) => refusal.into(),
        invalid => Failure::new("N-176", invalid, file.display()),
    })?;
    write(out, &signed)?;
    Ok(Output::new(&Shown::of(&signed, Some(out))))
}

fn applied(files: &[PathBuf], config: &LedgerConfig, named: Digest, record: Record) -> Result<Output, Failure> {
    let mut all: Option<ReGenesisFile> = None;
    for file in files {
        let next = read(file)?;
        if next.digest() != named {
            let title = format!("the file is the re-genesis {}, not {named}", next.digest());
            return Err(Failure::new("N-175", title, file.display()));
        }
        match &mut all {
            Some(all) => all.merge(&next).map_err(|invalid| Failure::new("N-174", invalid, file.display()))?,
            None => all = Some(next),
        }
    }
    let all = all.ok_or_else(|| Failure::new("N-153", "no file is given", "command line"))?;
    let missing: Vec<String> = operators(all.missing().map(|signatory| &signatory.operator));
    if !missing.is_empty() {
        let title = format!("no signature of {}", missing.join(", "));
        return Err(Failure::new("N-177", title, named));
    }
    let folder = config.data_dir.join("ledger");
    let told = (named, record, now());
    let executed = apply(&folder, &config.consortium, |executed| own_node(executed, config), &all, told);
    let executed = executed.map_err(|fault| refused(fault, &folder))?;
    let votes = own_node(&executed, config).is_some_and(|node| executed.validators().key(node).is_some());
    let (re_genesis, lineage, height) = (named, executed.state.lineage(), executed.height);
    Ok(Output::new(&Applied { folder, re_genesis, lineage, height, votes }))
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

/// The final state of a stopped node.
fn tip(folder: &Path, config: &LedgerConfig) -> Result<Executed, Failure> {
    if !folder.exists() {
        return Err(refused(ReGenesisFault::NoLedger, folder));
    }
    let opened = FinalStore::open(folder.join("final"), &config.consortium);
    opened.map(|(_, tip)| tip.executed).map_err(|fault| refused(fault.into(), folder))
}

/// Which node the configuration is of: that whose key it has.
fn own_node(executed: &Executed, config: &LedgerConfig) -> Option<NodeId> {
    let mut nodes = executed.state.nodes().filter(|(_, record)| record.standing.takes_part());
    nodes.find(|(_, record)| config.keys.named(record.node.key).is_some()).map(|(node, _)| node)
}

/// Why a stopped node's ledger does not begin anew.
fn refused(fault: ReGenesisFault, folder: &Path) -> Failure {
    let code = match &fault {
        ReGenesisFault::Refused(refusal) => refusal.code(),
        ReGenesisFault::File(_) => "N-174",
        ReGenesisFault::Invalid(_) | ReGenesisFault::NoNode | ReGenesisFault::TimeAhead { .. } => "N-178",
        ReGenesisFault::KnowsMore { .. } => "N-179",
        ReGenesisFault::NoLedger | ReGenesisFault::Behind { .. } | ReGenesisFault::OtherPlace { .. } => "N-180",
        ReGenesisFault::OtherChain { .. } => "N-181",
        ReGenesisFault::NotCompleted { .. } => "N-182",
        ReGenesisFault::NoRecord => "N-184",
        ReGenesisFault::Voted => "N-185",
        ReGenesisFault::OtherRecord { .. } | ReGenesisFault::Record(_) => "N-186",
        _ => "N-183",
    };
    Failure::new(code, fault, folder.display())
}

fn read(path: &Path) -> Result<ReGenesisFile, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(RE_GENESIS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::new("N-150", error, path.display()))?;
    ReGenesisFile::from_bytes(&bytes).map_err(|invalid: FileInvalid| Failure::new("N-174", invalid, path.display()))
}

fn write(path: &Path, file: &ReGenesisFile) -> Result<(), Failure> {
    let written = fs::File::create_new(path).and_then(|mut out| {
        out.write_all(&file.to_bytes())?;
        out.sync_all()
    });
    written.map_err(|error| Failure::new("N-152", error, path.display()))
}

#[derive(Serialize)]
struct Applied {
    folder: PathBuf,
    re_genesis: Digest,
    lineage: u32,
    height: BlockHeight,
    /// Whether this node votes in the new lineage.
    votes: bool,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, re_genesis, lineage, height, votes } = self;
        writeln!(f, "{}: lineage {lineage} begins at height {height}", folder.display())?;
        write!(f, "re-genesis   {re_genesis}")?;
        if !votes {
            write!(f, "\nnote: this node is among the lost: it follows, and votes once the others reinstate it")?;
        }
        Ok(())
    }
}
