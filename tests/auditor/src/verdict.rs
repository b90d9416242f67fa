//! The judgement of the verifier in `ledger`, in the words of `verify_bundle.py --batch`.

use ledger::bundle::{Check, verify};
use scheduler::decision::Decision;
use wallet::digest::Digest;

/// `ok CLASS`, or the code of the first check that fails: what `batchmind audit verify` finds.
pub fn verdict(bytes: &[u8], genesis: &Digest, re_geneses: &[Digest]) -> String {
    let report = match verify(bytes, genesis, re_geneses) {
        Ok(report) => report,
        Err(failure) => return failure.check.code().to_owned(),
    };
    let moved = &report.moved;
    let subject = Decision::decode(&moved.decision)
        .ok()
        .filter(|decision| decision.moves(moved.wallet, moved.destination.0).is_ok());
    match subject {
        Some(_) => format!("ok {}", report.assurance.class.code()),
        None => Check::DecisionSubject.code().to_owned(),
    }
}

/// Digests as `verify_bundle.py --batch` reads them.
pub fn names(re_geneses: &[Digest]) -> String {
    let names: Vec<String> = re_geneses.iter().map(Digest::to_string).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}
