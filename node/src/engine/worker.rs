//! What runs on the engine's thread.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use gpu::{BLOCK_TOKENS, Continuation, Engine, EngineOptions, Model, SequenceId, StepEvent};
use tokio::sync::{broadcast, mpsc};
use wallet::units::Micros;

use super::{
    Admission, Admitted, Arrival, EngineEvent, EngineRefusal, EngineStats, Parked, Sequence, Survivor, TaggedNotices,
    monotonic_ns, tags::Tags,
};
use crate::session::view::FinishReason;

/// Steps of which the median is taken.
const STEPS_KEPT: usize = 255;

/// What is done between two steps.
pub(super) type Work = Box<dyn FnOnce(&mut Worker) + Send>;

/// What runs on the thread.
pub(super) struct Worker {
    engine: Engine,
    lines: BTreeMap<SequenceId, Line>,
    next_id: u64,
    steps_us: VecDeque<u64>,
    prefill_tokens_per_s: Option<u32>,
    tags: Tags,
    notices: broadcast::Sender<TaggedNotices>,
    median_step_us: Arc<AtomicU64>,
}

/// One sequence, as the thread sees it.
struct Line {
    events: mpsc::UnboundedSender<EngineEvent>,
    pace: Duration,
    /// Out of the batch until then, for its pace.
    held_until: Option<Instant>,
    /// Out of the batch until it is resumed.
    parked: bool,
    /// Tokens that are to be computed before the first one is chosen, and since when; until they are.
    prefill: Option<(u32, Instant)>,
}

impl Worker {
    /// With an empty engine.
    pub(super) fn new(
        model: Arc<Model>,
        options: EngineOptions,
        notices: broadcast::Sender<TaggedNotices>,
        median_step_us: Arc<AtomicU64>,
    ) -> Self {
        Self {
            engine: Engine::new(model, options),
            lines: BTreeMap::new(),
            next_id: 0,
            steps_us: VecDeque::new(),
            prefill_tokens_per_s: None,
            tags: Tags::default(),
            notices,
            median_step_us,
        }
    }

