//! How long a suspension and a resumption take, without what they wait for: engine, disk, pages.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use gpu::continuation::ContinuationHead;
use wallet::{identity::context, page::payload_hash};

use super::{Session, SessionFault, wrong};
use crate::session::continuation::{Stand, is_tail, verify};

use crate::bench::sessions::hands::SEQUENCE;

impl Session {
    /// The length of the continuation that a suspension at this moment signs, in bytes. It goes on after that.
    ///
    /// # Errors
    /// Those of folder and engine.
    pub fn continuation_bytes(&mut self) -> Result<usize, SessionFault> {
        let tail = self.suspend()?.tail_page(&self.stream, &self.keys.page_hash)?;
        let kept = self.held.sign(&self.keys, self.dir.wallet(), Stand::Parked, &tail)?;
        self.engine.resume(SEQUENCE)?;
        Ok(kept.signed.as_bytes().len())
    }

    /// What a holder does when it suspends a session, and when it finds it again: the tail hashed as a page, roots, body
    /// and signature; then the signature checked, head and body read, the journal's root compared, the tail hashed. Says
    /// how long each took; journal and pages are synced in between.
    ///
    /// # Errors
    /// Those of folder and engine.
    pub fn sign_and_verify(&mut self) -> Result<[Duration; 2], SessionFault> {
        let parked = self.suspend()?;
        let started = Instant::now();
        let page = parked.tail_page(&self.stream, &self.keys.page_hash)?;
        let kept = self.held.sign(&self.keys, self.dir.wallet(), Stand::Parked, &page)?;
        let signing = started.elapsed();
        self.held.sync()?;
        let (bytes, holder) = (kept.signed.as_bytes().to_vec(), self.held.signer().verifying_key());
        let started = Instant::now();
        let found = verify(bytes, &self.keys, &holder, self.held.journal())?;
        let full = u64::from(parked.full_pages);
        let is_whole = found.is_some_and(|(_, kept)| {
            kept.tail.is_none_or(|tail| is_tail(&page, tail, full, &self.stream, &self.keys.page_hash))
        });
        let verifying = started.elapsed();
        self.engine.resume(SEQUENCE)?;
        if is_whole { Ok([signing, verifying]) } else { Err(wrong("its own continuation does not hold")) }
    }

    /// Does in the place of [`Self::sign_and_verify`] what neither half can do without, and no more: hash of the tail and
    /// signature, then the hash again and the check of the signature.
    ///
    /// # Errors
    /// Those of folder and engine.
    pub fn bare_sign_and_verify(&mut self) -> Result<[Duration; 2], SessionFault> {
        let tail = self.suspend()?.tail;
        let hash = || tail.as_ref().map(|tail| payload_hash(&tail.payload, Some(&self.keys.page_hash)));
        let (message, holder) = ([7; ContinuationHead::BYTES], self.held.signer().verifying_key());
        let started = Instant::now();
        let signed = black_box((hash(), self.held.signer().sign(context::GPU_CONTINUATION, &message)));
        let signing = started.elapsed();
        self.held.sync()?;
        let started = Instant::now();
        let verified = holder.verify(context::GPU_CONTINUATION, &message, &signed.1).is_ok() && hash() == signed.0;
        let verifying = started.elapsed();
        self.engine.resume(SEQUENCE)?;
        if verified { Ok([signing, verifying]) } else { Err(wrong("its own signature does not hold")) }
    }
}
