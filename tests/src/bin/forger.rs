//! The attacker's program: signs what honest software would not, with keys that are real.
//!
//! Exit status 0 only if every validator, and every peer that was asked, refused with a code; 1 if anybody did not; 2 if
//! the attack could not be tried.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser};
use tests::forger::{NotTried, Puppet, Verdict, find, forbidden_offer, old_key, read_genesis};
use wallet::{digest::Digest, grant::WalletAddress};

#[derive(Debug, Parser)]
#[command(name = "forger")]
enum Attack {
    /// Offer a session to a region that its tenant forbids.
    ForbiddenOffer {
        #[command(flatten)]
        puppet: PuppetArguments,
        /// The forbidden destination.
        #[arg(long)]
        to: String,
        /// The destination's key file, if both ends collude.
        #[arg(long)]
        receiver_key: Option<PathBuf>,
    },
    /// Speak for a session that has moved away, with the epoch key that it left behind.
    OldKey {
        #[command(flatten)]
        puppet: PuppetArguments,
        /// The stolen file with the session's sealed keys.
        #[arg(long)]
        session_keys: PathBuf,
        /// The session's wallet.
        #[arg(long)]
        wallet: Digest,
        /// The node that holds it now.
        #[arg(long)]
        peer: String,
        /// That node's key file, if it lends its name to the old key.
        #[arg(long)]
        peer_key: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct PuppetArguments {
    /// The signed genesis document.
    #[arg(long)]
    genesis: PathBuf,
    /// The operator whose keys the attacker has.
    #[arg(long)]
    node: String,
    /// Its node key file.
    #[arg(long)]
    node_key: PathBuf,
    /// An API key with which the validators can be asked.
    #[arg(long)]
    auditor_key: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Attack::parse()).await {
        Ok(Verdict::Refused) => ExitCode::SUCCESS,
        Ok(Verdict::Taken) => ExitCode::FAILURE,
        Err(not_tried) => {
            eprintln!("{not_tried}");
            ExitCode::from(2)
        }
    }
}

async fn run(attack: Attack) -> Result<Verdict, NotTried> {
    match attack {
        Attack::ForbiddenOffer { puppet, to, receiver_key } => {
            let consortium = read_genesis(&puppet.genesis)?;
            let source = Puppet::open(&consortium, &puppet.node, &puppet.node_key)?;
            let receiver_key = receiver_key.map(|file| node::keys::read(&file)).transpose()?;
            let (to, auditor_key) = (find(&consortium, &to)?, puppet.auditor_key);
            let options = forbidden_offer::Options { source, to, receiver_key, auditor_key };
            forbidden_offer::run(&consortium, &options).await
        }
        Attack::OldKey { puppet, session_keys, wallet, peer, peer_key } => {
            let consortium = read_genesis(&puppet.genesis)?;
            let former = Puppet::open(&consortium, &puppet.node, &puppet.node_key)?;
            let (peer, auditor_key) = (find(&consortium, &peer)?, puppet.auditor_key);
            let wallet = WalletAddress(wallet);
            let peer_key = peer_key.map(|file| node::keys::read(&file)).transpose()?;
            let options = old_key::Options { former, session_keys, wallet, peer, peer_key, auditor_key };
            old_key::run(&consortium, &options).await
        }
    }
}
