//! `/ledger/v1/evidence`: what this node keeps against keys that broke a rule.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path as FilePath,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use genesis::Consortium;
use ledger::evidence::EvidenceFile;
use serde_json::{Value, json};

use super::{Api, auth::ByAuditor, ledger::Answer, problem::Problem, proofs::blocking, refusal::Refusal};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The auditors' paths.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/evidence", get(list)).route("/ledger/v1/evidence/{name}", get(file))
}

/// The files, and what each proves to who trusts this node's genesis.
async fn list(State(api): State<Api>, _: ByAuditor) -> Answer {
    let (folder, consortium) = (api.evidence.clone(), api.sessions.context().consortium.clone());
    blocking(move || {
        let names = names(&folder).map_err(unreadable)?;
        let files = names.iter().map(|name| Ok(described(name, &fs::read(folder.join(name))?, &consortium)));
        let files = files.collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
        Ok(Json(json!(files)))
    })
    .await
}

async fn file(State(api): State<Api>, _: ByAuditor, Path(name): Path<String>) -> Result<Response, Problem> {
    let folder = api.evidence.clone();
    let bytes = blocking(move || {
        // Only what is there has a name: nothing that a path could be made of.
        let known = names(&folder).map_err(unreadable)?.contains(&name);
        if !known {
            return Err(Refusal::PathUnknown.into());
        }
        Ok(fs::read(folder.join(name)).map_err(unreadable)?)
    });
    Ok(([(header::CONTENT_TYPE, BYTES)], bytes.await?).into_response())
}

/// The names of the files, in their order. There is no folder before there is evidence.
fn names(folder: &FilePath) -> io::Result<Vec<String>> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut names = Vec::new();
    for file in files {
        let file = file?;
        if file.file_type()?.is_file() {
            names.extend(file.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// Kind and culprits are null where the file proves nothing by itself.
fn described(name: &str, bytes: &[u8], consortium: &Consortium) -> Value {
    let proven = EvidenceFile::from_bytes(bytes).and_then(|file| {
        let (_, culprits) = file.verify(&consortium.id())?;
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
