//! What a supervisor does with its children. Nothing here waits for a child, but the stop of all of them.
//!
//! A child's key moves through the phases of [`Life`]. Of each running or stopping child the id is known, and its
//! end is the supervision event of that id: an event of an unknown id is somebody else's, or that of a child whose
//! start has not been reported yet (events overtake messages), and is kept until the report comes.

use std::collections::{HashMap, VecDeque};

use ractor::{ActorCell, ActorId, ActorRef};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::child::{Child, Restart, RestartError, StartError, Started};
use super::meter::{self, Parked};
use super::policy::{Exhausted, Policy};
use super::slot::{Life, Slot, StartReply, StopReply};
use super::stop::{KILL_GRACE, Leaving, ask, finish};
use super::tree::{Node, descend};
use super::{Inner, Msg, Note, Spent, answer};
use crate::actors::task::{ChildTask, Panicked, send_at, spawn_child};

/// How an actor ended.
pub(super) struct End {
    pub(super) abnormal: bool,
    pub(super) reason: String,
}

/// The children of one supervisor.
pub struct State {
    me: ActorRef<Msg>,
    policy: Policy,
    slots: HashMap<String, Slot>,
    ids: HashMap<ActorId, String>,
    /// Keys in phase `Queued`, the first to be started first.
    queue: VecDeque<String>,
    /// How many slots are in phase `Starting`.
    in_flight: usize,
    early: HashMap<ActorId, End>,
    serial: u64,
    pub(super) stop_by: Option<Instant>,
}

impl State {
    pub(super) fn new(me: ActorRef<Msg>, policy: Policy) -> Self {
        Self {
            me,
            policy,
            slots: HashMap::new(),
            ids: HashMap::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            early: HashMap::new(),
            serial: 0,
            stop_by: None,
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn room_for(&self, key: &str) -> Result<(), StartError> {
        if self.slots.contains_key(key) {
            return Err(StartError::Exists);
        }
        if self.slots.len() >= self.policy.children {
            Err(StartError::Full(self.policy.children))
        } else {
            Ok(())
        }
    }

    /// Starts one of the first children, before this supervisor reads any message.
    pub(super) async fn start_now(&mut self, child: Child) -> Result<(), StartError> {
        self.room_for(&child.key)?;
        let start = child.start.run(self.me.get_cell());
        let started = timeout(self.policy.start_within, start).await;
        let started = started
            .map_err(|_elapsed| StartError::Late(self.policy.start_within))?
            .map_err(|error| StartError::Failed(error.to_string()))?;
        let slot = Slot::new(child, self.next_serial(), None);
        self.running(slot, started);
        Ok(())
    }

    pub(super) fn admit(&mut self, child: Child, reply: StartReply) {
        if let Err(refused) = self.room_for(&child.key) {
            return answer(reply, Err(refused));
        }
        let order = self.next_serial();
        self.queue_up(Slot::new(child, order, Some(reply)));
    }

    /// Puts a slot in line for a start; its caller has taken it out of the map, or made it.
    fn queue_up(&mut self, mut slot: Slot) {
        if !matches!(slot.life, Life::Queued { .. }) {
            slot.enter(Life::Queued { first: None });
        }
        self.queue.push_back(slot.child.key.clone());
        self.slots.insert(slot.child.key.clone(), slot);
        self.pump();
    }

    /// Begins as many starts as the policy allows.
    fn pump(&mut self) {
        while self.in_flight < self.policy.starts.max(1) {
            let Some(key) = self.queue.pop_front() else { return };
            self.launch(&key);
        }
    }

    fn launch(&mut self, key: &str) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Life::Queued { first } = &mut slot.life else { return };
        let first = first.take();
        if first.is_none() {
            slot.restarts += 1;
            meter::count_restart(slot.child.kind);
        }
        let (go_on, called_off) = oneshot::channel::<()>();
        let (start, above, within) = (slot.child.start.clone(), self.me.get_cell(), self.policy.start_within);
        let work = async move {
            tokio::select! {
                biased;
                _ = called_off => Err(StartError::Stopped),
                started = timeout(within, start.run(above)) => match started {
                    Ok(started) => started.map_err(|error| StartError::Failed(error.to_string())),
                    Err(_elapsed) => Err(StartError::Late(within)),
                },
            }
        };
        let task = spawn_child(&self.me, work, {
            let key = key.to_owned();
            move |outcome| Msg::Note(Note(Inner::Begun(key, flat(outcome))))
        });
        slot.enter(Life::Starting { first, stops: Vec::new(), go_on: Some(go_on), task });
        self.in_flight += 1;
    }

    /// A start has ended, well or not.
    fn begun(&mut self, key: &str, outcome: Result<Started, StartError>) -> Result<(), Spent> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let verdict = self.settle_start(key, outcome);
        if self.in_flight == 0 {
            self.early.clear();
        }
        self.pump();
        verdict
    }

