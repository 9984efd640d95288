//! `/users`: the people of a tenant.
//!
//! Promises: nobody gives more than they have, or changes somebody who has more; the last active owner stays; whoever is
//! suspended or deleted is out at once here, within 30 seconds on other nodes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::Api;
use super::account::saved;
use super::auth::Caller;
use super::callers::Whose;
use super::error::Result;
use super::idempotency::Answer;
use super::input::{Id, Nothing, Params, Submitted};
use super::login::{LOCKS, people};
use super::page::page;
use crate::domain::error::{Error, Kind};
use crate::domain::event::EventType;
use crate::domain::identity::{
    Locale, MailAddress, PersonName, Purpose, Role, User, UserFilter, UserState, UserView,
};
use crate::domain::ids::UserId;
use crate::domain::now;
use crate::domain::password::Password;
use crate::domain::view::Page;
use crate::domain::write::people::{Revocation, SaveUser, SignIn};
use crate::domain::write::{Idempotency, Outcome, PeopleWrite, Write};

/// Which people.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Only in this state; without one, all but the deleted.
    #[param(
        pattern = "^(pending_verification|active|invited|suspended|deleted)$",
        max_length = 24,
        example = "active"
    )]
    state: Option<String>,
    /// Only of this role.
    #[param(pattern = "^(owner|admin|member|viewer)$", max_length = 24, example = "member")]
    role: Option<String>,
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    cursor: Option<String>,
}

/// Lists the people of your tenant, oldest first.
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "listUsers",
    tag = "people",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<UserView>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<UserView>>> {
    let state = wanted.state.as_deref().map(str::parse).transpose()?;
    let role = wanted.role.as_deref().map(str::parse).transpose()?;
    let page = page(wanted.limit, wanted.cursor)?;
    Ok(Json(api.queries.users(caller.tenant, UserFilter { state, role }, page).await?))
}

/// Somebody to invite.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewUser {
    /// Where the invitation goes to.
    #[schema(format = Email, min_length = 3, max_length = 254, example = "ada@example.com")]
    email: String,
    /// What they are called.
    #[serde(default)]
    #[schema(value_type = Option<PersonName>)]
    name: Option<String>,
    /// What they may do; `member` when absent.
    #[serde(default)]
    role: Option<Role>,
    /// The language of mails; `en` when absent.
    #[serde(default)]
    locale: Option<Locale>,
    /// A password for them. Without one they choose it by the link of their invitation; with one the link proves their
    /// address.
    #[serde(default)]
    #[schema(format = Password, min_length = 8, max_length = 128, example = "correct horse battery")]
    password: Option<String>,
}

/// Invites somebody into your tenant: they are mailed a link.
#[utoipa::path(
    post,
    path = "/users",
    operation_id = "inviteUser",
    tag = "people",
    request_body = NewUser,
    responses((status = 201, description = "Invited; `Location` says where", body = UserView))
)]
pub(super) async fn invite(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body, key }: Submitted<NewUser>,
) -> Result<Answer> {
    let mail: MailAddress = body.email.parse()?;
    let name = body.name.as_deref().map(str::parse::<PersonName>).transpose()?;
    let role = body.role.unwrap_or(Role::Member);
    governs(&caller, role)?;
    let password = body.password.as_deref().map(|text| Password::chosen(text, mail.as_str())).transpose()?;
    let (state, purpose) = match password {
        Some(_) => (UserState::PendingVerification, Purpose::Verify),
        None => (UserState::Invited, Purpose::Invite),
    };
    let password = match password {
        Some(password) => Some(api.credentials.hash(password).await?),
        None => None,
    };
    let (at, locale) = (now(), body.locale.unwrap_or_default());
    let user =
        User { name, password, locale, ..User::new((caller.tenant, UserId::new()), mail, role, state, at) };
    let issue = api.credentials.one_time(purpose, locale, None, at)?;
    let view = UserView { version: 1, ..user.clone().into() };
    let save = SaveUser {
        issue: Some(issue),
        events: vec![EventType::UserInvited],
        response: serde_json::to_value(view).map_err(Error::bug)?,
        idempotency: key,
        audit: Some(Box::new(caller.entry("user.invited").to("user", user.id))),
        ..saved(&api, user, None)
    };
    let write = Write::People(Box::new(PeopleWrite::SaveUser(save)));
    Ok(Answer::to(&api, StatusCode::CREATED, write).await?.located("/users", "userId"))
}

