//! `/auth/me` and `/auth/logins`: who somebody is, and where else they are logged in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::{Caller, Who};
use super::error::Result;
use super::input::{Id, Nothing, Params, Submitted};
use super::login::revoke;
use super::page::page;
use crate::domain::identity::{Login, Role, Scopes, UserView};
use crate::domain::ids::{KeyId, LoginId, SessionId, TenantId, UserId};
use crate::domain::view::Page;
use crate::domain::write::people::Logins;

/// Who asks.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    /// Whose data it is about.
    tenant_id: TenantId,
    /// What it may do.
    scopes: Scopes,
    /// With which sessions only; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<SessionId>>, max_items = 100, example = json!(["0192f0c1-7b7a-7000-8000-000000000001"]))]
    session_ids: Option<Vec<SessionId>>,
    /// The key, where one asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    /// The login, where a person asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    login_id: Option<LoginId>,
    /// The person's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// The person.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserView>,
}

/// Tells who asks, and what they may do.
#[utoipa::path(
    get,
    path = "/auth/me",
    operation_id = "getMe",
    tag = "people",
    responses((status = 200, description = "Who asks", body = Me))
)]
pub(super) async fn me(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<Me>> {
    let (key_id, login_id, role, user) = match caller.who {
        Who::Key(key) => (Some(key), None, None, None),
        Who::User { id, login, role } => {
            let user = api.queries.user(caller.tenant, id).await?;
            (None, Some(login), Some(role), user.map(UserView::from))
        }
    };
    let session_ids = caller.sessions.as_ref().map(|sessions| sessions.to_vec());
    let (tenant_id, scopes) = (caller.tenant, caller.scopes);
    Ok(Json(Me { tenant_id, scopes, session_ids, key_id, login_id, role, user }))
}

/// Which logins.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    cursor: Option<String>,
}

/// Lists the logins of whoever asks.
#[utoipa::path(
    get,
    path = "/auth/logins",
    operation_id = "listLogins",
    tag = "people",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<Login>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<Login>>> {
    let (user, _): (UserId, _) = caller.person()?;
    let page = page(wanted.limit, wanted.cursor)?;
    Ok(Json(api.queries.logins(caller.tenant, user, page).await?))
}

/// Ends every login of whoever asks but this one.
#[utoipa::path(
    delete,
    path = "/auth/logins",
    operation_id = "endOtherLogins",
    tag = "people",
    extensions(("x-asks-anew" = json!(true))),
    responses((status = 204, description = "Ended"))
)]
pub(super) async fn end_others(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body: Nothing {}, .. }: Submitted<Nothing>,
) -> Result<StatusCode> {
    let (_, login) = caller.person()?;
    revoke(&api, &caller, Logins::AllBut(login), "ended_elsewhere").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one login of whoever asks.
#[utoipa::path(
    delete,
    path = "/auth/logins/{id}",
    operation_id = "endLogin",
    tag = "people",
    extensions(("x-asks-anew" = json!(true))),
    params(("id" = LoginId, Path, description = "The login")),
    responses((status = 204, description = "Ended"))
)]
pub(super) async fn end(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(login): Id<LoginId>,
    Submitted { body: Nothing {}, .. }: Submitted<Nothing>,
) -> Result<StatusCode> {
    revoke(&api, &caller, Logins::One(login), "ended_elsewhere").await?;
    Ok(StatusCode::NO_CONTENT)
}
