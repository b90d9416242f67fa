//! Every validator, as anybody with an auditor's key reaches it.

use std::time::Duration;

use genesis::Consortium;
use ledger::event::Entry;
use node::cli::{Failure, client::Client};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::Value;
use wallet::{codec, digest::Digest, grant::WalletAddress, units::BlockHeight};

use super::{NotTried, Verdict};

/// How often and how long the forger looks whether something has become final.
const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);

/// A forged entry, and why it must be refused: another reason would show nothing.
pub(super) struct Attempt {
    /// In a few words.
    pub(super) what: &'static str,
    /// The entry.
    pub(super) entry: Entry,
    /// Codes of the rules that it breaks.
    pub(super) breaks: &'static [&'static str],
}

/// The validators of a consortium.
pub(super) struct Validators(Vec<Validator>);

struct Validator {
    name: String,
    client: Client,
}

impl Validators {
    pub(super) fn open(consortium: &Consortium, auditor_key: &str) -> Result<Self, NotTried> {
        let open = |node: &genesis::Node| {
            let client = Client::new(&node.api, Some(auditor_key.to_owned().into()))?;
            Ok(Validator { name: node.name.to_string(), client })
        };
        consortium.nodes().iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Brings an honest entry to the ledger, by the first validator that answers.
    pub(super) async fn make_final(&self, entry: &Entry) -> Result<(), NotTried> {
        let mut last = NotTried::because("genesis lists no node");
        for validator in &self.0 {
            match validator.submit(entry).await {
                Ok(()) => return Ok(()),
                Err(failure) => last = NotTried::because(format!("{}: {failure}", validator.name)),
            }
        }
        Err(last)
    }

    /// Waits until every validator knows the wallet: one that lags would refuse for want of it, and show nothing.
    pub(super) async fn until_all_know(&self, wallet: WalletAddress) -> Result<(), NotTried> {
        for validator in &self.0 {
            let known = async {
                while validator.wallet(wallet).await.is_err() {
                    tokio::time::sleep(POLL).await;
                }
            };
            tokio::time::timeout(PATIENCE, known)
                .await
                .map_err(|_| NotTried(format!("{} does not know wallet {}", validator.name, wallet.0)))?;
        }
        Ok(())
    }

    /// The wallet's head, as the first validator that answers has it.
    pub(super) async fn head(&self, wallet: WalletAddress) -> Result<Digest, NotTried> {
        let shown = self.first(|validator| validator.wallet(wallet)).await?;
        let head = shown["record"]["head"].as_str().unwrap_or_default();
        head.parse().map_err(|_| NotTried(format!("no head in {shown}")))
    }

    /// Id of the entry that last offered the wallet.
    pub(super) async fn last_offer(&self, wallet: WalletAddress) -> Result<Digest, NotTried> {
        let shown = self.first(|validator| validator.wallet(wallet)).await?;
        let history = shown["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let offer = history.iter().rev().find(|fact| fact["kind"] == "MigrationOffered");
        let index = offer.and_then(|offer| offer["index"].as_u64());
        let index = index.ok_or_else(|| NotTried(format!("no offer in {shown}")))?;
        let path = format!("/ledger/v1/entries?from={index}&count=1");
        let entries = self.first(|validator| validator.client.get::<Value>(&path)).await?;
        let id = entries["entries"][0]["id"].as_str().unwrap_or_default();
        id.parse().map_err(|_| NotTried(format!("no id in {entries}")))
    }

    /// The final height, as the first validator that answers has it.
    pub(super) async fn height(&self) -> Result<BlockHeight, NotTried> {
        let status = self.first(|validator| validator.client.get::<Value>("/ledger/v1/status")).await?;
        let height = status["final_height"].as_u64().ok_or_else(|| NotTried(format!("no height in {status}")))?;
        Ok(BlockHeight::new(height))
    }

    /// Submits each attempt to every validator, and prints a line for each of them.
    pub(super) async fn try_all(&self, attempts: &[Attempt]) -> Verdict {
        let mut verdicts = Vec::new();
        for validator in &self.0 {
            let mut said = Vec::new();
            for Attempt { what, entry, breaks } in attempts {
                let (word, verdict) = match validator.submit(entry).await {
                    Err(failure) if breaks.contains(&failure.code.as_str()) => (failure.code, Verdict::Refused),
                    Err(failure) => (format!("NOT REFUSED FOR {breaks:?} BUT [{failure}]"), Verdict::Taken),
                    Ok(()) => ("TAKEN".to_owned(), Verdict::Taken),
                };
                said.push(format!("{word} ({what})"));
                verdicts.push(verdict);
            }
            println!("{}: {}", validator.name, said.join(", "));
        }
        Verdict::all(verdicts)
    }

    async fn first<'a, T, F>(&'a self, ask: impl Fn(&'a Validator) -> F) -> Result<T, NotTried>
    where
        F: Future<Output = Result<T, Failure>> + 'a,
    {
        let mut last = NotTried::because("genesis lists no node");
        for validator in &self.0 {
            match ask(validator).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => last = NotTried::because(format!("{}: {failure}", validator.name)),
            }
        }
        Err(last)
    }
}

impl Validator {
    async fn submit(&self, entry: &Entry) -> Result<(), Failure> {
        let request = self.client.request(Method::POST, "/ledger/v1/entries?wait=final");
        let request = request.header(CONTENT_TYPE, "application/octet-stream").body(codec::encode(entry));
        self.client.send(request).await.map(drop)
    }

    async fn wallet(&self, wallet: WalletAddress) -> Result<Value, Failure> {
        self.client.get(&format!("/ledger/v1/wallets/{}", wallet.0)).await
    }
}
