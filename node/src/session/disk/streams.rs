//! Streams of a session.

use std::{io, thread, time::Duration};

use gpu::{
    continuation::{journal_descriptor, kv_descriptor},
    stream::{Appended, Descriptor, SegmentOptions, SegmentStream, StreamFault},
};
use wallet::{chain::RestKey, digest::Digest};

use super::{DiskFault, HolderKeys, INCOMING, JOURNAL, KV, SessionDir, make_dir};

/// How long a stream is waited for that another is just closing: a sync in the background still has it, say.
const CLOSING: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl SessionDir {
    /// A new journal; an old one is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn create_journal(&self, keys: &HolderKeys) -> Result<SegmentStream, DiskFault> {
        self.create_stream(JOURNAL, journal_descriptor(&self.wallet.0), Some(keys.rest()))
    }

    /// The journal; none if there is none.
    ///
    /// # Errors
    /// [`DiskFault::Stream`].
    pub fn open_journal(&self, keys: &HolderKeys) -> Result<Option<SegmentStream>, DiskFault> {
        self.open_stream(JOURNAL, journal_descriptor(&self.wallet.0), Some(keys.rest()))
    }

    /// A new stream of full pages; an old one is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn create_kv(&self, keys: &HolderKeys, format: Digest) -> Result<SegmentStream, DiskFault> {
        self.create_stream(KV, kv_descriptor(&self.wallet.0, format), Some(keys.rest()))
    }

    /// The stream of full pages; none if there is none.
    ///
    /// # Errors
    /// [`DiskFault::Stream`].
    pub fn open_kv(&self, keys: &HolderKeys, format: Digest) -> Result<Option<SegmentStream>, DiskFault> {
        self.open_stream(KV, kv_descriptor(&self.wallet.0, format), Some(keys.rest()))
    }

    /// Removes the full pages: a cache miss, and no loss.
    ///
    /// # Errors
    /// [`DiskFault::Stream`].
    pub fn drop_kv(&self) -> Result<(), DiskFault> {
        self.remove_stream(KV)
    }

    /// The copy of an inbound move's hop stream, sealed as it came: what is there, and more to come. The copy of another
    /// offer's is removed.
    ///
    /// # Errors
    /// [`DiskFault`].
    pub fn incoming(&self, hop: &Descriptor) -> Result<SegmentStream, DiskFault> {
        match self.open_stream(INCOMING, hop.clone(), None) {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) | Err(DiskFault::Stream { fault: StreamFault::AnotherStream { .. }, .. }) => {
                self.create_stream(INCOMING, hop.clone(), None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn create_stream(
        &self,
        name: &str,
        descriptor: Descriptor,
        seal: Option<RestKey>,
    ) -> Result<SegmentStream, DiskFault> {
        make_dir(&self.dir)?;
        self.remove_stream(name)?;
        let folder = self.dir.join(name);
        let options = SegmentOptions { seal, ..SegmentOptions::default() };
        SegmentStream::open(&folder, descriptor, options).map_err(|fault| DiskFault::Stream { folder, fault })
    }

    fn open_stream(
        &self,
        name: &str,
        descriptor: Descriptor,
        seal: Option<RestKey>,
    ) -> Result<Option<SegmentStream>, DiskFault> {
        let folder = self.dir.join(name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let options = SegmentOptions { seal, ..SegmentOptions::default() };
        let mut waited = Duration::ZERO;
        loop {
            match SegmentStream::open(&folder, descriptor.clone(), options.clone()) {
                Ok(stream) => return Ok(Some(stream)),
                Err(fault) if is_busy(&fault) && waited < CLOSING => {
                    thread::sleep(LOOK_AGAIN);
                    waited += LOOK_AGAIN;
                }
                Err(fault) => return Err(DiskFault::Stream { folder, fault }),
            }
        }
    }

    pub(super) fn remove_stream(&self, name: &str) -> Result<(), DiskFault> {
        let folder = self.dir.join(name);
        SegmentStream::remove(&folder).map_err(|fault| DiskFault::Stream { folder, fault })
    }
}

/// What is wrong with a session's stream.
pub(crate) fn stream_fault(stream: &SegmentStream, fault: StreamFault) -> DiskFault {
    DiskFault::Stream { folder: stream.folder().to_owned(), fault }
}

/// Whether a session's stream took a page. Nothing but a bug or a damaged disk keeps it from that.
///
/// # Errors
/// [`DiskFault::Stream`].
pub(crate) fn stream_took(stream: &SegmentStream, appended: Result<Appended, StreamFault>) -> Result<(), DiskFault> {
    match appended.map_err(|fault| stream_fault(stream, fault))? {
        Appended::Ok(_) | Appended::Same(_) => Ok(()),
        appended => Err(DiskFault::NotTaken { folder: stream.folder().to_owned(), appended }),
    }
}

fn is_busy(fault: &StreamFault) -> bool {
    matches!(fault, StreamFault::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
}
