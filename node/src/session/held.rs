//! What the holder of a session has: its journal with its tokens, its full pages on the disk, and the chain over them.

use std::{sync::Arc, time::Duration};

use gpu::{
    Model,
    continuation::{
        Chosen, ContinuationRefusal, Effect, EffectId, Entry, Interpreter, Journal, Resolution, SignedContinuation,
        Tail, perform,
    },
    stream::{Cursor, Draft, Expect, Next, SegmentStream, Stream as _, StreamFault, StreamWriter as _},
};
use wallet::{
    content::ContentChain,
    digest::Digest,
    identity::SecretKey,
    page::{HEAD_BYTES, Page, StreamDescriptor},
    units::{Micros, PageIndex, Timestamp, TokenCount, TokenPosition},
};
use zeroize::Zeroizing;

use super::{
    context::now,
    continuation::{self, Inherited, Kept, Received, Stand, engine_tail, unverified},
    disk::{DiskFault, HolderKeys, SessionDir, stream_fault, stream_took},
    program::RunningProgram,
    refusal::Refusal,
    start::SessionStart,
    tokens::{EmittedToken, Usage},
    view::FinishReason,
};
use crate::engine::{Arrival, EngineEvent, TextDecoder};

/// Intervals that are kept for a median.
const SAMPLES_KEPT: usize = 1024;

/// A session at its holder.
pub(crate) struct Held {
    /// What it began with here.
    pub(crate) start: SessionStart,
    /// How generation ended.
    pub(crate) finished: Option<FinishReason>,
    /// The chain over the full pages that are on the disk.
    pub(crate) content: ContentChain,
    /// When it last computed anything here.
    pub(crate) active_at: Timestamp,
    /// Microseconds between tokens, in this epoch and here.
    pub(crate) intervals: Vec<u64>,
    /// Hash of the model that is served here. Another one may be put in a node's place while its sessions are on the disk.
    pub(super) loaded: Digest,
    epoch: u32,
    /// Its key in this epoch, derived from its seed once.
    signer: SecretKey,
    /// What is kept of it in the session's folder.
    kept: Option<Kept>,
    /// What the first continuation of this holder takes over from the one that came.
    came: Inherited,
    program: RunningProgram,
    journal: Journal,
    kv: Option<SegmentStream>,
    text: TextDecoder,
    /// Whether the decoder has read the tokens of the beginning.
    is_read: bool,
    last_step_end_ns: Option<u64>,
}

impl Held {
    /// A holder that begins, with the prompt in a new journal, which is durable when this returns.
    pub(crate) fn begin(
        dir: &SessionDir,
        keys: &HolderKeys,
        start: SessionStart,
        prompt: &[u32],
        model: &Arc<Model>,
    ) -> Result<Self, Refusal> {
        let mut journal = open_journal(dir.create_journal(keys)?, keys)?;
        journal.prompt(prompt).map_err(DiskFault::from)?;
        Self::new(dir, (keys, keys.holder.key()), start, journal, model)?.keep_first(dir, keys)
    }

    /// A holder that takes over what it received, with `entries` as all that stands in the journal of the one before.
    /// Durable when this returns.
    ///
    /// # Errors
    /// Those of the folder; what is wrong with the journal.
    pub(crate) fn take_over(
        dir: &SessionDir,
        keys: &HolderKeys,
        received: Received,
        entries: Vec<Entry>,
        model: &Arc<Model>,
    ) -> Result<Self, Refusal> {
        let Received { inherited: came, start, journal: signed } = received;
        let mut journal = open_journal(dir.create_journal(keys)?, keys)?;
        journal.adopt(entries)?;
        if journal.bound()? != signed {
            return Err(unverified("the journal is not that of the continuation"));
        }
        Self { came, ..Self::new(dir, (keys, keys.holder.key()), start, journal, model)? }.keep_first(dir, keys)
    }

    fn keep_first(mut self, dir: &SessionDir, keys: &HolderKeys) -> Result<Self, Refusal> {
        self.keep_continuation(dir, keys, Stand::Ready, &[])?;
        Ok(self)
    }

    /// A holder that finds its journal; none if it does not find all that it began with.
    ///
    /// # Errors
    /// [`DiskFault`]; see [`DiskFault::may_be_whole`].
    pub(crate) fn reopen(dir: &SessionDir, keys: &HolderKeys, model: &Arc<Model>) -> Result<Option<Self>, DiskFault> {
        let Some(bytes) = dir.load_continuation(keys)? else { return Ok(None) };
        let Some(stream) = dir.open_journal(keys)? else { return Ok(None) };
        let closed = stream.state().closed.then_some(FinishReason::Closed);
        let journal = open_journal(stream, keys)?;
        let signer = keys.holder.key();
        let Some((start, kept)) = continuation::verify(bytes, keys, &signer.verifying_key(), &journal)? else {
            return Ok(None);
        };
        let finished = journal.finished().map(FinishReason::from).or(closed);
        Ok(Some(Self { finished, kept: Some(kept), ..Self::new(dir, (keys, signer), start, journal, model)? }))
    }

