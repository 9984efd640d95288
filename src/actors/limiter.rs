//! The limiter: whether a request may go on, by all of its limits at once.
//!
//! Promises: a request that nothing limits asks nobody; one that is limited asks once, and is answered within a deadline.
//! With Redis all nodes count together; while Redis does not answer in time, this node counts by itself, which is
//! counted and said once per change. The limiter never makes a request fail: where it cannot answer, the request goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::mailbox::{Letter, Mailbox};
use super::supervisor::{Child, Restart, leaf_known};
use crate::domain::error::Error;
use crate::domain::limit::{Charge, Rate, Rates, Scope, Verdict};
use crate::infra::limits::Limits;
use crate::infra::limits::memory::MemoryLimits;
use crate::telemetry;

/// How long a request waits for its verdict: longer than Redis may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// After a failure, Redis is tried with one request per this time; the others do not wait for it.
const AGAIN: Duration = Duration::from_secs(1);

/// The behaviour.
pub struct Limiter;

/// What it needs. Its clones share their counters, so that a restart forgets nothing.
#[derive(Clone)]
pub struct Arguments {
    /// The way to it.
    pub admission: Admission,
    /// The counters of this node.
    pub own: Arc<MemoryLimits>,
    /// The counters of all nodes, where there are others.
    pub shared: Option<Arc<Shared>>,
}

/// What it understands: one request to judge.
#[derive(Debug)]
pub struct Check {
    charges: Vec<Charge>,
    reply: RpcReplyPort<Verdict>,
}

/// What it holds.
pub struct State {
    own: Arc<MemoryLimits>,
    shared: Option<Arc<Shared>>,
    /// Questions to Redis under way; as many as the mailbox has places.
    asking: JoinSet<()>,
}

/// The limiter as a supervised child.
#[must_use]
pub fn child(args: Arguments) -> Child {
    let mailbox = args.admission.mailbox.clone();
    leaf_known(
        "limiter",
        "limiter",
        Restart::Permanent,
        move || (Limiter, args.clone()),
        move |actor| mailbox.bind(actor.clone()),
    )
}

impl Actor for Limiter {
    type Msg = Letter<Check>;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        args: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { own: args.own, shared: args.shared, asking: JoinSet::new() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        letter: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        while state.asking.try_join_next().is_some() {}
        let (Check { charges, reply }, place) = letter.open();
        let Some(shared) = &state.shared else {
            answer(reply, state.own.judge(&charges));
            return Ok(());
        };
        if !shared.way().may_try() {
            answer(reply, alone(&state.own, &charges));
            return Ok(());
        }
        let (shared, own) = (Arc::clone(shared), Arc::clone(&state.own));
        state.asking.spawn(async move {
            let verdict = shared.check(&charges).await.unwrap_or_else(|| alone(&own, &charges));
            answer(reply, verdict);
            drop(place);
        });
        Ok(())
    }
}

/// Judges by what this node has counted.
fn alone(own: &MemoryLimits, charges: &[Charge]) -> Verdict {
    telemetry::limits_fallback();
    own.judge(charges)
}

fn answer(reply: RpcReplyPort<Verdict>, verdict: Verdict) {
    if reply.send(verdict).is_err() {
        tracing::debug!("a verdict for a request that had gone");
    }
}

/// The counters of all nodes, and whether they can be reached.
pub struct Shared {
    limits: Arc<dyn Limits>,
    way: Mutex<Way>,
}

impl Shared {
    /// Counters that are believed to be there until they do not answer.
    #[must_use]
    pub fn new(limits: Arc<dyn Limits>) -> Arc<Self> {
        Arc::new(Self { limits, way: Mutex::default() })
    }

    fn way(&self) -> std::sync::MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(&self, charges: &[Charge]) -> Option<Verdict> {
        match self.limits.check(charges).await {
            Ok(verdict) => {
                self.way().found();
                Some(verdict)
            }
            Err(error) => {
                self.way().lost(&error);
                None
            }
        }
    }
}

/// The way to the shared counters: open, or closed until the next try.
#[derive(Default)]
struct Way {
    again: Option<Instant>,
}

impl Way {
    fn may_try(&mut self) -> bool {
        let moment = Instant::now();
        match &mut self.again {
            None => true,
            Some(at) if moment < *at => false,
            Some(at) => {
                *at = moment + AGAIN;
                true
            }
        }
    }

    fn found(&mut self) {
        if self.again.take().is_some() {
            tracing::info!("redis counts requests against their limits again, for all nodes");
        }
    }

    fn lost(&mut self, error: &Error) {
        if self.again.replace(Instant::now() + AGAIN).is_none() {
            tracing::warn!(%error, "this node counts requests against their limits by itself");
        }
    }
}

/// The way to the limiter, for whoever asks; cheap to clone, and outlives restarts of the actor.
#[derive(Clone)]
pub struct Admission {
    rates: Rates,
    mailbox: Mailbox<Check>,
}

impl Admission {
    /// A way to a limiter that is yet to start, for so many requests at once.
    #[must_use]
    pub fn new(rates: Rates, requests: usize) -> Self {
        Self { rates, mailbox: Mailbox::new(requests) }
    }

    /// The limit of a scope, if there is one.
    #[must_use]
    pub const fn rate(&self, scope: Scope) -> Option<Rate> {
        self.rates.of(scope)
    }

    /// Judges a request. Without charges nobody is asked; without an answer the request goes on.
    pub async fn ask(&self, charges: Vec<Charge>) -> Verdict {
        if charges.is_empty() {
            return Verdict::Admitted(None);
        }
        let verdict = self.mailbox.call(|reply| Check { charges, reply }, ANSWER_WITHIN).await;
        let verdict = verdict.unwrap_or_else(|refused| {
            telemetry::limits_unchecked();
            tracing::debug!(%refused, "the limiter does not answer; a request goes on unchecked");
            Verdict::Admitted(None)
        });
        if let Verdict::Refused(standing) = &verdict {
            telemetry::limits_refused(standing.scope);
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
