//! A thief copied an operator's disk before a session moved away, and has the node's key. He now speaks for the session
//! with the epoch key that was good until the move, and asks the new holder for its pages.

use std::{fs, path::PathBuf, time::Duration};

use genesis::Consortium;
use ledger::event::{BatchClosed, CloseReason, Entry, EntryBody, Event, MigrationOffered, Touch};
use node::{
    migration::{
        hop,
        messages::{Freeze, OfferRef},
    },
    network::{
        Handler, Options as NetworkOptions, Peer, PeerNetwork,
        message::SessionPeers,
        stream::{
            StreamLink as _, StreamPeers,
            message::{Pull, StreamReply, StreamRequest},
        },
    },
    node_keys::NodeKeys,
    peer::{PeerFault, SessionLink as _, SessionRequest, TokensRequest},
    session::{
        disk::{HolderKeys, SessionsDir},
        request::ResumeSecret,
    },
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::SecretKey,
    prekey::ExchangeSecret,
    ticket::{Blind, ContentCommitment},
    units::{BlockHeight, KeyEpoch, NodeId},
};

use super::{
    NotTried, Puppet, Verdict, random,
    validators::{Attempt, Validators},
};

/// How long the new holder may take to let the thief in, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the thief has.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator that held the session.
    pub former: Puppet,
    /// The session's sealed keys, as they lay on its disk.
    pub session_keys: PathBuf,
    /// The session.
    pub wallet: WalletAddress,
    /// Who holds it now.
    pub peer: NodeId,
    /// The new holder's node key, if it lends its name to the old key.
    pub peer_key: Option<SecretKey>,
    /// To ask the validators with.
    pub auditor_key: String,
}

/// Tries the old key at every validator, and the former holder's identity at the new one.
///
/// # Errors
/// [`NotTried`] if the stolen keys do not open, or a node could not be asked.
pub async fn run(consortium: &Consortium, options: &Options) -> Result<Verdict, NotTried> {
    let stolen = open_stolen(options)?;
    let epoch_key = stolen.holder.key();
    println!("the stolen file opens with the node's key; key of epoch {}: {}", stolen.epoch, epoch_key.public_key());

    let validators = Validators::open(consortium, &options.auditor_key)?;
    let thief = Thief { consortium, options, stolen, epoch_key, head: validators.head(options.wallet).await? };
    let deadline = BlockHeight::new(validators.height().await?.get() + 10);
    // The former holder is no holder, whatever key it signs with.
    let alone = |what, event| Attempt { what, entry: thief.sign(event), breaks: &["L-212"] };
    let mut attempts =
        vec![alone("touch", thief.touch()), alone("offer", thief.offer(deadline)?), alone("close", thief.close())];
    if let Some(peer_key) = &options.peer_key {
        // The holder of record itself cannot speak with the key of a past epoch.
        let in_its_name = |what, event| {
            let entry = thief.sign_as(options.peer, peer_key, event);
            Attempt { what, entry, breaks: &["L-204"] }
        };
        attempts.push(in_its_name("touch in the new holder's name", thief.touch()));
        attempts.push(in_its_name("close in the new holder's name", thief.close()));
    }
    let at_validators = validators.try_all(&attempts).await;
    let offer = OfferRef { wallet: options.wallet, offer: validators.last_offer(options.wallet).await? };
    let at_holder = thief.ask_holder(offer).await?;
    Ok(Verdict::all([at_validators, at_holder]))
}

struct Thief<'a> {
    consortium: &'a Consortium,
    options: &'a Options,
    stolen: HolderKeys,
    epoch_key: SecretKey,
    head: Digest,
}

