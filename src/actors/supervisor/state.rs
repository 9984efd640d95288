//! What a supervisor does with its children. Nothing here waits for a child, but the stop of all of them.
//!
//! A child's key moves through the phases of [`Life`]. Of each running or stopping child the id is known, and its
//! end is the supervision event of that id: an event of an unknown id is somebody else's, or that of a child whose
//! start has not been reported yet (events overtake messages), and is kept until the report comes.

use std::collections::{HashMap, VecDeque};

use ractor::{ActorCell, ActorId, ActorRef, RpcReplyPort};
use tokio::time::{Instant, timeout};

use super::child::Started;
use super::policy::Policy;
use super::slot::{Life, Slot};
use super::stop::{KILL_GRACE, Leaving, finish};
use super::tree::{Node, descend};
use super::{Inner, Msg, Note, Spent, answer, from_now};
use crate::actors::task::spawn_child;

/// How an actor ended.
pub(super) struct End {
    pub(super) abnormal: bool,
    pub(super) reason: String,
}

/// The children of one supervisor.
pub struct State {
    pub(super) me: ActorRef<Msg>,
    pub(super) policy: Policy,
    pub(super) slots: HashMap<String, Slot>,
    pub(super) ids: HashMap<ActorId, String>,
    /// Keys in phase `Queued`, the first to be started first.
    pub(super) queue: VecDeque<String>,
    /// How many slots are in phase `Starting`.
    pub(super) in_flight: usize,
    pub(super) early: HashMap<ActorId, End>,
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

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
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
    pub(super) fn tree(&self, deadline: Instant, reply: RpcReplyPort<Vec<Node>>) {
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
        let deadline = self.stop_by.unwrap_or_else(|| from_now(self.policy.stop_within));
        let leaving = self.leave().await;
        finish(&leaving, self.policy.stop, deadline).await;
    }

    /// Calls off every start, then gives all that runs below this supervisor in start order.
    async fn leave(&mut self) -> Vec<Leaving> {
        self.queue.clear();
        let starting: Vec<String> = self.slots.values().filter(is_starting).map(key_of).collect();
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
