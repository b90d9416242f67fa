//! What a client asks for, parameter by parameter, as OpenAI and vLLM name them.
//!
//! Unknown parameters are refused. Known ones that are not built are taken with the value that changes nothing.

use std::collections::BTreeSet;

use gpu::{ChatMessage, Millionths};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use wallet::{identity::RegionId, units::TokenCount};

use crate::{api::refusal::Refusal, session::request::Sampling};

/// Tokens to generate where the request does not say.
const MAX_TOKENS_DEFAULT: u32 = 256;

/// The slowest pace.
const PACE_MS_MAX: u32 = 60_000;

/// Which of the two endpoints is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

/// A request, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The model's name.
    pub model: String,
    /// What it begins with.
    pub input: Input,
    /// How tokens are chosen and when it ends.
    pub sampling: Sampling,
    /// At most one token in this many milliseconds; 0 for as fast as it goes.
    pub pace_ms: u32,
    /// Whether tokens are sent as they come.
    pub stream: bool,
    /// Whether a stream ends with what was used.
    pub include_usage: bool,
    /// Whether token ids are sent beside the text.
    pub return_token_ids: bool,
}

/// What a generation begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A chat, to be rendered by the model's template.
    Chat(Vec<ChatMessage>),
    /// A text.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

impl Wanted {
    /// Reads the body of a request to `endpoint`. `draw_seed` gives a seed where the client names none.
    ///
    /// # Errors
    /// [`Refusal`] names the first parameter that is not taken.
    pub fn parse(endpoint: Endpoint, body: &[u8], draw_seed: impl FnOnce() -> u64) -> Result<Self, Refusal> {
        let map = serde_json::from_slice(body).map_err(|error| Refusal::BodyInvalid { reason: error.to_string() })?;
        let mut parameters = Parameters(map);
        let input = match endpoint {
            Endpoint::Chat => chat(&mut parameters)?,
            Endpoint::Completions => prompt(&mut parameters)?,
        };
        let model = parameters.needed("model")?;
        let stream = parameters.or("stream", false)?;
        let StreamOptions { include_usage } = parameters.or("stream_options", StreamOptions::default())?;
        let wanted = Self {
            model,
            input,
            sampling: sampling(endpoint, &mut parameters, draw_seed)?,
            pace_ms: parameters.within("pace_ms", 0, 0..=PACE_MS_MAX)?,
            stream,
            include_usage,
            return_token_ids: parameters.or("return_token_ids", false)?,
        };
        // A name for the client's own records. It is not kept.
        let _: Option<String> = parameters.take("user")?;
        parameters.neutral("n", &[Value::from(1)])?;
        parameters.neutral("best_of", &[Value::from(1)])?;
        parameters.neutral("echo", &[Value::from(false)])?;
        parameters.neutral("logprobs", &[Value::from(false)])?;
        for penalty in ["frequency_penalty", "presence_penalty"] {
            parameters.neutral(penalty, &[Value::from(0), Value::from(0.0)])?;
        }
        parameters.finish()?;
        Ok(wanted)
    }
}

fn sampling(
    endpoint: Endpoint,
    parameters: &mut Parameters,
    draw_seed: impl FnOnce() -> u64,
) -> Result<Sampling, Refusal> {
    let mut max_tokens = parameters.take::<u32>("max_tokens")?;
    if endpoint == Endpoint::Chat {
        max_tokens = parameters.take("max_completion_tokens")?.or(max_tokens);
    }
    let max_tokens = max_tokens.unwrap_or(MAX_TOKENS_DEFAULT);
    if max_tokens == 0 {
        return Err(invalid("max_tokens", "at least one token is generated"));
    }
    let stop = match parameters.take::<Texts>("stop")? {
        None => Vec::new(),
        Some(Texts::One(text)) => vec![text],
        Some(Texts::Many(texts)) => texts,
    };
    Ok(Sampling {
        max_tokens: TokenCount::new(max_tokens),
        temperature_ppm: parameters.fraction("temperature", 1.0, 0.0, 2.0)?,
        top_p_ppm: parameters.fraction("top_p", 1.0, 0.000_001, 1.0)?,
        // A negative seed is as good as another.
        seed: parameters.take::<i64>("seed")?.map_or_else(draw_seed, i64::cast_unsigned),
        ignore_eos: parameters.or("ignore_eos", false)?,
        stop,
    })
}

