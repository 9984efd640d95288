//! `/api-keys`: what programs get in with.
//!
//! Promises: the text of a key is in the answer that makes it and nowhere else, so that answer is never given again; a
//! key has no more than who makes it; every key that is made here ends some day; a revoked one is refused at once here,
//! within 30 seconds on other nodes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::{Caller, hashed};
use super::callers::Whose;
use super::error::Result;
use super::input::{Id, Nothing, Params, Submitted};
use super::key_text::{new_key, prefix};
use super::login::people;
use super::page::page;
use crate::domain::error::{Error, Kind};
use crate::domain::identity::{ApiKeyView, Scope, Scopes};
use crate::domain::ids::{KeyId, SessionId};
use crate::domain::label::{Label, label};
use crate::domain::now;
use crate::domain::time::Timestamp;
use crate::domain::view::{Page, one_of};
use crate::domain::write::people::{RevokeKey, RotateKey};
use crate::domain::write::{AddKey, PeopleWrite, Write};

/// Days that a key is good for when nobody says.
const DAYS: u32 = 365;

/// The most days that a key is good for.
const MOST_DAYS: u32 = 3650;

/// The most sessions that a key can be limited to.
const MOST_SESSIONS: usize = 100;

/// The most good keys of a tenant.
const MOST_KEYS: i64 = 1000;

/// The longest overlap of a rotation: a week.
const LONGEST_OVERLAP: u32 = 7 * 24 * 3600;

/// What a key that is limited to some sessions can have.
const OF_SESSIONS: Scopes = Scopes::of(&[
    Scope::SessionsRead,
    Scope::SessionsWrite,
    Scope::MessagesSend,
    Scope::MessagesRead,
    Scope::MessagesIngest,
    Scope::EventsRead,
]);

/// A key to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewKey {
    /// For people; 1 to 100 characters.
    #[schema(value_type = Label)]
    name: String,
    /// What it may do; `sessions:*` is both of sessions. No more than you may yourself.
    #[schema(schema_with = scopes_schema)]
    scopes: Vec<String>,
    /// With which sessions only; all when absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<SessionId>>, min_items = 1, max_items = 100, example = json!(["0192f0c1-7b7a-7000-8000-000000000001"]))]
    session_ids: Option<Vec<SessionId>>,
    /// Days until it ends: 1 to 3650, 365 when absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3650, example = 90)]
    expires_in_days: Option<u32>,
}

/// Words that name scopes: more of them are understood on the way in than are ever given out.
fn scopes_schema() -> utoipa::openapi::schema::Array {
    use utoipa::openapi::schema::ArrayBuilder;
    let words = Scopes::words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = ArrayBuilder::new().items(one_of(&words)).min_items(Some(1)).max_items(Some(64));
    words.examples([serde_json::json!(["sessions:read", "messages:send"])]).build()
}

/// A key that was made just now.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    /// Its text. It is shown this once.
    #[schema(min_length = 47, max_length = 47, example = "rec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    key: String,
    /// Which.
    key_id: KeyId,
    /// For people.
    #[schema(value_type = Label)]
    name: String,
    /// What it is known by in lists.
    #[schema(max_length = 8, example = "AAAAAAAA")]
    prefix: String,
    /// What it may do.
    scopes: Scopes,
    /// With which sessions only; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<SessionId>>, max_items = 100, example = json!(["0192f0c1-7b7a-7000-8000-000000000001"]))]
    session_ids: Option<Vec<SessionId>>,
    /// When it was made.
    created_at: Timestamp,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

type Fresh = (StatusCode, [(HeaderName, HeaderValue); 2], Json<Made>);

