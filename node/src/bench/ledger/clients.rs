//! Clients of one validator: each submits events that the validator's operator signed, and waits until they are final.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{
    author::Author,
    member::Member,
    orders::{Load, Loaded},
};
use crate::bench::{sessions::Chance, side::cpu_us_now};

/// So many submissions a second are signed ahead for each client; what a load needs beyond that it signs as it goes.
const SUBMISSIONS_PER_S: u64 = 200;
/// And at most so many events a second for all clients of this validator.
const EVENTS_PER_S: u64 = 6_000;
/// A client that waits so long after the load's end does not count.
const PATIENCE: Duration = Duration::from_secs(20);

/// When what becomes final counts.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

#[derive(Default)]
struct Tally {
    finals: u64,
    refused: u64,
    latencies_us: Vec<u32>,
}

/// Runs a load to its end.
pub(super) async fn run(member: &Member, author: &Arc<Author>, load: Load, seed: u64) -> Loaded {
    let batch = load.batch.max(1);
    if load.per_s.is_none() {
        let most_per_s = (u64::from(load.clients) * SUBMISSIONS_PER_S).min(EVENTS_PER_S / u64::from(batch));
        let wanted = usize::try_from((load.lead_ms + load.ms) * most_per_s / 1_000).unwrap_or(usize::MAX);
        let author = author.clone();
        // Not on the runtime's threads, which carry heartbeats. It can only fail with a panic, which would be seen.
        let _ = tokio::task::spawn_blocking(move || author.prepare(wanted, batch as usize)).await;
    }
    let (verified, entries, cpu_us) = (member.verifications(), member.entries(), cpu_us_now());
    let blocks = member.height();
    let from = Instant::now() + Duration::from_millis(load.lead_ms);
    let window = Window { from, until: from + Duration::from_millis(load.ms) };
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        let one = Client {
            member: member.clone(),
            author: author.clone(),
            batch: batch as usize,
            window,
            tally: tally.clone(),
        };
        match load.per_s {
            None => clients.spawn(one.closed_loop()),
            Some(per_s) => {
                let gap = Duration::from_secs_f64(f64::from(load.clients) * f64::from(batch) / per_s);
                clients.spawn(one.at_a_rate(gap, Chance::new(seed, u64::from(number))))
            }
        };
    }
    let _ = tokio::time::timeout_at(window.until + PATIENCE, clients.join_all()).await;
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    Loaded {
        finals: tally.finals,
        refused: tally.refused,
        latencies_us: tally.latencies_us,
        verifications: member.verifications() - verified,
        cpu_us: cpu_us_now() - cpu_us,
        blocks: member.height() - blocks,
        entries: member.entries() - entries,
    }
}

#[derive(Clone)]
struct Client {
    member: Member,
    author: Arc<Author>,
    batch: usize,
    window: Window,
    tally: Arc<Mutex<Tally>>,
}

impl Client {
    async fn closed_loop(self) {
        while Instant::now() < self.window.until {
            if !self.once().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Submits whenever its time has come, for each event anew; the gaps vary, so that validators do not keep step.
    async fn at_a_rate(self, gap: Duration, mut chance: Chance) {
        let mut due = Instant::now() + gap.mul_f64(chance.below(1000) as f64 / 1e3);
        let mut open = JoinSet::new();
        while due < self.window.until {
            tokio::time::sleep_until(due).await;
            let client = self.clone();
            open.spawn(async move { client.once().await });
            while open.try_join_next().is_some() {}
            due += gap.mul_f64(0.5 + chance.below(1000) as f64 / 1e3);
        }
        open.join_all().await;
    }

    /// One submission, up to when all of it is final. Whether it was.
    async fn once(&self) -> bool {
        let started = Instant::now();
        let submitted = self.author.next(self.batch, |entries| self.member.submit(entries));
        let is_final = match submitted {
            Ok(ids) => self.member.wait(&ids).await,
            Err(()) => false,
        };
        let now = Instant::now();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_final {
            tally.refused += self.batch as u64;
        } else if (self.window.from..self.window.until).contains(&now) {
            tally.finals += self.batch as u64;
            let took = u32::try_from((now - started).as_micros()).unwrap_or(u32::MAX);
            tally.latencies_us.push(took);
        }
        is_final
    }
}
