//! The parts of a consortium, as they stand on the command line.

use std::path::Path;

use genesis::{Auditor, Model, Node, Operator, Owner, Region};
use wallet::identity::{PublicKey, RegionId};

use super::super::fields::Fields;
use crate::keys;

pub(super) fn region(text: &str) -> Result<Region, String> {
    let mut fields = Fields::parse(text)?;
    let id: String = fields.required("id")?;
    let name = fields.optional("name")?.unwrap_or_else(|| id.clone());
    fields.finish()?;
    Ok(Region { id: region_id(id)?, name })
}

pub(super) fn operator(text: &str) -> Result<Operator, String> {
    whole(text, operator_of)
}

pub(super) fn node(text: &str) -> Result<Node, String> {
    whole(text, node_of)
}

pub(super) fn auditor(text: &str) -> Result<Auditor, String> {
    whole(text, auditor_of)
}

fn whole<T>(text: &str, read: fn(&mut Fields) -> Result<T, String>) -> Result<T, String> {
    let mut fields = Fields::parse(text)?;
    let found = read(&mut fields)?;
    fields.finish()?;
    Ok(found)
}

/// An operator, from some of the fields.
pub(in crate::cli) fn operator_of(fields: &mut Fields) -> Result<Operator, String> {
    let id: genesis::OperatorId = fields.required("id")?;
    let name = fields.optional("name")?.unwrap_or_else(|| id.to_string());
    Ok(Operator { id, name, key: key_of(fields, "key")? })
}

/// A node, from some of the fields.
pub(in crate::cli) fn node_of(fields: &mut Fields) -> Result<Node, String> {
    Ok(Node {
        name: fields.required("name")?,
        operator: fields.required("operator")?,
        region: region_id(fields.required("region")?)?,
        key: key_of(fields, "key")?,
        peer: fields.required("peer")?,
        api: fields.required("api")?,
    })
}

/// An auditor, from some of the fields.
pub(in crate::cli) fn auditor_of(fields: &mut Fields) -> Result<Auditor, String> {
    Ok(Auditor { name: fields.required("name")?, key_hash: fields.required("key-hash")? })
}

/// The public key in the field `name`.
pub(in crate::cli) fn key_of(fields: &mut Fields, name: &str) -> Result<PublicKey, String> {
    public_key(&fields.required::<String>(name)?)
}

pub(super) fn model(text: &str) -> Result<Model, String> {
    let mut fields = Fields::parse(text)?;
    let (hash, name, operator) = (fields.required("hash")?, fields.required("name")?, fields.required("operator")?);
    let owner = match (fields.optional("owner")?, fields.optional("owner-key-hash")?) {
        (Some(name), Some(key_hash)) => Some(Owner { name, key_hash }),
        (None, None) => None,
        _ => return Err("owner= and owner-key-hash= come together".to_owned()),
    };
    fields.finish()?;
    Ok(Model { hash, name, operator, owner })
}

/// 64 hexadecimal digits are a public key; everything else is the name of a key file.
fn public_key(text: &str) -> Result<PublicKey, String> {
    match text.parse() {
        Ok(key) => Ok(key),
        Err(_) => keys::read(Path::new(text)).map(|key| key.public_key()).map_err(|fault| fault.to_string()),
    }
}

fn region_id(text: String) -> Result<RegionId, String> {
    RegionId::try_from(text).map_err(|error| error.to_string())
}
