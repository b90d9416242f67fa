//! The engine's side of the queue: it steps the engine, and does everything else between two steps.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use wallet::units::Micros;

use super::{Event, Inbox, Message, Reply, Request, Stats, StepTokens, TokenEvent, inbox::send};
use crate::{
    BLOCK_TOKENS,
    engine::{Engine, EngineOptions, SequenceId, StepEvent},
    model::Model,
    refusal::Refusal,
    session::{Session, Started, Suspended, TailPage},
    stream::{Stream, StreamFault, StreamWriter, block_on_until},
};

/// Steps of which the median is taken.
const STEPS_KEPT: usize = 255;
/// How often an engine says that it works. An idle one sleeps for as long at most.
pub const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Bytes of KV pages in one reply, at most; a single page may be larger.
pub const REPLY_BYTES_MAX: usize = 8 << 20;

/// Runs an engine for whoever writes the request stream.
pub struct Interpreter {
    engine: Engine,
    inbox: Inbox,
    events: Arc<dyn StreamWriter>,
    lines: BTreeMap<SequenceId, Line>,
    steps_us: VecDeque<u64>,
    prefill_tokens_per_s: Option<u32>,
}

/// One sequence.
struct Line {
    pace: Duration,
    /// Out of the batch until then, for its pace.
    held_until: Option<Instant>,
    /// Out of the batch until it is resumed.
    standing: bool,
    /// Tokens that are to be computed before the first one is chosen, and since when; until they are.
    prefill: Option<(u32, Instant)>,
}

/// What a request is answered with: the reply, and the KV pages that belong to it.
type Answer = Result<(Reply, Vec<Vec<u8>>), Refusal>;

impl Interpreter {
    /// With an empty engine.
    pub fn new(
        model: Arc<Model>,
        options: EngineOptions,
        requests: Arc<dyn Stream>,
        events: Arc<dyn StreamWriter>,
    ) -> Self {
        // Not the pool: a session that is too large for it is refused, and no fault of the queue.
        let bytes_max = model.config().pages_max().saturating_mul(model.config().page_bytes());
        Self {
            engine: Engine::new(model, options),
            inbox: Inbox::new(requests, bytes_max),
            events,
            lines: BTreeMap::new(),
            steps_us: VecDeque::new(),
            prefill_tokens_per_s: None,
        }
    }

    /// Works until the request stream ends, or somebody closes the event stream.
    ///
    /// # Errors
    /// [`StreamFault`] of either stream, but for the end of the requests.
    pub fn run(mut self) -> Result<(), StreamFault> {
        match self.work() {
            Err(StreamFault::PeerGone { .. }) if self.inbox.stream().state().closed => Ok(()),
            other => other,
        }
    }

    fn work(&mut self) -> Result<(), StreamFault> {
        let mut alive_at = Instant::now();
        loop {
            if alive_at <= Instant::now() {
                self.tell(&Event::Alive)?;
                alive_at = Instant::now() + ALIVE_EVERY;
            }
            let wake = loop {
                match self.inbox.poll()? {
                    Ok(message) => self.carry_out(message)?,
                    Err(wake) => break wake,
                }
            };
            if self.events.state().closed {
                return Err(StreamFault::PeerGone { reason: "the events were closed".to_owned() });
            }
            self.let_go_who_waited();
            let runs = self.engine.usage().sequences_running > 0;
            if runs {
                self.step()?;
            }
            self.tell_notices()?;
            if !runs {
                let next = self.lines.values().filter_map(|line| line.held_until).min();
                let deadline = next.map_or(alive_at, |next| next.min(alive_at));
                block_on_until(self.inbox.stream().wait(wake), deadline);
            }
        }
    }

    fn carry_out(&mut self, message: Message<Request>) -> Result<(), StreamFault> {
        let Message { call, body, pages } = message;
        let answer = match body {
            Request::Start { sequence, session, tail_rows, pace, standing } => {
                let pace = Duration::from_micros(pace.get());
                self.start(sequence, &session, pages, tail_rows, pace, standing)
            }
            Request::Pages { sequence, from, count_max } => self.pages(sequence, from, count_max),
            Request::Suspend { sequence } => self.suspend(sequence),
            Request::Resume { sequence } => self.resume(sequence),
            Request::Release { sequence } => {
                self.lines.remove(&sequence);
                // It may have been released before.
                let _ = self.engine.release(sequence);
                return Ok(());
            }
            Request::Evict { count } => {
                let evicted = self.engine.evict_prefix_cache(count as usize);
                Ok((Reply::Evicted(count_of(evicted)), Vec::new()))
            }
            Request::Stats => Ok((Reply::Stats(self.stats()), Vec::new())),
        };
        let (outcome, pages) = match answer {
            Ok((reply, pages)) => (Ok(reply), pages),
            Err(refusal) => (Err(refusal.into()), Vec::new()),
        };
        send(&*self.events, call, &Event::Reply { call, outcome }, &pages)
    }

    fn start(
        &mut self,
        id: SequenceId,
        session: &Session,
        mut pages: Vec<Vec<u8>>,
        tail_rows: u8,
        pace: Duration,
        standing: bool,
    ) -> Answer {
        let tail = match tail_rows {
            0 => None,
            rows => {
                let payload = pages.pop().ok_or(Refusal::PagesMismatch { reason: "the tail is missing" })?;
                Some(TailPage { rows, payload })
            }
        };
        let started: Started = self.engine.start(id, session, &pages, tail.as_ref())?;
        if standing {
            self.engine.suspend(id)?;
        }
        let known = count_of(session.tokens.len()).saturating_sub(started.computed.get() + 1);
        let prefill = (known > 0).then(|| (known, Instant::now()));
        self.lines.insert(id, Line { pace, held_until: None, standing, prefill });
        Ok((Reply::Started(started), Vec::new()))
    }

