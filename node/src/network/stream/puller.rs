//! The task behind a remote stream: pulls as long as there is room, and tells the origin what is not needed any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    WAIT_MS_MAX,
    link::{StreamLink, StreamLinkFault},
    message::{Pull, Pulled, StreamReply, StreamRequest, Trim},
    refusal::StreamRefusal,
    remote::Shared,
    verdict::{self, Broken},
    window::Room,
};

/// How long an answer may take beyond what the origin was told to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The wait before an origin is asked again that did not answer; doubles up to [`AGAIN_AFTER_MAX`].
const AGAIN_AFTER_MIN: Duration = Duration::from_millis(20);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);
/// Payloads beyond this are hashed beside the runtime's own threads.
const HASHED_HERE_BYTES_MAX: usize = 128 << 10;

type Answer = Result<StreamReply, StreamLinkFault>;

/// A pull and what became of it.
struct Asked {
    pull: Pull,
    /// How long it took, unless it had to wait for its pages.
    took: Option<Duration>,
    answer: Answer,
}

struct Puller {
    shared: Arc<Shared>,
    link: Arc<dyn StreamLink>,
    /// The pull that is under way, at most one. It runs beside this task, so that it waits while pages are verified.
    pull: JoinSet<Asked>,
    /// The trim that is under way, at most one.
    trim: JoinSet<Answer>,
    /// Up to where the origin was told that pages are not needed. 0 again if that did not reach it.
    told: u64,
    again_at: Instant,
    again_after: Duration,
    /// Since when the origin gives nothing.
    missing_since: Option<Instant>,
}

/// Pulls until the stream has ended or is broken, then only trims.
pub(super) async fn run(shared: Arc<Shared>, link: Arc<dyn StreamLink>) {
    let now = Instant::now();
    let puller = Puller {
        shared,
        link,
        pull: JoinSet::new(),
        trim: JoinSet::new(),
        told: 0,
        again_at: now,
        again_after: AGAIN_AFTER_MIN,
        missing_since: None,
    };
    puller.run().await;
}

impl Puller {
    async fn run(mut self) {
        loop {
            let now = Instant::now();
            let is_due = self.again_at <= now;
            if is_due && self.pull.is_empty() {
                let room = self.shared.window().room(0, 0);
                if let Some(room) = room {
                    self.ask(room);
                }
            }
            if is_due {
                self.tell();
            }
            tokio::select! {
                Some(answer) = self.pull.join_next() => {
                    if let Ok(asked) = answer {
                        self.on_answer(asked).await;
                    }
                }
                Some(answer) = self.trim.join_next() => {
                    if let Ok(answer) = answer {
                        self.on_trimmed(answer);
                    }
                }
                () = self.shared.trimmed.notified() => {}
                () = sleep_until(self.again_at), if !is_due => {}
            }
            if self.shared.window().broken().is_some() {
                return;
            }
        }
    }

