//! Answers that never change: a tile, a leaf, a final block. Who has one need not get it again (RFC 9110, 13.1.2).

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use wallet::digest::Digest;

/// For a year, by whoever asked. Answers are for whoever has the key, so no proxy may keep them.
const KEPT: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// What names one such answer in this consortium.
pub(super) struct Immutable(HeaderValue);

impl Immutable {
    /// The answer `name` in `consortium`: letters, digits, points and slashes.
    ///
    /// # Panics
    /// If the name has a control character.
    pub(super) fn named(consortium: &Digest, name: &str) -> Self {
        let tag = format!("\"{}/{name}\"", &consortium.to_string()[..16]);
        Self(HeaderValue::try_from(tag).expect("no control characters"))
    }

    /// The whole answer to who has this one already.
    pub(super) fn known(&self, headers: &HeaderMap) -> Option<Response> {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tags| self.is_listed(tags));
        known.then(|| (StatusCode::NOT_MODIFIED, self.headers()).into_response())
    }

    /// The answer.
    pub(super) fn answer(&self, body: impl IntoResponse) -> Response {
        (self.headers(), body).into_response()
    }

    fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        [(header::CACHE_CONTROL, KEPT), (header::ETAG, self.0.clone())]
    }

    fn is_listed(&self, tags: &HeaderValue) -> bool {
        let is_same = |listed: &str| listed.trim_start_matches("W/").as_bytes() == self.0.as_bytes();
        tags.to_str().is_ok_and(|tags| tags.split(',').map(str::trim).any(|listed| listed == "*" || is_same(listed)))
    }
}
