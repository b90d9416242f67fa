//! C1, identity.

use std::fmt;

use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, grant::WalletAddress, identity::RegionId};

/// C1: what the batch is and whose. Read by the scheduler and the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its wallet.
    pub wallet: WalletAddress,
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// The numerics id: precision and order of the engine's arithmetic.
    pub numerics: Digest,
    /// The tenant's name, sealed under the wallet's keys; absent if the tenant gave none.
    pub tenant: Option<Vec<u8>>,
    /// Region of the node that created the batch.
    pub origin: RegionId,
    /// The requests that the batch has served, oldest first.
    pub requests: Vec<RequestId>,
}

/// Id of a request, as its client sees it: 1 to 64 printable ASCII characters without space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

/// A text that is no request id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request id has 1 to 64 printable ASCII characters without space")]
pub struct RequestIdInvalid;

impl RequestId {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = RequestIdInvalid;
    fn try_from(id: String) -> Result<Self, RequestIdInvalid> {
        let valid = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(id)) } else { Err(RequestIdInvalid) }
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_short_and_printable() {
        assert!(RequestId::try_from("chatcmpl-7".to_owned()).is_ok());
        for bad in ["", "two words", "line\n", &"x".repeat(65)] {
            assert_eq!(RequestId::try_from(bad.to_owned()), Err(RequestIdInvalid));
        }
    }
}
