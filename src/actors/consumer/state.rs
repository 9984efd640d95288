//! The consumer's turns: take in what came back, start what is due, record what is done, fetch what there is room for.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::fetch::Fetched;
use super::lanes::Lanes;
use super::progress::Progress;
use super::record::{Record, Recorded};
use super::{Arguments, Msg, Status};
use crate::actors::handler::{Delivery, Failure};
use crate::actors::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::{Error, Result};
use crate::domain::event::Entry;
use crate::domain::ids::{DeadLetterId, Position, Subject};
use crate::domain::retry::Schedule;
use crate::domain::view::{DeliveryState, GroupState, Redriving};
use crate::infra::stream::StreamKey;

/// What a task of the consumer brought back.
pub(super) enum News {
    Loaded(Result<GroupState>),
    Fetched(Result<Fetched>),
    /// Entries of a session read again, and up to where.
    Reloaded(Subject, Result<(Vec<Entry>, Position)>),
    Letters(Result<Vec<Redriving>>),
    Ended(Delivery, Result<(), Failure>),
    Recorded(Recorded),
    /// The time of a session has come.
    Due(Subject),
    /// A pause after a failure of our own is over.
    Resume,
}

/// What a consumer holds.
pub struct State {
    pub(super) args: Arguments,
    pub(super) key: StreamKey,
    pub(super) sender: mpsc::UnboundedSender<News>,
    pub(super) news: mpsc::UnboundedReceiver<News>,
    /// Nothing until the group's state is read.
    pub(super) progress: Option<Progress>,
    pub(super) lanes: Lanes,
    /// Counted failures from before the start.
    pub(super) failed_before: HashMap<Position, DeliveryState>,
    pub(super) deliveries: HashMap<Subject, ChildTask>,
    /// Timers of sessions that wait, and readings for sessions with a long queue.
    pub(super) waits: HashMap<Subject, ChildTask>,
    pub(super) letters: HashSet<DeadLetterId>,
    pub(super) more_letters: bool,
    pub(super) records: Vec<Record>,
    pub(super) acks: Vec<Position>,
    /// This name's entries are ours; a new one after each failure, so that what got lost can be claimed.
    pub(super) consumer: String,
    pub(super) known: Position,
    pub(super) claim: Option<Duration>,
    pub(super) fetching: Option<ChildTask>,
    pub(super) looking: Option<ChildTask>,
    pub(super) recording: Option<ChildTask>,
    pub(super) polling: Option<ChildTask>,
    /// Our own trouble with store or stream: a pause, longer each time.
    pub(super) pause: Option<ChildTask>,
    pub(super) troubles: u32,
}

