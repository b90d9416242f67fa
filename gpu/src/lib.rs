//! The engine: it loads a Llama checkpoint, runs many sequences in one batch, and lets any of them stop between two
//! tokens and go on elsewhere with the tokens that it would have had here.
//!
//! # From prompt to token
//! [`Model::load`] reads `config.json`, `tokenizer.json` and the safetensors files. The [`Tokenizer`] makes token ids
//! of text, by the model's chat template if there is one. [`Engine::admit`] takes them in, and each [`Engine::step`]
//! advances every running sequence: by a chunk of its prompt while there is one, then by one token. [`TextStream`]
//! turns tokens back into text, in whole characters.
//!
//! There is one rule for prefill, decode and recomputation: a step computes the known tokens that have no keys and
//! values yet, and samples when it reaches the end of what is known. So a known token is never sampled again, and a
//! suspended prompt is nothing special.
//!
//! # Paged memory
//! Keys and values are bfloat16 and live in blocks of [`BLOCK_TOKENS`] tokens. A block's bytes are those of a page on
//! the wire, `[layer][k|v][kv_head][token][dim]`, so reading and loading a page are copies. A sequence gets all blocks that it
//! can ever need when it is admitted; a running sequence cannot run out. Full blocks enter the prefix cache under
//! chained hashes (`wallet::prefix`) keyed by the tenant's salt, and stay there after their sequence is gone, until
//! the least recently used make room. [`CacheNotice`]s tell the router.
//!
//! # Canonical numerics
//! [`backend`] fixes the order of every sum. A row's bits depend on its tokens and the weights, not on the batch, the
//! chunk, or the instruction set. [`numerics_id`] names the rule.
//!
//! # Moving a session
//! [`Engine::page`] reads full pages while the sequence decodes. [`Engine::suspend`] takes it out of the batch and says
//! what it has. [`Engine::start`] goes on from whatever prefix of the pages is there and computes the rest: pages are a
//! cache, the tokens are the session. What has n tokens has keys and values for at most n - 1: the last token is
//! pending, it is the input of the next step.
//!
//! # What the engine does not do
//! It knows no ledger, keys or clocks, and it runs on its caller's thread. The CUDA backend is not built yet. Weights are
//! kept as bfloat16: a checkpoint in another format is rounded when it is loaded.
//!
//! # Around the engine
//! [`stream`] is the one way in which state flows, [`dispatch`] the engine behind two streams, so that it may stand in
//! another process or at another host, and [`continuation`] what is left of a session when it has left the engine.

pub mod backend;
pub mod continuation;
pub mod dispatch;
mod engine;
mod forward;
mod kv;
mod model;
mod refusal;
mod sampling;
mod sequence;
mod session;
pub mod stream;
mod tokenizer;

pub use backend::numerics_id;
pub use engine::{Engine, EngineOptions, FinishReason, Phase, SequenceId, StepEvent, StepReport, Usage};
pub use kv::CacheNotice;
pub use model::{LlamaConfig, Model, ModelFault, RopeScaling, synthetic};
pub use refusal::{Refusal, Retry};
pub use sampling::{Millionths, SamplingParams, SessionSeed, StopStrings};
pub use session::{Session, Started, Suspended, TailPage};
pub use tokenizer::{ChatMessage, TextChunk, TextStream, Tokenizer};
pub use wallet::prefix::BLOCK_TOKENS;

/// A token of the model's vocabulary.
pub type TokenId = u32;
