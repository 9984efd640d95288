//! Upkeep in bounded steps: overdue messages fail, old idempotency keys go.

use super::progress::{self, Ended, Outgoing};
use super::{Item, Tx};
use crate::domain::error::Result;
use crate::domain::ids::{CommandId, MessageId, SessionId, WaId};
use crate::domain::message::MessageState;
use crate::domain::write::{MessageNews, Outcome, Sweep};
use crate::infra::store::sqlite::sql::{Columns, limit};
use crate::infra::store::sqlite::statement::{execute, rows};

// The conditions are the index's own, word for word: SQLite sees by them that it applies.
pub(super) const OVERDUE: &str = "select m.session_id, m.id, m.wa_id, c.jid, m.peer, m.state, k.id from commands k \
    cross join session_messages m on m.id = k.message_id cross join session_chats c on c.id = m.chat_id \
    where k.shard = ? and k.deadline is not null and k.state in ('queued', 'taken') and k.deadline <= ? \
    order by k.deadline limit ?";
pub(super) const OLD_KEYS: &str = "delete from idempotency where created_at < ? and id in \
    (select id from idempotency v order by id limit ?)";

/// Sweeps.
pub(super) fn sweep(tx: &mut Tx<'_>, items: &[Item<'_, Sweep>]) -> Result<()> {
    for &(place, sweep) in items {
        let answer = match tx.leases.check(sweep.fence) {
            Ok(()) => {
                let failed = fail_overdue(tx, sweep)?;
                let removed = execute(tx.conn, OLD_KEYS, |cells| {
                    cells.int(sweep.keys_before.0).int(limit(sweep.limit));
                });
                Ok(Outcome::Swept(failed + removed?))
            }
            Err(refusal) => Err(refusal),
        };
        tx.answer(place, answer);
    }
    Ok(())
}

fn fail_overdue(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<usize> {
    let found = rows(tx.conn, OVERDUE, |cells| {
        cells.int(i64::from(sweep.fence.shard.0)).int(sweep.at.0).int(limit(sweep.limit));
    })?;
    let mut messages = Vec::new();
    for row in &found {
        let session = SessionId(row.id(0)?);
        let mut message = Outgoing::new(session, MessageId(row.id(1)?), progress::state(row.int(5)?)?);
        message.wa_id = row.text(2)?.to_owned();
        message.chat = row.text(3)?.to_owned();
        message.peer = row.text(4)?.to_owned();
        message.command = Some(CommandId(row.id(6)?));
        messages.push(message);
    }
    let mut sessions: Vec<_> = messages.iter().map(|message| message.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    tx.sessions.add(tx.conn, &sessions)?;
    let mut ended = Ended::default();
    for message in &mut messages {
        let news = MessageNews {
            wa_id: WaId(message.wa_id.clone()),
            state: MessageState::Failed,
            failure: Some((
                "deadline_passed".to_owned(),
                "WhatsApp did not acknowledge the message before its deadline".to_owned(),
            )),
            at: sweep.at,
        };
        progress::advance(tx, message, &news, &mut ended)?;
    }
    progress::save(tx.conn, messages.iter())?;
    ended.flush(tx.conn)?;
    Ok(messages.len())
}