/// Shows one person.
#[utoipa::path(
    get,
    path = "/users/{id}",
    operation_id = "getUser",
    tag = "people",
    params(("id" = UserId, Path, description = "The person")),
    responses((status = 200, description = "The person", body = UserView))
)]
pub(super) async fn show(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<UserId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<UserView>> {
    Ok(Json(found(&api, &caller, id).await?.into()))
}

/// What is to be another about somebody. What is absent stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Change {
    /// What they are called.
    #[serde(default)]
    #[schema(value_type = Option<PersonName>)]
    name: Option<String>,
    /// What they may do.
    #[serde(default)]
    role: Option<Role>,
    /// The language of mails.
    #[serde(default)]
    locale: Option<Locale>,
    /// The version that this changes: refused when there is a later one.
    #[serde(default)]
    #[schema(minimum = 1, example = 3)]
    version: Option<i64>,
}

/// Changes somebody's name, role or language. Less of a role holds from the next request on here, within 30 seconds on
/// other nodes; more of one with their next access token.
#[utoipa::path(
    patch,
    path = "/users/{id}",
    operation_id = "changeUser",
    tag = "people",
    params(("id" = UserId, Path, description = "The person")),
    request_body = Change,
    responses((status = 200, description = "As they are now", body = UserView))
)]
pub(super) async fn change(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<UserId>,
    Submitted { body, key }: Submitted<Change>,
) -> Result<Answer> {
    let user = found(&api, &caller, id).await?;
    governs(&caller, user.role)?;
    let role = body.role.unwrap_or(user.role);
    governs(&caller, role)?;
    let name = body.name.as_deref().map(str::parse::<PersonName>).transpose()?;
    let action = if role == user.role { "user.changed" } else { "user.role_changed" };
    let mut audit = caller.entry(action).to("user", id);
    if role != user.role {
        audit.detail = serde_json::json!({"from": user.role, "to": role});
    }
    let expected = body.version.unwrap_or(user.version);
    let name = name.or_else(|| user.name.clone());
    let user = User { name, role, locale: body.locale.unwrap_or(user.locale), ..user };
    let save = SaveUser { audit: Some(Box::new(audit)), ..saved(&api, user, Some(expected)) };
    commit(&api, save, key).await
}

/// Lets nobody in by this account until it is reinstated. Its logins end.
#[utoipa::path(
    post,
    path = "/users/{id}/suspend",
    operation_id = "suspendUser",
    tag = "people",
    params(("id" = UserId, Path, description = "The person")),
    responses((status = 200, description = "As they are now", body = UserView))
)]
pub(super) async fn suspend(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<UserId>,
    Submitted { body: Nothing {}, key }: Submitted<Nothing>,
) -> Result<Answer> {
    moved(&api, &caller, id, (UserState::Suspended, EventType::UserSuspended, "user.suspended"), key).await
}

/// Lets somebody in again who was suspended.
#[utoipa::path(
    post,
    path = "/users/{id}/reinstate",
    operation_id = "reinstateUser",
    tag = "people",
    params(("id" = UserId, Path, description = "The person")),
    responses((status = 200, description = "As they are now", body = UserView))
)]
pub(super) async fn reinstate(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<UserId>,
    Submitted { body: Nothing {}, key }: Submitted<Nothing>,
) -> Result<Answer> {
    moved(&api, &caller, id, (UserState::Active, EventType::UserReinstated, "user.reinstated"), key).await
}

