//! A session moves: what its holder gives away is taken over at another place.

use std::{path::Path, sync::Arc, time::Duration};

use gpu::{
    Model,
    continuation::{Beside, Entry},
    stream::StreamFault,
};
use wallet::{
    page::Page,
    units::{KeyEpoch, PageIndex},
};

use super::{Plan, Session, SessionFault, session::wrong};
use crate::{
    engine::Arrival as ForEngine,
    migration::inbound::bound,
    session::{
        continuation::{Source, Stand, engine_tail, receive, tail_of},
        disk::{HolderKeys, SessionDir},
        held::Held,
    },
};

/// A session that is all there, and durable, and waits for the decision that it goes on here.
pub struct Arrival {
    plan: Plan,
    model: Arc<Model>,
    /// At the place that gives it away.
    source: Held,
    place: (SessionDir, HolderKeys),
    held: Held,
    pages: Vec<Page>,
    for_engine: ForEngine,
}

/// The way from one place to another, on which everything that comes, and everything that is written there, is a step. It
/// breaks when none is left.
struct Way {
    left: u64,
}

impl Arrival {
    /// Brings the session that stands at `from`, held in `epoch`, to `to`. It may be repeated after it was cut off. The way
    /// between the places breaks after so many `steps`: entries of the journal, pages, and what is written at `to`.
    ///
    /// # Errors
    /// What is wrong with the session, or keeps it from moving; [`StreamFault::PeerGone`] if the way broke.
    pub fn bring(
        plan: &Plan,
        model: &Arc<Model>,
        (from, epoch): (&Path, u32),
        to: &Path,
        steps: u64,
    ) -> Result<Self, SessionFault> {
        let (dir, stream) = (plan.dir(from)?, model.stream_descriptor());
        let keys = dir.load_keys()?.filter(|keys| keys.epoch.get() == epoch);
        let keys = keys.ok_or_else(|| wrong("another holds it than the one from whom it comes"))?;
        let source = Held::reopen(&dir, &keys, model)?;
        let mut source = source.ok_or_else(|| wrong("what is left in its folder is no session"))?;
        source.may_move()?;
        source.count_pages(&dir, &keys, &stream)?;
        let full = source.content.pages();
        let tail = source.parked_tail(&dir, &keys, &stream, full);
        let signed = source.sign(&keys, dir.wallet(), Stand::Ready, &tail)?.signed;

        let mut way = Way { left: steps };
        let journal = way.journal(&source)?;
        let pages = way.pages(&source, |index, payload| {
            Page::new(&stream, PageIndex::new(index), stream.block, payload, Some(&keys.page_hash))
        })?;
        let kv = bound(&pages);
        let beside = Beside { tokens: source.tokens(), key: &keys.page_hash, kv, tail: tail_of(&tail, kv) };
        let of_record = Source {
            wallet: dir.wallet(),
            epoch: KeyEpoch::new(epoch),
            holder_key: plan.keys(from, epoch).holder.key().public_key(),
            policy: keys.policy.commitment(),
        };
        let received = receive(signed.as_bytes(), &of_record, &beside)?;

        let (dir, keys) = (plan.dir(to)?, plan.keys(to, epoch + 1));
        let for_engine = ForEngine {
            tokens: source.tokens().to_vec(),
            prompt_tokens: received.start.prompt_tokens,
            sampling: received.start.sampling.clone(),
            pages: pages.iter().map(|page| page.payload().to_vec()).collect(),
            tail: engine_tail(&tail),
            salt: keys.prefix_salt.clone(),
            pace: Duration::ZERO,
        };
        let held = Held::take_over(&dir, &keys, received, journal, model)?;
        way.pass()?;
        dir.save_keys(&keys)?;
        way.pass()?;
        let (plan, model) = (plan.clone(), model.clone());
        Ok(Self { plan, model, source, place: (dir, keys), held, pages, for_engine })
    }

    /// It goes on here, and nothing that has an earlier epoch can go on at the place from where it came: what the ledger
    /// sees to between nodes.
    ///
    /// # Errors
    /// Those of folder and engine.
    pub fn confirm(self, shown: u32) -> Result<Session, SessionFault> {
        let Self { plan, model, source, place: (dir, keys), mut held, pages, for_engine } = self;
        let epoch = keys.epoch.get();
        source.journal().stream().fence(epoch)?;
        // Whoever else opens its streams must find them closed.
        drop(source);
        let stream = model.stream_descriptor();
        pages.iter().try_for_each(|page| held.keep_page(&dir, &keys, &stream, page))?;
        Session::arrived(&plan, &model, (dir, keys), held, &for_engine, shown)
    }
}

impl Way {
    fn journal(&mut self, source: &Held) -> Result<Vec<Entry>, SessionFault> {
        source.journal().entries()?.into_iter().map(|entry| self.pass().map(|()| entry)).collect()
    }

    fn pages(
        &mut self,
        source: &Held,
        page: impl Fn(u64, &[u8]) -> Result<Page, wallet::refusal::Refusal>,
    ) -> Result<Vec<Page>, SessionFault> {
        let payloads = source.payloads(0, u32::MAX)?;
        (0..).zip(payloads).map(|(index, payload)| self.pass().and_then(|()| Ok(page(index, &payload)?))).collect()
    }

    fn pass(&mut self) -> Result<(), SessionFault> {
        let broken = StreamFault::PeerGone { reason: "the way broke".to_owned() };
        self.left = self.left.checked_sub(1).ok_or(broken)?;
        Ok(())
    }
}
