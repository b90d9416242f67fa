//! A holder's continuation: signed with its epoch key, kept in the session's folder, and given away at a hand-over.

use gpu::{
    TailPage,
    continuation::{
        Beside, Bound, ContinuationRefusal, EffectId, Flags, Journal, SignedContinuation, Standing, Status, Tail,
    },
    stream::{Accumulator, Stream as _},
};
use wallet::{
    chain::PageHashKey,
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, VerifyingKey},
    page::{HEAD_BYTES, Page, StreamDescriptor},
    policy::PolicyCommitment,
    units::KeyEpoch,
};

use super::{
    context::now,
    disk::{DiskFault, HolderKeys, SessionDir, stream_fault},
    held::Held,
    refusal::Refusal,
    start::{SessionStart, StreamBounds},
};
use crate::{engine::EngineRefusal, migration::refusal::Refusal as MoveRefusal};

/// A continuation as a session's folder has it.
pub(crate) struct Kept {
    /// The continuation.
    pub(crate) signed: SignedContinuation,
    /// The page after the full ones that it refers to.
    pub(crate) tail: Option<Tail>,
}

/// How a session stands that nothing is in doubt of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It goes on at once.
    Ready,
    /// It waits for its operator.
    Parked,
    /// It waits for somebody who asks for its tokens: for the effect that makes the next one.
    Unread,
}

impl Held {
    /// The continuation of the session as it stands, signed. `tail` is the page after the full ones, head included, or
    /// empty: it is referred to if it follows those on the disk. While an effect is in doubt, that is its status, and
    /// not `stand`.
    pub(crate) fn sign(
        &self,
        keys: &HolderKeys,
        wallet: WalletAddress,
        stand: Stand,
        tail: &[u8],
    ) -> Result<Kept, Refusal> {
        let kv = self.kv_bound()?;
        let journal = self.journal().bound().map_err(DiskFault::from)?;
        let tail = tail_of(tail, kv);
        let bounds = StreamBounds { journal, kv, tail, finish: self.journal().finished() };
        let before = self.inherited();
        let (status, awaits) = match (self.journal().in_doubt().first(), stand) {
            (Some(effect), _) => (Status::InDoubt, effect.id),
            (None, Stand::Ready) => (Status::Ready, EffectId::NONE),
            (None, Stand::Parked) => (Status::Parked, EffectId::NONE),
            (None, Stand::Unread) => (Status::Parked, self.asked()),
        };
        let standing = Standing {
            id: wallet.0,
            epoch: keys.epoch.get(),
            // What it does is what its tenant agreed to: these numerics, and nobody but its holder.
            flags: Flags { pinned: before.pinned, want_exact: true, confidential: true, ..Flags::default() },
            status,
            priority: before.priority,
            parent: before.parent,
            awaits,
            numerics: self.start.numerics,
            policy: keys.policy.commitment().0,
            deadline_us: before.deadline_us,
        };
        let signed = self.start.body(bounds)?.sign(&standing, self.signer())?;
        Ok(Kept { signed, tail })
    }

    /// Signs the continuation and keeps it: what the session goes on from after a restart.
    pub(crate) fn keep_continuation(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stand: Stand,
        tail: &[u8],
    ) -> Result<(), Refusal> {
        let kept = self.sign(keys, dir.wallet(), stand, tail)?;
        self.keep(dir, keys, kept)
    }

    /// All that the continuation refers to is durable before it is: else a crash would leave it without.
    fn keep(&mut self, dir: &SessionDir, keys: &HolderKeys, kept: Kept) -> Result<(), Refusal> {
        self.sync()?;
        dir.save_continuation(keys, kept.signed.as_bytes())?;
        self.set_kept(kept);
        Ok(())
    }

    /// Keeps everything that a parked session needs, synced: journal, full pages, tail page and continuation.
    pub(crate) fn park(
        &mut self,
        dir: &SessionDir,
        keys: &HolderKeys,
        until_read: bool,
        tail: &[u8],
    ) -> Result<(), Refusal> {
        let stand = if until_read { Stand::Unread } else { Stand::Parked };
        let kept = self.sign(keys, dir.wallet(), stand, tail)?;
        dir.save_tail(keys, tail)?;
        self.keep(dir, keys, kept)
    }

