//! Carrying one log: what is above the stream's tail is read and appended, batch by batch.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Arguments, Relays, Settings, Status};
use crate::actors::task::ChildTask;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Entry, Log};
use crate::domain::ids::{Epoch, Position};
use crate::domain::retry::Schedule;
use crate::infra::store::Store;
use crate::infra::stream::{Appended, Stream, StreamKey};
use crate::telemetry;

/// The most batches of one round: the actor hears of progress now and then.
const ROUNDS: usize = 64;

/// How long to wait for groups to make room.
const ROOM: Duration = Duration::from_millis(50);

/// How long the table has to confirm that this relay's time is over.
const CONFIRMED: Duration = Duration::from_secs(1);

/// How long to wait before looking again at what needs a person.
const ALARMED: Duration = Duration::from_secs(5);

/// How far a round came.
pub(super) struct Progress {
    tail: Position,
    end: End,
    trimmed: bool,
}

/// Why a round ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is left, or enough was done for one round.
    Done,
    /// The stream has no room until its groups catch up.
    Full,
    /// The stream holds more than the table was given.
    Ahead,
    /// The stream's last entry is not what the table has at its position.
    Diverged,
    /// Rows between the stream's tail and the table's oldest are gone.
    Gap,
    /// An owner of a later epoch has been at the stream.
    Superseded,
}

/// What the relay does next.
#[derive(Default)]
pub(super) struct Next {
    /// Number again: perhaps this relay's knowledge is old.
    pub(super) stamp: bool,
    /// Carry again after this long.
    pub(super) again: Option<Duration>,
}

impl Next {
    fn after(wait: Duration) -> Self {
        Self { stamp: false, again: Some(wait) }
    }
}

/// What only a person can mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The stream holds positions the table never gave, or others gave: the tables lost commits.
    Ahead,
    /// Rows the stream lacks are gone from the table.
    Gap,
}

/// One log on its way to its stream.
pub(super) struct Lane {
    key: StreamKey,
    head: Position,
    tail: Option<Position>,
    running: Option<ChildTask>,
    waiting: Option<(ChildTask, Instant)>,
    failures: u32,
    /// Whether the stream said that a later owner has been there, which the table has yet to confirm.
    superseded: bool,
    /// Whether somebody must look. Cleared only by a round that found stream and table in agreement again.
    alarm: Option<Alarm>,
    trimmed: Instant,
}

impl Lane {
    pub(super) fn new(key: StreamKey) -> Self {
        Self {
            key,
            head: Position::default(),
            tail: None,
            running: None,
            waiting: None,
            failures: 0,
            superseded: false,
            alarm: None,
            trimmed: Instant::now(),
        }
    }

    pub(super) fn log(&self) -> Log {
        self.key.log
    }

    pub(super) fn status(&self) -> Status {
        Status {
            log: self.key.log,
            head: self.head,
            tail: self.tail,
            ahead: self.alarm == Some(Alarm::Ahead),
        }
    }

    pub(super) fn forget_tail(&mut self) {
        self.tail = None;
    }

    /// What the table says, in a transaction that also proved our right to know.
    pub(super) fn know_head(&mut self, head: Position) {
        self.head = head;
        let Some(tail) = self.tail else { return };
        telemetry::relay_lag(self.key.shard, self.key.log, head, tail);
        if tail > head {
            self.raise(Alarm::Ahead);
        }
        if self.alarm.is_some() {
            // Nothing is appended before both are compared again.
            self.tail = None;
        }
    }

    fn raise(&mut self, alarm: Alarm) {
        if self.alarm.replace(alarm) == Some(alarm) {
            return;
        }
        let Self { key, head, tail, .. } = self;
        telemetry::relay_ahead(key.shard, key.log, alarm == Alarm::Ahead);
        tracing::error!(shard = %key.shard, log = %key.log, %head, ?tail, ?alarm, "stream and table disagree");
    }

    fn clear(&mut self) {
        self.alarm = None;
        telemetry::relay_ahead(self.key.shard, self.key.log, false);
    }

    /// The next round, when there may be something to carry and nothing stands against it.
    pub(super) fn begin(
        &self,
        args: &Arguments,
    ) -> Option<impl Future<Output = Result<Progress>> + Send + use<>> {
        let held_back = self.waiting.as_ref().is_some_and(|(_, until)| *until > Instant::now());
        if self.running.is_some() || held_back || self.tail.is_some_and(|tail| tail >= self.head) {
            return None;
        }
        let round = Round {
            store: Arc::clone(&args.store),
            stream: Arc::clone(&args.stream),
            relays: args.relays.clone(),
            settings: args.settings,
            key: self.key,
            epoch: args.fence.epoch,
            head: self.head,
            trim: self.trimmed.elapsed() >= args.settings.trim,
        };
        let tail = self.tail;
        Some(async move {
            let limit = round.settings.deadline;
            let late = |_elapsed| Error::unavailable("relay_late", "store or stream did not answer in time");
            tokio::time::timeout(limit, round.run(tail)).await.map_err(late)?
        })
    }

    pub(super) fn running(&mut self, task: ChildTask) {
        self.waiting = None;
        self.running = Some(task);
    }

    /// Nothing is carried until then.
    pub(super) fn waiting(&mut self, timer: ChildTask, until: Instant) {
        self.waiting = Some((timer, until));
    }

