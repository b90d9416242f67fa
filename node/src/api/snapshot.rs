//! `/ledger/v1/snapshot/...`: what a node that joins takes from this one, in chunks, with requests that it signs.
//! `docs/formats/snapshot.md` has the form.

use axum::{
    Router,
    extract::{FromRef, Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use ledger::{
    shell::replica::Replica,
    snapshot::{ChunkPath, NotAPath},
};
use wallet::codec;

use super::{
    Api,
    auth::{ByNode, Keys},
    problem::Problem,
    refusal::Refusal,
};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What one node offers changes with each block, and a chunk is asked for once.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");

/// The snapshot's paths.
pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Keys: FromRef<S>,
    Replica: FromRef<S>,
{
    Router::new().route("/ledger/v1/snapshot", get(offer)).route("/ledger/v1/snapshot/{*path}", get(chunk))
}

/// These paths alone, of a replica without a node around it: for benches.
pub fn alone(replica: Replica, keys: Keys) -> Router {
    router().with_state(Alone { replica, keys })
}

#[derive(Clone)]
struct Alone {
    replica: Replica,
    keys: Keys,
}

impl FromRef<Alone> for Keys {
    fn from_ref(alone: &Alone) -> Self {
        alone.keys.clone()
    }
}

impl FromRef<Alone> for Replica {
    fn from_ref(alone: &Alone) -> Self {
        alone.replica.clone()
    }
}

impl FromRef<Api> for Replica {
    fn from_ref(api: &Api) -> Self {
        api.replica().clone()
    }
}

async fn offer(State(replica): State<Replica>, _: ByNode) -> Result<Response, Problem> {
    let offer = replica.offer().await?.ok_or(Refusal::ChunkNotHere)?;
    Ok(answer(codec::encode(&offer)))
}

async fn chunk(State(replica): State<Replica>, _: ByNode, Path(path): Path<String>) -> Result<Response, Problem> {
    let malformed = |error: NotAPath| Refusal::PlaceInvalid { name: "path", reason: error.to_string() };
    let path: ChunkPath = path.parse().map_err(malformed)?;
    Ok(answer(replica.chunk(path).await?.ok_or(Refusal::ChunkNotHere)?))
}

fn answer(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, NOT_KEPT)], bytes).into_response()
}
