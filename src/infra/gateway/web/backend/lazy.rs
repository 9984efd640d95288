//! Rows that may wait for the next write: most of them are taken back before it comes.
//!
//! What it promises: a row put here is in every batch until one that holds it was committed; a row taken back before
//! that never reaches the tables; a row taken back later is deleted by the next batch, and is gone for readers at once.
//!
//! Two kinds of rows live here. *Pending inbound* messages must be durable together with the ratchet step that
//! decrypted them, and not sooner: the batch that stores the step carries them. Normally the message itself is
//! committed first and the row is never written. *Sent* messages wait for the flush that follows each send anyway.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Beyond this many rows or bytes the next put asks for a write of its own.
const ROWS: usize = 512;
const BYTES: usize = 4 * 1024 * 1024;

/// Family and name of a row.
pub(super) type Key = (&'static str, String);

/// What is known of a row without asking the tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is here.
    Here(Arc<[u8]>),
    /// It was deleted.
    Gone,
    /// Only the tables know.
    Unknown,
}

#[derive(Debug)]
struct Row {
    value: Arc<[u8]>,
    stamp: i64,
    version: u64,
    /// How many batches with this row are under way.
    writing: u32,
    /// Whether the tables may hold it, of an earlier put.
    stored: bool,
    gone: bool,
}

/// What one batch carries; goes back to [`Lazy::settle`].
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// To insert or replace.
    pub(super) puts: Vec<(Key, Arc<[u8]>, i64, u64)>,
    /// To remove.
    pub(super) deletes: Vec<Key>,
}

/// The waiting rows of one session.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    rows: HashMap<Key, Row>,
    gone: HashSet<Key>,
    bytes: usize,
    versions: u64,
}

impl Lazy {
    /// Adds or replaces a row.
    pub(super) fn put(&mut self, key: Key, value: &[u8], stamp: i64) {
        let deleted = self.gone.remove(&key);
        self.versions += 1;
        let (writing, stored) = self.rows.get(&key).map_or((0, deleted), |old| (old.writing, old.stored));
        let row = Row { value: value.into(), stamp, version: self.versions, writing, stored, gone: false };
        self.bytes += value.len();
        if let Some(old) = self.rows.insert(key, row) {
            self.bytes -= old.value.len();
        }
    }

    /// Keeps a row that was read from the tables, because it is about to be put and removed again.
    pub(super) fn adopt(&mut self, key: &Key, value: &[u8], stamp: i64) {
        self.put(key.clone(), value, stamp);
        if let Some(row) = self.rows.get_mut(key) {
            row.stored = true;
        }
    }

    /// Looks for a row.
    pub(super) fn find(&self, key: &Key) -> Found {
        match self.rows.get(key) {
            Some(row) if row.gone => Found::Gone,
            Some(row) => Found::Here(row.value.clone()),
            None if self.gone.contains(key) => Found::Gone,
            None => Found::Unknown,
        }
    }

    /// Deletes a row; one that was never written costs nothing.
    pub(super) fn remove(&mut self, key: Key) {
        match self.rows.get_mut(&key) {
            Some(row) if row.writing > 0 => row.gone = true,
            Some(row) if !row.stored => self.forget(&key),
            Some(_) | None => self.delete(key),
        }
    }

    /// Deletes a row that the tables may hold.
    pub(super) fn delete(&mut self, key: Key) {
        match self.rows.get_mut(&key) {
            Some(row) if row.writing > 0 => row.gone = true,
            Some(_) | None => {
                self.forget(&key);
                self.gone.insert(key);
            }
        }
    }

