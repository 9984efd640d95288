//! The rows: a request, and the status, code and field it gets.

/// A header that is not sent, not even by default.
pub const NONE: &str = "(none)";

/// The part of the request a problem names.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// No part: what is wrong is not in the request.
    None,
    /// This one.
    Named(&'static str),
}

/// One row. `{key}`, `{session}`, `{foreign}` and `{unknown}` are filled in.
#[derive(Clone, Debug)]
pub struct Case {
    pub method: &'static str,
    pub path: &'static str,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Option<Vec<u8>>,
    pub status: u16,
    pub code: &'static str,
    pub field: Field,
}

impl Case {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

type Expected = (u16, &'static str, &'static str);

/// A request without a body. An empty field means none.
fn plain(method: &'static str, path: &'static str, (status, code, field): Expected) -> Case {
    let field = if field.is_empty() { Field::None } else { Field::Named(field) };
    Case { method, path, headers: Vec::new(), body: None, status, code, field }
}

fn get(path: &'static str, expected: Expected) -> Case {
    plain("GET", path, expected)
}

fn post(path: &'static str, body: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { body: Some(body.into()), ..plain("POST", path, expected) }
}

/// All rows.
pub fn cases() -> Vec<Case> {
    [who(), routes(), ids(), messages(), contents(), sessions(), keys(), pages(), linking(), events()]
        .concat()
}

const SEND: &str = "/sessions/{session}/messages";
const GOOD: &str = r#"{"to":"+15550100199","content":{"type":"text","text":"hola"}}"#;

fn who() -> Vec<Case> {
    let missing = (401, "missing_key", "Authorization");
    let unknown = (401, "unknown_key", "Authorization");
    vec![
        get("/sessions", missing).with("Authorization", NONE),
        get("/sessions", missing).with("Authorization", "Basic dXNlcjpwYXNz"),
        get("/sessions", missing).with("Authorization", "{key}"),
        get("/sessions", unknown).with("Authorization", "Bearer nonsense"),
        get("/sessions", unknown).with("Authorization", "Bearer {key}x"),
        get("/sessions", unknown)
            .with("Authorization", "Bearer rec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        get("/sessions?token={key}", missing).with("Authorization", NONE),
        get("/admin/tree", missing).with("Authorization", NONE),
        get("/messages/7", missing).with("Authorization", NONE),
        get("/ws/sessions", missing).with("Authorization", NONE),
        get("/ws/sessions?token=rec_nonsense", unknown).with("Authorization", NONE),
        post("/sessions", "{", missing).with("Authorization", NONE),
    ]
}

fn routes() -> Vec<Case> {
    let unknown = (404, "unknown_route", "");
    let wrong = (405, "method_not_allowed", "");
    let level = |body: &'static str, code, field| {
        let case = plain("PUT", "/admin/log-level", (400, code, field));
        Case { body: Some(body.into()), ..case }
    };
    vec![
        level("{}", "missing_field", "level"),
        level(r#"{"level":7}"#, "invalid_type", "level"),
        level(r#"{"level":"loud"}"#, "invalid_log_level", "level"),
        level(r#"{"level":"info,recado=sometimes"}"#, "invalid_log_level", "level"),
        level(r#"{"level":"debug","forSeconds":0}"#, "invalid_for_seconds", "forSeconds"),
        level(r#"{"level":"debug","forSeconds":86401}"#, "invalid_for_seconds", "forSeconds"),
        level(r#"{"level":"debug","forSeconds":-1}"#, "invalid_value", "forSeconds"),
        level(r#"{"level":"debug","node":"x"}"#, "unknown_field", "node"),
        get("/nowhere", unknown),
        get("/sessions/", unknown),
        get("/sessions/{session}/messages/1", unknown),
        get("/docs/../../etc/passwd", unknown),
        plain("PUT", "/sessions", wrong),
        plain("PATCH", "/messages/{unknown}", wrong),
        plain("POST", "/livez", wrong),
        plain("GET", "/sessions/{session}/start", wrong),
        plain("DELETE", "/chats", wrong),
    ]
}

fn ids() -> Vec<Case> {
    let no_session = (404, "session_not_found", "");
    vec![
        get("/sessions/7", (400, "invalid_id", "sessionId")),
        get("/sessions/%FF", (400, "invalid_path", "path")),
        get("/sessions/{session}x", (400, "invalid_id", "sessionId")),
        get("/sessions/0192f0c17b7a70008000000000000001", (400, "invalid_id", "sessionId")),
        get("/sessions/%7B0192f0c1-7b7a-7000-8000-000000000001%7D", (400, "invalid_id", "sessionId")),
        get("/sessions/{unknown}", no_session),
        get("/sessions/{foreign}", no_session),
        get("/sessions/{unknown}/timeline", no_session),
        get("/sessions/{unknown}/pacing", no_session),
        get("/sessions/{foreign}/pacing", no_session),
        get("/sessions/{foreign}/timeline", no_session),
        plain("POST", "/sessions/{unknown}/start", no_session),
        plain("POST", "/sessions/{foreign}/stop", no_session),
        plain("POST", "/sessions/{foreign}/logout", no_session),
        plain("POST", "/sessions/nonsense/reconnect", (400, "invalid_id", "sessionId")),
        plain("DELETE", "/sessions/{unknown}", no_session),
        plain("DELETE", "/sessions/{foreign}", no_session),
        post("/sessions/{foreign}/messages", GOOD, no_session),
        post("/sessions/{unknown}/messages", GOOD, no_session),
        get("/messages/abc", (400, "invalid_id", "messageId")),
        get("/messages/{unknown}", (404, "message_not_found", "")),
        get("/messages/{session}", (404, "message_not_found", "")),
        plain("POST", "/dead-letters/x/redrive", (400, "invalid_id", "deadLetterId")),
        plain("POST", "/dead-letters/{unknown}/redrive", (404, "dead_letter_not_found", "")),
        get("/chats/abc/messages", (400, "invalid_address", "jid")),
        get("/chats/1@nowhere/messages", (400, "invalid_address", "jid")),
        get("/chats/123/messages", (400, "invalid_address", "jid")),
        get("/chats/%2015550100199@lid%20/messages", (400, "invalid_address", "jid")),
        get("/chats/15550100199:x@lid/messages", (400, "invalid_address", "jid")),
        get("/chats/120363:1@g.us/messages", (400, "invalid_address", "jid")),
    ]
}

fn messages() -> Vec<Case> {
    let json = (400, "invalid_json", "body");
    let object = (400, "invalid_type", "body");
    let media = (415, "unsupported_media_type", "Content-Type");
    let address = (400, "invalid_address", "to");
    let to = |to: &str| format!(r#"{{"to":{to},"content":{{"type":"text","text":"hola"}}}}"#);
    let long = to(&format!("\"{}\"", "9".repeat(200)));
    let deep =
        format!(r#"{{"to":"+15550100199","content":{{"type":"text","text":{}}}}}"#, "[".repeat(100_000));
    vec![
        plain("POST", SEND, (400, "missing_field", "to")),
        post(SEND, "{", json),
        post(SEND, "nonsense", json),
        post(SEND, r#"{"to":"+15550100199","content":{"type":"text","text":"hola"}}}"#, json),
        post(SEND, b"{\"to\":\"\xff\xfe\"}".to_vec(), json),
        post(SEND, deep, json),
        post(SEND, "[]", object),
        post(SEND, r#"["+15550100199",{"type":"text","text":"hola"}]"#, object),
        post(SEND, "null", object),
        post(SEND, GOOD, media).with("Content-Type", "text/plain"),
        post(SEND, GOOD, media).with("Content-Type", NONE),
        post(SEND, GOOD, media).with("Content-Type", "application/x-www-form-urlencoded"),
        post(SEND, vec![b' '; 300 * 1024], (413, "body_too_large", "")),
        post(SEND, to("15550100199"), (400, "invalid_type", "to")),
        post(SEND, to("null"), (400, "invalid_type", "to")),
        post(SEND, to(r#""""#), address),
        post(SEND, to(r#""abc""#), address),
        post(SEND, to(r#""123""#), address),
        post(SEND, to(r#""1@nowhere""#), address),
        post(SEND, to(r#""12x45@s.whatsapp.net""#), address),
        post(SEND, long, address),
        post(SEND, r#"{"content":{"type":"text","text":"hola"}}"#, (400, "missing_field", "to")),
        post(
            SEND,
            r#"{"to":"1","to":"2","content":{"type":"text","text":"hola"}}"#,
            (400, "duplicate_field", "to"),
        ),
        post(
            SEND,
            r#"{"to":"1","content":{"type":"text","text":"hola"},"delay":5}"#,
            (400, "unknown_field", "delay"),
        ),
        post("/chats/abc/messages", GOOD, (400, "invalid_address", "jid")),
        post("/chats/15550100199/messages", GOOD, (400, "unknown_field", "to")),
        post(
            "/chats/15550100199/messages",
            r#"{"content":{"type":"text","text":"hola"}}"#,
            (400, "missing_field", "sessionId"),
        ),
        post(
            "/chats/15550100199/messages",
            r#"{"sessionId":"7","content":{"type":"text","text":"hola"}}"#,
            (400, "invalid_id", "sessionId"),
        ),
        post(
            "/chats/15550100199/messages",
            r#"{"sessionId":"{foreign}","content":{"type":"text","text":"hola"}}"#,
            (404, "session_not_found", ""),
        ),
    ]
}

fn contents() -> Vec<Case> {
    let with = |content: &str| format!(r#"{{"to":"+15550100199","content":{content}}}"#);
    let text = |text: &str| with(&format!(r#"{{"type":"text","text":"{text}"}}"#));
    vec![
        post(SEND, r#"{"to":"+15550100199"}"#, (400, "missing_field", "content")),
        post(SEND, with("null"), (400, "invalid_type", "content")),
        post(SEND, with("\"hola\""), (400, "invalid_type", "content")),
        post(SEND, with(r#"["text","hola",null]"#), (400, "invalid_type", "content")),
        post(SEND, with(r#"{"text":"hola"}"#), (400, "missing_field", "content.type")),
        post(SEND, with(r#"{"type":"telegram","text":"hola"}"#), (400, "unknown_variant", "content.type")),
        post(SEND, with(r#"{"type":"unsupported","kind":"poll"}"#), (400, "unknown_variant", "content.type")),
        post(SEND, with(r#"{"type":"text"}"#), (400, "missing_field", "content.text")),
        post(SEND, with(r#"{"type":"text","text":5}"#), (400, "invalid_type", "content.text")),
        post(
            SEND,
            with(r#"{"type":"text","text":"hola","bold":true}"#),
            (400, "unknown_field", "content.bold"),
        ),
        post(SEND, text(""), (400, "invalid_text", "content.text")),
        post(SEND, text(&"x".repeat(65_537)), (400, "invalid_text", "content.text")),
        post(SEND, text(r"\ud800"), (400, "invalid_json", "body")),
        post(
            SEND,
            with(r#"{"type":"text","text":"a","replyTo":7}"#),
            (400, "invalid_type", "content.replyTo"),
        ),
        post(
            SEND,
            with(r#"{"type":"text","text":"a","replyTo":""}"#),
            (400, "invalid_id", "content.replyTo"),
        ),
        post(
            SEND,
            with(r#"{"type":"text","text":"a","replyTo":"a b"}"#),
            (400, "invalid_id", "content.replyTo"),
        ),
    ]
}

fn sessions() -> Vec<Case> {
    let name = (400, "invalid_name", "name");
    let sandbox = |url: &str, key: &str| {
        format!(r#"{{"start":false,"endpoint":{{"kind":"sandbox","url":"{url}","staticKey":"{key}"}}}}"#)
    };
    let key = "ab".repeat(32);
    vec![
        post("/sessions", r#"{"name":7}"#, (400, "invalid_type", "name")),
        post("/sessions", r#"{"name":""}"#, name),
        post("/sessions", r#"{"name":" spaced "}"#, name),
        post("/sessions", r#"{"name":"two\nlines"}"#, name),
        post("/sessions", format!(r#"{{"name":"{}"}}"#, "x".repeat(101)), name),
        post("/sessions", r#"{"name":"taken","start":false}"#, (409, "session_name_taken", "name")),
        post("/sessions", r#"{"start":"yes"}"#, (400, "invalid_type", "start")),
        post("/sessions", r#"{"webhook":"https://example.com"}"#, (400, "unknown_field", "webhook")),
        post("/sessions", r#"{"endpoint":"sandbox"}"#, (400, "invalid_type", "endpoint")),
        post("/sessions", r#"{"endpoint":{"kind":"telegram"}}"#, (400, "unknown_variant", "endpoint.kind")),
        post(
            "/sessions",
            r#"{"endpoint":{"kind":"sandbox","url":"ws://127.0.0.1:9/ws"}}"#,
            (400, "missing_field", "endpoint.staticKey"),
        ),
        post("/sessions", sandbox("http://127.0.0.1/ws", &key), (400, "invalid_endpoint", "endpoint.url")),
        post(
            "/sessions",
            sandbox("ws://127.0.0.1/ws", "abc"),
            (400, "invalid_endpoint", "endpoint.staticKey"),
        ),
        post(
            "/sessions",
            sandbox("wss://web.whatsapp.com/ws/chat", &key),
            (400, "sandbox_on_real_host", "endpoint.url"),
        ),
        post(
            "/sessions",
            r#"{"start":false,"endpoint":{"kind":"whatsapp","url":"ws://127.0.0.1/ws"}}"#,
            (400, "unknown_field", "endpoint.url"),
        ),
        post("/sessions", sandbox("ws://127.0.0.1/ws here", &key), (400, "invalid_endpoint", "endpoint.url")),
        post("/sessions?dryRun=true", "{}", (400, "unknown_field", "dryRun")),
        post("/sessions/{session}/start", r#"{"now":true}"#, (400, "unknown_field", "now")),
        post("/sessions/{session}/stop", "[]", (400, "invalid_type", "body")),
    ]
}

fn keys() -> Vec<Case> {
    let invalid = (400, "invalid_idempotency_key", "Idempotency-Key");
    let reused = (409, "idempotency_key_reused", "Idempotency-Key");
    let long: &'static str = Box::leak("k".repeat(256).into_boxed_str());
    vec![
        post("/sessions", "{}", invalid).with("Idempotency-Key", ""),
        post("/sessions", "{}", invalid).with("Idempotency-Key", "with space"),
        post("/sessions", "{}", invalid).with("Idempotency-Key", long),
        post("/sessions", "{}", invalid).with("Idempotency-Key", "a").with("Idempotency-Key", "b"),
        post("/sessions", r#"{"name":"other"}"#, reused).with("Idempotency-Key", "used"),
        post(SEND, GOOD, reused).with("Idempotency-Key", "used"),
        plain("POST", "/sessions/{session}/start", reused).with("Idempotency-Key", "used"),
        plain("DELETE", "/sessions/{session}", reused).with("Idempotency-Key", "used"),
    ]
}

fn pages() -> Vec<Case> {
    let limit = (400, "invalid_limit", "limit");
    let cursor = (400, "invalid_cursor", "cursor");
    vec![
        get("/sessions?limit=0", limit),
        get("/sessions?limit=201", limit),
        get("/chats?limit=-1", limit),
        get("/sessions?limit=many", (400, "invalid_value", "limit")),
        get("/sessions?limit=99999999999999999999", (400, "invalid_value", "limit")),
        get("/sessions?limit=1&limit=2", (400, "duplicate_field", "limit")),
        get("/sessions?cursor=", cursor),
        get("/sessions?cursor=nonsense", cursor),
        get("/chats?cursor=nonsense", cursor),
        get("/dead-letters?cursor=nonsense", cursor),
        get("/chats/15550100199/messages?cursor=nonsense", cursor),
        get("/sessions?sort=name", (400, "unknown_field", "sort")),
        get("/chats?sesionId={session}", (400, "unknown_field", "sesionId")),
        get("/chats?sessionId=7", (400, "invalid_id", "sessionId")),
        get("/chats/15550100199/messages?sessionId=7", (400, "invalid_id", "sessionId")),
        get("/dead-letters?state=open", (400, "unknown_state", "state")),
    ]
}

fn linking() -> Vec<Case> {
    let phone = (400, "invalid_phone", "phone");
    let code = "/sessions/{session}/pairing-code";
    let good = r#"{"phone":"+15550100199"}"#;
    vec![
        get("/sessions/{session}/qr", (409, "qr_not_available", "")),
        get("/sessions/{foreign}/qr", (404, "session_not_found", "")),
        get("/sessions/{session}/qr?format=gif", (400, "unknown_format", "format")),
        get("/sessions/{session}/qr", (406, "not_acceptable", "Accept")).with("Accept", "text/html"),
        plain("POST", code, (400, "missing_field", "phone")),
        post(code, r#"{"phone":15550100199}"#, (400, "invalid_type", "phone")),
        post(code, r#"{"phone":"call me"}"#, phone),
        post(code, r#"{"phone":"+12345"}"#, phone),
        post(code, r#"{"phone":"0155501001"}"#, phone),
        post(code, r#"{"phone":"120363000000000000@g.us"}"#, phone),
        post(code, good, (409, "session_not_running", "")),
        post("/sessions/{unknown}/pairing-code", good, (404, "session_not_found", "")),
        post("/sessions/{foreign}/pairing-code", good, (404, "session_not_found", "")),
    ]
}

fn events() -> Vec<Case> {
    let kind = (400, "unknown_event_type", "type");
    let position = (400, "invalid_position", "after");
    vec![
        get("/events?after=-1", position),
        get("/events?after=now", position),
        get("/events?limit=0", (400, "invalid_limit", "limit")),
        get("/events?type=nonsense", kind),
        get("/events?type=message.sent,", kind),
        get("/messages/{unknown}?full=1", (400, "unknown_field", "full")),
        get("/admin/tree?depth=2", (400, "unknown_field", "depth")),
        get("/events?sessionId=nonsense", (400, "invalid_id", "sessionId")),
        get("/events?session={session}", (400, "unknown_field", "session")),
        get("/ws/sessions", (426, "websocket_expected", "")),
        get("/ws/sessions?after=-1", position),
        get("/ws/sessions?type=nonsense", kind),
        get("/ws/sessions?limit=5", (400, "unknown_field", "limit")),
        get("/ws/sessions?after=999999999", (400, "position_ahead", "after"))
            .with("Connection", "Upgrade")
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Version", "13")
            .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
}
