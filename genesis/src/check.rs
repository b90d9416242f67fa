//! The rules that a draft must keep. Each refusal says what is wrong and where.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::SocketAddr,
    ops::RangeInclusive,
};

use ed25519_dalek::VerifyingKey;
use wallet::identity::{PublicKey, RegionId};

use crate::{Auditor, Draft, GenesisError, Node, Operator, OperatorId, Parameters};

/// The longest text for people.
const TEXT_CHARS_MAX: usize = 100;

/// Tables of one kind. A certificate carries a signature for each node, and a policy a leaf for each region.
const TABLES_MAX: usize = 256;

/// Nodes of a consortium with release gates: what all of them contribute to a key stands in one record of the ledger.
pub const GATE_MEMBERS_MAX: usize = 64;

/// In each phase of a key generation a member has to be there once: after a restart, a change of leader, a busy minute.
/// Its parameter is 0 where gates are off.
const GATE_PHASE_MS: RangeInclusive<u64> = 60_000..=604_800_000;

/// End of the year 9999: any later date is a slip of the pen, and TOML could not hold every number beyond it.
const CREATED_MS_MAX: u64 = 253_402_300_799_999;

/// Checks all rules except signatures.
pub fn draft(draft: &Draft) -> Result<(), GenesisError> {
    text("consortium.name", &draft.consortium.name)?;
    within("consortium.created_ms", draft.consortium.created_ms.get(), 0..=CREATED_MS_MAX)?;
    parameters(&draft.parameters)?;
    sizes(draft)?;
    texts(draft)?;
    no_repeats(draft)?;
    keys(draft)?;
    references(draft)?;
    for (i, node) in draft.nodes.iter().enumerate() {
        peer_address(&format!("nodes[{i}].peer"), &node.peer)?;
        api_address(&format!("nodes[{i}].api"), &node.api)?;
    }
    Ok(())
}

impl Parameters {
    /// Checks the range of each, and those that must be in order. Governance keeps the same rules.
    ///
    /// # Errors
    /// [`GenesisError`] for the first that is out of range or order.
    pub fn check(&self) -> Result<(), GenesisError> {
        parameters(self)
    }
}

impl Operator {
    /// Checks what an operator must keep for itself, beside all others: name and key.
    ///
    /// # Errors
    /// [`GenesisError`] for the first rule that it breaks.
    pub fn check(&self) -> Result<(), GenesisError> {
        text("operator.name", &self.name)?;
        key("operator.key".to_owned(), &self.key)
    }
}

impl Node {
    /// Checks what a node must keep for itself, beside all others: key and addresses.
    ///
    /// # Errors
    /// [`GenesisError`] for the first rule that it breaks.
    pub fn check(&self) -> Result<(), GenesisError> {
        key("node.key".to_owned(), &self.key)?;
        peer_address("node.peer", &self.peer)?;
        api_address("node.api", &self.api)
    }
}

impl Auditor {
    /// Checks its name.
    ///
    /// # Errors
    /// [`GenesisError`] if it is blank, too long or has control characters.
    pub fn check(&self) -> Result<(), GenesisError> {
        text("auditor.name", &self.name)
    }
}

fn parameters(parameters: &Parameters) -> Result<(), GenesisError> {
    for parameter in parameters.list() {
        within(&format!("parameters.{}", parameter.name), parameter.value, parameter.range)?;
    }
    let phase = parameters.gate_phase_ms;
    if phase > 0 {
        within("parameters.gate_phase_ms", phase, GATE_PHASE_MS)?;
    }
    let ordered = [
        ("block_interval_ms", parameters.block_interval_ms, "idle_block_ms", parameters.idle_block_ms),
        ("heartbeat_ms", parameters.heartbeat_ms, "leader_timeout_ms", parameters.leader_timeout_ms),
        ("view_timeout_ms", parameters.view_timeout_ms, "view_timeout_max_ms", parameters.view_timeout_max_ms),
    ];
    for (smaller, small, larger, large) in ordered {
        if small >= large {
            return Err(GenesisError::ParametersConflict { smaller, larger });
        }
    }
    Ok(())
}

