//! A session's entries: from what the hand-over machine wants said to signed entries, and what became of them.

use std::time::Duration;

use ::ledger::{
    event::{AbortReason, BatchClosed, CloseReason, Entry, Event, MigrationAborted, MigrationAccepted, Touch},
    refusal::Retry,
    shell::replica::SubmitError,
};
use tokio::time::Instant;
use wallet::{
    digest::Digest,
    handoff::{Input, Intent},
    prekey::ExchangeSecret,
};

use super::{Message, actor::Actor, context::fill_random, refusal::Refusal};

/// The wait before an entry that was refused is made anew.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Entries of this session that are neither final nor refused.
#[derive(Default)]
pub(crate) struct Submissions {
    open: Vec<Open>,
    retry_at: Option<Instant>,
}

struct Open {
    id: Digest,
    head: Digest,
    kind: Kind,
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Offer,
    Accept,
    Confirm,
    Abort,
    Touch,
    Close,
    Evidence,
}

impl Submissions {
    /// Forgets what names another head: it is final or void.
    pub(crate) fn retain_head(&mut self, head: Digest) {
        self.open.retain(|open| open.head == head || matches!(open.kind, Kind::Evidence));
    }

    /// Whether evidence is on its way.
    pub(crate) fn has_evidence(&self) -> bool {
        self.open.iter().any(|open| open.kind == Kind::Evidence)
    }
}

impl Actor {
    /// Makes the entry that an effect of the machine asks for, once for each head.
    pub(super) fn submit(&mut self, head: Digest, intent: &Intent) {
        let kind = kind(intent);
        if self.submissions.open.iter().any(|open| (open.head, open.kind) == (head, kind)) {
            return;
        }
        let wallet = self.wallet;
        let holder = self.keys.as_ref().map(|keys| keys.holder.key());
        let (event, holder) = match intent {
            Intent::Offer { receiver, deadline } => match self.offer_event(head, *receiver, *deadline) {
                Ok(Some(event)) => (event, holder),
                // The move was given up meanwhile.
                Ok(None) => return,
                Err(refusal) => return self.move_failed(refusal),
            },
            Intent::Accept => (Event::MigrationAccepted(MigrationAccepted { wallet, head }), None),
            Intent::Confirm { ticket, holder_key } => match self.confirm_event(ticket, *holder_key) {
                Some(event) => (event, holder),
                None => return,
            },
            Intent::Abort => {
                let reason = if self.is_holder() { AbortReason::Source } else { AbortReason::Receiver };
                let holder = holder.filter(|_| reason == AbortReason::Source);
                (Event::MigrationAborted(MigrationAborted { wallet, head, reason }), holder)
            }
            Intent::Touch { boot_nonce } => {
                // Its secret half will open what `unlock` seals; that is not built yet, so it is dropped.
                let boot_key = ExchangeSecret::draw(&mut fill_random).public_key();
                (Event::Touch(Touch { wallet, head, boot_nonce: *boot_nonce, boot_key }), holder)
            }
            Intent::Close => {
                let reason = self.close.unwrap_or(CloseReason::Tenant);
                (Event::BatchClosed(BatchClosed { wallet, head, reason }), holder)
            }
        };
        let entry = self.context.sign(event, holder.as_ref());
        self.send(entry, head, kind);
    }

    /// Submits the creation, unless it is final.
    pub(super) fn submit_creation(&mut self) {
        self.sign_creation_anew();
        if let Some(creation) = self.keys.as_ref().and_then(|keys| keys.creation.clone()) {
            self.send(*creation, Digest::ZERO, Kind::Create);
        }
    }

    /// Signs the creation with the key that the node has now. Whether that is another than before: it was rotated.
    fn sign_creation_anew(&mut self) -> bool {
        let Some(keys) = &mut self.keys else { return false };
        let Some(creation) = &mut keys.creation else { return false };
        let signed = creation.body.clone().sign(self.context.key(), Some(&keys.holder.key()));
        let is_another = signed != **creation;
        **creation = signed;
        is_another
    }

    /// Submits evidence about the wallet as it stands.
    pub(super) fn submit_evidence(&mut self, event: Event) -> Digest {
        let holder = self.keys.as_ref().map(|keys| keys.holder.key());
        let entry = self.context.sign(event, holder.as_ref());
        let id = entry.id();
        self.send(entry, self.handoff.view().head, Kind::Evidence);
        id
    }

    pub(crate) fn is_holder(&self) -> bool {
        self.handoff.view().is_held_by(self.context.me)
    }

    fn send(&mut self, entry: Entry, head: Digest, kind: Kind) {
        let id = entry.id();
        self.submissions.open.push(Open { id, head, kind });
        let (replica, inbox) = (self.context.replica.clone(), self.session.inbox.clone());
        tokio::spawn(async move {
            let outcome = match replica.submit(entry) {
                Ok(_) => replica.wait_final(id).await.map(drop),
                Err(error) => Err(error),
            };
            // An error means that the session is over.
            let _ = inbox.send(Message::Settled(id, outcome));
        });
    }

    pub(super) fn on_settled(&mut self, id: Digest, outcome: Result<(), SubmitError>) {
        let Some(at) = self.submissions.open.iter().position(|open| open.id == id) else { return };
        let kind = self.submissions.open[at].kind;
        let refusal = match outcome {
            // What advances the head is taken up with its fact, which may come a moment later.
            Ok(()) if kind != Kind::Evidence => return,
            Ok(()) => {
                self.submissions.open.remove(at);
                return self.evidence_is_final(id);
            }
            Err(SubmitError::Stopped(_)) => return,
            Err(SubmitError::Refused(refusal)) => refusal,
        };
        self.submissions.open.remove(at);
        tracing::debug!(wallet = %self.wallet.0, ?kind, code = refusal.code(), %refusal, "entry refused");
        let never = refusal.retry() == Retry::Never;
        match kind {
            Kind::Evidence => self.evidence_is_refused(id),
            Kind::Offer if never => self.move_failed(refusal.into()),
            Kind::Create if self.sign_creation_anew() => self.submit_creation(),
            Kind::Create => self.failed = Some(Refusal::from(refusal).to_peer().to_string()),
            Kind::Offer | Kind::Accept | Kind::Confirm | Kind::Abort | Kind::Touch | Kind::Close => {
                self.submissions.retry_at = Some(Instant::now() + AGAIN_AFTER);
            }
        }
    }

    pub(super) fn retry_submissions(&mut self) {
        if self.submissions.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.submissions.retry_at = None;
            // The machine submits again what it still wants; it takes this in any mode.
            let _ = self.input(Input::Retry);
        }
    }
}

fn kind(intent: &Intent) -> Kind {
    match intent {
        Intent::Offer { .. } => Kind::Offer,
        Intent::Accept => Kind::Accept,
        Intent::Confirm { .. } => Kind::Confirm,
        Intent::Abort => Kind::Abort,
        Intent::Touch { .. } => Kind::Touch,
        Intent::Close => Kind::Close,
    }
}