    fn settle_start(&mut self, key: &str, outcome: Result<Started, StartError>) -> Result<(), Spent> {
        let Some(mut slot) = self.slots.remove(key) else { return Ok(()) };
        let Life::Starting { first, stops, .. } = &mut slot.life else {
            self.slots.insert(key.to_owned(), slot);
            return Ok(());
        };
        let (first, stops) = (first.take(), std::mem::take(stops));
        match outcome {
            Ok(started) if stops.is_empty() => {
                let id = started.cell.get_id();
                self.running(slot, started);
                first.into_iter().for_each(|reply| answer(reply, Ok(())));
                self.early.remove(&id).map_or(Ok(()), |end| self.ended(id, end))
            }
            Ok(started) => {
                first.into_iter().for_each(|reply| answer(reply, Err(StartError::Stopped)));
                let id = started.cell.get_id();
                self.stopping(slot, started, stops, false);
                self.early.remove(&id).map_or(Ok(()), |end| self.ended(id, end))
            }
            Err(error) if stops.is_empty() => match first {
                Some(reply) => {
                    answer(reply, Err(error));
                    Ok(())
                }
                None => self.failed(slot, &error.to_string()),
            },
            Err(_called_off) => {
                first.into_iter().for_each(|reply| answer(reply, Err(StartError::Stopped)));
                stops.into_iter().for_each(|reply| answer(reply, ()));
                Ok(())
            }
        }
    }

    fn running(&mut self, mut slot: Slot, started: Started) {
        let key = slot.child.key.clone();
        self.ids.insert(started.cell.get_id(), key.clone());
        slot.enter(Life::Running { started });
        self.slots.insert(key, slot);
    }

    fn stopping(&mut self, mut slot: Slot, started: Started, stops: Vec<StopReply>, again: bool) {
        let deadline = Instant::now() + self.policy.stop_within;
        ask(&started, deadline);
        let key = slot.child.key.clone();
        self.ids.insert(started.cell.get_id(), key.clone());
        let _timer = self.overdue_at(&mut slot, deadline);
        slot.enter(Life::Stopping { started, killed: false, stops, again, _timer });
        self.slots.insert(key, slot);
    }

    fn overdue_at(&mut self, slot: &mut Slot, at: Instant) -> ChildTask {
        slot.generation = self.next_serial();
        let (key, generation) = (slot.child.key.clone(), slot.generation);
        send_at(&self.me, at, move || Msg::Note(Note(Inner::Overdue(key, generation))))
    }

    /// An actor that is linked to this supervisor has ended.
    pub(super) fn ended(&mut self, id: ActorId, end: End) -> Result<(), Spent> {
        let Some(key) = self.ids.remove(&id) else {
            if self.in_flight > 0 {
                self.early.insert(id, end);
            }
            return Ok(());
        };
        let Some(mut slot) = self.slots.remove(&key) else { return Ok(()) };
        match &mut slot.life {
            Life::Running { .. } => match (slot.child.restart, end.abnormal) {
                (Restart::Permanent, _) | (Restart::Transient, true) => self.failed(slot, &end.reason),
                (Restart::Transient, false) | (Restart::Never, _) => {
                    tracing::debug!(child = key, reason = end.reason, "ended for good");
                    Ok(())
                }
            },
            Life::Stopping { stops, again, .. } => {
                std::mem::take(stops).into_iter().for_each(|reply| answer(reply, ()));
                if *again {
                    slot.note(&end.reason);
                    self.queue_up(slot);
                }
                Ok(())
            }
            Life::Queued { .. } | Life::Starting { .. } | Life::Waiting { .. } | Life::Parked { .. } => {
                self.slots.insert(key, slot);
                Ok(())
            }
        }
    }

