//! Unions as a request may have them: with what can be given only, and with no member that nobody knows. utoipa reads
//! serde's `deny_unknown_fields` on structs, not on unions; an answer's union stays open, so that it can grow.

use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, Schema};

use crate::domain::content::Content;
use crate::domain::session::Endpoint;

/// What a message to send may say: all content but what is only ever received.
pub(in crate::http) struct ContentToSend;

impl PartialSchema for ContentToSend {
    fn schema() -> RefOr<Schema> {
        closed(Content::schema(), &["unsupported"])
    }
}

impl utoipa::ToSchema for ContentToSend {}

/// Which WhatsApp a new session is to talk to.
pub(in crate::http) struct EndpointToUse;

impl PartialSchema for EndpointToUse {
    fn schema() -> RefOr<Schema> {
        closed(Endpoint::schema(), &[])
    }
}

impl utoipa::ToSchema for EndpointToUse {}

fn closed(mut schema: RefOr<Schema>, without: &[&str]) -> RefOr<Schema> {
    if let RefOr::T(Schema::OneOf(union)) = &mut schema {
        union.items.retain(|kind| {
            let text = serde_json::json!(kind).to_string();
            !without.iter().any(|name| text.contains(&format!("\"enum\":[\"{name}\"]")))
        });
        for kind in &mut union.items {
            if let RefOr::T(Schema::Object(object)) = kind {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
    schema
}
