//! What links in mails lead to: `/auth/verify`, `/auth/password/reset`, `/auth/invitations/accept`, `/auth/mail/confirm`.
//!
//! Promises: a token from a mail is good once, for one purpose, for a while; who tries tokens out is soon refused.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;

use super::Api;
use super::account::{Standing, saved};
use super::auth::Trace;
use super::callers::Whose;
use super::error::Result;
use super::input::Submitted;
use super::login::people;
use crate::actors::identity::Credentials;
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::identity::{Actor, MailAddress, OneTime, PersonName, Purpose, User, UserState};
use crate::domain::now;
use crate::domain::password::Password;
use crate::domain::write::PeopleWrite;
use crate::domain::write::people::{Revocation, SaveUser, Spend};

/// A token from a mail.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Proof {
    /// As the link has it.
    #[schema(
        example = "AZLwwXt6cACAAAAAAAAAAbq3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        min_length = 54,
        max_length = 54
    )]
    token: String,
}

/// Proves the address of a registration.
#[utoipa::path(
    post,
    path = "/auth/verify",
    operation_id = "verifyMail",
    tag = "people",
    security(()),
    request_body = Proof,
    responses((status = 200, description = "The account is active", body = Standing))
)]
pub(super) async fn verify(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<Proof>,
) -> Result<Json<Standing>> {
    let (token, user) = proven(&api, &headers, &body.token, Purpose::Verify).await?;
    let user = User { state: UserState::Active, verified_at: Some(now()), ..user };
    let save = SaveUser { events: vec![EventType::UserVerified], ..spending(&api, &token, user) };
    commit(&api, save, &Trace::of(&api, &headers), "user.verified").await
}

/// A token from a mail, and the password from now on.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewPassword {
    /// As the link has it.
    #[schema(
        example = "AZLwwXt6cACAAAAAAAAAAbq3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        min_length = 54,
        max_length = 54
    )]
    token: String,
    /// 8 to 128 characters, and none of those that everybody tries first.
    #[schema(format = Password, min_length = 8, max_length = 128, example = "correct horse battery")]
    password: String,
}

/// Sets a new password. Every login ends, and wrong passwords are forgiven.
#[utoipa::path(
    post,
    path = "/auth/password/reset",
    operation_id = "resetPassword",
    tag = "people",
    security(()),
    request_body = NewPassword,
    responses((status = 200, description = "The password is another", body = Standing))
)]
pub(super) async fn reset(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<NewPassword>,
) -> Result<Json<Standing>> {
    let (token, user) = proven(&api, &headers, &body.token, Purpose::Reset).await?;
    let password = chosen(&body.password, &user)?;
    let at = now();
    // Whoever can read the mail has proven the address too.
    let state = if user.state == UserState::PendingVerification { UserState::Active } else { user.state };
    let password = Some(api.credentials.hash(password).await?);
    let verified_at = user.verified_at.or(Some(at));
    let user = User { password, state, verified_at, tokens_after: Some(at), ..user };
    let save = SaveUser {
        unlock: true,
        revoke: Some(Revocation { except: None, reason: "password_changed" }),
        events: vec![EventType::UserPasswordChanged],
        ..spending(&api, &token, user)
    };
    commit(&api, save, &Trace::of(&api, &headers), "user.password_changed").await
}

/// A token from an invitation, and what is needed to begin.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Acceptance {
    /// As the link has it.
    #[schema(
        example = "AZLwwXt6cACAAAAAAAAAAbq3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        min_length = 54,
        max_length = 54
    )]
    token: String,
    /// 8 to 128 characters, and none of those that everybody tries first.
    #[schema(format = Password, min_length = 8, max_length = 128, example = "correct horse battery")]
    password: String,
    /// What they want to be called, if not as they were invited.
    #[serde(default)]
    #[schema(value_type = Option<PersonName>)]
    name: Option<String>,
}

