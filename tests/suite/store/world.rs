//! A store with one tenant and one owned shard, and short words for what tests do with it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::Actor;
use recado::actors::consumer::Consumers;
use recado::actors::ledger::{self, Ledger, Ledgers};
use recado::actors::relay::Relays;
use recado::domain::Address;
use recado::domain::command::CommandType;
use recado::domain::content::Content;
use recado::domain::error::{Error, Result};
use recado::domain::event::{Event, Log};
use recado::domain::ids::{CommandId, Epoch, Fence, MessageId, Position, SessionId, Shard, TenantId, WaId};
use recado::domain::message::{Direction, MessageState};
use recado::domain::session::{Endpoint, SessionState};
use recado::domain::time::{Timestamp, now};
use recado::domain::view::{MessageView, PageRequest, SessionView};
use recado::domain::write::{
    Accept, CreateSession, Idempotency, Inbound, InboundMessage, LinkChange, MessageNews, NewMessage,
    Outcome, Progress, Take, TakeLease, Taken, Write,
};
use recado::infra::store::Store;
use serde_json::json;

use crate::invariants::{self, Open};

/// What an adapter gives each test: an empty store, and what must live as long.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub keep: Box<dyn Any + Send + Sync>,
}

pub struct World {
    pub store: Arc<dyn Store>,
    pub fence: Fence,
    pub tenant: TenantId,
    keep: Box<dyn Any + Send + Sync>,
    counter: AtomicU64,
}

impl World {
    pub async fn new(fixture: Fixture) -> Self {
        let mut world = Self {
            store: fixture.store,
            fence: Fence { shard: Shard(0), epoch: Epoch(0) },
            tenant: TenantId::DEFAULT,
            keep: fixture.keep,
            counter: AtomicU64::new(0),
        };
        world.fence = world.lease(Shard(0), "node-1").await.unwrap();
        world
    }

    /// Lets go of the store.
    #[allow(dead_code, reason = "not every adapter can be opened again")]
    pub fn give_back(self) -> Box<dyn Any + Send + Sync> {
        self.keep
    }

    /// One write, one transaction.
    pub async fn write(&self, write: Write) -> Result<Outcome> {
        let mut answers = self.store.commit([write].into()).await?;
        assert_eq!(answers.len(), 1);
        answers.pop().unwrap()
    }

    pub async fn done(&self, write: Write) {
        assert!(matches!(self.write(write).await.unwrap(), Outcome::Done));
    }

    pub async fn lease(&self, shard: Shard, node: &str) -> Option<Fence> {
        let take = self.take_lease(shard, node);
        let Outcome::Lease(epoch) = self.write(Write::TakeLease(take)).await.unwrap() else { panic!() };
        epoch.map(|epoch| Fence { shard, epoch })
    }

    pub fn take_lease(&self, shard: Shard, node: &str) -> TakeLease {
        TakeLease {
            shard,
            node: node.to_owned(),
            address: "http://127.0.0.1:1".to_owned(),
            held: None,
            at: now(),
            ttl: Duration::from_secs(60),
        }
    }

    pub fn create(&self) -> CreateSession {
        let session = SessionId::new();
        CreateSession {
            tenant: self.tenant,
            session,
            shard: self.fence.shard,
            name: None,
            endpoint: Endpoint::Whatsapp {},
            start: None,
            response: json!({"sessionId": session}),
            idempotency: None,
            at: now(),
            limit: 1_000,
            audit: None,
        }
    }

    pub async fn session(&self) -> SessionId {
        let create = self.create();
        let id = create.session;
        self.write(Write::CreateSession(create)).await.unwrap();
        id
    }

    /// A message to a person of its own.
    pub fn message(&self, session: SessionId, text: &str) -> Accept {
        let person = 15_550_100_000 + self.counter.fetch_add(1, Ordering::Relaxed);
        self.message_to(session, &person.to_string(), text)
    }

    pub fn message_to(&self, session: SessionId, to: &str, text: &str) -> Accept {
        let id = MessageId::new();
        let message = NewMessage {
            id,
            wa_id: WaId::of(id),
            to: to.parse().unwrap(),
            content: Content::Text { text: text.to_owned(), reply_to: None },
            deadline: now().after(Duration::from_secs(3600)),
        };
        Accept {
            message: Some(message),
            response: json!({"messageId": id}),
            ..self.command(session, CommandType::SendMessage)
        }
    }

    pub fn command(&self, session: SessionId, kind: CommandType) -> Accept {
        let command = CommandId::new();
        Accept {
            tenant: self.tenant,
            session,
            shard: self.fence.shard,
            command,
            kind,
            message: None,
            response: json!({"commandId": command}),
            idempotency: None,
            at: now(),
            queue_limit: 100_000,
            audit: None,
        }
    }

    pub async fn accept(&self, accept: &Accept) -> Result<Outcome> {
        self.write(Write::Accept(accept.clone())).await
    }

