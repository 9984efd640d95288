//! What the demo prints.
#![expect(clippy::print_stdout, reason = "the demo speaks to a person at a terminal")]

use serde_json::Value;

/// One line per event, without personal data beyond what the demo itself made up.
pub(super) fn event(position: i64, kind: &str, session: &str, data: &Value) {
    let detail = match kind {
        "session.status.changed" => {
            format!("{} → {} ({})", show(&data["from"]), show(&data["to"]), show(&data["reason"]))
        }
        "message.received" => format!("“{}”", show(&data["content"]["text"])),
        _ => String::new(),
    };
    let session = &session[session.len().saturating_sub(4)..];
    println!("  {position:>4}  …{session}  {kind:<28} {detail}");
}

fn show(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

/// A heading.
pub(super) fn heading(text: &str) {
    println!("\n── {text}");
}

/// A line.
pub(super) fn line(text: &str) {
    println!("{text}");
}

/// The figures, for people.
pub(super) fn figures(rows: &[(&str, String)]) {
    println!();
    for (name, value) in rows {
        println!("  {name:<34} {value:>10}");
    }
    println!();
}