    /// Whether the session may go on: under the model and the numerics that it began with, nobody has to decide before, and
    /// its time is not over.
    ///
    /// # Errors
    /// [`gpu::Refusal::ModelMismatch`], [`gpu::Refusal::NumericsMismatch`]; [`ContinuationRefusal::InDoubt`] if it is not
    /// known whether one of its effects happened; [`ContinuationRefusal::Overdue`].
    pub(crate) fn may_go_on(&self) -> Result<(), Refusal> {
        let (needed, loaded) = (self.start.model, self.loaded);
        if needed != loaded {
            return Err(EngineRefusal::from(gpu::Refusal::ModelMismatch { needed, loaded }).into());
        }
        let (needed, offered) = (self.start.numerics, gpu::numerics_id());
        if needed != offered {
            return Err(EngineRefusal::from(gpu::Refusal::NumericsMismatch { needed, offered }).into());
        }
        match self.journal().in_doubt() {
            [] => Ok(in_time(self.inherited().deadline_us)?),
            all @ [first, ..] => Err(ContinuationRefusal::InDoubt { count: all.len(), first: first.id }.into()),
        }
    }

    /// Whether the words of its tokens can be told: another model has others for them.
    pub(crate) fn can_be_read(&self) -> bool {
        self.start.model == self.loaded
    }

    /// Whether the session may leave this holder: [`Self::may_go_on`], and it is not pinned.
    ///
    /// # Errors
    /// [`ContinuationRefusal::Pinned`], and those of [`Self::may_go_on`].
    pub(crate) fn may_move(&self) -> Result<(), Refusal> {
        self.may_go_on()?;
        if self.inherited().pinned { Err(ContinuationRefusal::Pinned.into()) } else { Ok(()) }
    }

    /// Whether a session that was taken over goes on by itself: [`Self::may_go_on`], it has not ended, and no effect is open
    /// that its program will not ask for again.
    ///
    /// # Errors
    /// Those of [`Self::may_go_on`]; [`MoveRefusal::Unverified`].
    pub(crate) fn may_begin(&self) -> Result<(), Refusal> {
        self.may_go_on()?;
        if self.journal().finished().is_some() {
            return Err(unverified("the session has ended"));
        }
        // Its journal could have no end.
        if !self.journal().open_effects().is_empty() {
            return Err(unverified("its program does not ask for an effect that was intended"));
        }
        Ok(())
    }

    /// Whether the session is parked: the kept continuation says so, and nothing has happened since.
    pub(crate) fn is_parked(&self) -> bool {
        self.continuation()
            .is_some_and(|kept| kept.head().status == Status::Parked && kept.head().seq == self.journal().seq())
    }

    /// Whether the session is parked until somebody asks for its tokens.
    pub(crate) fn is_parked_until_read(&self) -> bool {
        self.is_parked() && self.continuation().is_some_and(|kept| kept.head().awaits != EffectId::NONE)
    }

    /// The tail page of a parked session, head included; empty if there is none, or it does not follow the `full` pages
    /// that are there: then its rows are computed again.
    pub(crate) fn parked_tail(
        &self,
        dir: &SessionDir,
        keys: &HolderKeys,
        stream: &StreamDescriptor,
        full: u64,
    ) -> Vec<u8> {
        let Some(tail) = self.kept_tail().filter(|_| self.is_parked()) else { return Vec::new() };
        let page = dir.load_tail(keys).ok().flatten().unwrap_or_default();
        if is_tail(&page, tail, full, stream, &keys.page_hash) { page } else { Vec::new() }
    }

    /// The full pages on the disk, as a continuation refers to them.
    pub(crate) fn kv_bound(&self) -> Result<Bound, Refusal> {
        let to = self.content.pages();
        let root = match self.kv() {
            Some(kv) => kv.root(to).map_err(|fault| stream_fault(kv, fault))?,
            None => no_pages().root,
        };
        Ok(Bound { root, to })
    }
}

