//! What waits for one device. PROMISES: stanzas leave in the order in which they came; a stanza is forgotten only when
//! the device confirmed it; what a dead link had not confirmed is delivered again, in order and marked `offline`, to
//! the next one; nothing grows beyond its limit; a link that was replaced gets nothing more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{CompactString, Node};

use super::lock;
use crate::config::Limits;
use crate::stanza::server;

/// What kind of confirmation takes a stanza off the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// A `<receipt>` of any type, or a refusing `<ack class="message">`.
    Message,
    /// `<ack class="receipt">`.
    Receipt,
    /// `<ack class="notification">`.
    Notification,
    /// `<ack class="call">`.
    Call,
}

impl Class {
    /// The class an `<ack>` names.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "message" => Some(Self::Message),
            "receipt" => Some(Self::Receipt),
            "notification" => Some(Self::Notification),
            "call" => Some(Self::Call),
            _ => None,
        }
    }
}

/// One thing for the writer of a link to do.
#[derive(Clone)]
pub(crate) enum Outgoing {
    Stanza(Arc<Node>),
    /// A stanza from the queue.
    Queued(Arc<Node>),
    /// As `Queued`, from before this link: carries `offline`.
    Offline(Arc<Node>),
    /// Neither read nor write until the faults are cleared, or for this long.
    Freeze(std::time::Duration),
    /// What came before is written, then the WebSocket is closed.
    Close,
    /// The socket goes away without a word.
    Drop,
}

/// What a link finds when it asks for work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Ready,
    /// A newer link has the device.
    Replaced,
}

struct Entry {
    node: Arc<Node>,
    id: CompactString,
    class: Class,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// So many at the front are with the present link.
    handed: usize,
    /// Stanzas that matter to the present link only.
    direct: VecDeque<Outgoing>,
    /// The present link; 0 for none.
    link: u64,
    links: u64,
    /// Links that came while another one was there.
    replaced: u64,
    /// The link has asked for its queue.
    live: bool,
    /// So many after `handed` were there before the link went live.
    offline_left: usize,
    /// How many there were; told in `<offline count>` when the last one is out.
    offline_told: Option<usize>,
    overflow: bool,
}

/// The queue of one device.
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    bell: Notify,
    limit: usize,
    direct_limit: usize,
}

/// A mailbox that would pass its limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MailboxFull;

/// What waited when a link went live.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) messages: usize,
    pub(crate) receipts: usize,
    pub(crate) notifications: usize,
}

impl Waiting {
    pub(crate) fn total(self) -> usize {
        self.messages + self.receipts + self.notifications
    }
}

