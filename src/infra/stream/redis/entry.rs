//! Entries on the wire: the event's id and type for whoever filters, and the whole event as JSON in `payload`.
//!
//! Promises: an entry that was read is the entry that was written; one that is not ours is refused, not skipped.

use std::sync::Arc;

use redis::Value;

use super::failure::odd;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Event};
use crate::domain::ids::Position;

/// The field that carries the event.
pub(super) const PAYLOAD: &str = "payload";

/// The id of a position.
pub(super) fn id(position: Position) -> String {
    format!("{}-0", position.0.max(0))
}

/// The position of an id.
pub(super) fn position(id: &Value) -> Result<Position> {
    let Value::BulkString(text) = id else { return odd("an id") };
    let text = std::str::from_utf8(text).unwrap_or_default();
    let number = text.strip_suffix("-0").and_then(|number| number.parse().ok());
    number.map(Position).ok_or_else(|| {
        Error::conflict("stream_entry_foreign", "the stream holds an entry that the relay never appended")
    })
}

/// One entry of the wire as its id and its fields; fields are missing where the entry was removed.
pub(super) fn parts(entry: Value) -> Result<(Value, Option<Vec<Value>>)> {
    let Value::Array(parts) = entry else { return odd("an entry") };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(id), Some(Value::Array(fields))) => Ok((id, Some(fields))),
        (Some(id), Some(Value::Nil) | None) => Ok((id, None)),
        _other => odd("an entry"),
    }
}

/// The members of an answer; nothing is none.
pub(super) fn list(answer: Value) -> Result<Vec<Value>> {
    if answer == Value::Nil {
        return Ok(Vec::new());
    }
    let Value::Array(list) = answer else { return odd("a list") };
    Ok(list)
}

/// The entries of an answer; those whose content was removed are left out.
pub(super) fn entries(answer: Value) -> Result<Vec<Entry>> {
    let list = list(answer)?;
    let mut entries = Vec::with_capacity(list.len());
    for raw in list {
        let (id, Some(fields)) = parts(raw)? else { continue };
        entries.push(entry(&id, &fields)?);
    }
    Ok(entries)
}

/// The entries of the one stream in the answer to a group's question.
pub(super) fn of_stream(answer: Value) -> Result<Value> {
    match list(answer)?.into_iter().next() {
        None => Ok(Value::Nil),
        Some(Value::Array(stream)) => Ok(stream.into_iter().nth(1).unwrap_or(Value::Nil)),
        Some(_other) => odd("a stream"),
    }
}

fn entry(id: &Value, fields: &[Value]) -> Result<Entry> {
    let position = position(id)?;
    let payload = fields.chunks_exact(2).find_map(|pair| match pair {
        [Value::BulkString(name), Value::BulkString(value)] if name == PAYLOAD.as_bytes() => Some(value),
        _other => None,
    });
    let event: Option<Event> = payload.and_then(|payload| serde_json::from_slice(payload).ok());
    let event = event.filter(|event| event.position == position);
    let event = event.ok_or_else(|| {
        Error::conflict("stream_entry_unreadable", format!("the entry at {position} is not an event"))
    })?;
    Ok(Entry { position, event: Arc::new(event) })
}
