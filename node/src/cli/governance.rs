//! `batchmind governance`: what operators sign to change the consortium, and what became of it.

mod action;
mod show;

use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use ::genesis::OperatorId;
use clap::{Args, Subcommand};
use ledger::{
    event::Event,
    governance::{Action, OperatorBallot, ProposalEnacted, ProposalTerms, ProposalWithdrawn},
};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest, identity::Signature, units::BlockHeight};

pub(super) use self::action::member_of;
use self::{
    action::{Asked, InWords},
    show::Governance,
};
use super::{
    Failure, Output,
    client::{Client, ClientArguments},
    genesis,
    key::KeyArguments,
};
use crate::{api::SOCKET, governance, session::context::random};

/// The longest file that is read as something signed.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Change who takes part: propose, vote, withdraw, enact, and see what is open.
///
/// Operators decide with the keys that signed the genesis document, and these belong on no server. A command that signs
/// either hands what it signed to a node, or writes it to a file (--out) that `submit` hands over from another machine.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Propose(Propose),
    Ballot(Ballot),
    /// Take a proposal back, as the operator that made it.
    Withdraw {
        /// The proposal's digest.
        proposal: Digest,
        #[command(flatten)]
        key: KeyArguments,
        #[command(flatten)]
        to: Destination,
    },
    /// Let a node enact what passed. The nodes do so by themselves; this is for who does not want to wait.
    Enact {
        /// The proposal's digest.
        proposal: Digest,
        #[command(flatten)]
        at: At,
    },
    /// Hand a signed file to a node, and wait until it is final.
    Submit {
        /// What `propose`, `ballot` or `withdraw` wrote.
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Sign with a new key that it takes its role, and print the signature for consent= in the action; or that it agrees as
    /// the operator of a node that joins (by-operator=), or as the key that is replaced (by-old-key=).
    Consent {
        /// The signed genesis document.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// The action, as it will be proposed, without consent=: add-operator, add-node or rotate-key.
        #[arg(long, value_name = "ACTION", value_parser = action::read)]
        action: Asked,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Show who takes part, and what is being decided.
    Show {
        /// Also proposals of which nothing can become any more.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        at: At,
    },
}

/// Propose actions, all of which are done together or none, and approve them.
///
/// Kinds of actions:
///   add-operator,id=,name=,key=,consent=
///   add-node,name=,operator=,region=,key=,peer=ADDRESS:PORT,api=URL,consent=,by-operator=
///   suspend, remove: operator=ID or node=NUMBER
///   reinstate,operator=ID or node=NUMBER,key=
///   rotate-key,operator=ID or node=NUMBER,from=,to=,consent=[,by-old-key=]
///   revoke-key,key=
///   grant-auditor,name=,key-hash=
///   revoke-auditor,key-hash=
///   set-parameter,name=,from=,to=
/// A key is a key file or 64 hexadecimal digits of public key; consent= is what `governance consent` printed for the new
/// key, by-operator= for the operator's, and by-old-key= for the one that is replaced. Without that a rotation waits.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Propose {
    /// What shall change, in this order; may be given up to 16 times.
    #[arg(long = "action", value_name = "ACTION", required = true, value_parser = action::read)]
    actions: Vec<Asked>,
    /// The signed genesis document. Its hash is the consortium's id.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// To which electorate it is put, as `governance show` says; asked from the node if absent.
    #[arg(long, value_name = "NUMBER")]
    electorate: Option<u64>,
    /// Who proposes.
    #[arg(long, value_name = "ID")]
    operator: OperatorId,
    #[command(flatten)]
    key: KeyArguments,
    #[command(flatten)]
    to: Destination,
}

