//! Who wrote what, as Postgres saw it: triggers note each write that only the owner of a shard may do, with the port of
//! the connection, and each change of a lease. Every node comes through a proxy of its own, so the port names the node.
//!
//! A fenced transaction locks the lease's row before it writes, and a take-over needs that row for itself. So the notes'
//! numbers stand in the order in which the right was held: a write by a node that is not the holder at its number was
//! accepted from a stale owner.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Connection, Row};

use super::Cluster;

/// What only an owner writes.
const TRIGGERS: &[(&str, &str, &str)] = &[
    ("relays", "insert or update", "true"),
    ("cursors", "insert or update", "true"),
    ("inbox", "insert", "true"),
    ("commands", "update", "new.state in ('taken', 'done')"),
    ("session_messages", "insert", "new.direction = 'in'"),
    ("session_auth_keys", "insert or update", "true"),
    ("session_auth_creds", "insert or update", "true"),
];

const NOTES: &[&str] = &[
    "create table chaos_notes (n bigint generated always as identity, at timestamptz not null default clock_timestamp(),
        what text not null, shard integer not null, port integer not null, node text, epoch bigint)",
    "create function chaos_wrote() returns trigger language plpgsql as $$
     declare k integer;
     begin
        if tg_table_name like 'session_%' then
            select shard into k from sessions where id = new.session_id;
        else
            k := new.shard;
        end if;
        insert into chaos_notes (what, shard, port) values (tg_argv[0], k, inet_client_port());
        return null;
     end $$",
    "create function chaos_leased() returns trigger language plpgsql as $$
     begin
        insert into chaos_notes (what, shard, port, node, epoch)
            values ('lease', new.shard, inet_client_port(), new.node, new.epoch);
        return null;
     end $$",
    // The holders at this moment, by the port 0: only the first node runs.
    "insert into chaos_notes (what, shard, port, node, epoch) select 'lease', shard, 0, node, epoch from leases",
    "create trigger chaos after insert or update of node, epoch on leases for each row execute function chaos_leased()",
];

/// A connection that no proxy can cut.
pub(crate) async fn connect(tables: &str) -> Result<PgConnection> {
    let options: PgConnectOptions = tables.parse()?;
    options.connect().await.context("the tables do not answer the checker")
}

/// Begins to note. Only the first node may run, without sessions.
pub(crate) async fn begin(cluster: &Cluster) -> Result<()> {
    let mut conn = connect(&cluster.tables).await?;
    for sql in NOTES {
        sqlx::query(*sql).execute(&mut conn).await.context("the notes")?;
    }
    for (table, when, only) in TRIGGERS {
        let sql = format!(
            "create trigger chaos after {when} on {table} for each row when ({only}) execute function chaos_wrote('{table}')"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .with_context(|| (*table).to_owned())?;
    }
    Ok(conn.close().await?)
}

/// What the notes say.
#[derive(Default, Debug)]
pub(crate) struct Audit {
    /// Writes that only an owner may do.
    pub(crate) writes: usize,
    /// Of these, by a node that did not hold the lease.
    pub(crate) stale: usize,
    /// Where those happened, for an error.
    pub(crate) where_stale: BTreeMap<String, usize>,
    /// Leases won.
    pub(crate) won: usize,
    /// Epochs that were not above the one before.
    pub(crate) epochs_back: usize,
}

/// Goes through the notes.
pub(crate) async fn read(cluster: &Cluster) -> Result<Audit> {
    let mut nodes: HashMap<i32, Vec<usize>> = HashMap::new();
    for (place, node) in cluster.nodes.iter().enumerate() {
        for port in node.tables.ports() {
            nodes.entry(i32::from(port)).or_default().push(place);
        }
    }
    // Before the notes began, the first node held everything.
    nodes.insert(0, vec![0]);
    let mut conn = connect(&cluster.tables).await?;
    let notes = sqlx::query("select what, shard, port, node, epoch from chaos_notes order by n");
    let notes = notes.fetch_all(&mut conn).await?;
    conn.close().await?;
    let note = |row: &PgRow| Note {
        what: row.get(0),
        shard: row.get(1),
        by: nodes.get(&row.get(2)).cloned().unwrap_or_default(),
        holder: row.get(3),
        epoch: row.get(4),
    };
    Ok(Audit::of(notes.iter().map(note)))
}

/// What a trigger noted.
struct Note {
    what: String,
    shard: i32,
    /// The nodes that the connection may have been of.
    by: Vec<usize>,
    /// Of a lease: in whose name it is now, if in any.
    holder: Option<String>,
    epoch: Option<i64>,
}

/// Who holds a shard.
#[derive(Default)]
struct Holder {
    by: Vec<usize>,
    epoch: i64,
}

impl Audit {
    fn of(notes: impl Iterator<Item = Note>) -> Self {
        let (mut audit, mut holders) = (Self::default(), HashMap::<i32, Holder>::new());
        for note in notes {
            let holder = holders.entry(note.shard).or_default();
            if note.what == "lease" {
                audit.hand_over(holder, note);
                continue;
            }
            audit.writes += 1;
            if !holder.by.iter().any(|node| note.by.contains(node)) {
                audit.stale += 1;
                *audit.where_stale.entry(note.what).or_default() += 1;
            }
        }
        audit
    }

    fn hand_over(&mut self, holder: &mut Holder, note: Note) {
        let (Some(_node), Some(epoch), by) = (note.holder, note.epoch, note.by) else {
            // Given back: nobody may write until it is won again.
            holder.by.clear();
            return;
        };
        if epoch == holder.epoch {
            return;
        }
        self.epochs_back += usize::from(epoch < holder.epoch);
        self.won += 1;
        *holder = Holder { by, epoch };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(what: &str, node: usize, epoch: Option<i64>) -> Note {
        let holder = epoch.map(|_won| format!("node {node}"));
        Note { what: what.to_owned(), shard: 3, by: vec![node], holder, epoch }
    }

    #[test]
    fn only_the_holder_of_the_moment_may_write() {
        let won = |node, epoch| note("lease", node, Some(epoch));
        let (given_back, write) = (|node| note("lease", node, None), |node| note("relays", node, None));
        let audit = Audit::of(
            [
                won(0, 1),
                write(0),
                write(1), // never had it
                won(1, 2),
                write(1),
                write(0), // a zombie
                given_back(1),
                write(1),  // too late
                won(0, 1), // an epoch of the past
            ]
            .into_iter(),
        );
        assert_eq!((audit.writes, audit.stale, audit.won, audit.epochs_back), (5, 3, 3, 1));
    }
}
