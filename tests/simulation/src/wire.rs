//! The transport: requests and replies as datagrams of the simulated network, which delays, loses, holds and reorders.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use ledger::{
    shell::{
        replica::Replica,
        transport::{PeerReply, PeerRequest, Transport, TransportFault},
    },
    snapshot::ChunkPath,
};
use liar::{Liar, Sending};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use turmoil::net::UdpSocket;
use wallet::{codec, units::NodeId};

use crate::node::Node;

const PORT: u16 = 9000;
/// Longer than any message: a block has at most 4 MiB.
const DATAGRAM_MAX: usize = 6 << 20;

/// One node's end of all lines. It lives as long as the process that opened it.
pub struct Wire {
    node: Arc<Node>,
    /// The task that receives owns it, so that it ends with the process, whoever else still knows the wire.
    socket: Weak<UdpSocket>,
    next_call: AtomicU64,
    calls: Mutex<BTreeMap<u64, oneshot::Sender<Vec<u8>>>>,
    replica: OnceLock<Replica>,
}

/// A datagram: the number of the call, what it is, and the message.
type Frame = (u64, Kind, Vec<u8>);

/// What a message is.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    /// One replica asks another.
    Request,
    /// The answer.
    Reply,
    /// One that joins asks for an offer, or for the chunk of this path: over HTTP where nodes are real.
    Ask,
    /// The answer, or none.
    Give,
}

impl Wire {
    /// Opens the node's socket and starts to receive.
    pub async fn open(node: Arc<Node>) -> io::Result<Arc<Self>> {
        let socket = Arc::new(UdpSocket::bind(("0.0.0.0", PORT)).await?);
        let (next_call, calls) = (AtomicU64::new(0), Mutex::default());
        let wire = Self { node, socket: Arc::downgrade(&socket), next_call, calls, replica: OnceLock::new() };
        let wire = Arc::new(wire);
        tokio::spawn(wire.clone().receive(socket));
        if wire.node.liar.is_some() {
            tokio::spawn(wire.clone().lie_on());
        }
        Ok(wire)
    }

    /// From now on `replica` answers.
    pub fn answer_with(&self, replica: Replica) {
        // Set here and nowhere else.
        let _ = self.replica.set(replica);
    }

