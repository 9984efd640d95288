//! One round: fetch what is next, accept what can be, answer for it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use super::{Arguments, order};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::SessionId;
use crate::domain::write::{Accept, Write};
use crate::infra::stream::intake::Order;
use crate::telemetry;

/// Orders fetched at once.
const BATCH: usize = 64;

/// Orders that wait because their session or the store is full; beyond it nothing new is fetched.
const PUT_OFF: usize = 256;

/// How long a fetch waits for something new.
const WAIT: Duration = Duration::from_secs(5);

/// When what was put off is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is fetched next. After a start and after each trouble, what was given before comes first.
enum Step {
    Mine(Option<String>),
    Abandoned,
    Fresh,
}

struct Waiting {
    order: Order,
    accept: Accept,
}

type Lane = VecDeque<Waiting>;

/// What goes on from round to round.
pub struct Round {
    args: Arguments,
    step: Step,
    /// When to look for what other processes left.
    look: Instant,
    /// By session, in order.
    put_off: HashMap<SessionId, Lane>,
    retry: Instant,
}

/// What became of the orders of one session.
#[derive(Default)]
struct Ended {
    done: Vec<String>,
    refused: Vec<(Order, Error)>,
    rest: Lane,
}

impl Round {
    pub(super) fn new(args: Arguments) -> Self {
        let now = Instant::now();
        Self { args, step: Step::Mine(None), look: now, put_off: HashMap::new(), retry: now }
    }

    pub(super) async fn run(&mut self) -> Result<()> {
        let orders = self.fetch().await?;
        let (mut lanes, mut refused) = (HashMap::<SessionId, Lane>::new(), Vec::new());
        if Instant::now() >= self.retry {
            lanes = std::mem::take(&mut self.put_off);
        }
        for order in orders {
            match order::read(&order, &self.args.terms) {
                Ok(accept) => {
                    let session = accept.session;
                    // What waits already goes first.
                    let waits = self.put_off.get_mut(&session);
                    let lane = waits.unwrap_or_else(|| lanes.entry(session).or_default());
                    lane.push_back(Waiting { order, accept });
                }
                Err(error) => refused.push((order, error)),
            }
        }
        let ended = join_all(lanes.into_values().map(|lane| self.accept(lane))).await;
        let mut done = Vec::new();
        for mut lane in ended {
            done.append(&mut lane.done);
            refused.append(&mut lane.refused);
            if let Some(first) = lane.rest.front() {
                let session = first.accept.session;
                telemetry::intake_orders("put_off", lane.rest.len());
                self.put_off.insert(session, lane.rest);
                self.retry = Instant::now() + AGAIN;
            }
        }
        self.answer(&done, &refused).await
    }

    async fn fetch(&mut self) -> Result<Vec<Order>> {
        let intake = &*self.args.intake;
        if matches!(self.step, Step::Fresh) && Instant::now() >= self.look {
            self.step = Step::Abandoned;
        }
        let waiting: usize = self.put_off.values().map(VecDeque::len).sum();
        if waiting >= PUT_OFF {
            sleep_until(self.retry).await;
            return Ok(Vec::new());
        }
        match &mut self.step {
            Step::Mine(after) => {
                let orders = intake.mine(after.as_deref(), BATCH).await?;
                match orders.last() {
                    Some(last) => *after = Some(last.place.clone()),
                    None => self.step = Step::Abandoned,
                }
                Ok(orders)
            }
            Step::Abandoned => {
                let orders = intake.abandoned(self.args.claim, BATCH).await?;
                if orders.len() < BATCH {
                    self.step = Step::Fresh;
                    self.look = Instant::now() + self.args.claim;
                }
                Ok(orders)
            }
            Step::Fresh => {
                let mut until = self.look.min(Instant::now() + WAIT);
                if waiting > 0 {
                    until = until.min(self.retry);
                }
                intake.fresh(BATCH, until.saturating_duration_since(Instant::now())).await
            }
        }
    }

    /// Accepts the orders of one session, one after the other; from the first that has to wait, all wait.
    async fn accept(&self, mut lane: Lane) -> Ended {
        let mut ended = Ended::default();
        while let Some(next) = lane.pop_front() {
            let answer = self.args.ledgers.write_patiently(Write::Accept(next.accept.clone())).await;
            match answer {
                Ok(_accepted) => ended.done.push(next.order.place),
                Err(error) => match error.kind {
                    Kind::Busy | Kind::Unavailable | Kind::Fenced => {
                        tracing::debug!(%error, "an order has to wait");
                        lane.push_front(next);
                        break;
                    }
                    Kind::Invalid
                    | Kind::NotFound
                    | Kind::Conflict
                    | Kind::Unauthorized
                    | Kind::Forbidden
                    | Kind::Bug => ended.refused.push((next.order, error)),
                },
            }
        }
        ended.rest = lane;
        ended
    }

    async fn answer(&self, done: &[String], refused: &[(Order, Error)]) -> Result<()> {
        if !done.is_empty() {
            telemetry::intake_orders("accepted", done.len());
            self.args.intake.done(done).await?;
        }
        for (order, error) in refused {
            telemetry::intake_orders("refused", 1);
            tracing::warn!(
                code = error.code,
                place = order.place,
                "a command of a program outside is refused"
            );
            self.args.intake.refuse(order, error).await?;
        }
        Ok(())
    }
}
