//! Who asks: an API key, an access token, or a cookie that holds one, behind one extractor, [`Caller`].
//!
//! Promises: whoever asks is known, and may do what the route takes ([`access`](super::access)), before anything else of
//! the request is looked at; only the SHA-256 of a key is stored, so the tables give none away; what was seen lately costs
//! no query ([`callers`](super::callers)); who tries credentials out is soon refused without one.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest, Sha256};

use super::Api;
use super::access::{self, Need};
use super::callers::Hash;
use super::cookies::{self, Kept};
use super::edge::REQUEST_ID;
use super::error::{Problem, Result};
use super::key_text;
use super::limits;
use crate::domain::error::{Error, Kind};
use crate::domain::identity::{Actor, AuditEntry, Role, Scopes};
use crate::domain::ids::{KeyId, LoginId, SessionId, TenantId, UserId};
use crate::domain::now;
use crate::domain::time::Timestamp;
use crate::domain::view::PageRequest;
use crate::telemetry;

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A program, by its key.
    Key(KeyId),
    /// A person, by a login.
    User {
        /// Who.
        id: UserId,
        /// By which login.
        login: LoginId,
        /// As what, now: not as what the token was made for.
        role: Role,
    },
}

/// A caller as its credential proves it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Whose data it may see and change.
    pub(super) tenant: TenantId,
    /// Who it is.
    pub(super) who: Who,
    /// What it may do.
    pub(super) scopes: Scopes,
    /// With which sessions only; `None` is all.
    pub(super) sessions: Option<Arc<[SessionId]>>,
    /// When the credential ends by itself.
    pub(super) expires_at: Option<Timestamp>,
}

/// Who asks, and what of the request the audit log keeps. The typed context of every handler that takes one.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    identity: Arc<Identity>,
    trace: Trace,
}

impl std::ops::Deref for Caller {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

/// What the audit log keeps of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    request_id: Option<HeaderValue>,
    client: Option<u128>,
}

impl Trace {
    /// Of a request with these headers; [`edge`](super::edge) has put its id there.
    pub(super) fn of(api: &Api, headers: &HeaderMap) -> Self {
        Self { request_id: headers.get(REQUEST_ID).cloned(), client: api.limits.client(headers) }
    }

    /// The request's id.
    pub(super) fn request_id(&self) -> Option<String> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok()).map(str::to_owned)
    }

    /// From where it came: a keyed hash of the address, the same on every node.
    pub(super) fn client(&self) -> Option<String> {
        self.client.map(|client| telemetry::hashed(&client.to_string()).to_string())
    }

    /// An entry for the audit log.
    pub(super) fn entry(&self, tenant: TenantId, actor: Actor, action: &str) -> AuditEntry {
        let (request_id, client) = (self.request_id(), self.client());
        AuditEntry { request_id, client, ..AuditEntry::new(tenant, actor, action, now()) }
    }
}

impl FromRequestParts<Arc<Api>> for Trace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self> {
        Ok(Self::of(api, &parts.headers))
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self> {
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let need = access::need(&parts.method, route);
        let given = (None, api.limits.sender(parts));
        Self::of(api, need, &parts.method, &parts.headers, given).await
    }
}

impl Caller {
    /// The caller of a request that takes this; `beside` is a credential from elsewhere than the headers, `sends` the session
    /// that is given a message, where that is known.
    pub(super) async fn of(
        api: &Api,
        need: Option<Need>,
        method: &Method,
        headers: &HeaderMap,
        (beside, sends): (Option<&str>, Option<SessionId>),
    ) -> Result<Self> {
        let presented =
            beside.map_or_else(|| Presented::by(api, headers), |token| Ok(Presented::Bearer(token)));
        let presented = match presented {
            Ok(presented) => presented,
            // Nothing was tried.
            Err(missing) => {
                return Err(api.limits.before(headers).await.err().unwrap_or_else(|| missing.into()));
            }
        };
        let identity = recognised(api, headers, presented.token()).await?;
        api.limits.admit(headers, identity.asks(sends)).await?;
        if let (Presented::Cookie(_), Who::User { login, .. }) = (&presented, identity.who) {
            cookies::genuine(api, method, headers, login)?;
        }
        let caller = Self { identity, trace: Trace::of(api, headers) };
        need.ok_or_else(|| Error::bug("a route that is not in the table of access"))?.admits(&caller)?;
        Ok(caller)
    }

    /// Whether the credential that was presented is still good, asked anew when that is not known.
    pub(super) async fn still(api: &Api, hash: Hash, identity: &Identity) -> Result<(), Error> {
        if api.callers.known(&hash).is_some() {
            return Ok(());
        }
        match identity.who {
            Who::Key(_) => key(api, hash).await.map(drop),
            // A login goes on when an access token of it has ended.
            Who::User { id, login, .. } => person(api, identity.tenant, id, login, now()).await.map(drop),
        }
    }

