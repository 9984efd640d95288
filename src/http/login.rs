//! `/auth/login`, `/auth/refresh`, `/auth/logout`: how somebody gets in, stays in and leaves.
//!
//! Promises: a wrong password, an unknown address, and a right password while the account is locked get one answer after
//! the same work (a look-up, a password's check, a write); a refresh token is good once, and a second use of one ends
//! its login, unless it is the moment's own race.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, SET_COOKIE, USER_AGENT};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Api;
use super::account::saved;
use super::auth::{Caller, Trace, hashed};
use super::callers::Whose;
use super::cookies::{self, Kept};
use super::error::Result;
use super::input::{Nothing, Submitted};
use crate::actors::identity::Grant;
use crate::domain::error::{Error, Kind};
use crate::domain::identity::{Actor, Login, MailAddress, Role, Rotation, User, UserState};
use crate::domain::ids::{LoginId, TenantId, UserId};
use crate::domain::now;
use crate::domain::password::Password;
use crate::domain::time::Timestamp;
use crate::domain::view::one_of;
use crate::domain::write::people::{LockPolicy, Logins, OpenLogin, RevokeLogins, Rotate, SignIn};
use crate::domain::write::{Outcome, PeopleWrite, Write};
use crate::telemetry;

/// Five wrong passwords lock for a minute, each further one for twice as long, at most an hour.
pub(super) const LOCKS: LockPolicy =
    LockPolicy { free: 4, base: Duration::from_secs(60), most: Duration::from_secs(3600) };

/// For so long after a renewal the token before it is a client's own race.
const GRACE: Duration = Duration::from_secs(10);

/// The most logins of one person; the one unused for longest goes.
const MOST_LOGINS: usize = 20;

/// What every refresh token starts with.
const BEGINNING: &str = "rrt_";

/// How somebody gets in.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewLogin {
    /// The address of the account.
    #[schema(format = Email, min_length = 3, max_length = 254, example = "ana@example.org")]
    email: String,
    /// Its password.
    #[schema(format = Password, max_length = 128, example = "correct horse battery")]
    password: String,
    /// Keep the tokens in cookies, for a page in a browser, instead of telling them.
    #[serde(default)]
    #[schema(example = false)]
    cookie: bool,
}

/// A refresh token, unless a cookie holds it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Renewal {
    /// The one of the last answer.
    #[serde(default)]
    #[schema(
        max_length = 68,
        example = "rrt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    )]
    refresh_token: Option<String>,
}

/// Somebody is in.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedIn {
    /// For `Authorization: Bearer`; absent when a cookie holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096, example = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIuLi4ifQ.c2ln")]
    access_token: Option<String>,
    /// Always `Bearer`.
    #[schema(schema_with = bearer)]
    token_type: &'static str,
    /// Until when the access token is good.
    expires_at: Timestamp,
    /// Good once, for new tokens; absent when a cookie holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 68,
        max_length = 68,
        example = "rrt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    )]
    refresh_token: Option<String>,
    /// Until when the login can be renewed.
    refresh_expires_at: Timestamp,
    /// For the header `X-CSRF-Token` of every write, where cookies hold the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128, example = "Ue3kXJ0iWq1xu0k8y8XqZw")]
    csrf_token: Option<String>,
    /// The login.
    login_id: LoginId,
    /// Who is in.
    user_id: UserId,
    /// Of which tenant.
    tenant_id: TenantId,
    /// As what.
    role: Role,
}

/// The only type of token.
fn bearer() -> utoipa::openapi::Object {
    one_of(&["Bearer"])
}

