//! `/auth/links/{purpose}`: the pages that links in mails open, so that people need no program to use their token.
//!
//! Promises: a page holds nothing of anybody, and the token behind the `#` reaches no server until its owner presses the
//! button; what looks at links for them presses none.

use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::input::{Id, Nothing, Params};
use crate::domain::identity::Purpose;

/// Where the pages' script is.
pub(super) const SCRIPT: &str = "/auth/link.js";

const PAGE: &str = include_str!("page.html");

/// A page for a browser.
struct Page;

impl utoipa::PartialSchema for Page {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(PAGE.len()));
        RefOr::T(text.examples(["<!doctype html>…"]).build().into())
    }
}

impl utoipa::ToSchema for Page {}

/// Shows the page that a link in a mail opens. It takes the token from behind the `#` and, when its button is pressed, uses it
/// as a program would.
#[utoipa::path(
    get,
    path = "/auth/links/{purpose}",
    operation_id = "openLink",
    tag = "people",
    security(()),
    params(("purpose" = Purpose, Path, description = "What the token is for")),
    responses(
        (status = 200, description = "The page", body = Page, content_type = "text/html"),
        (status = 400, description = "No link is for that"),
    )
)]
pub(super) async fn page(
    Id(_purpose): Id<Purpose>,
    Params(Nothing {}): Params<Nothing>,
) -> Html<&'static str> {
    Html(PAGE)
}

/// The script of all pages; it is no part of the contract.
pub(super) async fn script() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("link.js"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::access::NEEDS;
    use crate::http::codes::CODES;

    const SCRIPT_TEXT: &str = include_str!("link.js");

    #[test]
    fn the_script_knows_every_purpose_in_every_language_and_where_its_token_goes() {
        for purpose in Purpose::ALL {
            let name = format!("{}: ", purpose.as_str());
            // Title, button and success in three languages, and the route.
            assert_eq!(SCRIPT_TEXT.matches(&name).count(), 10, "{name}");
            let (_, after) = SCRIPT_TEXT.split_once("const routes = {").unwrap();
            let (_, route) = after.split_once(&name).unwrap();
            let route = route.split('"').nth(1).unwrap().replace("..", "/auth");
            assert!(NEEDS.iter().any(|(method, path, _)| *method == "POST" && *path == route), "{route}");
        }
        for code in ["token_spent", "token_expired", "token_unknown", "common_password"] {
            assert_eq!(SCRIPT_TEXT.matches(&format!("{code}: ")).count(), 3, "{code}");
            assert!(CODES.iter().any(|known| known.code == code), "{code}");
        }
        assert!(PAGE.contains("<script src=\"../link.js\"></script>") && SCRIPT.ends_with("/link.js"));
    }
}
