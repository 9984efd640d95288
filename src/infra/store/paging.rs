//! Pages: how many rows are asked for, where one ends and the next begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::error::{Error, Result};
use crate::domain::view::{Page, PageRequest};
use crate::infra::store::columns;

/// The most rows of one page.
const PAGE_LIMIT: usize = 500;

/// How many rows a page asks for: one more than it shows, to know whether another follows.
pub(crate) fn wanted(page: &PageRequest) -> i64 {
    columns::limit(page.limit.clamp(1, PAGE_LIMIT) + 1)
}

/// Cuts what was read to the page, and names where the next one starts.
pub(crate) fn cut<T>(mut items: Vec<T>, page: &PageRequest, mark: impl Fn(&T) -> String) -> Page<T> {
    let shown = page.limit.clamp(1, PAGE_LIMIT);
    let more = items.len() > shown;
    items.truncate(shown);
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|item| URL_SAFE_NO_PAD.encode(mark(item)));
    Page { items, next_cursor }
}

/// What [`cut`] wrote into a cursor; `None` for the first page.
fn mark(page: &PageRequest) -> Result<Option<String>> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_bad| bad_cursor())?;
    String::from_utf8(bytes).map(Some).map_err(|_bad| bad_cursor())
}

/// A cursor that is one id.
pub(crate) fn id_mark(page: &PageRequest) -> Result<Option<uuid::Uuid>> {
    let text = mark(page)?;
    text.map(|text| text.parse().map_err(|_bad| bad_cursor())).transpose()
}

/// A cursor that is one id, of a list that goes backwards: everything at first.
pub(crate) fn before_mark(page: &PageRequest) -> Result<uuid::Uuid> {
    Ok(id_mark(page)?.unwrap_or(uuid::Uuid::max()))
}

/// A cursor of a moment and something that tells apart what shares it.
pub(crate) fn moment_mark<T: std::str::FromStr>(page: &PageRequest) -> Result<Option<(i64, T)>> {
    let Some(text) = mark(page)? else { return Ok(None) };
    let (at, id) = text.split_once('/').ok_or_else(bad_cursor)?;
    let at = at.parse().map_err(|_bad| bad_cursor())?;
    Ok(Some((at, id.parse().map_err(|_bad| bad_cursor())?)))
}

fn bad_cursor() -> Error {
    Error::invalid("cursor", "invalid_cursor", "is not a cursor of this list")
}
