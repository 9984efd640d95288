//! What an answer tells a browser beside what it is: nothing is guessed, kept, framed, or told to other sites.
//!
//! Promises: every answer carries it, whatever its status; it costs a few static values.

use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// What every answer has.
const ALWAYS: [(HeaderName, HeaderValue); 2] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// What the documentation's page may do: load from here, and be in no frame. Its library sets styles in attributes.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds what protects an answer in a browser. `secure`: it goes out through TLS.
pub(super) fn protect(headers: &mut HeaderMap, secure: bool) {
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let page = kind.starts_with(b"text/html");
    // The parts of the page are public, and as old as the program.
    let public = page || kind.starts_with(b"text/css") || kind.starts_with(b"text/javascript");
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(if public { "no-cache" } else { "no-store" }));
    }
    if page {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    if secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_nowhere_and_a_page_is_in_no_frame() {
        let mut json = HeaderMap::new();
        json.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        protect(&mut json, false);
        assert_eq!(json["cache-control"], "no-store");
        assert_eq!(json["x-content-type-options"], "nosniff");
        assert_eq!(json["referrer-policy"], "no-referrer");
        assert!(
            !json.contains_key("content-security-policy") && !json.contains_key("strict-transport-security")
        );
        let mut page = HeaderMap::new();
        page.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        protect(&mut page, true);
        assert!(page["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
        assert_eq!(page["x-frame-options"], "DENY");
        assert_eq!(page["strict-transport-security"], "max-age=31536000");
    }
}