/// Checks the continuation that a holder keeps of its session, signed by `holder`, against the session's journal. None if
/// it is of another wallet or epoch, or the journal has not all that it refers to.
///
/// # Errors
/// [`DiskFault`].
pub(crate) fn verify(
    bytes: Vec<u8>,
    keys: &HolderKeys,
    holder: &VerifyingKey,
    journal: &Journal,
) -> Result<Option<(SessionStart, Kept)>, DiskFault> {
    let signed = SignedContinuation::decode(bytes, holder).map_err(DiskFault::Continuation)?;
    if (signed.head().id, signed.head().epoch) != (journal.stream().descriptor().owner, keys.epoch.get()) {
        return Ok(None);
    }
    // The pages are a cache, and are looked at when it goes on.
    let beside = Beside { tokens: journal.tokens(), key: &keys.page_hash, kv: no_pages(), tail: None };
    let (start, bounds) = SessionStart::read(&signed, &beside).map_err(DiskFault::Continuation)?;
    let is_all_there = journal.prompt_tokens() == start.prompt_tokens.get() as usize
        && bounds.journal.to <= u64::from(journal.seq())
        && journal.stream().root(bounds.journal.to).map_err(ContinuationRefusal::from)? == bounds.journal.root;
    Ok(is_all_there.then_some((start, Kept { signed, tail: bounds.tail })))
}

/// Whether `page`, head included, is the one that `tail` refers to and follows `full` others.
pub(crate) fn is_tail(page: &[u8], tail: Tail, full: u64, stream: &StreamDescriptor, key: &PageHashKey) -> bool {
    Page::parse(page.to_vec(), stream, Some(key)).is_ok_and(|page| {
        let head = page.head();
        (head.hash, head.fill, head.position) == (tail.hash, u16::from(tail.rows), full)
    })
}

/// What the ledger has of a wallet whose continuation comes with a hop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// The wallet.
    pub(crate) wallet: WalletAddress,
    /// The source's epoch.
    pub(crate) epoch: KeyEpoch,
    /// The source's key of that epoch.
    pub(crate) holder_key: PublicKey,
    /// The wallet's policy.
    pub(crate) policy: PolicyCommitment,
}

/// A continuation that came with a hop, checked but for its journal.
#[derive(Debug)]
pub(crate) struct Received {
    /// What the next one takes over from it.
    pub(crate) inherited: Inherited,
    /// The session.
    pub(crate) start: SessionStart,
    /// What its journal must be.
    pub(crate) journal: Bound,
}

/// Reads a continuation that came with this beside it.
///
/// # Errors
/// [`Refusal::Continuation`] if the source of record did not sign it, it is pinned there or overdue, or one of its effects
/// is in doubt;
/// [`MoveRefusal::Unverified`] if it is of another wallet or epoch, has ended, or does not refer to these pages.
pub(crate) fn receive(bytes: &[u8], source: &Source, beside: &Beside<'_>) -> Result<Received, Refusal> {
    let holder = source.holder_key.decompress().map_err(|_| ContinuationRefusal::SignatureInvalid)?;
    let signed = SignedContinuation::decode(bytes.to_vec(), &holder)?;
    let (start, bounds) = SessionStart::read(&signed, beside)?;
    let head = signed.head();
    if (head.id, head.epoch, head.policy) != (source.wallet.0, source.epoch.get(), source.policy.0) {
        return Err(unverified("the continuation is of another wallet or epoch"));
    }
    if (bounds.kv, bounds.tail) != (beside.kv, beside.tail) {
        return Err(unverified("the pages are not those of the continuation"));
    }
    match head.status {
        Status::Ready | Status::Parked => {}
        // The head names one; how many there are stands in the journal, which stays where it is.
        Status::InDoubt => return Err(ContinuationRefusal::InDoubt { count: 1, first: head.awaits }.into()),
        Status::Done | Status::Failed => return Err(unverified("the session has ended")),
    }
    if head.flags.pinned {
        return Err(ContinuationRefusal::Pinned.into());
    }
    in_time(head.deadline_us)?;
    Ok(Received { inherited: Inherited::of(&signed), start, journal: bounds.journal })
}

