//! A batch taken apart: what can go the short way, and the rest in a transaction after it.
//!
//! Promises: answers in the order of the writes; each write stands or falls alone, as ever. If the rest fails, the whole
//! batch fails and is tried again: what was committed already is found there and answered as it was.

use sqlx::postgres::PgConnection;

use super::express::{Accepted, Express};
use super::{ChatIds, apply, handled};
use crate::domain::error::{Error, Result};
use crate::domain::event::Entry;
use crate::domain::ids::Position;
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
    first: bool,
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
                    parts.first |=
                        matches!(other, Write::CreateSession(_) | Write::TakeLease(_) | Write::AddKey(_));
                    parts.adds |= other.wakes().is_some();
                    parts.rest.push(place);
                }
            }
        }
        // Nothing is accepted: the rows to number are the rest's, or were there before.
        parts.adds |= parts.accepts.is_empty();
        parts
    }

    /// What the rest is, once the others have been answered.
    fn rest(&self, writes: &'w [Write]) -> (Vec<usize>, Vec<Write>) {
        let mut places = self.rest.clone();
        if self.adds {
            places.extend(&self.stamps);
        }
        places.sort_unstable();
        let rest = places.iter().filter_map(|place| writes.get(*place).cloned()).collect();
        (places, rest)
    }
}

/// Commits a batch.
pub(in crate::infra::store::postgres) async fn commit(
    conn: &mut PgConnection,
    chat_ids: &ChatIds,
    writes: &[Write],
) -> Result<Answers> {
    let parts = Parts::of(writes);
    let Some(mut accepted) = short(conn, chat_ids, writes, &parts).await? else {
        return apply(conn, chat_ids, writes).await;
    };
    let mut answers: Vec<Option<Result<Outcome>>> = writes.iter().map(|_| None).collect();
    for place in &parts.accepts {
        if let Some(Write::Accept(accept)) = writes.get(*place) {
            let outcome = Outcome::Accepted { response: accept.response.clone(), replayed: false };
            answers[*place] = Some(Ok(outcome));
        }
    }
    for (place, _) in &parts.handled {
        answers[*place] = Some(Ok(Outcome::Done));
    }
    let (places, rest) = parts.rest(writes);
    if !rest.is_empty() {
        for (place, answer) in places.into_iter().zip(apply(conn, chat_ids, &rest).await?) {
            answers[place] = Some(answer);
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

/// What is accepted and what was handled, in one call. `None` when the whole batch must be judged: also when another
/// transaction was first to use a name.
async fn short(
    conn: &mut PgConnection,
    chat_ids: &ChatIds,
    writes: &[Write],
    parts: &Parts<'_>,
) -> Result<Option<Accepted>> {
    let done: Vec<_> = parts.handled.iter().map(|(_, done)| *done).collect();
    if parts.first || !handled::apart(&done) {
        return Ok(None);
    }
    let answer = if !parts.accepts.is_empty() {
        let some = parts.accepts.iter().chain(&parts.stamps).filter_map(|place| writes.get(*place));
        let Some(express) = Express::of(some)? else { return Ok(None) };
        express.accept(conn, chat_ids, &done).await
    } else if !done.is_empty() {
        handled::handled(conn, &done).await.map(|stored| stored.then(Accepted::new))
    } else {
        return Ok(None);
    };
    match answer {
        Err(error) if error.code == CONTENDED => Ok(None),
        other => other,
    }
}

/// What was numbered with the accepted messages, and with the rest after them.
fn together(
    heads: [Position; 2],
    mut added: [Vec<Entry>; 2],
    rest: Option<Result<Outcome>>,
) -> Result<Outcome> {
    let stamped = added.iter().map(Vec::len).sum();
    match rest {
        None => Ok(Outcome::Stamped { stamped, heads, added }),
        Some(Ok(Outcome::Stamped { stamped: more, heads, added: later })) => {
            added.iter_mut().zip(later).for_each(|(added, later)| added.extend(later));
            Ok(Outcome::Stamped { stamped: stamped + more, heads, added })
        }
        Some(other) => other,
    }
}