/// Makes a key. Its text is in this answer alone, so a repetition makes another: this takes no `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/api-keys",
    operation_id = "createApiKey",
    tag = "keys",
    extensions(("x-asks-anew" = json!(true))),
    request_body = NewKey,
    responses(
        (status = 201, description = "Made; `Location` says where", body = Made),
        (status = 404, description = "There is no such session"),
    )
)]
pub(super) async fn create(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Submitted { body, .. }: Submitted<NewKey>,
) -> Result<Fresh> {
    let name = label("name", body.name)?;
    let scopes = asked(&body.scopes)?;
    within(&caller, scopes)?;
    let sessions = limited(&api, &caller, scopes, body.session_ids).await?;
    let days = body.expires_in_days.unwrap_or(DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        let detail = format!("must be 1 to {MOST_DAYS}");
        return Err(Error::invalid("expiresInDays", "invalid_expiry", detail).into());
    }
    let at = now();
    let expires_at = Some(at.after(Duration::from_secs(u64::from(days) * 86_400)));
    let text = new_key();
    let add = added(&caller, &text, (name, scopes, sessions, expires_at), "key.created", at);
    let made = shown(&text, &add);
    api.ledgers.write(Write::AddKey(add)).await?;
    fresh(made)
}

/// Which keys.
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

/// Lists the keys of your tenant; never their text.
#[utoipa::path(
    get,
    path = "/api-keys",
    operation_id = "listApiKeys",
    tag = "keys",
    params(Listing),
    responses((status = 200, description = "One page", body = Page<ApiKeyView>))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Listing>,
) -> Result<Json<Page<ApiKeyView>>> {
    let page = page(wanted.limit, wanted.cursor)?;
    Ok(Json(api.queries.api_keys(caller.tenant, page).await?))
}

/// Revokes a key: it opens nothing from now on. Whoever follows events by it is shown out within a minute.
#[utoipa::path(
    delete,
    path = "/api-keys/{id}",
    operation_id = "revokeApiKey",
    tag = "keys",
    extensions(("x-asks-anew" = json!(true))),
    params(("id" = KeyId, Path, description = "The key")),
    responses((status = 204, description = "Revoked"))
)]
pub(super) async fn revoke(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<KeyId>,
    Submitted { body: Nothing {}, .. }: Submitted<Nothing>,
) -> Result<StatusCode> {
    let audit = Some(Box::new(caller.entry("key.revoked").to("key", id)));
    let revoke = RevokeKey { tenant: caller.tenant, id, audit, at: now() };
    people(&api, PeopleWrite::RevokeKey(revoke)).await?;
    api.callers.forget(Whose::Key(id));
    Ok(StatusCode::NO_CONTENT)
}

/// How a key is replaced.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rotation {
    /// For so long the old one stays good: 0 to 604800, 3600 when absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 604_800, example = 3600)]
    overlap_seconds: Option<u32>,
}

/// Makes a key that takes another's place, with the same name, scopes, sessions and life; the old one stays good for a
/// while. Its text is in this answer alone, so this takes no `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/api-keys/{id}/rotate",
    operation_id = "rotateApiKey",
    tag = "keys",
    extensions(("x-asks-anew" = json!(true))),
    params(("id" = KeyId, Path, description = "The key that is replaced")),
    request_body = Rotation,
    responses((status = 201, description = "Made; `Location` says where", body = Made))
)]
pub(super) async fn rotate(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Id(id): Id<KeyId>,
    Submitted { body, .. }: Submitted<Rotation>,
) -> Result<Fresh> {
    let overlap = body.overlap_seconds.unwrap_or(3600);
    if overlap > LONGEST_OVERLAP {
        let detail = format!("must be 0 to {LONGEST_OVERLAP}");
        return Err(Error::invalid("overlapSeconds", "invalid_overlap", detail).into());
    }
    let old = api.queries.api_key(caller.tenant, id).await?;
    let old = old.ok_or_else(|| Error::not_found("key_not_found", "there is no such key"))?;
    within(&caller, old.scopes)?;
    let at = now();
    let life = old.expires_at.map(|end| end.since(old.created_at));
    let terms = (old.name, old.scopes, old.session_ids, life.map(|life| at.after(life)));
    let text = new_key();
    let mut new = added(&caller, &text, terms, "key.rotated", at);
    if let Some(audit) = &mut new.audit {
        audit.detail = serde_json::json!({"replaces": id, "overlapSeconds": overlap});
    }
    let made = shown(&text, &new);
    let overlap_until = at.after(Duration::from_secs(overlap.into()));
    people(&api, PeopleWrite::RotateKey(RotateKey { old: id, overlap_until, new })).await?;
    // Its end has changed.
    api.callers.forget(Whose::Key(id));
    fresh(made)
}

