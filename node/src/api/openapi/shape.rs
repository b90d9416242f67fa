//! Whether a JSON value is as the document describes it. Stricter than OpenAPI: a field that is not named is refused
//! wherever the document does not say that there may be any.

use openapiv3::{
    AdditionalProperties, ArrayType, IntegerType, ObjectType, OpenAPI, ReferenceOr, Schema, SchemaKind, StatusCode,
    StringType, Type,
};
use serde_json::Value;

pub(in crate::api) fn parsed() -> OpenAPI {
    serde_json::from_str(super::DOCUMENT).expect("an OpenAPI document")
}

/// Whether an answer of `path` to GET has the shape that the document gives it.
pub(in crate::api) fn assert_described(document: &OpenAPI, path: &str, answer: &Value) {
    let item = document.paths.paths[path].as_item().expect("no reference");
    let operation = item.get.as_ref().expect("it can be got");
    let response = operation.responses.responses[&StatusCode::Code(200)].as_item().expect("no reference");
    let schema = response.content["application/json"].schema.as_ref().expect("a schema");
    fits(document, schema, answer, path).unwrap_or_else(|why| panic!("{why}"));
}

/// Whether `value` is a `name` of the document's schemas, or what of it is not.
pub(super) fn is(document: &OpenAPI, name: &str, value: &Value) -> Result<(), String> {
    fits(document, named(document, name), value, name)
}

/// The schema of that name.
pub(super) fn named<'a>(document: &'a OpenAPI, name: &str) -> &'a ReferenceOr<Schema> {
    &document.components.as_ref().expect("components").schemas[name]
}

fn fits(document: &OpenAPI, schema: &ReferenceOr<Schema>, value: &Value, at: &str) -> Result<(), String> {
    let schema = match schema {
        ReferenceOr::Item(schema) => schema,
        ReferenceOr::Reference { reference } => {
            let name = reference.rsplit('/').next().expect("a name");
            return fits(document, named(document, name), value, at);
        }
    };
    if value.is_null() && schema.schema_data.nullable {
        return Ok(());
    }
    let holds = |holds: bool| if holds { Ok(()) } else { Err(format!("{at}: {value} is another thing")) };
    match &schema.schema_kind {
        SchemaKind::Type(Type::Object(object)) => object_fits(document, object, value, at),
        SchemaKind::Type(Type::Array(array)) => array_fits(document, array, value, at),
        SchemaKind::Type(Type::String(text)) => holds(text_fits(text, value)),
        SchemaKind::Type(Type::Integer(number)) => holds(number_fits(number, value)),
        SchemaKind::Type(Type::Boolean(_)) => holds(value.is_boolean()),
        SchemaKind::AllOf { all_of } => all_of.iter().try_for_each(|schema| fits(document, schema, value, at)),
        SchemaKind::OneOf { one_of } => {
            let found: Vec<_> = one_of.iter().map(|schema| fits(document, schema, value, at)).collect();
            match found.iter().filter(|found| found.is_ok()).count() {
                1 => Ok(()),
                count => Err(format!("{at}: {value} is {count} of the alternatives: {found:?}")),
            }
        }
        other => Err(format!("{at}: nobody can say whether {value} is {other:?}")),
    }
}

fn object_fits(document: &OpenAPI, object: &ObjectType, value: &Value, at: &str) -> Result<(), String> {
    let found = value.as_object().ok_or_else(|| format!("{at}: no object: {value}"))?;
    if let Some(name) = object.required.iter().find(|name| !found.contains_key(*name)) {
        return Err(format!("{at}: {name} is missing in {value}"));
    }
    if matches!(object.additional_properties, Some(AdditionalProperties::Any(true))) {
        return Ok(());
    }
    let of_any_name = match &object.additional_properties {
        Some(AdditionalProperties::Schema(schema)) => Some(schema.as_ref().clone()),
        _ => None,
    };
    found.iter().try_for_each(|(name, value)| {
        let property = object.properties.get(name).map(|property| property.clone().unbox());
        let property = property.or(of_any_name.clone()).ok_or_else(|| format!("{at}: {name} is not described"))?;
        fits(document, &property, value, &format!("{at}.{name}"))
    })
}

fn array_fits(document: &OpenAPI, array: &ArrayType, value: &Value, at: &str) -> Result<(), String> {
    let values = value.as_array().ok_or_else(|| format!("{at}: no array: {value}"))?;
    let allowed = array.min_items.unwrap_or(0)..=array.max_items.unwrap_or(usize::MAX);
    if !allowed.contains(&values.len()) {
        return Err(format!("{at}: {} of {allowed:?} elements", values.len()));
    }
    let items = array.items.clone().expect("items").unbox();
    values.iter().try_for_each(|value| fits(document, &items, value, at))
}

fn text_fits(text: &StringType, value: &Value) -> bool {
    let Some(found) = value.as_str() else { return false };
    let listed = text.enumeration.is_empty() || text.enumeration.iter().flatten().any(|listed| listed == found);
    // All patterns of the document are of this form.
    let digits = text.pattern.as_ref().map(|pattern| {
        let count = pattern.strip_prefix("^[0-9a-f]{").and_then(|rest| rest.strip_suffix("}$"));
        count.and_then(|count| count.parse::<usize>().ok()).unwrap_or_else(|| panic!("another pattern: {pattern}"))
    });
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    listed && digits.is_none_or(|count| found.len() == count && found.bytes().all(is_hex))
}

fn number_fits(number: &IntegerType, value: &Value) -> bool {
    let found = value.as_u64().map(i128::from).or(value.as_i64().map(i128::from));
    let Some(found) = found else { return false };
    let least = number.minimum.map_or(i128::MIN, i128::from);
    (least..=number.maximum.map_or(i128::MAX, i128::from)).contains(&found)
}
