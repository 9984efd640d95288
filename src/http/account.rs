//! `/auth/register`, `/auth/password/forgot` and `/auth/mail/change`: what somebody is mailed a link for. What the links lead
//! to: [`proofs`](super::proofs).
//!
//! Promises: whether an address has an account here shows in no answer: not in its status, not in its body, and not in its
//! time (the work is alike, and no answer comes before a fixed moment).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Api;
use super::auth::{Caller, Trace};
use super::error::Result;
use super::input::Submitted;
use super::login::people;
use crate::domain::error::{Error, Kind};
use crate::domain::event::EventType;
use crate::domain::identity::{Actor, Locale, MailAddress, PersonName, Purpose, Role, User, UserState};
use crate::domain::ids::{Shard, TenantId, UserId};
use crate::domain::label::{Label, label};
use crate::domain::now;
use crate::domain::password::Password;
use crate::domain::view::one_of;
use crate::domain::write::PeopleWrite;
use crate::domain::write::people::{Issue, SaveUser};

/// No answer that could tell whether there is an account comes before this.
const EVEN: Duration = Duration::from_millis(400);

/// Somebody gets one mail for one purpose in this time.
const QUIET: Duration = Duration::from_secs(60);

/// An answer that comes at the same moment whatever was found.
struct Even(Instant);

impl Even {
    fn begin() -> Self {
        Self(Instant::now() + EVEN)
    }

    async fn answer(self) -> (StatusCode, Json<Mailed>) {
        tokio::time::sleep_until(self.0).await;
        (StatusCode::ACCEPTED, Json(Mailed { status: "mail_sent" }))
    }
}

/// What follows comes by mail.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mailed {
    /// Always `mail_sent`: also when there was nobody to send it to.
    #[schema(schema_with = mail_sent)]
    status: &'static str,
}

/// The only answer of what must not tell whether there was anybody.
fn mail_sent() -> utoipa::openapi::Object {
    one_of(&["mail_sent"])
}

/// Where an account stands.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    /// Who.
    pub(super) user_id: UserId,
    /// Where they stand.
    pub(super) state: UserState,
}

/// A new account with a tenant of its own.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Registration {
    /// Where links go to, and what the account logs in with.
    #[schema(format = Email, min_length = 3, max_length = 254, example = "ana@example.org")]
    email: String,
    /// 8 to 128 characters, and none of those that everybody tries first.
    #[schema(format = Password, min_length = 8, max_length = 128, example = "correct horse battery")]
    password: String,
    /// What its owner is called.
    #[serde(default)]
    #[schema(value_type = Option<PersonName>)]
    name: Option<String>,
    /// What the tenant is called.
    #[serde(default)]
    #[schema(value_type = Option<Label>)]
    tenant: Option<String>,
    /// The language of mails: `en`, `es` or `pt`; by `Accept-Language` when absent.
    #[serde(default)]
    locale: Option<Locale>,
}

/// Makes an account and a tenant that it owns, once the address is proven by the link that is mailed there. Where the
/// address has an account already, its owner is told instead; the answer is the same.
#[utoipa::path(
    post,
    path = "/auth/register",
    operation_id = "registerAccount",
    tag = "people",
    security(()),
    request_body = Registration,
    responses(
        (status = 202, description = "A mail is on its way", body = Mailed),
        (status = 403, description = "Nobody can register here"),
    )
)]
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<Registration>,
) -> Result<(StatusCode, Json<Mailed>)> {
    if !api.config.registration {
        let detail = "nobody can register here; ask for an invitation";
        return Err(Error::new(Kind::Forbidden, "registration_closed", detail).into());
    }
    let mail: MailAddress = body.email.parse()?;
    let password = Password::chosen(&body.password, mail.as_str())?;
    let name = body.name.as_deref().map(str::parse::<PersonName>).transpose()?;
    let tenant = body.tenant.map(|name| label("tenant", name)).transpose()?;
    let language =
        headers.get(ACCEPT_LANGUAGE).and_then(|language| language.to_str().ok()).unwrap_or_default();
    let locale = body.locale.or_else(|| Locale::preferred(language)).unwrap_or_default();
    api.limits.before(&headers).await?;
    let even = Even::begin();
    let hash = api.credentials.hash(password).await?;
    let trace = Trace::of(&api, &headers);
    if let Some(owner) = api.queries.user_by_mail(mail.clone()).await? {
        remind(&api, Some(owner), &trace).await?;
        return Ok(even.answer().await);
    }
    let (at, ids) = (now(), (TenantId::new(), UserId::new()));
    let user = User {
        name,
        password: Some(hash),
        locale,
        ..User::new(ids, mail.clone(), Role::Owner, UserState::PendingVerification, at)
    };
    let issue = api.credentials.one_time(Purpose::Verify, locale, None, at)?;
    let audit = trace.entry(user.tenant, Actor::user(user.id), "user.registered").to("user", user.id);
    let save = SaveUser {
        tenant: Some(tenant.unwrap_or_else(|| "unnamed".to_owned())),
        issue: Some(issue),
        events: vec![EventType::UserRegistered],
        audit: Some(Box::new(audit)),
        ..saved(&api, user, None)
    };
    match people(&api, PeopleWrite::SaveUser(save)).await {
        // Somebody was faster with the same address.
        Err(error) if error.code == "mail_taken" => {
            let owner = api.queries.user_by_mail(mail).await?;
            remind(&api, owner, &trace).await?;
        }
        saved => drop(saved?),
    }
    Ok(even.answer().await)
}