/// Accepts an invitation: the account is active from now on.
#[utoipa::path(
    post,
    path = "/auth/invitations/accept",
    operation_id = "acceptInvitation",
    tag = "people",
    security(()),
    request_body = Acceptance,
    responses((status = 200, description = "The account is active", body = Standing))
)]
pub(super) async fn accept(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<Acceptance>,
) -> Result<Json<Standing>> {
    let (token, user) = proven(&api, &headers, &body.token, Purpose::Invite).await?;
    let password = chosen(&body.password, &user)?;
    let name = body.name.as_deref().map(str::parse::<PersonName>).transpose()?;
    let password = Some(api.credentials.hash(password).await?);
    let name = name.or_else(|| user.name.clone());
    let user = User { password, name, state: UserState::Active, verified_at: Some(now()), ..user };
    let save = SaveUser { events: vec![EventType::UserVerified], ..spending(&api, &token, user) };
    commit(&api, save, &Trace::of(&api, &headers), "user.accepted").await
}

/// Proves the new address of an account. Every login ends.
#[utoipa::path(
    post,
    path = "/auth/mail/confirm",
    operation_id = "confirmMail",
    tag = "people",
    security(()),
    request_body = Proof,
    responses(
        (status = 200, description = "The account has the new address", body = Standing),
        (status = 409, description = "Another account has the address meanwhile"),
    )
)]
pub(super) async fn confirm_mail(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<Proof>,
) -> Result<Json<Standing>> {
    let (token, user) = proven(&api, &headers, &body.token, Purpose::ChangeMail).await?;
    let at = now();
    let mail = token.mail.clone().ok_or_else(|| Error::bug("a change of mail without an address"))?;
    let user =
        User { mail: Some(mail), pending_mail: None, verified_at: Some(at), tokens_after: Some(at), ..user };
    let save = SaveUser {
        revoke: Some(Revocation { except: None, reason: "mail_changed" }),
        events: vec![EventType::UserMailChanged],
        ..spending(&api, &token, user)
    };
    commit(&api, save, &Trace::of(&api, &headers), "user.mail_changed").await
}

fn chosen(text: &str, user: &User) -> Result<Password, Error> {
    Password::chosen(text, user.mail.as_ref().map_or("", MailAddress::as_str))
}

/// The token of a text, good at this moment, and whose it is. A text that is none counts as a failed authentication.
async fn proven(api: &Api, headers: &HeaderMap, text: &str, purpose: Purpose) -> Result<(OneTime, User)> {
    let unknown = || Error::invalid("token", "token_unknown", "is not a token for this");
    api.limits.before(headers).await?;
    let found = match Credentials::one_time_hash(text) {
        Some(hash) => api.queries.one_time(hash).await?,
        None => None,
    };
    let Some(token) = found.filter(|token| token.purpose == purpose) else {
        return Err(api.limits.failed(headers, unknown()).await);
    };
    if token.used_at.is_some() {
        return Err(Error::invalid("token", "token_spent", "was used before").into());
    }
    if !token.good(now()) {
        return Err(Error::invalid("token", "token_expired", "is too old; ask for another").into());
    }
    let user = api.queries.user(token.tenant, token.user).await?.ok_or_else(unknown)?;
    Ok((token, user))
}

/// A change that uses a token up.
fn spending(api: &Api, token: &OneTime, user: User) -> SaveUser {
    let version = user.version;
    SaveUser {
        spend: Some(Spend { id: token.id, purpose: token.purpose }),
        ..saved(api, user, Some(version))
    }
}

/// Commits a change that a mail's token allowed.
async fn commit(api: &Api, save: SaveUser, trace: &Trace, action: &str) -> Result<Json<Standing>> {
    let (tenant, user_id, state) = (save.user.tenant, save.user.id, save.user.state);
    let audit = trace.entry(tenant, Actor::user(user_id), action).to("user", user_id);
    let save = SaveUser { audit: Some(Box::new(audit)), ..save };
    // What the tables say of a token is about the body, not about who asks.
    let named = |error: Error| match error.code {
        "token_spent" | "token_expired" => Error::invalid("token", error.code, error.message),
        _ => error,
    };
    people(api, PeopleWrite::SaveUser(save)).await.map_err(named)?;
    api.callers.forget(Whose::User(user_id));
    Ok(Json(Standing { user_id, state }))
}
