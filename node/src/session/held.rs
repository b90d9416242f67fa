//! What the holder of a session has in memory: its tokens, its files, and the chain over its pages.

use wallet::{
    content::ContentChain,
    page::{Page, StreamDescriptor},
    units::{Micros, PageIndex, Timestamp, TokenCount, TokenPosition},
};

use super::{
    context::now,
    disk::{HolderKeys, JournalRecord, RecordFile, SessionDir},
    refusal::Refusal,
    start::SessionStart,
    tokens::{EmittedToken, Usage},
    view::FinishReason,
};
use crate::engine::{EngineEvent, EngineHandle, TextDecoder};

/// Intervals that are kept for a median.
const SAMPLES_KEPT: usize = 1024;

/// A session at its holder.
pub(crate) struct Held {
    /// What it began with here; its tokens are those of the beginning.
    pub(crate) start: SessionStart,
    /// All tokens, the prompt's first.
    pub(crate) tokens: Vec<u32>,
    /// How generation ended.
    pub(crate) finished: Option<FinishReason>,
    /// The chain over the full pages that are in the page file.
    pub(crate) content: ContentChain,
    /// When it last computed anything here.
    pub(crate) active_at: Timestamp,
    /// Microseconds between tokens, in this epoch and here.
    pub(crate) intervals: Vec<u64>,
    journal: RecordFile,
    pages: Option<RecordFile>,
    text: TextDecoder,
    /// Whether the decoder has read the tokens of the beginning.
    is_read: bool,
    last_step_end_ns: Option<u64>,
}

impl Held {
    /// A holder that begins, with a new journal. `tokens` of `start` are all that are known.
    pub(crate) fn begin(
        dir: &SessionDir,
        keys: &HolderKeys,
        start: SessionStart,
        engine: &EngineHandle,
    ) -> Result<Self, Refusal> {
        let mut journal = dir.create_journal(keys)?;
        journal.append(&encode(&JournalRecord::Begin(Box::new(start.clone()))))?;
        let tokens = start.tokens.clone();
        Ok(Self::new(keys, start, tokens, journal, engine))
    }

    /// A holder that finds its journal; none if that cannot be read.
    pub(crate) fn reopen(dir: &SessionDir, keys: &HolderKeys, engine: &EngineHandle) -> Result<Option<Self>, Refusal> {
        let (records, journal) = dir.open_journal(keys)?;
        let mut records = records.into_iter();
        let Some(JournalRecord::Begin(start)) = records.next() else { return Ok(None) };
        let (mut tokens, mut finished) = (start.tokens.clone(), None);
        for record in records {
            match record {
                JournalRecord::Begin(_) => return Ok(None),
                JournalRecord::Token(token) => tokens.push(token),
                JournalRecord::Finished(reason) => finished = Some(reason),
            }
        }
        let held = Self::new(keys, *start, tokens, journal, engine);
        Ok(Some(Self { finished, ..held }))
    }

    fn new(
        keys: &HolderKeys,
        start: SessionStart,
        tokens: Vec<u32>,
        journal: RecordFile,
        engine: &EngineHandle,
    ) -> Self {
        Self {
            finished: None,
            content: ContentChain::new(keys.page_hash.clone()),
            active_at: now(),
            intervals: Vec::new(),
            journal,
            pages: None,
            text: engine.text_decoder(&start.sampling),
            is_read: tokens.len() == start.prompt_tokens.get() as usize,
            last_step_end_ns: None,
            tokens,
            start,
        }
    }

    /// Where the next token will stand.
    pub(crate) fn next(&self) -> TokenPosition {
        TokenPosition::new(u32::try_from(self.tokens.len()).unwrap_or(u32::MAX))
    }

    /// The emitted tokens from `from` on, with their text; none if the decoder has read them before.
    pub(crate) fn emitted_before(&mut self, from: TokenPosition) -> Vec<EmittedToken> {
        if std::mem::replace(&mut self.is_read, true) {
            return Vec::new();
        }
        let prompt = self.start.prompt_tokens.get() as usize;
        let mut emitted = Vec::new();
        for (at, id) in (0..).zip(self.tokens.iter().copied()).skip(prompt) {
            let text = self.text.push(id);
            emitted.push(EmittedToken { position: TokenPosition::new(at), id, text });
        }
        if self.finished.is_some()
            && let Some(last) = emitted.last_mut()
        {
            last.text.push_str(&self.text.finish());
        }
        emitted.retain(|token| token.position >= from);
        emitted
    }

