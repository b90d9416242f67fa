//! The batch record of a session, from what was measured and nothing else.

use scheduler::{
    ppm::Ppm,
    record::{
        BatchRecord, Context, Hop, Identity, MemoryTier, MoveCost, Phase, RequestId, Routing, Supervision, Usage,
        Vitals,
    },
    rules::TABLE_VERSION,
};
use wallet::{
    handoff::{Change, Mode},
    page::HEAD_BYTES,
    units::{ByteCount, Micros, TokenCount},
};

use super::actor::Actor;

impl Actor {
    /// The record as it stands; none without the session's tokens.
    pub(crate) async fn record(&self) -> Option<BatchRecord> {
        let held = self.held.as_ref()?;
        let stats = self.context.engine.stats().await.unwrap_or_default();
        let (block, page_bytes) = {
            let stream = self.context.engine.stream();
            (u32::from(stream.block), stream.payload_bytes().ok()? + HEAD_BYTES)
        };
        let tokens = held.next().get();
        let rows = tokens.saturating_sub(1);
        let pages = rows / block;
        let bytes = |pages: u64| ByteCount::new(pages * page_bytes as u64);
        let reconstruction =
            stats.prefill_tokens_per_s.map(|rate| Micros::new(u64::from(rows) * 1_000_000 / u64::from(rate.max(1))));
        let blocks = self.context.engine.blocks_needed(held.start.prompt_tokens, &held.start.sampling);
        let decisions = *self.context.decisions.borrow();
        let is_parked = self.sequence.is_none();
        let may_come_back = !self.suspended || held.is_parked_until_read() && self.session.tokens.is_awaited();
        Some(BatchRecord {
            identity: Identity {
                wallet: self.wallet,
                model: held.start.model,
                numerics: held.start.numerics,
                // Sealing it under the wallet's keys is not built yet, so it does not travel.
                tenant: None,
                origin: held.start.terms.origin.clone(),
                requests: RequestId::try_from(held.start.terms.request_id.clone()).into_iter().collect(),
            },
            context: Context {
                pages,
                tokens: TokenCount::new(tokens),
                tail_rows: u8::try_from(rows % block).unwrap_or(0),
                reconstruction,
                compressed: false,
                embedding: None,
                usage: Usage { context: TokenCount::new(tokens), record: None },
            },
            vitals: Vitals {
                reengagement_within_60_s: None,
                ttl: self.ttl(is_parked && held.content.pages() == 0),
                tier: if is_parked { MemoryTier::Disk } else { MemoryTier::Engine },
                utilisation: Ppm::of(u64::from(stats.blocks_used), u64::from(stats.blocks_total)),
                eviction_risk: None,
                phase: Phase {
                    prefill_complete: tokens > held.start.prompt_tokens.get(),
                    decoding: !is_parked && self.handoff.mode() == Mode::Serving && held.finished.is_none(),
                    request_waits: is_parked && held.finished.is_none() && may_come_back,
                },
                // What nobody reads is decoded for nobody.
                active_at: if is_parked { held.active_at } else { self.session.tokens.read_at() },
                step: stats.median_step,
            },
            routing: Routing {
                candidates: self.session.candidates(),
                move_cost: MoveCost {
                    blocks,
                    bytes: bytes(u64::from(pages) + 1),
                    tail_bytes: bytes(1),
                    time: None,
                    credits: None,
                },
                latency_sla: None,
                next: None,
                hops: self.hops(),
            },
            supervision: Supervision {
                rules_version: TABLE_VERSION,
                decisions: decisions.length,
                decision_head: decisions.hash,
            },
        })
    }

    /// What holds no page has nothing left to evict: it is not evicted again at each tick.
    fn ttl(&self, holds_nothing: bool) -> Micros {
        let ttl = u64::try_from(self.context.patience.ttl.as_micros()).unwrap_or(u64::MAX);
        Micros::new(if holds_nothing { u64::MAX } else { ttl })
    }

    /// The confirmed moves, as the ledger tells them.
    fn hops(&self) -> Vec<Hop> {
        let (mut holder, mut hops) = (None, Vec::new());
        for known in self.context.feed.facts(self.wallet) {
            let fact = &known.fact;
            match fact.change {
                Change::Created { .. } => holder = Some(fact.author),
                Change::Confirmed { .. } => {
                    if let Some(from) = holder.replace(fact.author) {
                        let (to, epoch, head) = (fact.author, fact.epoch, fact.after);
                        hops.push(Hop { from, to, epoch, head, at: known.time });
                    }
                }
                _ => {}
            }
        }
        hops
    }
}
