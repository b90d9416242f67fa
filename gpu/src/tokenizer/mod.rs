//! Text to tokens: the checkpoint's tokenizer and its chat template.

mod text_stream;

use std::path::Path;

use minijinja::{Environment, Error, ErrorKind, context, syntax::SyntaxConfig, value::Serde};
use serde::{Deserialize, Serialize};

pub use text_stream::{TextChunk, TextStream};

use crate::{
    TokenId,
    model::{ModelFault, read_small},
    refusal::Refusal,
};

const TEMPLATE: &str = "chat";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// The tokenizer of one model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Texts that stand for a token of their own.
    special: Vec<String>,
    bos: String,
    eos: String,
    templates: Environment<'static>,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`, as the model's template knows them.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and from the folder `tokenizer_config.json` with the chat template, if it exists.
    pub(crate) fn parse(folder: &Path, tokenizer: &[u8], vocabulary: usize) -> Result<Self, ModelFault> {
        let malformed = |file: &str, reason: String| ModelFault::Malformed { path: folder.join(file), reason };
        let inner = tokenizers::Tokenizer::from_bytes(tokenizer)
            .map_err(|error| malformed("tokenizer.json", error.to_string()))?;
        let highest = inner.get_vocab(true).into_values().max();
        if let Some(token) = highest.filter(|token| *token as usize >= vocabulary) {
            let reason = format!("token {token}, but the model has {vocabulary}");
            return Err(malformed("tokenizer.json", reason));
        }
        let config = folder.join(CONFIG_FILE);
        let config: RawConfig = if config.exists() {
            serde_json::from_slice(&read_small(&config)?).map_err(|error| malformed(CONFIG_FILE, error.to_string()))?
        } else {
            RawConfig::default()
        };
        let mut templates = Environment::new();
        // As transformers renders them.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(syntax.expect("the default delimiters are valid"));
        templates.add_function("raise_exception", |reason: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        if let Some(template) = config.chat_template {
            let added = templates.add_template_owned(TEMPLATE, template);
            added.map_err(|error| malformed(CONFIG_FILE, format!("chat_template: {error}")))?;
        }
        let special = inner.get_added_tokens_decoder().into_values().filter(|token| token.special);
        Ok(Self {
            special: special.map(|token| token.content).collect(),
            bos: config.bos_token.map_or_else(String::new, SpecialToken::text),
            eos: config.eos_token.map_or_else(String::new, SpecialToken::text),
            templates,
            inner,
        })
    }

    /// The tokens of a plain prompt, with those that the model expects around it. A special token that the text spells
    /// becomes that token: the caller writes the model's format itself.
    ///
    /// # Errors
    /// [`Refusal::TokenizerFailed`].
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, Refusal> {
        self.encode_with(text, true)
    }

    /// The tokens of a chat, up to where the assistant begins to speak.
    ///
    /// # Errors
    /// [`Refusal::SpecialTokenInText`] if a message spells a special token: it would become that token, and so could
    /// forge a message of another role. [`Refusal::TemplateFailed`], [`Refusal::TokenizerFailed`].
    pub fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<TokenId>, Refusal> {
        for (message, ChatMessage { role, content }) in messages.iter().enumerate() {
            let spelled = |token: &&String| content.contains(token.as_str()) || role.contains(token.as_str());
            if let Some(token) = self.special.iter().find(spelled) {
                return Err(Refusal::SpecialTokenInText { message, token: token.clone() });
            }
        }
        // The template writes the special tokens itself.
        self.encode_with(&self.render(messages)?, false)
    }

    /// The text of a chat, as the model's template writes it.
    ///
    /// # Errors
    /// [`Refusal::TemplateFailed`].
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, Refusal> {
        let failed = |error: Error| Refusal::TemplateFailed { reason: error.to_string() };
        let values = context! {
            messages => Serde(messages),
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        self.templates.get_template(TEMPLATE).and_then(|template| template.render(values)).map_err(failed)
    }

    /// The text of tokens that are all there. For a stream of tokens use [`TextStream`].
    ///
    /// # Errors
    /// [`Refusal::TokenizerFailed`].
    pub fn decode(&self, tokens: &[TokenId]) -> Result<String, Refusal> {
        self.inner.decode(tokens, true).map_err(failed)
    }

    fn encode_with(&self, text: &str, add_special_tokens: bool) -> Result<Vec<TokenId>, Refusal> {
        self.inner.encode_fast(text, add_special_tokens).map(|encoding| encoding.get_ids().to_vec()).map_err(failed)
    }
}

fn failed(error: tokenizers::Error) -> Refusal {
    Refusal::TokenizerFailed { reason: error.to_string() }
}

#[derive(Default, Deserialize)]
struct RawConfig {
    chat_template: Option<String>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Added { content: String },
}

impl SpecialToken {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Added { content: text } => text,
        }
    }
}

#[cfg(test)]
mod tests;
