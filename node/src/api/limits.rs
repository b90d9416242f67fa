//! How large a request may be, and what is said where no handler answers.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use ledger::execute::ENTRY_BYTES_MAX;
use tokio::time::timeout;

use super::{problem::Problem, refusal::Refusal};

/// Bytes of a body at most: a prompt that fills a long context, as token ids.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Bytes of all headers at most.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// How long a body may take that comes without a key: it keeps a connection's place.
const SIGNED_BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A body within its limit.
pub struct Body(pub Bytes);

/// A body that is its own credential, because of what is signed in it: no larger than an entry, and soon there, since
/// anybody may send one.
pub struct SignedBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(read(request, BODY_BYTES_MAX).await?))
    }
}

impl<S: Send + Sync> FromRequest<S> for SignedBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let read = timeout(SIGNED_BODY_PATIENCE, read(request, ENTRY_BYTES_MAX)).await;
        let late = |_| Refusal::BodyLate { seconds: SIGNED_BODY_PATIENCE.as_secs() };
        Ok(Self(read.map_err(late)??))
    }
}

async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(request.into_body(), bytes_max).await.map_err(|error| match is_too_large(&error) {
        true => Refusal::BodyTooLarge { bytes_max },
        false => Refusal::BodyInvalid { reason: error.to_string() },
    })
}

/// Refuses requests whose headers are larger than any needs.
pub async fn headers(request: Request, next: Next) -> Response {
    let size =
        |headers: &HeaderMap| headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let place = request.uri().path_and_query().map_or(0, |place| place.as_str().len());
    if size(request.headers()) + place > HEADER_BYTES_MAX {
        return Problem::from(Refusal::HeadersTooLarge { bytes_max: HEADER_BYTES_MAX }).into_response();
    }
    next.run(request).await
}

/// Answers where there is no path.
pub async fn no_such_path() -> Problem {
    Refusal::PathUnknown.into()
}

/// Gives answers that came about without a handler the form of a problem: a method that a path does not take, a part
/// of a path or query that does not parse.
pub async fn as_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_text = response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/"));
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Problem::from(Refusal::MethodNotAllowed).into_response(),
        StatusCode::BAD_REQUEST if is_text => {
            let text = axum::body::to_bytes(response.into_body(), HEADER_BYTES_MAX).await.unwrap_or_default();
            let reason = String::from_utf8_lossy(&text).into_owned();
            Problem::from(Refusal::PlaceInvalid { name: "path or query", reason }).into_response()
        }
        _ => response,
    }
}

/// The size limit stands somewhere in the chain of causes.
fn is_too_large(error: &axum::Error) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.last().is_some_and(|cause| cause.to_string().contains("length limit"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body as Sent;
    use futures::stream;

    use super::*;

    async fn signed(body: Sent) -> Result<usize, StatusCode> {
        let read = SignedBody::from_request(Request::new(body), &()).await;
        read.map(|SignedBody(bytes)| bytes.len()).map_err(|problem| problem.into_response().status())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_needs_no_key_is_no_larger_than_an_entry_and_does_not_keep_its_place() {
        assert_eq!(signed(Sent::from(vec![0; ENTRY_BYTES_MAX])).await, Ok(ENTRY_BYTES_MAX));
        let too_large = signed(Sent::from(vec![0; ENTRY_BYTES_MAX + 1])).await;
        assert_eq!(too_large, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let never_ends = stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(signed(Sent::from_stream(never_ends)).await, Err(StatusCode::REQUEST_TIMEOUT));
    }
}
