//! The documentation of the API, made from the route table: OpenAPI 3.1.
//!
//! What holds for many routes is added here once: who may call, which problems can come, which header makes a write
//! repeatable.

use std::collections::BTreeMap;

use utoipa::OpenApi as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response};

use super::error::Details;

/// What stands above the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Recado",
        description = "WhatsApp messaging as an actor system.\n\nEvery write but `pairing-code` takes an \
                       `Idempotency-Key`: the same key and request give the same answer. Failures are problem details (RFC 9457) with a stable `code`.",
        license(name = "AGPL-3.0-only", identifier = "AGPL-3.0-only"),
    ),
    tags(
        (name = "sessions", description = "Linked WhatsApp accounts"),
        (name = "messages", description = "Sending, and what became of it"),
        (name = "chats", description = "Conversations"),
        (name = "events", description = "What happened, in order, resumable"),
        (name = "dead letters", description = "What was given up on"),
        (name = "operation", description = "How the service is"),
    ),
    security(("key" = [])),
    components(schemas(Details<'static>)),
)]
struct Head;

pub(super) fn head() -> OpenApi {
    Head::openapi()
}

/// Problems by status: the component's name, when it comes, a code it may have.
const PROBLEMS: [(&str, &str, &str, &str); 9] = [
    ("400", "Invalid", "Something in the request is wrong; `field` says what", "invalid_value"),
    ("401", "Unauthorized", "The API key is missing or unknown", "unknown_key"),
    ("404", "NotFound", "There is no such thing, or it is not yours", "session_not_found"),
    ("409", "Conflict", "The request contradicts what is already so", "idempotency_key_reused"),
    ("413", "TooLarge", "The body is too long", "body_too_large"),
    ("415", "UnsupportedMediaType", "The body is not JSON", "unsupported_media_type"),
    ("429", "Busy", "A limit is reached; `Retry-After` says when to try again", "queue_full"),
    ("500", "Bug", "A mistake of ours", "internal"),
    ("503", "Unavailable", "Not now; `Retry-After` says when to try again", "ledger_busy"),
];

/// The whole document.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = super::routes().split_for_parts().1;
    for (path, item) in &mut document.paths.paths {
        let operations = [(&mut item.get, false), (&mut item.post, true), (&mut item.delete, true)];
        for (operation, writes) in operations {
            if let Some(operation) = operation {
                complete(operation, path.contains('{'), writes);
            }
        }
    }
    let components = document.components.get_or_insert_default();
    let key = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key: `rec_…`, shown once when it is made"))
        .build();
    components.security_schemes.insert("key".to_owned(), RefOr::T(SecurityScheme::Http(key)));
    for (status, name, when, code) in PROBLEMS {
        components.responses.insert(name.to_owned(), RefOr::T(problem(status, when, code)));
    }
    document
}

/// Adds what follows from the kind of operation.
fn complete(operation: &mut Operation, names_a_thing: bool, writes: bool) {
    let open = operation.security.is_some();
    for (status, name, ..) in PROBLEMS {
        let applies = match status {
            "401" => !open,
            "404" => names_a_thing,
            "409" => writes && !open || name_conflicts(operation),
            "413" | "415" => writes,
            _ => !open,
        };
        if applies {
            let shared = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_owned()).or_insert(shared);
        }
    }
    if writes && !asks_anew(operation) {
        operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
        let replayed = HeaderBuilder::new()
            .schema(Some(text()))
            .description(Some("`true` on an answer that had been given before"))
            .build();
        for (status, response) in &mut operation.responses.responses {
            if let (true, RefOr::T(response)) = (status.starts_with('2'), response) {
                let headers: &mut BTreeMap<_, _> = &mut response.headers;
                headers.insert("Idempotent-Replayed".to_owned(), RefOr::T(replayed.clone()));
            }
        }
    }
}

/// The one write whose effect is WhatsApp's, not ours: no answer to it is kept.
fn asks_anew(operation: &Operation) -> bool {
    operation.operation_id.as_deref() == Some("pairing_code")
}

/// The one read that can contradict a state: a QR code of a session that shows none.
fn name_conflicts(operation: &Operation) -> bool {
    operation.operation_id.as_deref() == Some("qr")
}

fn text() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).build().into()
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    let schema =
        ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255)).build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some("Chosen by you, per request: a repetition gives the first answer again"))
        .schema(Some(schema))
        .build()
}

fn problem(status: &str, when: &str, code: &str) -> Response {
    let example = serde_json::json!({
        "type": format!("urn:recado:problem:{code}"),
        "title": when,
        "status": status.parse::<u16>().unwrap_or_default(),
        "detail": when,
        "code": code,
        "requestId": "0192f0c1-7b7a-7000-8000-000000000001",
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).example(Some(example)).build();
    ResponseBuilder::new().description(when).content("application/problem+json", content).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_contract_is_documented_with_its_problems() {
        let document = serde_json::to_value(openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let table = [
            ("post", "/sessions"),
            ("get", "/sessions"),
            ("get", "/sessions/{id}"),
            ("delete", "/sessions/{id}"),
            ("post", "/sessions/{id}/start"),
            ("post", "/sessions/{id}/stop"),
            ("post", "/sessions/{id}/reconnect"),
            ("post", "/sessions/{id}/logout"),
            ("get", "/sessions/{id}/qr"),
            ("post", "/sessions/{id}/pairing-code"),
            ("get", "/sessions/{id}/timeline"),
            ("get", "/sessions/{id}/pacing"),
            ("post", "/sessions/{id}/messages"),
            ("get", "/messages/{id}"),
            ("get", "/chats"),
            ("get", "/chats/{jid}/messages"),
            ("post", "/chats/{jid}/messages"),
            ("get", "/events"),
            ("get", "/ws/sessions"),
            ("get", "/dead-letters"),
            ("post", "/dead-letters/{id}/redrive"),
            ("get", "/admin/tree"),
            ("get", "/admin/nodes"),
            ("get", "/livez"),
            ("get", "/readyz"),
            ("get", "/metrics"),
        ];
        for (method, path) in table {
            let operation = &document["paths"][path][method];
            assert!(operation["summary"].is_string(), "{method} {path} is not documented");
            if operation.get("security").is_none() {
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            }
            let repeatable = operation["parameters"].to_string().contains("Idempotency-Key");
            let kept = method != "get" && path != "/sessions/{id}/pairing-code";
            assert_eq!(repeatable, kept, "{method} {path}");
        }
        let documented: usize =
            document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
        assert_eq!(documented, table.len(), "a route is missing in this test");
    }

    #[test]
    fn every_reference_points_at_something() {
        let document = serde_json::to_value(openapi()).unwrap();
        let mut waiting = vec![&document];
        let mut seen = 0;
        while let Some(value) = waiting.pop() {
            if let Some(reference) = value.get("$ref").and_then(|reference| reference.as_str()) {
                seen += 1;
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            waiting.extend(value.as_object().into_iter().flat_map(|members| members.values()));
            waiting.extend(value.as_array().into_iter().flatten());
        }
        assert!(seen > 100, "{seen}");
    }
}
