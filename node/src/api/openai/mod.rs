//! `/v1/...`: the OpenAI interface of a tenant, and the resumption of its streams.

pub mod answer;
pub mod request;
mod resume;
pub mod stream;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use wallet::{
    digest::to_hex,
    grant::WalletAddress,
    units::{NodeId, TokenPosition},
};

use super::{Api, auth::ByTenant, limits::Body, problem::Problem, refusal::Refusal};
use crate::{
    routing::front_door::Ask,
    session::context::{now, random},
};
use answer::Answer;
use request::{Endpoint, Input, Wanted, narrow};

const WALLET: HeaderName = HeaderName::from_static("x-batchmind-wallet");
const RESUME: HeaderName = HeaderName::from_static("x-batchmind-resume");
const SERVED_BY: HeaderName = HeaderName::from_static("x-batchmind-served-by");
const PACED_MS: HeaderName = HeaderName::from_static("x-batchmind-paced-ms");
const REGIONS: HeaderName = HeaderName::from_static("x-batchmind-regions");

/// The tenants' paths.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(models))
        .route("/v1/sessions/{wallet}/stream", get(resume::resume))
}

async fn chat(api: State<Api>, tenant: ByTenant, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    generate(&api, Endpoint::Chat, tenant, &headers, &body).await
}

async fn completions(api: State<Api>, tenant: ByTenant, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    generate(&api, Endpoint::Completions, tenant, &headers, &body).await
}

async fn models(State(api): State<Api>, _: ByTenant) -> Json<Value> {
    let model = json!({"id": api.model_name, "object": "model", "created": 0, "owned_by": "batchmind"});
    Json(json!({"object": "list", "data": [model]}))
}

async fn generate(
    api: &Api,
    endpoint: Endpoint,
    ByTenant(tenant): ByTenant,
    headers: &HeaderMap,
    Body(body): &Body,
) -> Result<Response, Problem> {
    let regions = narrow(&tenant.regions, text_header(headers, &REGIONS)?)?;
    let wanted = Wanted::parse(endpoint, body, || u64::from_le_bytes(random()))?;
    if wanted.model != *api.model_name {
        let (model, served) = (wanted.model.chars().take(64).collect(), api.model_name.to_string());
        return Err(Refusal::ModelUnknown { model, served }.into());
    }
    let Wanted { input, sampling, pace_ms, stream, include_usage, return_token_ids, .. } = wanted;
    let prompt = tokens(api, input).await?;
    let request_id = format!("req-{}", to_hex(&random::<12>()));
    let ask = Ask { tenant, regions, prompt, sampling, pace_ms, request_id };
    let opened = api.front_door.generate(&ask).await?;
    let first = TokenPosition::new(opened.prompt_tokens.get());
    let items = api.front_door.stream(opened.wallet, &opened.resume_secret, first, opened.served_by);
    let answer = answer(api, endpoint, opened.wallet, opened.served_by, pace_ms, return_token_ids);
    let mut response = match stream {
        true => stream::events(answer.clone(), items, include_usage, api.metrics.clone()),
        false => stream::whole(&answer, items, &api.metrics).await?.into_response(),
    };
    add_headers(response.headers_mut(), &answer, opened.wallet);
    response.headers_mut().insert(RESUME, value(&to_hex(&opened.resume_secret.0)));
    Ok(response)
}

/// The prompt in tokens. Long texts take a while, so they are not tokenized on the runtime's own threads.
async fn tokens(api: &Api, input: Input) -> Result<Vec<u32>, Problem> {
    let engine = &api.sessions.context().engine;
    let (model, limit) = (engine.model().clone(), engine.prompt_tokens_max());
    let encoded = tokio::task::spawn_blocking(move || {
        let no_tokenizer = || gpu::Refusal::TokenizerFailed { reason: "the model has no tokenizer".to_owned() };
        let tokenizer = || model.tokenizer().ok_or_else(no_tokenizer);
        match input {
            Input::Chat(messages) => tokenizer()?.encode_chat(&messages),
            Input::Text(text) => tokenizer()?.encode(&text),
            Input::Tokens(tokens) => Ok(tokens),
        }
    });
    let tokens = encoded.await.map_err(|_| Refusal::Failed)??;
    // Asked here, because no other node could take it either.
    match tokens.len() {
        count if count > limit => Err(gpu::Refusal::PromptTooLong { count, limit: limit + 1 }.into()),
        _ => Ok(tokens),
    }
}

fn answer(
    api: &Api,
    endpoint: Endpoint,
    wallet: WalletAddress,
    served_by: NodeId,
    pace_ms: u32,
    with_token_ids: bool,
) -> Answer {
    let kind = if endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" };
    Answer {
        endpoint,
        // The same at every node, so that a resumed stream goes on under its id.
        id: format!("{kind}-{}", to_hex(&wallet.0.as_bytes()[..12])),
        model: api.model_name.to_string(),
        created_s: now().get() / 1_000,
        with_token_ids,
        served_by: api.node_name(served_by),
        paced_ms: Some(pace_ms).filter(|pace| *pace > 0),
    }
}

fn add_headers(headers: &mut HeaderMap, answer: &Answer, wallet: WalletAddress) {
    headers.insert(WALLET, value(&wallet.0.to_string()));
    headers.insert(SERVED_BY, value(&answer.served_by));
    if let Some(pace) = answer.paced_ms {
        headers.insert(PACED_MS, HeaderValue::from(pace));
    }
}

/// # Panics
/// Never: names and hexadecimal digits are ASCII.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names and hexadecimal digits are ASCII")
}

/// A header's text, if it is there.
fn text_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let Some(found) = headers.get(name) else { return Ok(None) };
    let text = found.to_str();
    text.map(Some).map_err(|_| Refusal::PlaceInvalid { name: "a header", reason: format!("{name} is not ASCII") })
}
