//! The consumer's turns: take in what came back, start what is due, record what is done, fetch what there is room for.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::fetch::{Fetch, Fetched};
use super::lanes::{Item, Lanes, Next};
use super::progress::{Admission, Progress};
use super::record::{Record, Recorded, Recorder};
use super::{Arguments, Msg, Status};
use crate::actors::handler::{Delivery, Failure};
use crate::actors::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::event::Entry;
use crate::domain::ids::{DeadLetterId, Position, SessionId};
use crate::domain::now;
use crate::domain::retry::{LONGEST, Schedule};
use crate::domain::view::{DeliveryState, GroupState, Redriving};
use crate::domain::write::{DeliveryFailed, Handled, Write};
use crate::infra::stream::StreamKey;
use crate::telemetry;

/// The most entries fetched at once, and the most dead letters under way.
const BATCH: usize = 512;

/// The most entries that came and are not handled, of those beyond a session's share only the positions.
const OPEN: usize = 1_000_000;

/// How long a fetch waits for something new.
const WAIT: Duration = Duration::from_secs(5);

/// What a task of the consumer brought back.
enum News {
    Loaded(Result<GroupState>),
    Fetched(Result<Fetched>),
    /// Entries of a session read again, and up to where.
    Reloaded(SessionId, Result<(Vec<Entry>, Position)>),
    Letters(Result<Vec<Redriving>>),
    Ended(Delivery, Result<(), Failure>),
    Recorded(Recorded),
    /// The time of a session has come.
    Due(SessionId),
    /// A pause after a failure of our own is over.
    Resume,
}

/// What a consumer holds.
pub struct State {
    args: Arguments,
    key: StreamKey,
    sender: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
    /// Nothing until the group's state is read.
    progress: Option<Progress>,
    lanes: Lanes,
    /// Counted failures from before the start.
    failed_before: HashMap<Position, DeliveryState>,
    deliveries: HashMap<SessionId, ChildTask>,
    /// Timers of sessions that wait, and readings for sessions with a long queue.
    waits: HashMap<SessionId, ChildTask>,
    letters: HashSet<DeadLetterId>,
    more_letters: bool,
    records: Vec<Record>,
    acks: Vec<Position>,
    /// This name's entries are ours; a new one after each failure, so that what got lost can be claimed.
    consumer: String,
    known: Position,
    claim: Option<Duration>,
    fetching: Option<ChildTask>,
    looking: Option<ChildTask>,
    recording: Option<ChildTask>,
    polling: Option<ChildTask>,
    /// Our own trouble with store or stream: a pause, longer each time.
    pause: Option<ChildTask>,
    troubles: u32,
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

    fn child<T: Send + 'static>(
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

    /// Something of our own failed: claim what may have got lost on the way, after a pause.
    fn trouble(&mut self, myself: &ActorRef<Msg>, error: &Error) {
        if self.troubles == 0 {
            tracing::warn!(group = self.args.group, shard = %self.key.shard, %error, "a consumer is held up; trying on");
        }
        self.consumer = Uuid::now_v7().to_string();
        self.claim = Some(Duration::ZERO);
        let schedule = Schedule::exponential(Duration::from_millis(200), Duration::from_secs(5));
        let wait = schedule.delay(self.troubles).max(Duration::from_millis(20));
        self.troubles = self.troubles.saturating_add(1);
        self.pause = Some(self.child(myself, tokio::time::sleep(wait), |_elapsed| News::Resume));
    }
}

/// Getting entries.
impl State {
    fn loaded(&mut self, group: &GroupState) {
        self.troubles = 0;
        self.failed_before = group.waiting.iter().map(|state| (state.position, state.clone())).collect();
        self.progress = Some(Progress::new(group));
    }

