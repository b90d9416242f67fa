//! `/ledger/v1/archive`: everything that is final, as one file for backups and auditors.

use std::io;

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

use super::{Api, auth::ByAuditor, problem::Problem, refusal::Refusal, turns::Turns};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// As many bytes are read before they are sent, or one block.
const CHUNK_BYTES: usize = 256 << 10;

/// Archives that are sent at a time: each reads the whole ledger from the disk.
const ARCHIVES_MAX: usize = 8;

/// Turns to send an archive, one at a time to an auditor: whoever reads slowly keeps its own turn.
pub(super) fn turns() -> Turns {
    Turns::new(ARCHIVES_MAX, 1)
}

/// The archive's path.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/archive", get(archive))
}

async fn archive(State(api): State<Api>, ByAuditor(auditor): ByAuditor) -> Result<Response, Problem> {
    let turn = api.archives.take(auditor).ok_or(Refusal::ArchivesBusy)?;
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
    use wallet::digest::Digest;

    use super::*;

    const AUDITOR: Digest = Digest([1; 32]);

    #[test]
    fn an_auditor_gets_one_archive_at_a_time_and_all_together_no_more_than_so_many() {
        let turns = turns();
        let auditor = |number: usize| Digest([number as u8; 32]);
        let mut taken = vec![turns.take(auditor(0)).expect("a turn is free")];
        assert!(turns.take(auditor(0)).is_none(), "it has one");
        taken.extend((1..ARCHIVES_MAX).map(|number| turns.clone().take(auditor(number)).expect("a turn is free")));
        assert!(turns.take(auditor(ARCHIVES_MAX)).is_none(), "none is free");
        taken.remove(0);
        assert!(turns.take(auditor(0)).is_some());
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
        let turns = turns();
        let sent: Vec<_> = pieces(3, counted, turns.take(AUDITOR).expect("a turn is free")).collect().await;
        assert_eq!(sent.into_iter().map(|piece| piece.expect("it reads")[0]).collect::<Vec<_>>(), [3, 2, 1]);
        let mut sent = Box::pin(pieces(3, counted, turns.take(AUDITOR).expect("it was given back")));
        assert!(sent.next().await.is_some_and(|piece| piece.is_ok()));
        assert!(turns.take(AUDITOR).is_none(), "it is being sent");
        drop(sent);
        assert!(turns.take(AUDITOR).is_some(), "nobody reads it any more");
    }

    #[tokio::test]
    async fn a_fault_ends_it_with_an_error() {
        let broken = |left: u8| if left == 2 { counted(left) } else { Err(Fault::Stopped) };
        let sent: Vec<_> = pieces(2, broken, ()).map(|piece| piece.is_ok()).collect().await;
        assert_eq!(sent, [true, false]);
    }
}
