//! What people call their things: a session, a tenant, an API key, themselves.
//!
//! Promises: a label shows as what it is on one line, and no two that look alike differ by the spaces around them.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::error::{Error, Result};

/// The longest in characters.
const LONGEST: usize = 100;

/// A label in the API's document.
#[must_use]
pub fn schema(example: &str) -> RefOr<Schema> {
    const SHAPE: &str = r"^[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$";
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(SHAPE));
    let text = text.min_length(Some(1)).max_length(Some(LONGEST));
    RefOr::T(text.examples([example]).build().into())
}

/// Any label, for the document only.
pub struct Label;

impl PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        schema("support")
    }
}

impl ToSchema for Label {}

/// The text, if it can be a label; `field` is what a refusal names.
pub fn label(field: &'static str, text: String) -> Result<String> {
    let count = text.chars().take(LONGEST + 1).count();
    let seen = !text.chars().any(char::is_control) && text.trim().len() == text.len();
    if (1..=LONGEST).contains(&count) && seen {
        return Ok(text);
    }
    let detail = format!("must be 1 to {LONGEST} visible characters without spaces around them");
    Err(Error::invalid(field, "invalid_name", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_visible() {
        for fine in ["support", "Soporte Málaga", "x", &"é".repeat(100)] {
            assert_eq!(label("name", fine.to_owned()).unwrap(), fine);
        }
        for bad in ["", "   ", " a", "a ", "a\nb", "a\u{9c}", &"é".repeat(101)] {
            let error = label("name", bad.to_owned()).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), ("invalid_name", Some("name")), "{bad:?}");
        }
    }
}
