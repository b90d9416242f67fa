//! The judgement of `batchmind audit verify`, in the words of `verify_bundle.py --batch`.

use ledger::bundle::judge;
use scheduler::decision::Cause;
use wallet::digest::Digest;

use crate::hostile::Told;

/// `ok CLASS`, or the code of the first check that fails.
pub fn verdict(bytes: &[u8], told: &Told) -> String {
    match judge(bytes, &told.genesis, &told.named, told.checkpoint.as_deref(), |moved| {
        Cause::of_move(&moved.decision, moved.wallet, moved.destination.0)
    }) {
        Ok((report, _)) => format!("ok {}", report.attested.assurance.class.code()),
        Err(failure) => failure.check.code().to_owned(),
    }
}

/// Digests as `verify_bundle.py --batch` reads them.
pub fn names(re_geneses: &[Digest]) -> String {
    let names: Vec<String> = re_geneses.iter().map(Digest::to_string).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}
