//! What each route takes, said a second time: by the test, so that a slip in the service's own table shows.

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Open,
    /// Any credential.
    Anyone,
    /// A person.
    Person,
    /// This scope.
    Scope(&'static str),
    /// This scope, and no key that is limited to sessions.
    All(&'static str),
}

/// One route: a request that is right but for who asks, and its status then. `{session}`, `{message}`, `{user}`, `{key}`,
/// `{login}` and `{none}` (nobody's id) are filled in.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub method: &'static str,
    /// As documented.
    pub route: &'static str,
    pub path: &'static str,
    pub body: &'static str,
    pub need: Need,
    pub right: u16,
}

const SEND: &str = r#"{"to":"+15550100199","content":{"type":"text","text":"hola"}}"#;
const REPLY: &str = r#"{"sessionId":"{session}","content":{"type":"text","text":"hola"}}"#;
const NO_TOKEN: &str = r#"{"token":"AAAA"}"#;
const NO_TOKEN_PASSWORD: &str = r#"{"token":"AAAA","password":"una-frase-larga-7"}"#;

const fn row(method: &'static str, path: &'static str, body: &'static str, need: Need, right: u16) -> Row {
    Row { method, route: path, path, body, need, right }
}

const fn at(row: Row, path: &'static str) -> Row {
    Row { path, ..row }
}

use Need::{All, Anyone, Open, Person, Scope};

