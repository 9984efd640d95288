//! A route is documented to the last field, or this fails and says which part is missing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::openapi;

/// Every operation: `get /sessions`, and what is said about it.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, said)| (format!("{method} {path}"), said.clone()))
    });
    operations.collect()
}

fn is_open(operation: &Value) -> bool {
    operation.get("security").is_some()
}

/// The response behind a reference.
fn response<'a>(document: &'a Value, operation: &'a Value, status: &str) -> &'a Value {
    let said = &operation["responses"][status];
    said["$ref"].as_str().map_or(said, |reference| document.pointer(&reference[1..]).unwrap())
}

#[test]
fn every_operation_says_what_a_client_author_needs() {
    let document = openapi();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let tags: Vec<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    let mut missing = Vec::new();
    for (name, operation) in operations(&document) {
        let mut need = |there: bool, what: &str| {
            if !there {
                missing.push(format!("{name}: {what}"));
            }
        };
        let id = operation["operationId"].as_str().unwrap_or_default();
        let camel = id.starts_with(|c: char| c.is_ascii_lowercase())
            && id.chars().all(|c| c.is_ascii_alphanumeric())
            && id.chars().any(|c| c.is_ascii_uppercase());
        need(camel, "an operation_id such as listSessions");
        need(ids.insert(id.to_owned()), "an operation_id of its own");
        need(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "a doc comment");
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        need(tags.contains(&tag), "a tag that openapi/mod.rs describes");
        for status in ["400", "401", "429", "500", "503"] {
            let kind = &response(&document, &operation, status)["content"]["application/problem+json"];
            need(is_open(&operation) || kind.is_object(), &format!("a problem for {status}"));
        }
        let statuses = operation["responses"].as_object().unwrap();
        need(statuses.keys().any(|status| status < &"300".to_owned()), "a success");
        for (status, _) in statuses {
            let said = response(&document, &operation, status);
            need(
                said["description"].as_str().is_some_and(|text| !text.is_empty()),
                "a description of an answer",
            );
            need(said["headers"]["x-request-id"].is_object(), "x-request-id");
            for (kind, content) in said["content"].as_object().into_iter().flatten() {
                let example = content.get("example").is_some() || content.get("examples").is_some();
                need(example, &format!("an example of {status} {kind}"));
            }
        }
        for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            need(content.get("example").is_some(), &format!("an example of a request in {kind}"));
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let there = parameter["$ref"].is_string() || parameter.get("example").is_some();
            need(there && parameter["description"] != "", &format!("an example of {}", parameter["name"]));
        }
    }
    assert!(ids.len() >= 25, "{}", ids.len());
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_write_can_be_repeated_and_a_read_can_be_polled() {
    let document = openapi();
    for (name, operation) in operations(&document) {
        let parameters = operation["parameters"].to_string();
        let writes = !name.starts_with("get ");
        let repeatable = writes && !is_open(&operation) && operation["x-asks-anew"] != true;
        assert_eq!(parameters.contains("IdempotencyKey"), repeatable, "{name}");
        let polled = !writes && operation["responses"]["200"].is_object();
        assert_eq!(parameters.contains("IfNoneMatch"), polled, "{name}");
        assert_eq!(operation["responses"]["304"].is_object(), polled, "{name}");
    }
}

/// What a schema leaves open: a text, list, or number without bounds.
fn unbounded(schema: &Value, at: &str, found: &mut Vec<String>) {
    let is = |kind: &str| {
        schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()))
    };
    let has = |words: &[&str]| words.iter().any(|word| schema.get(word).is_some());
    // `If-None-Match` is any text: there is nothing in it to refuse.
    if is("string")
        && at != "parameters/IfNoneMatch/schema"
        && !has(&["enum", "maxLength"])
        && schema["format"] != "date-time"
    {
        found.push(format!("{at}: maxLength or enum"));
    }
    if is("array") && !has(&["maxItems"]) {
        found.push(format!("{at}: maxItems"));
    }
    if (is("integer") || is("number")) && !has(&["minimum"]) {
        found.push(format!("{at}: minimum"));
    }
    if is("object") && !has(&["properties", "additionalProperties"]) {
        found.push(format!("{at}: properties"));
    }
    for (name, part) in schema.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "example" | "examples" | "enum") {
            unbounded(part, &format!("{at}/{name}"), found);
        }
    }
    for (place, part) in schema.as_array().into_iter().flatten().enumerate() {
        unbounded(part, &format!("{at}/{place}"), found);
    }
}

#[test]
fn every_text_list_and_number_has_bounds() {
    let document = openapi();
    let mut found = Vec::new();
    unbounded(&document["paths"], "paths", &mut found);
    for part in ["schemas", "parameters", "headers"] {
        unbounded(&document["components"][part], part, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn bounds_are_looked_for_everywhere() {
    let open = serde_json::json!({"type": "object", "properties": {
        "a": {"type": ["string", "null"]}, "b": {"type": "array", "items": {"type": "integer"}}, "c": {"type": "object"},
    }});
    let mut found = Vec::new();
    unbounded(&open, "", &mut found);
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_request_refuses_what_it_does_not_know() {
    let document = openapi();
    for (name, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let Some(reference) = schema["$ref"].as_str() else { continue };
        let schema = document.pointer(&reference[1..]).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{name}: deny_unknown_fields");
    }
}

#[test]
fn every_reference_points_at_something() {
    let document = openapi();
    let mut waiting = vec![&document];
    let mut seen = 0;
    while let Some(value) = waiting.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            seen += 1;
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        waiting.extend(value.as_object().into_iter().flat_map(|members| members.values()));
        waiting.extend(value.as_array().into_iter().flatten());
    }
    assert!(seen > 100, "{seen}");
}
