//! A session's tokens as server-sent events, or collected into one answer.
//!
//! The id of an event is the token's position in the session, prompt included: the client sends the last one back to
//! resume, at any node.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use serde_json::Value;

use super::answer::Answer;
use crate::{
    api::{metrics::Metrics, problem::Problem, refusal::Refusal},
    session::tokens::StreamItem,
};

/// A comment keeps proxies from closing a stream that is silent for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The tokens as they come, then the end, the usage if it is wanted, and `[DONE]`.
pub fn events(
    answer: Answer,
    items: impl Stream<Item = StreamItem> + Send + 'static,
    include_usage: bool,
    metrics: Metrics,
) -> Response {
    let mut is_first = true;
    let events = items.flat_map(move |item| {
        let events = encode(&answer, &item, is_first, include_usage);
        if matches!(item, StreamItem::Token(_)) {
            metrics.token_sent();
            is_first = false;
        }
        stream::iter(events.into_iter().map(Ok::<_, Infallible>))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Waits for the end and answers with everything.
///
/// # Errors
/// [`Refusal::StreamBroken`] if the session cannot go on.
pub async fn whole(
    answer: &Answer,
    items: impl Stream<Item = StreamItem> + Send,
    metrics: &Metrics,
) -> Result<Json<Value>, Problem> {
    let mut items = std::pin::pin!(items);
    let mut tokens = Vec::new();
    while let Some(item) = items.next().await {
        match item {
            StreamItem::Token(token) => {
                metrics.token_sent();
                tokens.push(token);
            }
            StreamItem::Finished { reason, usage } => return Ok(Json(answer.whole(&tokens, reason, &usage))),
            StreamItem::Moved { .. } => {}
            StreamItem::Broken { reason } => return Err(Refusal::StreamBroken { reason }.into()),
        }
    }
    Err(Refusal::StreamBroken { reason: "it ended without an end".to_owned() }.into())
}

fn encode(answer: &Answer, item: &StreamItem, is_first: bool, include_usage: bool) -> Vec<Event> {
    match item {
        StreamItem::Token(token) => {
            // The id comes first, for clients that read line by line.
            let event = Event::default().id(token.position.to_string());
            vec![event.data(answer.token(token, is_first).to_string())]
        }
        StreamItem::Finished { reason, usage } => {
            let data = |value: &Value| Event::default().data(value.to_string());
            let mut events = vec![data(&answer.finish(*reason))];
            if include_usage {
                events.push(data(&answer.usage_chunk(usage)));
            }
            events.push(Event::default().data("[DONE]"));
            events
        }
        StreamItem::Moved { .. } => Vec::new(),
        StreamItem::Broken { reason } => {
            let problem = Problem::from(Refusal::StreamBroken { reason: reason.clone() });
            let body = serde_json::to_string(&problem).unwrap_or_default();
            vec![Event::default().event("error").data(body)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            answer::tests::{answer, token, usage},
            request::Endpoint,
        },
        *,
    };
    use crate::session::view::FinishReason;

    async fn text(items: Vec<StreamItem>) -> String {
        let response = events(answer(Endpoint::Chat), stream::iter(items), true, Metrics::default());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("all of it");
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn the_id_of_an_event_is_the_tokens_position_and_the_end_has_none() {
        let finished = StreamItem::Finished { reason: FinishReason::Stop, usage: usage() };
        let text = text(vec![StreamItem::Token(token(5)), StreamItem::Token(token(6)), finished]).await;
        let events: Vec<&str> = text.trim_end().split("\n\n").collect();
        assert_eq!(events.len(), 5, "{text}");
        let id = |event: &str| event.lines().find_map(|line| line.strip_prefix("id:").map(|id| id.trim().to_owned()));
        let ids: Vec<_> = events.iter().map(|event| id(event)).collect();
        assert_eq!(ids, [Some("5".to_owned()), Some("6".to_owned()), None, None, None]);
        assert!(events[0].starts_with("id:"), "{text}");
        assert!(
            events[2].contains(r#""finish_reason":"stop""#) && events[3].contains(r#""cached_tokens":4"#),
            "{text}"
        );
        assert_eq!(events[4].trim(), "data: [DONE]");
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_says_so_and_is_not_done() {
        let text = text(vec![StreamItem::Token(token(5)), StreamItem::Broken { reason: "gone".into() }]).await;
        assert!(text.contains("event: error") && text.contains("N-520") && !text.contains("[DONE]"), "{text}");
    }

    #[tokio::test]
    async fn a_whole_answer_waits_for_the_end() {
        let items = vec![StreamItem::Token(token(5)), StreamItem::Broken { reason: "gone".into() }];
        let problem = whole(&answer(Endpoint::Chat), stream::iter(items), &Metrics::default()).await;
        assert_eq!(problem.expect_err("it broke off").code, "N-520");
    }
}