/// What came does not belong together.
pub(crate) fn unverified(reason: &str) -> Refusal {
    MoveRefusal::Unverified { reason: reason.to_owned() }.into()
}

/// The page after the full ones as the engine takes it; none if `page` is empty.
pub(crate) fn engine_tail(page: &[u8]) -> Option<TailPage> {
    let (head, payload) = page.split_first_chunk::<HEAD_BYTES>()?;
    let rows = u8::try_from(wallet::page::PageHead::decode(head).ok()?.fill).ok()?;
    Some(TailPage { rows, payload: payload.to_vec() })
}

/// The reference to the page after `kv`; none if this is not it.
pub(crate) fn tail_of(page: &[u8], kv: Bound) -> Option<Tail> {
    let head = wallet::page::PageHead::decode(page.first_chunk()?).ok()?;
    let rows = u8::try_from(head.fill).ok()?;
    (head.position == kv.to && !head.is_full()).then_some(Tail { rows, hash: head.hash })
}

/// No full pages.
pub(crate) fn no_pages() -> Bound {
    Bound { root: Accumulator::new().root(), to: 0 }
}

/// What a continuation takes over from the one before it. The first one of a wallet has none, and takes the default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inherited {
    /// Digest of the one before; zero if there is none.
    pub(crate) parent: Digest,
    /// The session stays where it is.
    pub(crate) pinned: bool,
    /// Passed on; nothing orders sessions by it yet.
    pub(crate) priority: u8,
    /// The session goes on before this time, in microseconds since the Unix epoch, or not at all; 0 if there is none.
    pub(crate) deadline_us: u64,
}

impl Inherited {
    /// What `signed` leaves.
    pub(crate) fn of(signed: &SignedContinuation) -> Self {
        let head = signed.head();
        let (pinned, priority, deadline_us) = (head.flags.pinned, head.priority, head.deadline_us);
        Self { parent: signed.digest(), pinned, priority, deadline_us }
    }
}

