//! `/ledger/v1/archive`: everything that is final, as one file for backups and auditors.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures::stream;
use ledger::shell::{backup::Backup, fault::Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Api, auth::ByAuditor, problem::Problem, refusal::Refusal};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// As many bytes are read before they are sent, or one block.
const CHUNK_BYTES: usize = 256 << 10;

/// Archives that are sent at a time: each reads the whole ledger from the disk.
const ARCHIVES_MAX: usize = 2;

/// Turns to send an archive. Clones share them.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ARCHIVES_MAX)))
    }
}

impl Turns {
    /// One, for as long as what this gives is there.
    fn take(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.0.clone().try_acquire_owned().map_err(|_| Refusal::ArchivesBusy)
    }
}

/// The archive's path.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/archive", get(archive))
}

async fn archive(State(api): State<Api>, _: ByAuditor) -> Result<Response, Problem> {
    let turn = api.archives.take()?;
    let backup = api.replica().backup().await?;
    // A fault cuts the connection; and a reader misses the archive's end.
    // The turn lasts as long as somebody reads.
    let chunks = stream::try_unfold((backup, turn), |(backup, turn)| async move {
        let read = tokio::task::spawn_blocking(move || chunk(backup)).await;
        let read = read.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(read.map(|(bytes, backup)| (bytes, (backup, turn))))
    });
    Ok(([(header::CONTENT_TYPE, BYTES)], Body::from_stream(chunks)).into_response())
}

/// The next bytes, and what follows them.
fn chunk(mut backup: Backup) -> Result<Option<(Bytes, Backup)>, Fault> {
    let mut bytes = Vec::new();
    while bytes.len() < CHUNK_BYTES
        && let Some(piece) = backup.next()
    {
        bytes.extend_from_slice(&piece?);
    }
    Ok((!bytes.is_empty()).then(|| (bytes.into(), backup)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_archives_are_sent_at_a_time() {
        let turns = Turns::default();
        let mut taken: Vec<_> = (0..ARCHIVES_MAX).map(|_| turns.clone().take().expect("a turn is free")).collect();
        assert_eq!(turns.take().expect_err("none is free").code(), "N-554");
        taken.pop();
        assert!(turns.take().is_ok());
    }
}
