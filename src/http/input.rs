//! What a request says, checked: JSON bodies, query parameters, ids in paths.
//!
//! Promises: nothing unknown is ignored (a misspelt filter is refused, not dropped), and every refusal names the
//! field.

use std::fmt;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde_json::Value;

use super::error::{Problem, Result};
use super::idempotency;
use crate::domain::error::Error;
use crate::domain::write::Idempotency;

/// A write's body, and the client's key for it. An empty body reads as `{}`. A write says all in path and body: it takes
/// no query parameters.
pub(super) struct Submitted<T> {
    pub(super) body: T,
    pub(super) key: Option<Idempotency>,
}

/// The body of a write that says all in its path; the parameters of a read that takes none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Submitted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if request.uri().query().is_some() {
            let Nothing {} = params(request.uri())?;
        }
        let headers = request.headers();
        let key = idempotency::key(headers)?;
        let json = is_json(headers);
        let named = key.map(|key| (key, request.method().clone(), request.uri().clone()));
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        if !json && !bytes.is_empty() {
            let detail = "send a JSON body with Content-Type: application/json";
            return Err(Problem::at(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type",
                "unsupported_media_type",
                detail,
            ));
        }
        let body = if bytes.is_empty() { &b"{}"[..] } else { &bytes[..] };
        let body = parse(body)?;
        let key = named.map(|(key, method, uri)| Idempotency {
            key,
            fingerprint: idempotency::fingerprint(&method, uri.path(), &bytes),
        });
        Ok(Self { body, key })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the framework's list is open")]
fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Problem::too_large(),
        _ => Problem::of(StatusCode::BAD_REQUEST, "body_unreadable", "the body ended before its end"),
    }
}

/// Reads a JSON body.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // serde would read an array as well, member by member.
    if !body.trim_ascii_start().starts_with(b"{") {
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body);
        json.map_err(|error| malformed(&error))?;
        return Err(Error::invalid("body", "invalid_type", "must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() { blame::<T>(body, path, &inner.to_string()) } else { malformed(&inner) }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(parsed)
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::invalid("body", "invalid_json", format!("is not JSON: {error}"))
}

/// Reads a JSON object; serde would take an array for a tagged union as well.
pub(super) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    struct Object<T>(std::marker::PhantomData<T>);

    impl<'de, T: serde::Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(members))
        }
    }

    deserializer.deserialize_map(Object(std::marker::PhantomData))
}

/// Names the field at fault. serde looks at a tagged union as a whole, so its path ends there; the member whose
/// absence changes the complaint is the one complained about.
fn blame<T: DeserializeOwned>(body: &[u8], path: String, message: &str) -> Error {
    let complaint = plain(message);
    if NAMED.iter().all(|(start, ..)| quoted(complaint, start).is_none())
        && let Ok(whole) = serde_json::from_slice::<Value>(body)
        && let Some(part) = whole.pointer(&pointer(&path))
        && let Some(members) = part.as_object()
    {
        let at_fault = members.keys().find(|member| {
            let mut without = whole.clone();
            if let Some(part) = without.pointer_mut(&pointer(&path)).and_then(Value::as_object_mut) {
                part.remove(member.as_str());
            }
            serde_json::from_value::<T>(without)
                .map_or_else(|error| plain(&error.to_string()) != complaint, |_| true)
        });
        return refusal(at_fault.map_or_else(|| path.clone(), |member| join(&path, member)), complaint);
    }
    refusal(path, complaint)
}

/// `content.items[2].text` as a JSON pointer.
fn pointer(path: &str) -> String {
    if path == "." {
        return String::new();
    }
    format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"))
}

fn join(path: &str, member: &str) -> String {
    if path == "." { member.to_owned() } else { format!("{path}.{member}") }
}

/// serde's message without the place in the text, which the field replaces.
fn plain(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text)
}

/// The name in a complaint such as: missing field x, with x in backticks.
fn quoted<'a>(message: &'a str, what: &str) -> Option<&'a str> {
    message.strip_prefix(what)?.split('`').nth(1)
}

/// Complaints of serde that name the field themselves: how they start, our code, our words.
const NAMED: [(&str, &str, &str); 3] = [
    ("missing field", "missing_field", "is required"),
    ("unknown field", "unknown_field", "is not known here"),
    ("duplicate field", "duplicate_field", "is given twice"),
];

