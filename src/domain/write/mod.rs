//! Every change to the tables, as data. The Ledger groups what waits into one transaction; each write stands or
//! falls alone.
//!
//! A write that comes from a session, relay or consumer carries a [`Fence`]; a stale one changes nothing and is
//! answered `Fenced`.

mod paced;
pub mod people;
mod route;

use std::time::Duration;

use serde_json::Value;

use super::address::Address;
use super::cluster::NodeView;
use super::command::CommandType;
use super::content::Content;
use super::event::{Entry, Log};
use super::identity::{AuditEntry, Rotation};
use super::ids::{
    CommandId, DeadLetterId, Epoch, EventId, Fence, MessageId, Position, SessionId, Shard, TenantId, WaId,
};
use super::message::{Direction, MessageState};
use super::session::{Endpoint, SessionState};
use super::time::Timestamp;
pub use paced::{Paced, Refused, Release, TakePaced};
pub use people::{AddKey, PeopleWrite, SignInState};

/// One change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Stores an API key. → [`Outcome::Done`]
    AddKey(AddKey),
    /// Makes a session in state `created`, with `session.created`. → [`Outcome::Accepted`]
    CreateSession(CreateSession),
    /// Accepts a command (and its message) for a session. → [`Outcome::Accepted`]
    Accept(Accept),
    /// A node says that it is there. → [`Outcome::Done`]
    Beat(NodeView),
    /// A node says good-bye. → [`Outcome::Done`]
    Leave(String),
    /// What a fact of these tables is: the first one to say so decides, for good. → [`Outcome::Settled`]
    Settle(&'static str, String),
    /// Takes or keeps a shard. → [`Outcome::Lease`]
    TakeLease(TakeLease),
    /// Gives a shard back. → [`Outcome::Done`]
    ReleaseLease(Fence),
    /// Gives queued commands of a session to its actor, in order. → [`Outcome::Taken`]
    Take(Take),
    /// The same where sends are paced: what may not go yet waits. → [`Outcome::Paced`]
    TakePaced(TakePaced),
    /// WhatsApp refused a message for what the account did. → [`Outcome::Cooling`]
    Refused(Refused),
    /// Puts what was taken and not finished back in the queue: the link is new. → [`Outcome::Done`]
    Requeue(Fence, SessionId),
    /// Ends lifecycle commands. → [`Outcome::Done`]
    Finish(Finish),
    /// What became of messages: sent, delivered, read, failed. → [`Outcome::Done`]
    Progress(Progress),
    /// Messages that came in. Idempotent. → [`Outcome::Done`]
    Inbound(Inbound),
    /// The link changed the session's state, identity or QR code. → [`Outcome::Done`]
    Link(LinkChange),
    /// Forgets a session: fails what is queued, wipes credentials, `session.deleted`. → [`Outcome::Done`]
    DeleteSession(Fence, SessionId),
    /// Engine credentials of one session, already encrypted. → [`Outcome::Done`]
    Auth(AuthWrite),
    /// Numbers what has no position yet, both logs. → [`Outcome::Stamped`]
    Stamp(Fence, usize),
    /// A consumer group handled entries. → [`Outcome::Done`]
    Handled(Handled),
    /// A delivery failed and will be tried again. → [`Outcome::Done`]
    DeliveryFailed(DeliveryFailed),
    /// A delivery is given up on. → [`Outcome::Done`]
    Bury(DeliveryFailed),
    /// A dead letter is to be delivered again. → [`Outcome::Accepted`]
    Redrive(Redrive),
    /// A redriven dead letter was handled. → [`Outcome::Done`]
    Redriven(Fence, DeadLetterId),
    /// One bounded step of upkeep: overdue messages fail, old idempotency keys go. → [`Outcome::Swept`]
    Sweep(Sweep),
    /// Tenants, people, logins and keys. → as each of them says
    People(Box<PeopleWrite>),
}

/// What a write answered.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is so.
    Done,
    /// The answer for the client; `replayed` when the idempotency key had been used with the same request.
    Accepted {
        /// The stored answer.
        response: Value,
        /// Whether this is an earlier answer given again.
        replayed: bool,
    },
    /// What the fact is.
    Settled(String),
    /// The epoch won or kept; `None` when another node holds the shard.
    Lease(Option<Epoch>),
    /// Commands in order.
    Taken(Vec<Taken>),
    /// The same, and what waits.
    Paced(Paced),
    /// From then on no past refusal counts.
    Cooling(Timestamp),
    /// How many rows were numbered, and the head of each log afterwards, in the order of [`Log::ALL`].
    Stamped {
        /// Rows numbered now.
        stamped: usize,
        /// Heads.
        heads: [Position; 2],
        /// Of what was numbered, what this batch itself added to each log: not to be read again.
        added: [Vec<Entry>; 2],
    },
    /// How many rows the sweep changed: more may wait when it reached its limit.
    Swept(usize),
    /// Where somebody stands after a password was tried.
    SignedIn(SignInState),
    /// What became of a refresh token.
    Rotated(Box<Rotation>),
}

