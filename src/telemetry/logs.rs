//! The log itself: where it goes, how it starts, how it is made louder.
//!
//! Promises: it goes to standard error, one line per event; what is in a line is promised in [`super::line`], how loud
//! it is in [`super::levels`] and [`super::dial`].

use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry, reload};

use super::dial::{Dial, LogLevel};
use super::engine;
use super::levels::Levels;
use super::line::Lines;
use super::personal::{Whose, scrubbed};
use crate::domain::error::{Error, Result};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

impl LogFormat {
    /// For people where somebody looks on, else for programs.
    #[must_use]
    pub fn fitting() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }

    /// As it is configured.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid("LOG_FORMAT", "invalid_log_format", "must be text or json")),
        }
    }
}

static DIAL: LazyLock<Dial> = LazyLock::new(Dial::at_rest);

/// Starts logging to standard error. The first call of a process wins; later ones change nothing.
///
/// # Errors
/// `Invalid` for a level that is none.
pub fn start_logs(level: &str, format: LogFormat) -> Result<()> {
    let levels: Levels = level.parse()?;
    let (filter, handle) = reload::Layer::new(levels.filter());
    let coloured = format == LogFormat::Text && std::io::stderr().is_terminal();
    let lines = fmt::layer().event_format(Lines(format)).with_ansi(coloured).with_writer(std::io::stderr);
    if registry().with(filter).with(lines).try_init().is_err() {
        tracing::debug!("logs had been started before");
        return Ok(());
    }
    let capped = levels.is_capped();
    DIAL.start(
        levels,
        Box::new(move |levels| {
            if handle.reload(levels.filter()).is_err() {
                tracing::error!("the log level cannot be changed any more");
            }
        }),
    );
    engine::listen(format, |target, level| DIAL.passes(target, level));
    if capped {
        tracing::warn!(
            "the engine and libraries are logged from warn up only: what they say below holds personal data"
        );
    }
    Ok(())
}

/// Panics become lines of the log, without personal data; until then they are written out as they are.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(at, text = %scrubbed(text, Whose::Others), "a panic");
    }));
}

/// What is logged now.
#[must_use]
pub fn log_level() -> LogLevel {
    DIAL.read()
}

/// Logs by this level or filter from now on, on this node: for a while, or until the process ends.
///
/// # Errors
/// `Invalid` for a level that is none; names the field `level`.
pub fn set_log_level(level: &str, lasts: Option<Duration>) -> Result<LogLevel> {
    let levels: Levels = level.parse()?;
    let say = |levels: &Levels| tracing::warn!(level = %levels, ?lasts, "the log level is changed");
    // Whoever turns the log off is still heard.
    let heard = DIAL.passes(module_path!(), tracing::Level::WARN);
    if heard {
        say(&levels);
    }
    let shown = DIAL.turn(levels, lasts);
    if !heard {
        say(&shown.level);
    }
    Ok(shown)
}

/// Ends a change whose time is up. To be called now and then.
pub(super) fn tick() {
    if DIAL.tick() {
        tracing::warn!(level = %DIAL.read().level, "the log level went back");
    }
}
