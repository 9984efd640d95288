//! The client's key for one write: the same key and request give the same answer, whatever happened between.
//!
//! Promises: the key, the answer and the effect are one transaction (the Ledger's), so a crash never leaves one
//! without the other; the same key with another request is refused, not answered.

use axum::Json;
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Api;
use crate::domain::error::{Error, Result};
use crate::domain::write::{Outcome, Write};

/// The header that carries the key.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Set on an answer that had been given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The client's key, if it gave one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let refuse = |detail: &str| Error::invalid("Idempotency-Key", "invalid_idempotency_key", detail);
    let mut given = headers.get_all(KEY).iter();
    let Some(first) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refuse("must be given once"));
    }
    let text = first.to_str().unwrap_or_default();
    if !(1..=255).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(refuse("must be 1 to 255 visible ASCII characters"));
    }
    Ok(Some(text.to_owned()))
}

/// What makes two requests the same: method, path and body, to the byte.
pub(super) fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // A zero byte is in no method and no path, so no two requests run together.
    for part in [method.as_str().as_bytes(), path.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(body);
    hash.finalize().into()
}

/// The answer to a write, as it was stored with its effect.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    response: Value,
    replayed: bool,
    location: Option<HeaderValue>,
}

impl Answer {
    /// Commits a write; its answer, fresh or given again.
    pub(super) async fn to(api: &Api, status: StatusCode, write: Write) -> super::error::Result<Self> {
        let outcome = api.ledgers.write(write).await.map_err(named)?;
        Ok(Self::of(status, outcome)?)
    }

    /// From what the Ledger answered.
    fn of(status: StatusCode, outcome: Outcome) -> Result<Self> {
        match outcome {
            Outcome::Accepted { response, replayed } => {
                Ok(Self { status, response, replayed, location: None })
            }
            Outcome::Done
            | Outcome::Settled(_)
            | Outcome::Lease(_)
            | Outcome::Taken(_)
            | Outcome::Paced(_)
            | Outcome::Cooling(_)
            | Outcome::Stamped { .. }
            | Outcome::Swept(_)
            | Outcome::SignedIn(_)
            | Outcome::Rotated(_) => Err(Error::bug("an accepted write without its answer")),
        }
    }

    /// Says where the new thing is: below `parent`, by the member `id` of the answer.
    pub(super) fn located(mut self, parent: &str, id: &str) -> Self {
        let id = self.response[id].as_str().unwrap_or_default();
        self.location = HeaderValue::from_str(&format!("{parent}/{id}")).ok();
        self
    }
}

/// A key used for another request is a wrong header.
fn named(error: Error) -> Error {
    match error.code {
        "idempotency_key_reused" => Error { field: Some("Idempotency-Key".to_owned()), ..error },
        _ => error,
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.response)).into_response();
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(location) = self.location {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (KEY, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_key_is_visible_and_short_or_refused_by_name() {
        assert_eq!(key(&headers(&[])).unwrap(), None);
        assert_eq!(key(&headers(&["order-7"])).unwrap().as_deref(), Some("order-7"));
        assert!(key(&headers(&[&"k".repeat(255)])).is_ok());
        for bad in [vec![""], vec!["a b"], vec![&*"k".repeat(256)], vec!["a", "b"]] {
            let error = key(&headers(&bad)).unwrap_err();
            assert_eq!(
                (error.code, error.field.as_deref()),
                ("invalid_idempotency_key", Some("Idempotency-Key"))
            );
        }
    }

    #[test]
    fn a_fingerprint_changes_with_every_part_of_the_request() {
        let one = fingerprint(&Method::POST, "/sessions", b"{}");
        assert_eq!(one, fingerprint(&Method::POST, "/sessions", b"{}"));
        for other in [
            fingerprint(&Method::DELETE, "/sessions", b"{}"),
            fingerprint(&Method::POST, "/session", b"s{}"),
            fingerprint(&Method::POST, "/sessions/", b"{}"),
            fingerprint(&Method::POST, "/sessions", b"{ }"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_replay_says_so_and_a_new_thing_says_where_it_is() {
        let outcome =
            |replayed| Outcome::Accepted { response: serde_json::json!({"sessionId": "s1"}), replayed };
        let fresh =
            Answer::of(StatusCode::CREATED, outcome(false)).unwrap().located("/sessions", "sessionId");
        let fresh = fresh.into_response();
        assert_eq!(fresh.headers()[LOCATION], "/sessions/s1");
        assert!(!fresh.headers().contains_key(REPLAYED));
        let again = Answer::of(StatusCode::CREATED, outcome(true)).unwrap().into_response();
        assert_eq!(again.headers()[REPLAYED], "true");
        assert!(Answer::of(StatusCode::OK, Outcome::Done).is_err());
    }
}
