//! Messages between their decryption and their place in the tables.
//!
//! What it promises: of a message that WhatsApp brings again although its key was used, the text is here, or it is
//! durable, or it had nothing to keep. If none of that holds, WhatsApp is not told that it came, and it is
//! [asked for](Backend::wanted) again.
//!
//! That happens, and cannot be prevented from here. A decryption that ends while another task stores keys leaves its
//! step to whoever stores next, which may be before its text is handed over: should the process end between the two,
//! the key is gone and the text with it. And a sender that lost its newest keys may use one twice.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use whatsapp_rust::types::durability_hook::InboundMessage;
use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::{PendingInboundKey, PendingInboundRow};

use super::lazy::{Found, Key};
use super::{Backend, StoreResult, joined, seconds};
use crate::domain::ids::WaId;
use crate::telemetry;

/// The texts.
const PENDING: &str = "pending-inbound";
/// Names of messages that had nothing to keep: what devices say among themselves.
const HANDLED: &str = "handled-inbound";

/// The most messages that wait to be asked for. What is beyond comes again with the next connection.
const WANTED: usize = 1024;

/// A message that must be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Wanted {
    pub(in super::super) chat: String,
    pub(in super::super) sender: String,
    pub(in super::super) id: String,
}

/// The state of one session's messages under way.
pub(super) struct Inbound {
    /// When the last row of each family was put.
    newest_pending: AtomicI64,
    newest_handled: AtomicI64,
    wanted: Mutex<Vec<Wanted>>,
    news: Notify,
}

impl Inbound {
    /// Rows of before `started` may be there.
    pub(super) fn since(started: i64) -> Self {
        Self {
            newest_pending: AtomicI64::new(started),
            newest_handled: AtomicI64::new(started),
            wanted: Mutex::default(),
            news: Notify::new(),
        }
    }
}

impl Backend {
    /// Waits for messages that must be asked for again, and takes them.
    pub(in super::super) async fn wanted(&self) -> Vec<Wanted> {
        loop {
            let news = self.inbound.news.notified();
            let wanted =
                std::mem::take(&mut *self.inbound.wanted.lock().unwrap_or_else(PoisonError::into_inner));
            if !wanted.is_empty() {
                return wanted;
            }
            news.await;
        }
    }

    /// Notes that a message had nothing to keep, together with the step that decrypted it.
    pub(in super::super) fn handled(&self, message: &InboundMessage) {
        let source = &message.info.source;
        let key = of(HANDLED, &source.chat.to_string(), &source.sender.to_string(), &message.info.id);
        self.inbound.newest_handled.store(seconds(), Ordering::Release);
        self.lazy().put(key, &[], seconds());
    }

    pub(super) async fn keep_inbound(&self, rows: &[PendingInboundRow<'_>]) -> StoreResult<()> {
        self.inbound.newest_pending.store(seconds(), Ordering::Release);
        self.put_lazily(rows.iter().map(|row| (of(PENDING, row.chat, row.sender, row.id), row.message))).await
    }

    pub(super) fn forget_inbound(&self, keys: &[PendingInboundKey<'_>]) {
        let mut lazy = self.lazy();
        for key in keys {
            lazy.remove(of(PENDING, key.chat, key.sender, key.id));
        }
    }

    pub(super) async fn expire_inbound(&self, before: i64) -> StoreResult<()> {
        self.sweep(PENDING, &self.inbound.newest_pending, before).await?;
        self.sweep(HANDLED, &self.inbound.newest_handled, before).await
    }

    /// The text of a message whose key was used before; nothing when it needs no text any more.
    ///
    /// # Errors
    /// Also when it must come again: the engine then does not acknowledge it.
    pub(super) async fn recall_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let key = of(PENDING, chat, sender, id);
        let found = self.lazy().find(&key);
        match found {
            Found::Here(text) => return Ok(Some(text.to_vec())),
            Found::Gone => return Ok(None),
            Found::Unknown => {}
        }
        if let Some(text) = self.get(PENDING, &key.1).await? {
            self.lazy().adopt(&key, &text, seconds());
            return Ok(Some(text));
        }
        if self.read(self.sink.has(&WaId(id.to_owned()))).await?
            || self.get_lazily(&of(HANDLED, chat, sender, id)).await?.is_some()
        {
            return Ok(None);
        }
        tracing::warn!("a message was decrypted before and is not stored: it is asked for again");
        telemetry::inbound_asked_again();
        self.want(Wanted { chat: chat.to_owned(), sender: sender.to_owned(), id: id.to_owned() });
        Err(StoreError::Validation("the message is asked for again".to_owned()))
    }

    fn want(&self, message: Wanted) {
        let mut wanted = self.inbound.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() < WANTED {
            wanted.push(message);
        }
        self.inbound.news.notify_one();
    }
}

fn of(kind: &'static str, chat: &str, sender: &str, id: &str) -> Key {
    (kind, joined(&[chat, sender], id))
}
