//! What is logged: a level for our own code, and levels for parts of it.
//!
//! Promises: whatever is asked for, the engine and the libraries below us are heard from `warn` up only. What they say
//! below that holds numbers, names and texts of messages, and no filter that somebody sets in a hurry may let it out.

use std::fmt;
use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::domain::error::{Error, Result};

/// The longest filter in bytes.
const LONGEST: usize = 1024;

/// The most that anybody but us may say.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// What every target of ours begins with: `recado::…`, `recado_sandbox::…`.
const OURS: &str = "recado";

/// A level, or a filter such as `info,recado::actors=debug`.
#[derive(Clone, Debug)]
pub struct Levels {
    text: String,
    filter: Targets,
    /// Whether it asks for more of others than they may say.
    capped: bool,
}

impl Levels {
    /// Nothing at all.
    pub(super) fn off() -> Self {
        Self { text: "off".to_owned(), filter: Targets::new(), capped: false }
    }

    /// As a filter of the log.
    pub(super) fn filter(&self) -> Targets {
        self.filter.clone()
    }

    /// Whether a line of this part and level is logged.
    pub(super) fn passes(&self, target: &str, level: Level) -> bool {
        self.filter.would_enable(target, &level)
    }

    /// Whether it names a part that is not ours, below what such parts may say.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.capped
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a part is of our own code.
pub(super) fn is_ours(target: &str) -> bool {
    target
        .strip_prefix(OURS)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('_'))
}

impl FromStr for Levels {
    type Err = Error;

    /// Parts that no directive names have the level that stands alone, or `info` when none does.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::invalid("level", "invalid_log_level", why);
        if text.len() > LONGEST {
            return Err(refuse("must be at most 1024 bytes"));
        }
        let mut base = None;
        let mut parts = Vec::new();
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let (part, level) = match directive.split_once('=') {
                Some((part, level)) => (part.trim(), level.trim()),
                None if is_ours(directive) => (directive, "trace"),
                None => ("", directive),
            };
            let level: LevelFilter = Some(level)
                .filter(|level| level.bytes().all(|byte| byte.is_ascii_lowercase()))
                .and_then(|level| level.parse().ok())
                .ok_or_else(|| refuse("a level is error, warn, info, debug, trace or off"))?;
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_:/.-".contains(&byte);
            if directive.contains('=') && part.is_empty() || !part.bytes().all(fine) {
                return Err(refuse("a part is named as recado::actors, without spans or fields"));
            }
            match part {
                "" => base = Some(level),
                part => parts.push((part.to_owned(), level)),
            }
        }
        if base.is_none() && parts.is_empty() {
            return Err(refuse("must not be empty"));
        }
        let base = base.unwrap_or(LevelFilter::INFO);
        let capped = parts.iter().any(|(part, level)| !is_ours(part) && *level > OTHERS);
        let parts = parts.into_iter().map(|(part, level)| {
            let level = if is_ours(&part) { level } else { level.min(OTHERS) };
            (part, level)
        });
        let filter =
            Targets::new().with_default(base.min(OTHERS)).with_target(OURS, base).with_targets(parts);
        Ok(Self { text: text.trim().to_owned(), filter, capped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(levels: &str, target: &str, level: Level) -> bool {
        levels.parse::<Levels>().unwrap().passes(target, level)
    }

    #[test]
    fn one_level_is_for_our_own_code_and_others_are_heard_from_warn_up() {
        for ours in ["recado", "recado::http::edge", "recado_sandbox::save"] {
            assert!(passes("trace", ours, Level::TRACE), "{ours}");
            assert!(!passes("info", ours, Level::DEBUG), "{ours}");
        }
        for other in ["whatsapp_rust::client", "Client/Group", "wacore", "hyper::proto"] {
            assert!(passes("trace", other, Level::WARN), "{other}");
            assert!(!passes("trace", other, Level::INFO), "{other}");
            assert!(!passes("error", other, Level::WARN), "{other}");
            assert!(!passes("off", other, Level::ERROR), "{other}");
        }
    }

    #[test]
    fn no_filter_lets_others_say_more() {
        for asked in [
            "trace,whatsapp_rust=trace",
            "info,wacore=debug",
            "Client/Group=trace",
            "trace,w=trace,rec=trace",
        ] {
            for other in ["whatsapp_rust::client", "wacore::x", "Client/Group", "recipe"] {
                assert!(!passes(asked, other, Level::INFO), "{asked}: {other}");
            }
        }
        assert!("info,wacore=debug".parse::<Levels>().unwrap().is_capped());
        assert!(!"trace,recado::http=debug,hyper=off".parse::<Levels>().unwrap().is_capped());
        assert!(!passes("warn,wacore=off", "wacore::x", Level::ERROR), "less may be asked for");
    }

    #[test]
    fn parts_of_ours_have_levels_of_their_own() {
        let levels = "warn,recado::actors=debug,recado::http";
        assert!(passes(levels, "recado::actors::hub", Level::DEBUG));
        assert!(passes(levels, "recado::http::edge", Level::TRACE));
        assert!(!passes(levels, "recado::infra", Level::INFO));
        assert!(
            passes("recado::actors=debug", "recado::infra", Level::INFO),
            "info unless something else is said"
        );
        assert!(passes("error,info", "recado::infra", Level::INFO), "the last one counts");
    }

    #[test]
    fn what_is_no_filter_is_refused_and_names_the_field() {
        for text in [
            "",
            " , ",
            "loud",
            "3",
            "Info",
            "info,recado=sometimes",
            "=debug",
            "recado[span]=debug",
            "a b=info",
            &"x,".repeat(600),
        ] {
            let error = text.parse::<Levels>().unwrap_err();
            assert_eq!((error.field.as_deref(), error.code), (Some("level"), "invalid_log_level"), "{text}");
        }
    }
}
