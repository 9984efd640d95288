//! Accepted commands and messages as rows: the hot path. A batch of any size is about ten statements.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{Tx, chats};
use crate::domain::error::Result;
use crate::domain::ids::CommandId;
use crate::domain::write::Accept;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::accept::{self, Buffers};
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::{each, fetch};

pub(super) const KNOWN: &str = "select id from commands where id = ?";
const COMMANDS: &str = "insert into commands (id, tenant_id, session_id, shard, seq, kind, state, message_id, deadline, \
    created_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const MESSAGES: &str = "insert into session_messages (id, tenant_id, session_id, chat_id, direction, author, peer, wa_id, \
    content, state, command_id, deadline, timestamp, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Accepts commands and messages.
pub(super) fn accept(tx: &mut Tx<'_>, items: &[Item<'_, Accept>]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let known = known(tx.conn, items)?;
    let mut chats = chats::load(tx.conn, accept::names(items))?;
    let mut buffers = Buffers::default();
    accept::accept(&mut tx.batch, items, known, &mut chats, &mut buffers)?;
    chats::flush(tx.conn, &chats)?;
    flush(tx.conn, &buffers)
}

fn known(conn: &Connection, items: &[Item<'_, Accept>]) -> Result<HashSet<CommandId>> {
    let rows = fetch(conn, KNOWN, items, |(_, accept), cells| {
        cells.id(accept.command.0);
    });
    rows?.iter().map(|row| Ok(CommandId(row.id(0)?))).collect()
}

/// Writes new commands and messages.
pub(super) fn flush(conn: &Connection, buffers: &Buffers) -> Result<()> {
    each(conn, COMMANDS, &buffers.commands, |row, cells| {
        let command = &row.command;
        cells.id(command.id.0).id(row.tenant.0).id(row.session.0).int(i64::from(row.shard.0));
        cells.int(row.seq).text(command.kind.as_str()).text("queued");
        cells.opt_id(command.message.map(|message| message.0)).opt_int(row.deadline.map(|at| at.0));
        cells.int(command.at.0).int(command.at.0);
    })?;
    each(conn, MESSAGES, &buffers.messages, |row, cells| {
        cells.id(row.id.0).id(row.tenant.0).id(row.session.0).int(row.chat);
        cells.text(row.direction.as_str()).text(&row.author).text(&row.peer).text(&row.wa_id);
        cells.text(&row.content).int(row.state.rank()).opt_id(row.command.map(|command| command.0));
        cells.opt_int(row.deadline.map(|at| at.0)).int(row.timestamp.0).int(row.updated.0);
    })
    .map(drop)
}
