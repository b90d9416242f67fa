//! What a cut costs: at a random point of a transfer either the connection is closed, or the receiver is killed and
//! started again on its files.

use std::{path::Path, time::Duration};

use super::{
    Figures, TransferArgs,
    orders::{Order, Word},
    pages::Plan,
    processes::Process,
    relay::Relay,
};
use crate::bench::{BenchFault, sessions::Chance, wrong};

/// A cut that does not come in this time never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How far from its beginning and its end a transfer is cut, in parts of a thousand.
const MARGIN: u64 = 10;

pub(super) fn figures(
    figures: &mut Figures,
    args: &TransferArgs,
    program: &Path,
    dir: &Path,
) -> Result<(), BenchFault> {
    let plan = Plan::new(args.seed, args.mib);
    let bytes = plan.sealed_bytes()?;
    let folder = tempfile::Builder::new().prefix("transfer-bench-").tempdir_in(dir)?;
    let mut source = Process::source(program, args)?;
    let relay = Relay::start(source.peers)?;
    let start = || Process::receiver(program, args, relay.address(), folder.path());
    let (mut receiver, mut chance) = (start()?, Chance::new(args.seed, 1));
    // Of cut connections, and of killed receivers.
    let mut wasted = [Vec::new(), Vec::new()];
    for cut in 0..args.cuts {
        let kills = cut % 2 == 1;
        let point = bytes * (MARGIN + chance.below(1000 - 2 * MARGIN)) / 1000 + chance.below(1000);
        let before = source.spent()?.answered;
        let done = relay.cut_after(point);
        source.tell(Order::Offer(cut))?;
        source.hear()?;
        let take = Order::Take { hop: cut, keep: true };
        receiver.tell(take)?;
        done.recv_timeout(PATIENCE).map_err(|_| wrong("the transfer is over before its cut"))?;
        if kills {
            receiver.kill()?;
            receiver = start()?;
            receiver.tell(take)?;
        }
        match receiver.hear()? {
            Word::Taken => {}
            word => return Err(wrong(format!("the receiver said {word:?}"))),
        }
        let twice = (source.spent()?.answered - before).saturating_sub(bytes);
        let ratio = twice as f64 / bytes as f64;
        tracing::info!(seed = args.seed, cut, kills, point, twice, ratio, "cut");
        wasted[usize::from(kills)].push(ratio);
    }
    let mean = |ratios: &[f64]| ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
    let all = wasted.concat();
    figures.set("resume_cuts", args.cuts);
    figures.set("resume_wasted_bytes_ratio", mean(&all));
    figures.set("resume_wasted_bytes_ratio_max", all.iter().copied().fold(0.0, f64::max));
    figures.set("resume_connection_wasted_bytes_ratio", mean(&wasted[0]));
    figures.set("resume_receiver_wasted_bytes_ratio", mean(&wasted[1]));
    Ok(())
}
