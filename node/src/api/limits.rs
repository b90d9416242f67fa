//! How large a request may be, and what is said where no handler answers.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{problem::Problem, refusal::Refusal};

/// Bytes of a body at most: a prompt that fills a long context, as token ids.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Bytes of all headers at most.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// A body within its limit.
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) if is_too_large(&error) => Err(Refusal::BodyTooLarge { bytes_max: BODY_BYTES_MAX }.into()),
            Err(error) => Err(Refusal::BodyInvalid { reason: error.to_string() }.into()),
        }
    }
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