    /// Refuses a session that the caller cannot see: there is none for it.
    pub(super) fn reaches(&self, session: SessionId) -> Result<(), Error> {
        if self.sessions.as_ref().is_none_or(|sessions| sessions.contains(&session)) {
            return Ok(());
        }
        Err(Error::not_found("session_not_found", "there is no such session"))
    }

    /// A page of as much as the caller can see.
    pub(super) fn within(&self, page: PageRequest) -> PageRequest {
        PageRequest { among: self.sessions.clone(), ..page }
    }

    /// Who it is, for the audit log.
    pub(super) fn actor(&self) -> Actor {
        match self.who {
            Who::Key(key) => Actor::key(key),
            Who::User { id, .. } => Actor::user(id),
        }
    }

    /// An entry for the audit log.
    pub(super) fn entry(&self, action: &str) -> AuditEntry {
        self.trace.entry(self.tenant, self.actor(), action)
    }

    /// Whether it may give a role to people, or change people who have it.
    pub(super) fn governs(&self, role: Role) -> bool {
        match self.who {
            Who::User { role: own, .. } => own.governs(role),
            Who::Key(_) => role != Role::Owner && self.scopes.contains(role.scopes(self.tenant)),
        }
    }

    /// The person who asks, and their login.
    pub(super) fn person(&self) -> Result<(UserId, LoginId), Error> {
        match self.who {
            Who::User { id, login, .. } => Ok((id, login)),
            Who::Key(_) => Err(Error::bug("a key where the table of access lets persons only")),
        }
    }
}

/// Where a credential came from.
enum Presented<'h> {
    Bearer(&'h str),
    Cookie(&'h str),
}

impl<'h> Presented<'h> {
    fn by(api: &Api, headers: &'h HeaderMap) -> Result<Self, Error> {
        if !headers.contains_key(AUTHORIZATION)
            && let Some(token) = Kept::Access.read(headers, api.config.secure_cookies)
        {
            return Ok(Self::Cookie(token));
        }
        bearer(headers).map(Self::Bearer)
    }

    fn token(&self) -> &'h str {
        match self {
            Self::Bearer(token) | Self::Cookie(token) => token,
        }
    }
}

/// SHA-256 of a credential.
pub(super) fn hashed(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// What a request presents, in the header or in a cookie.
pub(super) fn presented<'h>(api: &Api, headers: &'h HeaderMap) -> Option<&'h str> {
    Presented::by(api, headers).ok().map(|presented| presented.token())
}

impl Identity {
    /// Whom its requests count for.
    fn asks(&self, sends: Option<SessionId>) -> limits::Who {
        let token = match self.who {
            Who::Key(key) => key.0,
            Who::User { id, .. } => id.0,
        };
        limits::Who { tenant: self.tenant, token, sends }
    }
}

/// The caller that a credential proves. Who has failed too often is not told whether this one is good; a caller seen
/// lately is.
async fn recognised(api: &Api, headers: &HeaderMap, token: &str) -> Result<Arc<Identity>> {
    let hash = hashed(token);
    if let Some(identity) = api.callers.known(&hash) {
        return Ok(identity);
    }
    let is_key = key_text::is_shaped(token);
    if !is_key && token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(api.limits.failed(headers, unknown()).await);
    }
    api.limits.before(headers).await?;
    let begun = api.callers.begin();
    let found = if is_key { key(api, hash).await } else { access_token(api, token).await };
    let identity = Arc::new(api.limits.judged(headers, found).await?);
    api.callers.remember(begun, hash, &identity);
    Ok(identity)
}

async fn key(api: &Api, hash: Hash) -> Result<Identity, Error> {
    let key = api.queries.key(hash).await?.ok_or_else(unknown)?;
    if key.revoked_at.is_some() {
        return Err(unauthorized("key_revoked", "the API key has been revoked"));
    }
    if key.expires_at.is_some_and(|end| end <= now()) {
        return Err(unauthorized("key_expired", "the API key has expired"));
    }
    if key.tenant_suspended {
        return Err(suspended());
    }
    api.credentials.used(key.id);
    Ok(Identity {
        tenant: key.tenant,
        who: Who::Key(key.id),
        scopes: key.scopes.within(key.tenant),
        sessions: key.sessions,
        expires_at: key.expires_at,
    })
}

async fn access_token(api: &Api, token: &str) -> Result<Identity, Error> {
    let access = api.credentials.open(token).await.map_err(at_header)?;
    let found = person(api, access.tenant, access.user, access.login, access.issued_at).await?;
    Ok(Identity { scopes: found.scopes.and(access.scopes), expires_at: Some(access.expires_at), ..found })
}