    /// Takes what arrives, for ever.
    async fn receive(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let Ok((length, origin)) = socket.recv_from(&mut buffer).await else { return };
            let Some(from) = turmoil::reverse_lookup(origin.ip()).as_deref().and_then(node_of) else { continue };
            let Ok((call, kind, bytes)) = codec::decode::<Frame>(&buffer[..length]) else { continue };
            match kind {
                Kind::Reply | Kind::Give => {
                    if let Some(waiting) = self.calls.lock().expect("lock").remove(&call) {
                        // Nobody may wait any more.
                        let _ = waiting.send(bytes);
                    }
                }
                Kind::Request => drop(tokio::spawn(self.clone().serve(from, call, bytes))),
                Kind::Ask => drop(tokio::spawn(self.clone().give(from, call, bytes))),
            }
        }
    }

    async fn serve(self: Arc<Self>, from: NodeId, call: u64, bytes: Vec<u8>) {
        let Some(replica) = self.replica.get() else { return };
        // What no honest node sends is not answered.
        let Ok(mut request) = codec::decode::<PeerRequest>(&bytes) else { return };
        let instead = self.lie(|liar| liar.hears(from, &mut request)).flatten();
        let reply = match instead {
            Some(reply) => reply,
            None => replica.serve(from, request).await,
        };
        let reply = match &self.node.liar {
            Some(_) => match self.lie(|liar| liar.reply(from, reply)).flatten() {
                Some(reply) => reply,
                None => return,
            },
            None => reply,
        };
        self.node.watch.replied(self.node.id, &reply);
        self.send(from, call, Kind::Reply, codec::encode(&reply));
    }

    /// Hands out an offer or a chunk.
    async fn give(self: Arc<Self>, to: NodeId, call: u64, path: Vec<u8>) {
        let Some(replica) = self.replica.get() else { return };
        let Ok(path) = String::from_utf8(path) else { return };
        let path: Option<ChunkPath> = path.parse().ok();
        let found = match path {
            Some(path) => replica.chunk(path).await,
            None => replica.offer().await.map(|offer| offer.map(|offer| codec::encode(&offer))),
        };
        let Ok(found) = found else { return };
        let given = match &self.node.liar {
            Some(_) => self.lie(|liar| liar.gives(to, path, found)).flatten(),
            None => found,
        };
        self.send(to, call, Kind::Give, codec::encode(&given));
    }

    /// Asks for an offer, or for a chunk: what the answer was, if one came.
    pub async fn ask(&self, to: NodeId, path: Option<ChunkPath>) -> Option<Option<Vec<u8>>> {
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, given) = oneshot::channel();
        self.calls.lock().expect("lock").insert(call, sender);
        self.send(to, call, Kind::Ask, path.map_or_else(String::new, |path| path.to_string()).into_bytes());
        codec::decode(&given.await.ok()?).ok()
    }

    /// Lets the liar of this node act, and sends what it sends by itself.
    fn lie<T>(&self, act: impl FnOnce(&mut Liar) -> T) -> Option<T> {
        let mut liar = self.node.liar.as_ref()?.lock().expect("lock");
        liar.tip = self.replica.get().map(Replica::state);
        let result = act(&mut liar);
        for (lie, to) in liar.take_told() {
            self.node.watch.note(&format_args!("node {} lies to node {to}: {lie:?}", self.node.id));
        }
        for (to, request) in liar.take_extra() {
            let call = self.next_call.fetch_add(1, Ordering::Relaxed);
            self.send(to, call, Kind::Request, codec::encode(&request));
        }
        Some(result)
    }

    /// The liar acts by itself.
    async fn lie_on(self: Arc<Self>) {
        loop {
            sleep(Duration::from_millis(100)).await;
            self.lie(Liar::tick);
        }
    }

    fn send(&self, to: NodeId, call: u64, kind: Kind, bytes: Vec<u8>) {
        let Some(socket) = self.socket.upgrade() else { return };
        // A dead process sends nothing, even if its last step in the simulation is not over.
        if self.node.disk.is_dead() {
            return;
        }
        self.node.watch.sent(self.node.id, to, matches!(kind, Kind::Reply | Kind::Give), &bytes);
        let frame: Frame = (call, kind, bytes);
        // An error is a network that does not take it: the message is lost.
        let _ = socket.try_send_to(&codec::encode(&frame), (host_name(to), PORT));
    }

    async fn call(&self, to: NodeId, request: PeerRequest, limit: Duration) -> Result<PeerReply, TransportFault> {
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.calls.lock().expect("lock").insert(call, sender);
        let sending = match &self.node.liar {
            Some(_) => self.lie(|liar| liar.request(to, request)).unwrap_or(Sending::Nothing),
            None => Sending::Request(Box::new(request)),
        };
        match sending {
            Sending::Request(request) => {
                self.node.watch.requested(self.node.id, &request);
                self.send(to, call, Kind::Request, codec::encode(&*request));
            }
            Sending::Late(request, after) => {
                sleep(after).await;
                self.send(to, call, Kind::Request, codec::encode(&*request));
            }
            Sending::Bytes(bytes) => self.send(to, call, Kind::Request, bytes),
            Sending::Nothing => {}
        }
        let reply = timeout(limit, reply).await;
        self.calls.lock().expect("lock").remove(&call);
        let failed = |reason: &str| TransportFault::Failed { to, reason: reason.to_owned() };
        let bytes = reply.map_err(|_| failed("time is up"))?.map_err(|_| failed("gone"))?;
        codec::decode(&bytes).map_err(|_| failed("not a reply"))
    }
}

impl Transport for Wire {
    fn request(
        &self,
        to: NodeId,
        request: PeerRequest,
        limit: Duration,
    ) -> BoxFuture<'_, Result<PeerReply, TransportFault>> {
        self.call(to, request, limit).boxed()
    }
}

/// A node's name in the simulated network.
pub fn host_name(node: NodeId) -> String {
    format!("node-{}", node.get())
}

fn node_of(host: &str) -> Option<NodeId> {
    host.strip_prefix("node-")?.parse().ok().map(NodeId::new)
}