/// Vote on a proposal. What is voted on is printed; it is what the digest names, whatever the node says.
#[derive(Debug, Args)]
pub(super) struct Ballot {
    /// The proposal's digest.
    proposal: Digest,
    /// For the proposal.
    #[arg(long, required_unless_present = "reject", conflicts_with = "reject")]
    approve: bool,
    /// Against the proposal.
    #[arg(long)]
    reject: bool,
    /// Who votes.
    #[arg(long, value_name = "ID")]
    operator: OperatorId,
    #[command(flatten)]
    key: KeyArguments,
    /// The signed proposal as a file; asked from the node if absent.
    #[arg(long, value_name = "FILE")]
    proposal_file: Option<PathBuf>,
    #[command(flatten)]
    to: Destination,
}

/// Where what was signed goes.
#[derive(Debug, Args)]
pub(super) struct Destination {
    #[command(flatten)]
    at: At,
    /// Write what is signed to this file, which must not exist, instead of handing it to the node.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Which node is asked, and gets what was signed. Any node takes that without a key; who asks what stands there needs an
/// auditor's key, or the node's own folder.
#[derive(Debug, Args)]
pub(super) struct At {
    #[command(flatten)]
    client: ClientArguments,
    /// The folder of a node on this machine (data-dir in its configuration), instead of --url: whoever may open its admin
    /// socket needs no API key.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "ca_file", "api_key_file"])]
    data_dir: Option<PathBuf>,
}

impl At {
    fn open(&self) -> Result<Node, Failure> {
        Ok(match &self.data_dir {
            Some(folder) => Node { client: Client::over_socket(&folder.join(SOCKET))?, path: "/admin/v1/governance" },
            None => Node { client: Client::open(&self.client)?, path: "/ledger/v1/governance" },
        })
    }
}

/// A node that is asked about governance, and where.
struct Node {
    client: Client,
    path: &'static str,
}

impl Node {
    async fn ask(&self) -> Result<Governance, Failure> {
        self.client.get(self.path).await
    }

    /// Hands an event to the node, and waits until it is final.
    async fn hand_over(&self, proposal: Digest, actions: &[Action], event: &Event) -> Result<Output, Failure> {
        let request =
            self.client.request(Method::POST, &format!("{}?wait=final", self.path)).body(codec::encode(event));
        let at: Place = self.client.ask(request).await?;
        Ok(Output::new(&Signed { event: event.name(), proposal, actions: in_words(actions), file: None, at: Some(at) }))
    }
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Propose(propose) => propose.run().await,
            Self::Ballot(ballot) => ballot.run().await,
            Self::Withdraw { proposal, key, to } => {
                let withdrawn = ProposalWithdrawn::sign_with(proposal, key.open()?.as_ref())?;
                to.take(proposal, &[], &Event::ProposalWithdrawn(withdrawn)).await
            }
            Self::Enact { proposal, at } => {
                let event = Event::ProposalEnacted(ProposalEnacted { proposal });
                at.open()?.hand_over(proposal, &[], &event).await
            }
            Self::Submit { file, at } => {
                let event = read(&file)?;
                let (proposal, actions) = match &event {
                    Event::ProposalMade(made) => (made.terms.digest(), made.terms.actions.as_slice()),
                    Event::BallotCast(cast) => (cast.ballot.proposal, &[][..]),
                    Event::ProposalWithdrawn(withdrawn) => (withdrawn.proposal, &[][..]),
                    Event::ProposalEnacted(enacted) => (enacted.proposal, &[][..]),
                    other => return Err(unsigned(&file, format!("a {} is no event of governance", other.name()))),
                };
                at.open()?.hand_over(proposal, actions, &event).await
            }
            Self::Consent { genesis, action, key } => {
                let id = genesis::read(&genesis)?.hash();
                let claim = action.claim();
                let claim = claim.ok_or_else(|| senseless("this action needs no consent, or has one"))?;
                let key = key.open()?;
                if !action.may_sign(&key.public_key()) {
                    return Err(senseless("the action names another key than this one"));
                }
                Ok(Output::new(&Consent { consent: claim.sign_with(&id, key.as_ref())? }))
            }
            Self::Show { all, at } => Ok(Output::new(&at.open()?.ask().await?.shown(all))),
        }
    }
}