    fn new(
        dir: &SessionDir,
        (keys, signer): (&HolderKeys, SecretKey),
        start: SessionStart,
        journal: Journal,
        model: &Arc<Model>,
    ) -> Result<Self, ContinuationRefusal> {
        Ok(Self {
            program: RunningProgram::begin(dir.wallet(), &start, &journal)?,
            finished: None,
            loaded: model.hash(),
            epoch: keys.epoch.get(),
            signer,
            kept: None,
            came: Inherited::default(),
            content: ContentChain::new(keys.page_hash.clone()),
            active_at: now(),
            intervals: Vec::new(),
            kv: None,
            text: TextDecoder::new(model, &start.sampling),
            is_read: journal.tokens().len() == start.prompt_tokens.get() as usize,
            last_step_end_ns: None,
            journal,
            start,
        })
    }

    /// The effect that its program asks for; none once it has ended.
    pub(crate) fn asked(&self) -> EffectId {
        self.program.asked()
    }

    /// Writes down what somebody found out about an effect in doubt. The session is parked then.
    ///
    /// # Errors
    /// [`ContinuationRefusal::NotInDoubt`]; [`Refusal::NobodyRetries`] if it is to be performed again and its program does
    /// not ask for such effects.
    pub(crate) fn resolve(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        id: &EffectId,
        how: Resolution,
    ) -> Result<(), Refusal> {
        let doubted = self.journal.in_doubt().iter().find(|effect| effect.id == *id);
        let op = doubted.ok_or(ContinuationRefusal::NotInDoubt { id: *id })?.op;
        // It would stay open for ever, and a journal with an open effect has no end.
        if how == Resolution::Retry && !RunningProgram::asks_for(op) {
            return Err(Refusal::NobodyRetries { effect: *id });
        }
        self.journal.resolve(id, how).map_err(DiskFault::from)?;
        self.program = RunningProgram::begin(dir.wallet(), &self.start, &self.journal).map_err(DiskFault::from)?;
        self.keep_continuation(dir, keys, Stand::Parked, &[])
    }

    /// Signs for the holder.
    pub(crate) const fn signer(&self) -> &SecretKey {
        &self.signer
    }

    /// Performs an effect of another program between two tokens: what was intended and what came of it stand in the
    /// journal, and the session goes on after both.
    ///
    /// # Errors
    /// Those of [`perform`].
    pub(crate) fn perform(
        &mut self,
        dir: &SessionDir,
        effect: &Effect,
        outside: &mut dyn Interpreter,
    ) -> Result<(), DiskFault> {
        perform(&mut self.journal, outside, effect)?;
        self.program = RunningProgram::begin(dir.wallet(), &self.start, &self.journal)?;
        Ok(())
    }

    /// The journal.
    pub(crate) const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The stream of full pages, if there is any.
    pub(crate) const fn kv(&self) -> Option<&SegmentStream> {
        self.kv.as_ref()
    }

    /// The continuation that is kept in the session's folder.
    pub(crate) fn continuation(&self) -> Option<&SignedContinuation> {
        self.kept.as_ref().map(|kept| &kept.signed)
    }

    /// The page after the full ones that this continuation refers to.
    pub(crate) fn kept_tail(&self) -> Option<Tail> {
        self.kept.as_ref()?.tail
    }

    /// What the next continuation takes over.
    pub(crate) fn inherited(&self) -> Inherited {
        self.continuation().map_or(self.came, Inherited::of)
    }

