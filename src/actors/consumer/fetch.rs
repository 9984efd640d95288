//! Getting the next entries of a group, without a gap, whatever the stream has lost or given to somebody else.
//!
//! A stream that does not answer holds up nothing: what it would have given is in the table as well.
//!
//! Positions are gapless, so a hole shows: what the stream did not give is read from the table. Now and then the table is
//! asked how far it is, so that a hole at the very end shows too. This is right because a shard has one owner and thus
//! a group one consumer; whoever else took an entry no longer owns the shard.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::error::{Error, Kind, Result};
use crate::domain::event::Entry;
use crate::domain::ids::Position;
use crate::infra::store::Store;
use crate::infra::stream::{Stream, StreamKey};

pub(super) struct Fetch {
    pub(super) store: Arc<dyn Store>,
    pub(super) stream: Arc<dyn Stream>,
    pub(super) key: StreamKey,
    pub(super) group: String,
    pub(super) consumer: String,
    /// Stored cursor: where a group that vanished starts anew.
    pub(super) cursor: Position,
    /// Everything up to here came.
    pub(super) seen: Position,
    /// The stream is known to have come this far.
    pub(super) known: Position,
    pub(super) count: usize,
    pub(super) wait: Duration,
    /// Take over what others have held for so long, instead of new entries.
    pub(super) claim: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Fetched {
    pub(super) entries: Vec<Entry>,
    /// The stream is known to have come this far.
    pub(super) known: Position,
    /// Nothing up to here will come any more.
    pub(super) skip: Position,
    /// Entries that are nowhere any more.
    pub(super) lost: usize,
    /// There was nothing left to claim.
    pub(super) claimed: bool,
    /// The stream did not answer, and may have handed out entries that nobody read.
    pub(super) unheard: bool,
}

impl Fetch {
    pub(super) async fn run(self) -> Result<Fetched> {
        if self.seen < self.known {
            return self.fill().await;
        }
        let read = match self.claim {
            Some(idle) => self.stream.claim(self.key, &self.group, &self.consumer, idle, self.count).await,
            None => {
                self.stream.read_group(self.key, &self.group, &self.consumer, self.count, self.wait).await
            }
        };
        let entries = match read {
            Ok(entries) => entries,
            Err(error) if error.kind == Kind::NotFound => {
                self.stream.create_group(self.key, &self.group, self.cursor).await?;
                return Ok(Fetched { known: self.known, ..Fetched::default() });
            }
            Err(error) if error.kind == Kind::Unavailable => return self.without_stream(error).await,
            Err(error) => return Err(error),
        };
        let claimed = self.claim.is_some() && entries.len() < self.count;
        let mut fetched = Fetched { claimed, ..self.gapless(entries) };
        if claimed {
            // What the stream will never hand out, say because it was acknowledged and the tables lost that it was
            // handled, shows in the table alone.
            let head = self.store.head(self.key.shard, self.key.log).await?.head;
            fetched.known = fetched.known.max(head);
        }
        Ok(fetched)
    }

    /// What continues `seen`; what lies beyond a hole is left for the table.
    fn gapless(&self, mut entries: Vec<Entry>) -> Fetched {
        entries.sort_by_key(|entry| entry.position);
        let known = entries.last().map_or(self.known, |last| self.known.max(last.position));
        let mut next = self.seen.plus(1);
        entries.retain(|entry| {
            let fits = entry.position <= next;
            if entry.position == next {
                next = next.plus(1);
            }
            fits
        });
        Fetched { entries, known, ..Fetched::default() }
    }

    /// What a stream that does not answer would have given, from the table; the failure when there is nothing.
    async fn without_stream(mut self, error: Error) -> Result<Fetched> {
        let head = self.store.head(self.key.shard, self.key.log).await?.head;
        if head <= self.seen {
            return Err(error);
        }
        self.known = head;
        Ok(Fetched { unheard: true, ..self.fill().await? })
    }

    /// What the stream did not give, from the table.
    async fn fill(self) -> Result<Fetched> {
        let missing = usize::try_from(self.known.0 - self.seen.0).unwrap_or(usize::MAX);
        let limit = missing.min(self.count).max(1);
        let mut entries = self.store.log_after(self.key.shard, self.key.log, self.seen, limit).await?;
        entries.retain(|entry| entry.position <= self.known);
        let upto = entries.first().map_or(self.known, |first| Position(first.position.0 - 1));
        let lost = usize::try_from(upto.0 - self.seen.0).unwrap_or_default();
        Ok(Fetched { entries, known: self.known, skip: upto, lost, ..Fetched::default() })
    }
}
