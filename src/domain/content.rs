//! What a message says: a tagged union that later types join.
//!
//! Checked and bounded at the edge by [`Content::check`]; stored and shown as the same JSON.

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The longest text in bytes, WhatsApp's own limit.
pub const TEXT_LIMIT: usize = 65_536;

/// The longest text shown in an event; the whole text stays with the message.
const EVENT_TEXT_LIMIT: usize = 16_384;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Plain text.
    Text {
        /// 1 to 65,536 bytes of UTF-8.
        #[schema(example = "Hola", min_length = 1, max_length = 65_536)]
        text: String,
        /// WhatsApp id of the message this one answers; visible ASCII.
        #[serde(rename = "replyTo", default, skip_serializing_if = "Option::is_none")]
        #[schema(pattern = "^[!-~]+$", min_length = 1, max_length = 128, example = "3EB0C4A1F9E2B7D85A6C13")]
        reply_to: Option<String>,
    },
    /// Something this version stores but does not yet understand; only ever received.
    #[serde(skip_deserializing)]
    Unsupported {
        /// The engine's name of it.
        #[schema(min_length = 1, max_length = 128, example = "poll")]
        kind: String,
    },
}

impl Content {
    /// Refuses what cannot be sent.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Text { text, reply_to } => {
                if text.is_empty() || text.len() > TEXT_LIMIT {
                    let message = format!("must be 1 to {TEXT_LIMIT} bytes");
                    return Err(Error::invalid("content.text", "invalid_text", message));
                }
                let fine =
                    |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
                if reply_to.as_ref().is_some_and(|id| !fine(id)) {
                    return Err(Error::invalid(
                        "content.replyTo",
                        "invalid_id",
                        "must be 1 to 128 visible characters",
                    ));
                }
                Ok(())
            }
            Self::Unsupported { .. } => {
                Err(Error::invalid("content.type", "unknown_content", "cannot be sent"))
            }
        }
    }

    /// The tag in the union.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Text { .. } => "text",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// The text to show in a list of chats.
    #[must_use]
    pub fn preview(&self) -> &str {
        match self {
            Self::Text { text, .. } => cut(text, 256),
            Self::Unsupported { .. } => "",
        }
    }

    /// The content as an event may carry it: a text too long for an event is cut and marked `truncated`.
    #[must_use]
    pub fn for_event(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Self::Text { text, .. } = self
            && text.len() > EVENT_TEXT_LIMIT
        {
            value["text"] = cut(text, EVENT_TEXT_LIMIT).into();
            value["truncated"] = true.into();
        }
        value
    }

    /// Reads what the store holds; anything unreadable is kept as unsupported rather than lost.
    #[must_use]
    pub fn stored(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|_unknown| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            let kind = value["kind"].as_str().or_else(|| value["type"].as_str()).unwrap_or("unreadable");
            Self::Unsupported { kind: kind.to_owned() }
        })
    }
}

/// At most `limit` bytes of `text`, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or_default();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text { text: text.into(), reply_to: None }
    }

    #[test]
    fn a_text_out_of_bounds_is_refused_by_name() {
        assert!(text("hola").check().is_ok());
        for bad in [String::new(), "x".repeat(TEXT_LIMIT + 1)] {
            assert_eq!(text(&bad).check().unwrap_err().field.as_deref(), Some("content.text"));
        }
    }

    #[test]
    fn a_long_text_is_cut_in_the_event_between_characters() {
        let value = text(&"ñ".repeat(20_000)).for_event();
        assert_eq!(value["truncated"], true);
        assert!(value["text"].as_str().unwrap().len() <= EVENT_TEXT_LIMIT);
    }

    #[test]
    fn stored_content_survives_and_unknown_content_is_kept() {
        let content = text("hola");
        assert_eq!(Content::stored(&serde_json::to_string(&content).unwrap()), content);
        let odd = Content::Unsupported { kind: "poll".into() };
        assert_eq!(Content::stored(&serde_json::to_string(&odd).unwrap()), odd);
    }
}
