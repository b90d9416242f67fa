//! What a tenant, an auditor and an operator do with a running node, as HTTP clients.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::StepFailed;
use crate::tls::client::plain;

/// An auditor's question that is not answered by then never will be: its node was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One token as the tenant's client saw it.
#[derive(Clone, Debug)]
pub struct SeenToken {
    /// The SSE id: position in the session, prompt included.
    pub position: u32,
    /// The token.
    pub id: u32,
    /// Its text, as far as characters were complete.
    pub text: String,
    /// When it arrived.
    pub at: Instant,
}

/// A stream of tokens, open or at its end.
pub struct TokenStream {
    /// Address of the wallet.
    pub wallet: String,
    /// What a resume needs.
    pub resume_secret: String,
    /// The node whose engine ran the prompt.
    pub served_by: String,
    /// Every token so far, in the order of arrival.
    pub seen: Vec<SeenToken>,
    /// Usage, once it came.
    pub usage: Option<Value>,
    /// Whether `[DONE]` came.
    pub done: bool,
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<Vec<u8>>> + Send>>,
    buffer: Vec<u8>,
}

/// A tenant's request for text.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The user's message.
    pub message: String,
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Seed of the sampler.
    pub seed: u64,
    /// At most one token in this many milliseconds; 0 for as fast as it goes.
    pub pace_ms: u64,
    /// Go on to `max_tokens` even past the model's end of text.
    pub ignore_eos: bool,
}

/// A tenant of one node.
#[derive(Clone)]
pub struct Tenant {
    http: reqwest::Client,
    base: String,
    api_key: String,
}

impl Tenant {
    /// A tenant with `api_key` at the node whose API is at `base`.
    pub fn new(base: &str, api_key: &str) -> Self {
        let http = plain().build().expect("with its defaults it can always be built");
        Self { http, base: base.to_owned(), api_key: api_key.to_owned() }
    }

    /// Starts a chat completion and returns its stream.
    pub async fn ask(&self, ask: &Ask) -> Result<TokenStream, StepFailed> {
        let mut body = json!({
            "model": "tiny",
            "messages": [{"role": "user", "content": ask.message}],
            "max_tokens": ask.max_tokens,
            "temperature": 0.7,
            "seed": ask.seed,
            "stream": true,
            "stream_options": {"include_usage": true},
            "return_token_ids": true,
            "ignore_eos": ask.ignore_eos,
        });
        if ask.pace_ms > 0 {
            body["pace_ms"] = json!(ask.pace_ms);
        }
        let request = self.http.post(format!("{}/v1/chat/completions", self.base)).json(&body);
        let response = checked(request.bearer_auth(&self.api_key).send().await?).await?;
        TokenStream::open(response)
    }

    /// Goes on with a stream after the token at `after`, wherever the session is now.
    pub async fn resume(&self, wallet: &str, resume_secret: &str, after: u32) -> Result<TokenStream, StepFailed> {
        let request = self
            .http
            .get(format!("{}/v1/sessions/{wallet}/stream", self.base))
            .header("last-event-id", after)
            .header("x-batchmind-resume", resume_secret);
        let response = checked(request.bearer_auth(&self.api_key).send().await?).await?;
        let mut stream = TokenStream::open(response)?;
        stream.wallet = wallet.to_owned();
        stream.resume_secret = resume_secret.to_owned();
        Ok(stream)
    }
}

