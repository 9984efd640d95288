//! A batch taken apart: what can go a short way, and the rest. Each part is a transaction of its own.
//!
//! Promises: answers in the order of the writes; each write stands or falls alone, as ever. If a later part fails, the
//! whole batch fails and is tried again: what was committed already is found there and answered as it was.

use sqlx::postgres::PgConnection;

use super::express::{Accepted, Express};
use super::{ChatIds, apply, handled};
use crate::domain::error::{Error, Result};
use crate::domain::write::{Handled, Outcome, Write};
use crate::infra::store::Answers;
use crate::infra::store::postgres::sql::CONTENDED;

/// The places of the writes, by the way they go.
#[derive(Default)]
struct Parts<'w> {
    accepts: Vec<usize>,
    handled: Vec<(usize, &'w Handled)>,
    stamps: Vec<usize>,
    rest: Vec<usize>,
    /// Whether the rest adds to a log.
    adds: bool,
    /// Whether something must come before what is accepted.
    whole: bool,
}

impl<'w> Parts<'w> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other write is the rest")]
    fn of(writes: &'w [Write]) -> Self {
        let mut parts = Self::default();
        for (place, write) in writes.iter().enumerate() {
            match write {
                Write::Accept(_) => parts.accepts.push(place),
                Write::Handled(done) => parts.handled.push((place, done)),
                Write::Stamp(..) => parts.stamps.push(place),
                other => {
                    parts.whole |=
                        matches!(other, Write::CreateSession(_) | Write::TakeLease(_) | Write::AddKey(_));
                    parts.adds |= other.wakes().is_some();
                    parts.rest.push(place);
                }
            }
        }
        // Nothing was accepted: the rows to number are the rest's, or were there before.
        parts.adds |= parts.accepts.is_empty() && !parts.stamps.is_empty();
        parts
    }
}

/// Commits a batch.
pub(in crate::infra::store::postgres) async fn commit(
    conn: &mut PgConnection,
    chat_ids: &ChatIds,
    writes: &[Write],
) -> Result<Answers> {
    let mut parts = Parts::of(writes);
    if parts.whole {
        return apply(conn, chat_ids, writes).await;
    }
    let mut answers: Vec<Option<Result<Outcome>>> = writes.iter().map(|_| None).collect();
    let mut accepted = Accepted::new();
    if !parts.accepts.is_empty() {
        let some = parts.accepts.iter().chain(&parts.stamps).filter_map(|place| writes.get(*place));
        match short(conn, chat_ids, Express::of(some)?).await? {
            Some(done) => accepted = done,
            None => return apply(conn, chat_ids, writes).await,
        }
        for place in std::mem::take(&mut parts.accepts) {
            let Some(Write::Accept(accept)) = writes.get(place) else { continue };
            let outcome = Outcome::Accepted { response: accept.response.clone(), replayed: false };
            answers[place] = Some(Ok(outcome));
        }
    }
    if !parts.handled.is_empty() {
        let all: Vec<_> = parts.handled.iter().map(|(_, done)| *done).collect();
        if handled::handled(conn, &all).await? {
            for (place, _) in &parts.handled {
                answers[*place] = Some(Ok(Outcome::Done));
            }
        } else {
            parts.rest.extend(parts.handled.iter().map(|(place, _)| *place));
        }
    }
    if parts.adds {
        parts.rest.extend(&parts.stamps);
    }
    if !parts.rest.is_empty() {
        parts.rest.sort_unstable();
        let rest: Vec<Write> = parts.rest.iter().filter_map(|place| writes.get(*place).cloned()).collect();
        for (place, answer) in parts.rest.iter().zip(apply(conn, chat_ids, &rest).await?) {
            answers[*place] = Some(answer);
        }
    }
    for place in parts.stamps {
        let Some(Write::Stamp(fence, _)) = writes.get(place) else { continue };
        if let Some((heads, added)) = accepted.remove(&fence.shard) {
            answers[place] = Some(together(heads, added, answers[place].take()));
        }
    }
    let missing = || Error::bug("a write without an answer");
    Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing()))).collect())
}

/// Another transaction that was first to use a name is the long way's business, too.
async fn short(
    conn: &mut PgConnection,
    chat_ids: &ChatIds,
    express: Option<Express<'_>>,
) -> Result<Option<Accepted>> {
    let Some(express) = express else { return Ok(None) };
    match express.accept(conn, chat_ids).await {
        Err(error) if error.code == CONTENDED => Ok(None),
        other => other,
    }
}

/// What was numbered with the accepted messages, and with the rest after them.
fn together(
    heads: [crate::domain::ids::Position; 2],
    mut added: [Vec<crate::domain::event::Entry>; 2],
    rest: Option<Result<Outcome>>,
) -> Result<Outcome> {
    let mut stamped = added.iter().map(Vec::len).sum();
    match rest {
        None => Ok(Outcome::Stamped { stamped, heads, added }),
        Some(Ok(Outcome::Stamped { stamped: more, heads, added: [events, commands] })) => {
            stamped += more;
            added[0].extend(events);
            added[1].extend(commands);
            Ok(Outcome::Stamped { stamped, heads, added })
        }
        Some(other) => other,
    }
}