/// Every route of the documentation.
pub const ROWS: &[Row] = &[
    row("POST", "/sessions", r#"{"start":false}"#, All("sessions:write"), 201),
    row("GET", "/sessions", "", Scope("sessions:read"), 200),
    at(row("GET", "/sessions/{id}", "", Scope("sessions:read"), 200), "/sessions/{session}"),
    at(row("DELETE", "/sessions/{id}", "", Scope("sessions:write"), 202), "/sessions/{session}"),
    at(
        row("GET", "/sessions/{id}/timeline", "", Scope("sessions:read"), 200),
        "/sessions/{session}/timeline",
    ),
    at(row("GET", "/sessions/{id}/pacing", "", Scope("sessions:read"), 200), "/sessions/{session}/pacing"),
    at(row("POST", "/sessions/{id}/start", "", Scope("sessions:write"), 202), "/sessions/{session}/start"),
    at(row("POST", "/sessions/{id}/stop", "", Scope("sessions:write"), 202), "/sessions/{session}/stop"),
    at(
        row("POST", "/sessions/{id}/reconnect", "", Scope("sessions:write"), 202),
        "/sessions/{session}/reconnect",
    ),
    at(row("POST", "/sessions/{id}/logout", "", Scope("sessions:write"), 202), "/sessions/{session}/logout"),
    at(row("GET", "/sessions/{id}/qr", "", Scope("sessions:read"), 409), "/sessions/{session}/qr"),
    at(
        row(
            "POST",
            "/sessions/{id}/pairing-code",
            r#"{"phone":"+15550100199"}"#,
            Scope("sessions:write"),
            409,
        ),
        "/sessions/{session}/pairing-code",
    ),
    at(
        row("POST", "/sessions/{id}/messages", SEND, Scope("messages:send"), 202),
        "/sessions/{session}/messages",
    ),
    at(row("GET", "/messages/{id}", "", Scope("messages:read"), 200), "/messages/{message}"),
    row("GET", "/chats", "", Scope("messages:read"), 200),
    at(row("GET", "/chats/{jid}/messages", "", Scope("messages:read"), 200), "/chats/+15550100199/messages"),
    at(
        row("POST", "/chats/{jid}/messages", REPLY, Scope("messages:send"), 202),
        "/chats/+15550100199/messages",
    ),
    row("GET", "/events", "", Scope("events:read"), 200),
    row("GET", "/ws/sessions", "", Scope("events:read"), 426),
    row("GET", "/dead-letters", "", All("webhooks:read"), 200),
    at(
        row("POST", "/dead-letters/{id}/redrive", "", All("webhooks:write"), 404),
        "/dead-letters/{none}/redrive",
    ),
    row("POST", "/auth/register", r#"{"email":"new@example.org","password":"short"}"#, Open, 400),
    row("POST", "/auth/verify", NO_TOKEN, Open, 400),
    row("POST", "/auth/login", r#"{"email":"nobody@example.org","password":"una-frase-larga-7"}"#, Open, 401),
    row("POST", "/auth/refresh", r#"{"refreshToken":"rrt_x"}"#, Open, 401),
    row("POST", "/auth/logout", "", Person, 204),
    row("POST", "/auth/logout-all", "", Person, 204),
    row("POST", "/auth/password/forgot", r#"{"email":"nobody@example.org"}"#, Open, 202),
    row("POST", "/auth/password/reset", NO_TOKEN_PASSWORD, Open, 400),
    row(
        "POST",
        "/auth/mail/change",
        r#"{"email":"moved-{none}@example.org","password":"una-frase-larga-7"}"#,
        Person,
        202,
    ),
    row("POST", "/auth/mail/confirm", NO_TOKEN, Open, 400),
    row("POST", "/auth/invitations/accept", NO_TOKEN_PASSWORD, Open, 400),
    at(row("GET", "/auth/links/{purpose}", "", Open, 200), "/auth/links/verify"),
    row("GET", "/auth/me", "", Anyone, 200),
    row("GET", "/auth/logins", "", Person, 200),
    row("DELETE", "/auth/logins", "", Person, 204),
    at(row("DELETE", "/auth/logins/{id}", "", Person, 204), "/auth/logins/{login}"),
    row("GET", "/users", "", All("users:read"), 200),
    // Whoever invites gives what they have: a key that has this alone gives no role.
    row("POST", "/users", r#"{"email":"in-{none}@example.org","role":"viewer"}"#, All("users:write"), 403),
    at(row("GET", "/users/{id}", "", All("users:read"), 200), "/users/{user}"),
    at(row("PATCH", "/users/{id}", r#"{"name":"Ada"}"#, All("users:write"), 403), "/users/{user}"),
    at(row("DELETE", "/users/{id}", "", All("users:write"), 403), "/users/{user}"),
    at(row("POST", "/users/{id}/suspend", "", All("users:write"), 403), "/users/{user}/suspend"),
    at(row("POST", "/users/{id}/reinstate", "", All("users:write"), 403), "/users/{user}/reinstate"),
    row("GET", "/api-keys", "", All("keys:read"), 200),
    row("POST", "/api-keys", r#"{"name":"k","scopes":["keys:write"]}"#, All("keys:write"), 201),
    at(row("DELETE", "/api-keys/{id}", "", All("keys:write"), 204), "/api-keys/{key}"),
    at(row("POST", "/api-keys/{id}/rotate", "", All("keys:write"), 403), "/api-keys/{key}/rotate"),
    row("GET", "/audit-log", "", All("audit:read"), 200),
    row("GET", "/.well-known/jwks.json", "", Open, 200),
    row("GET", "/admin/tree", "", All("admin:read"), 200),
    row("GET", "/admin/nodes", "", All("admin:read"), 200),
    row("GET", "/admin/log-level", "", All("admin:read"), 200),
    // No test changes what the others log.
    row("PUT", "/admin/log-level", r#"{"level":"loud"}"#, All("admin:write"), 400),
    row("GET", "/livez", "", Open, 200),
    row("GET", "/readyz", "", Open, 200),
    row("GET", "/metrics", "", Open, 200),
];

/// Every scope.
pub const SCOPES: [&str; 16] = [
    "sessions:read",
    "sessions:write",
    "messages:send",
    "messages:read",
    "messages:ingest",
    "events:read",
    "webhooks:read",
    "webhooks:write",
    "alerts:send",
    "keys:read",
    "keys:write",
    "users:read",
    "users:write",
    "audit:read",
    "admin:read",
    "admin:write",
];
