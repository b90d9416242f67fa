//! What a replica answers to its peers.

use wallet::units::{BlockHeight, NodeId};

use super::{
    log_store::blocking,
    shared::Shared,
    transport::{CERTIFICATES_MAX, ENTRIES_MAX, PeerRefusal, PeerReply, PeerRequest, SubmitReply, VOTES_MAX, Word},
    validator::Message,
};
use crate::{event::Entry, finality::Input};

impl Shared {
    /// Answers a request of node `from`.
    pub(crate) async fn serve(&self, from: NodeId, request: PeerRequest) -> Result<PeerReply, PeerRefusal> {
        // Whatever the leader says shows that it is alive.
        let term = self.terms.entered().term;
        if self.terms.is_led_by(term, from) {
            self.heard.hear(term);
        }
        match request {
            PeerRequest::Append { rpc, prev_chain, proof } => {
                let reply = self.guarded_append(from, rpc, prev_chain, proof).await;
                reply.inspect_err(|refusal| self.observed.hold_back(refusal.code()))
            }
            PeerRequest::Candidate(candidacy) => self.ask_for_grant(from, *candidacy).await,
            PeerRequest::Votes(words) => self.take_words(from, words).await,
            PeerRequest::Submit(entries) => self.take_entries(entries).await.map(PeerReply::Submit),
            PeerRequest::Certificates { from } => self.certificates(from).await,
            PeerRequest::LogEntries { after } => self.log_entries(after).await,
            PeerRequest::Statements => {
                let held = self.statements_of(from).await?;
                Ok(PeerReply::Statements { held, lineage: self.lineage })
            }
        }
    }

    async fn take_words(&self, from: NodeId, words: Vec<Word>) -> Result<PeerReply, PeerRefusal> {
        if words.len() > VOTES_MAX {
            return Err(PeerRefusal::Malformed);
        }
        if words.iter().any(|word| word.speaker() != from) {
            return Err(PeerRefusal::NotSender);
        }
        // Whoever is still in an epoch that is over missed how that ended.
        if let Some(latest) = words.iter().map(Word::term).max()
            && let Some(closing) = self.closing_of(latest).map_err(|fault| self.not_ready(fault))?
        {
            return Ok(closing);
        }
        let mut gave_up_through = None;
        for word in words {
            match word {
                Word::Vote(vote) => self.say(from, Input::Vote(vote)).await?,
                Word::Nullify { vote, best } => {
                    gave_up_through = gave_up_through.max(Some(vote.statement.through));
                    // First what says from where on the vote holds.
                    if let Some(best) = best {
                        self.say(from, Input::Certificate(best)).await?;
                    }
                    self.say(from, Input::Nullify(vote)).await?;
                }
            }
        }
        // The sender gives up terms that are over here: it missed why.
        let entered = self.terms.entered();
        let is_behind = gave_up_through.is_some_and(|through| through.saturating_add(1) < entered.term);
        let permit = entered.permit.filter(|_| is_behind).map(|permit| Box::new((*permit).clone()));
        Ok(PeerReply::Votes { final_height: self.tip.borrow().height, permit })
    }

    /// Tells the voting thread what a peer said, once the peer's share has room.
    pub(super) async fn say(&self, from: NodeId, input: Input) -> Result<(), PeerRefusal> {
        let share = self.lines.share(from).ok_or(PeerRefusal::NotSender)?;
        let share = share.acquire_owned().await.map_err(|_| PeerRefusal::NotReady)?;
        self.tell_validator(Message::Said { input, _share: share });
        Ok(())
    }

    async fn take_entries(&self, entries: Vec<Entry>) -> Result<SubmitReply, PeerRefusal> {
        if entries.len() > ENTRIES_MAX {
            return Err(PeerRefusal::Malformed);
        }
        // Not on the runtime's threads: what carries blocks and votes must not wait for signatures.
        let (consortium, checks, whole) = (self.consortium.clone(), self.checks.clone(), entries.len());
        let state = self.tip.borrow().state.clone();
        let checked = blocking(move || {
            let known = |entry: &Entry| state.check_author(&consortium, entry, &*checks).is_ok();
            Ok(entries.into_iter().filter(known).collect::<Vec<Entry>>())
        });
        let known = checked.await.map_err(|_| PeerRefusal::NotReady)?;
        let leader = self.leader();
        if leader != Some(self.me) {
            let is_due =
                |entry: &Entry| self.tip.borrow().state.entry(entry.id()).is_none() && self.check(entry).is_ok();
            known.into_iter().filter(is_due).for_each(|entry| self.outbox.send_on(entry));
            return Ok(SubmitReply::NotLeader(leader));
        }
        // A promise is for all entries of a request, or for none.
        let is_whole = known.len() == whole;
        Ok(self.take_as_leader(known, is_whole))
    }

    async fn certificates(&self, from: BlockHeight) -> Result<PeerReply, PeerRefusal> {
        let (store, until) = (self.store.clone(), self.tip.borrow().height.get());
        let last = from.get().saturating_add(CERTIFICATES_MAX as u64 - 1).min(until);
        let reply = blocking(move || {
            let mut certificates = Vec::new();
            for height in (from.get().max(1)..=last).map(BlockHeight::new) {
                let Some((header, certificate)) = store.header(height)?.zip(store.certificate(height)?) else { break };
                if !header.is_closing() {
                    certificates.push(certificate);
                } else if height == from
                    && let Some(hand_over) = store.hand_over(header.epoch)?
                {
                    return Ok(PeerReply::Closing(Box::new(hand_over.proof)));
                } else {
                    break;
                }
            }
            Ok(PeerReply::Certificates(certificates))
        });
        reply.await.map_err(|fault| self.not_ready(fault))
    }
}