    /// Takes in how a round ended.
    pub(super) fn end(&mut self, outcome: &Result<Progress>) -> Next {
        self.running = None;
        let progress = match outcome {
            Ok(progress) => progress,
            Err(error) => return self.failed(error),
        };
        self.failures = 0;
        self.tail = Some(progress.tail);
        if progress.trimmed {
            self.trimmed = Instant::now();
        }
        telemetry::relay_lag(self.key.shard, self.key.log, self.head, progress.tail);
        let before = std::mem::replace(&mut self.superseded, progress.end == End::Superseded);
        match progress.end {
            End::Done => {
                if self.alarm.is_some() {
                    self.clear();
                }
                Next::default()
            }
            End::Full => Next::after(ROOM),
            // Only a fresh head tells whether the stream is ahead or this relay is no longer the one that numbers.
            End::Ahead => Next { stamp: self.alarm.is_none(), again: None },
            // The table knows who owns the shard: it ends this relay, or it has lost what the stream has seen.
            End::Superseded => {
                self.tail = None;
                if before {
                    self.raise(Alarm::Ahead);
                }
                Next { stamp: true, again: Some(if before { ALARMED } else { CONFIRMED }) }
            }
            End::Diverged => {
                self.raise(Alarm::Ahead);
                Next::after(ALARMED)
            }
            End::Gap => {
                self.raise(Alarm::Gap);
                Next::after(ALARMED)
            }
        }
    }

    fn failed(&mut self, error: &Error) -> Next {
        self.tail = None;
        let wait =
            Schedule::exponential(Duration::from_millis(100), Duration::from_secs(5)).delay(self.failures);
        if self.failures == 0 {
            tracing::warn!(shard = %self.key.shard, log = %self.key.log, %error, "rows cannot be carried; trying on");
        }
        self.failures = self.failures.saturating_add(1);
        Next::after(wait)
    }
}

/// One round of carrying.
struct Round {
    store: Arc<dyn Store>,
    stream: Arc<dyn Stream>,
    relays: Relays,
    settings: Settings,
    key: StreamKey,
    epoch: Epoch,
    head: Position,
    trim: bool,
}

impl Round {
    async fn run(&self, tail: Option<Position>) -> Result<Progress> {
        let (mut tail, agreed) = match tail {
            Some(tail) => (tail, true),
            None => {
                let Some(tail) = self.stream.lead(self.key, self.epoch).await? else {
                    let tail = Position::default();
                    return Ok(Progress { tail, end: End::Superseded, trimmed: false });
                };
                (tail, self.agrees(tail).await?)
            }
        };
        if !agreed {
            return Ok(Progress { tail, end: End::Diverged, trimmed: false });
        }
        let end = self.carry(&mut tail).await?;
        if self.trim {
            let keep = i64::try_from(self.settings.keep).unwrap_or(i64::MAX);
            self.stream.trim(self.key, Position(tail.0.saturating_sub(keep))).await?;
        }
        Ok(Progress { tail, end, trimmed: self.trim })
    }

    /// Whether the stream's last entry is the table's at that position, as far as both still have it. Tables that lost
    /// commits give the same positions again to other events; appending behind the old ones would hide that.
    async fn agrees(&self, tail: Position) -> Result<bool> {
        let before = Position(tail.0 - 1);
        if tail == Position::default() || tail > self.head {
            return Ok(true);
        }
        let last = self.stream.read_from(self.key, before, 1, Duration::ZERO).await?;
        let Some(last) = last.and_then(|entries| entries.into_iter().next()) else { return Ok(true) };
        let row = self.store.log_after(self.key.shard, self.key.log, before, 1).await?;
        let row = row.first().filter(|row| row.position == last.position);
        Ok(row.is_none_or(|row| row.event.event_id == last.event.event_id))
    }

    async fn carry(&self, tail: &mut Position) -> Result<End> {
        let mut rows = Vec::new();
        for _ in 0..ROUNDS {
            if *tail >= self.head {
                return Ok(if *tail > self.head { End::Ahead } else { End::Done });
            }
            if rows.is_empty() {
                rows = self.rows(*tail).await?;
            }
            let Some(last) = self.check(tail, &rows).await? else { return Ok(End::Gap) };
            let append = self.stream.append(self.key, self.epoch, *tail, &rows);
            // The next batch is read while this one travels.
            let (appended, next) = tokio::join!(append, self.rows(last));
            match appended? {
                Appended::All => {
                    telemetry::relay_published(self.key.log, rows.len());
                    *tail = last;
                    rows = next?;
                }
                Appended::Tail(truth) => {
                    tracing::info!(log = %self.key.log, expected = %tail, %truth, "the stream's tail is elsewhere");
                    *tail = truth;
                    rows.clear();
                }
                Appended::Superseded => return Ok(End::Superseded),
                Appended::Full => {
                    if self.stream.trim(self.key, *tail).await? == 0 {
                        return Ok(End::Full);
                    }
                }
            }
        }
        Ok(End::Done)
    }

    async fn rows(&self, after: Position) -> Result<Vec<Entry>> {
        if after >= self.head {
            return Ok(Vec::new());
        }
        let StreamKey { shard, log } = self.key;
        let recent = self.relays.recent(shard, log, after, self.settings.batch);
        if !recent.is_empty() {
            return Ok(recent);
        }
        self.store.log_after(shard, log, after, self.settings.batch).await
    }

    /// The last row's position; `None` when rows that the stream lacks are gone from the table. A stream that lost
    /// everything begins at the oldest row there is, and `tail` says so.
    async fn check(&self, tail: &mut Position, rows: &[Entry]) -> Result<Option<Position>> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
        if first.position == tail.plus(1) {
            return Ok(Some(last.position));
        }
        if *tail == Position::default() {
            self.stream.begin(self.key, Position(first.position.0 - 1)).await?;
            *tail = self.stream.tail(self.key).await?;
        }
        Ok((first.position == tail.plus(1)).then_some(last.position))
    }
}
