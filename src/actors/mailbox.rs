//! A bounded way into an actor's unbounded mailbox.
//!
//! Promises: never more than `capacity` letters are under way at once; one too many is refused, not queued; and a
//! letter that is dropped, also because its actor died, gives its place back. A mailbox outlives the actors behind
//! it: a restarted actor is bound to it again, and whoever holds the mailbox notices nothing but refused letters.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A message with its place in the mailbox.
#[derive(Debug)]
pub struct Letter<M> {
    msg: M,
    place: Place,
}

/// A place in a mailbox, given back when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl<M> Letter<M> {
    /// The message and its place; keep the place until the message's work is done.
    pub fn open(self) -> (M, Place) {
        (self.msg, self.place)
    }
}

/// Why a message was not taken or not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// All places are taken.
    #[error("the mailbox is full")]
    Full,
    /// No actor is there: not started yet, dead, or between two lives.
    #[error("nobody is there to read it")]
    Gone,
    /// The message was taken, and no answer came in time.
    #[error("no answer came in time")]
    Late,
}

/// The bounded mailbox of one actor, cheap to clone.
#[derive(Debug)]
pub struct Mailbox<M: Message> {
    shared: Arc<Shared<M>>,
}

#[derive(Debug)]
struct Shared<M: Message> {
    actor: RwLock<Option<ActorRef<Letter<M>>>>,
    places: Arc<Semaphore>,
    capacity: usize,
}

impl<M: Message> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Message> Mailbox<M> {
    /// A mailbox nobody reads yet: every letter is refused until an actor is bound to it.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(capacity));
        Self { shared: Arc::new(Shared { actor: RwLock::new(None), places, capacity }) }
    }

    /// Letters go to `actor` from now on. Called at each start of the actor.
    pub fn bind(&self, actor: ActorRef<Letter<M>>) {
        *self.shared.actor.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// Sheds load: refuses at once when full.
    pub fn try_send(&self, msg: M) -> Result<(), Refused> {
        let permit = Arc::clone(&self.shared.places).try_acquire_owned();
        self.put(msg, permit.map_err(|_all_taken| Refused::Full)?)
    }

    /// Back-pressure: waits for room, at most so long.
    pub async fn send(&self, msg: M, within: Duration) -> Result<(), Refused> {
        let permit = timeout(within, Arc::clone(&self.shared.places).acquire_owned()).await;
        let permit = permit.map_err(|_elapsed| Refused::Full)?.map_err(|_closed| Refused::Gone)?;
        self.put(msg, permit)
    }

    /// Sends a question, refused at once when full, and waits for its answer at most so long.
    pub async fn call<T>(
        &self,
        ask: impl FnOnce(RpcReplyPort<T>) -> M,
        within: Duration,
    ) -> Result<T, Refused> {
        let (reply, answer) = ractor::concurrency::oneshot();
        self.try_send(ask(reply.into()))?;
        let answer = timeout(within, answer).await.map_err(|_elapsed| Refused::Late)?;
        answer.map_err(|_dropped| Refused::Gone)
    }

    /// How many letters are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.capacity.saturating_sub(self.shared.places.available_permits())
    }

    /// Whether no letter is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many letters there can be at once.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    fn put(&self, msg: M, permit: OwnedSemaphorePermit) -> Result<(), Refused> {
        let actor = self.shared.actor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let letter = Letter { msg, place: Place(permit) };
        actor.ok_or(Refused::Gone)?.cast(letter).map_err(|_letter_dropped| Refused::Gone)
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::Notify;

    use super::*;

    /// Handles a letter only when told to.
    struct Slow;
    enum Msg {
        Work,
        Ask(RpcReplyPort<u8>),
    }

    impl Actor for Slow {
        type Msg = Letter<Msg>;
        type State = Arc<Notify>;
        type Arguments = Arc<Notify>;

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            go: Arc<Notify>,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(go)
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            letter: Self::Msg,
            go: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            let (msg, _place) = letter.open();
            match msg {
                Msg::Work => go.notified().await,
                Msg::Ask(reply) => reply.send(42)?,
            }
            Ok(())
        }
    }

    async fn slow(mailbox: &Mailbox<Msg>) -> (ActorRef<Letter<Msg>>, Arc<Notify>) {
        let go = Arc::new(Notify::new());
        let (actor, _) = Actor::spawn(None, Slow, Arc::clone(&go)).await.unwrap();
        mailbox.bind(actor.clone());
        (actor, go)
    }

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn of_10_000_letters_256_are_taken_and_a_kill_gives_every_place_back() {
        let mailbox = Mailbox::new(256);
        let (actor, _go) = slow(&mailbox).await;
        let taken = (0..10_000).filter(|_| mailbox.try_send(Msg::Work).is_ok()).count();
        assert_eq!((taken, mailbox.len(), mailbox.capacity()), (256, 256, 256));
        assert_eq!(mailbox.try_send(Msg::Work), Err(Refused::Full));
        actor.kill();
        let all = u32::try_from(mailbox.capacity()).unwrap();
        let places = timeout(SOON, mailbox.shared.places.acquire_many(all)).await.unwrap().unwrap();
        drop(places);
        assert!(mailbox.is_empty());
        assert_eq!(mailbox.try_send(Msg::Work), Err(Refused::Gone));
        assert!(mailbox.is_empty(), "a refused letter keeps no place");
    }

    #[tokio::test(start_paused = true)]
    async fn back_pressure_waits_for_room_and_gives_up_in_time() {
        let mailbox = Mailbox::new(1);
        let (_actor, go) = slow(&mailbox).await;
        mailbox.try_send(Msg::Work).unwrap();
        assert_eq!(mailbox.send(Msg::Work, SOON).await, Err(Refused::Full));
        go.notify_one();
        assert_eq!(mailbox.send(Msg::Work, SOON).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_refused_or_given_up() {
        let mailbox = Mailbox::new(8);
        assert_eq!(mailbox.call(Msg::Ask, SOON).await, Err(Refused::Gone), "nobody is bound");
        let (first, _) = slow(&mailbox).await;
        assert_eq!(mailbox.call(Msg::Ask, SOON).await, Ok(42));
        mailbox.try_send(Msg::Work).unwrap();
        assert_eq!(mailbox.call(Msg::Ask, SOON).await, Err(Refused::Late));
        first.kill();
        first.wait(Some(SOON)).await.unwrap();
        assert_eq!(mailbox.call(Msg::Ask, SOON).await, Err(Refused::Gone));
        let (_second, _) = slow(&mailbox).await;
        assert_eq!(mailbox.call(Msg::Ask, SOON).await, Ok(42), "a restarted actor reads the same mailbox");
    }
}
