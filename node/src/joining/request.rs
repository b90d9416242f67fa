//! How a node that joins says who it is: each of its requests is signed with its node key.
//!
//! The signature covers the consortium, the address of the node that is asked, the path and the time. So whoever sees a
//! request can repeat that one at that node for [`LIFE_MS`], and is told what its answer was. No node can show it to
//! another, which an API key would allow.

use std::{fmt, str::FromStr};

use wallet::{
    codec,
    digest::Digest,
    identity::{PublicKey, SecretKey, Signature, context},
    units::Timestamp,
};

/// How far the time of a request may be from that of the node that is asked, to either side.
pub const LIFE_MS: u64 = 30_000;

/// The scheme in the header `Authorization`, as it is written.
const SCHEME: &str = "Batchmind-Node ";

/// What is asked, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The consortium.
    pub consortium: Digest,
    /// The HTTP address of the node that is asked, as the ledger has it.
    pub api: &'a str,
    /// The path.
    pub path: &'a str,
}

/// Who asks, and its word for it. Its text is the value of the header `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// The key of the node that asks.
    pub key: PublicKey,
    /// When it asks.
    pub at: Timestamp,
    /// Over what it asks for.
    pub signature: Signature,
}

/// Why a request is nobody's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestInvalid {
    /// The header has another form.
    #[error("the header is not \"Batchmind-Node KEY.MS.SIGNATURE\"")]
    Malformed,
    /// It is too old, or of a time to come.
    #[error("it was signed at {at} ms, and here it is {now} ms: at most {LIFE_MS} ms apart")]
    Expired {
        /// When it was signed.
        at: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// The key did not sign this.
    #[error("the signature does not verify: it may be for another address or path")]
    Forged,
}

impl SignedRequest {
    /// Asks at `at` with `key`.
    pub fn sign(asked: &Asked<'_>, at: Timestamp, key: &SecretKey) -> Self {
        let signature = key.sign(context::NODE_REQUEST, &message(asked, at));
        Self { key: key.public_key(), at, signature }
    }

    /// Checks that its key asks this, `now`. Whose key it is, is another question.
    ///
    /// # Errors
    /// [`RequestInvalid::Expired`] and [`RequestInvalid::Forged`].
    pub fn verify(&self, asked: &Asked<'_>, now: Timestamp) -> Result<(), RequestInvalid> {
        if self.at.get().abs_diff(now.get()) > LIFE_MS {
            return Err(RequestInvalid::Expired { at: self.at, now });
        }
        let verified = self.key.verify(context::NODE_REQUEST, &message(asked, self.at), &self.signature);
        verified.map_err(|_| RequestInvalid::Forged)
    }
}

fn message(Asked { consortium, api, path }: &Asked<'_>, at: Timestamp) -> Vec<u8> {
    codec::encode(&(consortium, api.trim_end_matches('/'), path, at))
}

impl fmt::Display for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}.{}.{}", self.key, self.at.get(), self.signature)
    }
}

impl FromStr for SignedRequest {
    type Err = RequestInvalid;

    fn from_str(text: &str) -> Result<Self, RequestInvalid> {
        let read = || {
            let mut parts = text.strip_prefix(SCHEME)?.splitn(3, '.');
            let key = parts.next()?.parse().ok()?;
            let at = Timestamp::new(parts.next()?.parse().ok()?);
            let signature = parts.next()?.parse().ok()?;
            Some(Self { key, at, signature })
        };
        // A number has several spellings.
        read().filter(|request| request.to_string() == text).ok_or(RequestInvalid::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'static> =
        Asked { consortium: Digest([1; 32]), api: "https://eu-1.example:8001", path: "/ledger/v1/snapshot" };
    const AT: Timestamp = Timestamp::new(1_700_000_000_000);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_request_is_good_for_what_it_names_and_for_nothing_else() {
        let request = SignedRequest::sign(&ASKED, AT, &key(1));
        assert_eq!(request.verify(&ASKED, AT), Ok(()));
        assert_eq!(request.verify(&Asked { api: "https://eu-1.example:8001/", ..ASKED }, AT), Ok(()));
        for other in [
            Asked { consortium: Digest([2; 32]), ..ASKED },
            Asked { api: "https://eu-2.example:8001", ..ASKED },
            Asked { path: "/ledger/v1/snapshot/blocks/1-32", ..ASKED },
        ] {
            assert_eq!(request.verify(&other, AT), Err(RequestInvalid::Forged), "{other:?}");
        }
        let later = SignedRequest { at: Timestamp::new(AT.get() + 1), ..request };
        let anothers = SignedRequest { key: key(2).public_key(), ..request };
        assert_eq!([later.verify(&ASKED, AT), anothers.verify(&ASKED, AT)], [Err(RequestInvalid::Forged); 2]);
    }

    #[test]
    fn a_request_lives_for_half_a_minute_to_either_side() {
        let request = SignedRequest::sign(&ASKED, AT, &key(1));
        let at = |ms: i64| request.verify(&ASKED, Timestamp::new(AT.get().saturating_add_signed(ms)));
        let life = LIFE_MS as i64;
        assert_eq!([at(life), at(-life)], [Ok(()); 2]);
        for ms in [life + 1, -life - 1, i64::MIN, i64::MAX] {
            assert!(matches!(at(ms), Err(RequestInvalid::Expired { .. })), "{ms}");
        }
    }

    #[test]
    fn a_request_has_one_spelling() {
        let request = SignedRequest::sign(&ASKED, AT, &key(1));
        let text = request.to_string();
        assert_eq!(text.parse(), Ok(request));
        let number = AT.get().to_string();
        for wrong in [
            String::new(),
            "Bearer key".to_owned(),
            text.replace("Node", "node"),
            text.replace(&number, &format!("+{number}")),
            text.replace(&number, &format!("0{number}")),
            text.replace(&number, ""),
            format!("{text}.0"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert_eq!(wrong.parse::<SignedRequest>(), Err(RequestInvalid::Malformed), "{wrong}");
        }
    }
}