    fn pages(&self, id: SequenceId, from: u32, count_max: u32) -> Answer {
        let full = count_of(self.engine.full_pages(id)?);
        let room = count_of(REPLY_BYTES_MAX / self.engine.model().config().page_bytes()).max(1);
        let pages = (from..full)
            .take(count_max.min(room) as usize)
            .map(|index| self.engine.page(id, index as usize))
            .collect::<Result<_, _>>()?;
        Ok((Reply::Pages { full }, pages))
    }

    fn suspend(&mut self, id: SequenceId) -> Answer {
        let line = self.lines.get_mut(&id).ok_or(Refusal::SequenceUnknown { id })?;
        if line.held_until.take().is_some() || line.standing {
            self.engine.resume(id)?;
        }
        line.standing = true;
        let Suspended { full_pages, tail, finish } = self.engine.suspend(id)?;
        let tail_rows = tail.as_ref().map_or(0, |tail| tail.rows);
        let pages = tail.into_iter().map(|tail| tail.payload).collect();
        Ok((Reply::Suspended { full_pages, tail_rows, finish }, pages))
    }

    fn resume(&mut self, id: SequenceId) -> Answer {
        let line = self.lines.get_mut(&id).ok_or(Refusal::SequenceUnknown { id })?;
        if std::mem::take(&mut line.standing) {
            self.engine.resume(id)?;
        }
        Ok((Reply::Resumed, Vec::new()))
    }

    fn step(&mut self) -> Result<(), StreamFault> {
        let begun = Instant::now();
        let start_ns = monotonic_ns();
        let report = self.engine.step();
        let end_ns = monotonic_ns();
        let mut tokens: Vec<TokenEvent> = Vec::new();
        let mut prefilled = false;
        for (sequence, event) in report.events {
            match event {
                StepEvent::PrefillDone => {
                    prefilled = true;
                    self.prefill_is_done(sequence);
                }
                StepEvent::Token { position, token } => {
                    tokens.push(TokenEvent { sequence, position, token, finish: None });
                }
                StepEvent::Finished { reason } => {
                    if let Some(last) = tokens.last_mut().filter(|last| last.sequence == sequence) {
                        last.finish = Some(reason);
                    }
                }
            }
        }
        if tokens.is_empty() {
            return Ok(());
        }
        if !prefilled && self.lines.values().all(|line| line.prefill.is_none()) {
            self.note_step((end_ns - start_ns) / 1_000);
        }
        for token in &tokens {
            let Some(line) = self.lines.get_mut(&token.sequence) else { continue };
            if line.pace > Duration::ZERO && token.finish.is_none() && self.engine.suspend(token.sequence).is_ok() {
                line.held_until = Some(begun + line.pace);
            }
        }
        let event = Event::Step(StepTokens { start_ns, end_ns, median: self.median_step(), tokens });
        self.tell(&event)
    }

    fn let_go_who_waited(&mut self) {
        let now = Instant::now();
        for (id, line) in &mut self.lines {
            if line.held_until.is_some_and(|until| until <= now) {
                line.held_until = None;
                if !line.standing {
                    // It was suspended for its pace, so it can be resumed.
                    let _ = self.engine.resume(*id);
                }
            }
        }
    }

    fn note_step(&mut self, us: u64) {
        self.steps_us.push_back(us.max(1));
        if self.steps_us.len() > STEPS_KEPT {
            self.steps_us.pop_front();
        }
    }

    fn median_step(&self) -> Option<Micros> {
        let mut sorted: Vec<u64> = self.steps_us.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().map(Micros::new)
    }

    fn prefill_is_done(&mut self, id: SequenceId) {
        let Some((tokens, since)) = self.lines.get_mut(&id).and_then(|line| line.prefill.take()) else { return };
        let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = u64::from(tokens).saturating_mul(1_000_000) / us;
        // A rate from a few tokens says little.
        if tokens >= BLOCK_TOKENS as u32 && rate > 0 {
            self.prefill_tokens_per_s = Some(u32::try_from(rate).unwrap_or(u32::MAX));
        }
    }

    fn stats(&self) -> Stats {
        let usage = self.engine.usage();
        Stats {
            blocks_total: count_of(usage.blocks_total),
            blocks_used: count_of(usage.blocks_used),
            blocks_cached: count_of(usage.blocks_idle),
            running: count_of(usage.sequences_running),
            waiting: count_of(usage.sequences_total - usage.sequences_running),
            prefill_tokens_waiting: self.lines.values().filter_map(|line| line.prefill).map(|(tokens, _)| tokens).sum(),
            prefill_tokens_per_s: self.prefill_tokens_per_s,
            median_step: self.median_step(),
        }
    }

    fn tell_notices(&mut self) -> Result<(), StreamFault> {
        let notices = self.engine.take_notices();
        if notices.is_empty() { Ok(()) } else { self.tell(&Event::Cache(notices)) }
    }

    fn tell(&self, event: &Event) -> Result<(), StreamFault> {
        send(&*self.events, 0, event, &[] as &[&[u8]])
    }
}

/// However it ends, by a panic too: whoever waits for events learns of it.
impl Drop for Interpreter {
    fn drop(&mut self) {
        // The other side may be gone; then nobody reads this.
        let _ = self.events.close(0);
    }
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Nanoseconds of the host's CLOCK_MONOTONIC, which all processes of one machine share.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
