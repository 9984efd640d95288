//! What a batch writes down: entries of writes that were not refused, bounded, written at its end.

use serde_json::json;

use super::Batch;
use crate::domain::identity::AuditEntry;
use crate::domain::identity::audit::{DETAIL_LIMIT, TEXT_LIMIT};

/// An entry as it is stored.
pub(crate) struct Row {
    pub(crate) entry: AuditEntry,
    pub(crate) detail: String,
}

impl Row {
    fn of(mut entry: AuditEntry) -> Self {
        for text in [&mut entry.request_id, &mut entry.client].into_iter().flatten() {
            cut(text);
        }
        for text in entry.target.iter_mut().flat_map(|target| [&mut target.kind, &mut target.id]) {
            cut(text);
        }
        cut(&mut entry.action);
        let detail = if entry.detail.is_null() { json!({}) } else { std::mem::take(&mut entry.detail) };
        let mut detail = detail.to_string();
        if detail.len() > DETAIL_LIMIT {
            detail = json!({"truncated": true}).to_string();
        }
        Self { entry, detail }
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(TEXT_LIMIT) {
        text.truncate(end);
    }
}

impl Batch {
    /// The write that this is of was not refused.
    pub(crate) fn note(&mut self, entry: Option<&AuditEntry>) {
        self.audit.extend(entry.cloned());
    }

    /// The entries, to be written.
    pub(crate) fn noted(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.audit).into_iter().map(Row::of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Actor;
    use crate::domain::ids::TenantId;
    use crate::domain::time::Timestamp;

    #[test]
    fn an_entry_is_bounded_whatever_its_caller_gave() {
        let mut entry = AuditEntry::new(TenantId::DEFAULT, Actor::SYSTEM, &"é".repeat(500), Timestamp(1));
        entry = entry.to("session", "x".repeat(500));
        entry.client = Some("c".repeat(500));
        entry.detail = json!({"text": "x".repeat(DETAIL_LIMIT)});
        let row = Row::of(entry);
        assert_eq!(row.entry.action.chars().count(), TEXT_LIMIT);
        assert_eq!(row.entry.client.unwrap().len(), TEXT_LIMIT);
        assert_eq!(row.entry.target.unwrap().id.len(), TEXT_LIMIT);
        assert_eq!(row.detail, r#"{"truncated":true}"#);
    }
}
