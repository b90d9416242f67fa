//! Sessions that are cut off at random points, and what their clients and tools see of that.

use std::{path::Path, sync::Arc};

use gpu::Model;

use super::Figures;
use crate::bench::{
    BenchFault,
    sessions::{Ground, cut_within, kill_processes},
};

/// Drives sessions to `points` points, `kills` of which kill a process.
///
/// # Errors
/// Those of sessions and processes; [`BenchFault::Unclean`].
pub fn figures(
    figures: &mut Figures,
    model: &Arc<Model>,
    seed: u64,
    (points, kills): (u64, u64),
    ground: Ground<'_>,
) -> Result<(), BenchFault> {
    let mut tally = kill_processes(ground, model, seed, kills)?;
    let more = points.saturating_sub(tally.points);
    // What happens in one process does not depend on a disk, and syncing one would be most of the time.
    let memory = Path::new("/dev/shm");
    tally += cut_within(model, seed, more, if memory.is_dir() { memory } else { ground.dir })?;
    figures.set("points_total", tally.points);
    figures.set("points_suspended", tally.suspends);
    figures.set("points_moved", tally.moves);
    figures.set("points_cut_in_process", tally.cuts);
    figures.set("process_kills", tally.kills);
    figures.set("sessions_total", tally.sessions);
    figures.set("tokens_lost", tally.tokens.lost);
    figures.set("tokens_duplicated", tally.tokens.duplicated);
    figures.set("tokens_different", tally.tokens.different);
    figures.set("in_doubt_planted", tally.planted);
    figures.set("in_doubt_surfaced", tally.surfaced);
    figures.set("effects_repeated", tally.repeated);
    figures.set("effects_skipped", tally.skipped);
    figures.set("stale_holders_refused", tally.fenced);
    Ok(tally.check_all(points, kills)?)
}