/// Deletes somebody for good: their address, name and password are wiped. What they did stays in the audit log.
#[utoipa::path(
    delete,
    path = "/users/{id}",
    operation_id = "deleteUser",
    tag = "people",
    params(("id" = UserId, Path, description = "The person")),
    responses((status = 200, description = "What is left of them", body = UserView))
)]
pub(super) async fn delete(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<UserId>,
    Submitted { body: Nothing {}, key }: Submitted<Nothing>,
) -> Result<Answer> {
    moved(&api, &caller, id, (UserState::Deleted, EventType::UserDeleted, "user.deleted"), key).await
}

/// Moves somebody to another state.
async fn moved(
    api: &Api,
    caller: &Caller,
    id: UserId,
    (state, event, action): (UserState, EventType, &'static str),
    key: Option<Idempotency>,
) -> Result<Answer> {
    let user = found(api, caller, id).await?;
    governs(caller, user.role)?;
    let reinstates = event == EventType::UserReinstated;
    // The tables judge the other moves, after they have looked whether this is a repetition.
    if reinstates && user.state != UserState::Suspended && key.is_none() {
        let detail = format!("somebody who is {} is not suspended", user.state);
        return Err(Error::conflict("user_state", detail).into());
    }
    let (at, version) = (now(), user.version);
    let gone = state == UserState::Deleted;
    let user = User {
        state,
        tokens_after: Some(at),
        deleted_at: gone.then_some(at),
        mail: user.mail.filter(|_| !gone),
        name: user.name.filter(|_| !gone),
        password: user.password.filter(|_| !gone),
        pending_mail: user.pending_mail.filter(|_| !gone),
        ..user
    };
    let save = SaveUser {
        revoke: (!reinstates).then_some(Revocation { except: None, reason: action }),
        events: vec![event],
        audit: Some(Box::new(caller.entry(action).to("user", id))),
        ..saved(api, user, Some(version))
    };
    commit(api, save, key).await
}

async fn commit(api: &Api, save: SaveUser, key: Option<Idempotency>) -> Result<Answer> {
    let (id, next) = (save.user.id, save.expected.map_or(1, |version| version.saturating_add(1)));
    let view = UserView { version: next, updated_at: save.at, ..save.user.clone().into() };
    let response = serde_json::to_value(view).map_err(Error::bug)?;
    let save = SaveUser { response, idempotency: key, ..save };
    let write = Write::People(Box::new(PeopleWrite::SaveUser(save)));
    let answer = Answer::to(api, StatusCode::OK, write).await;
    api.callers.forget(Whose::User(id));
    answer
}

/// The person, if they are of the caller's tenant.
async fn found(api: &Api, caller: &Caller, id: UserId) -> Result<User, Error> {
    let user = api.queries.user(caller.tenant, id).await?;
    user.ok_or_else(|| Error::not_found("user_not_found", "there is no such user"))
}

fn governs(caller: &Caller, role: Role) -> Result<(), Error> {
    if caller.governs(role) {
        return Ok(());
    }
    let detail = format!("you cannot give the role {role}, or change somebody who has it");
    Err(Error::new(Kind::Forbidden, "role_exceeds", detail))
}

/// Whoever is about to change what an account is reached by knows its password. A wrong one counts as at the login.
pub(super) async fn confirmed(api: &Api, caller: &Caller, user: &User, password: &str) -> Result<(), Error> {
    let wrong =
        || Error::new(Kind::Forbidden, "wrong_password", "the password is wrong, or locked for a while");
    let presented = Password::presented(password).ok_or_else(wrong)?;
    let checked = api.credentials.check(presented, user.password.clone()).await?;
    let audit = (!checked.right).then(|| Box::new(caller.entry("login.failed").to("user", user.id)));
    let (tenant, policy) = (user.tenant, LOCKS);
    let sign_in = SignIn { tenant, user: user.id, ok: checked.right, policy, audit, at: now() };
    let done = people(api, PeopleWrite::SignIn(sign_in)).await?;
    if matches!(done, Outcome::SignedIn(state) if state.ok) { Ok(()) } else { Err(wrong()) }
}
