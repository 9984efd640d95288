//! Settings as people may see them.
//!
//! Promises: of a secret nothing is shown but that it is there, and of a server's address everything but its password;
//! what cannot be used is not shown either, since it may be a secret in the wrong place.

use std::fmt;

use super::{Place, Variable};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A variable of this name in this place.
    Given(Place, &'static str),
    /// The file that this variable names.
    File(&'static str),
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What holds; `None` for what cannot be used.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

impl fmt::Display for Setting {
    /// As a line of an `.env` file, with its origin as a comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => write!(f, "{}=(cannot be used)", self.name)?,
            Some(value) if value.contains([' ', '#', '$']) => write!(f, "{}='{value}'", self.name)?,
            Some(value) => write!(f, "{}={value}", self.name)?,
        }
        match self.origin {
            Origin::Default => f.write_str("  # default"),
            Origin::Given(place, name) if name == self.name => write!(f, "  # {place}"),
            Origin::Given(place, name) => write!(f, "  # {place}, as {name}"),
            Origin::File(name) => write!(f, "  # file, by {name}"),
        }
    }
}

/// A value as it may be shown.
pub(super) fn shown(variable: &Variable, text: &str) -> String {
    match text.split_once("://") {
        _ if !variable.secret => text.to_owned(),
        Some((scheme, rest)) => {
            let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
            let (user, place) =
                rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
            let user = user.map(|user| format!("{}:***@", user.split(':').next().unwrap_or_default()));
            format!("{scheme}://{}{place}{query}", user.unwrap_or_default())
        }
        None => "***".to_owned(),
    }
}