/// Whether this deadline has not passed, by the clock of this node.
fn in_time(deadline_us: u64) -> Result<(), ContinuationRefusal> {
    let is_over = deadline_us > 0 && deadline_us / 1_000 < now().get();
    if is_over { Err(ContinuationRefusal::Overdue { deadline_us }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use gpu::SamplingParams;
    use wallet::{
        identity::{RegionId, SecretKey},
        page::Dtype,
        units::{PageIndex, TokenCount},
    };

    use super::*;
    use crate::session::start::SessionTerms;

    fn key() -> SecretKey {
        SecretKey::from_seed(&[1; 32])
    }

    fn source() -> Source {
        Source {
            wallet: WalletAddress(Digest([2; 32])),
            epoch: KeyEpoch::new(3),
            holder_key: key().public_key(),
            policy: PolicyCommitment(Digest([4; 32])),
        }
    }

    /// Two full pages and one of 5 rows.
    fn pages() -> (Bound, Vec<u8>) {
        let stream = StreamDescriptor {
            model: Digest([5; 32]),
            dtype: Dtype::Bf16,
            numerics: Digest([6; 32]),
            layers: 1,
            kv_heads: 1,
            head_dim: 2,
            block: 16,
        };
        let page = |index, fill| {
            let hash_key = PageHashKey::from_bytes([7; 32]);
            Page::new(&stream, PageIndex::new(index), fill, &[index as u8; 128], Some(&hash_key)).expect("a page")
        };
        let mut roots = Accumulator::new();
        (0..2).for_each(|index| roots.push(page(index, 16).head()));
        (Bound { root: roots.root(), to: 2 }, page(2, 5).as_bytes().to_vec())
    }

    fn signed(change: impl FnOnce(&mut StreamBounds, &mut Standing), key: &SecretKey) -> Vec<u8> {
        let (kv, page) = pages();
        let journal = Bound { root: Digest([8; 32]), to: 19 };
        let mut bounds = StreamBounds { journal, kv, tail: tail_of(&page, kv), finish: None };
        let mut standing = Standing {
            id: source().wallet.0,
            epoch: 3,
            flags: Flags::default(),
            status: Status::Ready,
            priority: 0,
            parent: Digest::ZERO,
            awaits: EffectId::NONE,
            numerics: Digest([6; 32]),
            policy: source().policy.0,
            deadline_us: 0,
        };
        change(&mut bounds, &mut standing);
        let start = SessionStart {
            prompt_tokens: TokenCount::new(20),
            sampling: SamplingParams::greedy(TokenCount::new(50)),
            model: Digest([5; 32]),
            numerics: standing.numerics,
            terms: SessionTerms {
                cached_tokens: TokenCount::ZERO,
                pace_ms: 9,
                origin: RegionId::try_from("eu".to_owned()).expect("a region name"),
                request_id: "r".to_owned(),
            },
        };
        start.body(bounds).and_then(|body| body.sign(&standing, key)).expect("valid").as_bytes().to_vec()
    }

    #[test]
    fn only_what_the_source_of_record_signed_for_these_pages_is_taken() {
        let (kv, page) = pages();
        let hash_key = PageHashKey::from_bytes([7; 32]);
        let beside = Beside { tokens: &[], key: &hash_key, kv, tail: tail_of(&page, kv) };
        let taken = |bytes: &[u8]| receive(bytes, &source(), &beside).map_err(|refusal| refusal.code().to_owned());
        let received = taken(&signed(|_, _| (), &key())).expect("it is the source's");
        assert_eq!((received.start.terms.pace_ms, received.journal.to), (9, 19));
        let other = SecretKey::from_seed(&[9; 32]);
        assert_eq!(taken(&signed(|_, _| (), &other)).expect_err("another signer"), "E-302");
        for change in [
            (|_, standing| standing.id = Digest::ZERO) as fn(&mut StreamBounds, &mut Standing),
            |_, standing| standing.epoch = 2,
            |_, standing| standing.policy = Digest::ZERO,
            |bounds, _| bounds.kv.root = Digest::ZERO,
            |bounds, _| bounds.tail = None,
            |bounds, _| bounds.tail = Some(Tail { rows: 5, hash: Digest::ZERO }),
            |bounds, _| bounds.finish = Some(gpu::FinishReason::EndToken),
            |_, standing| standing.status = Status::Failed,
        ] {
            let refused = taken(&signed(change, &key())).expect_err("it is not what came");
            assert_eq!(refused, unverified("").code());
        }
        assert!(taken(&signed(|_, standing| standing.status = Status::Parked, &key())).is_ok(), "it stands, no more");
        let doubted = signed(|_, standing| standing.status = Status::InDoubt, &key());
        assert_eq!(taken(&doubted).expect_err("somebody has to decide first"), "E-317");
        let pinned = signed(|_, standing| standing.flags.pinned = true, &key());
        assert_eq!(taken(&pinned).expect_err("it stays where it is"), "E-320");
        let overdue = signed(|_, standing| standing.deadline_us = 1_000, &key());
        assert_eq!(taken(&overdue).expect_err("its time is over"), "E-321");
        let urgent = signed(|_, standing| (standing.deadline_us, standing.priority) = (u64::MAX, 9), &key());
        let inherited = taken(&urgent).expect("there is time").inherited;
        assert_eq!((inherited.deadline_us, inherited.priority), (u64::MAX, 9), "what the next one says too");
        let whole = signed(|_, _| (), &key());
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(taken(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_tail_is_referred_to_only_where_it_follows_the_pages() {
        let (kv, page) = pages();
        assert_eq!(tail_of(&page, kv).map(|tail| tail.rows), Some(5));
        assert_eq!(tail_of(&page, Bound { to: 1, ..kv }), None);
        assert_eq!(tail_of(&[], kv), None);
        assert_eq!(engine_tail(&page).map(|tail| (tail.rows, tail.payload.len())), Some((5, 128)));
        assert!(engine_tail(&[]).is_none());
    }
}