    /// Whether so much waits that it should be written now.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() + self.gone.len() >= ROWS || self.bytes >= BYTES
    }

    /// Everything that waits, to be written.
    pub(super) fn batch(&mut self) -> Batch {
        let mut batch = Batch { puts: Vec::new(), deletes: self.gone.iter().cloned().collect() };
        for (key, row) in self.rows.iter_mut().filter(|(_, row)| !row.gone) {
            row.writing += 1;
            batch.puts.push((key.clone(), row.value.clone(), row.stamp, row.version));
        }
        batch
    }

    /// What became of a batch.
    pub(super) fn settle(&mut self, batch: &Batch, committed: bool) {
        for (key, _, _, version) in &batch.puts {
            let Some(row) = self.rows.get_mut(key) else { continue };
            row.writing = row.writing.saturating_sub(1);
            let (gone, same) = (row.gone, row.version == *version);
            if gone && row.writing == 0 {
                // A write that failed may still have been applied: delete it either way.
                self.forget(key);
                self.gone.insert(key.clone());
            } else if committed && same && !gone {
                self.forget(key);
            }
        }
        if committed {
            for key in &batch.deletes {
                self.gone.remove(key);
            }
        }
    }

    /// Drops rows of a family that nobody will ask for any more.
    pub(super) fn expire(&mut self, kind: &str, before: i64) {
        let old = |key: &Key, row: &Row| key.0 == kind && row.stamp < before && row.writing == 0;
        let old: Vec<Key> =
            self.rows.iter().filter(|(key, row)| old(key, row)).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(row) = self.rows.remove(key) {
            self.bytes -= row.value.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("pending", name.to_owned())
    }

    #[test]
    fn a_row_taken_back_before_any_write_never_reaches_the_tables() {
        let mut lazy = Lazy::default();
        lazy.put(key("a"), b"1", 5);
        lazy.remove(key("a"));
        let batch = lazy.batch();
        assert!(batch.puts.is_empty() && batch.deletes.is_empty());
        assert_eq!(lazy.bytes, 0);
    }

    #[test]
    fn a_row_stays_in_every_batch_until_one_is_committed() {
        let mut lazy = Lazy::default();
        lazy.put(key("a"), b"1", 5);
        let (first, second) = (lazy.batch(), lazy.batch());
        assert_eq!((first.puts.len(), second.puts.len()), (1, 1));
        lazy.settle(&first, false);
        assert_eq!(lazy.find(&key("a")), Found::Here(b"1".as_slice().into()));
        lazy.settle(&second, true);
        assert_eq!(lazy.find(&key("a")), Found::Unknown);
        assert!(lazy.batch().puts.is_empty());
    }

    #[test]
    fn a_row_taken_back_while_it_is_written_is_deleted_by_the_next_batch() {
        for committed in [true, false] {
            let mut lazy = Lazy::default();
            lazy.put(key("a"), b"1", 5);
            let batch = lazy.batch();
            lazy.remove(key("a"));
            assert_eq!(lazy.find(&key("a")), Found::Gone);
            lazy.settle(&batch, committed);
            assert_eq!(lazy.find(&key("a")), Found::Gone);
            let next = lazy.batch();
            assert_eq!(next.deletes, vec![key("a")]);
            lazy.settle(&next, true);
            assert_eq!(lazy.find(&key("a")), Found::Unknown);
        }
    }

    #[test]
    fn a_row_read_from_the_tables_is_deleted_there_when_it_is_taken_back() {
        let mut lazy = Lazy::default();
        lazy.adopt(&key("a"), b"1", 5);
        lazy.put(key("a"), b"1", 6);
        lazy.remove(key("a"));
        assert_eq!(lazy.find(&key("a")), Found::Gone);
        assert_eq!(lazy.batch().deletes, vec![key("a")]);
    }

    #[test]
    fn a_row_replaced_while_it_is_written_is_written_again() {
        let mut lazy = Lazy::default();
        lazy.put(key("a"), b"1", 5);
        let batch = lazy.batch();
        lazy.put(key("a"), b"2", 6);
        lazy.settle(&batch, true);
        assert_eq!(lazy.batch().puts[0].1.as_ref(), b"2");
    }

    #[test]
    fn too_much_waiting_asks_for_a_write() {
        let mut lazy = Lazy::default();
        for n in 0..ROWS {
            assert!(!lazy.is_full());
            lazy.put(key(&n.to_string()), b"x", 1);
        }
        assert!(lazy.is_full());
        lazy.expire("pending", 2);
        assert!(!lazy.is_full() && lazy.bytes == 0);
    }
}
