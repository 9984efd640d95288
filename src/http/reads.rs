//! What an answer to a read gets on its way out: a tag, and the chance to be left unsent or sent smaller.
//!
//! Promises: every answer to `GET` has an `ETag` that changes with it, and is a `304` without a body for whoever has
//! it already; a larger text goes gzipped to whoever asks for that. Writes pass by untouched: they are the hot path.
//!
//! The tag is weak: it stands for what is said, gzipped or not. It is made from the answer, so a `304` saves the way and
//! the client's work, not the query; it can never say that something is unchanged when it is not.

use std::io::Write;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::error::Problem;
use crate::domain::error::Error;

/// From how many bytes on gzip is worth its work; below, an answer fits one packet anyway.
const WORTH_IT: usize = 1024;

/// From how many bytes on gzip is no work for a thread that others wait for.
const ASIDE: usize = 64 * 1024;

/// What a read asked for beside its answer.
pub(super) struct Asked {
    known: Option<HeaderValue>,
    gzip: bool,
}

impl Asked {
    /// Of a `GET`; nothing of anything else.
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        (method == Method::GET)
            .then(|| Self { known: headers.get(IF_NONE_MATCH).cloned(), gzip: takes_gzip(headers) })
    }

    /// The answer as it is sent.
    pub(super) async fn answer(self, response: Response) -> Response {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let text = kind.is_some_and(is_text);
        // What comes in pieces is nothing of ours to hold back.
        let whole = response.body().size_hint().exact().is_some();
        if response.status() != StatusCode::OK || !whole {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
            return Problem::from(Error::bug("an answer broke off in memory")).into_response();
        };
        let tag = tag(&bytes);
        let unchanged = self.known.is_some_and(|known| names(&known, &tag));
        parts.headers.insert(ETAG, tag);
        if text {
            parts.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if unchanged {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(CONTENT_TYPE);
            parts.headers.remove(CONTENT_LENGTH);
            return Response::from_parts(parts, Body::empty());
        }
        let packed = parts.headers.contains_key(CONTENT_ENCODING);
        if !self.gzip || !text || packed || bytes.len() < WORTH_IT {
            return Response::from_parts(parts, Body::from(bytes));
        }
        let (bytes, smaller) = gzipped(bytes).await;
        if smaller {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.remove(CONTENT_LENGTH);
        }
        Response::from_parts(parts, Body::from(bytes))
    }
}

fn is_text(kind: &str) -> bool {
    const KINDS: [&str; 4] = ["application/json", "text/", "image/svg+xml", "application/javascript"];
    KINDS.iter().any(|text| kind.starts_with(text))
}

fn tag(bytes: &Bytes) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let text = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// Whether `If-None-Match` names this tag, weakly: what it stands for is what counts.
fn names(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    known.trim() == "*" || known.split(',').any(|known| opaque(known) == opaque(tag))
}

/// Whether gzip may be sent: named, or meant by `*`, and not with a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let weight = |name: &str| {
        let given = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings = given.flat_map(|value| value.split(','));
        codings.find_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(name));
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            weight.filter(|_| named)
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight: f32| weight > 0.0)
}

/// The bytes, gzipped if that makes them fewer.
async fn gzipped(bytes: Bytes) -> (Bytes, bool) {
    let work = bytes.clone();
    let packed = if bytes.len() < ASIDE {
        pack(&work)
    } else {
        tokio::task::spawn_blocking(move || pack(&work)).await.unwrap_or_default()
    };
    match packed {
        Some(packed) if packed.len() < bytes.len() => (packed.into(), true),
        _ => (bytes, false),
    }
}

fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::Json;
    use axum::http::HeaderName;

    use super::*;

    fn asked(headers: &[(HeaderName, &str)]) -> Asked {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        Asked::of(&Method::GET, &headers.collect()).unwrap()
    }

    async fn bytes(response: Response) -> Bytes {
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap()
    }

    #[tokio::test]
    async fn who_has_it_already_is_told_so_without_a_body() {
        let fresh = asked(&[]).answer(Json("hola").into_response()).await;
        let tag = fresh.headers()[ETAG].to_str().unwrap().to_owned();
        assert!(tag.starts_with("W/\""));
        assert_eq!(bytes(fresh).await, "\"hola\"");
        for known in [&*tag, "*", &format!("\"x\", {tag}"), tag.trim_start_matches("W/")] {
            let same = asked(&[(IF_NONE_MATCH, known)]).answer(Json("hola").into_response()).await;
            assert_eq!(
                (same.status(), same.headers()[ETAG].to_str().unwrap()),
                (StatusCode::NOT_MODIFIED, &*tag)
            );
            assert!(!same.headers().contains_key(CONTENT_TYPE) && bytes(same).await.is_empty(), "{known}");
        }
        for known in ["", "\"x\"", "W/\"\""] {
            let other = asked(&[(IF_NONE_MATCH, known)]).answer(Json("hola").into_response()).await;
            assert_eq!(other.status(), StatusCode::OK, "{known}");
        }
        let changed = asked(&[(IF_NONE_MATCH, &tag)]).answer(Json("adiós").into_response()).await;
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_failure_has_no_tag_and_a_picture_is_not_packed() {
        let failure = (StatusCode::CONFLICT, Json("hola")).into_response();
        assert!(!asked(&[]).answer(failure).await.headers().contains_key(ETAG));
        let picture = ([(CONTENT_TYPE, "image/png")], vec![0_u8; 5000]).into_response();
        let picture = asked(&[(ACCEPT_ENCODING, "gzip")]).answer(picture).await;
        assert!(picture.headers().contains_key(ETAG) && !picture.headers().contains_key(CONTENT_ENCODING));
        assert!(Asked::of(&Method::POST, &HeaderMap::new()).is_none());
    }

    #[tokio::test]
    async fn a_larger_text_is_gzipped_for_who_asks_and_reads_the_same() {
        for size in [10, WORTH_IT, 2 * ASIDE] {
            let text = "hola ".repeat(size);
            let plain = asked(&[]).answer(Json(&text).into_response()).await;
            let packed =
                asked(&[(ACCEPT_ENCODING, "br, gzip;q=0.5")]).answer(Json(&text).into_response()).await;
            assert_eq!(plain.headers()[ETAG], packed.headers()[ETAG]);
            assert_eq!(plain.headers()[VARY], "accept-encoding");
            let gzip = packed.headers().contains_key(CONTENT_ENCODING);
            assert_eq!(gzip, size >= WORTH_IT, "{size}");
            let (plain, packed) = (bytes(plain).await, bytes(packed).await);
            let mut read = Vec::new();
            if gzip {
                assert!(packed.len() < plain.len() / 10);
                flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut read).unwrap();
            } else {
                read = packed.to_vec();
            }
            assert_eq!(read, plain);
        }
    }

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        let takes = |value: &str| asked(&[(ACCEPT_ENCODING, value)]).gzip;
        for value in ["gzip", "GZIP", "deflate, gzip;q=1.0", "*", "identity;q=0, *;q=0.1"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip;q=0, *", "*;q=0"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!asked(&[]).gzip);
    }
}