    /// Sends the next pull.
    fn ask(&mut self, room: Room) {
        let (below, is_known, origin_tail) = {
            let window = self.shared.window();
            (window.unneeded(), window.known().tip.is_some(), window.origin_tail())
        };
        let is_heard = origin_tail.is_some();
        let waits = origin_tail.is_some_and(|tail| tail <= room.cursor);
        let trim_below = (self.shared.options.is_consumer && below > self.told).then_some(below);
        self.told = trim_below.unwrap_or(self.told);
        // The first answer says on what the stream stands: it does not wait for a page.
        let wait = if is_heard { self.shared.options.wait.as_millis() } else { 0 };
        let pull = Pull {
            stream: self.shared.id,
            cursor: room.cursor,
            pages_max: room.pages,
            bytes_max: room.bytes,
            wait_ms: u32::try_from(wait).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX),
            trim_below,
            peaks: !is_known,
        };
        let (link, peer) = (self.link.clone(), self.shared.peer);
        self.pull.spawn(async move {
            let asked_at = Instant::now();
            let answer = link.ask(peer, StreamRequest::Pull(pull), ANSWER_WITHIN).await;
            Asked { pull, took: (!waits).then(|| asked_at.elapsed()), answer }
        });
    }

    /// Says what is not needed any more, if a pull is on its way that does not, or none is due.
    fn tell(&mut self) {
        let below = self.shared.window().unneeded();
        if !self.shared.options.is_consumer || below <= self.told || !self.trim.is_empty() {
            return;
        }
        self.told = below;
        let (link, peer) = (self.link.clone(), self.shared.peer);
        let request = StreamRequest::Trim(Trim { stream: self.shared.id, below });
        self.trim.spawn(async move { link.ask(peer, request, ANSWER_WITHIN).await });
    }

    fn on_trimmed(&mut self, answer: Answer) {
        match answer {
            Ok(StreamReply::Trimmed) => self.heard(),
            // A stream that has ended needs no more room.
            _ if self.shared.window().is_closed() => {}
            Ok(StreamReply::Refused(refusal)) => self.refused(&refusal),
            Ok(StreamReply::Pulled(_)) => self.fail(Broken::AnotherStream { reason: "the answer is no trim's" }),
            Err(fault) => self.missed(&fault),
        }
    }

    async fn on_answer(&mut self, Asked { pull, took, answer }: Asked) {
        match answer {
            Ok(StreamReply::Pulled(pulled)) => {
                self.heard();
                if let Some(took) = took {
                    let bytes: usize = pulled.pages.iter().map(|page| page.payload.len()).sum();
                    let mut window = self.shared.window();
                    let (all, elapsed) = window.transferred;
                    window.transferred = (all.saturating_add(bytes), elapsed.saturating_add(took));
                }
                self.on_pulled(pull, pulled).await;
            }
            Ok(StreamReply::Refused(StreamRefusal::Gap { earliest })) if earliest > pull.cursor => {
                self.heard();
                self.shared.window().jump(earliest);
                self.shared.changed.notify_waiters();
            }
            Ok(StreamReply::Refused(StreamRefusal::Beyond { tail })) => {
                self.fail(Broken::BeyondTail { position: pull.cursor, tail });
            }
            Ok(StreamReply::Refused(refusal)) => self.refused(&refusal),
            Ok(StreamReply::Trimmed) => self.fail(Broken::AnotherStream { reason: "the answer is no pull's" }),
            Err(fault) => self.missed(&fault),
        }
    }

    async fn on_pulled(&mut self, pull: Pull, pulled: Pulled) {
        let count = pulled.pages.len();
        let bytes: usize = pulled.pages.iter().map(|page| page.payload.len()).sum();
        let is_idle = count == 0 && pull.wait_ms > 0;
        if is_idle {
            // An origin that does not wait is not asked without pause.
            self.again_at = Instant::now() + AGAIN_AFTER_MIN;
        }
        let known = self.shared.window().known();
        // The next pull is on its way while these pages are verified. The first answer says what the next builds on.
        let room = (count > 0 && known.tip.is_some()).then(|| self.shared.window().room(count, bytes)).flatten();
        let is_end = |room: &Room| pulled.state.closed && pulled.state.tail <= room.cursor;
        if let Some(room) = room.filter(|room| !is_end(room)) {
            self.ask(room);
        }
        let verified = if bytes > HASHED_HERE_BYTES_MAX {
            let shared = self.shared.clone();
            let checked = tokio::task::spawn_blocking(move || {
                verdict::check(&shared.descriptor, &pull, &known, &pulled).map(|verified| (verified, pulled))
            });
            match checked.await {
                Ok(checked) => checked,
                Err(_) => Err(Broken::PeerGone { reason: "the node stops".to_owned() }),
            }
        } else {
            verdict::check(&self.shared.descriptor, &pull, &known, &pulled).map(|verified| (verified, pulled))
        };
        match verified {
            Ok((verified, pulled)) => {
                let mut window = self.shared.window();
                window.take(&verified.start, verified.tip, pulled.pages, pulled.state);
                if is_idle && !window.is_closed() {
                    window.idle_at = Some(Instant::now());
                }
                drop(window);
                self.shared.changed.notify_waiters();
            }
            Err(broken) => self.fail(broken),
        }
    }

    fn refused(&mut self, refusal: &StreamRefusal) {
        self.not_given(refusal.retry(), format!("{refusal} ({})", refusal.code()));
    }

    fn missed(&mut self, fault: &StreamLinkFault) {
        self.not_given(fault.retry(), format!("{fault} ({})", fault.code()));
    }

    /// The origin gave nothing: it is asked again as long as there is patience.
    fn not_given(&mut self, retry: bool, reason: String) {
        let since = *self.missing_since.get_or_insert_with(Instant::now);
        if !retry || since.elapsed() > self.shared.options.patience {
            return self.fail(Broken::PeerGone { reason });
        }
        self.told = 0;
        tracing::debug!(stream = %self.shared.id.0, peer = %self.shared.peer, reason, "asked again");
        self.again_later();
    }

    fn again_later(&mut self) {
        self.again_at = Instant::now() + self.again_after;
        self.again_after = (self.again_after * 2).min(AGAIN_AFTER_MAX);
    }

    fn heard(&mut self) {
        self.missing_since = None;
        self.again_after = AGAIN_AFTER_MIN;
    }

    fn fail(&self, broken: Broken) {
        self.shared.window().fail(broken);
        self.shared.changed.notify_waiters();
    }
}