impl Propose {
    async fn run(self) -> Result<Output, Failure> {
        let consortium = genesis::read(&self.genesis)?.hash();
        let whole = |asked: Asked| match asked {
            Asked::Whole(action) => Ok(action),
            _ => Err(senseless("the new key has to agree: consent= is missing, see `governance consent`")),
        };
        let actions = self.actions.into_iter().map(whole).collect::<Result<Vec<Action>, Failure>>()?;
        let key = self.key.open()?;
        let electorate = match self.electorate {
            Some(electorate) => electorate,
            None => self.to.at.open()?.ask().await?.electorate,
        };
        let terms = ProposalTerms { consortium, electorate, operator: self.operator, nonce: random(), actions };
        let (proposal, actions) = (terms.digest(), terms.actions.clone());
        self.to.take(proposal, &actions, &Event::ProposalMade(Box::new(terms.sign_with(key.as_ref())?))).await
    }
}

impl Ballot {
    async fn run(self) -> Result<Output, Failure> {
        let proposal = self.proposal;
        let not_that = |title: &str| Failure::new("N-159", title, proposal);
        let terms = match &self.proposal_file {
            Some(file) => match read(file)? {
                Event::ProposalMade(made) => made.terms,
                other => return Err(unsigned(file, format!("a {} is no proposal", other.name()))),
            },
            None => {
                let found = self.to.at.open()?.ask().await?;
                let record = found.proposal(proposal).ok_or_else(|| not_that("the node lists no such proposal"))?;
                record.terms.clone()
            }
        };
        if terms.digest() != proposal {
            return Err(not_that("the proposal that was shown is not the one that the digest names"));
        }
        let ballot = OperatorBallot { proposal, operator: self.operator, approves: self.approve };
        let cast = ballot.sign_with(self.key.open()?.as_ref())?;
        self.to.take(proposal, &terms.actions, &Event::BallotCast(cast)).await
    }
}

impl Destination {
    /// Hands `event` to the node, or writes it to the file.
    async fn take(self, proposal: Digest, actions: &[Action], event: &Event) -> Result<Output, Failure> {
        let Some(out) = self.out else {
            return self.at.open()?.hand_over(proposal, actions, event).await;
        };
        let written = fs::File::create_new(&out).and_then(|mut file| file.write_all(&codec::encode(event)));
        written.map_err(|error| Failure::new("N-152", error, out.display()))?;
        Ok(Output::new(&Signed {
            event: event.name(),
            proposal,
            actions: in_words(actions),
            file: Some(out),
            at: None,
        }))
    }
}

/// What an earlier command wrote.
fn read(file: &Path) -> Result<Event, Failure> {
    let unreadable = |error: std::io::Error| Failure::new("N-150", error, file.display());
    if fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(unsigned(file, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    governance::decode(&bytes).map_err(|error| unsigned(file, error))
}

fn unsigned(file: &Path, reason: impl fmt::Display) -> Failure {
    Failure::new("N-158", format!("the file is no event of governance: {reason}"), file.display())
}

fn senseless(title: &str) -> Failure {
    Failure::new("N-153", title, "command line")
}

fn in_words(actions: &[Action]) -> Vec<String> {
    actions.iter().map(|action| InWords(action).to_string()).collect()
}

#[derive(Serialize)]
struct Consent {
    consent: Signature,
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.consent.fmt(f)
    }
}

/// Where an entry became final.
#[derive(Serialize, Deserialize)]
struct Place {
    id: Digest,
    index: u64,
    height: BlockHeight,
}

/// What was signed or sent, and where it is.
#[derive(Serialize)]
struct Signed {
    event: &'static str,
    proposal: Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Place>,
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.proposal)?;
        self.actions.iter().try_for_each(|action| write!(f, "\n    - {action}"))?;
        if let Some(file) = &self.file {
            write!(f, "\n{} signed: {}; hand it over with `batchmind governance submit`", self.event, file.display())?;
        }
        if let Some(Place { id, index, height }) = &self.at {
            write!(f, "\n{} final at height {height}: entry {id}, index {index}", self.event)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
