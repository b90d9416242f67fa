//! A batch record and decisions for tests.

use scheduler::{
    action::Action,
    decision::Logged,
    load::{Load, ServedModel},
    ppm::Ppm,
    record::{BatchRecord, Context, Identity, MemoryTier, MoveCost, Phase, Routing, Supervision, Usage, Vitals},
    tick::{Scheduler, Snapshot, TickView},
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::RegionId,
    units::{ByteCount, Micros, NodeId, Timestamp, TokenCount},
};

/// A decoding batch of model 2 under numerics 3 that holds ten blocks.
pub(crate) fn record(wallet: Digest) -> BatchRecord {
    BatchRecord {
        identity: Identity {
            wallet: WalletAddress(wallet),
            model: Digest([2; 32]),
            numerics: Digest([3; 32]),
            tenant: None,
            origin: RegionId::try_from("eu".to_owned()).expect("a region's name"),
            requests: Vec::new(),
        },
        context: Context {
            pages: 9,
            tokens: TokenCount::new(150),
            tail_rows: 6,
            reconstruction: None,
            compressed: false,
            embedding: None,
            usage: Usage { context: TokenCount::new(150), record: None },
        },
        vitals: Vitals {
            reengagement_within_60_s: None,
            ttl: Micros::new(1_800_000_000),
            tier: MemoryTier::Engine,
            utilisation: Ppm::new(500_000),
            eviction_risk: None,
            phase: Phase { prefill_complete: true, decoding: true, request_waits: false },
            active_at: Timestamp::new(0),
            step: Some(Micros::new(20_000)),
        },
        routing: Routing {
            candidates: Vec::new(),
            move_cost: MoveCost {
                blocks: 10,
                bytes: ByteCount::new(100_000),
                tail_bytes: ByteCount::new(10_000),
                time: None,
                credits: None,
            },
            latency_sla: None,
            next: None,
            hops: Vec::new(),
        },
        supervision: Supervision { rules_version: 1, decisions: 0, decision_head: Digest::ZERO },
    }
}

/// The operator moves batch `i % 2` to node 1.
pub(crate) fn command(scheduler: &mut Scheduler, i: u32) -> Logged {
    let now = Timestamp::new(1_000 * u64::from(i) + 1);
    let load = Load {
        measured_at: now,
        serves: [ServedModel { model: Digest([2; 32]), numerics: Digest([3; 32]) }].into(),
        blocks_total: 100,
        blocks_free: 90,
        queue: Micros::ZERO,
        prefill_tokens_per_s: None,
        round_trip: Micros::ZERO,
        link_bytes_per_s: None,
    };
    let record = record(Digest([u8::try_from(i % 2).expect("0 or 1"); 32]));
    let (allowed, to) = ([NodeId::new(1)].into(), NodeId::new(1));
    let snapshot = Snapshot {
        own: &load,
        host_tier: false,
        batches: vec![TickView::new(&record, &allowed)],
        peers: &[(to, load.clone())].into(),
        hops: &[],
    };
    scheduler.command(now, &snapshot, record.identity.wallet, Action::Migrate { to }).expect("allowed")
}
