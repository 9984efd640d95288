//! What became of messages, as rows.

use sqlx::postgres::PgConnection;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::write::Progress;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::progress::{self, Ended, Outgoing};
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LOAD: &str = "select m.session_id, m.wa_id, m.id, c.jid, m.peer, m.state, m.command_id \
    from unnest($1::uuid[], $2::text[]) v(session_id, wa_id) join session_message_ids i \
    on i.session_id = v.session_id and i.wa_id = v.wa_id and i.direction = 'out' \
    join session_messages m on m.id = i.message_id join session_chats c on c.id = m.chat_id";
const SAVE: &str = "update session_messages m set state = v.state, code = v.code, failure = v.failure, \
    updated_at = v.at from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) \
    v(id, state, code, failure, at) where m.id = v.id";
const END_COMMANDS: &str = "update commands c set state = v.state, updated_at = v.at \
    from unnest($1::uuid[], $2::text[], $3::bigint[]) v(id, state, at) where c.id = v.id";

/// Takes news about messages.
pub(super) async fn progress(tx: &mut Tx<'_>, items: &[Item<'_, Progress>]) -> Result<()> {
    let news = progress::news(&mut tx.batch, items);
    if news.is_empty() {
        return Ok(());
    }
    let wanted = progress::wanted(&news);
    let cells = Cells::new()
        .ids(wanted.iter().map(|(session, _)| session.0))
        .texts(wanted.iter().map(|(_, wa_id)| *wa_id));
    let found = rows(tx.conn, LOAD, cells).await?;
    let mut messages = progress::found(&wanted, &found)?;
    let mut ended = Ended::default();
    progress::take(&mut tx.batch, news, &mut messages, &mut ended)?;
    let messages: Vec<_> = messages.into_values().collect();
    save(tx.conn, &messages).await?;
    end(tx.conn, &ended).await
}

/// Writes the commands that ended.
pub(super) async fn end(conn: &mut PgConnection, ended: &Ended) -> Result<()> {
    if ended.0.is_empty() {
        return Ok(());
    }
    let cells = Cells::new()
        .ids(ended.0.iter().map(|(id, _, _)| id.0))
        .texts(ended.0.iter().map(|(_, state, _)| *state))
        .ints(ended.0.iter().map(|(_, _, at)| at.0));
    execute(conn, END_COMMANDS, cells).await.map(drop)
}

/// Writes the messages that moved.
pub(super) async fn save(conn: &mut PgConnection, messages: &[Outgoing]) -> Result<()> {
    let moved = progress::moved(messages.iter());
    if moved.is_empty() {
        return Ok(());
    }
    let failures = || moved.iter().map(|(message, _)| message.failure.as_ref());
    let cells = Cells::new()
        .ids(moved.iter().map(|(message, _)| message.id.0))
        .ints(moved.iter().map(|(message, _)| message.state.rank()))
        .opt_texts(failures().map(|failure| failure.map(|(code, _)| code.as_str())))
        .opt_texts(failures().map(|failure| failure.map(|(_, reason)| reason.as_str())))
        .ints(moved.iter().map(|(_, at)| at.0));
    execute(conn, SAVE, cells).await.map(drop)
}