    /// Accepts messages and returns them in order.
    pub async fn accepted(&self, session: SessionId, count: usize) -> Vec<NewMessage> {
        let mut messages = Vec::new();
        for n in 0..count {
            let accept = self.message(session, &format!("message {n}"));
            self.accept(&accept).await.unwrap();
            messages.extend(accept.message);
        }
        messages
    }

    pub fn taking(&self, session: SessionId, limit: usize) -> Take {
        Take { fence: self.fence, session, lifecycle_only: false, limit, at: now() }
    }

    pub async fn take(&self, session: SessionId, limit: usize) -> Vec<Taken> {
        self.take_with(self.taking(session, limit)).await
    }

    pub async fn take_with(&self, take: Take) -> Vec<Taken> {
        let Outcome::Taken(taken) = self.write(Write::Take(take)).await.unwrap() else { panic!() };
        taken
    }

    pub fn news(&self, wa_id: &WaId, state: MessageState) -> MessageNews {
        let failure =
            (state == MessageState::Failed).then(|| ("refused".into(), "WhatsApp refused it".into()));
        MessageNews { wa_id: wa_id.clone(), state, failure, at: now() }
    }

    pub fn progress(&self, session: SessionId, wa_id: &WaId, states: &[MessageState]) -> Write {
        let news = states.iter().map(|state| self.news(wa_id, *state)).collect();
        Write::Progress(Progress { fence: self.fence, session, news })
    }

    pub fn link(&self, session: SessionId, state: SessionState, reason: &str) -> LinkChange {
        LinkChange {
            fence: self.fence,
            session,
            state,
            reason: reason.to_owned(),
            pn: None,
            lid: None,
            push_name: None,
            code: None,
            at: now(),
        }
    }

    pub fn received(&self, pn: Option<&str>, lid: Option<&str>, text: &str) -> InboundMessage {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let id = MessageId::new();
        InboundMessage {
            wa_id: WaId::of(id),
            chat_pn: pn.map(address),
            chat_lid: lid.map(address),
            sender_pn: pn.map(address),
            sender_lid: lid.map(address),
            direction: Direction::In,
            push_name: Some("Ana".to_owned()),
            content: Content::Text { text: text.to_owned(), reply_to: None },
            sent_at: now(),
        }
    }

    pub fn inbound(&self, session: SessionId, messages: Vec<InboundMessage>) -> Write {
        Write::Inbound(Inbound { fence: self.fence, session, messages, at: now() })
    }

    pub async fn view(&self, session: SessionId) -> SessionView {
        self.store.owned_session(session).await.unwrap().unwrap()
    }

    pub async fn message_view(&self, message: MessageId) -> MessageView {
        self.store.message(self.tenant, message).await.unwrap().unwrap()
    }

    pub async fn chat(&self, session: SessionId, address: &str) -> Vec<MessageView> {
        let page = self.store.messages(self.tenant, Some(session), address, page(100)).await.unwrap();
        page.items
    }

    pub async fn stamp(&self, limit: usize) -> (usize, [Position; 2]) {
        match self.write(Write::Stamp(self.fence, limit)).await.unwrap() {
            Outcome::Stamped { stamped, heads, .. } => (stamped, heads),
            other => panic!("{other:?}"),
        }
    }

    /// Numbers everything.
    pub async fn settle(&self) {
        while self.stamp(1_000).await.0 > 0 {}
    }

    /// Every numbered event of a session, oldest first.
    pub async fn events(&self, session: SessionId, log: Log) -> Vec<Event> {
        self.settle().await;
        let entries = self.store.log_after(self.fence.shard, log, Position(0), 100_000).await.unwrap();
        let events = entries.into_iter().map(|entry| Arc::unwrap_or_clone(entry.event));
        events.filter(|event| event.session_id == Some(session)).collect()
    }

    /// The types of a session's domain events.
    pub async fn story(&self, session: SessionId) -> Vec<String> {
        self.events(session, Log::DomainEvents).await.into_iter().map(|event| event.kind).collect()
    }

    pub async fn check(&self, open: Open) {
        self.settle().await;
        invariants::figures(&*self.store, 4).await.assert(open);
    }

    pub async fn ledgers(&self) -> Ledgers {
        let ledgers = Ledgers::new(100_000);
        let arguments = ledger::Arguments {
            store: self.store.clone(),
            // Nobody listens: every wake is lost.
            relays: Relays::new(4),
            consumers: Consumers::default(),
            ledgers: ledgers.clone(),
        };
        let (actor, _joined) = Actor::spawn(None, Ledger, arguments).await.unwrap();
        ledgers.attach(actor);
        ledgers
    }
}

pub fn page(limit: usize) -> PageRequest {
    PageRequest { cursor: None, limit, among: None }
}

pub fn key(name: &str, request: u8) -> Option<Idempotency> {
    Some(Idempotency { key: name.to_owned(), fingerprint: [request; 32] })
}

/// The code of a refusal.
pub fn code(answer: &Result<Outcome>) -> &'static str {
    answer.as_ref().err().map_or("", |error: &Error| error.code)
}

/// A moment that many milliseconds from now.
pub fn later(millis: i64) -> Timestamp {
    Timestamp(now().0 + millis)
}
