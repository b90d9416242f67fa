//! What one place keeps of a session: journal and pages as sealed streams on its disk, and the parked session.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use gpu::{
    BLOCK_TOKENS, Model, TailPage,
    continuation::{Bound, DecodeBody, journal_descriptor, kv_descriptor},
    stream::{Appended, Cursor, Draft, Expect, Next, SegmentOptions, SegmentStream, Stream as _, StreamWriter as _},
};
use wallet::{
    page::{Page, StreamDescriptor},
    units::PageIndex,
};

use super::{Plan, SessionFault};

const JOURNAL: &str = "journal";
const PAGES: &str = "kv";
const CONTINUATION: &str = "continuation";
const TAIL: &str = "tail";

/// The streams of a session at one place. One process at a time has them open.
pub struct Place {
    /// Prompt, tokens and other results.
    pub journal: Arc<SegmentStream>,
    /// The full pages of keys and values.
    pub kv: Arc<SegmentStream>,
    folder: PathBuf,
    stream: StreamDescriptor,
}

/// A parked session: its continuation, signed, and the page that is not full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The bytes that were signed.
    pub continuation: Vec<u8>,
    /// How many pages were full.
    pub full_pages: u64,
    /// The page after them.
    pub tail: Option<TailPage>,
}

/// What a parked session goes on from, once its continuation was found good.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What was signed.
    pub body: DecodeBody,
    /// The page after the full ones.
    pub tail: Option<TailPage>,
}

impl Place {
    /// Opens what is in `folder`, or begins.
    ///
    /// # Errors
    /// Those of the streams.
    pub fn open(folder: &Path, plan: &Plan, model: &Model) -> Result<Self, SessionFault> {
        fs::create_dir_all(folder)?;
        let stream = model.stream_descriptor();
        let options = SegmentOptions { seal: Some(plan.rest_key(folder)), ..SegmentOptions::default() };
        let open =
            |name: &str, descriptor| SegmentStream::open(&folder.join(name), descriptor, options.clone()).map(Arc::new);
        Ok(Self {
            journal: open(JOURNAL, journal_descriptor(&plan.id()))?,
            kv: open(PAGES, kv_descriptor(&plan.id(), stream.hash()))?,
            folder: folder.to_owned(),
            stream,
        })
    }

    /// Appends a full page.
    ///
    /// # Errors
    /// [`SessionFault::Wrong`] if another one stands there, and those of the stream.
    pub fn keep_page(&self, plan: &Plan, epoch: u32, index: u64, payload: &[u8]) -> Result<(), SessionFault> {
        let block = BLOCK_TOKENS as u16;
        let page = Page::new(&self.stream, PageIndex::new(index), block, payload, Some(&plan.page_hash_key()))
            .map_err(|refusal| SessionFault::Wrong(refusal.to_string()))?;
        match self.kv.append(epoch, Expect::At(index), &Draft::of(page.head()), payload)? {
            Appended::Ok(_) | Appended::Same(_) => Ok(()),
            other => Err(SessionFault::Wrong(format!("page {index} was {other:?}"))),
        }
    }

    /// Payloads of the first `count` full pages.
    ///
    /// # Errors
    /// Those of the stream; [`SessionFault::Wrong`] if there are fewer.
    pub fn pages(&self, plan: &Plan, count: u64) -> Result<Vec<impl AsRef<[u8]> + use<>>, SessionFault> {
        (0..count)
            .map(|index| match self.kv.next(Cursor(index))? {
                Next::Item(page, _) => {
                    let hash = wallet::page::payload_hash(&page.payload, Some(&plan.page_hash_key()));
                    if hash != page.head.hash {
                        return Err(SessionFault::Wrong(format!("page {index} has another hash")));
                    }
                    Ok(page.payload)
                }
                other => Err(SessionFault::Wrong(format!("page {index} is {other:?}"))),
            })
            .collect()
    }

    /// Keeps a parked session beside its streams.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn park(&self, parked: &Parked) -> Result<(), SessionFault> {
        let mut tail = parked.full_pages.to_le_bytes().to_vec();
        if let Some(page) = &parked.tail {
            tail.push(page.rows);
            tail.extend_from_slice(&page.payload);
        }
        self.write(TAIL, &tail)?;
        // Last: with it, the session is parked.
        self.write(CONTINUATION, &parked.continuation)
    }

    /// How the journal stands.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn journal_bound(&self) -> Result<Bound, SessionFault> {
        let to = self.journal.state().tail;
        Ok(Bound { root: self.journal.root(to)?, to })
    }

    /// The session that was parked here last.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn parked(&self) -> Result<Option<Parked>, SessionFault> {
        let continuation = match fs::read(self.folder.join(CONTINUATION)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let tail = fs::read(self.folder.join(TAIL))?;
        let (full_pages, tail) =
            tail.split_first_chunk().ok_or_else(|| SessionFault::Wrong("a tail without its place".to_owned()))?;
        let tail = tail.split_first().map(|(rows, payload)| TailPage { rows: *rows, payload: payload.to_vec() });
        Ok(Some(Parked { continuation, full_pages: u64::from_le_bytes(*full_pages), tail }))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SessionFault> {
        let (file, part) = (self.folder.join(name), self.folder.join("part"));
        let mut written = File::create(&part)?;
        written.write_all(bytes)?;
        written.sync_data()?;
        fs::rename(part, file)?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }
}