/// Lets somebody in: an access token for a quarter of an hour, and a refresh token for the next ones.
#[utoipa::path(
    post,
    path = "/auth/login",
    operation_id = "logIn",
    tag = "people",
    security(()),
    request_body = NewLogin,
    responses(
        (status = 200, description = "In", body = SignedIn),
        (status = 401, description = "The address or the password is wrong, or the account is locked for a while"),
        (status = 403, description = "The account is not active, or its tenant suspended"),
    )
)]
pub(super) async fn login(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<NewLogin>,
) -> Result<Response> {
    let NewLogin { email, password, cookie } = body;
    let (mail, password) = (email.parse::<MailAddress>()?, Zeroizing::new(password));
    api.limits.before(&headers).await?;
    let trace = Trace::of(&api, &headers);
    let user = tried(&api, mail, &password, &trace).await;
    let user = api.limits.judged(&headers, user).await?;
    let role = user.role;
    let grant = Grant { tenant: user.tenant, user: user.id, role, login: LoginId::new() };
    let (text, hash) = fresh(grant.login);
    let at = now();
    let expires_at = at.after(api.config.login_for);
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let audit = trace.entry(user.tenant, Actor::user(user.id), "login.opened");
    let open = OpenLogin {
        tenant: user.tenant,
        user: user.id,
        login: grant.login,
        hash,
        user_agent: agent.chars().take(200).collect(),
        expires_at,
        most: MOST_LOGINS,
        audit: Some(Box::new(audit.to("login", grant.login))),
        at,
    };
    people(&api, PeopleWrite::OpenLogin(open)).await?;
    telemetry::login("ok");
    signed_in(&api, grant, text, expires_at, cookie).await
}

/// The person whose password this is; one answer and one kind of work for all that is wrong.
async fn tried(api: &Api, mail: MailAddress, password: &str, trace: &Trace) -> Result<User, Error> {
    let found = api.queries.user_by_mail(mail).await?;
    let stored = found.as_ref().and_then(|user| user.password.clone());
    // Too long to be anybody's: checked as another one, for the same work.
    let presented = Password::presented(password);
    let fits = presented.is_some();
    let presented =
        presented.or_else(|| Password::presented("")).ok_or_else(|| Error::bug("no password fits"))?;
    let checked = api.credentials.check(presented.clone(), stored).await?;
    let right = checked.right && fits;
    let Some(user) = found else {
        let audit = trace.entry(TenantId::DEFAULT, Actor::SYSTEM, "login.unknown");
        people(api, PeopleWrite::Record(Box::new(audit))).await?;
        telemetry::login("refused");
        return Err(wrong());
    };
    let failed =
        || Box::new(trace.entry(user.tenant, Actor::user(user.id), "login.failed").to("user", user.id));
    let sign_in = SignIn {
        tenant: user.tenant,
        user: user.id,
        ok: right,
        policy: LOCKS,
        audit: (!right).then(failed),
        at: now(),
    };
    let Outcome::SignedIn(signed_in) = people(api, PeopleWrite::SignIn(sign_in)).await? else {
        return Err(Error::bug("a sign-in without its answer"));
    };
    if !signed_in.ok {
        telemetry::login("refused");
        return Err(wrong());
    }
    if user.state != UserState::Active {
        telemetry::login("inactive");
        let code = if user.state == UserState::Suspended { "user_suspended" } else { "mail_not_verified" };
        return Err(Error::new(Kind::Forbidden, code, format!("the account is {}", user.state)));
    }
    if checked.outdated {
        rehash(api, &user, presented).await;
    }
    Ok(user)
}

/// Stores a password anew that was stored with less work than is usual now. Losing it costs nothing: the next login does it.
async fn rehash(api: &Api, user: &User, password: Password) {
    let renewed = async {
        let hash = api.credentials.hash(password).await?;
        // The right password has just changed the row; whoever else changes it meanwhile goes first.
        let current = api.queries.user(user.tenant, user.id).await?;
        let Some(current) = current.filter(|current| current.password == user.password) else {
            return Ok(());
        };
        let version = current.version;
        let save = saved(api, User { password: Some(hash), ..current }, Some(version));
        people(api, PeopleWrite::SaveUser(save)).await.map(drop)
    };
    if let Err(error) = renewed.await {
        tracing::debug!(%error, "a password is not stored anew");
    }
}

fn wrong() -> Error {
    let detail = "the address or the password is wrong, or the account is locked for a while";
    Error::new(Kind::Unauthorized, "wrong_credentials", detail)
}

