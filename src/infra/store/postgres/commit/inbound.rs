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
use crate::infra::store::postgres::sql::{Cells, rows};

const KNOWN: &str = "select i.session_id, i.wa_id, i.chat_id, i.direction, i.author from \
    unnest($1::uuid[], $2::text[], $3::bigint[]) v(session_id, wa_id, chat_id) join session_message_ids i \
    on i.session_id = v.session_id and i.wa_id = v.wa_id and i.chat_id = v.chat_id";

/// Stores what came in.
pub(super) async fn inbound(tx: &mut Tx<'_>, items: &[Item<'_, Inbound>]) -> Result<()> {
    let owned = inbound::owned(&mut tx.batch, items);
    if owned.is_empty() {
        return Ok(());
    }
    let mut chats = chats::load(tx, inbound::names(&owned)).await?;
    let mut arrivals = inbound::arrivals(&tx.batch, &owned, &mut chats)?;
    chats::flush_merges(tx.conn, &chats).await?;
    for arrival in &mut arrivals {
        arrival.chat = chats.current(arrival.chat);
    }
    let known = known(tx, &arrivals).await?;
    let mut buffers = Buffers::default();
    inbound::store(&mut tx.batch, &arrivals, known, &mut chats, &mut buffers)?;
    chats::flush(tx.conn, &chats).await?;
    accept::flush(tx.conn, &buffers).await
}

async fn known(tx: &mut Tx<'_>, arrivals: &[Arrival<'_>]) -> Result<HashSet<Identity>> {
    let cells = Cells::new()
        .ids(arrivals.iter().map(|arrival| arrival.session.0))
        .texts(arrivals.iter().map(|arrival| arrival.message.wa_id.0.as_str()))
        .ints(arrivals.iter().map(|arrival| arrival.chat));
    let mut known = HashSet::new();
    for row in rows(tx.conn, KNOWN, cells).await? {
        let direction = if row.text(3)? == "in" { "in" } else { "out" };
        let author = row.text(4)?.to_owned();
        known.insert((SessionId(row.id(0)?), row.text(1)?.to_owned(), row.int(2)?, direction, author));
    }
    Ok(known)
}