fn sizes(draft: &Draft) -> Result<(), GenesisError> {
    let lists = [
        ("regions", draft.regions.len(), true),
        ("operators", draft.operators.len(), true),
        ("nodes", draft.nodes.len(), true),
        ("auditors", draft.auditors.len(), false),
        ("models", draft.models.len(), false),
    ];
    for (list, count, needed) in lists {
        if needed && count == 0 {
            return Err(GenesisError::Empty { place: list.to_owned() });
        }
        if count > TABLES_MAX {
            return Err(GenesisError::TooLarge { what: list.to_owned(), count, max: TABLES_MAX });
        }
    }
    let count = draft.nodes.len();
    if draft.parameters.gate_phase_ms > 0 && count > GATE_MEMBERS_MAX {
        return Err(GenesisError::TooLarge {
            what: "nodes where gates are on".to_owned(),
            count,
            max: GATE_MEMBERS_MAX,
        });
    }
    Ok(())
}

fn texts(draft: &Draft) -> Result<(), GenesisError> {
    let regions = draft.regions.iter().map(|region| &region.name).enumerate().map(at("regions", "name"));
    let operators = draft.operators.iter().map(|operator| &operator.name).enumerate().map(at("operators", "name"));
    let auditors = draft.auditors.iter().map(|auditor| &auditor.name).enumerate().map(at("auditors", "name"));
    let models = draft.models.iter().map(|model| &model.name).enumerate().map(at("models", "name"));
    let owners = draft.models.iter().enumerate().filter_map(|(i, model)| Some((i, &model.owner.as_ref()?.name)));
    let owners = owners.map(at("models", "owner.name"));
    let named = regions.chain(operators).chain(auditors).chain(models).chain(owners);
    named.into_iter().try_for_each(|(place, name)| text(&place, name))
}

/// No two tables share what must tell them apart. Operator and node keys are one set: a key has one role.
fn no_repeats(draft: &Draft) -> Result<(), GenesisError> {
    unique(draft.regions.iter().map(|region| &region.id).enumerate().map(at("regions", "id")))?;
    unique(draft.operators.iter().map(|operator| &operator.id).enumerate().map(at("operators", "id")))?;
    unique(draft.nodes.iter().map(|node| &node.name).enumerate().map(at("nodes", "name")))?;
    unique(all_keys(draft))?;
    unique(draft.nodes.iter().map(|node| &node.peer).enumerate().map(at("nodes", "peer")))?;
    unique(draft.nodes.iter().map(|node| &node.api).enumerate().map(at("nodes", "api")))?;
    unique(draft.auditors.iter().map(|auditor| &auditor.name).enumerate().map(at("auditors", "name")))?;
    unique(draft.auditors.iter().map(|auditor| &auditor.key_hash).enumerate().map(at("auditors", "key_hash")))?;
    unique(draft.models.iter().map(|model| &model.name).enumerate().map(at("models", "name")))?;
    unique(draft.models.iter().map(|model| &model.hash).enumerate().map(at("models", "hash")))?;
    owners_are_no_auditors(draft)
}

/// A model's owner with an auditor's key would read about all models. One owner may have several models.
fn owners_are_no_auditors(draft: &Draft) -> Result<(), GenesisError> {
    for (i, owner) in draft.models.iter().enumerate().filter_map(|(i, model)| Some((i, model.owner.as_ref()?))) {
        if let Some(auditor) = draft.auditors.iter().position(|auditor| auditor.key_hash == owner.key_hash) {
            let (place, first) = (format!("models[{i}].owner.key_hash"), format!("auditors[{auditor}].key_hash"));
            return Err(GenesisError::Duplicate { place, first, value: owner.key_hash.to_string() });
        }
    }
    Ok(())
}