    fn fetch(&mut self, myself: &ActorRef<Msg>) {
        if self.fetching.is_some() || self.pause.is_some() {
            return;
        }
        let Some(progress) = &self.progress else {
            let (store, key, group) = (Arc::clone(&self.args.store), self.key, self.args.group.clone());
            let work = async move { store.group(key.shard, key.log, &group).await };
            self.fetching = Some(self.child(myself, work, |outcome| News::Loaded(flat(outcome))));
            return;
        };
        let room = self.args.settings.window.saturating_sub(self.lanes.held());
        if room < self.args.settings.window / 4 || progress.open() >= OPEN {
            return;
        }
        let fetch = Fetch {
            store: Arc::clone(&self.args.store),
            stream: Arc::clone(&self.args.stream),
            key: self.key,
            group: self.args.group.clone(),
            consumer: self.consumer.clone(),
            cursor: progress.cursor(),
            seen: progress.seen(),
            known: self.known,
            count: room.clamp(1, BATCH),
            wait: WAIT.min(self.args.settings.poll),
            claim: self.claim,
        };
        self.fetching = Some(self.child(myself, fetch.run(), |outcome| News::Fetched(flat(outcome))));
    }

    fn fetched(&mut self, fetched: Fetched) {
        self.troubles = 0;
        let Some(progress) = &mut self.progress else { return };
        if fetched.lost > 0 {
            let (log, lost) = (self.key.log, fetched.lost);
            tracing::error!(group = self.args.group, %log, lost, "entries are neither in the stream nor in the table");
            telemetry::events_missed(log, lost);
        }
        if fetched.claimed {
            self.claim = None;
        }
        self.known = self.known.max(fetched.known);
        progress.skip(fetched.skip);
        for entry in fetched.entries {
            match progress.admit(entry.position) {
                Admission::New => self.lanes.push(item(&self.failed_before, entry)),
                Admission::Open => {}
                Admission::Handled => self.acks.push(entry.position),
            }
        }
    }

    fn reload(&mut self, myself: &ActorRef<Msg>, session: SessionId, after: Position) {
        let (store, key) = (Arc::clone(&self.args.store), self.key);
        let work = async move {
            let rows = store.log_after(key.shard, key.log, after, BATCH).await?;
            // Nothing there at all: even the entry looked for is gone.
            let upto = rows.last().map_or(after.plus(1), |last| last.position);
            Ok((rows, upto))
        };
        let task = self.child(myself, work, move |outcome| News::Reloaded(session, flat(outcome)));
        self.waits.insert(session, task);
    }

    fn reloaded(
        &mut self,
        myself: &ActorRef<Msg>,
        session: SessionId,
        outcome: Result<(Vec<Entry>, Position)>,
    ) {
        self.waits.remove(&session);
        match outcome {
            Ok((rows, upto)) => {
                let items = rows.into_iter().map(|entry| item(&self.failed_before, entry)).collect();
                let lost = self.lanes.reloaded(session, items, upto);
                telemetry::events_missed(self.key.log, lost.len());
                if let Some(progress) = &mut self.progress {
                    lost.into_iter().for_each(|position| progress.lose(position));
                }
            }
            Err(error) => {
                tracing::debug!(group = self.args.group, %error, "a long queue cannot be read yet");
                let wait = tokio::time::sleep(Duration::from_secs(1));
                let task = self.child(myself, wait, move |_elapsed| News::Due(session));
                self.waits.insert(session, task);
            }
        }
    }

    pub(super) fn look_for_letters(&mut self, myself: &ActorRef<Msg>) {
        // Those under way would be found again: the next look is when they are done.
        if self.looking.is_some() || !self.letters.is_empty() || self.progress.is_none() {
            self.more_letters = true;
            return;
        }
        self.more_letters = false;
        let (store, key, group) = (Arc::clone(&self.args.store), self.key, self.args.group.clone());
        let work = async move { store.redriving(key.shard, key.log, &group, BATCH).await };
        self.looking = Some(self.child(myself, work, |outcome| News::Letters(flat(outcome))));
    }

    fn redrive(&mut self, letters: Vec<Redriving>) {
        self.more_letters |= letters.len() >= BATCH;
        for letter in letters {
            if self.letters.insert(letter.id) {
                let entry = Entry { position: letter.event.position, event: Arc::new(letter.event) };
                self.lanes.push(Item { entry, letter: Some(letter.id), failed: 0, not_before: None });
            }
        }
    }
}

