//! Which way a batch goes: accepted messages and what consumers have handled, when nothing else is with them, are one
//! call of a function in the database; everything else is judged in a transaction.
//!
//! Promises: answers in the order of the writes; each write stands or falls alone, whichever way it goes.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use super::express::Express;
use super::{ChatIds, apply, handled};
use crate::domain::error::Result;
use crate::domain::write::{Outcome, Write};
use crate::infra::store::Answers;
use crate::infra::store::postgres::sql::CONTENDED;

/// Commits a batch.
pub(in crate::infra::store::postgres) async fn commit(
    conn: &mut PgConnection,
    chat_ids: &ChatIds,
    writes: &[Write],
) -> Result<Answers> {
    match short(conn, chat_ids, writes).await {
        Ok(Some(answers)) => Ok(answers),
        // Not all can be accepted, or another transaction was first to use a name: the long way knows what then.
        Ok(None) => apply(conn, chat_ids, writes).await,
        Err(error) if error.code == CONTENDED => apply(conn, chat_ids, writes).await,
        Err(error) => Err(error),
    }
}

async fn short(conn: &mut PgConnection, chat_ids: &ChatIds, writes: &[Write]) -> Result<Option<Answers>> {
    let (mut accepts, mut done) = (Vec::new(), Vec::new());
    for write in writes {
        if let Write::Handled(handled) = write {
            done.push(handled);
        } else {
            accepts.push(write);
        }
    }
    if !handled::apart(&done) {
        return Ok(None);
    }
    let mut accepted = BTreeMap::new();
    if !accepts.is_empty() {
        let Some(express) = Express::of(accepts.into_iter())? else { return Ok(None) };
        let Some(all) = express.accept(conn, chat_ids, &done).await? else { return Ok(None) };
        accepted = all;
    } else if !handled::handled(conn, &done).await? {
        return Ok(None);
    }
    let mut answer = |write: &Write| {
        if let Write::Accept(accept) = write {
            return Outcome::Accepted { response: accept.response.clone(), replayed: false };
        }
        let stamped = if let Write::Stamp(fence, _) = write { accepted.remove(&fence.shard) } else { None };
        stamped.map_or(Outcome::Done, |(heads, added)| {
            let stamped = added.iter().map(Vec::len).sum();
            Outcome::Stamped { stamped, heads, added }
        })
    };
    Ok(Some(writes.iter().map(|write| Ok(answer(write))).collect()))
}
