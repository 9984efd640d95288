//! Rows that are asked for with every message and seldom change, kept in memory; also that a row is not there.
//!
//! What it promises: an answer from memory is the one the tables would give. That holds because this backend is the
//! only one that writes the family; because a row counts as unknown from before it is written until the write is known
//! to be committed; and because a write that failed leaves it unknown, for it may still be applied later. Never more
//! than [`ROWS`] rows are kept.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Backend, StoreResult, decode, encode};
use crate::domain::write::AuthOp;

/// The most rows of one family. A session writes to fewer people than this in an hour.
const ROWS: usize = 1024;

/// One family's rows.
pub(super) struct Memo<T> {
    kind: &'static str,
    rows: Mutex<Rows<T>>,
    /// One write at a time: what is committed last is also noted last.
    writing: tokio::sync::Mutex<()>,
}

struct Rows<T> {
    known: HashMap<String, Option<T>>,
    /// Being written, or a write to them failed.
    doubtful: HashSet<String>,
    /// Counts writes: what was read while one happened may be old.
    writes: u64,
    /// Too much is in doubt: nothing is kept any more.
    off: bool,
}

/// What memory says.
enum Recalled<T> {
    Known(Option<T>),
    /// Ask the tables, and note the answer if nothing was written since.
    Unknown(u64),
}

impl<T: Clone> Memo<T> {
    pub(super) fn of(kind: &'static str) -> Self {
        let rows = Rows { known: HashMap::new(), doubtful: HashSet::new(), writes: 0, off: false };
        Self { kind, rows: Mutex::new(rows), writing: tokio::sync::Mutex::default() }
    }

    /// The family.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    fn rows(&self) -> MutexGuard<'_, Rows<T>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, key: &str) -> Recalled<T> {
        let rows = self.rows();
        rows.known.get(key).map_or(Recalled::Unknown(rows.writes), |row| Recalled::Known(row.clone()))
    }

    /// Notes what the tables answered to a question of `asked`.
    fn learn(&self, asked: u64, key: &str, row: Option<T>) {
        let mut rows = self.rows();
        if rows.writes == asked && !rows.doubtful.contains(key) {
            rows.keep(key.to_owned(), row);
        }
    }

    /// From here on nothing is known of these rows.
    fn doubt(&self, changes: &[(String, Option<T>)]) {
        let mut rows = self.rows();
        rows.writes += 1;
        for (key, _) in changes {
            rows.known.remove(key);
            rows.doubtful.insert(key.clone());
        }
        if rows.doubtful.len() > ROWS {
            rows.off = true;
            rows.known = HashMap::new();
            rows.doubtful = HashSet::new();
        }
    }

    /// The rows are committed. What was written to them before is settled with that: writes keep their order.
    fn settle(&self, changes: Vec<(String, Option<T>)>) {
        let mut rows = self.rows();
        rows.writes += 1;
        for (key, row) in changes {
            rows.doubtful.remove(&key);
            rows.keep(key, row);
        }
    }
}

impl<T> Rows<T> {
    fn keep(&mut self, key: String, row: Option<T>) {
        if self.off {
            return;
        }
        if self.known.len() >= ROWS
            && !self.known.contains_key(&key)
            && let Some(other) = self.known.keys().next().cloned()
        {
            self.known.remove(&other);
        }
        self.known.insert(key, row);
    }
}

impl Backend {
    /// A row of a family in memory.
    pub(super) async fn recall<T>(&self, memo: &Memo<T>, key: &str) -> StoreResult<Option<T>>
    where
        T: Clone + DeserializeOwned,
    {
        let asked = match memo.look(key) {
            Recalled::Known(row) => return Ok(row),
            Recalled::Unknown(asked) => asked,
        };
        let row: Option<T> = self.get(memo.kind, key).await?.map(|bytes| decode(&bytes)).transpose()?;
        memo.learn(asked, key, row.clone());
        Ok(row)
    }

    /// Writes rows of a family in memory, or deletes them; all in one write.
    pub(super) async fn memorise<T>(
        &self,
        memo: &Memo<T>,
        changes: Vec<(String, Option<T>)>,
    ) -> StoreResult<()>
    where
        T: Clone + Serialize,
    {
        let _one = memo.writing.lock().await;
        let ops = changes.iter().map(|(key, row)| match row {
            Some(row) => self.put(memo.kind, key.clone(), &encode(row)?, 0),
            None => Ok(AuthOp::Delete { kind: memo.kind, key: key.clone() }),
        });
        let ops = ops.collect::<StoreResult<_>>()?;
        memo.doubt(&changes);
        // Also when nobody waits for the answer any more: the rows stay in doubt then.
        self.write(ops).await?;
        memo.settle(changes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(memo: &Memo<u32>, key: &str) -> Option<Option<u32>> {
        match memo.look(key) {
            Recalled::Known(row) => Some(row),
            Recalled::Unknown(_) => None,
        }
    }

    fn asked(memo: &Memo<u32>, key: &str) -> u64 {
        let Recalled::Unknown(asked) = memo.look(key) else { panic!("known") };
        asked
    }

    #[test]
    fn an_answer_that_a_write_overtook_is_not_kept() {
        let memo = Memo::of("x");
        let before = asked(&memo, "a");
        memo.doubt(&[("a".into(), Some(2))]);
        let during = asked(&memo, "a");
        memo.learn(before, "a", Some(1));
        memo.learn(during, "a", Some(1));
        assert_eq!(known(&memo, "a"), None, "being written");
        memo.settle(vec![("a".into(), Some(2))]);
        memo.learn(during, "a", Some(1));
        assert_eq!(known(&memo, "a"), Some(Some(2)));
    }

    #[test]
    fn a_row_whose_write_failed_is_asked_for_until_a_write_succeeds() {
        let memo = Memo::of("x");
        memo.doubt(&[("a".into(), Some(1))]);
        memo.learn(asked(&memo, "a"), "a", None);
        assert_eq!(known(&memo, "a"), None, "the write may still be applied");
        memo.learn(asked(&memo, "b"), "b", None);
        assert_eq!(known(&memo, "b"), Some(None), "others are not concerned");
        memo.doubt(&[("a".into(), None)]);
        memo.settle(vec![("a".into(), None)]);
        assert_eq!(known(&memo, "a"), Some(None));
    }

    #[test]
    fn memory_is_bounded_and_gives_up_when_too_much_is_in_doubt() {
        let memo = Memo::of("x");
        for n in 0..ROWS * 2 {
            let key = n.to_string();
            memo.learn(asked(&memo, &key), &key, None);
            assert_eq!(known(&memo, &key), Some(None));
        }
        assert_eq!(memo.rows().known.len(), ROWS);
        let many: Vec<_> = (0..=ROWS).map(|n| (n.to_string(), Some(1))).collect();
        memo.doubt(&many);
        memo.settle(many);
        assert!(memo.rows().known.is_empty() && memo.rows().doubtful.is_empty());
    }
}
