//! `/ledger/v1/re-geneses`: how the ledger began anew, if it did, for everybody who reads it.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
    routing::get,
};
use ledger::{
    hand_over::HandOver,
    re_genesis::{FileInvalid, ReGenesisFile, Signatory},
    shell::fault::Fault,
};
use serde_json::{Value, json};
use wallet::digest::{Digest, to_hex};

use super::{Api, auth::ByAuditor, ledger::Answer, problem::Problem, refusal::Refusal, tags::Tag};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The auditors' paths.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/re-geneses", get(list)).route("/ledger/v1/re-geneses/{digest}", get(certificate))
}

async fn list(State(api): State<Api>, ByAuditor(auditor): ByAuditor) -> Answer {
    let reading = api.clone();
    api.asking.scan(auditor, move || Ok(Json(taken(&reading)?.iter().map(described).collect()))).await
}

/// The certificate as a file: what its operators signed, with all their signatures.
async fn certificate(
    State(api): State<Api>,
    ByAuditor(auditor): ByAuditor,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reading = api.clone();
    let file = api.asking.scan(auditor, move || {
        let file = taken(&reading)?.into_iter().find(|file| file.digest() == digest);
        file.ok_or_else(|| Refusal::PathUnknown.into())
    });
    let bytes = file.await?.to_bytes();
    // The operators' signatures are not under the digest: another node may have others.
    let tag = Tag::of(&bytes);
    Ok(tag.known(&headers).unwrap_or_else(|| tag.answer(([(header::CONTENT_TYPE, BYTES)], bytes))))
}

/// Those that this node took, the first one first.
fn taken(api: &Api) -> Result<Vec<ReGenesisFile>, Fault> {
    let replica = api.replica();
    let hand_overs = replica.store().hand_overs(replica.state().state.epoch())?;
    all(hand_overs)
}

/// Who was told of fewer than there are would take another lineage for this one. So one that does not hold is an error of the
/// answer; it does not stop the node, which follows the ledger by other rules than those that make a file.
fn all(hand_overs: Vec<HandOver>) -> Result<Vec<ReGenesisFile>, Fault> {
    let anew = hand_overs.into_iter().filter(|hand_over| hand_over.re_genesis().is_some());
    anew.map(whole).collect()
}

fn whole(hand_over: HandOver) -> Result<ReGenesisFile, Fault> {
    let key = to_hex(&hand_over.closing.epoch.to_be_bytes());
    let damaged = |invalid: FileInvalid| Fault::Damaged {
        store: "final",
        family: "hand_overs",
        key,
        reason: format!("no re-genesis: {invalid}"),
    };
    ReGenesisFile::new(hand_over).map_err(damaged)
}

fn described(file: &ReGenesisFile) -> Value {
    let (header, last, decided) = (file.header(), file.last(), file.decided());
    let signed = file.signatories().iter();
    let signed =
        signed.map(|Signatory { node, operator, key }| json!({"node": node, "operator": operator, "key": key}));
    json!({
        "digest": file.digest(),
        "lineage": decided.lineage,
        "height": header.height,
        "time_ms": header.time,
        "epoch": header.epoch + 1,
        "last": last.digest(),
        "reason": decided.reason,
        "lost": decided.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dropped": decided.dropped,
        "signed": signed.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use ledger::{
        governance::Member,
        testing::{Chain, Session, consortium, operator_id},
    };

    use super::*;
    use crate::api::openapi::shape::{assert_described, parsed};

    fn hand_over() -> HandOver {
        let consortium = consortium(4);
        let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        chain.push(session.created()).expect("valid");
        let lost = [2, 3].map(|operator| Member::Operator(operator_id(operator))).to_vec();
        chain.begin_anew(0, lost).expect("valid");
        chain.hand_overs.last().expect("it began anew").clone()
    }

    #[test]
    fn a_re_genesis_that_does_not_hold_is_damage_and_no_shorter_list() {
        let whole_one = hand_over();
        assert_eq!(all(vec![whole_one.clone()]).expect("it holds").len(), 1);
        let mut torn = whole_one.clone();
        torn.re_genesis = None;
        let fault = all(vec![whole_one, torn]).expect_err("what leads to it is gone");
        assert!(
            matches!(&fault, Fault::Damaged { family: "hand_overs", key, .. } if key == "0000000000000000"),
            "{fault}"
        );
    }

    #[test]
    fn what_is_told_of_a_re_genesis_has_the_shape_that_the_openapi_document_gives_it() {
        let file = whole(hand_over()).expect("a whole one");
        let list = json!([described(&file)]);
        assert_eq!((&list[0]["lineage"], &list[0]["digest"]), (&json!(2), &json!(file.digest())));
        assert_eq!(list[0]["signed"].as_array().map(Vec::len), Some(2));
        assert_described(&parsed(), "/ledger/v1/re-geneses", &list);
    }
}
