//! What a key of the state is called in a path and on a command line, and which kind of record stands under it.

use std::{fmt, str::FromStr};

use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::PublicKey,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::{Record, StateKey};

/// A text that names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this names no record of the state; wallet/HASH, prekey/HASH, entry/HASH, account/NODE or governance does, say"
)]
pub struct NoStateKey;

/// As in `/ledger/v1/state/{key}`: the kind, and after a slash what tells it apart.
impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Governance => write!(f, "governance"),
            Self::Wallet(address) => write!(f, "wallet/{}", address.0),
            Self::Prekey(key) => write!(f, "prekey/{}", Digest(key.0)),
            Self::Entry(id) => write!(f, "entry/{id}"),
            Self::Baseline(id) => write!(f, "baseline/{id}"),
            Self::Award(wallet, epoch) => write!(f, "award/{}/{epoch}", wallet.0),
            Self::Account(node) => write!(f, "account/{node}"),
            Self::Anchor(node) => write!(f, "anchor/{node}"),
            Self::Resumption(node) => write!(f, "resumption/{node}"),
            Self::Validators(epoch) => write!(f, "validators/{epoch}"),
            Self::Parameters => write!(f, "parameters"),
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::Node(node) => write!(f, "node/{node}"),
            Self::Key(key) => write!(f, "key/{}", Digest(key.0)),
            Self::Auditor(hash) => write!(f, "auditor/{hash}"),
            Self::Proposal(digest) => write!(f, "proposal/{digest}"),
            Self::Lineage => write!(f, "lineage"),
            Self::Gate(scope) => write!(f, "gate/{scope}"),
        }
    }
}

impl FromStr for StateKey {
    type Err = NoStateKey;

    /// Refuses whatever `Display` does not write.
    fn from_str(path: &str) -> Result<Self, NoStateKey> {
        read(path).filter(|key| key.to_string() == path).ok_or(NoStateKey)
    }
}

fn read(path: &str) -> Option<StateKey> {
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let digest = || name.parse::<Digest>().ok();
    let node = || name.parse().ok().map(NodeId::new);
    Some(match kind {
        "governance" => StateKey::Governance,
        "wallet" => StateKey::Wallet(WalletAddress(digest()?)),
        "prekey" => StateKey::Prekey(ExchangeKey(digest()?.0)),
        "entry" => StateKey::Entry(digest()?),
        "baseline" => StateKey::Baseline(digest()?),
        "award" => {
            let (wallet, epoch) = name.split_once('/')?;
            StateKey::Award(WalletAddress(wallet.parse().ok()?), KeyEpoch::new(epoch.parse().ok()?))
        }
        "account" => StateKey::Account(node()?),
        "anchor" => StateKey::Anchor(node()?),
        "resumption" => StateKey::Resumption(node()?),
        "parameters" => StateKey::Parameters,
        "operator" => StateKey::Operator(name.parse().ok()?),
        "node" => StateKey::Node(node()?),
        "key" => StateKey::Key(PublicKey(digest()?.0)),
        "auditor" => StateKey::Auditor(digest()?),
        "proposal" => StateKey::Proposal(digest()?),
        "lineage" => StateKey::Lineage,
        "gate" => StateKey::Gate(name.parse().ok()?),
        "validators" => StateKey::Validators(name.parse().ok()?),
        _ => return None,
    })
}

impl Record {
    /// Whether a record of this kind may stand under `key`.
    pub fn is_of(&self, key: &StateKey) -> bool {
        matches!(
            (self, key),
            (Self::Governance(_), StateKey::Governance)
                | (Self::Wallet(_), StateKey::Wallet(_))
                | (Self::Prekey(_), StateKey::Prekey(_))
                | (Self::Entry(_), StateKey::Entry(_))
                | (Self::Baseline(_), StateKey::Baseline(_))
                | (Self::Award(_), StateKey::Award(..))
                | (Self::Account(_), StateKey::Account(_))
                | (Self::Anchor(_), StateKey::Anchor(_))
                | (Self::Resumption(_), StateKey::Resumption(_))
                | (Self::Validators(_), StateKey::Validators(_))
                | (Self::Parameters(_), StateKey::Parameters)
                | (Self::Operator(_), StateKey::Operator(_))
                | (Self::Node(_), StateKey::Node(_))
                | (Self::Key(_), StateKey::Key(_))
                | (Self::Auditor(_), StateKey::Auditor(_))
                | (Self::Proposal(_), StateKey::Proposal(_))
                | (Self::Lineage(_), StateKey::Lineage)
                | (Self::Gate(_), StateKey::Gate(_))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::GateScope;

    #[test]
    fn each_kind_of_record_has_a_path_and_nothing_else_has() {
        let hash = "ab".repeat(32);
        let digest = Digest([0xAB; 32]);
        for (path, key) in [
            ("governance".to_owned(), StateKey::Governance),
            (format!("wallet/{hash}"), StateKey::Wallet(WalletAddress(digest))),
            (format!("prekey/{hash}"), StateKey::Prekey(ExchangeKey(digest.0))),
            (format!("entry/{hash}"), StateKey::Entry(digest)),
            (format!("baseline/{hash}"), StateKey::Baseline(digest)),
            (format!("award/{hash}/3"), StateKey::Award(WalletAddress(digest), KeyEpoch::new(3))),
            ("account/2".to_owned(), StateKey::Account(NodeId::new(2))),
            ("anchor/0".to_owned(), StateKey::Anchor(NodeId::ZERO)),
            ("resumption/4".to_owned(), StateKey::Resumption(NodeId::new(4))),
            ("validators/1".to_owned(), StateKey::Validators(1)),
            ("parameters".to_owned(), StateKey::Parameters),
            ("node/4".to_owned(), StateKey::Node(NodeId::new(4))),
            (format!("key/{hash}"), StateKey::Key(PublicKey(digest.0))),
            (format!("auditor/{hash}"), StateKey::Auditor(digest)),
            (format!("proposal/{hash}"), StateKey::Proposal(digest)),
            ("lineage".to_owned(), StateKey::Lineage),
        ] {
            assert_eq!((path.parse(), key.to_string()), (Ok(key), path.clone()));
            for other in [format!("{path}/"), format!("{path}0x"), path.to_uppercase(), format!("/{path}")] {
                assert_eq!(other.parse::<StateKey>(), Err(NoStateKey), "{other}");
            }
        }
        assert_eq!("gate/global".parse(), Ok(StateKey::Gate(GateScope::Global)));
        let region = GateScope::Region("eu".to_owned().try_into().expect("a name"));
        assert_eq!("gate/region/eu".parse(), Ok(StateKey::Gate(region)));
        assert_eq!("operator/eu-1".parse(), Ok(StateKey::Operator("eu-1".parse().expect("a name"))));
        for path in [
            "",
            "operator",
            "operator/",
            "operator/EU",
            "operator/a/b",
            "wallet",
            "wallet/",
            "wallet/ab",
            "award",
            "award/3",
            "account/",
            "account/+1",
            "account/01",
            "gate",
            "gate/",
            "gate/eu",
            "gate/global/",
            "gate/region",
            "gate/region/",
            "gate/region/EU",
        ] {
            assert_eq!(path.parse::<StateKey>(), Err(NoStateKey), "{path}");
        }
    }
}
