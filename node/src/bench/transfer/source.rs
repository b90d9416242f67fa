//! The process that has the pages: a node's peer network, and the hop stream as a move fills it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gpu::stream::{Appended, Stream as _, StreamWriter as _};
use tokio::task::JoinHandle;
use wallet::units::NodeId;

use super::{
    pages::Plan,
    side::{RECEIVER, SOURCE, network},
};
use crate::{
    bench::{BenchFault, wrong},
    migration::hop::HopWriter,
    network::{
        Handler, PeerNetwork,
        stream::{Readers, StreamExports},
    },
};

pub(super) struct Source {
    plan: Plan,
    payloads: Arc<Vec<u8>>,
    network: PeerNetwork,
    exports: StreamExports,
    answered: Arc<AtomicU64>,
    /// The hop stream is offered as long as this runs.
    filling: Option<JoinHandle<()>>,
}

/// Answers as a node does, and counts the bytes.
#[derive(Clone)]
struct Counted {
    exports: StreamExports,
    bytes: Arc<AtomicU64>,
}

impl Handler for Counted {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        let answer = self.exports.handle(from, body).await;
        self.bytes.fetch_add(answer.len() as u64, Ordering::Relaxed);
        answer
    }
}

impl Source {
    pub(super) async fn open(plan: Plan) -> Result<Self, BenchFault> {
        let (exports, answered) = (StreamExports::default(), Arc::new(AtomicU64::new(0)));
        let counted = Counted { exports: exports.clone(), bytes: answered.clone() };
        // The receiver dials: this address for it is nobody's.
        let nowhere = (Ipv4Addr::LOCALHOST, 9).into();
        let network = network(SOURCE, (RECEIVER, nowhere), counted).await?;
        Ok(Self { plan, payloads: Arc::new(plan.payloads()), network, exports, answered, filling: None })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.network.listen_address()
    }

    /// Bytes of all answers so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The pages.
    pub(super) fn payloads(&self) -> Arc<Vec<u8>> {
        self.payloads.clone()
    }

    /// Offers the stream of a hop, and fills it while it is read.
    pub(super) fn offer(&mut self, hop: u64) -> Result<(), BenchFault> {
        if let Some(before) = self.filling.take() {
            before.abort();
        }
        let mut writer = HopWriter::new(self.plan.offer(hop), &self.plan.stream()).map_err(wrong)?;
        writer.offer = Some(self.exports.offer(writer.ring.clone(), Readers::consumer(RECEIVER))?);
        let (plan, payloads) = (self.plan, self.payloads.clone());
        self.filling = Some(tokio::spawn(async move {
            if let Err(fault) = fill(plan, &payloads, &writer, hop).await {
                tracing::error!(%fault, "the hop stream is not filled");
            }
            std::future::pending::<()>().await;
            drop(writer);
        }));
        Ok(())
    }
}

async fn fill(plan: Plan, payloads: &[u8], writer: &HopWriter, hop: u64) -> Result<(), BenchFault> {
    let (stream, key, mut sealer) = (plan.stream(), plan.hash_key(), plan.sealer(hop));
    for (payload, index) in payloads.chunks_exact(Plan::PAGE_BYTES).zip(0..) {
        loop {
            match writer.put(&stream, &mut sealer, index, payload, &key).map_err(wrong)? {
                Appended::Ok(_) | Appended::Same(_) => break,
                Appended::Full(wake) => writer.ring.wait(wake).await,
                refused => return Err(wrong(format!("page {index} is refused: {refused:?}"))),
            }
        }
    }
    writer.ring.close(0)?;
    Ok(())
}