    /// Counts a failure, and plans the restart or spends the budget.
    fn failed(&mut self, mut slot: Slot, reason: &str) -> Result<(), Spent> {
        slot.note(reason);
        let (key, kind) = (slot.child.key.clone(), slot.child.kind);
        let Some(delay) = slot.failed(&self.policy) else {
            tracing::error!(child = key, kind, reason = slot.last_reason(), "spent its restart budget");
            let spent = Spent { key: key.clone(), reason: slot.last_reason().to_owned() };
            slot.enter(Life::Parked { _counted: Parked::new(kind) });
            self.slots.insert(key, slot);
            return match self.policy.exhausted {
                Exhausted::Park => Ok(()),
                Exhausted::Escalate => Err(spent),
            };
        };
        tracing::warn!(child = key, kind, reason = slot.last_reason(), ?delay, "failed, will be restarted");
        let until = Instant::now() + delay;
        slot.generation = self.next_serial();
        let generation = slot.generation;
        let _timer = send_at(&self.me, until, {
            let key = key.clone();
            move || Msg::Note(Note(Inner::Due(key, generation)))
        });
        slot.enter(Life::Waiting { until, _timer });
        self.slots.insert(key, slot);
        Ok(())
    }

    /// The wait before a restart is over.
    fn due(&mut self, key: &str, generation: u64) {
        let current =
            |slot: &Slot| slot.generation == generation && matches!(slot.life, Life::Waiting { .. });
        if self.slots.get(key).is_some_and(current)
            && let Some(slot) = self.slots.remove(key)
        {
            self.queue_up(slot);
        }
    }

    /// A child did not stop in time, or not even yield to its kill.
    fn overdue(&mut self, key: &str, generation: u64) -> Result<(), Spent> {
        if self.slots.get(key).is_none_or(|slot| slot.generation != generation) {
            return Ok(());
        }
        let Some(mut slot) = self.slots.remove(key) else { return Ok(()) };
        let timer = self.overdue_at(&mut slot, Instant::now() + KILL_GRACE);
        let id = match &mut slot.life {
            Life::Stopping { killed: killed @ false, started, _timer, .. } => {
                tracing::warn!(child = key, "killed: did not stop before the deadline");
                started.cell.kill();
                (*killed, *_timer) = (true, timer);
                None
            }
            Life::Stopping { started, .. } => Some(started.cell.get_id()),
            Life::Queued { .. }
            | Life::Starting { .. }
            | Life::Running { .. }
            | Life::Waiting { .. }
            | Life::Parked { .. } => None,
        };
        self.slots.insert(key.to_owned(), slot);
        let Some(id) = id else { return Ok(()) };
        tracing::error!(child = key, "does not even yield to a kill");
        self.ended(id, End { abnormal: true, reason: "does not yield to a kill".to_owned() })
    }

    /// Ends a child for good, whatever it does now.
    pub(super) fn stop(&mut self, key: &str, reply: StopReply) {
        let Some(mut slot) = self.slots.remove(key) else { return answer(reply, ()) };
        match slot.life {
            Life::Queued { first } => {
                self.queue.retain(|queued| queued != key);
                first.into_iter().for_each(|reply| answer(reply, Err(StartError::Stopped)));
                return answer(reply, ());
            }
            Life::Waiting { .. } | Life::Parked { .. } => return answer(reply, ()),
            Life::Running { started } => {
                slot.life = Life::Running { started: started.clone() };
                return self.stopping(slot, started, vec![reply], false);
            }
            Life::Starting { ref mut stops, ref mut go_on, .. } => {
                *go_on = None;
                stops.push(reply);
            }
            Life::Stopping { ref mut stops, ref mut again, .. } => {
                *again = false;
                stops.push(reply);
            }
        }
        self.slots.insert(key.to_owned(), slot);
    }

    /// Starts a child anew, at once and with its budget restored; one that runs is stopped first.
    pub(super) fn restart(&mut self, key: &str) -> Result<(), RestartError> {
        let Some(mut slot) = self.slots.remove(key) else { return Err(RestartError::Unknown) };
        slot.forgive();
        let verdict = match &slot.life {
            Life::Waiting { .. } | Life::Parked { .. } => {
                self.queue_up(slot);
                return Ok(());
            }
            Life::Running { started } => {
                let started = started.clone();
                self.stopping(slot, started, Vec::new(), true);
                return Ok(());
            }
            Life::Queued { .. } | Life::Stopping { again: true, .. } => Ok(()),
            Life::Starting { stops, .. } if stops.is_empty() => Ok(()),
            Life::Starting { .. } | Life::Stopping { .. } => Err(RestartError::Stopping),
        };
        self.slots.insert(key.to_owned(), slot);
        verdict
    }

