//! The worker process: an engine of its own, at the other end of two streams in shared memory.

use std::{os::fd::RawFd, path::PathBuf, sync::Arc};

use gpu::{
    EngineOptions, Model, ModelFault,
    dispatch::{Interpreter, format},
    stream::{Descriptor, StreamFault, shm::ShmStream},
};
use rustix::process::{Signal, set_parent_process_death_signal};
use wallet::digest::Digest;

/// What the process is started with.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Folder of the model
    #[arg(long)]
    model: PathBuf,
    /// Hash of the model that the node runs
    #[arg(long)]
    expect: Digest,
    /// Descriptor of the shared memory of the requests
    #[arg(long)]
    requests: RawFd,
    /// Descriptor of the shared memory of the events
    #[arg(long)]
    events: RawFd,
    /// Blocks of the pool
    #[arg(long)]
    blocks: usize,
    /// Prompt tokens that one step computes, at most
    #[arg(long)]
    chunk: usize,
    /// Blocks that the prefix cache keeps, at most
    #[arg(long)]
    idle_blocks: usize,
}

/// Why a worker ended other than by the end of its queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerFault {
    /// The model's files.
    #[error(transparent)]
    Model(#[from] ModelFault),
    /// The folder holds another model than the one that the node runs.
    #[error("the folder holds model {loaded}, the node runs {expected}")]
    AnotherModel {
        /// What the node runs.
        expected: Digest,
        /// What was loaded.
        loaded: Digest,
    },
    /// It is not of the release of the node that started it.
    #[error("this program is of another release than the node that started it: restart the node")]
    AnotherRelease,
    /// The streams.
    #[error(transparent)]
    Stream(#[from] StreamFault),
    /// The system.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Runs an engine until the node ends its queue or dies.
///
/// # Errors
/// [`WorkerFault`].
pub fn work(args: WorkerArgs) -> Result<(), WorkerFault> {
    let WorkerArgs { model, expect, requests, events, blocks, chunk, idle_blocks } = args;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    let (requests, events) = (ShmStream::open_inherited(requests)?, ShmStream::open_inherited(events)?);
    same_release(requests.descriptor())?;
    // The roles first: the node takes an end without a holder for a dead worker.
    let (requests, events) = (requests.reader()?, events.writer()?);
    let model = Model::load(&model)?;
    if model.hash() != expect {
        return Err(WorkerFault::AnotherModel { expected: expect, loaded: model.hash() });
    }
    let options =
        EngineOptions { block_count: blocks, prefill_chunk_tokens: chunk.max(1), idle_blocks_max: idle_blocks };
    Interpreter::new(Arc::new(model), options, Arc::new(requests), Arc::new(events)).run()?;
    Ok(())
}

/// Whether the node that made the stream has the same messages and the same rules of arithmetic. A release that was put in
/// its program's place while it ran may have others.
fn same_release(queue: &Descriptor) -> Result<(), WorkerFault> {
    if queue.format == format() { Ok(()) } else { Err(WorkerFault::AnotherRelease) }
}

impl WorkerFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AnotherRelease => "N-223",
            Self::Model(_) | Self::AnotherModel { .. } | Self::Stream(_) | Self::System(_) => "N-220",
        }
    }
}

#[cfg(test)]
mod tests {
    use gpu::{
        dispatch::{REQUESTS, descriptor},
        stream::Integrity,
    };

    use super::*;

    #[test]
    fn a_worker_of_another_release_than_its_node_is_refused() {
        let same = descriptor(&Digest([1; 32]), REQUESTS, Integrity::None);
        let other = Descriptor { format: Digest::ZERO, ..same.clone() };
        assert!(same_release(&same).is_ok());
        assert_eq!(same_release(&other).expect_err("it is refused").code(), "N-223");
    }
}