/// A client's key for one request: the same key and request give the same answer, a different request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, 1 to 255 visible characters.
    pub key: String,
    /// SHA-256 over method, path and body.
    pub fingerprint: [u8; 32],
}

/// See [`Write::CreateSession`].
#[derive(Clone, Debug)]
pub struct CreateSession {
    /// Whose.
    pub tenant: TenantId,
    /// The new id.
    pub session: SessionId,
    /// Its shard.
    pub shard: Shard,
    /// For people; unique per tenant when given.
    pub name: Option<String>,
    /// Which WhatsApp.
    pub endpoint: Endpoint,
    /// A `session.start` command to accept in the same transaction.
    pub start: Option<CommandId>,
    /// The answer to give.
    pub response: Value,
    /// The client's key.
    pub idempotency: Option<Idempotency>,
    /// When.
    pub at: Timestamp,
    /// The most live sessions a tenant may have.
    pub limit: i64,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
}

/// See [`Write::Accept`].
#[derive(Clone, Debug)]
pub struct Accept {
    /// Who asks; must own the session.
    pub tenant: TenantId,
    /// For which session.
    pub session: SessionId,
    /// Its shard.
    pub shard: Shard,
    /// The command's id; a second one with the same id changes nothing.
    pub command: CommandId,
    /// What to do.
    pub kind: CommandType,
    /// With which message, for `session.sendMessage`.
    pub message: Option<NewMessage>,
    /// The answer to give.
    pub response: Value,
    /// The client's key.
    pub idempotency: Option<Idempotency>,
    /// When.
    pub at: Timestamp,
    /// The most unfinished commands a session may have; beyond it `Busy`.
    pub queue_limit: i64,
    /// What is written down, for what changes a session's life; messages have their own record.
    pub audit: Option<Box<AuditEntry>>,
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Our id.
    pub id: MessageId,
    /// The id it will carry to WhatsApp.
    pub wa_id: WaId,
    /// To whom.
    pub to: Address,
    /// What it says.
    pub content: Content,
    /// When it fails if WhatsApp has not acknowledged it.
    pub deadline: Timestamp,
}

/// See [`Write::TakeLease`].
#[derive(Clone, Debug)]
pub struct TakeLease {
    /// Which shard.
    pub shard: Shard,
    /// Who wants it: unique per process.
    pub node: String,
    /// Where its owner answers live questions.
    pub address: String,
    /// The epoch held so far, to keep it; `None` to win it anew.
    pub held: Option<Epoch>,
    /// When. To take over from a node that is gone: the lease's `expires_at` as it has long stood, so that a renewal
    /// at the last moment prevents it.
    pub at: Timestamp,
    /// For how long.
    pub ttl: Duration,
}

/// See [`Write::Take`].
#[derive(Clone, Debug)]
pub struct Take {
    /// The owner's right.
    pub fence: Fence,
    /// Whose commands.
    pub session: SessionId,
    /// Only lifecycle commands: there is no link to send through.
    pub lifecycle_only: bool,
    /// At most this many.
    pub limit: usize,
    /// When.
    pub at: Timestamp,
}

/// A command handed to its session.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its id.
    pub command: CommandId,
    /// What to do.
    pub kind: CommandType,
    /// 1, 2, 3… per session.
    pub seq: i64,
    /// With which message.
    pub message: Option<NewMessage>,
}

/// See [`Write::Finish`].
#[derive(Clone, Debug)]
pub struct Finish {
    /// The owner's right.
    pub fence: Fence,
    /// Whose commands.
    pub session: SessionId,
    /// Which are done.
    pub commands: Vec<CommandId>,
}

/// See [`Write::Progress`].
#[derive(Clone, Debug)]
pub struct Progress {
    /// The owner's right.
    pub fence: Fence,
    /// Whose messages.
    pub session: SessionId,
    /// What is new about them.
    pub news: Vec<MessageNews>,
}

/// What became of one outgoing message.
#[derive(Clone, Debug)]
pub struct MessageNews {
    /// Which.
    pub wa_id: WaId,
    /// Where it stands.
    pub state: MessageState,
    /// Why it failed: a stable code and a sentence.
    pub failure: Option<(String, String)>,
    /// When.
    pub at: Timestamp,
}

/// See [`Write::Inbound`].
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The owner's right.
    pub fence: Fence,
    /// Who received.
    pub session: SessionId,
    /// The messages, in order.
    pub messages: Vec<InboundMessage>,
    /// When we got them.
    pub at: Timestamp,
}

impl Inbound {
    /// The most messages of one write where there are many: what others write meanwhile gets in between.
    pub const AT_ONCE: usize = 12;
}