impl TokenStream {
    fn open(response: Response) -> Result<Self, StepFailed> {
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Self {
            wallet: header("x-batchmind-wallet"),
            resume_secret: header("x-batchmind-resume"),
            served_by: header("x-batchmind-served-by"),
            seen: Vec::new(),
            usage: None,
            done: false,
            body: Box::pin(response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec()))),
            buffer: Vec::new(),
        })
    }

    /// Reads until `count` tokens were seen in all, or the stream ends.
    pub async fn read_until(&mut self, count: usize) -> Result<(), StepFailed> {
        while self.seen.len() < count && !self.done {
            if !self.read_event().await? {
                return Err(StepFailed::new(format!("the stream broke off after {} tokens", self.seen.len())));
            }
        }
        Ok(())
    }

    /// Reads to `[DONE]`.
    pub async fn read_to_end(&mut self) -> Result<(), StepFailed> {
        self.read_until(usize::MAX).await
    }

    /// Reads until the connection breaks or the stream is done.
    pub async fn read_while_open(&mut self) {
        while !self.done && matches!(self.read_event().await, Ok(true)) {}
    }

    /// The token ids, in order.
    pub fn ids(&self) -> Vec<u32> {
        self.seen.iter().map(|token| token.id).collect()
    }

    /// The text so far.
    pub fn text(&self) -> String {
        self.seen.iter().map(|token| token.text.as_str()).collect()
    }

    /// Reads one SSE event; false when the connection ended.
    async fn read_event(&mut self) -> Result<bool, StepFailed> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                self.take(&String::from_utf8_lossy(&event))?;
                return Ok(true);
            }
            match self.body.next().await {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None => return Ok(false),
            }
        }
    }

    fn take(&mut self, event: &str) -> Result<(), StepFailed> {
        let mut id = None;
        for line in event.lines() {
            if let Some(text) = line.strip_prefix("id:") {
                id = text.trim().parse::<u32>().ok();
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.trim();
                if data == "[DONE]" {
                    self.done = true;
                    return Ok(());
                }
                let chunk: Value = serde_json::from_str(data)?;
                if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
                    self.usage = Some(usage.clone());
                }
                let choice = &chunk["choices"][0];
                if let (Some(position), Some(token)) = (id, choice["token_ids"][0].as_u64()) {
                    let text = choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default();
                    self.seen.push(SeenToken {
                        position,
                        id: u32::try_from(token).map_err(|_| StepFailed::new("a token id exceeds 32 bits"))?,
                        text: text.to_owned(),
                        at: Instant::now(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// An auditor of one node.
#[derive(Clone)]
pub struct Auditor {
    http: reqwest::Client,
    base: String,
    api_key: String,
}

/// A refusal as problem+json carries it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The refusal's code.
    pub code: String,
    /// What was refused.
    pub title: String,
}

impl Auditor {
    /// An auditor with `api_key` at the node whose API is at `base`.
    pub fn new(base: &str, api_key: &str) -> Self {
        let http = plain().timeout(PATIENCE).build().expect("with its defaults and a limit it can always be built");
        Self { http, base: base.to_owned(), api_key: api_key.to_owned() }
    }

    /// Any JSON resource under `/ledger/v1/`.
    pub async fn get(&self, path: &str) -> Result<Value, StepFailed> {
        let request = self.http.get(format!("{}/ledger/v1/{path}", self.base)).bearer_auth(&self.api_key);
        Ok(checked(request.send().await?).await?.json().await?)
    }

    /// Any resource under `/ledger/v1/` as it is.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>, StepFailed> {
        let request = self.http.get(format!("{}/ledger/v1/{path}", self.base)).bearer_auth(&self.api_key);
        Ok(checked(request.send().await?).await?.bytes().await?.to_vec())
    }

    /// The proof bundle of a wallet's last hop.
    pub async fn bundle(&self, wallet: &str) -> Result<Vec<u8>, StepFailed> {
        self.bytes(&format!("wallets/{wallet}/bundle")).await
    }

    /// Brings an entry, and returns when it is final.
    pub async fn submit(&self, entry: Vec<u8>) -> Result<(), StepFailed> {
        let request = self.http.post(format!("{}/ledger/v1/entries?wait=final", self.base)).bearer_auth(&self.api_key);
        checked(request.body(entry).send().await?).await?;
        Ok(())
    }

    /// Height of the last final block.
    pub async fn final_height(&self) -> Result<u64, StepFailed> {
        self.get("status").await?["final_height"].as_u64().ok_or_else(|| StepFailed::new("status has no final_height"))
    }
}

/// The operator's own hand on one node, over its Unix socket.
#[derive(Clone)]
pub struct Admin(reqwest::Client);

impl Admin {
    /// The admin socket in a node's data folder.
    pub fn new(data_dir: &Path) -> Result<Self, StepFailed> {
        Ok(Self(plain().unix_socket(data_dir.join("admin.sock")).build()?))
    }

    /// Any resource under `/admin/v1/`.
    pub async fn get(&self, path: &str) -> Result<Value, StepFailed> {
        Ok(checked(self.0.get(format!("http://node/admin/v1/{path}")).send().await?).await?.json().await?)
    }

    /// Ends a session that nobody needs any more.
    pub async fn close(&self, wallet: &str) -> Result<(), StepFailed> {
        let url = format!("http://node/admin/v1/sessions/{wallet}/close");
        checked(self.0.request(Method::POST, url).send().await?).await?;
        Ok(())
    }

    /// Moves a session; the report, or the problem with which the move was refused.
    pub async fn migrate(&self, wallet: &str, to: &str) -> Result<Result<Value, Problem>, StepFailed> {
        let url = format!("http://node/admin/v1/sessions/{wallet}/migrate");
        let response = self.0.request(Method::POST, url).json(&json!({"to": to})).send().await?;
        if response.status() == StatusCode::OK {
            return Ok(Ok(response.json().await?));
        }
        let problem: BTreeMap<String, Value> = response.json().await?;
        let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Err(Problem { code: text("code"), title: text("title") }))
    }
}

/// The response, or its problem as the step's failure.
async fn checked(response: Response) -> Result<Response, StepFailed> {
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, url) = (response.status(), response.url().clone());
    Err(StepFailed::new(format!("{url} answered {status}: {}", response.text().await.unwrap_or_default())))
}
