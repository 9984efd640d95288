//! The stream's contract in memory, and what is the memory stream's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "suite/stream/mod.rs"]
#[macro_use]
mod stream;

use std::sync::Arc;

use recado::domain::ids::Position;
use recado::infra::stream::memory::{Limits, MemoryStream};
use recado::infra::stream::{Appended, Stream};
use stream::{EPOCH, Fixture, KEY, START, entries};

async fn open(entries: usize) -> Fixture {
    let limits = Limits { entries, ..Limits::default() };
    Fixture { stream: Arc::new(MemoryStream::new(limits)), keep: Box::new(()) }
}

stream_suite!(open);

#[tokio::test]
async fn bytes_are_bounded_and_one_large_batch_still_passes() {
    let stream = MemoryStream::new(Limits { entries: 1_000_000, bytes: 100_000 });
    let mut tail = START;
    while stream.append(KEY, EPOCH, tail, &entries(tail, 10)).await.unwrap() == Appended::All {
        tail = tail.plus(10);
        assert!(tail < Position(1000), "a megabyte was taken");
    }
    assert_eq!(stream.trim(KEY, tail).await.unwrap(), usize::try_from(tail.0).unwrap());
    // A batch beyond the limit passes an empty log, or it would stop it for ever.
    assert_eq!(stream.append(KEY, EPOCH, tail, &entries(tail, 5000)).await.unwrap(), Appended::All);
    let tail = tail.plus(5000);
    assert_eq!(stream.append(KEY, EPOCH, tail, &entries(tail, 1)).await.unwrap(), Appended::Full);
}

#[tokio::test]
async fn a_batch_with_a_gap_is_refused() {
    let stream = MemoryStream::new(Limits::default());
    let mut batch = entries(START, 3);
    batch.remove(1);
    assert!(stream.append(KEY, EPOCH, START, &batch).await.is_err());
    assert_eq!(stream.tail(KEY).await.unwrap(), START);
}
