//! Tokens to text, as they come.

use super::Tokenizer;
use crate::{TokenId, refusal::Refusal, sampling::StopStrings};

/// What stands for bytes that are not UTF-8. Only the last one of a text can change when more tokens come.
const REPLACEMENT: char = '\u{FFFD}';
/// The window is cut to its last tokens when it has this many.
const WINDOW_TOKENS_MAX: usize = 32;
/// Enough for an incomplete character (three tokens at most) and for decoders that look at what came before.
const WINDOW_TOKENS_KEPT: usize = 8;

/// Turns the generated tokens of one session into text: whole characters, and nothing of a stop string.
///
/// It is a function of the tokens: who feeds it the same tokens gets the same text.
#[derive(Clone, Debug)]
pub struct TextStream {
    stop: Vec<String>,
    /// The last tokens.
    window: Vec<TokenId>,
    /// Bytes of the window's text that are in `held` or were given out.
    window_done: usize,
    /// Text that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

/// The text that a token completed. Often empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextChunk {
    /// The text.
    pub text: String,
    /// Whether a stop string was found. The text before it is complete, and no text follows.
    pub stopped: bool,
}

impl TextStream {
    /// A stream that ends at the first of these texts.
    pub fn new(stop: &StopStrings) -> Self {
        Self { stop: stop.as_slice().to_vec(), window: Vec::new(), window_done: 0, held: String::new(), stopped: false }
    }

    /// Adds a token and returns the text that is certain now.
    ///
    /// # Errors
    /// [`Refusal::TokenizerFailed`].
    pub fn push(&mut self, tokenizer: &Tokenizer, token: TokenId) -> Result<TextChunk, Refusal> {
        if self.stopped {
            return Ok(TextChunk { text: String::new(), stopped: true });
        }
        self.window.push(token);
        let text = tokenizer.decode(&self.window)?;
        let certain = text.strip_suffix(REPLACEMENT).unwrap_or(&text);
        if let Some(new) = certain.get(self.window_done..) {
            self.held.push_str(new);
            self.window_done = certain.len();
        }
        if self.window.len() >= WINDOW_TOKENS_MAX {
            self.window.drain(..self.window.len() - WINDOW_TOKENS_KEPT);
            let kept = tokenizer.decode(&self.window)?;
            self.window_done = kept.strip_suffix(REPLACEMENT).unwrap_or(&kept).len();
        }
        Ok(self.release())
    }

    /// The text that was held back, once no more tokens come. A character that was never completed is dropped.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Takes out what cannot be part of a stop string any more.
    fn release(&mut self) -> TextChunk {
        if let Some(at) = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            return TextChunk { text: std::mem::take(&mut self.held), stopped: true };
        }
        let begins_a_stop = |tail: &str| self.stop.iter().any(|stop| stop.starts_with(tail));
        let from = self.held.char_indices().map(|(at, _)| at).find(|at| begins_a_stop(&self.held[*at..]));
        let kept = self.held.split_off(from.unwrap_or(self.held.len()));
        TextChunk { text: std::mem::replace(&mut self.held, kept), stopped: false }
    }
}
