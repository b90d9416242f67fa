//! Parts of paths and queries.

use serde::{Deserialize, Deserializer, de::Error as _};
use wallet::{digest::Digest, grant::WalletAddress};

/// A wallet's address: 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletPath(pub WalletAddress);

impl<'de> Deserialize<'de> for WalletPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse::<Digest>().map(|digest| Self(WalletAddress(digest))).map_err(D::Error::custom)
    }
}
