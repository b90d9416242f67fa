//! `/ledger/v1/evidence`: what this node keeps against keys that broke a rule.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io::{self, ErrorKind},
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
    routing::get,
};
use genesis::Consortium;
use ledger::{evidence::EvidenceFile, hand_over::re_geneses};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wallet::digest::Digest;

use super::{
    Api, auth::ByAuditor, ledger::Answer, paging::PAGE_MAX, problem::Problem, proofs::blocking, refusal::Refusal,
    tags::Tag,
};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The auditors' paths.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/evidence", get(list)).route("/ledger/v1/evidence/{name}", get(file))
}

/// Where the files are, and what each proves to who trusts this node's genesis: to find that out may take long, and they
/// do not change.
#[derive(Clone)]
pub(super) struct Evidence {
    folder: Arc<FilePath>,
    described: Arc<Mutex<BTreeMap<String, (Written, Value)>>>,
}

/// Tells a file from another of its name.
type Written = (u64, Option<SystemTime>);

impl Evidence {
    /// The files in `folder`, which need not be there.
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        Self { folder: folder.into(), described: Arc::default() }
    }

    /// The files of a page, by their names, the name at which the next page begins, and how many there are.
    fn list(&self, consortium: &Consortium, re_geneses: &[Digest], page: &Page) -> io::Result<Listed> {
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = names(&self.folder)?;
        // What was removed is forgotten.
        described.retain(|known, _| names.contains_key(known));
        let (size, mut listed) = (names.len(), Vec::new());
        let mut rest = names.split_off(&page.from).into_iter();
        for (name, file) in rest.by_ref().take(page.count.clamp(1, PAGE_MAX)) {
            let written = (file.len(), file.modified().ok());
            let known = described.remove(&name).filter(|(known, _)| *known == written);
            let found = match known {
                Some((_, value)) => value,
                None => match fs::read(self.folder.join(&name)) {
                    Ok(bytes) => self::described(&name, &bytes, consortium, re_geneses),
                    // Removed since.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
            };
            listed.push(found.clone());
            described.insert(name, (written, found));
        }
        Ok(Listed { files: listed, next: rest.next().map(|(name, _)| name), size })
    }
}

/// Which page is asked for. By name and not by number, because files come and go between two pages: so none is told twice
/// or passed over that is there all the time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    from: String,
    #[serde(default = "page_max")]
    count: usize,
}

const fn page_max() -> usize {
    PAGE_MAX
}

/// A page.
#[derive(Serialize)]
struct Listed {
    files: Vec<Value>,
    next: Option<String>,
    size: usize,
}

async fn list(State(api): State<Api>, _: ByAuditor, Query(page): Query<Page>) -> Answer {
    let (evidence, consortium) = (api.evidence.clone(), api.sessions.context().consortium.clone());
    let (store, epoch) = (api.replica().store().clone(), api.replica().state().state.epoch());
    blocking(move || {
        // This node took each of them when it was told to.
        let taken = re_geneses(&store.hand_overs(epoch)?);
        Ok(Json(json!(evidence.list(&consortium, &taken, &page).map_err(unreadable)?)))
    })
    .await
}

async fn file(
    State(api): State<Api>,
    _: ByAuditor,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let folder = api.evidence.folder.clone();
    let bytes = blocking(move || {
        // Only what is there has a name: nothing that a path could be made of.
        let known = names(&folder).map_err(unreadable)?.contains_key(&name);
        if !known {
            return Err(Refusal::PathUnknown.into());
        }
        Ok(fs::read(folder.join(name)).map_err(unreadable)?)
    });
    let bytes = bytes.await?;
    // A name stays, but another node may have other signatures under it, and this one may find more.
    let tag = Tag::of(&bytes);
    Ok(tag.known(&headers).unwrap_or_else(|| tag.answer(([(header::CONTENT_TYPE, BYTES)], bytes))))
}

/// The files by their names. There is no folder before there is evidence.
fn names(folder: &FilePath) -> io::Result<BTreeMap<String, Metadata>> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        files => files?,
    };
    let mut names = BTreeMap::new();
    for file in files {
        let file = file?;
        let metadata = match file.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        // One that is still being written has another name.
        let name = file.file_name().into_string().ok().filter(|name| !name.ends_with(".next"));
        if let Some(name) = name.filter(|_| metadata.is_file()) {
            names.insert(name, metadata);
        }
    }
    Ok(names)
}

/// Kind and culprits are null where the file proves nothing by itself.
fn described(name: &str, bytes: &[u8], consortium: &Consortium, re_geneses: &[Digest]) -> Value {
    let proven = EvidenceFile::from_bytes(bytes).and_then(|file| {
        let (_, culprits) = file.verify(&consortium.id(), re_geneses)?;
        let culprits = culprits.into_iter().map(
            |culprit| json!({"node": culprit.node, "key": culprit.key, "rule": culprit.rule, "term": culprit.term}),
        );
        Ok((file.evidence().kind(), culprits.collect::<Vec<_>>()))
    });
    let (kind, culprits) = proven.ok().unzip();
    json!({"name": name, "bytes": bytes.len(), "kind": kind, "culprits": culprits})
}

fn unreadable(error: io::Error) -> Refusal {
    tracing::error!(%error, "the evidence cannot be read");
    Refusal::Failed
}
