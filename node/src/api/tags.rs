//! Answers that need not be sent to who has them (RFC 9110, 13.1.2).
//!
//! A leaf is bytes that never change: it is kept for ever, by its entry's id. A tile never changes in one lineage, and a
//! re-genesis may drop it: it is asked for again, by the name in force. What is told in JSON may come in another form from
//! later software, and a block with another quorum's certificate from another node: it is asked for again, and sent if it is
//! another.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wallet::digest::{Digest, to_hex};

/// For a year, by whoever asked. Answers are for whoever has the key, so no proxy may keep them.
const KEPT: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// Asked for again each time.
const REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What names one answer.
pub(super) struct Tag {
    tag: HeaderValue,
    kept: HeaderValue,
}

impl Tag {
    /// Of the bytes `name` in `consortium`, which never change, whatever is dropped: letters, digits, points and slashes.
    ///
    /// # Panics
    /// If the name has a control character.
    pub(super) fn immutable(consortium: &Digest, name: &str) -> Self {
        Self::new(&format!("{}/{name}", &consortium.to_string()[..16]), KEPT)
    }

    /// Of what is called `name` in the lineage of this name in force (letters, digits, points and slashes): another lineage
    /// may have other bytes there.
    ///
    /// # Panics
    /// If the name has a control character.
    pub(super) fn in_lineage(lineage: &Digest, name: &str) -> Self {
        Self::new(&format!("{lineage}/{name}"), REVALIDATED)
    }

    /// Of these bytes, in whose place others may come.
    pub(super) fn of(body: &[u8]) -> Self {
        Self::new(&to_hex(&Sha256::digest(body)[..16]), REVALIDATED)
    }

    /// Of an answer that says this, and beside it what nobody needs again: a weak one (RFC 9110, 8.8.1).
    fn of_said(said: &Value) -> Self {
        let Self { tag, kept } = Self::of(said.to_string().as_bytes());
        let weak = [b"W/".as_slice(), tag.as_bytes()].concat();
        Self { tag: HeaderValue::try_from(weak).expect("no control characters"), kept }
    }

    fn new(name: &str, kept: HeaderValue) -> Self {
        Self { tag: HeaderValue::try_from(format!("\"{name}\"")).expect("no control characters"), kept }
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
        [(header::CACHE_CONTROL, self.kept.clone()), (header::ETAG, self.tag.clone())]
    }

    fn is_listed(&self, tags: &HeaderValue) -> bool {
        let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
        let own = self.tag.to_str().map(opaque).unwrap_or_default();
        let is_same = |listed: &str| opaque(listed) == own;
        tags.to_str().is_ok_and(|tags| tags.split(',').map(str::trim).any(|listed| listed == "*" || is_same(listed)))
    }
}

/// The answer `body`, unless whoever asked has one that says the same.
pub(super) fn unless_said(headers: &HeaderMap, said: &Value, body: Value) -> Response {
    let tag = Tag::of_said(said);
    tag.known(headers).unwrap_or_else(|| tag.answer(Json(body)))
}

/// The answer `body`, unless whoever asked has it.
pub(super) fn unless_known(headers: &HeaderMap, body: Value) -> Response {
    let tag = Tag::of(body.to_string().as_bytes());
    tag.known(headers).unwrap_or_else(|| tag.answer(Json(body)))
}
