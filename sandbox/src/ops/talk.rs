//! A person uses a phone: sends, reads, types, comes and goes, hands over history.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use whatsapp_rust::wacore_binary::Jid;

use crate::account::{Account, PHONE, lock};
use crate::clock::now_secs;
use crate::error::{Code, Result, SandboxError};
use crate::handset;
use crate::phone::{ChatState, Conversation, MessageRef, PastMessage, ReceiptKind, ReplyTo, Text};
use crate::world::World;

/// Messages a phone sends before it lets others run.
const TURN: usize = 16;
/// Bytes of one text.
const TEXT: usize = 64 * 1024;
/// Bytes of one message id.
const ID: usize = 64;
/// Messages one `read` may name, or look back over.
const READ: usize = 1024;
/// Messages of one history.
const HISTORY: usize = 20_000;

/// Texts for a phone to send.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendText {
    /// A number or JID.
    pub to: String,
    /// The text; numbered when there are several.
    pub text: String,
    /// Id of the message, or the beginning of the ids when there are several.
    #[serde(default)]
    pub id: Option<String>,
    /// The message this replies to.
    #[serde(default)]
    pub reply_to: Option<Reply>,
    /// How many; 1 without it.
    #[serde(default)]
    pub count: Option<usize>,
    /// At this pace; as fast as it goes without it.
    #[serde(default)]
    pub per_second: Option<u32>,
}

/// A message to reply to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reply {
    /// Its id.
    pub id: String,
    /// Its author; the recipient without it.
    #[serde(default)]
    pub sender: Option<String>,
    /// Its text.
    #[serde(default)]
    pub text: String,
}

/// What a phone sent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// Ids, in order.
    pub ids: Vec<String>,
}

/// What a person does in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Typing {
    /// Types.
    Composing,
    /// Records.
    Recording,
    /// Stopped.
    Paused,
}

pub(crate) async fn send(world: &Arc<World>, phone: &str, order: &SendText) -> Result<Sent> {
    let account = world.book.need(phone)?;
    let to = peer(world, &order.to)?;
    let count = order.count.unwrap_or(1);
    if count == 0 || count > world.config.limits.burst {
        return Err(SandboxError::invalid(format!("count must be 1 to {}", world.config.limits.burst)));
    }
    if order.text.len() > TEXT || order.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > ID) {
        return Err(SandboxError::invalid("text or id is too long, or the id is empty"));
    }
    let began = Instant::now();
    let mut ids = Vec::with_capacity(count);
    for n in 0..count {
        if let Some(pace) = order.per_second.filter(|p| *p > 0) {
            let due = Duration::from_secs_f64(n as f64 / f64::from(pace));
            tokio::time::sleep_until(began + due).await;
        } else if n % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        let several = (count > 1).then_some(n + 1);
        ids.push(one(world, &account, &to, order, several)?);
    }
    Ok(Sent { ids })
}

fn one(
    world: &World,
    account: &Arc<Account>,
    to: &Jid,
    order: &SendText,
    number: Option<usize>,
) -> Result<String> {
    // A stanza that a full mailbox refuses would be lost: the phone is not told.
    let full = world.book.of(to).is_some_and(|a| a.devices().iter().any(|d| !d.mailbox.has_room()));
    if full {
        return Err(SandboxError::new(Code::Full, "a device of the recipient has no room for more"));
    }
    let body = number.map_or_else(|| order.text.clone(), |n| format!("{} #{n}", order.text));
    let id = match (&order.id, number) {
        (Some(id), Some(n)) => Some(format!("{id}-{n}")),
        (id, _) => id.clone(),
    };
    let author =
        order.reply_to.as_ref().and_then(|r| r.sender.as_deref()).map(|s| peer(world, s)).transpose()?;
    let reply_to = order.reply_to.as_ref().map(|reply| ReplyTo {
        id: &reply.id,
        sender: author.as_ref().unwrap_or(to),
        body: &reply.text,
    });
    let text = Text { body: &body, id: id.as_deref(), reply_to };
    let sent = world.with_phone(account, |phone, directory| phone.send_text(to, &text, directory));
    let sent = sent.map_err(|e| SandboxError::new(Code::Conflict, e.to_string()))?;
    handset::send(world, account, &sent.stanza);
    Ok(sent.id)
}

/// Reads messages of a chat: the named ones, or all the phone has.
pub(crate) fn read(world: &World, phone: &str, chat: &str, ids: &[String]) -> Result<usize> {
    let account = world.book.need(phone)?;
    let jid = peer(world, chat)?;
    if ids.len() > READ {
        return Err(SandboxError::invalid(format!("at most {READ} messages at once")));
    }
    let ids = if ids.is_empty() { lock(&account.inbox).ids_of(&jid.user, READ) } else { ids.to_vec() };
    for id in &ids {
        let of = MessageRef { id: id.clone(), chat: jid.clone(), sender: jid.clone() };
        let receipt = world.with_phone(&account, |phone, dir| phone.receipt(ReceiptKind::Read, &of, dir));
        handset::send(world, &account, &receipt);
    }
    Ok(ids.len())
}

pub(crate) fn typing(world: &World, phone: &str, to: &str, state: Typing) -> Result<()> {
    let account = world.book.need(phone)?;
    let to = peer(world, to)?;
    let state = match state {
        Typing::Composing => ChatState::Composing,
        Typing::Recording => ChatState::Recording,
        Typing::Paused => ChatState::Paused,
    };
    let node = world.with_phone(&account, |phone, directory| phone.chatstate(&to, state, directory));
    handset::send(world, &account, &node);
    Ok(())
}

pub(crate) fn presence(world: &World, phone: &str, available: bool) -> Result<()> {
    let account = world.book.need(phone)?;
    let node = account.handset().presence(available);
    handset::send(world, &account, &node);
    Ok(())
}

pub(crate) fn auto_read(world: &World, phone: &str, on: bool) -> Result<()> {
    world.book.need(phone)?.auto_read.store(on, Ordering::Relaxed);
    Ok(())
}

/// Sends companions the last `count` messages with somebody. Returns how many stanzas that took.
pub(crate) fn history(world: &World, phone: &str, with: Option<&str>, count: usize) -> Result<usize> {
    let account = world.book.need(phone)?;
    if count == 0 || count > HISTORY {
        return Err(SandboxError::invalid(format!("count must be 1 to {HISTORY}")));
    }
    let chat = match with {
        Some(with) => peer(world, with)?,
        None => Jid::pn("15550199999"),
    };
    let now = now_secs();
    let message = |n: usize| PastMessage {
        id: format!("PAST{now:X}{n:06}"),
        from_me: n % 2 == 1,
        text: format!("past message {}", n + 1),
        timestamp: now.saturating_sub(60 * (count - n) as u64),
    };
    let messages = (0..count).map(message).collect();
    let past = [Conversation { chat, name: Some("An old friend".into()), messages }];
    let mut stanzas = 0;
    for device in account.devices() {
        if device.id == PHONE {
            continue;
        }
        let nodes = world.with_phone(&account, |phone, dir| phone.history_sync(device.id, &past, dir));
        let nodes = nodes.map_err(|e| SandboxError::new(Code::Conflict, e.to_string()))?;
        nodes.iter().for_each(|node| handset::send(world, &account, node));
        stanzas += nodes.len();
    }
    Ok(stanzas)
}

/// Whoever a number or JID means; it must be on this sandbox.
fn peer(world: &World, text: &str) -> Result<Jid> {
    let account = world.book.find(text.trim());
    let account = account.ok_or_else(|| SandboxError::not_found("the other side has no account here"))?;
    Ok(Jid::pn(account.phone.as_str()))
}