    /// Works until every handle is dropped.
    pub(super) fn run(mut self, inbox: &Receiver<Work>) {
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(work) => work(&mut self),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.let_go_who_waited();
            if self.engine.usage().sequences_running > 0 {
                self.step();
                self.tell_notices();
                continue;
            }
            self.tell_notices();
            let next = self.lines.values().filter_map(|line| line.held_until).min();
            let patience = next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()));
            match inbox.recv_timeout(patience) {
                Ok(work) => work(&mut self),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn step(&mut self) {
        let begun = Instant::now();
        let step_start_ns = monotonic_ns();
        let report = self.engine.step();
        let step_end_ns = monotonic_ns();
        let mut tokens: Vec<(SequenceId, EngineEvent)> = Vec::new();
        let mut prefilled = false;
        for (id, event) in report.events {
            match event {
                StepEvent::PrefillDone => {
                    prefilled = true;
                    self.prefill_is_done(id);
                }
                StepEvent::Token { position, token } => {
                    let event = EngineEvent { position, token, finish: None, step_start_ns, step_end_ns };
                    tokens.push((id, event));
                }
                StepEvent::Finished { reason } => {
                    if let Some((_, last)) = tokens.last_mut().filter(|(last, _)| *last == id) {
                        last.finish = Some(reason.into());
                    }
                }
            }
        }
        let in_prefill = self.lines.values().any(|line| line.prefill.is_some());
        if !tokens.is_empty() && !prefilled && !in_prefill {
            self.note_step((step_end_ns - step_start_ns) / 1_000);
        }
        for (id, event) in tokens {
            let Some(line) = self.lines.get_mut(&id) else { continue };
            // An error means that the session was dropped; its release follows.
            let _ = line.events.send(event);
            if line.pace > Duration::ZERO && event.finish.is_none() && self.engine.suspend(id).is_ok() {
                line.held_until = Some(begun + line.pace);
            }
        }
    }

    fn let_go_who_waited(&mut self) {
        let now = Instant::now();
        for (id, line) in &mut self.lines {
            if line.held_until.is_some_and(|until| until <= now) {
                line.held_until = None;
                if !line.parked {
                    // It was suspended for its pace, so it can be resumed.
                    let _ = self.engine.resume_local(*id);
                }
            }
        }
    }

    fn note_step(&mut self, us: u64) {
        self.steps_us.push_back(us.max(1));
        if self.steps_us.len() > STEPS_KEPT {
            self.steps_us.pop_front();
        }
        let mut sorted: Vec<u64> = self.steps_us.iter().copied().collect();
        sorted.sort_unstable();
        self.median_step_us.store(sorted[sorted.len() / 2], Ordering::Relaxed);
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

    pub(super) fn admit(&mut self, admission: Admission) -> Result<Admitted, EngineRefusal> {
        let Admission { prompt, sampling, pace, salt } = admission;
        let id = self.draw_id();
        let count = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        let admitted = self.engine.admit(id, prompt, sampling.to_engine()?, salt.0)?;
        self.tags.know(&salt, self.engine.model());
        let prefill = count - admitted.cached_tokens.get();
        let sequence = self.open_line(id, pace, false, prefill);
        Ok(Admitted { sequence, cached_tokens: admitted.cached_tokens })
    }

    pub(super) fn import(&mut self, arrival: Arrival) -> Result<Sequence, EngineRefusal> {
        let Arrival { continuation, tokens, pages, tail, salt, pace } = arrival;
        let id = self.draw_id();
        let continuation = Continuation::decode(&continuation)?;
        self.engine.import(id, &continuation, &tokens, &pages, tail.as_ref(), salt.0)?;
        self.engine.suspend(id)?;
        Ok(self.open_line(id, pace, true, 0))
    }

    pub(super) fn rebuild(&mut self, survivor: Survivor) -> Result<(Sequence, Option<FinishReason>), EngineRefusal> {
        let Survivor { tokens, prompt_tokens, sampling, pages, salt, pace } = survivor;
        let id = self.draw_id();
        let prompt = &tokens[..tokens.len().min(prompt_tokens.get() as usize)];
        let begin = Continuation::begin(self.engine.model(), prompt, sampling.to_engine()?);
        let continuation = begin.with_tokens(&tokens);
        let count = tokens.len().saturating_sub(pages.len() * BLOCK_TOKENS);
        self.engine.rebuild(id, &continuation, &tokens, &pages, salt.0)?;
        let finish = self.engine.suspend(id)?.finish.map(FinishReason::from);
        self.engine.resume_local(id)?;
        let sequence = self.open_line(id, pace, false, u32::try_from(count).unwrap_or(u32::MAX));
        Ok((sequence, finish))
    }

    pub(super) fn export_pages(
        &self,
        id: SequenceId,
        from: u32,
        count_max: u32,
    ) -> Result<(Vec<Vec<u8>>, u32), EngineRefusal> {
        let full = u32::try_from(self.engine.full_pages(id)?).unwrap_or(u32::MAX);
        let pages = (from..full)
            .take(count_max as usize)
            .map(|index| self.engine.export_page(id, index as usize))
            .collect::<Result<_, _>>()?;
        Ok((pages, full))
    }

    pub(super) fn suspend(&mut self, id: SequenceId) -> Result<Parked, EngineRefusal> {
        let line = self.lines.get_mut(&id).ok_or(gpu::Refusal::SequenceUnknown { id })?;
        if line.held_until.take().is_some() || line.parked {
            self.engine.resume_local(id)?;
        }
        line.parked = true;
        let continuation = self.engine.suspend(id)?;
        let tail = self.engine.export_tail(id)?;
        Ok(Parked { continuation: continuation.encode(), full_pages: continuation.pages.full, tail })
    }

    pub(super) fn resume(&mut self, id: SequenceId) -> Result<(), EngineRefusal> {
        let line = self.lines.get_mut(&id).ok_or(gpu::Refusal::SequenceUnknown { id })?;
        if std::mem::take(&mut line.parked) {
            self.engine.resume_local(id)?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, id: SequenceId) {
        self.lines.remove(&id);
        // It may have been released before.
        let _ = self.engine.release(id);
    }

    pub(super) fn evict_prefix_cache(&mut self, count: usize) -> usize {
        self.engine.evict_prefix_cache(count)
    }

    fn open_line(&mut self, id: SequenceId, pace: Duration, parked: bool, prefill: u32) -> Sequence {
        let (events, receiver) = mpsc::unbounded_channel();
        let prefill = (prefill > 0).then(|| (prefill, Instant::now()));
        self.lines.insert(id, Line { events, pace, held_until: None, parked, prefill });
        Sequence { id, events: receiver }
    }

    fn draw_id(&mut self) -> SequenceId {
        self.next_id += 1;
        SequenceId(self.next_id)
    }

    pub(super) fn stats(&self) -> EngineStats {
        let usage = self.engine.usage();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let median = self.median_step_us.load(Ordering::Relaxed);
        let waiting: u32 = self.lines.values().filter_map(|line| line.prefill).map(|(tokens, _)| tokens).sum();
        EngineStats {
            blocks_total: count(usage.blocks_total),
            blocks_used: count(usage.blocks_used),
            blocks_cached: count(usage.blocks_idle),
            running: count(usage.sequences_running),
            waiting: count(usage.sequences_total - usage.sequences_running),
            prefill_tokens_waiting: waiting,
            prefill_tokens_per_s: self.prefill_tokens_per_s,
            median_step: Some(median).filter(|median| *median > 0).map(Micros::new),
        }
    }

    fn tell_notices(&mut self) {
        for notice in self.engine.take_notices() {
            for tagged in self.tags.tag(notice) {
                // An error means that nobody listens.
                let _ = self.notices.send(tagged);
            }
        }
    }
}
