//! `/ledger/v1/archive`: everything that is final, as one file for backups and auditors.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures::stream::{self, Stream};
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
    let all = pieces(backup, chunk, turn);
    Ok(([(header::CONTENT_TYPE, BYTES)], Body::from_stream(all)).into_response())
}

/// The next bytes, and from where to read on; none at the end.
type Chunk<T> = Option<(Bytes, T)>;

/// What `next` reads, until there is no more. An error cuts the connection, and a reader misses the archive's end. The turn
/// is over with what is sent: also when the connection is cut because its reader takes nothing of it (`super::stall`).
fn pieces<T: Send + 'static>(
    from: T,
    next: fn(T) -> Result<Chunk<T>, Fault>,
    turn: impl Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((from, turn), move |(from, turn)| async move {
        let read = tokio::task::spawn_blocking(move || next(from)).await;
        let read = read.map_err(io::Error::other)?.map_err(io::Error::other)?;
        Ok(read.map(|(bytes, rest)| (bytes, (rest, turn))))
    })
}

/// The next bytes, and what follows them.
fn chunk(mut backup: Backup) -> Result<Chunk<Backup>, Fault> {
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
    use futures::StreamExt as _;

    use super::*;

    #[test]
    fn only_so_many_archives_are_sent_at_a_time() {
        let turns = Turns::default();
        let mut taken: Vec<_> = (0..ARCHIVES_MAX).map(|_| turns.clone().take().expect("a turn is free")).collect();
        assert_eq!(turns.take().expect_err("none is free").code(), "N-554");
        taken.pop();
        assert!(turns.take().is_ok());
    }

    /// Counts down.
    fn counted(left: u8) -> Result<Chunk<u8>, Fault> {
        match left {
            0 => Ok(None),
            _ => Ok(Some((Bytes::from(vec![left]), left - 1))),
        }
    }

    #[tokio::test]
    async fn an_archive_holds_its_turn_until_all_of_it_is_sent_or_its_reader_is_gone() {
        let turns = Turns::default();
        let _other = turns.take().expect("a turn is free");
        let sent: Vec<_> = pieces(3, counted, turns.take().expect("a turn is free")).collect().await;
        assert_eq!(sent.into_iter().map(|piece| piece.expect("it reads")[0]).collect::<Vec<_>>(), [3, 2, 1]);
        let mut sent = Box::pin(pieces(3, counted, turns.take().expect("it was given back")));
        assert!(sent.next().await.is_some_and(|piece| piece.is_ok()));
        assert!(turns.take().is_err(), "it is being sent");
        drop(sent);
        assert!(turns.take().is_ok(), "nobody reads it any more");
    }

    #[tokio::test]
    async fn a_fault_ends_it_with_an_error() {
        let broken = |left: u8| if left == 2 { counted(left) } else { Err(Fault::Stopped) };
        let sent: Vec<_> = pieces(2, broken, ()).map(|piece| piece.is_ok()).collect().await;
        assert_eq!(sent, [true, false]);
    }
}
