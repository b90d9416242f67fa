//! `/openapi.json`: the public paths for programs. `docs/api.md` is for people.

use axum::http::{HeaderValue, header};

/// The document, version 3.0 of OpenAPI.
const DOCUMENT: &str = include_str!("openapi.json");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) async fn document() -> ([(header::HeaderName, HeaderValue); 1], &'static str) {
    ([(header::CONTENT_TYPE, JSON)], DOCUMENT)
}

#[cfg(test)]
mod kinds;
#[cfg(test)]
pub(super) mod shape;
#[cfg(test)]
mod tests;
