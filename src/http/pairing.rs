//! `/sessions/{id}/qr` and `/sessions/{id}/pairing-code`: linking a session to a phone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};

use super::Api;
use super::auth::Caller;
use super::error::{Problem, Result};
use super::input::{Id, Params, Submitted};
use super::qr::{self, Format};
use super::sessions::found;
use crate::domain::address::{Address, Server};
use crate::domain::error::Error;
use crate::domain::ids::SessionId;
use crate::domain::now;
use crate::domain::session::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::view::one_of;

/// A QR code to scan.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Qr {
    /// What the QR code says.
    #[schema(
        min_length = 1,
        max_length = 2048,
        example = "https://wa.me/settings/linked_devices#2@AbC,dEf,gHi,jKl"
    )]
    qr: String,
    /// It is replaced by a new one at this time.
    expires_at: Timestamp,
}

/// A QR code that is not JSON: bytes of the stated type.
struct Picture;

impl utoipa::PartialSchema for Picture {
    fn schema() -> RefOr<Schema> {
        let bytes = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("binary".into())));
        RefOr::T(bytes.max_length(Some(1 << 20)).examples(["…"]).build().into())
    }
}

impl utoipa::ToSchema for Picture {}

/// In which form.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Form {
    /// `json`, `png`, `svg` or `text` (for a terminal); goes before `Accept`.
    #[param(schema_with = formats)]
    format: Option<String>,
}

fn formats() -> utoipa::openapi::Object {
    one_of(&["json", "png", "svg", "text"])
}

/// Shows the QR code to scan, as JSON, a picture, or blocks for a terminal.
#[utoipa::path(
    get,
    path = "/sessions/{id}/qr",
    operation_id = "getQrCode",
    tag = "sessions",
    params(("id" = SessionId, Path, description = "The session"), Form),
    responses(
        (status = 200, description = "The code", content(
            (Qr = "application/json"), (Picture = "image/png"), (Picture = "image/svg+xml"), (Picture = "text/plain"),
        )),
        (status = 406, description = "In none of these forms"),
        (status = 409, description = "There is no code to scan now"),
    )
)]
pub(super) async fn qr(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Params(form): Params<Form>,
    headers: HeaderMap,
) -> Result<Response> {
    let format = match form.format {
        Some(name) => name.parse()?,
        None => accepted(&headers)?,
    };
    let view = found(&api, &caller, session).await?;
    let code = view.code.filter(|(_, until)| view.state == SessionState::PendingQr && *until > now());
    let (qr, expires_at) = code.ok_or_else(|| {
        let detail = format!("there is no QR code to scan; the session is {} ({})", view.state, view.reason);
        Error::conflict("qr_not_available", detail)
    })?;
    let mut response = match format {
        Format::Json => Json(Qr { qr, expires_at }).into_response(),
        Format::Png => picture(format, qr::png(&qr)?),
        Format::Svg => picture(format, qr::svg(&qr)?.into_bytes()),
        Format::Text => picture(format, qr::text(&qr)?.into_bytes()),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn picture(format: Format, bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, format.media_type())], bytes).into_response()
}

fn accepted(headers: &HeaderMap) -> Result<Format> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    Format::accepted(accept).ok_or_else(|| {
        let detail = "comes as application/json, image/png, image/svg+xml or text/plain";
        Problem::at(StatusCode::NOT_ACCEPTABLE, "Accept", "not_acceptable", detail)
    })
}

/// For which phone.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct PairingRequest {
    /// The account's phone number with country code.
    #[schema(
        pattern = r"^(?:[-+ ().]*[1-9][-+ ().]*(?:[0-9][-+ ().]*){6,14}|[1-9][0-9]{6,14}(?::[0-9]{1,5})?@s\.whatsapp\.net)$",
        min_length = 7,
        max_length = 128,
        example = "+15550100199"
    )]
    phone: String,
}

/// A code to enter on the phone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pairing {
    /// Eight characters.
    #[schema(pattern = "^[0-9A-Z]{8}$", min_length = 8, max_length = 8, example = "ABCD1234")]
    pairing_code: String,
    /// Until when it can be entered.
    expires_at: Timestamp,
}

/// Asks WhatsApp for a code that a person enters on the phone instead of scanning a QR code. Each call asks anew, also
/// under the same `Idempotency-Key`: only the newest code opens anything.
#[utoipa::path(
    post,
    path = "/sessions/{id}/pairing-code",
    operation_id = "requestPairingCode",
    tag = "sessions",
    params(("id" = SessionId, Path, description = "The session")),
    request_body = PairingRequest,
    extensions(("x-asks-anew" = json!(true))),
    responses((status = 200, description = "The code", body = Pairing))
)]
pub(super) async fn pairing_code(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(session): Id<SessionId>,
    Submitted { body, .. }: Submitted<PairingRequest>,
) -> Result<Json<Pairing>> {
    let refuse = || {
        Error::invalid("phone", "invalid_phone", "must be a phone number of 7 to 15 digits with country code")
    };
    let phone: Address = body.phone.parse().map_err(|_not_an_address: Error| refuse())?;
    let number = phone.user();
    // As WhatsApp takes it: without the 0 that is dialled inside a country.
    let international = (7..=15).contains(&number.len()) && !number.starts_with('0');
    if phone.server() != Server::Phone || !international {
        return Err(refuse().into());
    }
    found(&api, &caller, session).await?;
    let (pairing_code, expires_at) = api.neighbours.pairing_code(session, phone).await?;
    Ok(Json(Pairing { pairing_code, expires_at }))
}
