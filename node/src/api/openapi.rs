//! `/openapi.json`: the public paths for programs. `docs/api.md` is for people.

use axum::http::{HeaderValue, header};

/// The document, version 3.0 of OpenAPI.
const DOCUMENT: &str = include_str!("openapi.json");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) async fn document() -> ([(header::HeaderName, HeaderValue); 1], &'static str) {
    ([(header::CONTENT_TYPE, JSON)], DOCUMENT)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use openapiv3::{OpenAPI, Operation, ReferenceOr, Schema, SchemaKind, StatusCode, Type};
    use serde_json::Value;

    use super::*;

    pub(in crate::api) fn parsed() -> OpenAPI {
        serde_json::from_str(DOCUMENT).expect("an OpenAPI document")
    }

    /// The paths in this folder's own text. Those of the operator's socket are not public.
    fn routes() -> BTreeSet<String> {
        fn collect(folder: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).expect("a readable folder") {
                let path = entry.expect("a readable folder").path();
                if path.is_dir() {
                    collect(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).expect("a readable file");
                    let routes = text.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
                    found.extend(
                        routes.filter(|route| !route.starts_with("/admin/")).map(|route| route.replace("{*", "{")),
                    );
                }
            }
        }
        let mut found = BTreeSet::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api"), &mut found);
        found.remove("");
        found
    }

    fn operations(document: &OpenAPI) -> impl Iterator<Item = (&str, &Operation)> {
        document.operations().map(|(path, _, operation)| (path, operation))
    }

    #[test]
    fn every_public_path_is_described_and_nothing_else() {
        let described: BTreeSet<String> = parsed().paths.paths.keys().cloned().collect();
        assert_eq!(described, routes());
    }

    #[test]
    fn every_part_of_a_path_is_a_parameter_of_each_of_its_operations() {
        let document = parsed();
        for (path, operation) in operations(&document) {
            let parameters: BTreeSet<&str> = operation
                .parameters
                .iter()
                .filter_map(|parameter| match parameter.as_item() {
                    Some(openapiv3::Parameter::Path { parameter_data, .. }) => Some(parameter_data.name.as_str()),
                    _ => None,
                })
                .collect();
            let parts: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(parameters, parts, "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_may_be_refused() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for (path, operation) in operations(&parsed()) {
            assert!(operation.responses.default.is_some(), "{path}");
        }
    }

    /// Version 3.0 ignores what stands beside a reference: a client made from the document would not know of it.
    #[test]
    fn nothing_stands_beside_a_reference() {
        fn siblings<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
            match value {
                Value::Object(object) => {
                    if object.contains_key("$ref") && object.len() > 1 {
                        found.push(value);
                    }
                    object.values().for_each(|value| siblings(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| siblings(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let mut found = Vec::new();
        siblings(&document, &mut found);
        assert_eq!(found, Vec::<&Value>::new());
    }

    /// Whether an answer of `path` to GET has the shape that the document gives it.
    pub(in crate::api) fn assert_described(document: &OpenAPI, path: &str, answer: &Value) {
        let item = document.paths.paths[path].as_item().expect("no reference");
        let operation = item.get.as_ref().expect("it can be got");
        let response = operation.responses.responses[&StatusCode::Code(200)].as_item().expect("no reference");
        let schema = response.content["application/json"].schema.as_ref().expect("a schema");
        assert_shape(document, schema, answer, path);
    }

    fn assert_shape(document: &OpenAPI, schema: &ReferenceOr<Schema>, value: &Value, at: &str) {
        let schema = match schema {
            ReferenceOr::Item(schema) => schema,
            ReferenceOr::Reference { reference } => {
                let name = reference.rsplit('/').next().expect("a name");
                let schemas = &document.components.as_ref().expect("components").schemas;
                return assert_shape(document, &schemas[name], value, at);
            }
        };
        if value.is_null() && schema.schema_data.nullable {
            return;
        }
        match &schema.schema_kind {
            SchemaKind::Type(Type::Object(object)) => {
                let found = value.as_object().unwrap_or_else(|| panic!("{at}: no object: {value}"));
                for name in &object.required {
                    assert!(found.contains_key(name), "{at}: {name} is missing in {value}");
                }
                if object.additional_properties.is_some() {
                    return;
                }
                for (name, value) in found {
                    let property = object.properties.get(name);
                    let property = property.unwrap_or_else(|| panic!("{at}: {name} is not described"));
                    assert_shape(document, &property.clone().unbox(), value, &format!("{at}.{name}"));
                }
            }
            SchemaKind::Type(Type::Array(array)) => {
                let values = value.as_array().unwrap_or_else(|| panic!("{at}: no array: {value}"));
                let items = array.items.clone().expect("items").unbox();
                values.iter().for_each(|value| assert_shape(document, &items, value, at));
            }
            SchemaKind::AllOf { all_of } => {
                all_of.iter().for_each(|schema| assert_shape(document, schema, value, at));
            }
            SchemaKind::Type(Type::String(_)) => assert!(value.is_string(), "{at}: {value}"),
            SchemaKind::Type(Type::Integer(_)) => assert!(value.is_u64(), "{at}: {value}"),
            SchemaKind::Type(Type::Boolean { .. }) => assert!(value.is_boolean(), "{at}: {value}"),
            _ => {}
        }
    }
}
