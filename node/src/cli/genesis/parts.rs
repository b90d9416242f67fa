//! The parts of `genesis new`, as they stand on the command line.

use std::path::Path;

use genesis::{Auditor, Model, Node, Operator, Region};
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
    let mut fields = Fields::parse(text)?;
    let id: genesis::OperatorId = fields.required("id")?;
    let name = fields.optional("name")?.unwrap_or_else(|| id.to_string());
    let key = public_key(&fields.required::<String>("key")?)?;
    fields.finish()?;
    Ok(Operator { id, name, key })
}

pub(super) fn node(text: &str) -> Result<Node, String> {
    let mut fields = Fields::parse(text)?;
    let node = Node {
        name: fields.required("name")?,
        operator: fields.required("operator")?,
        region: region_id(fields.required("region")?)?,
        key: public_key(&fields.required::<String>("key")?)?,
        peer: fields.required("peer")?,
        api: fields.required("api")?,
    };
    fields.finish()?;
    Ok(node)
}

pub(super) fn auditor(text: &str) -> Result<Auditor, String> {
    let mut fields = Fields::parse(text)?;
    let auditor = Auditor { name: fields.required("name")?, key_hash: fields.required("key-hash")? };
    fields.finish()?;
    Ok(auditor)
}

pub(super) fn model(text: &str) -> Result<Model, String> {
    let mut fields = Fields::parse(text)?;
    let model =
        Model { hash: fields.required("hash")?, name: fields.required("name")?, owner: fields.required("owner")? };
    fields.finish()?;
    Ok(model)
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