    /// Does what the supervisor told itself to do.
    pub(super) fn heed(&mut self, note: Inner) -> Result<(), Spent> {
        match note {
            Inner::Begun(key, outcome) => self.begun(&key, outcome),
            Inner::Due(key, generation) => {
                self.due(&key, generation);
                Ok(())
            }
            Inner::Overdue(key, generation) => self.overdue(&key, generation),
            Inner::Listed(nodes, reply) => {
                answer(reply, nodes);
                Ok(())
            }
        }
    }

    /// The children in start order.
    fn in_order(&self) -> Vec<&Slot> {
        let mut slots: Vec<&Slot> = self.slots.values().collect();
        slots.sort_unstable_by_key(|slot| slot.order);
        slots
    }

    pub(super) fn list(&self) -> Vec<Node> {
        self.in_order().into_iter().map(Slot::node).collect()
    }

    /// Lists the children and all below them, beside this supervisor's other work.
    pub(super) fn tree(&self, deadline: Instant, reply: ractor::RpcReplyPort<Vec<Node>>) {
        let slots = self.in_order();
        let branch = |slot: &Slot| slot.started().and_then(|started| started.supervisor.clone());
        let branches =
            slots.iter().enumerate().filter_map(|(index, slot)| Some((index, branch(slot)?))).collect();
        let nodes = slots.into_iter().map(Slot::node).collect();
        let listing = descend(nodes, branches, deadline);
        spawn_child(&self.me, listing, move |nodes| {
            Msg::Note(Note(Inner::Listed(nodes.unwrap_or_default(), reply)))
        })
        .detach();
    }

    /// Ends every child: starts are called off, the rest stops by the policy.
    pub(super) async fn stop_all(&mut self) {
        let deadline = self.stop_by.unwrap_or_else(|| Instant::now() + self.policy.stop_within);
        let leaving = self.leave().await;
        finish(&leaving, self.policy.stop, deadline).await;
    }

    /// Calls off every start, then gives all that runs below this supervisor in start order.
    async fn leave(&mut self) -> Vec<Leaving> {
        self.queue.clear();
        let starting: Vec<String> =
            self.slots.values().filter(|slot| is_starting(slot)).map(key_of).collect();
        let mut tasks = Vec::new();
        for slot in starting.iter().filter_map(|key| self.slots.remove(key)) {
            if let Life::Starting { task, .. } = slot.life {
                task.abort();
                tasks.push(task);
            }
        }
        for task in tasks {
            // An aborted start ends at its next await; one that has none holds up no more than itself.
            let _late = timeout(KILL_GRACE, task.aborted()).await;
        }
        let mut leaving: Vec<Leaving> = self.in_order().into_iter().filter_map(as_leaving).collect();
        // Linked, yet not among the children: a start that won the race against its end, or a stranger.
        let strays = self.me.get_children().into_iter().filter(|cell| !self.ids.contains_key(&cell.get_id()));
        leaving.extend(strays.map(stray));
        leaving
    }
}

/// A supervisor that is killed in the middle of its stop has children that are stopping. ractor kills those below a
/// dead supervisor only when they are not stopping yet, so the rest would live on for as long as they like.
impl Drop for State {
    fn drop(&mut self) {
        for started in self.slots.values().filter_map(Slot::started) {
            started.cell.kill();
        }
    }
}

fn is_starting(slot: &&Slot) -> bool {
    matches!(slot.life, Life::Starting { .. })
}

fn key_of(slot: &Slot) -> String {
    slot.child.key.clone()
}

fn as_leaving(slot: &Slot) -> Option<Leaving> {
    Some(Leaving { key: key_of(slot), started: slot.started()?.clone() })
}

fn stray(cell: ActorCell) -> Leaving {
    Leaving { key: format!("unnamed {}", cell.get_id()), started: Started { cell, supervisor: None } }
}

fn flat(outcome: Result<Result<Started, StartError>, Panicked>) -> Result<Started, StartError> {
    outcome.unwrap_or_else(|panicked| Err(StartError::Failed(panicked.to_string())))
}