    /// This one is kept now.
    pub(crate) fn set_kept(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// All tokens, the prompt's first.
    pub(crate) fn tokens(&self) -> &[u32] {
        self.journal.tokens()
    }

    /// Where the next token will stand.
    pub(crate) fn next(&self) -> TokenPosition {
        TokenPosition::new(u32::try_from(self.tokens().len()).unwrap_or(u32::MAX))
    }

    /// The emitted tokens from `from` on, with their text; none if the decoder has read them before.
    pub(crate) fn emitted_before(&mut self, from: TokenPosition) -> Vec<EmittedToken> {
        if std::mem::replace(&mut self.is_read, true) {
            return Vec::new();
        }
        let prompt = self.start.prompt_tokens.get() as usize;
        let mut emitted = Vec::new();
        for (at, id) in (0..).zip(self.journal.tokens().iter().copied()).skip(prompt) {
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
    ///
    /// # Errors
    /// [`DiskFault`]; see [`DiskFault::may_be_whole`].
    pub(crate) fn push(&mut self, event: &EngineEvent) -> Result<EmittedToken, DiskFault> {
        let chosen = Chosen { token: Some(event.token), finish: None };
        self.program.chose(&mut self.journal, chosen)?;
        self.active_at = now();
        if let Some(before) = self.last_step_end_ns.replace(event.step_end_ns)
            && self.intervals.len() < SAMPLES_KEPT
        {
            // What a session waits for its own pace is not the node's latency.
            let since = if self.start.terms.pace_ms > 0 { event.step_start_ns } else { before };
            self.intervals.push(event.step_end_ns.saturating_sub(since) / 1_000);
        }
        let mut text = self.text.push(event.token);
        if event.finish.is_some() {
            text.push_str(&self.text.finish());
        }
        Ok(EmittedToken { position: event.position, id: event.token, text })
    }

    /// Notes how generation ended. What was closed from outside, without a reason, is no result of the program: the
    /// journal itself is closed.
    pub(crate) fn finish(&mut self, reason: Option<gpu::FinishReason>) -> Result<(), Refusal> {
        self.finished = Some(reason.map_or(FinishReason::Closed, FinishReason::from));
        let Some(reason) = reason else {
            self.journal.stream().close(self.epoch).map_err(journal_fault)?;
            return Ok(());
        };
        let chosen = Chosen { token: None, finish: Some(reason) };
        self.program.chose(&mut self.journal, chosen).map_err(DiskFault::from)?;
        self.sync_later();
        Ok(())
    }

    /// Appends the payloads of the next full pages to the chain and the stream of pages.
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
            self.keep_page(dir, keys, stream, &page)?;
        }
        self.sync_later();
        Ok(())
    }

    /// Appends one full page of `stream`.
    pub(crate) fn keep_page(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
        page: &Page,
    ) -> Result<(), Refusal> {
        let kv = match &mut self.kv {
            Some(kv) => kv,
            none => none.insert(dir.create_kv(keys, stream.hash())?),
        };
        let at = Expect::At(page.index().get());
        stream_took(kv, kv.append(keys.epoch.get(), at, &Draft::of(page.head()), page.payload()))?;
        self.content.push(&page.head().hash);
        Ok(())
    }

    /// The payloads of the pages that survived on the disk, up to the first that is damaged.
    ///
    /// # Errors
    /// [`Refusal::DiskAwaited`].
    pub(crate) fn surviving_pages(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let mut payloads = Vec::new();
        if !self.read_pages(dir, keys, stream, &mut |page| payloads.push(page.payload().to_vec()))? {
            // Nothing is appended behind a damaged page. A new stream takes them all, from the engine.
            self.kv = None;
            self.content = ContentChain::new(keys.page_hash.clone());
        }
        Ok(payloads)
    }

    /// The session for the engine, with all that is kept of it on the disk.
    ///
    /// # Errors
    /// [`Refusal::DiskAwaited`].
    pub(crate) fn arrival(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
    ) -> Result<Arrival, Refusal> {
        let pages = self.surviving_pages(dir, keys, stream)?;
        let tail = Zeroizing::new(self.parked_tail(dir, keys, stream, pages.len() as u64));
        Ok(Arrival {
            tokens: self.tokens().to_vec(),
            prompt_tokens: self.start.prompt_tokens,
            sampling: self.start.sampling.clone(),
            pages,
            tail: engine_tail(&tail),
            salt: keys.prefix_salt.clone(),
            pace: Duration::from_millis(u64::from(self.start.terms.pace_ms)),
        })
    }

    /// Brings the chain up to the pages that survived on the disk, without keeping them in memory.
    ///
    /// # Errors
    /// [`Refusal::DiskAwaited`].
    pub(crate) fn count_pages(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
    ) -> Result<(), Refusal> {
        self.read_pages(dir, keys, stream, &mut |_| ()).map(drop)
    }

    /// Reads and verifies the pages on the disk; false if it ends before one that is damaged.
    ///
    /// # Errors
    /// [`Refusal::DiskAwaited`] if the disk does not give what may be whole.
    fn read_pages(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
        take: &mut dyn FnMut(&Page),
    ) -> Result<bool, Refusal> {
        self.content = ContentChain::new(keys.page_hash.clone());
        if self.kv.is_none() {
            self.kv = match dir.open_kv(keys, stream.hash()) {
                Err(fault) if !fault.may_be_whole() || fault.is_unreadable() => {
                    tracing::warn!(%fault, "full pages are lost, and are computed again");
                    return Ok(false);
                }
                opened => opened.map_err(awaited)?,
            };
        }
        // The last token has no row yet. After a loss of power the stream of pages may know more than the journal does.
        let rows = self.next().get().saturating_sub(1);
        let most = u64::from(rows / u32::from(stream.block));
        while let Some(kv) = self.kv.as_ref().filter(|_| self.content.pages() < most) {
            match read_page(kv, &self.content, keys, stream) {
                Ok(Some(page)) => {
                    self.content.push(&page.head().hash);
                    take(&page);
                }
                Ok(None) => break,
                Err(fault) if fault.may_be_whole() && !fault.is_unreadable() => return Err(awaited(fault)),
                Err(fault) => {
                    tracing::warn!(%fault, pages = self.content.pages(), "only the full pages before it are used");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The payloads of at most `count_max` full pages on the disk, from `from` on.
    pub(crate) fn payloads(&self, from: u32, count_max: u32) -> Result<Vec<Vec<u8>>, Refusal> {
        let Some(kv) = &self.kv else { return Ok(Vec::new()) };
        let mut payloads = Vec::new();
        for position in (u64::from(from)..self.content.pages()).take(count_max as usize) {
            match kv.next(Cursor(position)).map_err(|fault| stream_fault(kv, fault))? {
                Next::Item(page, _) => payloads.push(page.payload.to_vec()),
                Next::Blocked(_) | Next::End | Next::Gap { .. } => break,
            }
        }
        Ok(payloads)
    }

    /// Forgets the full pages: a cache miss, and no loss.
    pub(crate) fn drop_pages(&mut self, dir: &SessionDir, keys: &HolderKeys) -> Result<(), Refusal> {
        self.content = ContentChain::new(keys.page_hash.clone());
        self.kv = None;
        dir.save_tail(keys, &[])?;
        Ok(dir.drop_kv()?)
    }

    /// Returns once journal and full pages are on the disk.
    pub(crate) fn sync(&self) -> Result<(), Refusal> {
        self.journal.stream().sync().map_err(journal_fault)?;
        if let Some(kv) = &self.kv {
            kv.sync().map_err(|fault| stream_fault(kv, fault))?;
        }
        Ok(())
    }

    /// Syncs in the background, for what can be computed again.
    pub(crate) fn sync_later(&self) {
        let stream = Arc::clone(self.journal.stream());
        tokio::task::spawn_blocking(move || {
            if let Err(fault) = stream.sync() {
                tracing::warn!(%fault, "a journal is not synced");
            }
        });
    }

    /// What the session used.
    pub(crate) fn usage(&self) -> Usage {
        let prompt = self.start.prompt_tokens.get();
        Usage {
            prompt_tokens: self.start.prompt_tokens,
            completion_tokens: TokenCount::new(self.next().get().saturating_sub(prompt)),
            cached_tokens: self.start.terms.cached_tokens,
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

fn open_journal(stream: SegmentStream, keys: &HolderKeys) -> Result<Journal, DiskFault> {
    Ok(Journal::open(Arc::new(stream), keys.page_hash.clone(), keys.epoch.get())?)
}

/// The page after those in `content`; none if there are no more.
fn read_page(
    kv: &SegmentStream,
    content: &ContentChain,
    keys: &HolderKeys,
    stream: &StreamDescriptor,
) -> Result<Option<Page>, DiskFault> {
    let position = content.pages();
    let next = kv.next(Cursor(position)).map_err(|fault| stream_fault(kv, fault))?;
    let Next::Item(page, _) = next else { return Ok(None) };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + page.payload.len());
    bytes.extend_from_slice(&page.head.encode());
    bytes.extend_from_slice(&page.payload);
    let page = Page::parse(bytes, stream, Some(&keys.page_hash))
        .map_err(|refusal| DiskFault::Damaged { file: kv.folder().to_owned(), refusal })?;
    let reason = "a page that is not full";
    if page.is_full() { Ok(Some(page)) } else { Err(stream_fault(kv, StreamFault::Damaged { position, reason })) }
}

fn awaited(fault: DiskFault) -> Refusal {
    tracing::warn!(%fault, "full pages cannot be read now");
    Refusal::DiskAwaited
}

fn journal_fault(fault: StreamFault) -> Refusal {
    DiskFault::Journal(fault.into()).into()
}

#[cfg(test)]
mod tests;
