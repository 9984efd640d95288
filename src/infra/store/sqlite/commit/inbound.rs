//! Messages that came in, as rows.

use std::collections::HashSet;

use super::{Tx, accept, chats};
use crate::domain::error::Result;
use crate::domain::ids::SessionId;
use crate::domain::write::Inbound;
use crate::infra::store::batch::Item;
use crate::infra::store::batch::accept::Buffers;
use crate::infra::store::batch::inbound::{self, Arrival, Identity};
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::fetch;

// The condition on `state` is the index's own, word for word: SQLite sees by it that the index applies.
pub(super) const KNOWN: &str = "select session_id, wa_id, chat_id, direction, author from session_messages \
    where session_id = ? and wa_id = ? and chat_id = ? and state > 0";

/// Stores what came in.
pub(super) fn inbound(tx: &mut Tx<'_>, items: &[Item<'_, Inbound>]) -> Result<()> {
    let owned = inbound::owned(&mut tx.batch, items);
    if owned.is_empty() {
        return Ok(());
    }
    let mut chats = chats::load(tx.conn, inbound::names(&owned))?;
    let mut arrivals = inbound::arrivals(&tx.batch, &owned, &mut chats)?;
    chats::flush_merges(tx.conn, &chats)?;
    for arrival in &mut arrivals {
        arrival.chat = chats.current(arrival.chat);
    }
    let known = known(tx, &arrivals)?;
    let mut buffers = Buffers::default();
    inbound::store(&mut tx.batch, &arrivals, known, &mut chats, &mut buffers)?;
    chats::flush(tx.conn, &chats)?;
    accept::flush(tx.conn, &buffers)
}

fn known(tx: &Tx<'_>, arrivals: &[Arrival<'_>]) -> Result<HashSet<Identity>> {
    let rows = fetch(tx.conn, KNOWN, arrivals, |arrival, cells| {
        cells.id(arrival.session.0).text(&arrival.message.wa_id.0).int(arrival.chat);
    });
    let mut known = HashSet::new();
    for row in rows? {
        let direction = if row.text(3)? == "in" { "in" } else { "out" };
        let author = row.text(4)?.to_owned();
        known.insert((SessionId(row.id(0)?), row.text(1)?.to_owned(), row.int(2)?, direction, author));
    }
    Ok(known)
}