impl Thief<'_> {
    fn touch(&self) -> Event {
        let boot_key = ExchangeSecret::from_bytes(&random()).public_key();
        Event::Touch(Touch { wallet: self.options.wallet, head: self.head, boot_nonce: random(), boot_key })
    }

    fn offer(&self, deadline: BlockHeight) -> Result<Event, NotTried> {
        let (former, receiver) = (&self.options.former, self.options.peer);
        let region = &self.consortium.node(receiver).expect("it was found in genesis").region;
        let secret = || ExchangeSecret::from_bytes(&random());
        Ok(Event::MigrationOffered(MigrationOffered {
            wallet: self.options.wallet,
            head: self.head,
            epoch: KeyEpoch::new(self.stolen.epoch.get() + 1),
            receiver,
            opening: self.stolen.policy.open(region).map_err(NotTried::because)?,
            prekey: secret().offer(receiver, &former.key),
            ephemeral: secret().public_key(),
            content: ContentCommitment::new(&Digest::ZERO, &Blind::from_bytes(random())),
            confirm_key: SecretKey::from_seed(&random()).public_key(),
            decision: Digest::ZERO,
            baseline: None,
            deadline,
        }))
    }

    fn close(&self) -> Event {
        Event::BatchClosed(BatchClosed { wallet: self.options.wallet, head: self.head, reason: CloseReason::Tenant })
    }

    fn sign(&self, event: Event) -> Entry {
        let Puppet { node, key } = &self.options.former;
        self.sign_as(*node, key, event)
    }

    /// The old epoch key under another author.
    fn sign_as(&self, author: NodeId, key: &SecretKey, event: Event) -> Entry {
        EntryBody { consortium: self.consortium.id(), author, nonce: random(), event }.sign(key, Some(&self.epoch_key))
    }

    /// Asks the new holder for everything that a move would have handed over.
    async fn ask_holder(&self, offer: OfferRef) -> Result<Verdict, NotTried> {
        let holder = self.options.peer;
        let name = &self.consortium.node(holder).expect("it was found in genesis").name;
        let network = self.connect().await?;
        let peers = SessionPeers::new(network.clone());
        let resume_secret = ResumeSecret(random());
        let tokens = TokensRequest { wallet: offer.wallet, resume_secret };
        let requests = [
            ("envelope", SessionRequest::Envelope(offer)),
            ("hand-over", SessionRequest::Freeze(Freeze { offer, have: 0 })),
            ("tokens", SessionRequest::Tokens(tokens)),
        ];
        let (mut said, mut verdicts) = (Vec::new(), Vec::new());
        for (what, request) in requests {
            let (word, verdict) = match peers.ask(holder, request, PATIENCE).await {
                Err(PeerFault::Refused(refused)) => (refused.code, Verdict::Refused),
                Err(fault) => return Err(NotTried(format!("{name} on {what}: {fault}"))),
                Ok(_) => ("HANDED OUT".to_owned(), Verdict::Taken),
            };
            said.push(format!("{word} ({what})"));
            verdicts.push(verdict);
        }
        let pull = Pull {
            stream: hop::descriptor(offer.offer).id(),
            cursor: 0,
            pages_max: 1,
            bytes_max: u32::MAX,
            wait_ms: 0,
            trim_below: None,
            peaks: true,
        };
        let pages = StreamPeers::new(network.clone()).ask(holder, StreamRequest::Pull(pull), PATIENCE).await;
        let (word, verdict) = match pages {
            Ok(StreamReply::Refused(refusal)) => (refusal.code(), Verdict::Refused),
            Ok(_) => ("HANDED OUT", Verdict::Taken),
            Err(fault) => return Err(NotTried(format!("{name} on pages: {fault}"))),
        };
        said.push(format!("{word} (pages)"));
        verdicts.push(verdict);
        network.stop().await;
        println!("{name}, asked by a peer with the former holder's identity: {}", said.join(", "));
        Ok(Verdict::all(verdicts))
    }

    /// Connects to the new holder as the former one. The real one goes on running.
    async fn connect(&self) -> Result<PeerNetwork, NotTried> {
        let Puppet { node: me, key } = self.options.former.clone();
        let holder = self.consortium.node(self.options.peer).expect("it was found in genesis");
        let peers = vec![Peer { node: self.options.peer, key: holder.key, address: holder.peer }];
        let options = NetworkOptions { me, key, listen: ([127, 0, 0, 1], 0).into(), peers };
        let network = PeerNetwork::start(options, Mute).await.map_err(NotTried::because)?;
        let mut connected = network.connected();
        let let_in = connected.wait_for(|nodes| nodes.contains(&self.options.peer));
        match tokio::time::timeout(PATIENCE, let_in).await {
            Ok(Ok(_)) => {}
            _ => return Err(NotTried(format!("{} does not let the thief in", holder.name))),
        }
        Ok(network)
    }
}

/// Answers nothing: the thief only asks.
struct Mute;

impl Handler for Mute {
    async fn handle(&self, _: NodeId, _: Vec<u8>) -> Vec<u8> {
        Vec::new()
    }
}

/// What the stolen file holds: it opens as the node would open it, with the node's key and in a folder like the node's.
fn open_stolen(options: &Options) -> Result<HolderKeys, NotTried> {
    let folder = tempfile::tempdir().map_err(NotTried::because)?;
    let sessions = SessionsDir::open(folder.path(), &NodeKeys::new(options.former.key.clone(), None))
        .map_err(NotTried::because)?;
    let session = folder.path().join("sessions").join(options.wallet.0.to_string());
    fs::create_dir(&session)
        .and_then(|()| fs::copy(&options.session_keys, session.join("keys")))
        .map_err(NotTried::because)?;
    let keys = sessions.session(options.wallet).load_keys().map_err(NotTried::because)?;
    keys.ok_or_else(|| NotTried::because("the stolen file is gone"))
}
