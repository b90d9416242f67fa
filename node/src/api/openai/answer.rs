//! What a client gets: chunks of a stream, or one completion, as OpenAI writes them.

use serde_json::{Value, json};

use super::request::Endpoint;
use crate::session::{
    tokens::{EmittedToken, Usage},
    view::FinishReason,
};

/// What all chunks of one answer have in common.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which endpoint answers.
    pub endpoint: Endpoint,
    /// The answer's id.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Seconds since the Unix epoch.
    pub created_s: u64,
    /// Whether token ids are sent beside the text.
    pub with_token_ids: bool,
    /// Name of the node that serves.
    pub served_by: String,
    /// The pace, for a session that is slowed down.
    pub paced_ms: Option<u32>,
}

impl Answer {
    /// One token. The first one of a chat names the role.
    pub fn token(&self, token: &EmittedToken, is_first: bool) -> Value {
        let mut choice = match self.endpoint {
            Endpoint::Chat if is_first => json!({"delta": {"role": "assistant", "content": token.text}}),
            Endpoint::Chat => json!({"delta": {"content": token.text}}),
            Endpoint::Completions => json!({"text": token.text}),
        };
        if self.with_token_ids {
            choice["token_ids"] = json!([token.id]);
        }
        self.chunk(Some(choice), None)
    }

    /// The end of the text.
    pub fn finish(&self, reason: FinishReason) -> Value {
        let choice = match self.endpoint {
            Endpoint::Chat => json!({"delta": {}}),
            Endpoint::Completions => json!({"text": ""}),
        };
        self.chunk(Some(choice), Some(reason))
    }

    /// What was used, as the last chunk of a stream.
    pub fn usage_chunk(&self, usage: &Usage) -> Value {
        let mut chunk = self.chunk(None, None);
        chunk["usage"] = self.usage(usage);
        chunk
    }

    /// All of it at once.
    pub fn whole(&self, tokens: &[EmittedToken], reason: FinishReason, usage: &Usage) -> Value {
        let text: String = tokens.iter().map(|token| token.text.as_str()).collect();
        let (object, mut choice) = match self.endpoint {
            Endpoint::Chat => ("chat.completion", json!({"message": {"role": "assistant", "content": text}})),
            Endpoint::Completions => ("text_completion", json!({"text": text})),
        };
        choice["index"] = json!(0);
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = json!(name(reason));
        if self.with_token_ids {
            choice["token_ids"] = tokens.iter().map(|token| token.id).collect();
        }
        let mut body = self.head(object);
        body["choices"] = json!([choice]);
        body["usage"] = self.usage(usage);
        body
    }

    fn chunk(&self, choice: Option<Value>, reason: Option<FinishReason>) -> Value {
        let mut chunk = self.head(match self.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completions => "text_completion",
        });
        let choices: Vec<Value> = choice
            .into_iter()
            .map(|mut choice| {
                choice["index"] = json!(0);
                choice["finish_reason"] = json!(reason.map(name));
                choice
            })
            .collect();
        chunk["choices"] = json!(choices);
        chunk
    }

    fn head(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.created_s, "model": self.model})
    }

    fn usage(&self, usage: &Usage) -> Value {
        let (prompt, completion) = (usage.prompt_tokens.get(), usage.completion_tokens.get());
        let mut batchmind = json!({"served_by": self.served_by});
        if let Some(pace) = self.paced_ms {
            batchmind["paced_ms"] = json!(pace);
        }
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": u64::from(prompt) + u64::from(completion),
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens.get()},
            "batchmind": batchmind,
        })
    }
}

/// As OpenAI names it; `closed` is ours.
fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Closed => "closed",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wallet::units::{TokenCount, TokenPosition};

    use super::*;

    pub(crate) fn answer(endpoint: Endpoint) -> Answer {
        Answer {
            endpoint,
            id: "cmpl-1".into(),
            model: "tiny".into(),
            created_s: 7,
            with_token_ids: true,
            served_by: "eu-1".into(),
            paced_ms: None,
        }
    }

    pub(crate) fn token(position: u32) -> EmittedToken {
        EmittedToken { position: TokenPosition::new(position), id: position + 100, text: format!("t{position}") }
    }

    pub(crate) fn usage() -> Usage {
        Usage {
            prompt_tokens: TokenCount::new(5),
            completion_tokens: TokenCount::new(2),
            cached_tokens: TokenCount::new(4),
        }
    }

    #[test]
    fn a_chunk_of_a_chat_is_openais() {
        assert_eq!(
            answer(Endpoint::Chat).token(&token(5), true),
            json!({
                "id": "cmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "tiny",
                "choices": [{
                    "index": 0, "delta": {"role": "assistant", "content": "t5"}, "finish_reason": null,
                    "token_ids": [105],
                }],
            })
        );
        let chunk = answer(Endpoint::Chat).finish(FinishReason::Length);
        assert_eq!(chunk["choices"], json!([{"index": 0, "delta": {}, "finish_reason": "length"}]));
    }

    #[test]
    fn usage_says_what_was_cached_who_served_and_what_was_slowed_down() {
        let paced = Answer { paced_ms: Some(25), ..answer(Endpoint::Chat) };
        let chunk = paced.usage_chunk(&usage());
        assert_eq!(chunk["choices"], json!([]));
        assert_eq!(
            chunk["usage"],
            json!({
                "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4},
                "batchmind": {"served_by": "eu-1", "paced_ms": 25},
            })
        );
    }

    #[test]
    fn a_whole_completion_has_all_text_and_ids() {
        let body = answer(Endpoint::Completions).whole(&[token(5), token(6)], FinishReason::Stop, &usage());
        assert_eq!(body["object"], "text_completion");
        assert_eq!(body["choices"][0]["text"], "t5t6");
        assert_eq!(body["choices"][0]["token_ids"], json!([105, 106]));
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
    }
}
