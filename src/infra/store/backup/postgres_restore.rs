//! Puts a dump into empty tables.
//!
//! Promises: all of it or nothing; tables that hold anything are refused, and so are those of another migration; the
//! file was read through before anything is touched; nothing in the file is run, only its rows are copied and its names
//! compared. The restored tables trust no owner of before. The streams are another matter: docs/operations.md, Restore.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, query};
use tokio::sync::mpsc::{Receiver, channel};

use super::catalogue::{self, quoted};
use super::dump::{self, Header, Item, Part, Table};
use super::postgres::{WITHIN, connect, failed, options};
use super::{Contents, folder, next_epoch};
use crate::domain::error::{Error, Result};

/// Pieces on their way from the disk.
const DEPTH: usize = 16;

/// Tables of which an empty store already holds rows: what they hold is the dump's from now on.
const OWN: [&str; 5] = ["facts", "nodes", "partitions", "probes", "tenants"];

/// Nobody waits behind us for long, and nobody comes between.
const BEGIN: &str = "begin; set local lock_timeout = '10s'";
const SET: &str = "select setval(quote_ident($1)::regclass, $2, $3)";
const NO_OWNER: &str = "update leases set node = null, expires_at = 0, epoch = greatest(epoch + 1, $1)";
// Also for shards that had no owner yet when the dump was made: they may have had one since.
const NO_FIRST: &str = "insert into leases (shard, node, address, epoch, expires_at) \
    select n, null, '', $1, 0 from generate_series(0, \
        coalesce((select value::int from facts where name = 'shards'), 16) - 1) n on conflict do nothing";
const NO_NODE: &str = "delete from nodes";
const NO_RELAY: &str = "update relays set epoch = greatest(epoch + 1, $1)";
const DEFAULT_PART: &str =
    "select partdefid::regclass::text from pg_partitioned_table where partrelid = quote_ident($1)::regclass";

/// Restores the tables at `url` from `backup`. They must be migrated and empty; no service may run on them.
///
/// # Errors
/// `Conflict` when the backup is damaged, of another migration, or the tables are not empty; `Unavailable` when the
/// server or the disk does not do its part. Nothing is changed then.
pub async fn restore(url: &str, backup: &Path) -> Result<Contents> {
    let path = backup.to_owned();
    let looked = tokio::task::spawn_blocking(move || dump::read(&path, |_item| Ok(()))).await;
    let contents = looked.map_err(|panicked| Error::bug(format!("the backup: {panicked}")))??;
    let mut conn = connect(&options(url)?).await?;
    let path = backup.to_owned();
    let (items, waiting) = channel(DEPTH);
    let reading = tokio::task::spawn_blocking(move || {
        let gone = |_closed| Error::unavailable("restore_failed", "the tables do not take the backup");
        dump::read(&path, |item| items.blocking_send(item).map_err(gone))
    });
    let late = |_elapsed| Error::unavailable("restore_late", "the restore was not done in time");
    let loaded =
        tokio::time::timeout(WITHIN, load(&mut conn, waiting, &contents)).await.map_err(late).flatten();
    let read = reading.await.map_err(|panicked| Error::bug(format!("the backup: {panicked}")))?;
    loaded?;
    // Only what was read to its end, with every sum right, is kept.
    read?;
    catalogue::run(&mut conn, "commit").await?;
    catalogue::run(&mut conn, "analyze").await?;
    conn.close().await.map_err(failed)?;
    Ok(contents)
}

/// Everything but the commit.
async fn load(conn: &mut PgConnection, mut items: Receiver<Item>, contents: &Contents) -> Result<()> {
    catalogue::run(conn, BEGIN).await?;
    let tables = catalogue::tables(conn).await?;
    for table in &tables {
        catalogue::run(conn, &format!("lock table {} in access exclusive mode", quoted(&table.name))).await?;
    }
    fits(conn, &tables, contents).await?;
    let Some(Item::Header(header)) = items.recv().await else { return Err(cut_off()) };
    prepare(conn, &tables, &header).await?;
    // Postgres copies nothing into a table whose rows it hides from its owner.
    let walled = catalogue::walled(conn).await?;
    force(conn, &walled, "no force").await?;
    while let Some(item) = items.recv().await {
        match item {
            Item::Table(table) => copy(conn, &table, &mut items).await?,
            Item::End => {
                for name in &header.sequences {
                    let set = query(SET).bind(&name.name).bind(name.last).bind(name.called);
                    set.execute(&mut *conn).await.map_err(failed)?;
                }
                query(NO_NODE).execute(&mut *conn).await.map_err(failed)?;
                for fence in [NO_OWNER, NO_FIRST, NO_RELAY] {
                    query(fence).bind(next_epoch()).execute(&mut *conn).await.map_err(failed)?;
                }
                return force(conn, &walled, "force").await;
            }
            Item::Header(_) | Item::Rows(_) | Item::Done => return Err(cut_off()),
        }
    }
    Err(cut_off())
}

