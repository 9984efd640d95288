//! What the engine and other libraries say through the `log` crate, in our log.
//!
//! Promises: only from `warn` up, whatever is asked for ([`super::levels`]), and scrubbed as others' words are; below
//! that it costs one comparison per line that is not written.

use std::io::Write;
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};
use tracing::Level;

use super::LogFormat;
use super::line::Line;

/// Where libraries speak to.
struct Bridge {
    format: LogFormat,
    passes: fn(&str, Level) -> bool,
}

static BRIDGE: OnceLock<Bridge> = OnceLock::new();

/// Starts listening to libraries; `passes` says what is logged. The first call of a process wins.
pub(super) fn listen(format: LogFormat, passes: fn(&str, Level) -> bool) {
    let bridge = BRIDGE.get_or_init(|| Bridge { format, passes });
    match log::set_logger(bridge) {
        Ok(()) => log::set_max_level(LevelFilter::Warn),
        Err(_taken) => tracing::debug!("another log takes what libraries say"),
    }
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::ERROR,
        log::Level::Warn => Level::WARN,
        log::Level::Info => Level::INFO,
        log::Level::Debug => Level::DEBUG,
        log::Level::Trace => Level::TRACE,
    }
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && (self.passes)(metadata.target(), level(metadata.level()))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line::new(level(record.level()), record.target());
        line.says(&record.args().to_string());
        // A log that cannot be written cannot be told about.
        let _written = std::io::stderr().write_all(line.written(self.format, false).as_bytes());
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_heard_from_warn_up_even_where_all_passes() {
        let bridge = Bridge { format: LogFormat::Json, passes: |_target, _level| true };
        let heard = |level| bridge.enabled(&Metadata::builder().level(level).target("Client/Group").build());
        assert!(heard(log::Level::Error) && heard(log::Level::Warn));
        assert!(!heard(log::Level::Info) && !heard(log::Level::Debug) && !heard(log::Level::Trace));
        let silent = Bridge { format: LogFormat::Json, passes: |_target, _level| false };
        assert!(!silent.enabled(&Metadata::builder().level(log::Level::Error).target("x").build()));
    }
}
