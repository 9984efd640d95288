//! Cookies for the dashboard: how a browser keeps its login, and how a request is known to come from the page and not from
//! another site.
//!
//! Promises: no script can read what authenticates (`HttpOnly`); the cookies go to this host alone, over TLS alone, and
//! not along with a request that another site began (`__Host-`, `Secure`, `SameSite=Strict`); only on plain HTTP to the
//! machine itself, where a browser would drop such cookies, are they without. A write that a cookie authenticates needs
//! the login's own token in a header besides, and the page's own origin.

use axum::http::Method;
use axum::http::header::{COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SET_COOKIE};

use super::Api;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::LoginId;

/// The header that shows that the request comes from a page of ours.
pub(super) const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// What a browser says of where a request began.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The longest cookie header that is looked at.
const LONGEST: usize = 8192;

/// What is kept in cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The access token.
    Access,
    /// The refresh token.
    Refresh,
    /// What the page puts into the header; the one that a script reads.
    Csrf,
}

impl Kept {
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Access, true) => "__Host-recado_access",
            (Self::Access, false) => "recado_access",
            (Self::Refresh, true) => "__Host-recado_refresh",
            (Self::Refresh, false) => "recado_refresh",
            (Self::Csrf, true) => "__Host-recado_csrf",
            (Self::Csrf, false) => "recado_csrf",
        }
    }

    /// What the browser sent of it.
    pub(super) fn read(self, headers: &HeaderMap, secure: bool) -> Option<&str> {
        let name = self.name(secure);
        let lines = headers.get_all(COOKIE).iter().filter(|line| line.len() <= LONGEST);
        let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut found = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
        let first = found.next().map(|(_, value)| value).filter(|value| !value.is_empty());
        // Two of one name: somebody has put one there. `__Host-` prevents it, plain names do not.
        first.filter(|_| found.next().is_none())
    }

    /// The header that has the browser keep it for so many seconds; none forgets it.
    pub(super) fn write(self, value: &str, seconds: u64, secure: bool) -> Result<HeaderValue> {
        let hidden = if self == Self::Csrf { "" } else { "; HttpOnly" };
        let tls = if secure { "; Secure" } else { "" };
        let name = self.name(secure);
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; SameSite=Strict{hidden}{tls}");
        HeaderValue::from_str(&text).map_err(Error::bug)
    }
}

/// Has the browser forget its login.
pub(super) fn forget(headers: &mut HeaderMap, secure: bool) -> Result<()> {
    for kept in [Kept::Access, Kept::Refresh, Kept::Csrf] {
        headers.append(SET_COOKIE, kept.write("", 0, secure)?);
    }
    Ok(())
}

/// Whether a request that a cookie authenticates comes from a page of ours.
pub(super) fn genuine(api: &Api, method: &Method, headers: &HeaderMap, login: LoginId) -> Result<()> {
    let refuse = |code, detail: &str| Err(Error::new(Kind::Forbidden, code, detail));
    let upgrade = headers.contains_key("upgrade");
    if method.is_safe() && !upgrade {
        return Ok(());
    }
    if !from_here(headers, &api.config.cors_origins, upgrade) {
        return refuse("foreign_origin", "a cookie is no credential for a request from another site");
    }
    if method.is_safe() {
        // A browser cannot send a header with a WebSocket's handshake; its origin is all there is, and it is enough.
        return Ok(());
    }
    let shown = headers.get(CSRF).map(HeaderValue::as_bytes).unwrap_or_default();
    if same(shown, api.credentials.csrf(login).as_bytes()) {
        return Ok(());
    }
    refuse("csrf_token", "a write with a cookie needs the login's token in X-CSRF-Token")
}

/// Whether the browser says that the page is of this host, or of an origin that is allowed by name. `needed`: a browser
/// always says so here.
fn from_here(headers: &HeaderMap, allowed: &[String], needed: bool) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(&ORIGIN) else {
        return !needed && text(&FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    let ours = host.is_some() && host == text(&HOST);
    ours || allowed.iter().any(|one| one != "*" && one == origin)
}

/// Whether two texts are the same, without telling by time how far they are.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn cookies_are_hidden_bound_to_the_host_and_sent_over_tls_only() {
        for kept in [Kept::Access, Kept::Refresh] {
            let text = kept.write("abc", 900, true).unwrap();
            let text = text.to_str().unwrap();
            assert!(
                text.starts_with("__Host-") && text.contains("; Path=/;") && !text.contains("Domain"),
                "{text}"
            );
            for part in ["; HttpOnly", "; Secure", "; SameSite=Strict", "Max-Age=900"] {
                assert!(text.contains(part), "{text}");
            }
        }
        let csrf = Kept::Csrf.write("abc", 900, true).unwrap();
        assert!(!csrf.to_str().unwrap().contains("HttpOnly"), "the page has to read this one");
        let plain = Kept::Access.write("abc", 900, false).unwrap();
        assert!(
            !plain.to_str().unwrap().contains("Secure") && plain.to_str().unwrap().starts_with("recado_")
        );
    }

    #[test]
    fn a_cookie_is_read_by_its_full_name_and_only_if_there_is_one_of_it() {
        let read = |line: &str| Kept::Access.read(&headers(&[("cookie", line)]), true).map(str::to_owned);
        assert_eq!(read("a=b; __Host-recado_access=t.o.k; c=d").as_deref(), Some("t.o.k"));
        for none in [
            "",
            "recado_access=t",
            "x__Host-recado_access=t",
            "__Host-recado_access=",
            "__Host-recado_access",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(read("__Host-recado_access=one; __Host-recado_access=two"), None);
    }

    #[test]
    fn a_page_of_another_site_is_none_of_ours() {
        let allowed = ["https://panel.example.org".to_owned(), "*".to_owned()];
        let from = |origin: &str| {
            from_here(&headers(&[("host", "api.example.org"), ("origin", origin)]), &allowed, false)
        };
        assert!(from("https://api.example.org") && from("https://panel.example.org"));
        for foreign in [
            "https://evil.example",
            "null",
            "https://api.example.org.evil.example",
            "api.example.org",
            "*",
            "https://evil.example/api.example.org",
        ] {
            assert!(!from(foreign), "{foreign}");
        }
        let site = |site: &str, needed| from_here(&headers(&[("sec-fetch-site", site)]), &allowed, needed);
        assert!(site("same-origin", false) && !site("cross-site", false) && !site("same-site", false));
        assert!(!site("same-origin", true), "a WebSocket's handshake always has an origin");
        assert!(from_here(&headers(&[]), &allowed, false), "no browser: the token alone decides");
    }

    #[test]
    fn texts_are_the_same_only_if_they_are() {
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"ab", b"abc") && !same(b"", b"a"));
    }
}