/// A key that is no point of the curve, or one of small order, would halt the consortium after all have signed.
fn keys(draft: &Draft) -> Result<(), GenesisError> {
    all_keys(draft).try_for_each(|(place, found)| key(place, found))
}

fn key(place: String, key: &PublicKey) -> Result<(), GenesisError> {
    let is_good = VerifyingKey::from_bytes(&key.0).is_ok_and(|point| !point.is_weak());
    if is_good { Ok(()) } else { Err(GenesisError::KeyInvalid { place, key: *key }) }
}

fn references(draft: &Draft) -> Result<(), GenesisError> {
    let regions: BTreeSet<&RegionId> = draft.regions.iter().map(|region| &region.id).collect();
    for (i, node) in draft.nodes.iter().enumerate() {
        if !regions.contains(&node.region) {
            let (place, region) = (format!("nodes[{i}].region"), node.region.to_string());
            return Err(GenesisError::RegionUnknown { place, region });
        }
    }
    let operators: BTreeSet<&OperatorId> = draft.operators.iter().map(|operator| &operator.id).collect();
    let by_nodes = draft.nodes.iter().map(|node| &node.operator).enumerate().map(at("nodes", "operator"));
    let by_models = draft.models.iter().map(|model| &model.operator).enumerate().map(at("models", "operator"));
    let by_signatures = draft.signatures.keys().map(|operator| (format!("signatures.{operator}"), operator));
    for (place, operator) in by_nodes.chain(by_models).chain(by_signatures) {
        if !operators.contains(operator) {
            return Err(GenesisError::OperatorUnknown { place, operator: operator.to_string() });
        }
    }
    Ok(())
}

fn peer_address(place: &str, address: &SocketAddr) -> Result<(), GenesisError> {
    let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0 || v6.flowinfo() != 0);
    if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 || scoped {
        let rule = "must be the IP address and port of one machine, as others reach it";
        return Err(GenesisError::AddressInvalid { place: place.to_owned(), value: address.to_string(), rule });
    }
    Ok(())
}

fn api_address(place: &str, url: &str) -> Result<(), GenesisError> {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    if !(1..=TEXT_CHARS_MAX).contains(&host.len()) || !host.bytes().all(plain) {
        let rule = "must be http:// or https:// with host and port, in lower case and without a path";
        let value = url.chars().take(TEXT_CHARS_MAX).collect();
        return Err(GenesisError::AddressInvalid { place: place.to_owned(), value, rule });
    }
    Ok(())
}

fn text(place: &str, text: &str) -> Result<(), GenesisError> {
    if text.trim().is_empty() {
        return Err(GenesisError::Empty { place: place.to_owned() });
    }
    if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(GenesisError::TextInvalid { place: place.to_owned(), chars_max: TEXT_CHARS_MAX });
    }
    Ok(())
}

fn within(place: &str, value: u64, range: RangeInclusive<u64>) -> Result<(), GenesisError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(GenesisError::OutOfRange { place: place.to_owned(), value, min: *range.start(), max: *range.end() })
}

fn unique<T: Ord + Display>(uses: impl Iterator<Item = (String, T)>) -> Result<(), GenesisError> {
    let mut seen: BTreeMap<T, String> = BTreeMap::new();
    for (place, value) in uses {
        if let Some(first) = seen.get(&value) {
            return Err(GenesisError::Duplicate { place, first: first.clone(), value: value.to_string() });
        }
        seen.insert(value, place);
    }
    Ok(())
}

fn all_keys(draft: &Draft) -> impl Iterator<Item = (String, &PublicKey)> {
    let of_operators = draft.operators.iter().map(|operator| &operator.key).enumerate().map(at("operators", "key"));
    let of_nodes = draft.nodes.iter().map(|node| &node.key).enumerate().map(at("nodes", "key"));
    of_operators.chain(of_nodes)
}

/// Names the place of each value of a list: `nodes[2].key`.
fn at<T>(list: &str, key: &str) -> impl Fn((usize, T)) -> (String, T) {
    move |(i, value)| (format!("{list}[{i}].{key}"), value)
}