/// serde's complaint as our own, with a code and a field.
fn refusal(path: String, complaint: &str) -> Error {
    for (start, code, detail) in NAMED {
        if let Some(name) = quoted(complaint, start) {
            // A path to a member that is unknown already ends in its name.
            let path = path.strip_suffix(name).map_or(path.as_str(), |rest| rest.trim_end_matches('.'));
            let path = if path.is_empty() { "." } else { path };
            return Error::invalid(join(path, name), code, detail);
        }
    }
    let code = if complaint.starts_with("invalid type") {
        "invalid_type"
    } else if complaint.starts_with("unknown variant") {
        "unknown_variant"
    } else {
        "invalid_value"
    };
    let field = if path == "." { "body".to_owned() } else { path };
    let short: String = complaint.chars().take(200).collect();
    Error::invalid(field, code, short)
}

/// Query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        Ok(Self(params(&parts.uri)?))
    }
}

/// Reads query parameters.
fn params<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    Query::<T>::try_from_uri(uri).map(|Query(params)| params).map_err(|rejection| {
        let first = std::error::Error::source(&rejection);
        let mut causes = std::iter::successors(first, |cause| cause.source());
        let cause = causes.find_map(|cause| cause.downcast_ref::<Unread>());
        let (path, text) = cause.map_or_else(
            || ("query".to_owned(), rejection.body_text()),
            |cause| (cause.path().to_string(), cause.inner().to_string()),
        );
        refusal(path, &text)
    })
}

/// What axum's `Query` fails with inside.
type Unread = serde_path_to_error::Error<serde::de::value::Error>;

/// One id or address in the path.
pub(super) struct Id<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err = Error>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|_not_utf8| Error::invalid("path", "invalid_path", "is not UTF-8"))?;
        Ok(Self(text.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::content::Content;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its reading is tested")]
    struct Body {
        to: String,
        #[serde(deserialize_with = "object")]
        content: Content,
        #[serde(default)]
        count: Option<u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its reading is tested")]
    struct Few {
        limit: Option<i64>,
        session_id: Option<String>,
    }

    #[test]
    fn every_refusal_of_a_body_names_the_field() {
        let table = [
            (r#"{"to":"1","content":{"type":"text","text":5}}"#, "content.text", "invalid_type"),
            (r#"{"to":"1","content":{"type":"text"}}"#, "content.text", "missing_field"),
            (r#"{"to":"1","content":{"type":"text","text":"a","x":1}}"#, "content.x", "unknown_field"),
            (
                r#"{"to":"1","content":{"type":"text","text":"a","replyTo":[]}}"#,
                "content.replyTo",
                "invalid_type",
            ),
            (r#"{"to":"1","content":{"type":"img","text":"a"}}"#, "content.type", "unknown_variant"),
            (r#"{"to":"1","content":{"text":"a"}}"#, "content.type", "missing_field"),
            (r#"{"to":"1","content":7}"#, "content", "invalid_type"),
            (r#"{"to":"1","content":["text","a",null]}"#, "content", "invalid_type"),
            (r#"{"to":1,"content":{"type":"text","text":"a"}}"#, "to", "invalid_type"),
            (r#"{"content":{"type":"text","text":"a"}}"#, "to", "missing_field"),
            (r#"{"to":"1","to":"2","content":{"type":"text","text":"a"}}"#, "to", "duplicate_field"),
            (r#"{"to":"1","content":{"type":"text","text":"a"},"more":1}"#, "more", "unknown_field"),
            (r#"{"to":"1","content":{"type":"text","text":"a"},"count":300}"#, "count", "invalid_value"),
            ("[]", "body", "invalid_type"),
            (r#"{"to":"#, "body", "invalid_json"),
            (r#"{"to":"1","content":{"type":"text","text":"a"}} x"#, "body", "invalid_json"),
            ("", "body", "invalid_json"),
        ];
        for (text, field, code) in table {
            let error = parse::<Body>(text.as_bytes()).unwrap_err();
            assert_eq!((error.field.as_deref(), error.code), (Some(field), code), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn every_refusal_of_a_parameter_names_it() {
        let table = [
            ("/x?limit=abc", "limit", "invalid_value"),
            ("/x?limit=1&limit=2", "limit", "duplicate_field"),
            ("/x?sesionId=1", "sesionId", "unknown_field"),
        ];
        for (uri, field, code) in table {
            let (mut parts, ()) = axum::http::Request::builder().uri(uri).body(()).unwrap().into_parts();
            let refused = Params::<Few>::from_request_parts(&mut parts, &()).await.err().unwrap();
            assert_eq!(
                (refused.error().field.as_deref(), refused.error().code),
                (Some(field), code),
                "{uri}"
            );
        }
    }

    #[test]
    fn only_json_passes_for_json() {
        for (text, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/plain", false),
            ("application/jsonp", false),
        ] {
            let headers = [(CONTENT_TYPE, text.parse().unwrap())].into_iter().collect();
            assert_eq!(is_json(&headers), json, "{text}");
        }
    }
}
