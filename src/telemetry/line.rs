//! One line of the log.
//!
//! Promises: in JSON it is one object on one line, with `timestamp`, `level`, `component`, `target`, `message`, the
//! line's own fields, and `trace_id` and `request_id` where it belongs to a request; as text it is one line too,
//! whatever is in its values. No value is longer than [`LONGEST`]. Every value has passed [`scrubbed`].

use std::fmt::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::levels::is_ours;
use super::personal::{Whose, scrubbed};
use super::request::RequestIds;
use crate::domain::time::now;

/// The longest value in bytes.
const LONGEST: usize = 8 * 1024;

/// What every line has of its own.
const TAKEN: [&str; 7] = ["timestamp", "level", "component", "target", "message", "trace_id", "request_id"];

/// Writes lines in one format. Spans are left out: none of ours is one, and what others put into theirs is not ours to
/// show.
pub(super) struct Lines(pub(super) LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _at: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let mut line = Line::new(*meta.level(), meta.target());
        event.record(&mut line);
        let coloured = writer.has_ansi_escapes();
        writer.write_str(&line.written(self.0, coloured))
    }
}

/// A line in the making.
pub(super) struct Line<'a> {
    level: Level,
    target: &'a str,
    whose: Whose,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl<'a> Line<'a> {
    pub(super) fn new(level: Level, target: &'a str) -> Self {
        let whose = if is_ours(target) { Whose::Ours } else { Whose::Others };
        Self { level, target, whose, message: String::new(), fields: Vec::new() }
    }

    /// What it says.
    pub(super) fn says(&mut self, message: &str) {
        self.message = self.shown(message);
    }

    fn shown(&self, text: &str) -> String {
        let cut = text.floor_char_boundary(LONGEST);
        let (text, rest) = text.split_at(cut);
        let mut shown = scrubbed(text, self.whose).into_owned();
        if !rest.is_empty() {
            shown.push('…');
        }
        shown
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.says(text);
        } else {
            let shown = self.shown(text);
            self.put(field, Value::String(shown));
        }
    }

    /// The line with its end.
    pub(super) fn written(&self, format: LogFormat, coloured: bool) -> String {
        let mut out = String::with_capacity(256);
        let ids = RequestIds::current();
        // Writing to a string does not fail.
        let _fine = match format {
            LogFormat::Json => self.json(&mut out, ids.as_ref()),
            LogFormat::Text => self.text(&mut out, ids.as_ref(), coloured),
        };
        out.push('\n');
        out
    }

    fn json(&self, out: &mut String, ids: Option<&RequestIds>) -> fmt::Result {
        let text = |text: &str| Value::String(text.to_owned());
        write!(out, r#"{{"timestamp":"{}","level":"{}""#, now(), self.level)?;
        write!(out, r#","component":"{}","target":{}"#, component(self.target), text(self.target))?;
        write!(out, r#","message":{}"#, text(&self.message))?;
        for (name, value) in &self.fields {
            let mark = if TAKEN.contains(name) { "_" } else { "" };
            write!(out, r#","{name}{mark}":{value}"#)?;
        }
        if let Some(ids) = ids {
            write!(out, r#","trace_id":"{}","request_id":{}"#, ids.trace(), text(ids.id()))?;
        }
        out.write_str("}")
    }

    fn text(&self, out: &mut String, ids: Option<&RequestIds>, coloured: bool) -> fmt::Result {
        let (on, off) = if coloured { (colour(self.level), "\x1b[0m") } else { ("", "") };
        write!(out, "{} {on}{:>5}{off} {}: ", now(), self.level.as_str(), self.target)?;
        plain(&self.message, out);
        for (name, value) in &self.fields {
            write!(out, " {name}=")?;
            match value.as_str().filter(|text| !text.contains([' ', '"', '='])) {
                Some(simple) => plain(simple, out),
                None => write!(out, "{value}")?,
            }
        }
        match ids {
            Some(ids) => write!(out, " trace_id={} request_id={}", ids.trace(), ids.id()),
            None => Ok(()),
        }
    }
}

/// Text on one line: whoever can put something into a value cannot begin a line with it.
fn plain(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Which part of the service speaks: `api`, `worker`, `job`, or `library` for everything below us.
fn component(target: &str) -> &'static str {
    let within = |parts: &[&str]| parts.iter().any(|part| target.starts_with(part));
    if !is_ours(target) {
        "library"
    } else if within(&["recado::http"]) {
        "api"
    } else if within(&["recado::actors::scheduler", "recado::actors::backup", "recado::infra::store::backup"])
    {
        "job"
    } else {
        "worker"
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A value that cannot be written is missing from its line, not the line.
        let _fine = write!(text, "{value:?}");
        self.put_text(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Trace, at_request};
    use super::*;

    fn line<'a>(target: &'a str, message: &str) -> Line<'a> {
        let mut line = Line::new(Level::INFO, target);
        line.says(message);
        line
    }

    #[test]
    fn json_is_one_object_that_knows_its_request() {
        let trace = Trace::of_header(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut said = line("recado::http::edge", "a \"line\"\nand {more}");
        said.fields.push(("status", 200.into()));
        said.fields.push(("level", "mine".into()));
        let text = at_request(RequestIds::new("r-1", trace), || said.written(LogFormat::Json, false));
        assert_eq!(text.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["message"], "a \"line\"\nand {more}");
        assert_eq!(
            (&value["level"], &value["level_"], &value["status"]),
            (&"INFO".into(), &"mine".into(), &200.into())
        );
        assert_eq!((&value["component"], &value["target"]), (&"api".into(), &"recado::http::edge".into()));
        assert_eq!(value["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(value["request_id"], "r-1");
        let alone: Value = serde_json::from_str(&said.written(LogFormat::Json, false)).unwrap();
        assert!(alone.get("trace_id").is_none() && alone["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn text_is_one_line_whatever_is_said() {
        let mut said = line("recado::actors", "one\ntwo\x1b[2J");
        said.fields.push(("a", "b c".into()));
        said.fields.push(("n", 7.into()));
        let text = said.written(LogFormat::Text, false);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.contains(" INFO recado::actors: one\\ntwo\\u{1b}[2J a=\"b c\" n=7"), "{text}");
        assert!(said.written(LogFormat::Text, true).contains("\x1b[32m"));
    }

    #[test]
    fn what_is_personal_is_gone_and_what_is_long_is_cut() {
        let text = line("recado::actors", "for 15550100199@s.whatsapp.net").written(LogFormat::Json, false);
        assert!(!text.contains("15550100199"), "{text}");
        let text = line("Client/Group", "for 15550100199").written(LogFormat::Json, false);
        assert!(!text.contains("15550100199") && text.contains("\"library\""), "{text}");
        let text = line("recado::actors", &"ñ".repeat(LONGEST)).written(LogFormat::Json, false);
        assert!(text.len() < LONGEST + 512 && text.contains("…\""), "{}", text.len());
    }
}
