//! How fast pages move, beside the limits, in turns.

use std::{path::Path, time::Instant};

use super::{
    Figures, TransferArgs,
    orders::{Order, Word},
    pages::Plan,
    processes::Process,
};
use crate::bench::{BenchFault, streams::median, wrong};

/// The ways on which the pages go.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A hop stream between two nodes.
    Hop,
    /// Plain TCP, sealed, opened and hashed.
    Sealed,
    /// Plain TCP.
    Plain,
}

/// What one round of a way took.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    s: f64,
    source_cpu_s: f64,
    receiver_cpu_s: f64,
}

pub(super) fn figures(
    figures: &mut Figures,
    args: &TransferArgs,
    program: &Path,
    dir: &Path,
) -> Result<(), BenchFault> {
    let plan = Plan::new(args.seed, args.mib);
    let mut source = Process::source(program, args)?;
    let mut receiver = Process::receiver(program, args, source.peers, dir)?;
    let ways = [Way::Hop, Way::Sealed, Way::Plain];
    let mut rounds = Vec::new();
    for round in 0..=args.rounds {
        let mut took = [Took::default(); 3];
        // Another one is first in each round.
        for turn in (0..ways.len()).map(|turn| (turn + round as usize) % ways.len()) {
            took[turn] = one(&mut source, &mut receiver, ways[turn], u64::from(round))?;
            tracing::info!(round, way = ?ways[turn], took = ?took[turn], "measured");
        }
        // The first round does not count: then the memory is there.
        if round > 0 {
            rounds.push(took);
        }
    }
    let middle = |of: &dyn Fn(&[Took; 3]) -> f64| median(&mut rounds.iter().map(of).collect::<Vec<_>>());
    let (gigabytes, gib) = (plan.bytes() as f64 / 1e9, plan.bytes() as f64 / f64::from(1 << 30));
    let cpu_s = |took: &Took| (took.source_cpu_s + took.receiver_cpu_s) / gib;
    figures.set("transfer_bytes", plan.bytes());
    figures.set("transfer_gb_per_s", middle(&|[hop, ..]| gigabytes / hop.s));
    figures.set("transfer_sealed_limit_gb_per_s", middle(&|[_, sealed, _]| gigabytes / sealed.s));
    figures.set("transfer_tcp_gb_per_s", middle(&|[.., plain]| gigabytes / plain.s));
    figures.set("transfer_vs_sealed_limit_ratio", middle(&|[hop, sealed, _]| sealed.s / hop.s));
    figures.set("transfer_vs_tcp_ratio", middle(&|[hop, _, plain]| plain.s / hop.s));
    figures.set("transfer_cpu_s_per_gib", middle(&|[hop, ..]| cpu_s(hop)));
    figures.set("transfer_source_cpu_s_per_gib", middle(&|[hop, ..]| hop.source_cpu_s / gib));
    figures.set("transfer_receiver_cpu_s_per_gib", middle(&|[hop, ..]| hop.receiver_cpu_s / gib));
    figures.set("transfer_sealed_limit_cpu_s_per_gib", middle(&|[_, sealed, _]| cpu_s(sealed)));
    figures.set("transfer_tcp_cpu_s_per_gib", middle(&|[.., plain]| cpu_s(plain)));
    Ok(())
}

/// Moves all pages once.
fn one(source: &mut Process, receiver: &mut Process, way: Way, round: u64) -> Result<Took, BenchFault> {
    let before = [source.spent()?.cpu_us, receiver.spent()?.cpu_us];
    let started = Instant::now();
    match way {
        Way::Hop => {
            source.tell(Order::Offer(round))?;
            source.hear()?;
            receiver.tell(Order::Take { hop: round, keep: false })?;
        }
        Way::Sealed | Way::Plain => {
            let sealed = matches!(way, Way::Sealed);
            receiver.tell(Order::Receive { sealed })?;
            source.tell(Order::Send { to: receiver.plain, sealed })?;
        }
    }
    let word = receiver.hear()?;
    let s = started.elapsed().as_secs_f64();
    if !matches!(word, Word::Taken | Word::Received) {
        return Err(wrong(format!("the receiver said {word:?}")));
    }
    let spent = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1e6;
    Ok(Took {
        s,
        source_cpu_s: spent(before[0], source.spent()?.cpu_us),
        receiver_cpu_s: spent(before[1], receiver.spent()?.cpu_us),
    })
}
