//! What many routes have in common, added to each where it applies.
//!
//! A route that states a failure without a body, as `(status = 409, description = "…")`, gets the shared one for that
//! status. The rest follows from the kind of route: a write has an `Idempotency-Key`, unless it says `x-asks-anew`; a
//! read has an `ETag`; a new thing has its `Location`.

use serde_json::{Map, Value, json};

use crate::http::access::{NEEDS, Need};
use crate::http::codes::CODES;

/// Problems by status: the component's name, and when it comes.
const PROBLEMS: [(u16, &str, &str); 13] = [
    (400, "Invalid", "Something in the request is wrong; `field` says what"),
    (401, "Unauthorized", "Who asks is not known, or no longer let in"),
    (403, "Forbidden", "Who asks may not do this"),
    (404, "NotFound", "There is no such thing, or it is not yours"),
    (406, "NotAcceptable", "It does not come in any form that `Accept` names"),
    (409, "Conflict", "The request contradicts what is already so"),
    (410, "Gone", "It was there and will not come back"),
    (413, "TooLarge", "The body is longer than 256 kB"),
    (415, "UnsupportedMediaType", "The body is not JSON"),
    (426, "UpgradeRequired", "This path is a WebSocket"),
    (429, "Busy", "A limit is reached; `Retry-After` says when to try again"),
    (500, "Bug", "A mistake of ours; the request id finds it in the log"),
    (
        503,
        "Unavailable",
        "Not now; `Retry-After` says when to try again. Repeat a write with its `Idempotency-Key`",
    ),
];

/// What an answer says of the limits that applied to the request: the header, the component, the meaning.
const LIMITS: [(&str, &str, &str); 3] = [
    (
        "RateLimit-Limit",
        "RateLimitLimit",
        "Requests in a window of the tightest limit that applied; absent when none did",
    ),
    ("RateLimit-Remaining", "RateLimitRemaining", "How many more it would admit now"),
    ("RateLimit-Reset", "RateLimitReset", "Seconds until its window ends and all are admitted again"),
];

/// Adds to every operation what follows from its kind, and the components that this names.
pub(super) fn complete(document: &mut Value) {
    for (path, item) in members(&mut document["paths"]) {
        for (method, operation) in members(item) {
            let names_a_thing = path.contains('{');
            secure(operation, method, path);
            self::operation(operation, method != "get", names_a_thing);
        }
    }
    let components = &mut document["components"];
    components["headers"] = headers();
    components["parameters"] = json!({"IdempotencyKey": idempotency_key(), "IfNoneMatch": if_none_match()});
    components["securitySchemes"]["key"] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`rec_…`, shown once when it is made) or the access token of a login",
    });
    let mut responses = Map::new();
    for (status, name, when) in PROBLEMS {
        responses.insert(name.to_owned(), problem(status, when));
    }
    responses.insert("NotModified".to_owned(), not_modified());
    components["responses"] = responses.into();
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// Says what a route takes, from the table that decides it.
fn secure(operation: &mut Value, method: &str, path: &str) {
    let need = NEEDS.iter().find(|(known, route, _)| known.eq_ignore_ascii_case(method) && *route == path);
    let words = match need.map(|(_, _, need)| *need) {
        Some(Need::Open) => {
            operation["security"] = json!([{}]);
            return;
        }
        Some(Need::Person) => "A login of a person; no API key.".to_owned(),
        Some(Need::May(scope)) => format!("Scope `{scope}`."),
        Some(Need::MayAll(scope)) => format!("Scope `{scope}`; no key that is limited to some sessions."),
        Some(Need::Anyone) | None => return,
    };
    let said = operation["description"].as_str().filter(|said| !said.is_empty());
    operation["description"] = said.map_or_else(|| words.clone(), |said| format!("{said}\n\n{words}")).into();
}