/// A person by their login, if both are good, and a token made at that moment is not void.
async fn person(
    api: &Api,
    tenant: TenantId,
    id: UserId,
    login: LoginId,
    made: Timestamp,
) -> Result<Identity, Error> {
    let ended = || unauthorized("login_ended", "this login has ended; log in again");
    let standing = api.queries.standing(tenant, id, login).await?.ok_or_else(ended)?;
    if standing.tenant_suspended {
        return Err(suspended());
    }
    // A token says its moment in whole seconds.
    if !standing.good(now())
        || standing.tokens_after.is_some_and(|after| made.0.saturating_add(999) < after.0)
    {
        return Err(ended());
    }
    let who = Who::User { id, login, role: standing.role };
    Ok(Identity { tenant, who, scopes: standing.role.scopes(tenant), sessions: None, expires_at: None })
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let missing =
        || unauthorized("missing_key", "send Authorization: Bearer with an API key or an access token");
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

#[track_caller]
fn unauthorized(code: &'static str, detail: &str) -> Error {
    at_header(Error::new(Kind::Unauthorized, code, detail))
}

fn at_header(error: Error) -> Error {
    if error.kind != Kind::Unauthorized {
        return error;
    }
    Error { field: Some("Authorization".into()), ..error }
}

fn unknown() -> Error {
    unauthorized("unknown_key", "the API key is not known")
}

fn suspended() -> Error {
    Error::new(Kind::Forbidden, "tenant_suspended", "this tenant is suspended")
}

/// Callers for tests of handlers.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::domain::identity::Scope;

    /// A key of the first tenant.
    pub(in crate::http) fn caller(scopes: &[Scope], sessions: Option<Vec<SessionId>>) -> Caller {
        let identity = Identity {
            tenant: TenantId::DEFAULT,
            who: Who::Key(KeyId::new()),
            scopes: Scopes::of(scopes),
            sessions: sessions.map(Into::into),
            expires_at: None,
        };
        Caller { identity: Arc::new(identity), trace: Trace::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::caller;
    use super::*;

    fn header(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn only_a_bearer_token_is_looked_at() {
        assert_eq!(bearer(&header("Bearer abc")).unwrap(), "abc");
        assert_eq!(bearer(&header("bearer abc")).unwrap(), "abc");
        for bad in ["", "abc", "Basic abc"] {
            assert_eq!(bearer(&header(bad)).unwrap_err().code, "missing_key", "{bad}");
        }
        assert_eq!(bearer(&HeaderMap::new()).unwrap_err().kind, Kind::Unauthorized);
    }

    #[test]
    fn a_limited_key_sees_its_sessions_and_no_others() {
        let (mine, other) = (SessionId::new(), SessionId::new());
        let limited = caller(&[], Some(vec![mine]));
        assert!(limited.reaches(mine).is_ok());
        assert_eq!(limited.reaches(other).unwrap_err().code, "session_not_found");
        assert_eq!(limited.within(PageRequest::default()).among.as_deref(), Some(&[mine][..]));
        assert_eq!(caller(&[], None).within(PageRequest::default()).among, None);
        assert!(caller(&[], None).reaches(other).is_ok());
        assert!(caller(&[], Some(Vec::new())).reaches(mine).is_err(), "an empty list is none, not all");
    }

    #[test]
    fn a_key_gives_no_role_that_is_more_than_itself() {
        use crate::domain::identity::Scope;
        let all = caller(Scope::ALL, None);
        assert!(all.governs(Role::Admin) && !all.governs(Role::Owner));
        let few = caller(&[Scope::UsersWrite, Scope::SessionsRead], None);
        assert!(!few.governs(Role::Viewer));
    }

    #[test]
    fn each_need_lets_pass_whom_it_says() {
        use crate::domain::identity::Scope;
        let session = SessionId::new();
        let (reader, limited) =
            (caller(&[Scope::UsersRead], None), caller(&[Scope::UsersRead], Some(vec![session])));
        let code = |need: Need, caller: &Caller| need.admits(caller).err().map(|error| error.code);
        assert_eq!(code(Need::May(Scope::UsersRead), &reader), None);
        assert_eq!(code(Need::May(Scope::UsersWrite), &reader), Some("missing_scope"));
        assert_eq!(code(Need::May(Scope::UsersRead), &limited), None);
        assert_eq!(code(Need::MayAll(Scope::UsersRead), &limited), Some("key_limited"));
        assert_eq!(code(Need::Person, &reader), Some("person_required"));
        assert_eq!(code(Need::Anyone, &limited), None);
    }
}
