//! WHO MAY DO WHAT: every route and what it takes to use it, in one place.
//!
//! Promises: [`Caller`](super::auth::Caller) lets nobody pass whom this table does not let pass, a route that is missing
//! here lets nobody pass at all, and a test holds every documented route against the table. The documentation's
//! security of each route is made from it too.

use axum::http::Method;

use super::auth::{Caller, Who};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::Scope;

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: it is for whoever has no credentials yet, or proves itself in the body.
    Open,
    /// Any good credentials.
    Anyone,
    /// A person's login, and no key: it is about that login.
    Person,
    /// Credentials with this scope.
    May(Scope),
    /// The same, and no key that is limited to some sessions: it is about more than those.
    MayAll(Scope),
}

use Need::{Anyone, May, MayAll, Open, Person};

/// Every route.
pub(super) const NEEDS: [(&str, &str, Need); 59] = [
    ("POST", "/sessions", MayAll(Scope::SessionsWrite)),
    ("GET", "/sessions", May(Scope::SessionsRead)),
    ("GET", "/sessions/{id}", May(Scope::SessionsRead)),
    ("DELETE", "/sessions/{id}", May(Scope::SessionsWrite)),
    ("GET", "/sessions/{id}/timeline", May(Scope::SessionsRead)),
    ("GET", "/sessions/{id}/pacing", May(Scope::SessionsRead)),
    ("POST", "/sessions/{id}/start", May(Scope::SessionsWrite)),
    ("POST", "/sessions/{id}/stop", May(Scope::SessionsWrite)),
    ("POST", "/sessions/{id}/reconnect", May(Scope::SessionsWrite)),
    ("POST", "/sessions/{id}/logout", May(Scope::SessionsWrite)),
    ("GET", "/sessions/{id}/qr", May(Scope::SessionsRead)),
    ("POST", "/sessions/{id}/pairing-code", May(Scope::SessionsWrite)),
    ("POST", "/sessions/{id}/messages", May(Scope::MessagesSend)),
    ("GET", "/messages/{id}", May(Scope::MessagesRead)),
    ("GET", "/chats", May(Scope::MessagesRead)),
    ("GET", "/chats/{jid}/messages", May(Scope::MessagesRead)),
    ("POST", "/chats/{jid}/messages", May(Scope::MessagesSend)),
    ("GET", "/events", May(Scope::EventsRead)),
    ("GET", "/ws/sessions", May(Scope::EventsRead)),
    ("GET", "/dead-letters", MayAll(Scope::WebhooksRead)),
    ("POST", "/dead-letters/{id}/redrive", MayAll(Scope::WebhooksWrite)),
    ("POST", "/auth/register", Open),
    ("POST", "/auth/verify", Open),
    ("POST", "/auth/login", Open),
    ("POST", "/auth/refresh", Open),
    ("POST", "/auth/logout", Person),
    ("POST", "/auth/logout-all", Person),
    ("POST", "/auth/password/forgot", Open),
    ("POST", "/auth/password/reset", Open),
    ("POST", "/auth/mail/change", Person),
    ("POST", "/auth/mail/confirm", Open),
    ("POST", "/auth/invitations/accept", Open),
    ("GET", "/auth/links/{purpose}", Open),
    ("GET", "/auth/me", Anyone),
    ("GET", "/auth/logins", Person),
    ("DELETE", "/auth/logins", Person),
    ("DELETE", "/auth/logins/{id}", Person),
    ("GET", "/users", MayAll(Scope::UsersRead)),
    ("POST", "/users", MayAll(Scope::UsersWrite)),
    ("GET", "/users/{id}", MayAll(Scope::UsersRead)),
    ("PATCH", "/users/{id}", MayAll(Scope::UsersWrite)),
    ("DELETE", "/users/{id}", MayAll(Scope::UsersWrite)),
    ("POST", "/users/{id}/suspend", MayAll(Scope::UsersWrite)),
    ("POST", "/users/{id}/reinstate", MayAll(Scope::UsersWrite)),
    ("GET", "/api-keys", MayAll(Scope::KeysRead)),
    ("POST", "/api-keys", MayAll(Scope::KeysWrite)),
    ("DELETE", "/api-keys/{id}", MayAll(Scope::KeysWrite)),
    ("POST", "/api-keys/{id}/rotate", MayAll(Scope::KeysWrite)),
    ("GET", "/audit-log", MayAll(Scope::AuditRead)),
    ("GET", "/.well-known/jwks.json", Open),
    ("GET", "/admin/tree", MayAll(Scope::AdminRead)),
    ("GET", "/admin/nodes", MayAll(Scope::AdminRead)),
    ("GET", "/admin/log-level", MayAll(Scope::AdminRead)),
    ("PUT", "/admin/log-level", MayAll(Scope::AdminWrite)),
    ("GET", "/livez", Open),
    ("GET", "/readyz", Open),
    ("GET", "/metrics", Open),
    ("GET", "/openapi.json", Open),
    ("GET", "/docs", Open),
];

/// What a route takes, by its method and its path as the router matched it; `None` for one that is not in the table.
pub(super) fn need(method: &Method, path: &str) -> Option<Need> {
    let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
    NEEDS.iter().find(|(method, route, _)| *route == path && *method == asked).map(|(_, _, need)| *need)
}

impl Need {
    /// Lets a caller pass or says why not.
    pub(super) fn admits(self, caller: &Caller) -> Result<()> {
        let (scope, limited) = match self {
            Open | Anyone => return Ok(()),
            Person => {
                return match caller.who {
                    Who::User { .. } => Ok(()),
                    Who::Key(_) => {
                        Err(forbidden("person_required", "this is about a login, and a key is none"))
                    }
                };
            }
            May(scope) => (scope, false),
            MayAll(scope) => (scope, caller.sessions.is_some()),
        };
        if !caller.scopes.has(scope) {
            let detail = format!("this needs the scope {scope}, which these credentials do not have");
            return Err(forbidden("missing_scope", detail));
        }
        if limited {
            return Err(forbidden(
                "key_limited",
                "this key is limited to some sessions, and this is about more",
            ));
        }
        Ok(())
    }
}

#[track_caller]
fn forbidden(code: &'static str, detail: impl Into<String>) -> Error {
    Error::new(Kind::Forbidden, code, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_documented_route_is_in_the_table_and_the_other_way_round() {
        let document = serde_json::to_value(super::super::openapi()).unwrap();
        let routes = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        });
        let documented: BTreeSet<_> = routes.collect();
        let table: BTreeSet<_> =
            NEEDS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(table.len(), NEEDS.len(), "a route is in the table twice");
        let missing: Vec<_> = documented.difference(&table).collect();
        assert!(missing.is_empty(), "lets nobody pass: {missing:?}");
        let surplus: Vec<_> = table
            .difference(&documented)
            .filter(|(_, path)| path != "/docs" && path != "/openapi.json")
            .collect();
        assert!(surplus.is_empty(), "no such route: {surplus:?}");
    }

    #[test]
    fn what_is_asked_by_head_takes_what_get_takes_and_nothing_is_guessed() {
        assert_eq!(need(&Method::HEAD, "/sessions"), Some(May(Scope::SessionsRead)));
        assert_eq!(need(&Method::PUT, "/sessions"), None);
        assert_eq!(need(&Method::GET, "/sessions/7"), None);
    }
}
