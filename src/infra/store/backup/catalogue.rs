//! What Postgres' own tables say about ours.

use std::collections::HashSet;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::dump::{Part, Sequence, Table};
use super::postgres::failed;
use crate::domain::error::{Error, Result};

const MIGRATION: &str = "select max(version) from _sqlx_migrations where success";

/// Tables and partitioned tables, with their columns in order.
const TABLES: &str = "select c.relname::text, array_agg(a.attname::text order by a.attnum) \
    from pg_class c join pg_attribute a on a.attrelid = c.oid \
    where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition \
    and c.relname <> '_sqlx_migrations' and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' \
    group by c.relname order by c.relname";
const REFERENCES: &str = "select child.relname::text, parent.relname::text from pg_constraint f \
    join pg_class child on child.oid = f.conrelid join pg_class parent on parent.oid = f.confrelid \
    where f.contype = 'f' and f.connamespace = current_schema()::regnamespace";
const PARTS: &str = "select c.relname::text, p.relname::text, pg_get_expr(c.relpartbound, c.oid) from pg_class c \
    join pg_inherits i on i.inhrelid = c.oid join pg_class p on p.oid = i.inhparent \
    join pg_partitioned_table t on t.partrelid = p.oid \
    where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and c.relispartition \
    and t.partdefid <> c.oid order by c.relname";
const WALLED: &str = "select relname::text from pg_class where relnamespace = current_schema()::regnamespace \
    and relforcerowsecurity order by 1";
const SEQUENCES: &str = "select relname::text from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'S' order by 1";

/// A name as part of a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs one or more statements whose every name is quoted.
pub(super) async fn run(conn: &mut PgConnection, statement: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await.map(drop).map_err(failed)
}

/// The rows of a statement without parameters.
async fn rows(conn: &mut PgConnection, statement: &str) -> Result<Vec<PgRow>> {
    sqlx::query(AssertSqlSafe(statement)).persistent(false).fetch_all(conn).await.map_err(failed)
}

fn text(row: &PgRow, place: usize) -> Result<String> {
    row.try_get(place).map_err(failed)
}

/// The last migration.
pub(super) async fn migration(conn: &mut PgConnection) -> Result<i64> {
    let found: Option<i64> = sqlx::query_scalar(MIGRATION).fetch_one(conn).await.map_err(failed)?;
    found.ok_or_else(|| Error::conflict("store_not_migrated", "there are no tables: run recado migrate"))
}

/// All tables, each after those it refers to.
pub(super) async fn tables(conn: &mut PgConnection) -> Result<Vec<Table>> {
    let mut references = Vec::new();
    for row in rows(conn, REFERENCES).await? {
        references.push((text(&row, 0)?, text(&row, 1)?));
    }
    let mut left = Vec::new();
    for row in rows(conn, TABLES).await? {
        left.push(Table { name: text(&row, 0)?, columns: row.try_get(1).map_err(failed)? });
    }
    Ok(ordered(left, &references))
}

fn ordered(mut left: Vec<Table>, references: &[(String, String)]) -> Vec<Table> {
    let mut order = Vec::new();
    while !left.is_empty() {
        let waiting: HashSet<String> = left.iter().map(|table| table.name.clone()).collect();
        let free = |table: &Table| {
            !references.iter().any(|(child, parent)| {
                *child == table.name && *parent != table.name && waiting.contains(parent.as_str())
            })
        };
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(free);
        // Tables that refer to each other: a restore will say so. There are none.
        let stuck = now.is_empty();
        order.extend(now);
        left = later;
        if stuck {
            order.append(&mut left);
        }
    }
    order
}

/// All partitions but the default ones.
pub(super) async fn parts(conn: &mut PgConnection) -> Result<Vec<Part>> {
    let part = |row: &PgRow| Ok(Part { name: text(row, 0)?, parent: text(row, 1)?, bound: text(row, 2)? });
    rows(conn, PARTS).await?.iter().map(part).collect()
}

/// The tables whose rows are hidden from whoever does not say whose they ask for.
pub(super) async fn walled(conn: &mut PgConnection) -> Result<Vec<String>> {
    rows(conn, WALLED).await?.iter().map(|row| text(row, 0)).collect()
}

/// All sequences. They stand outside of transactions, so at least where the rows need them.
pub(super) async fn sequences(conn: &mut PgConnection) -> Result<Vec<Sequence>> {
    let mut sequences = Vec::new();
    for row in rows(conn, SEQUENCES).await? {
        let name = text(&row, 0)?;
        let state = rows(conn, &format!("select last_value, is_called from {}", quoted(&name))).await?;
        let state = state.first().ok_or_else(|| Error::bug("a sequence without a state"))?;
        let (last, called) = (state.try_get(0).map_err(failed)?, state.try_get(1).map_err(failed)?);
        sequences.push(Sequence { name, last, called });
    }
    Ok(sequences)
}

/// Whether a table has any row.
pub(super) async fn filled(conn: &mut PgConnection, table: &str) -> Result<bool> {
    let found = rows(conn, &format!("select exists (select from {})", quoted(table))).await?;
    found.first().map_or(Ok(false), |row| row.try_get(0).map_err(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_after_those_it_refers_to() {
        let tables = ["a", "b", "c"].map(|name| Table { name: name.into(), columns: Vec::new() });
        let pair = |child: &str, parent: &str| (child.to_owned(), parent.to_owned());
        let names = |references: &[(String, String)]| {
            ordered(tables.to_vec(), references).into_iter().map(|table| table.name).collect::<String>()
        };
        assert_eq!(names(&[pair("a", "b"), pair("b", "c"), pair("c", "c")]), "cba");
        assert_eq!(names(&[pair("a", "b"), pair("b", "a")]).len(), 3, "a circle ends as well");
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(quoted("a\"; drop table b"), "\"a\"\"; drop table b\"");
    }
}
