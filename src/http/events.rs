//! `/events`: what happened, in order per session, to be read in pages and resumed by cursor.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::Caller;
use super::chats::named;
use super::error::Result;
use super::input::Params;
use super::page::limit;
use crate::domain::cursor::Cursor;
use crate::domain::error::Error;
use crate::domain::event::{Event, EventType};
use crate::domain::identity::Scope;
use crate::domain::ids::SessionId;
use crate::domain::view::EventFilter;

/// Which events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only events after this cursor; 0 (the default) for all that are kept.
    #[param(value_type = Option<Cursor>, example = "0")]
    after: Option<String>,
    /// At most this many: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// Only of this session.
    #[param(value_type = Option<SessionId>)]
    session_id: Option<String>,
    /// Only these types, separated by commas.
    #[serde(rename = "type")]
    #[param(rename = "type", schema_with = kinds_schema)]
    kinds: Option<String>,
}

/// Events in order, and where to go on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    /// In order per session.
    #[schema(max_items = 200)]
    items: Vec<Event>,
    /// Give it back as `after`, with the same filter, for what follows.
    next_after: Cursor,
}

/// The cursor a parameter names.
pub(super) fn cursor(api: &Api, after: Option<&str>) -> Result<Option<Cursor>, Error> {
    after.map(|after| Cursor::parse(after, api.directory.shards())).transpose()
}

/// The filter that parameters name.
pub(super) fn filter(
    caller: &Caller,
    session_id: Option<&str>,
    kinds: Option<&str>,
) -> Result<EventFilter, Error> {
    if kinds.is_some_and(|kinds| kinds.len() > KINDS_LIMIT) {
        let detail = format!("must be at most {KINDS_LIMIT} characters");
        return Err(Error::invalid("type", "invalid_value", detail));
    }
    let kinds = kinds.map_or_else(|| Ok(Vec::new()), |kinds| kinds.split(',').map(kind).collect())?;
    Ok(EventFilter {
        tenant: Some(caller.tenant),
        session: named(caller, session_id)?,
        among: caller.sessions.clone(),
        people: caller.scopes.has(Scope::UsersRead),
        kinds,
    })
}

fn kind(text: &str) -> Result<String, Error> {
    Ok(text.trim_matches(' ').parse::<EventType>()?.to_string())
}

/// The longest list of types.
const KINDS_LIMIT: usize = 1024;

/// Types with commas between them, for the documentation.
pub(super) fn kinds_schema() -> utoipa::openapi::Object {
    let names: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str().replace('.', r"\.")).collect();
    let one = format!(" *(?:{}) *", names.join("|"));
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .pattern(Some(format!("^{one}(?:,{one})*$")))
        .min_length(Some(1))
        .max_length(Some(KINDS_LIMIT))
        .examples(["message.received,message.sent"])
        .build()
}

/// Reads events after a cursor, in order per session. Pages may be empty while filtered events are passed over; go on from
/// `nextAfter`.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "listEvents",
    tag = "events",
    params(Wanted),
    responses((status = 200, description = "One page", body = Events))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Events>> {
    let after = cursor(&api, wanted.after.as_deref())?;
    let mut next_after = after.unwrap_or_else(|| Cursor::start(api.directory.shards()));
    let limit = limit(wanted.limit)?;
    let filter = filter(&caller, wanted.session_id.as_deref(), wanted.kinds.as_deref())?;
    let only = filter.session.map(|session| api.directory.shard_of(session));
    let mut items = Vec::new();
    for shard in next_after.shards().filter(|shard| only.is_none_or(|only| only == *shard)) {
        let room = limit - items.len();
        if room == 0 {
            break;
        }
        let (found, upto) = api.queries.events(shard, filter.clone(), next_after.of(shard), room).await?;
        items.extend(found);
        next_after.set(shard, upto);
    }
    Ok(Json(Events { items, next_after }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SessionId, TenantId};
    use crate::http::auth::testing::caller;

    #[test]
    fn a_filter_knows_its_types_and_its_tenant() {
        let one = caller(&[Scope::EventsRead], None);
        let both = filter(&one, None, Some("message.sent, message.read")).unwrap();
        assert_eq!(both.kinds, ["message.sent", "message.read"]);
        assert_eq!((both.tenant, both.people), (Some(TenantId::DEFAULT), false));
        let error = filter(&one, None, Some("message.sent,")).unwrap_err();
        assert_eq!((error.code, error.field.as_deref()), ("unknown_event_type", Some("type")));
        let error = filter(&one, Some("7"), None).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("sessionId"));
    }

    #[test]
    fn a_filter_is_never_wider_than_its_caller() {
        let session = SessionId::new();
        let limited = caller(&[Scope::EventsRead, Scope::UsersRead], Some(vec![session]));
        let all = filter(&limited, None, None).unwrap();
        assert_eq!((all.among.as_deref(), all.people), (Some(&[session][..]), true));
        let foreign = filter(&limited, Some(&SessionId::new().to_string()), None).unwrap_err();
        assert_eq!(foreign.code, "session_not_found");
    }
}