/// New tokens for a refresh token, which is good once. The answer's own takes its place.
#[utoipa::path(
    post,
    path = "/auth/refresh",
    operation_id = "refreshLogin",
    tag = "people",
    security(()),
    request_body = Renewal,
    responses(
        (status = 200, description = "New tokens", body = SignedIn),
        (status = 401, description = "The token is not known, was used before, or its login has ended"),
        (status = 409, description = "Another request has just renewed it: use what that one got"),
    )
)]
pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<Renewal>,
) -> Result<Response> {
    let kept = Kept::Refresh.read(&headers, api.config.secure_cookies);
    let cookie = body.refresh_token.is_none() && kept.is_some();
    let text = Zeroizing::new(body.refresh_token.or_else(|| kept.map(str::to_owned)).unwrap_or_default());
    let login = family(&text).ok_or_else(|| refused("refresh_unknown", "the refresh token is not known"));
    let login = api.limits.judged(&headers, login).await?;
    if cookie {
        cookies::genuine(&api, &Method::POST, &headers, login)?;
    }
    api.limits.before(&headers).await?;
    let (fresh, hash) = fresh(login);
    let (at, trace) = (now(), Trace::of(&api, &headers));
    let expires_at = at.after(api.config.login_for);
    let (request_id, client) = (trace.request_id(), trace.client());
    let presented = hashed(&text);
    let rotate = Rotate { login, presented, fresh: hash, grace: GRACE, expires_at, request_id, client, at };
    let Outcome::Rotated(rotation) = people(&api, PeopleWrite::Rotate(rotate)).await? else {
        return Err(Error::bug("a renewal without its answer").into());
    };
    telemetry::refresh(word(&rotation));
    let login = api.limits.judged(&headers, renewed(&api, *rotation)).await?;
    let standing = api.queries.standing(login.tenant_id, login.user_id, login.login_id).await?;
    let standing = standing.ok_or_else(|| refused("login_ended", "this login has ended; log in again"))?;
    let grant =
        Grant { tenant: login.tenant_id, user: login.user_id, role: standing.role, login: login.login_id };
    signed_in(&api, grant, fresh, login.expires_at, cookie).await
}

/// A word for the metric.
fn word(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Rotated(_) => "ok",
        Rotation::Superseded => "superseded",
        Rotation::Reused(_) => "reused",
        Rotation::Revoked | Rotation::Expired | Rotation::Unknown => "refused",
    }
}

/// The login that was renewed, or why it was not.
fn renewed(api: &Api, rotation: Rotation) -> Result<Login, Error> {
    match rotation {
        Rotation::Rotated(login) => Ok(login),
        Rotation::Superseded => {
            let detail = "another request has just renewed this token; use what that one got";
            Err(Error::conflict("refresh_superseded", detail))
        }
        Rotation::Reused(login) => {
            api.callers.forget(Whose::Login(login.login_id));
            tracing::warn!(login = %login.login_id, "a refresh token was used again; its login has been ended");
            let detail = "the refresh token was used before; the login has been ended, log in again";
            Err(refused("refresh_reused", detail))
        }
        Rotation::Revoked => Err(refused("login_ended", "this login has ended; log in again")),
        Rotation::Expired => Err(refused("login_expired", "this login is too old; log in again")),
        Rotation::Unknown => Err(refused("refresh_unknown", "the refresh token is not known")),
    }
}

/// Ends the login that asks.
#[utoipa::path(
    post,
    path = "/auth/logout",
    operation_id = "logOut",
    tag = "people",
    extensions(("x-asks-anew" = json!(true))),
    responses((status = 204, description = "Out"))
)]
pub(super) async fn logout(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body: Nothing {}, .. }: Submitted<Nothing>,
) -> Result<Response> {
    let (_, login) = caller.person()?;
    revoke(&api, &caller, Logins::One(login), "logout").await?;
    left(&api)
}

/// Ends every login of whoever asks, this one too. Access tokens are void at once here, within 30 seconds on other nodes.
#[utoipa::path(
    post,
    path = "/auth/logout-all",
    operation_id = "logOutEverywhere",
    tag = "people",
    extensions(("x-asks-anew" = json!(true))),
    responses((status = 204, description = "Out everywhere"))
)]
pub(super) async fn logout_all(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body: Nothing {}, .. }: Submitted<Nothing>,
) -> Result<Response> {
    revoke(&api, &caller, Logins::All, "logout_all").await?;
    left(&api)
}

