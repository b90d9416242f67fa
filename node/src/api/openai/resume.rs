//! `GET /v1/sessions/{wallet}/stream`: a stream that outlives the node it began on.
//!
//! Whoever holds the session serves it from any position; every other node sends the client to the holder.

use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use wallet::{
    digest::from_hex,
    grant::WalletAddress,
    units::{NodeId, TokenPosition},
};

use super::{Endpoint, RESUME, add_headers, answer, stream, text_header, value};
use crate::{
    api::{Api, auth::ByTenant, path::WalletPath, problem::Problem, refusal::Refusal},
    session::{self, Session, request::ResumeSecret, view::SessionMode},
    tls::client::Way,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Which form the chunks have.
#[derive(Debug, Deserialize)]
pub(super) struct Form {
    /// The chunks of `/v1/completions` instead of those of a chat.
    #[serde(default)]
    completions: bool,
}

pub(super) async fn resume(
    State(api): State<Api>,
    _: ByTenant,
    Path(WalletPath(wallet)): Path<WalletPath>,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let secret = secret(&headers)?;
    let from = after_last_event(&headers)?;
    let me = api.sessions.context().me;
    let at = locate(&api, wallet)?;
    if at != me {
        return Ok(redirect(&api, wallet, at, &form)?);
    }
    let session = api.sessions.get(wallet).ok_or(Refusal::WalletUnknown)?;
    if !session.is_resume_secret(&secret) {
        return Err(session::refusal::Refusal::ResumeSecretWrong.into());
    }
    refuse_unseen(from, end_of_seen(&api, &session))?;
    let items = api.front_door.stream(wallet, &secret, from, me);
    let endpoint = if form.completions { Endpoint::Completions } else { Endpoint::Chat };
    let answer = answer(&api, endpoint, wallet, me, session.view().pace_ms, true);
    let mut response = stream::events(answer.clone(), items, true, api.metrics.clone());
    add_headers(response.headers_mut(), &answer, wallet);
    Ok(response)
}

/// The node that serves a wallet: this one if the session is here, else the holder of record, else the node to which
/// this front door sent the request a moment ago.
fn locate(api: &Api, wallet: WalletAddress) -> Result<NodeId, Problem> {
    let node = api.sessions.context();
    let session = api.sessions.get(wallet);
    if session
        .as_ref()
        .is_some_and(|session| !session.allowed_regions().is_empty() && session.view().moved_to.is_none())
    {
        return Ok(node.me);
    }
    match node.replica.state().state.wallet(wallet) {
        Some(record) if record.holder != node.me => Ok(record.holder),
        Some(record) if record.is_closed() => Err(session::refusal::Refusal::Finished.into()),
        Some(_) if session.is_some() => Ok(node.me),
        Some(_) => Err(Refusal::NotReady { reason: "the session is not back yet".to_owned() }.into()),
        None => api.front_door.placed_at(&wallet).ok_or_else(|| Refusal::WalletUnknown.into()),
    }
}

fn redirect(api: &Api, wallet: WalletAddress, at: NodeId, form: &Form) -> Result<Response, Refusal> {
    let node = api.sessions.context().members().node(at).ok_or(Refusal::WalletUnknown)?;
    // The client would send its key and the stream's secret after it.
    let place = place(&node.api, wallet, form).ok_or_else(|| Refusal::HolderInTheClear { node: node.name.to_string() });
    let location = [(header::LOCATION, value(&place?))];
    Ok((StatusCode::TEMPORARY_REDIRECT, location).into_response())
}

/// The stream's address at the node whose interface is at `url`. The query is written anew: nothing of the client's
/// bytes goes into a header. None if others could read along on the way there.
fn place(url: &str, wallet: WalletAddress, form: &Form) -> Option<String> {
    let query = if form.completions { "?completions=true" } else { "" };
    let place = format!("{}/v1/sessions/{}/stream{query}", url.trim_end_matches('/'), wallet.0);
    (Way::of(url) != Way::Clear).then_some(place)
}

/// The position after the last that a client can have seen. Where this node serves, it knows every token that was
/// emitted; during a move or a restart it may not yet, and then only the model's context bounds it.
fn end_of_seen(api: &Api, session: &Session) -> TokenPosition {
    let view = session.view();
    if view.finished.is_some() || matches!(view.mode, SessionMode::Serving | SessionMode::Suspended) {
        return session.tokens().next();
    }
    let positions = api.sessions.context().engine.prompt_tokens_max() + 1;
    TokenPosition::new(u32::try_from(positions).unwrap_or(u32::MAX))
}

/// A stream from there would stay silent.
fn refuse_unseen(from: TokenPosition, end: TokenPosition) -> Result<(), Refusal> {
    if from <= end {
        return Ok(());
    }
    let reason = format!("no event of this session has an id of {end} or more");
    Err(Refusal::PlaceInvalid { name: "last-event-id", reason })
}

fn secret(headers: &HeaderMap) -> Result<ResumeSecret, Refusal> {
    let invalid = || Refusal::PlaceInvalid {
        name: "x-batchmind-resume",
        reason: "the 64 hexadecimal digits that came with the first answer are needed".to_owned(),
    };
    // The parser's error repeats its input, so it goes no further than here.
    let text = text_header(headers, &RESUME)?.ok_or_else(invalid)?;
    from_hex(text).map(ResumeSecret).map_err(|_| invalid())
}

/// The position after the last event that the client saw; from the first generated token if it saw none.
fn after_last_event(headers: &HeaderMap) -> Result<TokenPosition, Refusal> {
    let Some(text) = text_header(headers, &LAST_EVENT_ID)?.filter(|text| !text.is_empty()) else {
        return Ok(TokenPosition::ZERO);
    };
    let last = text.parse().ok().and_then(|last| TokenPosition::new(last).next());
    last.ok_or_else(|| Refusal::PlaceInvalid { name: "last-event-id", reason: format!("{text:?} is no position") })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use wallet::digest::Digest;

    use super::*;

    fn headers(name: HeaderName, text: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(text).expect("ASCII"))])
    }

    #[test]
    fn a_stream_goes_on_after_the_last_event_that_the_client_saw() {
        assert_eq!(after_last_event(&HeaderMap::new()), Ok(TokenPosition::ZERO));
        assert_eq!(after_last_event(&headers(LAST_EVENT_ID, "41")), Ok(TokenPosition::new(42)));
        for bad in ["-1", "x", "4294967295", "4294967296", "4 2"] {
            assert_eq!(after_last_event(&headers(LAST_EVENT_ID, bad)).expect_err("no position").code(), "N-509");
        }
    }

    #[test]
    fn an_event_that_was_never_sent_is_no_place_to_go_on_from() {
        let end = TokenPosition::new(42);
        for seen in [0, 41, 42] {
            assert_eq!(refuse_unseen(TokenPosition::new(seen), end), Ok(()));
        }
        for unseen in [43, u32::MAX] {
            assert_eq!(refuse_unseen(TokenPosition::new(unseen), end).expect_err("never sent").code(), "N-509");
        }
    }

    #[test]
    fn who_asks_a_node_that_is_not_the_holder_is_sent_to_the_same_stream_of_the_holder() {
        let wallet = WalletAddress(Digest([0xab; 32]));
        let holder = format!("http://127.0.0.1:8002/v1/sessions/{}/stream", "ab".repeat(32));
        for url in ["http://127.0.0.1:8002", "http://127.0.0.1:8002/"] {
            assert_eq!(place(url, wallet, &Form { completions: false }).as_ref(), Some(&holder));
            assert_eq!(place(url, wallet, &Form { completions: true }), Some(format!("{holder}?completions=true")));
        }
    }

    #[test]
    fn nobody_is_sent_where_others_could_read_along_on_the_way() {
        let sent = |url| place(url, WalletAddress(Digest([0xab; 32])), &Form { completions: false }).is_some();
        assert!(sent("https://node.example") && sent("https://203.0.113.7:8001"));
        assert!(!sent("http://node.example") && !sent("http://203.0.113.7:8001"));
    }

    #[test]
    fn a_secret_that_does_not_parse_is_not_repeated() {
        for bad in ["secret", &"g".repeat(64), &"a".repeat(63)] {
            let refusal = secret(&headers(RESUME, bad)).expect_err("no secret");
            assert!(refusal.code() == "N-509" && !refusal.to_string().contains(bad), "{refusal}");
        }
        assert_eq!(secret(&headers(RESUME, &"0a".repeat(32))).map(|secret| secret.0), Ok([10; 32]));
    }
}