fn chat(parameters: &mut Parameters) -> Result<Input, Refusal> {
    let messages: Vec<Message> = parameters.needed("messages")?;
    if messages.is_empty() {
        return Err(invalid("messages", "a chat has at least one message"));
    }
    let message = |Message { role, content, .. }| {
        let content = match content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|Part::Text { text }| text).collect(),
        };
        ChatMessage { role, content }
    };
    Ok(Input::Chat(messages.into_iter().map(message).collect()))
}

fn prompt(parameters: &mut Parameters) -> Result<Input, Refusal> {
    match parameters.needed("prompt")? {
        Prompt::Text(text) => Ok(Input::Text(text)),
        Prompt::Tokens(tokens) if tokens.is_empty() => Err(invalid("prompt", "a prompt has at least one token")),
        Prompt::Tokens(tokens) => Ok(Input::Tokens(tokens)),
    }
}

/// The parameters that nobody has taken yet. `null` is the same as absent.
struct Parameters(Map<String, Value>);

impl Parameters {
    fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, Refusal> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| invalid(name, error.to_string())),
        }
    }

    fn needed<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, Refusal> {
        self.take(name)?.ok_or_else(|| invalid(name, "it is needed"))
    }

    fn or<T: DeserializeOwned>(&mut self, name: &'static str, default: T) -> Result<T, Refusal> {
        Ok(self.take(name)?.unwrap_or(default))
    }

    fn within(
        &mut self,
        name: &'static str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, Refusal> {
        let value = self.or(name, default)?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(invalid(name, format!("{value} is not in {} to {}", range.start(), range.end())))
    }

    /// A number in `min` to `max`, in millionths.
    fn fraction(&mut self, name: &'static str, default: f64, min: f64, max: f64) -> Result<u32, Refusal> {
        let value = self.or(name, default)?;
        let millionths = Millionths::from_f64(value).filter(|_| (min..=max).contains(&value));
        millionths.map(|Millionths(ppm)| ppm).ok_or_else(|| invalid(name, format!("{value} is not in {min} to {max}")))
    }

    /// Takes a parameter that is not built, with a value that asks for nothing.
    fn neutral(&mut self, name: &'static str, values: &[Value]) -> Result<(), Refusal> {
        match self.take::<Value>(name)? {
            Some(value) if !values.contains(&value) => Err(invalid(name, format!("{value} is not built yet"))),
            _ => Ok(()),
        }
    }

    /// Refuses what nobody took.
    fn finish(self) -> Result<(), Refusal> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Refusal::ParameterUnknown { name: name.chars().take(64).collect() }),
            None => Ok(()),
        }
    }
}

fn invalid(name: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::ParameterInvalid { name, reason: reason.into() }
}

/// The regions that a request keeps of the tenant's: those that the header `x-batchmind-regions` names, or all.
///
/// # Errors
/// [`Refusal::RegionNotAllowed`] for a region that is not the tenant's, [`Refusal::PlaceInvalid`] for none at all.
pub fn narrow(allowed: &BTreeSet<RegionId>, header: Option<&str>) -> Result<BTreeSet<RegionId>, Refusal> {
    let Some(header) = header else { return Ok(allowed.clone()) };
    let names = header.split(',').map(str::trim).filter(|name| !name.is_empty());
    let find = |name: &str| {
        let region = allowed.iter().find(|region| region.as_str() == name).cloned();
        region.ok_or_else(|| Refusal::RegionNotAllowed { region: name.chars().take(32).collect() })
    };
    let regions: BTreeSet<RegionId> = names.map(find).collect::<Result<_, _>>()?;
    if regions.is_empty() {
        return Err(Refusal::PlaceInvalid { name: "x-batchmind-regions", reason: "it names no region".to_owned() });
    }
    Ok(regions)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of token ids; one prompt for each request")]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: Content,
    /// Who speaks, among several of one role. No template here reads it.
    #[serde(default, rename = "name")]
    _name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of text parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text { text: String },
}

#[cfg(test)]
mod tests;
