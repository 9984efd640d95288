//! Which nodes are there, and what they agreed on.

use super::Tx;
use crate::domain::cluster::NodeView;
use crate::domain::error::{Error, Result};
use crate::domain::write::Outcome;
use crate::infra::store::FORGOTTEN_AFTER;
use crate::infra::store::batch::nodes::Word;
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, row};

const BEAT: &str = "insert into nodes (node, address, roles, version, started_at, seen_at) values ($1, $2, $3, $4, $5, $6) \
    on conflict (node) do update set seen_at = excluded.seen_at";
// One that another node is forgetting already needs no second.
const FORGET: &str = "delete from nodes where node in \
    (select node from nodes where seen_at < $1 for update skip locked)";
const SETTLE: &str = "insert into facts (name, value) values ($1, $2) on conflict do nothing";
const FACT: &str = "select value from facts where name = $1";
const LEAVE: &str = "delete from nodes where node = $1";

/// Notes who is there and who is not.
pub(super) async fn words(tx: &mut Tx<'_>, words: &[(usize, Word<'_>)]) -> Result<()> {
    for (place, word) in words {
        let answer = match word {
            Word::Here(node) => here(tx, node).await?,
            Word::Gone(node) => {
                execute(tx.conn, LEAVE, Cells::new().text(node)).await?;
                Outcome::Done
            }
            Word::Settle(name, value) => settle(tx, name, value).await?,
        };
        tx.batch.answer(*place, Ok(answer));
    }
    Ok(())
}

async fn here(tx: &mut Tx<'_>, node: &NodeView) -> Result<Outcome> {
    let cells = Cells::new().text(&node.node).text(&node.address).text(&node.roles.to_string());
    let cells = cells.text(&node.version).int(node.started_at.0).int(node.seen_at.0);
    execute(tx.conn, BEAT, cells).await?;
    execute(tx.conn, FORGET, Cells::new().int(node.seen_at.before(FORGOTTEN_AFTER).0)).await?;
    Ok(Outcome::Done)
}

/// A second one that is just saying otherwise waits for the first to commit, and then reads what that said.
async fn settle(tx: &mut Tx<'_>, name: &str, value: &str) -> Result<Outcome> {
    execute(tx.conn, SETTLE, Cells::new().text(name).text(value)).await?;
    let fact = row(tx.conn, FACT, Cells::new().text(name)).await?;
    let fact = fact.ok_or_else(|| Error::bug("a fact that was just written is not there"))?;
    Ok(Outcome::Settled(fact.text(0)?.to_owned()))
}
