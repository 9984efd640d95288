//! Accepted commands and messages as rows: the hot path.

use std::collections::HashSet;

use sqlx::postgres::PgConnection;

use super::{Tx, chats};
use crate::domain::error::Result;
use crate::domain::ids::CommandId;
use crate::domain::write::Accept;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::accept::{self, Buffers, CommandRow, MessageRow};
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const KNOWN: &str = "select id from commands where id = any($1)";
const COMMANDS: &str = "insert into commands (id, tenant_id, session_id, shard, seq, kind, state, message_id, deadline, \
    created_at, updated_at) select id, tenant_id, session_id, shard, seq, kind, 'queued', message_id, deadline, at, at \
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::uuid[], $8::bigint[], \
    $9::bigint[]) v(id, tenant_id, session_id, shard, seq, kind, message_id, deadline, at)";
/// What waits to be sent has no name yet: no news of it can come.
const MESSAGES: &str = "with v as materialized (select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], \
        $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::uuid[], $12::bigint[], \
        $13::bigint[], $14::bigint[]) v(id, tenant_id, session_id, chat_id, direction, author, peer, wa_id, content, \
        state, command_id, deadline, timestamp, updated_at)), \
    named as (insert into session_message_ids (session_id, wa_id, chat_id, direction, author, message_id) \
        select session_id, wa_id, chat_id, direction, author, id from v where state > 0) \
    insert into session_messages (id, tenant_id, session_id, chat_id, direction, author, peer, wa_id, content, state, \
        command_id, deadline, timestamp, updated_at) select * from v";

/// Accepts commands and messages.
pub(super) async fn accept(tx: &mut Tx<'_>, items: &[Item<'_, Accept>]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let asked = Cells::new().ids(items.iter().map(|(_, accept)| accept.command.0));
    let known = rows(tx.conn, KNOWN, asked).await?;
    let known = known.iter().map(|row| Ok(CommandId(row.id(0)?))).collect::<Result<HashSet<_>>>()?;
    let mut chats = chats::load(tx, accept::names(items)).await?;
    let mut buffers = Buffers::default();
    accept::accept(&mut tx.batch, items, known, &mut chats, &mut buffers)?;
    chats::flush(tx.conn, &chats).await?;
    flush(tx.conn, &buffers).await
}

/// Writes new commands and messages.
pub(super) async fn flush(conn: &mut PgConnection, buffers: &Buffers) -> Result<()> {
    if !buffers.commands.is_empty() {
        execute(conn, COMMANDS, commands(&buffers.commands)).await?;
    }
    if !buffers.messages.is_empty() {
        execute(conn, MESSAGES, messages(&buffers.messages)).await?;
    }
    Ok(())
}

fn commands(rows: &[CommandRow]) -> Cells {
    Cells::new()
        .ids(rows.iter().map(|row| row.command.id.0))
        .ids(rows.iter().map(|row| row.tenant.0))
        .ids(rows.iter().map(|row| row.session.0))
        .ints(rows.iter().map(|row| i64::from(row.shard.0)))
        .ints(rows.iter().map(|row| row.seq))
        .texts(rows.iter().map(|row| row.command.kind.as_str()))
        .opt_ids(rows.iter().map(|row| row.command.message.map(|message| message.0)))
        .opt_ints(rows.iter().map(|row| row.deadline.map(|at| at.0)))
        .ints(rows.iter().map(|row| row.command.at.0))
}

fn messages(rows: &[MessageRow]) -> Cells {
    Cells::new()
        .ids(rows.iter().map(|row| row.id.0))
        .ids(rows.iter().map(|row| row.tenant.0))
        .ids(rows.iter().map(|row| row.session.0))
        .ints(rows.iter().map(|row| row.chat))
        .texts(rows.iter().map(|row| row.direction.as_str()))
        .texts(rows.iter().map(|row| row.author.as_str()))
        .texts(rows.iter().map(|row| row.peer.as_str()))
        .texts(rows.iter().map(|row| row.wa_id.as_str()))
        .texts(rows.iter().map(|row| row.content.as_str()))
        .ints(rows.iter().map(|row| row.state.rank()))
        .opt_ids(rows.iter().map(|row| row.command.map(|command| command.0)))
        .opt_ints(rows.iter().map(|row| row.deadline.map(|at| at.0)))
        .ints(rows.iter().map(|row| row.timestamp.0))
        .ints(rows.iter().map(|row| row.updated.0))
}
