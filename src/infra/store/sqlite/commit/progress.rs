//! What became of messages, as rows.

use rusqlite::Connection;

use super::Tx;
use crate::domain::error::Result;
use crate::domain::write::Progress;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::progress::{self, Ended, Outgoing};
use crate::infra::store::sqlite::statement::{each, fetch};

// The condition on `state` is the index's own, word for word: SQLite sees by it that the index applies.
pub(super) const LOAD: &str = "select m.session_id, m.wa_id, m.id, c.jid, m.peer, m.state, m.command_id \
    from session_messages m cross join session_chats c on c.id = m.chat_id \
    where m.session_id = ? and m.wa_id = ? and m.direction = 'out' and m.state > 0";
pub(super) const SAVE: &str =
    "update session_messages set state = ?2, code = ?3, failure = ?4, updated_at = ?5 where id = ?1";
pub(super) const END_COMMANDS: &str = "update commands set state = ?2, updated_at = ?3 where id = ?1";

/// Takes news about messages.
pub(super) fn progress(tx: &mut Tx<'_>, items: &[Item<'_, Progress>]) -> Result<()> {
    let news = progress::news(&mut tx.batch, items);
    let wanted = progress::wanted(&news);
    let rows = fetch(tx.conn, LOAD, &wanted, |(session, wa_id), cells| {
        cells.id(session.0).text(wa_id);
    })?;
    let mut messages = progress::found(&wanted, &rows)?;
    let mut ended = Ended::default();
    progress::take(&mut tx.batch, news, &mut messages, &mut ended)?;
    save(tx.conn, messages.values())?;
    end(tx.conn, &ended)
}

/// Writes the commands that ended.
pub(super) fn end(conn: &Connection, ended: &Ended) -> Result<()> {
    each(conn, END_COMMANDS, &ended.0, |(id, state, at), cells| {
        cells.id(id.0).text(state).int(at.0);
    })
    .map(drop)
}

/// Writes the messages that moved.
pub(super) fn save<'o>(conn: &Connection, messages: impl Iterator<Item = &'o Outgoing>) -> Result<()> {
    let moved = progress::moved(messages);
    each(conn, SAVE, &moved, |(message, at), cells| {
        let failure = message.failure.as_ref();
        cells.id(message.id.0).int(message.state.rank());
        cells.opt_text(failure.map(|(code, _)| code.as_str()));
        cells.opt_text(failure.map(|(_, reason)| reason.as_str())).int(at.0);
    })
    .map(drop)
}
