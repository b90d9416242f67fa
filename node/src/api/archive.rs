//! `/ledger/v1/archive`: everything that is final, as one file for backups and auditors.

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

use super::{Api, auth::ByAuditor, problem::Problem};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// As many bytes are read before they are sent, or one block.
const CHUNK_BYTES: usize = 256 << 10;

/// The archive's path.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/archive", get(archive))
}

async fn archive(State(api): State<Api>, _: ByAuditor) -> Result<Response, Problem> {
    let backup = api.replica().backup().await?;
    // A fault cuts the connection; and a reader misses the archive's end.
    let chunks = stream::try_unfold(backup, |backup| async move {
        let read = tokio::task::spawn_blocking(move || chunk(backup)).await;
        read.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
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
