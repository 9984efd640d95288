//! Examples of whole bodies, put together from the examples of their parts, so that no example is written twice and
//! none is forgotten when a member is added.

use serde_json::{Map, Value, json};

/// Deeper than any body; a schema that names itself ends here.
const DEPTH: usize = 12;

/// Gives an example to every parameter and JSON body that has none.
pub(super) fn fill(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let operations = document["paths"].as_object_mut().into_iter().flatten();
    for (_path, item) in operations {
        for (_method, operation) in item.as_object_mut().into_iter().flatten() {
            for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
                if parameter.get("schema").is_some() {
                    give(parameter, &schemas);
                }
            }
            if let Some(body) = operation.get_mut("requestBody") {
                // What reads an empty body as an empty object needs none where every member may be absent.
                let kind = resolved(&body["content"]["application/json"]["schema"], &schemas);
                body["required"] = kind.get("required").is_some().into();
                bodies(body, &schemas);
            }
            for (_status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
                bodies(response, &schemas);
            }
        }
    }
}

fn bodies(holder: &mut Value, schemas: &Value) {
    for (_kind, content) in holder.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten() {
        give(content, schemas);
    }
}

fn give(holder: &mut Value, schemas: &Value) {
    if holder.get("example").is_none()
        && holder.get("examples").is_none()
        && let Some(example) = sample(&holder["schema"], schemas, DEPTH)
    {
        holder["example"] = example;
    }
}

fn resolved<'a>(schema: &'a Value, schemas: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"));
    name.and_then(|name| schemas.get(name)).unwrap_or(schema)
}

/// What a value of this schema looks like.
pub(super) fn sample(schema: &Value, schemas: &Value, depth: usize) -> Option<Value> {
    let schema = resolved(schema, schemas);
    let depth = depth.checked_sub(1)?;
    let stated =
        schema.get("example").or_else(|| schema["examples"].get(0)).or_else(|| schema["enum"].get(0));
    if let Some(stated) = stated {
        return Some(stated.clone());
    }
    if let Some(kinds) = schema["oneOf"].as_array() {
        return kinds
            .iter()
            .find(|kind| kind["type"] != "null")
            .and_then(|kind| sample(kind, schemas, depth));
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in parts {
            whole.extend(sample(part, schemas, depth)?.as_object()?.clone());
        }
        return Some(whole.into());
    }
    match schema["type"].as_str() {
        Some("object") => {
            let members = schema["properties"].as_object().into_iter().flatten();
            let members = members.map(|(name, member)| Some((name.clone(), sample(member, schemas, depth)?)));
            members.collect::<Option<Map<_, _>>>().map(Value::from)
        }
        Some("array") => sample(&schema["items"], schemas, depth).map(|item| json!([item])),
        Some("boolean") => Some(true.into()),
        _ => None,
    }
}