/// Mails somebody the link that helps them on; does as much when there is nobody.
///
/// Whoever has not proven their address yet is given a link that sets a password, not the one that proves the address
/// alone: the account may be somebody else's doing, who knows the password that it has.
async fn remind(api: &Api, user: Option<User>, trace: &Trace) -> Result<(), Error> {
    let purpose = user.as_ref().and_then(|user| match user.state {
        UserState::PendingVerification | UserState::Active => Some(Purpose::Reset),
        UserState::Invited => Some(Purpose::Invite),
        UserState::Suspended | UserState::Deleted => None,
    });
    mail(api, user, purpose, trace).await
}

/// Issues a token to somebody, or writes down that there was nobody to issue one to.
async fn mail(api: &Api, user: Option<User>, purpose: Option<Purpose>, trace: &Trace) -> Result<(), Error> {
    let at = now();
    let (Some(user), Some(purpose)) = (user, purpose) else {
        let audit = trace.entry(TenantId::DEFAULT, Actor::SYSTEM, "token.refused");
        return people(api, PeopleWrite::Record(Box::new(audit))).await.map(drop);
    };
    let token = api.credentials.one_time(purpose, user.locale, None, at)?;
    let audit = trace.entry(user.tenant, Actor::SYSTEM, "token.issued").to("user", user.id);
    let issue = Issue {
        tenant: user.tenant,
        user: user.id,
        token,
        not_after: Some(at.before(QUIET)),
        shard: Shard::of(user.tenant, api.directory.shards()),
        audit: Some(Box::new(audit)),
        at,
    };
    people(api, PeopleWrite::Issue(issue)).await.map(drop)
}

/// An address whose owner needs a link.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Forgotten {
    /// The address of the account.
    #[schema(format = Email, min_length = 3, max_length = 254, example = "ana@example.org")]
    email: String,
}

/// Mails a link that sets a new password, or the link that is still missing: of the registration or the invitation. The
/// answer is the same where there is no such account.
#[utoipa::path(
    post,
    path = "/auth/password/forgot",
    operation_id = "forgotPassword",
    tag = "people",
    security(()),
    request_body = Forgotten,
    responses((status = 202, description = "A mail is on its way, if there is an account", body = Mailed))
)]
pub(super) async fn forgot(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Submitted { body, .. }: Submitted<Forgotten>,
) -> Result<(StatusCode, Json<Mailed>)> {
    let address = body.email.parse()?;
    api.limits.before(&headers).await?;
    let trace = Trace::of(&api, &headers);
    let even = Even::begin();
    let user = api.queries.user_by_mail(address).await?;
    remind(&api, user, &trace).await?;
    Ok(even.answer().await)
}

/// Another address for an account.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewMail {
    /// The address from now on, once it is proven.
    #[schema(format = Email, min_length = 3, max_length = 254, example = "ana@example.com")]
    email: String,
    /// The account's password.
    #[schema(format = Password, max_length = 128, example = "correct horse battery")]
    password: String,
}

/// Mails a link to a new address; the account moves there when it is followed. The answer is the same where the address
/// has an account already.
#[utoipa::path(
    post,
    path = "/auth/mail/change",
    operation_id = "changeMail",
    tag = "people",
    extensions(("x-asks-anew" = json!(true))),
    request_body = NewMail,
    responses((status = 202, description = "A mail is on its way", body = Mailed))
)]
pub(super) async fn change_mail(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body, .. }: Submitted<NewMail>,
) -> Result<(StatusCode, Json<Mailed>)> {
    let (id, _) = caller.person()?;
    let address: MailAddress = body.email.parse()?;
    let user = api.queries.user(caller.tenant, id).await?;
    let user = user.ok_or_else(|| Error::not_found("user_not_found", "there is no such user"))?;
    super::users::confirmed(&api, &caller, &user, &body.password).await?;
    let even = Even::begin();
    let at = now();
    let issue = api.credentials.one_time(Purpose::ChangeMail, user.locale, Some(address.clone()), at)?;
    let version = user.version;
    let save = SaveUser {
        issue: Some(issue),
        audit: Some(Box::new(caller.entry("user.mail_change_asked").to("user", id))),
        ..saved(&api, User { pending_mail: Some(address), ..user }, Some(version))
    };
    people(&api, PeopleWrite::SaveUser(save)).await?;
    Ok(even.answer().await)
}

/// A change to somebody, from the version it names on.
pub(super) fn saved(api: &Api, user: User, expected: Option<i64>) -> SaveUser {
    let shard = Shard::of(user.tenant, api.directory.shards());
    let response = serde_json::json!(Standing { user_id: user.id, state: user.state });
    SaveUser {
        user,
        expected,
        tenant: None,
        spend: None,
        issue: None,
        unlock: false,
        revoke: None,
        events: Vec::new(),
        shard,
        response,
        idempotency: None,
        audit: None,
        at: now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_comes_at_the_same_moment_whatever_took_how_long() {
        for took in [0, 100, 399] {
            let begun = Instant::now();
            let even = Even::begin();
            tokio::time::sleep(Duration::from_millis(took)).await;
            assert_eq!(even.answer().await.0, StatusCode::ACCEPTED);
            assert_eq!(begun.elapsed(), EVEN);
        }
    }
}
