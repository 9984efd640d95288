//! `/audit-log`: who did what to which, newest first; as pages, or as one file.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::Api;
use super::auth::Caller;
use super::error::Result;
use super::input::Params;
use super::page::page;
use crate::domain::error::Error;
use crate::domain::identity::{AuditFilter, AuditView};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::domain::view::{Page, PageRequest};

/// The media type of an export: one JSON object per line.
const LINES: &str = "application/x-ndjson";

/// Rows that an export reads at once.
const STEP: usize = 200;

/// The longest word of a filter.
const WORD_LIMIT: usize = 128;

/// Entries as one file: a JSON object per line.
struct Entries;

impl utoipa::PartialSchema for Entries {
    fn schema() -> RefOr<Schema> {
        let lines = ObjectBuilder::new().schema_type(Type::String).max_length(Some(1 << 40));
        RefOr::T(lines.examples(["{…}\n{…}\n"]).build().into())
    }
}

impl utoipa::ToSchema for Entries {}

/// Which entries.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only by this one: `user:<id>`, `key:<id>` or `system`.
    #[param(
        pattern = "^(?:(?:user|key):[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|system)$",
        min_length = 1,
        max_length = 64,
        example = "key:0192f0c1-7b7a-7000-8000-000000000001"
    )]
    actor: Option<String>,
    /// Only this action.
    #[param(pattern = "^[!-~]+$", min_length = 1, max_length = 128, example = "key.revoked")]
    action: Option<String>,
    /// Only to the thing with this id.
    #[param(
        pattern = "^[!-~]+$",
        min_length = 1,
        max_length = 128,
        example = "0192f0c1-7b7a-7000-8000-000000000001"
    )]
    target: Option<String>,
    /// Not before this moment.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Before this moment.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// Rows of the page: 1 to 200, 50 when absent.
    #[param(minimum = 1, maximum = 200, example = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    cursor: Option<String>,
}

impl Wanted {
    fn filter(&self) -> Result<AuditFilter, Error> {
        let word = |field: &'static str, text: &Option<String>| match text {
            Some(text)
                if !(1..=WORD_LIMIT).contains(&text.len())
                    || !text.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                let detail = format!("must be 1 to {WORD_LIMIT} visible ASCII characters");
                Err(Error::invalid(field, "invalid_filter", detail))
            }
            text => Ok(text.clone()),
        };
        Ok(AuditFilter {
            actor: self.actor.as_deref().map(str::parse).transpose().map_err(of_actor)?,
            action: word("action", &self.action)?,
            target: word("target", &self.target)?,
            since: moment("since", self.since.as_deref())?,
            until: moment("until", self.until.as_deref())?,
        })
    }
}

/// An actor's kind and id are one parameter here.
fn of_actor(error: Error) -> Error {
    Error { field: Some("actor".to_owned()), ..error }
}

fn moment(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let read = |text: &str| serde_json::from_value(serde_json::Value::from(text));
    let refuse = |_no_moment| Error::invalid(field, "invalid_moment", "is written 2026-01-31T12:00:00Z");
    text.map(read).transpose().map_err(refuse)
}

/// Shows who did what in your tenant, newest first. With `Accept: application/x-ndjson` all of it comes as one file, an
/// entry per line.
#[utoipa::path(
    get,
    path = "/audit-log",
    operation_id = "listAuditLog",
    tag = "people",
    params(Wanted),
    responses((status = 200, description = "One page, or all", content(
        (Page<AuditView> = "application/json"), (Entries = "application/x-ndjson"),
    )))
)]
pub(super) async fn list(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Params(wanted): Params<Wanted>,
    headers: HeaderMap,
) -> Result<Response> {
    let filter = wanted.filter()?;
    let page = page(wanted.limit, wanted.cursor)?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.split(',').any(|range| range.split(';').next().is_some_and(|kind| kind.trim() == LINES)) {
        return export(api, caller.tenant, filter, page.cursor).await;
    }
    let found = api.queries.audit_log(caller.tenant, filter, page).await?;
    Ok(Json(found).into_response())
}

/// All entries from a cursor on, page by page as the client reads; what fails after the first page cuts the answer, so that
/// half a log never looks like a whole one.
async fn export(
    api: Arc<Api>,
    tenant: TenantId,
    filter: AuditFilter,
    cursor: Option<String>,
) -> Result<Response> {
    let first = api
        .queries
        .audit_log(tenant, filter.clone(), PageRequest { cursor, limit: STEP, among: None })
        .await?;
    let pages = stream::try_unfold(Some(first), move |page: Option<Page<AuditView>>| {
        let (api, filter) = (api.clone(), filter.clone());
        async move {
            let Some(page) = page else { return Ok::<_, Error>(None) };
            let lines = lines(&page.items)?;
            let next = match page.next_cursor {
                Some(cursor) => {
                    let wanted = PageRequest { cursor: Some(cursor), limit: STEP, among: None };
                    Some(api.queries.audit_log(tenant, filter, wanted).await?)
                }
                None => None,
            };
            Ok(Some((lines, next)))
        }
    });
    let headers = [(CONTENT_TYPE, LINES), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(pages)).into_response())
}

fn lines(entries: &[AuditView]) -> Result<Bytes, Error> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).map_err(Error::bug)?;
        text.push(b'\n');
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_or_refused_by_name() {
        let wanted = |query: &str| {
            let uri: axum::http::Uri = format!("/audit-log?{query}").parse().unwrap();
            axum::extract::Query::<Wanted>::try_from_uri(&uri).unwrap().0.filter()
        };
        let fine = wanted("actor=system&action=key.revoked&since=2026-01-31T12:00:00Z").unwrap();
        assert_eq!(fine.since, Some(Timestamp(1_769_860_800_000)));
        assert_eq!(fine.action.as_deref(), Some("key.revoked"));
        for (query, field) in [
            ("actor=ana", "actor"),
            ("since=yesterday", "since"),
            ("until=7", "until"),
            ("action=", "action"),
        ] {
            assert_eq!(wanted(query).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
    }
}