/// Delivering.
impl State {
    fn dispatch(&mut self, myself: &ActorRef<Msg>) {
        while self.deliveries.len() < self.args.settings.slots {
            match self.lanes.next(Instant::now()) {
                None => return,
                Some(Next::Deliver(delivery)) => self.deliver(myself, delivery),
                Some(Next::Reload(session, after)) => self.reload(myself, session, after),
                Some(Next::Wait(session, until)) => {
                    let timer =
                        self.child(myself, tokio::time::sleep_until(until), move |_| News::Due(session));
                    self.waits.insert(session, timer);
                }
            }
        }
    }

    fn deliver(&mut self, myself: &ActorRef<Msg>, delivery: Delivery) {
        let (handler, limit) = (Arc::clone(&self.args.handler), self.args.settings.deadline);
        let (session, given) = (delivery.session, delivery.clone());
        let work = async move { tokio::time::timeout(limit, handler.handle(&given)).await };
        let ended = move |outcome| {
            let retry = |error| Err(Failure::Retry { error, after: None });
            let outcome = match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_elapsed)) => retry("the delivery took too long".to_owned()),
                Err(Panicked(text)) => retry(format!("the delivery panicked: {text}")),
            };
            News::Ended(delivery, outcome)
        };
        let task = self.child(myself, work, ended);
        self.deliveries.insert(session, task);
    }

    fn ended(&mut self, delivery: &Delivery, outcome: Result<(), Failure>) {
        let session = delivery.session;
        self.deliveries.remove(&session);
        let handled = if outcome.is_ok() { delivery.entries.len() } else { delivery.handled() };
        self.settle(session, handled);
        match outcome {
            Err(failure) if handled < delivery.entries.len() => self.failed(session, failure),
            Ok(()) | Err(_) => self.lanes.release(session),
        }
    }

    /// The first `count` entries of a session are handled.
    fn settle(&mut self, session: SessionId, count: usize) {
        for item in self.lanes.settle(session, count) {
            self.failed_before.remove(&item.entry.position);
            match (item.letter, &mut self.progress) {
                (Some(letter), _) => {
                    let write = Write::Redriven(self.args.fence, letter);
                    self.records.push(Record::Redriven(letter, write));
                }
                (None, Some(progress)) => progress.settle(item.entry.position, item.entry.event.event_id),
                (None, None) => {}
            }
        }
    }

    /// The first entry of a session failed: another try at its time, or the end.
    fn failed(&mut self, session: SessionId, failure: Failure) {
        let Some(item) = self.lanes.head(session) else { return };
        item.failed = item.failed.saturating_add(1);
        let (error, wait) = match failure {
            Failure::Permanent { error } => (error, None),
            Failure::Retry { error, after } => {
                let wait = self.args.settings.retries.after(item.failed);
                (error, wait.map(|wait| wait.max(after.unwrap_or_default()).min(LONGEST)))
            }
        };
        let at = now();
        let record = DeliveryFailed {
            fence: self.args.fence,
            group: self.args.group.clone(),
            log: self.args.log,
            position: item.entry.position,
            event: item.entry.event.event_id,
            attempts: item.failed,
            error,
            at,
            next_at: at.after(wait.unwrap_or_default()),
            dead_letter: item.letter,
        };
        telemetry::deliveries(&self.args.group, "failed", 1);
        let Some(wait) = wait else {
            // The session goes on when the burial is stored.
            self.records.push(Record::Buried(session, record));
            return;
        };
        item.not_before = Some(Instant::now() + wait);
        // A redriven letter starts afresh after a restart: its tries are not counted in the table.
        if item.letter.is_none() {
            self.records.push(Record::Failed(record));
        }
        self.lanes.release(session);
    }
}