fn operation(operation: &mut Value, writes: bool, names_a_thing: bool) {
    let open = operation.get("security").is_some();
    let responses = &mut operation["responses"];
    for (status, name, _) in PROBLEMS {
        let stated = responses.get(status.to_string()).map(|response| response.get("content").is_none());
        let applies = match status {
            400 | 429 | 500 | 503 => !open || writes,
            401 | 403 => !open,
            404 => names_a_thing,
            409 => writes && !open,
            413 | 415 => writes,
            _ => false,
        };
        if stated.unwrap_or(applies) {
            responses[status.to_string()] = json!({"$ref": format!("#/components/responses/{name}")});
        }
    }
    let polled = !writes && responses.get("200").is_some();
    if polled {
        responses["304"] = json!({"$ref": "#/components/responses/NotModified"});
        responses["200"]["headers"]["ETag"] = header("ETag");
    }
    let repeatable = writes && !open && operation.get("x-asks-anew").is_none();
    for (status, response) in members(&mut operation["responses"]) {
        if response.get("$ref").is_some() {
            continue;
        }
        response["headers"]["x-request-id"] = header("RequestId");
        if (!open || writes) && status.starts_with(['1', '2']) {
            limits(response);
        }
        if status == "201" {
            response["headers"]["Location"] = header("Location");
        }
        if repeatable && status.starts_with('2') {
            response["headers"]["Idempotent-Replayed"] = header("IdempotentReplayed");
        }
    }
    if operation.get("parameters").is_none() {
        operation["parameters"] = json!([]);
    }
    let parameters = operation["parameters"].as_array_mut().into_iter();
    for parameters in parameters {
        for parameter in parameters.iter_mut() {
            never_null(&mut parameter["schema"]);
        }
        for (applies, name) in [(repeatable, "IdempotencyKey"), (polled, "IfNoneMatch")] {
            if applies {
                parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
            }
        }
    }
}

/// A parameter is there or is not: it has no way to be null.
fn never_null(schema: &mut Value) {
    if let Some(kinds) = schema.get("type").and_then(Value::as_array) {
        let real: Vec<_> = kinds.iter().filter(|kind| *kind != "null").cloned().collect();
        schema["type"] = if let [kind] = &real[..] { kind.clone() } else { real.into() };
    }
    let real = schema["oneOf"].as_array().and_then(|kinds| kinds.iter().find(|kind| kind["type"] != "null"));
    if let Some(real) = real.cloned() {
        *schema = real;
    }
}

/// How the request stands with the limits that applied to it.
fn limits(response: &mut Value) {
    for (name, component, _) in LIMITS {
        response["headers"][name] = header(component);
    }
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn headers() -> Value {
    let text = |description: &str, required: bool, pattern: &str, most: usize, example: &str| {
        json!({
            "description": description,
            "required": required,
            "schema": {"type": "string", "pattern": pattern, "maxLength": most},
            "example": example,
        })
    };
    let mut headers = json!({
        "RequestId": text(
            "The request's id in the log: yours if you sent one of 1 to 64 letters, digits, `-`, `_` or `.`, else a new one",
            true, "^[-_.0-9A-Za-z]+$", 64, "0192f0c1-7b7a-7000-8000-000000000001",
        ),
        "ETag": text(
            "Changes with the answer; give it back as `If-None-Match`", true, "^W/\"[-_0-9A-Za-z]+\"$", 64,
            "W/\"Ue3kXJ0iWq1xu0k8y8XqZw\"",
        ),
        "Location": text(
            "Where the new thing is", true, "^/", 512, "/sessions/0192f0c1-7b7a-7000-8000-000000000001",
        ),
        "RetryAfter": text("Seconds until another try makes sense", true, "^[0-9]+$", 10, "1"),
        "IdempotentReplayed": {
            "description": "On an answer that had been given before",
            "schema": {"type": "string", "enum": ["true"]},
            "example": "true",
        },
        "WwwAuthenticate": text("How to say who you are", true, "^Bearer", 512, "Bearer"),
    });
    for (_, component, meaning) in LIMITS {
        headers[component] = text(meaning, false, "^[0-9]+$", 10, "60");
    }
    headers
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Chosen by you, one per intention: a repetition gives the first answer again",
        "required": false,
        "schema": {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 255},
        "example": "order-4711-shipped",
    })
}

fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of the answer you have: if it is still so, the answer is 304 without a body",
        "required": false,
        // Any text is a tag, if not one that anything has.
        "schema": {"type": "string"},
        "example": "W/\"Ue3kXJ0iWq1xu0k8y8XqZw\"",
    })
}

fn not_modified() -> Value {
    json!({
        "description": "What you have is still so",
        "headers": {"ETag": header("ETag"), "x-request-id": header("RequestId")},
    })
}

fn problem(status: u16, when: &str) -> Value {
    let examples: Map<_, _> = CODES
        .iter()
        .filter(|code| code.status == status)
        .map(|code| (code.code.to_owned(), json!({"summary": code.when, "value": code.example()})))
        .collect();
    let mut headers = json!({"x-request-id": header("RequestId")});
    match status {
        401 => headers["WWW-Authenticate"] = header("WwwAuthenticate"),
        429 | 503 => headers["Retry-After"] = header("RetryAfter"),
        _ => {}
    }
    let mut content = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    if !examples.is_empty() {
        content["examples"] = examples.into();
    }
    json!({"description": when, "headers": headers, "content": {"application/problem+json": content}})
}