fn left(api: &Api) -> Result<Response> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    cookies::forget(response.headers_mut(), api.config.secure_cookies)?;
    Ok(response)
}

/// Ends logins of whoever asks.
pub(super) async fn revoke(
    api: &Api,
    caller: &Caller,
    logins: Logins,
    reason: &'static str,
) -> Result<(), Error> {
    let (user, _) = caller.person()?;
    let (action, target) = match logins {
        Logins::One(login) => ("login.ended", login.to_string()),
        Logins::AllBut(_) | Logins::All => ("logins.ended", user.to_string()),
    };
    let kind = if matches!(logins, Logins::One(_)) { "login" } else { "user" };
    let revoke = RevokeLogins {
        tenant: caller.tenant,
        user,
        logins,
        reason,
        void_tokens: matches!(logins, Logins::All),
        audit: Some(Box::new(caller.entry(action).to(kind, target))),
        at: now(),
    };
    people(api, PeopleWrite::RevokeLogins(revoke)).await?;
    api.callers.forget(match logins {
        Logins::One(login) => Whose::Login(login),
        Logins::AllBut(_) | Logins::All => Whose::User(user),
    });
    Ok(())
}

/// Commits a change to people.
pub(super) async fn people(api: &Api, write: PeopleWrite) -> Result<Outcome, Error> {
    api.ledgers.write(Write::People(Box::new(write))).await
}

/// A new refresh token of a login: its text, and what is stored of it.
fn fresh(login: LoginId) -> (Zeroizing<String>, [u8; 32]) {
    let mut bytes = Zeroizing::new([0_u8; 48]);
    bytes[..16].copy_from_slice(login.0.as_bytes());
    bytes[16..].copy_from_slice(&rand::random::<[u8; 32]>());
    let text = Zeroizing::new(format!("{BEGINNING}{}", URL_SAFE_NO_PAD.encode(&bytes[..])));
    let hash = hashed(&text);
    (text, hash)
}

/// The login that a refresh token names.
fn family(text: &str) -> Option<LoginId> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(BEGINNING).filter(|rest| rest.len() == 64)?).ok()?;
    bytes.first_chunk::<16>().map(|id| LoginId(Uuid::from_bytes(*id)))
}

#[track_caller]
fn refused(code: &'static str, detail: &str) -> Error {
    Error { field: Some("refreshToken".to_owned()), ..Error::new(Kind::Unauthorized, code, detail) }
}

/// The answer to somebody who is in.
async fn signed_in(
    api: &Api,
    grant: Grant,
    refresh: Zeroizing<String>,
    refresh_expires_at: Timestamp,
    cookie: bool,
) -> Result<Response> {
    let minted = api.credentials.mint(grant).await?;
    let csrf = cookie.then(|| api.credentials.csrf(grant.login));
    let body = SignedIn {
        access_token: (!cookie).then(|| minted.token.to_string()),
        token_type: "Bearer",
        expires_at: minted.expires_at,
        refresh_token: (!cookie).then(|| refresh.to_string()),
        refresh_expires_at,
        csrf_token: csrf.clone(),
        login_id: grant.login,
        user_id: grant.user,
        tenant_id: grant.tenant,
        role: grant.role,
    };
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(csrf) = csrf {
        let (secure, at) = (api.config.secure_cookies, now());
        let (short, long) = (minted.expires_at.since(at).as_secs(), refresh_expires_at.since(at).as_secs());
        headers.append(SET_COOKIE, Kept::Access.write(&minted.token, short, secure)?);
        headers.append(SET_COOKIE, Kept::Refresh.write(&refresh, long, secure)?);
        headers.append(SET_COOKIE, Kept::Csrf.write(&csrf, long, secure)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_names_its_login_and_is_new_each_time() {
        let login = LoginId::new();
        let ((one, hash), (other, _)) = (fresh(login), fresh(login));
        assert_eq!((family(&one), family(&other)), (Some(login), Some(login)));
        assert_ne!(*one, *other);
        assert_eq!(hashed(&one), hash);
        for bad in ["", "rrt_", &one[4..], &one[..67], &format!("{}A", *one), &one.replace("rrt_", "rec_")] {
            assert_eq!(family(bad), None, "{bad}");
        }
    }
}
