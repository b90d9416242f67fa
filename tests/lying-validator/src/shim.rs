//! The liar on a real network: all that the validator sends and hears goes through it.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use genesis::Consortium;
use ledger::{
    shell::{
        replica::Replica,
        transport::{PeerReply, PeerRequest, Transport, TransportFault},
    },
    vote::Signer,
};
use liar::{Liar, Sending, lie::Lie};
use node::{
    bench::ledger::Shim,
    network::{Handler, PeerNetwork, REQUEST_TIMEOUT_MAX, ledger_transport::LedgerHandler, message::PeerMessage},
};
use wallet::{codec, units::NodeId};

/// How often the liar may act by itself.
const TICK: Duration = Duration::from_millis(100);
/// How long it waits for the answer to what it sends by itself, to throw it away.
const EXTRA_TIMEOUT: Duration = Duration::from_secs(1);

/// See the module.
pub struct Lying {
    told: Mutex<Told>,
    network: OnceLock<PeerNetwork>,
    replica: OnceLock<Replica>,
}

struct Told {
    liar: Liar,
    lies: bool,
    /// Messages that were sent, changed or held back since the last order.
    messages: u64,
}

impl Lying {
    fn lies(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).lies
    }

    /// Lets the liar act, counts the messages that it did not leave as they were, and sends what it sends by itself.
    fn act<T>(&self, act: impl FnOnce(&mut Liar, bool) -> (T, bool)) -> T {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.liar.tip = self.replica.get().map(Replica::state);
        let lies = told.lies;
        let (result, is_lie) = act(&mut told.liar, lies);
        let extra = told.liar.take_extra();
        told.liar.take_told();
        if lies {
            told.messages += extra.len() as u64 + u64::from(is_lie);
        }
        drop(told);
        for (to, request) in extra {
            let Some(network) = self.network.get().cloned() else { continue };
            tokio::spawn(async move { Transport::request(&network, to, request, EXTRA_TIMEOUT).await.map(drop) });
        }
        result
    }
}

/// Whether two messages differ. Nothing is compared while there are no lies.
fn differ<T: serde::Serialize>(before: Option<Vec<u8>>, after: &T) -> bool {
    before.is_some_and(|before| before != codec::encode(after))
}

impl Shim for Lying {
    fn new(consortium: Arc<Consortium>, signer: Signer, seed: u64) -> Arc<Self> {
        let told = Told { liar: Liar::new(consortium, signer, Vec::new(), seed), lies: false, messages: 0 };
        Arc::new(Self { told: Mutex::new(told), network: OnceLock::new(), replica: OnceLock::new() })
    }

    fn inward(self: &Arc<Self>, honest: LedgerHandler) -> impl Handler {
        Inward { lying: self.clone(), honest }
    }

    fn outward(self: &Arc<Self>, network: PeerNetwork) -> Arc<dyn Transport> {
        // Once, at the start.
        let _ = self.network.set(network.clone());
        let lying = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                lying.act(|liar, _| (liar.tick(), false));
            }
        });
        Arc::new(Outward { lying: self.clone(), network })
    }

    fn opened(&self, replica: &Replica) {
        // Once, at the start.
        let _ = self.replica.set(replica.clone());
    }

    fn lie(&self, name: Option<&str>) -> Result<u64, String> {
        let lies = name.map(|name| Lie::named(name).ok_or_else(|| format!("no lie is called {name}"))).transpose()?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.lies = lies.is_some();
        told.liar.turn_to(lies.into_iter().collect());
        Ok(std::mem::take(&mut told.messages))
    }
}

/// What leaves.
struct Outward {
    lying: Arc<Lying>,
    network: PeerNetwork,
}

impl Outward {
    async fn send(&self, to: NodeId, request: PeerRequest, timeout: Duration) -> Result<PeerReply, TransportFault> {
        let sending = self.lying.act(|liar, lies| {
            let before = lies.then(|| codec::encode(&request));
            let sending = liar.request(to, request);
            let is_lie = match &sending {
                Sending::Request(request) => differ(before, request),
                _ => true,
            };
            (sending, is_lie)
        });
        let failed = |reason: &str| TransportFault::Failed { to, reason: reason.to_owned() };
        match sending {
            Sending::Request(request) => Transport::request(&self.network, to, *request, timeout).await,
            Sending::Late(request, after) => {
                tokio::time::sleep(after).await;
                Transport::request(&self.network, to, *request, timeout).await
            }
            Sending::Bytes(bytes) => {
                let body = PeerMessage::Ledger(bytes).into_bytes();
                let reply =
                    self.network.request(to, body, timeout).await.map_err(|fault| failed(&fault.to_string()))?;
                codec::decode(&reply).map_err(|_| failed("not a reply"))
            }
            Sending::Nothing => {
                tokio::time::sleep(timeout).await;
                Err(failed("time is up"))
            }
        }
    }
}

impl Transport for Outward {
    fn request(
        &self,
        to: NodeId,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>> {
        self.send(to, request, timeout).boxed()
    }
}

/// What comes in, and what is answered.
struct Inward {
    lying: Arc<Lying>,
    honest: LedgerHandler,
}

impl Handler for Inward {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        let (mut instead, mut changed) = (None, None);
        if let Ok(mut request) = codec::decode::<PeerRequest>(&body) {
            (instead, changed) = self.lying.act(|liar, lies| {
                let before = lies.then(|| codec::encode(&request));
                let instead = liar.hears(from, &mut request);
                let changed = differ(before, &request).then(|| codec::encode(&request));
                let is_lie = instead.is_some() || changed.is_some();
                ((instead, changed), is_lie)
            });
        }
        let reply = match instead {
            Some(reply) => reply,
            None => {
                let reply = self.honest.handle(from, changed.unwrap_or(body)).await;
                match codec::decode(&reply) {
                    Ok(decoded) if self.lying.lies() => decoded,
                    _ => return reply,
                }
            }
        };
        let reply = self.lying.act(|liar, lies| {
            let before = lies.then(|| codec::encode(&reply));
            let reply = liar.reply(from, reply);
            let is_lie = reply.as_ref().is_none_or(|reply| differ(before, reply));
            (reply, is_lie)
        });
        match reply {
            Some(reply) => codec::encode(&reply),
            None => {
                // Nobody waits for longer.
                tokio::time::sleep(REQUEST_TIMEOUT_MAX).await;
                Vec::new()
            }
        }
    }
}
