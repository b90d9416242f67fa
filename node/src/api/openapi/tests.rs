//! The document against the paths that there are, and against the rules of OpenAPI 3.0.

use std::{collections::BTreeSet, fs, path::Path};

use openapiv3::{OpenAPI, Operation};
use serde_json::Value;

use super::{DOCUMENT, shape::parsed};

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
                found
                    .extend(routes.filter(|route| !route.starts_with("/admin/")).map(|route| route.replace("{*", "{")));
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
    let mut described: BTreeSet<String> = parsed().paths.paths.keys().cloned().collect();
    // What a key is called has slashes in it, so one route takes both.
    assert!(described.remove("/ledger/v1/state/{key}/proof"));
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

#[test]
fn a_path_takes_if_none_match_if_it_may_answer_that_nothing_changed_and_else_does_not() {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let mut count = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("operations").values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let takes = parameters.filter(|one| one["$ref"] == "#/components/parameters/IfNoneMatch").count();
            assert_eq!(takes == 1, operation["responses"]["304"].is_object(), "{path}");
            count += takes;
        }
    }
    assert!(count > 0);
}
