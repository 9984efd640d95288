//! How children come: first starts, restarts, and never more of them at once than allowed.
//!
//! A start runs as a task beside the supervisor and always reports back, also when it is called off; so a child in
//! phase `Starting` has exactly one start under way.

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::child::{Child, StartError, Started};
use super::slot::{Life, Slot, StartReply};
use super::state::State;
use super::{Inner, Msg, Note, Spent, answer, meter};
use crate::actors::task::{Panicked, spawn_child};

impl State {
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
    pub(super) fn queue_up(&mut self, mut slot: Slot) {
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
    pub(super) fn begun(&mut self, key: &str, outcome: Result<Started, StartError>) -> Result<(), Spent> {
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

    pub(super) fn running(&mut self, mut slot: Slot, started: Started) {
        let key = slot.child.key.clone();
        self.ids.insert(started.cell.get_id(), key.clone());
        slot.enter(Life::Running { started });
        self.slots.insert(key, slot);
    }
}

fn flat(outcome: Result<Result<Started, StartError>, Panicked>) -> Result<Started, StartError> {
    outcome.unwrap_or_else(|panicked| Err(StartError::Failed(panicked.to_string())))
}
