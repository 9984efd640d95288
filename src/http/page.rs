//! Pages: a limit with bounds, and a cursor that only the store understands.

use crate::domain::error::{Error, Result};
use crate::domain::view::PageRequest;

/// Rows of a page when the client does not say.
const DEFAULT: usize = 50;

/// The most rows of a page.
const MOST: usize = 200;

/// The longest cursor the store ever gives.
const CURSOR_LIMIT: usize = 512;

/// How many rows the client wants.
pub(super) fn limit(limit: Option<i64>) -> Result<usize> {
    let Some(limit) = limit else { return Ok(DEFAULT) };
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", "invalid_limit", format!("must be 1 to {MOST}")))
}

/// Which page the client wants.
pub(super) fn page(rows: Option<i64>, cursor: Option<String>) -> Result<PageRequest> {
    let limit = limit(rows)?;
    let fine = |cursor: &String| {
        (1..=CURSOR_LIMIT).contains(&cursor.len()) && cursor.bytes().all(|b| b.is_ascii_graphic())
    };
    if cursor.as_ref().is_some_and(|cursor| !fine(cursor)) {
        return Err(Error::invalid("cursor", "invalid_cursor", "is not a cursor given by this service"));
    }
    Ok(PageRequest { cursor, limit, among: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_bounds_and_a_default() {
        assert_eq!(page(None, None).unwrap().limit, 50);
        assert_eq!(page(Some(200), Some("abc".into())).unwrap().limit, 200);
        for bad in [0, -1, 201, i64::MAX] {
            assert_eq!(page(Some(bad), None).unwrap_err().field.as_deref(), Some("limit"), "{bad}");
        }
        for bad in [String::new(), "a b".into(), "c".repeat(513)] {
            assert_eq!(page(None, Some(bad)).unwrap_err().code, "invalid_cursor");
        }
    }
}