/// One message from WhatsApp.
#[derive(Clone, Debug)]
pub struct InboundMessage {
    /// WhatsApp's id.
    pub wa_id: WaId,
    /// The conversation, by phone address (or group address).
    pub chat_pn: Option<Address>,
    /// The conversation, by LID.
    pub chat_lid: Option<Address>,
    /// Who wrote it, by phone address.
    pub sender_pn: Option<Address>,
    /// Who wrote it, by LID.
    pub sender_lid: Option<Address>,
    /// Written by this account, on another of its devices, or by somebody else.
    pub direction: Direction,
    /// What the sender calls themself.
    pub push_name: Option<String>,
    /// What it says.
    pub content: Content,
    /// When WhatsApp got it.
    pub sent_at: Timestamp,
}

/// See [`Write::Link`].
#[derive(Clone, Debug)]
pub struct LinkChange {
    /// The owner's right.
    pub fence: Fence,
    /// Which session.
    pub session: SessionId,
    /// Its state now; the same state again makes no transition but keeps the rest.
    pub state: SessionState,
    /// Why: a stable code (`requested`, `replaced`, `keepalive_timeout`…).
    pub reason: String,
    /// The account by phone address, once known.
    pub pn: Option<Address>,
    /// The account by LID, once known.
    pub lid: Option<Address>,
    /// The account's push name, once known.
    pub push_name: Option<String>,
    /// A QR or pairing code to show, until when; any change without one clears it.
    pub code: Option<(String, Timestamp)>,
    /// When.
    pub at: Timestamp,
}

/// See [`Write::Auth`].
#[derive(Clone, Debug)]
pub struct AuthWrite {
    /// The owner's right.
    pub fence: Fence,
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub session: SessionId,
    /// Applied in order.
    pub ops: Vec<AuthOp>,
}

/// One change to a session's stored credentials. `kind` and `key` name the value; values are ciphertext.
#[derive(Clone, Debug)]
pub enum AuthOp {
    /// Stores the device itself (`session_auth_creds`).
    PutCreds(Vec<u8>),
    /// Inserts or replaces one value.
    Put {
        /// Family of keys: `session`, `prekey`, `lid`…
        kind: &'static str,
        /// Name within the family.
        key: String,
        /// Ciphertext.
        value: Vec<u8>,
        /// A number the family can be swept or searched by, in clear: an expiry in seconds, a flag.
        stamp: i64,
    },
    /// Replaces a value only if it is there: a consumed key must not come back.
    Update {
        /// Family.
        kind: &'static str,
        /// Name.
        key: String,
        /// Ciphertext.
        value: Vec<u8>,
        /// See `Put`.
        stamp: i64,
    },
    /// Removes one value.
    Delete {
        /// Family.
        kind: &'static str,
        /// Name.
        key: String,
    },
    /// Removes all values of a family whose name starts with `prefix`.
    DeletePrefix {
        /// Family.
        kind: &'static str,
        /// Start of the name; empty for the whole family.
        prefix: String,
    },
    /// Removes everything of the session: it is unlinked.
    Wipe,
    /// Removes the values of a family with `0 < stamp < before`.
    DeleteStamped {
        /// Family.
        kind: &'static str,
        /// The bound.
        before: i64,
    },
}

/// See [`Write::Handled`].
#[derive(Clone, Debug)]
pub struct Handled {
    /// The owner's right.
    pub fence: Fence,
    /// Which consumer group.
    pub group: String,
    /// Of which log.
    pub log: Log,
    /// Every entry up to here is handled.
    pub cursor: Position,
    /// Handled entries above the cursor: they go to the inbox until the cursor passes them.
    pub above: Vec<(Position, EventId)>,
}

/// See [`Write::DeliveryFailed`] and [`Write::Bury`].
#[derive(Clone, Debug)]
pub struct DeliveryFailed {
    /// The owner's right.
    pub fence: Fence,
    /// Which consumer group.
    pub group: String,
    /// Of which log.
    pub log: Log,
    /// Which entry.
    pub position: Position,
    /// Which event.
    pub event: EventId,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    pub error: String,
    /// When.
    pub at: Timestamp,
    /// When it will be tried again, for `DeliveryFailed`.
    pub next_at: Timestamp,
    /// Set when this was itself a redriven dead letter: it is updated instead of buried twice.
    pub dead_letter: Option<DeadLetterId>,
}

/// See [`Write::Redrive`].
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Who asks.
    pub tenant: TenantId,
    /// Which.
    pub id: DeadLetterId,
    /// The answer to give.
    pub response: Value,
    /// The client's key.
    pub idempotency: Option<Idempotency>,
    /// When.
    pub at: Timestamp,
    /// What is written down.
    pub audit: Option<Box<AuditEntry>>,
}

/// See [`Write::Sweep`].
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The owner's right: only the messages of this shard fail.
    pub fence: Fence,
    /// When.
    pub at: Timestamp,
    /// Idempotency keys older than this go.
    pub keys_before: Timestamp,
    /// At most this many rows of each kind.
    pub limit: usize,
}
