//! Connections, kept and lent: a bounded number, each either at rest or given up.
//!
//! Promises: what is lent out and not given back in good order is closed, which rolls its transaction back; so a caller
//! that goes away in the middle leaves nothing open. One that has rested is asked whether it still lives. One lent for a
//! tenant sees that tenant's rows alone, and changes none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::sql::{Cells, GONE, failed, row};
use crate::domain::error::{Error, Result};
use crate::domain::ids::TenantId;

/// A connection at rest for longer is asked whether it lives before it is lent.
const TRUSTED: Duration = Duration::from_secs(1);

/// How long a server may take to answer a new connection, or one that rested.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What a new connection is told it sees: everything, for the service's own work.
pub(super) const ALL: (&str, &str) = ("recado.tenant", "*");

const SEE: &str = "select set_config('recado.tenant', $1, false), \
    set_config('default_transaction_read_only', $2, false)";
/// Nothing holds a superuser, so it steps down to read for a tenant: to a role that every server has.
const STEP_DOWN: &str = "select set_config('role', $1, false)";
const READER: &str = "pg_read_all_data";

/// Whose rows a connection sees: a tenant's, or all.
type Sees = Option<TenantId>;

/// How connections are made and how many there may be.
pub(super) struct Connections {
    options: PgConnectOptions,
    /// The last one given back is the first one lent: the others may rest.
    idle: Arc<Mutex<Vec<Resting>>>,
    room: Arc<Semaphore>,
    /// Whether the role is a superuser's, and has to step down.
    mighty: AtomicBool,
    /// How long to wait for one to be given back.
    patience: Duration,
}

struct Resting {
    conn: PgConnection,
    sees: Sees,
    since: Instant,
}

/// One connection on loan.
pub(super) struct Lent {
    conn: PgConnection,
    sees: Sees,
    idle: Arc<Mutex<Vec<Resting>>>,
    _room: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, most: usize, patience: Duration) -> Self {
        Self {
            options,
            idle: Arc::default(),
            room: Arc::new(Semaphore::new(most)),
            mighty: AtomicBool::new(false),
            patience,
        }
    }

    /// The role is a superuser's: it steps down wherever a connection sees one tenant.
    pub(super) fn step_down(&self) {
        self.mighty.store(true, Ordering::Relaxed);
    }

    /// Lends a connection that lives, for the service's own work.
    pub(super) async fn lend(&self) -> Result<Lent> {
        self.lend_for(None).await
    }

    /// Lends a connection that lives and sees the rows of one tenant alone, or all. It remembers: only a change costs.
    pub(super) async fn lend_for(&self, sees: Sees) -> Result<Lent> {
        let room = timeout(self.patience, Arc::clone(&self.room).acquire_owned()).await;
        let room =
            room.map_err(|_late| Error::busy("store_busy", "all connections to the store are in use"))?;
        let room = room.map_err(|_closed| Error::unavailable(GONE, "the store is closed"))?;
        let (mut conn, before) = self.living(sees).await?;
        if before != sees {
            let late = |_elapsed| Error::unavailable(GONE, "the store's server does not answer");
            let mighty = self.mighty.load(Ordering::Relaxed);
            timeout(CONNECT_WITHIN, see(&mut conn, sees, mighty)).await.map_err(late)??;
        }
        Ok(Lent { conn, sees, idle: Arc::clone(&self.idle), _room: room })
    }

    /// The latest of those at rest that see what is wanted, else the latest.
    fn rested(&self, sees: Sees) -> Option<Resting> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.iter().rposition(|resting| resting.sees == sees) {
            Some(place) => Some(idle.remove(place)),
            None => idle.pop(),
        }
    }

    async fn living(&self, sees: Sees) -> Result<(PgConnection, Sees)> {
        loop {
            let Some(mut resting) = self.rested(sees) else { return Ok((self.connect().await?, None)) };
            if resting.since.elapsed() < TRUSTED {
                return Ok((resting.conn, resting.sees));
            }
            if matches!(timeout(CONNECT_WITHIN, resting.conn.ping()).await, Ok(Ok(()))) {
                return Ok((resting.conn, resting.sees));
            }
        }
    }

    /// A new connection, not counted, that sees all.
    pub(super) async fn connect(&self) -> Result<PgConnection> {
        let late = |_elapsed| Error::unavailable(GONE, "the store's server does not answer");
        timeout(CONNECT_WITHIN, self.options.connect()).await.map_err(late)?.map_err(failed)
    }

    /// Those at rest are not to be trusted: the server has gone away.
    pub(super) fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Lends no more, and says goodbye on those at rest.
    pub(super) async fn close(&self) {
        self.room.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for resting in idle {
            let goodbye = timeout(CONNECT_WITHIN, resting.conn.close()).await;
            if !matches!(goodbye, Ok(Ok(()))) {
                tracing::debug!("a connection to the store was not closed in good order");
            }
        }
    }
}

/// From now on it sees these rows.
async fn see(conn: &mut PgConnection, sees: Sees, mighty: bool) -> Result<()> {
    let (tenant, reads, role) = match sees {
        Some(tenant) => (tenant.to_string(), "on", READER),
        None => (ALL.1.to_owned(), "off", "none"),
    };
    row(conn, SEE, Cells::new().text(&tenant).text(reads)).await?;
    if mighty {
        row(conn, STEP_DOWN, Cells::new().text(role)).await?;
    }
    Ok(())
}

impl Lent {
    pub(super) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// It is at rest: no transaction is open on it.
    pub(super) fn give_back(self) {
        let resting = Resting { conn: self.conn, sees: self.sees, since: Instant::now() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(resting);
    }
}