/// Whether row-level security holds the tables' owner too.
async fn force(conn: &mut PgConnection, tables: &[String], how: &str) -> Result<()> {
    for table in tables {
        let statement = format!("alter table {} {how} row level security", quoted(table));
        catalogue::run(conn, &statement).await?;
    }
    Ok(())
}

/// Whether these tables can take this backup.
async fn fits(conn: &mut PgConnection, tables: &[Table], contents: &Contents) -> Result<()> {
    let here = catalogue::migration(conn).await?;
    if here != contents.migration {
        let text = format!("the backup is of migration {}, the tables are of {here}", contents.migration);
        return Err(Error::conflict("backup_other_migration", text));
    }
    let names: BTreeSet<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    if !contents.rows.keys().map(String::as_str).eq(names.iter().copied()) {
        return Err(Error::conflict("backup_other_tables", "the backup and the database have other tables"));
    }
    for table in tables.iter().filter(|table| !OWN.contains(&table.name.as_str())) {
        if catalogue::filled(conn, &table.name).await? {
            let text = format!("{} is not empty: restore into an empty database", table.name);
            return Err(Error::conflict("data_exists", text));
        }
    }
    Ok(())
}

/// Empties what an empty store holds, and makes the partitions of the backup instead of its own.
async fn prepare(conn: &mut PgConnection, tables: &[Table], header: &Header) -> Result<()> {
    for table in tables.iter().rev().filter(|table| OWN.contains(&table.name.as_str())) {
        catalogue::run(conn, &format!("delete from {}", quoted(&table.name))).await?;
    }
    for part in catalogue::parts(conn).await? {
        catalogue::run(conn, &format!("drop table {}", quoted(&part.name))).await?;
    }
    for part in &header.parts {
        make(conn, tables, part).await?;
    }
    Ok(())
}

/// A partition like the default one of its table, with the indexes that only partitions have.
async fn make(conn: &mut PgConnection, tables: &[Table], part: &Part) -> Result<()> {
    let known = tables.iter().any(|table| table.name == part.parent);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '(' | ')' | ',' | '\'' | '-' | '_');
    let bounded = part.bound.starts_with("FOR VALUES FROM (") && part.bound.chars().all(plain);
    if !known || !bounded {
        return Err(Error::conflict(
            "backup_other_tables",
            "the backup has a partition that is none of ours",
        ));
    }
    // Of the catalogue, and quoted by it.
    let like: String =
        sqlx::query_scalar(DEFAULT_PART).bind(&part.parent).fetch_one(&mut *conn).await.map_err(failed)?;
    let (name, parent, bound) = (quoted(&part.name), quoted(&part.parent), &part.bound);
    catalogue::run(conn, &format!("create table {name} (like {like} including all)")).await?;
    catalogue::run(conn, &format!("alter table {parent} attach partition {name} {bound}")).await
}

async fn copy(conn: &mut PgConnection, table: &Table, items: &mut Receiver<Item>) -> Result<()> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let statement = format!("copy {} ({}) from stdin", quoted(&table.name), columns.join(", "));
    let mut copy = conn.copy_in_raw(&statement).await.map_err(failed)?;
    loop {
        match items.recv().await {
            Some(Item::Rows(rows)) => {
                copy.send(rows).await.map_err(failed)?;
            }
            Some(Item::Done) => return copy.finish().await.map(drop).map_err(failed),
            Some(Item::Header(_) | Item::Table(_) | Item::End) | None => {
                copy.abort("the backup ended").await.map_err(failed)?;
                return Err(cut_off());
            }
        }
    }
}

fn cut_off() -> Error {
    folder::unusable(std::io::ErrorKind::UnexpectedEof.into())
}