impl State {
    pub(super) fn new(args: Arguments) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let settings = &args.settings;
        Self {
            key: StreamKey { shard: args.fence.shard, log: args.log },
            lanes: Lanes::new(settings.run, settings.window / 8),
            args,
            sender,
            news,
            progress: None,
            failed_before: HashMap::new(),
            deliveries: HashMap::new(),
            waits: HashMap::new(),
            letters: HashSet::new(),
            more_letters: false,
            records: Vec::new(),
            acks: Vec::new(),
            consumer: Uuid::now_v7().to_string(),
            known: Position::default(),
            claim: Some(Duration::ZERO),
            fetching: None,
            looking: None,
            recording: None,
            polling: None,
            pause: None,
            troubles: 0,
        }
    }

    pub(super) fn status(&self) -> Status {
        let progress = self.progress.as_ref();
        Status {
            cursor: progress.map(Progress::cursor).unwrap_or_default(),
            seen: progress.map(Progress::seen).unwrap_or_default(),
            open: progress.map(Progress::open).unwrap_or_default(),
            running: self.deliveries.len(),
            sessions: self.lanes.sessions(),
        }
    }

    pub(super) fn turn(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        while let Ok(news) = self.news.try_recv() {
            self.take(myself, news)?;
        }
        self.dispatch(myself);
        self.record(myself);
        self.fetch(myself);
        Ok(())
    }

    pub(super) fn poll(&mut self, myself: &ActorRef<Msg>) {
        let at = Instant::now() + self.args.settings.poll;
        self.polling = Some(send_at(myself, at, || Msg::Poll));
        self.claim = self.claim.or(Some(self.args.settings.claim));
        self.look_for_letters(myself);
        self.fetch(myself);
    }

    /// Finishes what runs and records it, until the deadline.
    pub(super) async fn drain(&mut self, myself: &ActorRef<Msg>) {
        let deadline = Instant::now() + self.args.settings.drain;
        self.fetching = None;
        self.pause = None;
        loop {
            self.record(myself);
            if self.deliveries.is_empty() && self.recording.is_none() {
                return;
            }
            match tokio::time::timeout_at(deadline, self.news.recv()).await {
                Ok(Some(news)) => {
                    if let Err(error) = self.take(myself, news) {
                        tracing::warn!(group = self.args.group, %error, "a stopping consumer lost its shard");
                        return;
                    }
                }
                Ok(None) => return,
                Err(_elapsed) => {
                    let left = self.deliveries.len();
                    tracing::warn!(
                        group = self.args.group,
                        left,
                        "deliveries were cut off; they are repeated"
                    );
                    return;
                }
            }
        }
    }

    pub(super) fn child<T: Send + 'static>(
        &self,
        myself: &ActorRef<Msg>,
        work: impl Future<Output = T> + Send + 'static,
        news: impl FnOnce(Result<T, Panicked>) -> News + Send + 'static,
    ) -> ChildTask {
        let sender = self.sender.clone();
        spawn_child(myself, work, move |outcome| {
            let _consumer_gone = sender.send(news(outcome));
            Msg::Turn
        })
    }

    fn take(&mut self, myself: &ActorRef<Msg>, news: News) -> Result<()> {
        match news {
            News::Loaded(outcome) => {
                self.fetching = None;
                match outcome {
                    Ok(group) => self.loaded(&group),
                    Err(error) => self.trouble(myself, &error),
                }
            }
            News::Fetched(outcome) => {
                self.fetching = None;
                match outcome {
                    Ok(fetched) => self.fetched(fetched),
                    Err(error) => self.trouble(myself, &error),
                }
            }
            News::Reloaded(session, outcome) => self.reloaded(myself, session, outcome),
            News::Letters(outcome) => {
                self.looking = None;
                match outcome {
                    Ok(letters) => self.redrive(letters),
                    Err(error) => {
                        tracing::warn!(group = self.args.group, %error, "dead letters cannot be read yet")
                    }
                }
            }
            News::Ended(delivery, outcome) => self.ended(&delivery, outcome),
            News::Recorded(recorded) => self.recorded(myself, recorded)?,
            News::Due(session) => {
                self.waits.remove(&session);
                self.lanes.release(session);
            }
            News::Resume => self.pause = None,
        }
        Ok(())
    }

    /// Reads under a new name, and first takes over what the old one was handed and did not hear.
    pub(super) fn start_anew(&mut self) {
        self.consumer = Uuid::now_v7().to_string();
        self.claim = Some(Duration::ZERO);
    }

    /// Something of our own failed: claim what may have got lost on the way, after a pause.
    pub(super) fn trouble(&mut self, myself: &ActorRef<Msg>, error: &Error) {
        if self.troubles == 0 {
            tracing::warn!(group = self.args.group, shard = %self.key.shard, %error, "a consumer is held up; trying on");
        }
        self.start_anew();
        let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(5));
        let wait = schedule.delay(self.troubles).max(Duration::from_millis(20));
        self.troubles = self.troubles.saturating_add(1);
        self.pause = Some(self.child(myself, tokio::time::sleep(wait), |_elapsed| News::Resume));
    }
}

pub(super) fn flat<T>(outcome: Result<Result<T>, Panicked>) -> Result<T> {
    outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked)))
}
