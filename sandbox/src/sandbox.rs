//! The handle of a running sandbox. PROMISES: when `start` returns it accepts connections; when `stop` returns nothing of
//! it runs any more and what it must remember is on disk or in the returned state; dropping it ends it too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::account::book::Book;
use crate::account::inbox::InboxPage;
use crate::config::SandboxConfig;
use crate::error::Result;
use crate::faults::{FaultSpec, FaultView};
use crate::linking::{Linked, ScanQr, code, qr, unlink};
use crate::net::listener::Listener;
use crate::noise::identity::Identity;
use crate::ops::talk::{self, SendText, Sent, Typing};
use crate::ops::views::{self, AccountView, ReceiptedPage};
use crate::stats::Stats;
use crate::world::World;
use crate::{admin, handset, save, typing};

/// Time for links to end at a stop.
const GRACE: Duration = Duration::from_secs(5);

/// A running sandbox.
pub struct Sandbox {
    world: Arc<World>,
    addr: SocketAddr,
    secure: bool,
}

/// What a stopped sandbox remembers: its keys, accounts, links, phones and queues.
pub struct SandboxState {
    identity: Arc<Identity>,
    book: Arc<Book>,
}

impl Sandbox {
    /// Starts a sandbox with what its data folder holds, or an empty one.
    ///
    /// # Errors
    /// The address, the TLS files or the data folder cannot be used.
    pub async fn start(config: SandboxConfig) -> Result<Self> {
        let identity = Arc::new(Identity::load_or_create(config.data_dir.as_deref())?);
        let book = Arc::new(Book::default());
        if let Some(dir) = &config.data_dir {
            save::load(dir, &book, &config.limits)?;
        }
        Self::resume(config, SandboxState { identity, book }).await
    }

    /// Starts a sandbox with what another one left.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn resume(config: SandboxConfig, state: SandboxState) -> Result<Self> {
        let mut world = World::new(config, state.identity, state.book);
        let listener = Listener::bind(&world.config, &world.tasks).await?;
        let addr = listener.addr();
        world.config.listen = addr;
        let world = Arc::new(world);
        if let Some(dir) = &world.config.data_dir {
            save::opened(dir)?;
        }
        for account in world.book.all() {
            handset::start(&world, &account);
        }
        let tasks = world.tasks.clone();
        tasks.spawn(typing::sweep(Arc::clone(&world)));
        tasks.spawn(save::keep(Arc::clone(&world)));
        let (router, stop) = (admin::router(Arc::clone(&world)), tasks.clone());
        tasks.spawn(async move {
            let stopping = async move { stop.stopping().await };
            // Its only error is the end of the listener, which the stop brings about.
            axum::serve(listener, router).with_graceful_shutdown(stopping).await.ok();
        });
        let secure = world.config.tls.is_some();
        Ok(Self { world, addr, secure })
    }

    /// Ends all links, writes the data folder if there is one, and hands over what a next sandbox needs.
    ///
    /// # Errors
    /// The data folder could not be written. The sandbox has ended nevertheless.
    pub async fn stop(self) -> Result<SandboxState> {
        self.world.tasks.stop(GRACE).await;
        save::close(&self.world)?;
        Ok(SandboxState { identity: Arc::clone(&self.world.identity), book: Arc::clone(&self.world.book) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address clients connect to.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("{}://{}/ws/chat", if self.secure { "wss" } else { "ws" }, self.addr)
    }

    /// The address of the admin surface.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.addr)
    }

    /// The Noise static key, for clients that pin it.
    #[must_use]
    pub fn static_key(&self) -> [u8; 32] {
        *self.world.identity.static_public()
    }

    /// The root of its certificate chain, for clients whose trust root can be set.
    #[must_use]
    pub fn root_key(&self) -> [u8; 32] {
        *self.world.identity.root_public()
    }

    /// A phone scans the QR code of a client; returns when the client is linked.
    ///
    /// # Errors
    /// The code is not valid, a limit is reached, or the client refused or did not answer.
    pub async fn scan_qr(&self, text: &str, by: ScanQr) -> Result<Linked> {
        qr::scan(&self.world, text, &by).await
    }

    /// A phone types the pairing code of a client; returns when the client is linked.
    ///
    /// # Errors
    /// As [`Self::scan_qr`]; or the code was wrong.
    pub async fn enter_code(&self, phone: &str, code: &str) -> Result<Linked> {
        code::enter(&self.world, phone, code).await
    }

    /// Takes a companion off its account.
    ///
    /// # Errors
    /// No such account or device.
    pub fn unlink(&self, phone: &str, device: u16) -> Result<()> {
        let account = self.world.book.need(phone)?;
        unlink::unlink(&self.world, &account, device)
    }

    /// All accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountView> {
        views::accounts(&self.world)
    }

    /// What a phone received after a position.
    ///
    /// # Errors
    /// No such account.
    pub fn inbox(&self, phone: &str, after: u64, limit: usize) -> Result<InboxPage> {
        views::inbox(&self.world, phone, after, limit)
    }

    /// Ids of messages that a companion sent a receipt for, after a position.
    ///
    /// # Errors
    /// No such account or device.
    pub fn receipted(&self, phone: &str, device: u16, after: u64, limit: usize) -> Result<ReceiptedPage> {
        views::receipted(&self.world, phone, device, after, limit)
    }

    /// A phone sends texts.
    ///
    /// # Errors
    /// No such account, or no room at the recipient's.
    pub async fn send(&self, phone: &str, order: SendText) -> Result<Sent> {
        talk::send(&self.world, phone, &order).await
    }

    /// A phone reads messages of a chat; all it has when none are named.
    ///
    /// # Errors
    /// No such account.
    pub fn read(&self, phone: &str, chat: &str, ids: &[String]) -> Result<usize> {
        talk::read(&self.world, phone, chat, ids)
    }

    /// Whether a phone reads at once what it receives.
    ///
    /// # Errors
    /// No such account.
    pub fn auto_read(&self, phone: &str, on: bool) -> Result<()> {
        talk::auto_read(&self.world, phone, on)
    }

    /// A person types, records, or stops.
    ///
    /// # Errors
    /// No such account.
    pub fn typing(&self, phone: &str, to: &str, state: Typing) -> Result<()> {
        talk::typing(&self.world, phone, to, state)
    }

    /// A person comes or goes.
    ///
    /// # Errors
    /// No such account.
    pub fn presence(&self, phone: &str, available: bool) -> Result<()> {
        talk::presence(&self.world, phone, available)
    }

    /// A phone hands its companions past messages. Returns how many stanzas that took.
    ///
    /// # Errors
    /// No such account, or too many messages.
    pub fn history(&self, phone: &str, with: Option<&str>, count: usize) -> Result<usize> {
        talk::history(&self.world, phone, with, count)
    }

    /// Sets a fault, or carries it out if it is of the immediate kind.
    ///
    /// # Errors
    /// No such account, or too many faults.
    pub fn add_fault(&self, spec: FaultSpec) -> Result<FaultView> {
        crate::ops::faults::add(&self.world, spec)
    }

    /// The faults that are set.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultView> {
        self.world.faults.list()
    }

    /// Removes all faults and thaws what is frozen.
    pub fn clear_faults(&self) -> usize {
        self.world.faults.clear(None)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        views::stats(&self.world)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.world.tasks.end();
    }
}