impl Mailbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            inner: Mutex::default(),
            bell: Notify::new(),
            limit: limits.queue,
            direct_limit: limits.outbound,
        }
    }

    /// Takes the device over for a new link, which gets its number. What the last link had not confirmed is queued
    /// again in front.
    pub(crate) fn attach(&self) -> u64 {
        let mut inner = lock(&self.inner);
        inner.replaced += u64::from(inner.link != 0);
        inner.links += 1;
        inner.link = inner.links;
        inner.reset();
        let link = inner.link;
        drop(inner);
        // The link before learns that it was replaced.
        self.bell.notify_waiters();
        link
    }

    /// The link is gone. Nothing happens if another one has taken over.
    pub(crate) fn detach(&self, link: u64) {
        let mut inner = lock(&self.inner);
        if inner.link == link {
            inner.link = 0;
            inner.reset();
        }
    }

    /// How often a new link took the device over from one that was still there.
    pub(crate) fn replaced(&self) -> u64 {
        lock(&self.inner).replaced
    }

    pub(crate) fn is_linked(&self) -> bool {
        lock(&self.inner).link != 0
    }

    /// Linked, and past its offline queue's start.
    pub(crate) fn is_live(&self) -> bool {
        let inner = lock(&self.inner);
        inner.link != 0 && inner.live
    }

    pub(crate) fn has_room(&self) -> bool {
        lock(&self.inner).entries.len() < self.limit
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.inner).entries.len()
    }

    /// Queues a stanza until it is confirmed.
    pub(crate) fn post(&self, class: Class, id: &str, node: Arc<Node>) -> Result<(), MailboxFull> {
        let mut inner = lock(&self.inner);
        if inner.entries.len() >= self.limit {
            return Err(MailboxFull);
        }
        inner.entries.push_back(Entry { node, id: CompactString::from(id), class });
        let ring = inner.live;
        drop(inner);
        if ring {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Hands a stanza to the present link, or drops it. A link that does not read is cut instead of filling memory.
    pub(crate) fn tell(&self, out: Outgoing) {
        let mut inner = lock(&self.inner);
        if inner.link == 0 {
            return;
        }
        if inner.direct.len() >= self.direct_limit {
            inner.overflow = true;
            inner.direct.clear();
            inner.direct.push_back(Outgoing::Close);
        } else if !inner.overflow {
            inner.direct.push_back(out);
        }
        drop(inner);
        self.bell.notify_one();
    }

    /// As [`Self::tell`], for a node.
    pub(crate) fn say(&self, node: Node) {
        self.tell(Outgoing::Stanza(Arc::new(node)));
    }

    /// The present link wants its queue from now on. Says what waits; `None` if it had asked before.
    pub(crate) fn go_live(&self) -> Option<Waiting> {
        let mut inner = lock(&self.inner);
        if inner.link == 0 || inner.live {
            return None;
        }
        inner.live = true;
        let mut waiting = Waiting::default();
        for entry in &inner.entries {
            match entry.class {
                Class::Message => waiting.messages += 1,
                Class::Receipt => waiting.receipts += 1,
                Class::Notification | Class::Call => waiting.notifications += 1,
            }
        }
        inner.offline_left = inner.entries.len();
        inner.offline_told = Some(inner.entries.len());
        drop(inner);
        self.bell.notify_one();
        Some(waiting)
    }

    /// Moves up to `max` pieces of work into `batch`.
    pub(crate) fn take(&self, link: u64, max: usize, batch: &mut Vec<Outgoing>) -> Taken {
        let mut inner = lock(&self.inner);
        if inner.link != link {
            return Taken::Replaced;
        }
        while batch.len() < max {
            if let Some(out) = inner.direct.pop_front() {
                batch.push(out);
                continue;
            }
            if !inner.live {
                break;
            }
            if inner.offline_left == 0
                && let Some(count) = inner.offline_told.take()
            {
                batch.push(Outgoing::Stanza(Arc::new(end_of_offline(count))));
                continue;
            }
            let Some(entry) = inner.entries.get(inner.handed) else { break };
            let node = Arc::clone(&entry.node);
            inner.handed += 1;
            if inner.offline_left > 0 {
                inner.offline_left -= 1;
                batch.push(Outgoing::Offline(node));
            } else {
                batch.push(Outgoing::Queued(node));
            }
        }
        Taken::Ready
    }

    /// Wakes whoever reads this mailbox.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Resolves when there may be work. Call [`Self::take`] until it gives nothing, then this.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The device confirmed a stanza: the oldest one of this class and id is forgotten. False if there was none.
    pub(crate) fn confirm(&self, class: Class, id: &str) -> bool {
        let mut inner = lock(&self.inner);
        let Some(at) = inner.entries.iter().position(|e| e.class == class && e.id == id) else {
            return false;
        };
        inner.entries.remove(at);
        if at < inner.handed {
            inner.handed -= 1;
        } else if at < inner.handed + inner.offline_left {
            inner.offline_left -= 1;
        }
        true
    }

    /// Everything queued, oldest first, without taking it.
    pub(crate) fn waiting(&self) -> Vec<(Class, CompactString, Arc<Node>)> {
        let inner = lock(&self.inner);
        inner.entries.iter().map(|e| (e.class, e.id.clone(), Arc::clone(&e.node))).collect()
    }

    /// Takes the oldest entry for good: the phone inside the sandbox confirms by taking.
    pub(crate) fn pop(&self) -> Option<Arc<Node>> {
        let mut inner = lock(&self.inner);
        inner.entries.pop_front().map(|e| e.node)
    }
}

impl Inner {
    fn reset(&mut self) {
        self.handed = 0;
        self.direct.clear();
        self.live = false;
        self.offline_left = 0;
        self.offline_told = None;
        self.overflow = false;
    }
}

fn end_of_offline(count: usize) -> Node {
    NodeBuilder::new("ib")
        .attr("from", server())
        .children([NodeBuilder::new("offline").attr("count", count.to_string()).build()])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Arc<Node> {
        Arc::new(NodeBuilder::new("message").attr("id", id).build())
    }

    fn post(mailbox: &Mailbox, id: &str) {
        mailbox.post(Class::Message, id, node(id)).unwrap();
    }

    fn taken(mailbox: &Mailbox, link: u64) -> Vec<String> {
        let mut batch = Vec::new();
        assert_eq!(mailbox.take(link, 100, &mut batch), Taken::Ready);
        let name = |n: &Node| n.attrs.get("id").map_or_else(|| "end".to_owned(), ToString::to_string);
        batch
            .iter()
            .map(|out| match out {
                Outgoing::Stanza(n) | Outgoing::Queued(n) => name(n),
                Outgoing::Offline(n) => format!("offline {}", name(n)),
                Outgoing::Freeze(_) => "freeze".into(),
                Outgoing::Close => "close".into(),
                Outgoing::Drop => "drop".into(),
            })
            .collect()
    }

    fn mailbox() -> Mailbox {
        Mailbox::new(&Limits { queue: 4, outbound: 3, ..Limits::default() })
    }

    #[test]
    fn unconfirmed_stanzas_of_a_dead_link_come_again_first_and_in_order() {
        let mailbox = mailbox();
        post(&mailbox, "a");
        post(&mailbox, "b");
        let first = mailbox.attach();
        assert_eq!(taken(&mailbox, first), [""; 0], "nothing before the link asks for it");
        assert_eq!(mailbox.go_live().map(Waiting::total), Some(2));
        assert_eq!(taken(&mailbox, first), ["offline a", "offline b", "end"]);
        post(&mailbox, "c");
        assert_eq!(taken(&mailbox, first), ["c"]);
        assert!(mailbox.confirm(Class::Message, "b"));
        mailbox.detach(first);

        post(&mailbox, "d");
        let second = mailbox.attach();
        mailbox.go_live();
        assert_eq!(taken(&mailbox, second), ["offline a", "offline c", "offline d", "end"]);
    }

    #[test]
    fn a_replaced_link_gets_nothing_more_and_cannot_detach_the_new_one() {
        let mailbox = mailbox();
        let old = mailbox.attach();
        assert_eq!(mailbox.replaced(), 0);
        let new = mailbox.attach();
        assert_eq!(mailbox.replaced(), 1);
        assert_eq!(mailbox.take(old, 10, &mut Vec::new()), Taken::Replaced);
        mailbox.detach(old);
        assert!(mailbox.is_linked());
        mailbox.detach(new);
        assert!(!mailbox.is_linked());
    }

    #[test]
    fn an_acknowledgement_takes_the_oldest_copy_of_its_class_only() {
        let mailbox = mailbox();
        post(&mailbox, "a");
        post(&mailbox, "a");
        assert!(!mailbox.confirm(Class::Receipt, "a"));
        assert!(mailbox.confirm(Class::Message, "a"));
        assert_eq!(mailbox.len(), 1);
    }

    #[test]
    fn a_confirmation_in_the_middle_of_the_offline_queue_still_ends_it() {
        let mailbox = mailbox();
        post(&mailbox, "a");
        post(&mailbox, "b");
        let link = mailbox.attach();
        mailbox.go_live();
        assert!(mailbox.confirm(Class::Message, "b"));
        assert_eq!(taken(&mailbox, link), ["offline a", "end"]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_deaf_link_is_closed() {
        let mailbox = mailbox();
        (0..4).for_each(|i| post(&mailbox, &i.to_string()));
        assert_eq!(mailbox.post(Class::Message, "x", node("x")), Err(MailboxFull));
        let link = mailbox.attach();
        (0..9).for_each(|_| mailbox.say(Node::default()));
        assert_eq!(taken(&mailbox, link), ["close"]);
    }
}
