//! Which nodes are there, and what they agreed on.

use rusqlite::Connection;

use super::Tx;
use crate::domain::cluster::NodeView;
use crate::domain::error::{Error, Result};
use crate::domain::time::Timestamp;
use crate::domain::write::Outcome;
use crate::infra::store::FORGOTTEN_AFTER;
use crate::infra::store::batch::nodes::Word;
use crate::infra::store::columns::Columns;
use crate::infra::store::sqlite::statement::{execute, row};

const BEAT: &str = "insert into nodes (node, address, roles, version, started_at, seen_at) values (?, ?, ?, ?, ?, ?) \
    on conflict (node) do update set seen_at = excluded.seen_at";
const FORGET: &str = "delete from nodes where seen_at < ?";
const SETTLE: &str = "insert into facts (name, value) values (?, ?) on conflict do nothing";
const FACT: &str = "select value from facts where name = ?";
const LEAVE: &str = "delete from nodes where node = ?";

/// Notes who is there and who is not.
pub(super) fn words(tx: &mut Tx<'_>, words: &[(usize, Word<'_>)]) -> Result<()> {
    for (place, word) in words {
        let answer = match word {
            Word::Here(node) => here(tx.conn, node)?,
            Word::Gone(node) => {
                execute(tx.conn, LEAVE, |cells| {
                    cells.text(node);
                })?;
                Outcome::Done
            }
            Word::Settle(name, value) => settle(tx.conn, name, value)?,
        };
        tx.batch.answer(*place, Ok(answer));
    }
    Ok(())
}

fn here(conn: &Connection, node: &NodeView) -> Result<Outcome> {
    execute(conn, BEAT, |cells| {
        cells.text(&node.node).text(&node.address).text(&node.roles.to_string());
        cells.text(&node.version).int(node.started_at.0).int(node.seen_at.0);
    })?;
    let Timestamp(before) = node.seen_at.before(FORGOTTEN_AFTER);
    execute(conn, FORGET, |cells| {
        cells.int(before);
    })?;
    Ok(Outcome::Done)
}

fn settle(conn: &Connection, name: &str, value: &str) -> Result<Outcome> {
    execute(conn, SETTLE, |cells| {
        cells.text(name).text(value);
    })?;
    let fact = row(conn, FACT, |cells| {
        cells.text(name);
    })?;
    let fact = fact.ok_or_else(|| Error::bug("a fact that was just written is not there"))?;
    Ok(Outcome::Settled(fact.text(0)?.to_owned()))
}