/// Recording.
impl State {
    fn record(&mut self, myself: &ActorRef<Msg>) {
        if self.recording.is_some() || self.pause.is_some() {
            return;
        }
        let mut records = std::mem::take(&mut self.records);
        if let Some(save) = self.progress.as_mut().and_then(Progress::save) {
            let handled = Handled {
                fence: self.args.fence,
                group: self.args.group.clone(),
                log: self.args.log,
                cursor: save.cursor,
                above: save.above(),
            };
            records.push(Record::Progress(save, handled));
        }
        let acks = std::mem::take(&mut self.acks);
        if records.is_empty() && acks.is_empty() {
            return;
        }
        let recorder = Recorder {
            ledgers: self.args.ledgers.clone(),
            stream: Arc::clone(&self.args.stream),
            key: self.key,
            group: self.args.group.clone(),
        };
        let kept = records.clone();
        let news = move |outcome: Result<Recorded, Panicked>| {
            News::Recorded(outcome.unwrap_or_else(|panicked| {
                let refused = kept.into_iter().map(|record| (record, Error::bug(&panicked))).collect();
                Recorded { stored: Vec::new(), refused, unacked: Vec::new() }
            }))
        };
        self.recording = Some(self.child(myself, recorder.run(records, acks), news));
    }

    fn recorded(&mut self, myself: &ActorRef<Msg>, recorded: Recorded) -> Result<()> {
        self.recording = None;
        for record in recorded.stored {
            self.stored(record);
        }
        let mut trouble = None;
        for (record, error) in recorded.refused {
            if error.kind == Kind::Fenced {
                return Err(error);
            }
            self.refused(record, &error);
            trouble = Some(error);
        }
        self.acks.extend(recorded.unacked.iter().copied());
        match trouble {
            Some(error) => self.trouble(myself, &error),
            None if !recorded.unacked.is_empty() => {
                self.trouble(myself, &Error::unavailable("not_acknowledged", "the stream does not answer"));
            }
            None => self.troubles = 0,
        }
        if self.more_letters && self.letters.is_empty() {
            self.look_for_letters(myself);
        }
        Ok(())
    }

    fn stored(&mut self, record: Record) {
        let group = &self.args.group;
        match record {
            Record::Progress(save, _) => {
                telemetry::deliveries(group, "handled", save.handled.len());
                if let Some(progress) = &mut self.progress {
                    progress.saved(&save);
                    telemetry::consumer_lag(self.key.shard, group, progress.cursor(), progress.seen());
                }
            }
            Record::Redriven(letter, _) => {
                telemetry::deliveries(group, "redriven", 1);
                self.letters.remove(&letter);
            }
            Record::Failed(_) => {}
            Record::Buried(session, failed) => {
                telemetry::deliveries(group, "buried", 1);
                telemetry::dead_letter(group);
                self.buried(session, failed.dead_letter);
            }
        }
    }

    fn buried(&mut self, session: SessionId, letter: Option<DeadLetterId>) {
        match letter {
            // It is buried again, not redriven.
            Some(letter) => {
                self.lanes.settle(session, 1);
                self.letters.remove(&letter);
            }
            None => self.settle(session, 1),
        }
        self.lanes.release(session);
    }

    /// What could not be stored is stored later; what can never be is let go.
    fn refused(&mut self, record: Record, error: &Error) {
        match (record, error.kind) {
            (Record::Progress(save, _), _) => {
                if let Some(progress) = &mut self.progress {
                    progress.not_saved(save);
                }
            }
            (Record::Redriven(letter, _), Kind::NotFound | Kind::Conflict | Kind::Invalid) => {
                tracing::warn!(group = self.args.group, %error, "a redriven letter is not there any more");
                self.letters.remove(&letter);
            }
            // The count goes on in memory; the next failure stores it.
            (Record::Failed(_), _) => {}
            (record @ (Record::Redriven(..) | Record::Buried(..)), _) => self.records.push(record),
        }
    }
}

fn flat<T>(outcome: Result<Result<T>, Panicked>) -> Result<T> {
    outcome.unwrap_or_else(|panicked| Err(Error::bug(panicked)))
}

/// An entry with the failures it had before this start.
fn item(failed_before: &HashMap<Position, DeliveryState>, entry: Entry) -> Item {
    let before = failed_before.get(&entry.position);
    let not_before = before.map(|state| Instant::now() + state.next_at.since(now()));
    Item { entry, letter: None, failed: before.map_or(0, |state| state.attempts), not_before }
}
