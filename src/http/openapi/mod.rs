//! The documentation of the API, made from the route table: OpenAPI 3.1.
//!
//! A route says what is its own: what it does, its input, its success. What holds for many routes is added here once
//! ([`shared`]): who may call, which problems can come, which headers go in and out. Examples are put together from
//! those of the fields ([`sample`]). `tests` refuses a route that leaves something out.

mod closed;
mod sample;
mod shared;
#[cfg(test)]
mod tests;

use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::error::Details;
use crate::domain::identity::Purpose;

pub(super) use closed::{ContentToSend, EndpointToUse};

/// What stands above the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Recado",
        description = "WhatsApp messaging as an actor system.\n\nA write that says so takes an \
                       `Idempotency-Key`: the same key and request give the same answer. Failures are problem details \
                       (RFC 9457) with a stable `code`. Answers may gain members: ignore those you do not know. \
                       Nothing unknown is ignored in a request: a parameter or member that does not exist is refused.",
        license(name = "AGPL-3.0-only", identifier = "AGPL-3.0-only"),
    ),
    servers((url = "/", description = "Where this document came from")),
    tags(
        (name = "sessions", description = "Linked WhatsApp accounts"),
        (name = "messages", description = "Sending, and what became of it"),
        (name = "chats", description = "Conversations"),
        (name = "events", description = "What happened, in order, resumable"),
        (name = "dead letters", description = "What was given up on"),
        (name = "people", description = "Registration, logins, users, and who did what"),
        (name = "keys", description = "What programs get in with"),
        (name = "operation", description = "How the service is"),
    ),
    security(("key" = [])),
    components(schemas(Details<'static>, Purpose)),
)]
struct Head;

pub(super) fn head() -> OpenApi {
    Head::openapi()
}

/// The whole document.
#[must_use]
pub fn openapi() -> Value {
    let routes = super::routes().split_for_parts().1;
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    shared::complete(&mut document);
    sample::fill(&mut document);
    document
}
