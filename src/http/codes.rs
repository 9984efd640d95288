//! Every code that a problem can carry: its status, and when it comes.
//!
//! The documentation and the table in `docs/api.md` are made from this list; `tests` keeps it equal to what the sources
//! say. A new code gets its line here, and the test prints the table's new text.

use axum::http::StatusCode;
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// One code.
pub(super) struct Code {
    /// The status it comes with.
    pub(super) status: u16,
    /// Stable.
    pub(super) code: &'static str,
    /// For people.
    pub(super) when: &'static str,
}

const fn code(status: u16, code: &'static str, when: &'static str) -> Code {
    Code { status, code, when }
}

impl Code {
    /// A problem with this code.
    pub(super) fn example(&self) -> Value {
        let title = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        json!({
            "type": format!("urn:recado:problem:{}", self.code),
            "title": title,
            "status": self.status,
            "detail": self.when,
            "code": self.code,
            "requestId": "0192f0c1-7b7a-7000-8000-000000000001",
        })
    }
}

/// All of them, by status and name.
pub(super) const CODES: &[Code] = &[
    code(400, "body_unreadable", "the body ended before its end"),
    code(400, "duplicate_field", "a member or parameter is given twice"),
    code(400, "invalid_address", "no phone number with country code, and no WhatsApp address"),
    code(400, "invalid_cursor", "`cursor` is not a `nextCursor` of this list"),
    code(400, "invalid_endpoint", "the endpoint's URL or key is not one"),
    code(400, "invalid_for_seconds", "`forSeconds` is not 1 to 86400"),
    code(
        400,
        "invalid_id",
        "an id is not a UUID with hyphens, or a WhatsApp id is not 1 to 128 visible characters",
    ),
    code(
        400,
        "invalid_idempotency_key",
        "`Idempotency-Key` is not 1 to 255 visible ASCII characters, or is given twice",
    ),
    code(400, "invalid_json", "the body is not JSON"),
    code(400, "invalid_limit", "`limit` is not 1 to 200"),
    code(400, "invalid_log_level", "`level` is no level and no filter"),
    code(400, "invalid_name", "the name is not 1 to 100 visible characters without spaces around them"),
    code(400, "invalid_path", "the path is not UTF-8"),
    code(400, "invalid_phone", "no phone number of 7 to 15 digits with country code"),
    code(400, "invalid_position", "`after` is not a cursor of this service's events"),
    code(400, "invalid_text", "the text is not 1 to 65,536 bytes"),
    code(400, "invalid_type", "a value has another JSON type than the field"),
    code(400, "invalid_value", "a value is outside what the field takes"),
    code(400, "missing_field", "a required member is not there"),
    code(400, "phone_refused", "WhatsApp does not take this number"),
    code(400, "position_ahead", "`after` is ahead of all events"),
    code(400, "sandbox_on_real_host", "a sandbox may not be one of WhatsApp's own hosts"),
    code(400, "unknown_content", "content of this type cannot be sent"),
    code(400, "unknown_event_type", "there is no such event type"),
    code(400, "unknown_field", "there is no such member or parameter here"),
    code(400, "unknown_format", "there is no such form of a QR code"),
    code(400, "unknown_state", "there is no such state"),
    code(400, "unknown_variant", "`type` or `kind` names nothing known"),
    code(401, "missing_key", "there is no `Authorization: Bearer` with a key"),
    code(401, "unknown_key", "the API key is not known"),
    code(404, "dead_letter_not_found", "there is no such dead letter, or it is not yours"),
    code(404, "message_not_found", "there is no such message, or it is not yours"),
    code(404, "session_not_found", "there is no such session, or it is not yours"),
    code(404, "unknown_route", "there is nothing at this path"),
    code(405, "method_not_allowed", "this path does not take this method; `Allow` says which"),
    code(406, "not_acceptable", "a QR code does not come in any form that `Accept` names"),
    code(409, "already_linked", "the session is linked to an account already"),
    code(409, "dead_letter_resolved", "the dead letter was delivered already"),
    code(409, "idempotency_key_reused", "the key was used for a different request"),
    code(409, "qr_not_available", "the session shows no QR code now; the detail says its state"),
    code(409, "session_name_taken", "another of your sessions has this name"),
    code(409, "session_not_linking", "the session is not waiting to be linked"),
    code(409, "session_not_running", "start the session first"),
    code(413, "body_too_large", "the body is longer than 256 kB"),
    code(415, "unsupported_media_type", "the body is not `application/json`"),
    code(426, "websocket_expected", "this path is a WebSocket"),
    code(429, "rate_limited", "a limit on how often is reached; `scope` says which"),
    code(429, "session_limit", "no more sessions can be made"),
    code(429, "session_queue_full", "the session has too many unfinished commands"),
    code(429, "too_many_clients", "too many clients follow events"),
    code(429, "too_many_questions", "too many pairing codes are being asked for"),
    code(429, "too_many_sessions", "the node is full"),
    code(500, "internal", "a mistake of ours; the log has the detail under the request id"),
    code(503, "archive_busy", "too many queries at once"),
    code(503, "archive_gone", "the reader is restarting"),
    code(503, "commit_late", "the store did not commit in time; the outcome is unknown"),
    code(503, "engine_unavailable", "the session's engine does not start"),
    code(503, "events_late", "the table of events is behind"),
    code(503, "fenced", "the session moved to another node"),
    code(503, "hub_gone", "live events are restarting"),
    code(503, "hub_late", "live events did not answer in time"),
    code(503, "hub_starting", "live events are starting"),
    code(503, "ledger_busy", "too many writes wait"),
    code(503, "ledger_gone", "the writer is restarting"),
    code(503, "no_api", "this node serves no clients"),
    code(503, "not_connected", "the session has no live connection"),
    code(503, "not_owner", "the session is moving between nodes"),
    code(503, "owner_away", "the session's node does not answer"),
    code(503, "pairing_code_late", "no pairing code came in time"),
    code(503, "pairing_failed", "the pairing code could not be asked for"),
    code(503, "pairing_refused", "WhatsApp refused to give a pairing code"),
    code(503, "pairing_timeout", "WhatsApp did not give a pairing code in time"),
    code(503, "query_late", "the store did not answer in time"),
    code(503, "request_timeout", "no answer in 30 seconds; the outcome is unknown"),
    code(503, "session_not_started", "the session's actor does not start"),
    code(503, "session_restarting", "the session is restarting"),
    code(503, "starting", "the service waits for its tables"),
    code(503, "store_busy", "all connections to the store are in use"),
    code(503, "store_closed", "the store is closed"),
    code(503, "store_contended", "another transaction was in the way"),
    code(503, "store_unavailable", "the store does not answer"),
    code(503, "store_unusual", "the store answers with something unforeseen"),
    code(503, "tree_late", "the tree did not answer in time"),
];
