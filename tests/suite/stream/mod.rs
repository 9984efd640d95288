//! The contract of the `Stream` port. Every adapter runs the same promises: `stream_suite!(open)`, where
//! `open(entries).await` gives a fresh stream that holds at most so many entries per log.

use std::sync::Arc;
use std::time::Duration;

use recado::domain::event::{Entry, Event, Log};
use recado::domain::ids::{Epoch, EventId, Position, SessionId, Shard, TenantId};
use recado::infra::stream::{Appended, Stream, StreamKey};

pub mod groups;
pub mod log;

/// A stream, and what has to live as long as it.
pub struct Fixture {
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// Dropped after the test.
    #[allow(dead_code, reason = "held for its drop")]
    pub keep: Box<dyn std::any::Any + Send>,
}

pub const KEY: StreamKey = StreamKey { shard: Shard(0), log: Log::DomainEvents };
pub const EPOCH: Epoch = Epoch(1);
pub const NOW: Duration = Duration::ZERO;
pub const SOON: Duration = Duration::from_secs(10);
pub const START: Position = Position(0);

pub fn entry(position: Position) -> Entry {
    let event = Event {
        event_id: EventId::new(),
        kind: "message.received".into(),
        version: 1,
        tenant_id: TenantId::DEFAULT,
        session_id: Some(SessionId::new()),
        seq: position.0,
        position,
        occurred_at: recado::domain::now(),
        data: (&serde_json::json!({ "text": "ação ✓", "n": position.0 })).into(),
    };
    Entry { position, event: Arc::new(event) }
}

/// The next `count` entries after `after`.
pub fn entries(after: Position, count: usize) -> Vec<Entry> {
    (1..=count).map(|n| entry(after.plus(n))).collect()
}

/// Appends `count` entries to whatever is there.
pub async fn grow(stream: &dyn Stream, count: usize) -> Vec<Entry> {
    let tail = stream.tail(KEY).await.unwrap();
    let new = entries(tail, count);
    assert_eq!(stream.append(KEY, EPOCH, tail, &new).await.unwrap(), Appended::All);
    new
}

pub fn positions(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position.0).collect()
}

pub fn same(left: &[Entry], right: &[Entry]) {
    assert_eq!(positions(left), positions(right));
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left.event, right.event);
    }
}

/// Instantiates the contract.
#[macro_export]
macro_rules! stream_suite {
    ($open:expr) => {
        $crate::stream_suite!(@tests $open, log:
            an_append_needs_the_true_tail,
            an_append_is_all_or_nothing,
            of_many_appends_at_one_tail_one_wins,
            an_earlier_owner_adds_nothing_once_a_later_one_has_been_there,
            an_empty_stream_starts_where_it_is_told_and_only_then,
            a_reader_without_a_group_sees_everything_or_is_told_that_it_cannot,
            a_wait_ends_at_its_deadline_and_at_the_first_entry,
            logs_and_shards_are_apart,
            a_log_without_groups_is_trimmed_as_told,
        );
        $crate::stream_suite!(@tests $open, groups:
            a_group_hands_out_each_entry_once,
            consumers_share_a_group,
            what_is_held_too_long_can_be_claimed_by_another,
            what_is_acknowledged_never_comes_back,
            a_group_starts_where_it_is_told_and_only_once,
            an_unknown_group_is_not_found,
            groups_do_not_see_each_other,
            a_trim_never_takes_what_a_group_10_000_behind_still_needs,
            a_full_log_refuses_and_takes_more_when_its_group_has_caught_up,
            a_group_waits_for_its_first_entry,
        );
    };
    (@tests $open:expr, $part:ident: $($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            stream::$part::$name(async |entries| $open(entries).await).await;
        }
    )*};
}