fn asked(words: &[String]) -> Result<Scopes, Error> {
    let named = |error: Error| Error { field: Some("scopes".to_owned()), ..error };
    let scopes = Scopes::parse(words.iter().map(String::as_str)).map_err(named)?;
    if scopes.is_empty() {
        return Err(Error::invalid("scopes", "no_scopes", "must name one at least"));
    }
    Ok(scopes)
}

/// Nobody makes a key that may do more than they may.
fn within(caller: &Caller, scopes: Scopes) -> Result<(), Error> {
    if caller.scopes.contains(scopes) {
        return Ok(());
    }
    let detail = "a key cannot have more scopes than who makes it";
    Err(Error { field: Some("scopes".to_owned()), ..Error::new(Kind::Forbidden, "scope_exceeds", detail) })
}

/// The sessions a key is limited to: all of them the tenant's own.
async fn limited(
    api: &Api,
    caller: &Caller,
    scopes: Scopes,
    sessions: Option<Vec<SessionId>>,
) -> Result<Option<Vec<SessionId>>, Error> {
    let Some(mut sessions) = sessions else { return Ok(None) };
    if sessions.is_empty() || sessions.len() > MOST_SESSIONS {
        let detail = format!("must name 1 to {MOST_SESSIONS} sessions");
        return Err(Error::invalid("sessionIds", "invalid_sessions", detail));
    }
    if !OF_SESSIONS.contains(scopes) {
        let detail = format!("a key that is limited to sessions can only have {OF_SESSIONS}");
        return Err(Error::invalid("scopes", "scope_not_of_sessions", detail));
    }
    sessions.sort_unstable();
    sessions.dedup();
    for session in &sessions {
        if api.queries.session(caller.tenant, *session).await?.is_none() {
            let missing = Error::not_found("session_not_found", "names a session that is not there");
            return Err(Error { field: Some("sessionIds".to_owned()), ..missing });
        }
    }
    Ok(Some(sessions))
}

type KeyTerms = (String, Scopes, Option<Vec<SessionId>>, Option<Timestamp>);

fn added(
    caller: &Caller,
    text: &str,
    (name, scopes, sessions, expires_at): KeyTerms,
    action: &str,
    at: Timestamp,
) -> AddKey {
    let id = KeyId::new();
    AddKey {
        tenant: caller.tenant,
        id,
        hash: hashed(text),
        name,
        prefix: prefix(text),
        scopes,
        sessions,
        created_by: Some(caller.actor()),
        expires_at,
        limit: MOST_KEYS,
        audit: Some(Box::new(caller.entry(action).to("key", id))),
        at,
    }
}

fn shown(text: &str, add: &AddKey) -> Made {
    Made {
        key: text.to_owned(),
        key_id: add.id,
        name: add.name.clone(),
        prefix: add.prefix.clone(),
        scopes: add.scopes,
        session_ids: add.sessions.clone(),
        created_at: add.at,
        expires_at: add.expires_at,
    }
}

fn fresh(made: Made) -> Result<Fresh> {
    let location = HeaderValue::from_str(&format!("/api-keys/{}", made.key_id)).map_err(Error::bug)?;
    let headers = [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, Json(made)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_scopes() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(asked(&words(&["sessions:*"])).unwrap().iter().count(), 2);
        let error = asked(&words(&["sessions:all"])).unwrap_err();
        assert_eq!((error.code, error.field.as_deref()), ("unknown_scope", Some("scopes")));
        assert_eq!(asked(&[]).unwrap_err().code, "no_scopes");
    }
}