    /// Takes the next token in: the journal first, then everything else.
    pub(crate) fn push(&mut self, event: &EngineEvent) -> Result<EmittedToken, Refusal> {
        self.journal.append(&encode(&JournalRecord::Token(event.token)))?;
        self.tokens.push(event.token);
        self.active_at = now();
        if let Some(before) = self.last_step_end_ns.replace(event.step_end_ns)
            && self.intervals.len() < SAMPLES_KEPT
        {
            // What a session waits for its own pace is not the node's latency.
            let since = if self.start.pace_ms > 0 { event.step_start_ns } else { before };
            self.intervals.push(event.step_end_ns.saturating_sub(since) / 1_000);
        }
        let mut text = self.text.push(event.token);
        if event.finish.is_some() {
            text.push_str(&self.text.finish());
        }
        Ok(EmittedToken { position: event.position, id: event.token, text })
    }

    /// Notes how generation ended.
    pub(crate) fn finish(&mut self, reason: FinishReason) -> Result<(), Refusal> {
        self.finished = Some(reason);
        self.journal.append(&encode(&JournalRecord::Finished(reason)))?;
        self.journal.sync_later();
        Ok(())
    }

    /// Appends the payloads of the next full pages to chain and page file.
    pub(crate) fn push_pages(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
        payloads: Vec<Vec<u8>>,
    ) -> Result<(), Refusal> {
        if payloads.is_empty() {
            return Ok(());
        }
        for payload in payloads {
            let index = PageIndex::new(self.content.pages());
            let page = Page::new(stream, index, stream.block, &payload, Some(&keys.page_hash))?;
            self.keep_page(dir, keys, &page)?;
        }
        self.journal.sync_later();
        Ok(())
    }

    /// Appends one full page.
    pub(crate) fn keep_page(&mut self, dir: &SessionDir, keys: &HolderKeys, page: &Page) -> Result<(), Refusal> {
        let file = match &mut self.pages {
            Some(file) => file,
            none => none.insert(dir.create_pages(keys)?),
        };
        file.append(page.as_bytes())?;
        self.content.push(&page.head().hash);
        Ok(())
    }

    /// The payloads of the pages that survived on the disk; chain and page file go on after them.
    pub(crate) fn surviving_pages(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
    ) -> Vec<Vec<u8>> {
        self.pages = None;
        self.content = ContentChain::new(keys.page_hash.clone());
        // Without a page file everything is computed again.
        let Ok((records, file)) = dir.open_pages(keys) else { return Vec::new() };
        let mut payloads = Vec::new();
        for record in &records {
            let parsed = Page::parse(record.to_vec(), stream, Some(&keys.page_hash)).ok();
            let next = PageIndex::new(self.content.pages());
            let Some(page) = parsed.filter(|page| page.is_full() && page.head().index == next) else {
                // Chain and file must agree, so a damaged page begins a new file.
                self.content = ContentChain::new(keys.page_hash.clone());
                return Vec::new();
            };
            self.content.push(&page.head().hash);
            payloads.push(page.payload().to_vec());
        }
        self.pages = Some(file);
        payloads
    }

    /// Forgets the full pages and begins an empty file.
    pub(crate) fn drop_pages(&mut self, dir: &SessionDir, keys: &HolderKeys) -> Result<(), Refusal> {
        self.content = ContentChain::new(keys.page_hash.clone());
        self.pages = Some(dir.create_pages(keys)?);
        Ok(())
    }

    /// Returns once everything that was emitted is on the disk.
    pub(crate) fn sync(&self) -> Result<(), Refusal> {
        Ok(self.journal.sync()?)
    }

    /// What the session used.
    pub(crate) fn usage(&self) -> Usage {
        let prompt = self.start.prompt_tokens.get();
        Usage {
            prompt_tokens: self.start.prompt_tokens,
            completion_tokens: TokenCount::new(self.next().get().saturating_sub(prompt)),
            cached_tokens: self.start.cached_tokens,
        }
    }

    /// When the step of the last token ended, if it was one of this process.
    pub(crate) fn last_step_end_ns(&self) -> Option<u64> {
        self.last_step_end_ns
    }

    /// Median time between tokens here, and how many intervals it is of.
    pub(crate) fn latency(&self) -> Option<(Micros, u32)> {
        let mut sorted = self.intervals.clone();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        Some((Micros::new(median), u32::try_from(sorted.len()).unwrap_or(u32::MAX)))
    }
}

fn encode(record: &JournalRecord) -> Vec<u8> {
    wallet::codec::encode(record)
}
