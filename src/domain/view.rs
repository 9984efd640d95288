//! What queries answer: the tables as clients may see them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address::Address;
use super::content::Content;
use super::event::{Event, Log};
use super::ids::{DeadLetterId, EventId, MessageId, Position, SessionId, Shard, TenantId, WaId};
use super::message::{Direction, MessageState};
use super::session::{Endpoint, SessionState};
use super::time::Timestamp;

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its id.
    pub session_id: SessionId,
    /// Whose.
    pub tenant_id: TenantId,
    /// For people.
    #[schema(min_length = 1, max_length = 100, example = "support")]
    pub name: Option<String>,
    /// Where it stands.
    pub state: SessionState,
    /// Why.
    #[schema(max_length = 512, example = "logged_in")]
    pub reason: String,
    /// The account by phone address, once linked.
    pub pn: Option<Address>,
    /// The account by LID, once linked.
    pub lid: Option<Address>,
    /// The account's own name.
    #[schema(max_length = 512, example = "Tienda")]
    pub push_name: Option<String>,
    /// Which WhatsApp.
    pub endpoint: Endpoint,
    /// Commands accepted and not finished.
    #[schema(minimum = 0, example = 1)]
    pub queued: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When it last logged in.
    pub connected_at: Option<Timestamp>,
    /// Its slice.
    #[serde(skip)]
    pub shard: Shard,
    /// The QR or pairing code to show now. Not part of the session's own view.
    #[serde(skip)]
    pub code: Option<(String, Timestamp)>,
}

/// One change of a session's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// From.
    pub from: SessionState,
    /// To.
    pub to: SessionState,
    /// Why.
    #[schema(max_length = 512, example = "logged_in")]
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    /// Our id.
    pub message_id: MessageId,
    /// WhatsApp's id.
    pub wa_message_id: WaId,
    /// The account.
    pub session_id: SessionId,
    /// The conversation.
    #[schema(value_type = Address)]
    pub chat: String,
    /// Who wrote it; this account when absent.
    #[schema(value_type = Option<Address>)]
    pub sender: Option<String>,
    /// In or out.
    pub direction: Direction,
    /// What it says.
    pub content: Content,
    /// Where it stands (`delivered` for what came in).
    pub state: MessageState,
    /// Why it failed, stable; of a queued one, why it waits: `paced_warm_up`, `paced_new_chats`, `paced_rate`,
    /// `paced_cool_down`.
    #[schema(max_length = 512, example = "deadline_passed")]
    pub code: Option<String>,
    /// From when a message that waits may go, at the earliest. Only where one message is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why it failed, for people.
    #[schema(max_length = 512, example = "not sent before its deadline")]
    pub failure: Option<String>,
    /// When it was accepted or sent.
    pub timestamp: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// Summary of one conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatView {
    /// The address it is known by here; never changes.
    #[schema(value_type = Address)]
    pub jid: String,
    /// The account.
    pub session_id: SessionId,
    /// By phone address.
    #[schema(value_type = Option<Address>)]
    pub pn: Option<String>,
    /// By LID.
    #[schema(value_type = Option<Address>)]
    pub lid: Option<String>,
    /// What the other side calls itself.
    #[schema(max_length = 512, example = "Ana")]
    pub name: Option<String>,
    /// Start of the last text.
    #[schema(max_length = 512, example = "Hola")]
    pub last_message: Option<String>,
    /// When.
    pub last_message_at: Timestamp,
}

/// An event or command that was given up on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// Its id.
    pub dead_letter_id: DeadLetterId,
    /// Which consumer group gave up.
    #[schema(max_length = 512, example = "webhooks")]
    pub group: String,
    /// What became of it.
    #[schema(schema_with = dead_letter_state)]
    pub state: String,
    /// How often it was tried.
    #[schema(minimum = 0, maximum = 4_294_967_295_u64, example = 5)]
    pub attempts: u32,
    /// What went wrong last.
    #[schema(max_length = 512, example = "the receiver answers 500")]
    pub error: String,
    /// When it was buried.
    pub buried_at: Timestamp,
    /// What was not delivered.
    pub event: Event,
}

/// The states a dead letter can be in.
pub const DEAD_LETTER_STATES: [&str; 3] = ["buried", "redriving", "resolved"];

/// The same for the documentation.
#[must_use]
pub fn dead_letter_state() -> utoipa::openapi::Object {
    one_of(&DEAD_LETTER_STATES)
}

/// A text that is one of these words, for the documentation.
#[must_use]
pub fn one_of(words: &[&str]) -> utoipa::openapi::Object {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(words.iter().copied()))
        .build()
}

/// A dead letter on its way to its group again.
#[derive(Clone, Debug)]
pub struct Redriving {
    /// Its id.
    pub id: DeadLetterId,
    /// What to deliver.
    pub event: Event,
}

/// One page, and the cursor of the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The rows.
    #[schema(max_items = 200)]
    pub items: Vec<T>,
    /// Opaque; give it back as `cursor` for the next page. Absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[-_0-9A-Za-z]+$", min_length = 1, max_length = 512, example = "MDE5MmYwYzEtN2I3YQ")]
    pub next_cursor: Option<String>,
}

/// A bounded question for a page.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// At most this many.
    pub limit: usize,
    /// Only what belongs to these sessions, where what is asked for belongs to one; `None` for all.
    pub among: Option<Arc<[SessionId]>>,
}

/// Which events a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Whose; always set by the service, never by the client.
    pub tenant: Option<TenantId>,
    /// Only of this session.
    pub session: Option<SessionId>,
    /// Only these types; empty for all.
    pub kinds: Vec<String>,
    /// Only of these sessions; `None` for all.
    pub among: Option<Arc<[SessionId]>>,
    /// Whether events about people are shown: only to who may see the tenant's people.
    pub people: bool,
}

impl EventFilter {
    /// Whether `event` is wanted.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.tenant.is_none_or(|tenant| tenant == event.tenant_id)
            && self.session.is_none_or(|session| Some(session) == event.session_id)
            && self
                .among
                .as_ref()
                .is_none_or(|among| event.session_id.is_some_and(|one| among.contains(&one)))
            && (self.people || !event.of_people())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }
}

/// How far a log is and what waits, per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogHead {
    /// The last position given.
    pub head: Position,
    /// Rows that have none yet.
    pub unstamped: i64,
    /// The oldest position still in the table; positions at or below have been retired.
    pub floor: Position,
}

/// One delivery that failed and waits for its next try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryState {
    /// Which entry.
    pub position: Position,
    /// Which event.
    pub event: EventId,
    /// How often it was tried.
    pub attempts: u32,
    /// When it will be tried again.
    pub next_at: Timestamp,
}

/// Where a consumer group stands in its log, with what it needs to go on without repeating itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Everything up to here is handled.
    pub cursor: Position,
    /// Handled entries above it.
    pub inbox: Vec<Position>,
    /// Failed entries that wait.
    pub waiting: Vec<DeliveryState>,
}

/// One log of one shard, in numbers, for readiness and the drop check of tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    /// Which log.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub log: Log,
    /// The last position given.
    pub head: Position,
    /// Rows without one.
    pub unpublished: i64,
}

fn as_text<S: serde::Serializer>(log: &Log, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(log.as_str())
}

/// The answer stored for an idempotency key, before it is used again.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAnswer {
    /// Of the request it answered.
    pub fingerprint: [u8; 32],
    /// The answer.
    pub response: Value,
}
