//! Everything the tasks of one sandbox share. There are no globals: several sandboxes live in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::book::Book;
use crate::account::mailbox::Class;
use crate::account::{Account, PHONE};
use crate::config::SandboxConfig;
use crate::directory::Post;
use crate::error::Result;
use crate::faults::Faults;
use crate::linking::Pairing;
use crate::noise::identity::Identity;
use crate::phone::Phone;
use crate::stats::Counters;
use crate::task::Tasks;
use crate::typing::Typing;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};

/// One-time prekeys a phone has in stock.
pub(crate) const PHONE_STOCK: u16 = 200;

/// One sandbox.
pub(crate) struct World {
    pub(crate) config: SandboxConfig,
    pub(crate) identity: Arc<Identity>,
    pub(crate) book: Arc<Book>,
    pub(crate) pairing: Pairing,
    pub(crate) faults: Faults,
    pub(crate) stats: Counters,
    pub(crate) typing: Typing,
    pub(crate) tasks: Tasks,
    next_id: AtomicU64,
}

impl World {
    pub(crate) fn new(config: SandboxConfig, identity: Arc<Identity>, book: Arc<Book>) -> Self {
        let faults = Faults::new(config.limits.faults);
        // Ids of the server's own stanzas differ between two runs on the same accounts.
        let epoch = crate::clock::now_millis() << 16;
        Self {
            config,
            identity,
            book,
            pairing: Pairing::default(),
            faults,
            stats: Counters::default(),
            typing: Typing::default(),
            tasks: Tasks::new(),
            next_id: AtomicU64::new(epoch),
        }
    }

    /// A fresh id for a stanza of the server.
    pub(crate) fn next_id(&self) -> String {
        format!("{:x}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The account of a number; made, with a phone of its own, if there is none.
    pub(crate) fn account_or_new(
        self: &Arc<Self>,
        phone: Option<&str>,
        name: Option<&str>,
    ) -> Result<Arc<Account>> {
        let known = match (phone, name) {
            (Some(phone), _) => self.book.find(phone),
            (None, Some(name)) => self.book.named(&crate::handset::short_name(name)),
            (None, None) => None,
        };
        match known {
            Some(account) => Ok(account),
            None => self.create_account(phone, name),
        }
    }

    fn create_account(self: &Arc<Self>, phone: Option<&str>, name: Option<&str>) -> Result<Arc<Account>> {
        let number = phone.map(crate::linking::phone_number).transpose()?;
        let fresh = self.book.reserve(number.as_deref(), self.config.limits.accounts)?;
        let name = name.map_or_else(|| format!("Phone {}", fresh.phone), crate::handset::short_name);
        let account = crate::handset::create(&fresh, &name, &self.config.limits)?;
        let account = Arc::new(account);
        self.book.insert(Arc::clone(&account))?;
        crate::handset::start(self, &account);
        Ok(account)
    }

    /// Queues a notification for every companion of an account but `except`.
    pub(crate) fn notify_companions(&self, account: &Account, except: u16, make: impl Fn(&str) -> Node) {
        for device in account.devices() {
            if device.id != PHONE && device.id != except {
                let id = self.next_id();
                let node = Arc::new(make(&id));
                if device.mailbox.post(Class::Notification, &id, node).is_err() {
                    self.stats.overflow.add(1);
                }
            }
        }
    }

    /// Runs one operation of a phone, with the world as its directory.
    pub(crate) fn with_phone<T>(
        &self,
        account: &Account,
        run: impl FnOnce(&mut Phone, &mut Post<'_>) -> T,
    ) -> T {
        let mut directory = Post::new(self);
        let answer = run(&mut account.handset(), &mut directory);
        // Told after the phone's lock is free.
        directory.tell_low();
        answer
    }

    /// Tells a companion that few of its one-time keys are left.
    pub(crate) fn tell_low(&self, device: &Jid, left: usize) {
        let Some(account) = self.book.of(device) else { return };
        let Some(target) = account.device(device.device) else { return };
        if target.id == PHONE {
            // Its task looks at the stock whenever it wakes.
            target.mailbox.ring();
            return;
        }
        let id = self.next_id();
        let node = crate::stanza::notification("encrypt", crate::stanza::server(), &id)
            .children([NodeBuilder::new("count").attr("value", left.to_string()).build()])
            .build();
        if target.mailbox.post(Class::Notification, &id, Arc::new(node)).is_err() {
            self.stats.overflow.add(1);
        }
    }
}
