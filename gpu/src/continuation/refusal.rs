//! Why a continuation or its journal is refused. Codes are stable; each has a page in `docs/errors`.

use wallet::{codec::DecodeError, identity::PublicKey};

use super::effect::EffectId;
use crate::stream::StreamFault;

/// A rule of continuations was not met. Append only: codes are never reused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContinuationRefusal {
    /// The bytes have another length than a continuation can have.
    #[error("a continuation of {count} bytes, {min} to {max} are allowed")]
    Length {
        /// How many there are.
        count: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Another key signed it than the one that may.
    #[error("signed by {found}, expected {expected}")]
    SignerUnexpected {
        /// Who may sign.
        expected: PublicKey,
        /// Who did.
        found: PublicKey,
    },
    /// The signature does not verify.
    #[error("the signature of the continuation does not verify")]
    SignatureInvalid,
    /// The head is not one that this software writes.
    #[error("the head of the continuation is malformed: {reason}")]
    HeadMalformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The body is not the one that the head was signed over.
    #[error("the body is not the one that was signed")]
    BodyMismatch,
    /// A later version wrote the body.
    #[error("schema {found} of form {form} is not known, the latest is {latest}")]
    SchemaUnknown {
        /// The form.
        form: u16,
        /// The schema of the body.
        found: u16,
        /// The latest that this software reads.
        latest: u16,
    },
    /// It is not a program that runs here.
    #[error("another program than the one of this form and schema")]
    ProgramUnknown,
    /// The body's bytes are no body.
    #[error("{0}")]
    BodyMalformed(#[from] DecodeError),
    /// The body contradicts itself, its head or its streams.
    #[error("the continuation contradicts itself: {reason}")]
    BodyInvalid {
        /// The contradiction.
        reason: &'static str,
    },
    /// A value or a tree of waits is too large or too deep.
    #[error("a value is out of bounds: {reason}")]
    ValueOutOfBounds {
        /// Which bound.
        reason: &'static str,
    },
    /// A page of the journal is no record.
    #[error("position {position} of the journal holds no record: {reason}")]
    RecordMalformed {
        /// Where.
        position: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// Something else stands where the record should go.
    #[error("position {position} of the journal is taken by another record")]
    JournalConflict {
        /// Where.
        position: u64,
    },
    /// The record leaves a gap in the journal, or stands before its end without being there.
    #[error("the journal goes on at {next}, {position} is asked for")]
    JournalOrder {
        /// Where the next record goes.
        next: u32,
        /// Where it should have gone.
        position: u32,
    },
    /// A later epoch owns the journal.
    #[error("the journal belongs to epoch {epoch}")]
    Fenced {
        /// Which.
        epoch: u32,
    },
    /// The journal has no room, or is closed.
    #[error("the journal takes no more records: {reason}")]
    JournalFull {
        /// Why.
        reason: &'static str,
    },
    /// The program ended, and there is nothing after the end.
    #[error("the journal has ended")]
    JournalEnded,
    /// It is not known whether these effects happened. Somebody has to decide.
    #[error("{count} effects are in doubt, the first is {first}")]
    InDoubt {
        /// How many.
        count: usize,
        /// The first of them.
        first: EffectId,
    },
    /// No effect with this id is in doubt.
    #[error("effect {id} is not in doubt")]
    NotInDoubt {
        /// The id.
        id: EffectId,
    },
    /// The program was told of something that it did not ask for.
    #[error("the program did not expect this: {reason}")]
    WakeUnexpected {
        /// What.
        reason: &'static str,
    },
    /// It stays where it is.
    #[error("the session is pinned to its holder")]
    Pinned,
    /// Its time is over.
    #[error("the session was to go on before {deadline_us} us after 1970 and not later")]
    Overdue {
        /// Microseconds since the Unix epoch.
        deadline_us: u64,
    },
    /// The stream failed.
    #[error("{0}")]
    Stream(#[from] StreamFault),
}

impl ContinuationRefusal {
    /// Every code, in order.
    pub const CODES: [&'static str; 21] = [
        "E-301", "E-302", "E-303", "E-304", "E-305", "E-306", "E-307", "E-308", "E-309", "E-310", "E-311", "E-312",
        "E-313", "E-314", "E-315", "E-316", "E-317", "E-318", "E-319", "E-320", "E-321",
    ];

    /// The stable code; that of the fault if a stream failed.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "E-301",
            Self::SignerUnexpected { .. } => "E-302",
            Self::SignatureInvalid => "E-303",
            Self::HeadMalformed { .. } => "E-304",
            Self::BodyMismatch => "E-305",
            Self::SchemaUnknown { .. } => "E-306",
            Self::ProgramUnknown => "E-307",
            Self::BodyMalformed(_) => "E-308",
            Self::BodyInvalid { .. } => "E-309",
            Self::ValueOutOfBounds { .. } => "E-310",
            Self::RecordMalformed { .. } => "E-311",
            Self::JournalConflict { .. } => "E-312",
            Self::JournalOrder { .. } => "E-313",
            Self::Fenced { .. } => "E-314",
            Self::JournalFull { .. } => "E-315",
            Self::JournalEnded => "E-316",
            Self::InDoubt { .. } => "E-317",
            Self::NotInDoubt { .. } => "E-318",
            Self::WakeUnexpected { .. } => "E-319",
            Self::Pinned => "E-320",
            Self::Overdue { .. } => "E-321",
            Self::Stream(fault) => fault.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let mut pages: Vec<String> = std::fs::read_dir(folder)
            .expect("docs/errors exists")
            .map(|page| page.expect("readable").file_name().to_string_lossy().trim_end_matches(".md").to_owned())
            .filter(|code| code.starts_with("E-3"))
            .collect();
        pages.sort();
        assert_eq!(pages, ContinuationRefusal::CODES);
    }
}
