//! The steps, in the order in which they are shown.

mod audit;
mod credits;
mod forbidden;
mod measure;
mod move_live;
mod prefix;
mod survive;
mod tick;

use super::{DemoOptions, Figures, StepFailed, cluster::Cluster};

/// Runs every step; the first that fails ends the demo.
///
/// # Errors
/// [`StepFailed`] with what did not hold.
pub async fn run_all(cluster: &mut Cluster, options: &DemoOptions, figures: &mut Figures) -> Result<(), StepFailed> {
    let moved = move_live::run(cluster, options, figures).await?;
    survive::run(cluster, figures).await?;
    forbidden::run(cluster, options, figures).await?;
    audit::run(cluster, &moved, figures).await?;
    prefix::run(cluster, figures).await?;
    tick::run(cluster, figures).await?;
    measure::run(cluster, options.moves, figures).await?;
    credits::run(cluster, figures).await
}
