//! A text with signature lines: C2SP's signed-note.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Malformed, from_base64, to_base64};

/// A note has at most this many bytes: room for the cosignatures of the largest validator set, several times.
pub const NOTE_BYTES_MAX: usize = 256 << 10;

/// Begins a signature line: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// A text and the signatures under it. Nothing is checked but the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is signed, with its last newline.
    pub text: String,
    /// At least one.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name: not empty, without spaces and plus signs.
    pub name: String,
    /// Which key and algorithm of that name.
    pub key_id: [u8; 4],
    /// What the algorithm made; not empty.
    pub signature: Vec<u8>,
}

/// The id of a key: the first bytes of SHA-256(name || newline || algorithm || key).
pub fn key_id(name: &str, algorithm: u8, key: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', algorithm]).chain_update(key).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are no note, or more than [`NOTE_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(malformed("it is longer than 256 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(malformed("it has control characters"));
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(malformed("no empty line ends the text"))?;
        let lines = lines.strip_suffix('\n').ok_or(malformed("its last line does not end"))?;
        let signatures = lines.split('\n').map(NoteSignature::parse).collect::<Option<_>>();
        let signatures = signatures.ok_or(malformed("a line under the text is no signature"))?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || letter == '+') {
            return None;
        }
        let bytes = from_base64(encoded)?;
        let (key_id, signature) = bytes.split_first_chunk().filter(|(_, signature)| !signature.is_empty())?;
        Some(Self { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MARK}{} {}", self.name, to_base64(&[&self.key_id[..], &self.signature].concat()))
    }
}

const fn malformed(reason: &'static str) -> Malformed {
    Malformed { what: "signed note", reason }
}
