//! The reader: answers queries, many at a time, never more than it may.
//!
//! Promises: a query is answered or refused within its deadline; a slow query delays no other; beyond a bounded number
//! new ones are refused with `Busy`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::domain::error::{Error, Result};
use crate::infra::store::Store;

/// How long a query may take, waiting included.
const QUERY_DEADLINE: Duration = Duration::from_secs(10);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Query = Box<dyn FnOnce(Arc<dyn Store>) -> Work + Send>;

/// The behaviour.
pub struct Archive;

/// What it needs.
pub struct Arguments {
    /// The tables.
    pub store: Arc<dyn Store>,
}

/// What it understands: one query, which carries its own way back.
pub struct Msg(Query, OwnedSemaphorePermit);

/// What it holds: the queries under way.
pub struct State {
    store: Arc<dyn Store>,
    running: JoinSet<()>,
}

impl Actor for Archive {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        Ok(State { store: args.store, running: JoinSet::new() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        while state.running.try_join_next().is_some() {}
        let Msg(query, permit) = msg;
        let work = query(state.store.clone());
        state.running.spawn(async move {
            work.await;
            drop(permit);
        });
        Ok(())
    }
}

/// The way to the archive, for whoever asks.
#[derive(Clone)]
pub struct Queries {
    slot: Arc<arc_swap::ArcSwapOption<ActorRef<Msg>>>,
    permits: Arc<Semaphore>,
}

impl Queries {
    /// A way to an archive that is yet to start; refuses beyond `depth` queries at once.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self { slot: Arc::default(), permits: Arc::new(Semaphore::new(depth)) }
    }

    /// Points at the actor just started.
    pub fn attach(&self, actor: ActorRef<Msg>) {
        self.slot.store(Some(Arc::new(actor)));
    }

    /// Runs one query in the archive.
    ///
    /// # Errors
    /// The query's own; `Busy` when too many run; `Unavailable` when it takes too long.
    pub async fn ask<T, F, Fut>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Store>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_full| Error::busy("archive_busy", "too many queries at once"))?;
        let gone = || Error::unavailable("archive_gone", "the archive is restarting");
        let actor = self.slot.load_full().ok_or_else(gone)?;
        let (sender, receiver) = oneshot::channel();
        let work: Query = Box::new(move |store| {
            let answer = query(store);
            Box::pin(async move {
                if sender.send(answer.await).is_err() {
                    tracing::debug!("a query was answered for a caller that had gone");
                }
            })
        });
        actor.cast(Msg(work, permit)).map_err(|_stopped| gone())?;
        match tokio::time::timeout(QUERY_DEADLINE, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(gone()),
            Err(_late) => Err(Error::unavailable("query_late", "the store did not answer in time")),
        }
    }
}
