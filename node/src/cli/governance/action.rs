//! Actions of a proposal, as they stand on the command line: `suspend,node=3`.

use std::fmt;

use genesis::{Node, Operator};
use ledger::governance::{Action, KeyClaim, Member, Rotation};
use wallet::{identity::PublicKey, units::NodeId};

use super::super::{
    fields::Fields,
    genesis::parts::{auditor_of, key_of, node_of, operator_of},
};

/// An action, or one that its new key has not agreed to yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Asked {
    /// It has all that it needs.
    Whole(Action),
    /// An operator would join.
    Operator(Operator),
    /// A node would join.
    Node(Node),
    /// A key would take another's place.
    Rotation(Rotation),
}

impl Asked {
    /// What the new key has to sign; none if nothing is missing.
    pub(super) const fn claim(&self) -> Option<KeyClaim<'_>> {
        match self {
            Self::Whole(_) => None,
            Self::Operator(operator) => Some(KeyClaim::Operator(operator)),
            Self::Node(node) => Some(KeyClaim::Node(node)),
            Self::Rotation(rotation) => Some(KeyClaim::Rotation(rotation)),
        }
    }

    /// Whether that key may sign the claim: the new one; the operator of a node that joins, whose key the ledger knows and
    /// this command does not; and the key that is rotated away.
    pub(super) fn may_sign(&self, key: &PublicKey) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Operator(operator) => operator.key == *key,
            Self::Node(_) => true,
            Self::Rotation(rotation) => [rotation.from, rotation.to].contains(key),
        }
    }

    /// The action, if all have agreed whose word it takes.
    fn agreed(self, fields: &mut Fields) -> Result<Self, String> {
        if let Self::Whole(_) = self {
            return Ok(self);
        }
        let Some(consent) = fields.optional("consent")? else { return Ok(self) };
        Ok(Self::Whole(match self {
            Self::Whole(action) => action,
            Self::Operator(operator) => Action::AddOperator { operator, consent },
            Self::Node(node) => Action::AddNode { node, consent, by_operator: fields.required("by-operator")? },
            Self::Rotation(rotation) => {
                Action::RotateKey { rotation, consent, by_old_key: fields.optional("by-old-key")? }
            }
        }))
    }
}

/// Reads `KIND,NAME=VALUE,...`.
pub(super) fn read(text: &str) -> Result<Asked, String> {
    let (kind, parts) = text.split_once(',').ok_or_else(|| format!("{text:?} is not KIND,NAME=VALUE,..."))?;
    let mut fields = Fields::parse(parts)?;
    let asked = match kind {
        "add-operator" => Asked::Operator(operator_of(&mut fields)?),
        "add-node" => Asked::Node(node_of(&mut fields)?),
        "suspend" => Asked::Whole(Action::Suspend(member_of(&mut fields)?)),
        "reinstate" => {
            Asked::Whole(Action::Reinstate { member: member_of(&mut fields)?, key: key_of(&mut fields, "key")? })
        }
        "remove" => Asked::Whole(Action::Remove(member_of(&mut fields)?)),
        "rotate-key" => Asked::Rotation(Rotation {
            member: member_of(&mut fields)?,
            from: key_of(&mut fields, "from")?,
            to: key_of(&mut fields, "to")?,
        }),
        "revoke-key" => Asked::Whole(Action::RevokeKey(key_of(&mut fields, "key")?)),
        "grant-auditor" => Asked::Whole(Action::GrantAuditor(auditor_of(&mut fields)?)),
        "revoke-auditor" => Asked::Whole(Action::RevokeAuditor(fields.required("key-hash")?)),
        "set-parameter" => Asked::Whole(Action::SetParameter {
            name: fields.required("name")?,
            from: fields.required("from")?,
            to: fields.required("to")?,
        }),
        _ => return Err(format!("there is no action {kind:?}")),
    };
    let asked = asked.agreed(&mut fields)?;
    fields.finish()?;
    Ok(asked)
}

pub(in crate::cli) fn member_of(fields: &mut Fields) -> Result<Member, String> {
    match (fields.optional("operator")?, fields.optional("node")?.map(NodeId::new)) {
        (Some(operator), None) => Ok(Member::Operator(operator)),
        (None, Some(node)) => Ok(Member::Node(node)),
        _ => Err("either operator=ID or node=NUMBER is needed".to_owned()),
    }
}

/// An action in words.
pub(super) struct InWords<'a>(pub(super) &'a Action);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Action::AddOperator { operator, .. } => {
                write!(f, "add operator {} {:?} with key {}", operator.id, operator.name, operator.key)
            }
            Action::AddNode { node, .. } => {
                let genesis::Node { name, operator, region, key, peer, api } = node;
                write!(f, "add node {name} of {operator} in {region} with key {key} at {peer} and {api}")
            }
            Action::Suspend(member) => write!(f, "suspend {member}"),
            Action::Reinstate { member, key } => write!(f, "reinstate {member} with key {key}"),
            Action::Remove(member) => write!(f, "remove {member}"),
            Action::RotateKey { rotation: Rotation { member, from, to }, by_old_key, .. } => {
                let whose =
                    if by_old_key.is_some() { "by the word of the old one" } else { "without a word of the old one" };
                write!(f, "rotate the key of {member} from {from} to {to}, {whose}")
            }
            Action::RevokeKey(key) => write!(f, "revoke key {key}"),
            Action::GrantAuditor(auditor) => {
                write!(f, "grant auditor {:?} with key hash {}", auditor.name, auditor.key_hash)
            }
            Action::RevokeAuditor(key_hash) => write!(f, "revoke the auditor with key hash {key_hash}"),
            Action::SetParameter { name, from, to } => write!(f, "set parameter {name} from {from} to {to}"),
        }
    }
}
