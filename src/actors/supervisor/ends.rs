//! How children go: failures and their budgets, stops and their deadlines, restarts on request.

use ractor::ActorId;
use tokio::time::Instant;

use super::child::{Restart, RestartError, StartError, Started};
use super::meter::Parked;
use super::policy::Exhausted;
use super::slot::{Life, Slot, StopReply};
use super::state::{End, State};
use super::stop::{KILL_GRACE, ask, kill, report_stuck};
use super::{Inner, Msg, Note, Spent, answer, from_now};
use crate::actors::task::{ChildTask, send_at};

impl State {
    pub(super) fn stopping(&mut self, mut slot: Slot, started: Started, stops: Vec<StopReply>, again: bool) {
        let deadline = from_now(self.policy.stop_within);
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
    pub(super) fn failed(&mut self, mut slot: Slot, reason: &str) -> Result<(), Spent> {
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
        let until = from_now(delay);
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
    pub(super) fn due(&mut self, key: &str, generation: u64) {
        let current =
            |slot: &Slot| slot.generation == generation && matches!(slot.life, Life::Waiting { .. });
        if self.slots.get(key).is_some_and(current)
            && let Some(slot) = self.slots.remove(key)
        {
            self.queue_up(slot);
        }
    }

    /// A child did not stop in time, or not even yield to its kill.
    pub(super) fn overdue(&mut self, key: &str, generation: u64) -> Result<(), Spent> {
        if self.slots.get(key).is_none_or(|slot| slot.generation != generation) {
            return Ok(());
        }
        let Some(mut slot) = self.slots.remove(key) else { return Ok(()) };
        let timer = self.overdue_at(&mut slot, from_now(KILL_GRACE));
        let id = match &mut slot.life {
            Life::Stopping { killed: killed @ false, started, _timer, .. } => {
                kill(key, &started.cell);
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
        report_stuck(key);
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
}
