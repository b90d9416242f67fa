//! `/ledger/v1/archive`: everything that is final, as one file for backups and auditors.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use ledger::shell::{backup::Backup, fault::Fault};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{Api, auth::ByAuditor, problem::Problem, refusal::Refusal};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// As many bytes are read before they are sent, or one block.
const CHUNK_BYTES: usize = 256 << 10;

/// Archives that are sent at a time: each reads the whole ledger from the disk.
const ARCHIVES_MAX: usize = 2;

/// How long a reader may take for a chunk. One that takes longer has given up its turn.
const PATIENCE: Duration = Duration::from_secs(15);

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
    let chunks = stream::try_unfold(backup, |backup| async move {
        let read = tokio::task::spawn_blocking(move || chunk(backup)).await;
        read.map_err(io::Error::other)?.map_err(io::Error::other)
    });
    Ok(([(header::CONTENT_TYPE, BYTES)], Body::from_stream(while_taken(chunks, turn))).into_response())
}

/// Sends `chunks` for as long as somebody takes them, and holds `turn` no longer. An error cuts the connection; and a reader
/// misses the archive's end.
fn while_taken(
    chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    turn: impl Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    // Of a reader that stalls nobody hears anything, so the turn is not with what it reads.
    let (sender, taken) = mpsc::channel(1);
    tokio::spawn(async move {
        let _turn = turn;
        let all = chunks.map(|chunk| chunk.map(Some)).chain(stream::once(async { Ok(None) }));
        let mut all = std::pin::pin!(all);
        while let Some(chunk) = all.next().await {
            if !matches!(timeout(PATIENCE, sender.send(chunk)).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the archive was not taken");
    stream::try_unfold(taken, move |mut taken| async move {
        let chunk: Option<Bytes> = taken.recv().await.unwrap_or_else(|| Err(late()))?;
        Ok(chunk.map(|bytes| (bytes, taken)))
    })
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

    fn chunks(count: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::iter((0..count).map(|number| Ok(Bytes::from(vec![number as u8]))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_loses_its_turn_and_the_rest_of_the_archive() {
        let turns = Turns::default();
        let mut stalled = Vec::new();
        for _ in 0..ARCHIVES_MAX {
            let mut sent = Box::pin(while_taken(chunks(9), turns.take().expect("a turn is free")));
            assert!(sent.next().await.is_some_and(|chunk| chunk.is_ok()));
            stalled.push(sent);
        }
        assert!(turns.take().is_err(), "they may take more");
        tokio::time::sleep(2 * PATIENCE).await;
        assert!(turns.take().is_ok());
        for mut sent in stalled {
            let mut rest = Vec::new();
            while let Some(chunk) = sent.next().await {
                rest.push(chunk.map_err(|error| error.kind()));
            }
            assert!(
                rest.len() < 8 && rest.pop() == Some(Err(io::ErrorKind::TimedOut)),
                "it does not end as a whole one"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_slow_gets_all_of_it_and_then_gives_its_turn_back() {
        let turns = Turns::default();
        let _other = turns.take().expect("a turn is free");
        let mut sent = Box::pin(while_taken(chunks(9), turns.take().expect("a turn is free")));
        let mut count = 0;
        while let Some(chunk) = sent.next().await {
            assert_eq!(chunk.expect("it is taken in time"), vec![count]);
            assert!(count > 6 || turns.take().is_err(), "it holds its turn");
            tokio::time::sleep(PATIENCE * 9 / 10).await;
            count += 1;
        }
        assert_eq!(count, 9);
        assert!(turns.take().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_away_gives_its_turn_back() {
        let turns = Turns::default();
        let _other = turns.take().expect("a turn is free");
        drop(while_taken(chunks(9), turns.take().expect("a turn is free")));
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(turns.take().is_ok());
    }

    #[tokio::test]
    async fn a_fault_ends_it_with_an_error() {
        let broken = chunks(1).chain(stream::once(async { Err(io::Error::other("damaged")) }));
        let sent: Vec<_> = while_taken(broken, ()).map(|chunk| chunk.is_ok()).collect().await;
        assert_eq!(sent, [true, false]);
    }
}
