//! Reading a sandbox.

use serde::Serialize;
use whatsapp_rust::wacore_binary::Server;

use crate::account::inbox::InboxPage;
use crate::account::{Account, PHONE, lock};
use crate::error::{Result, SandboxError};
use crate::stats::Stats;
use crate::world::World;

/// Most that one page gives.
pub(crate) const PAGE: usize = 10_000;

/// An account as the admin surface shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// Number.
    pub phone: String,
    /// LID.
    pub lid: String,
    /// Push name.
    pub name: String,
    /// Companions.
    pub devices: Vec<DeviceView>,
    /// Messages the phone received.
    pub received: u64,
    /// Whether the phone reads at once what it receives.
    pub auto_read: bool,
}

/// A companion as the admin surface shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceView {
    /// Id.
    pub id: u16,
    /// Address by number.
    pub jid: String,
    /// Whether it is connected.
    pub online: bool,
    /// Stanzas that wait for it or for its confirmation.
    pub queued: usize,
    /// One-time prekeys in stock.
    pub prekeys: usize,
    /// Messages it sent a receipt for.
    pub receipted: u64,
    /// How often a new link took it over from one that was still there: two clients at once.
    pub replaced: u64,
}

/// Ids of messages a device sent a receipt for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptedPage {
    /// All there ever were.
    pub total: u64,
    /// Position to ask after next time.
    pub next: u64,
    /// The ids, in the order of the receipts.
    pub ids: Vec<String>,
}

pub(crate) fn accounts(world: &World) -> Vec<AccountView> {
    world.book.all().iter().map(|account| view(account)).collect()
}

pub(crate) fn account(world: &World, phone: &str) -> Result<AccountView> {
    world.book.need(phone).map(|account| view(&account))
}

fn view(account: &Account) -> AccountView {
    let companions = account.devices().into_iter().filter(|d| d.id != PHONE);
    let devices = companions.map(|device| DeviceView {
        id: device.id,
        jid: account.jid(Server::Pn, device.id).to_string(),
        online: device.mailbox.is_linked(),
        queued: device.mailbox.len(),
        prekeys: lock(&device.keys).one_time.len(),
        receipted: lock(&device.receipted).total(),
        replaced: device.mailbox.replaced(),
    });
    AccountView {
        phone: account.phone.clone(),
        lid: account.lid.clone(),
        name: account.name.clone(),
        devices: devices.collect(),
        received: lock(&account.inbox).page(0, 0).total,
        auto_read: account.auto_read.load(std::sync::atomic::Ordering::Relaxed),
    }
}

pub(crate) fn inbox(world: &World, phone: &str, after: u64, limit: usize) -> Result<InboxPage> {
    let account = world.book.need(phone)?;
    let page = lock(&account.inbox).page(after, limit.min(PAGE));
    Ok(page)
}

pub(crate) fn receipted(
    world: &World,
    phone: &str,
    device: u16,
    after: u64,
    limit: usize,
) -> Result<ReceiptedPage> {
    let account = world.book.need(phone)?;
    let device = account.device(device).filter(|d| d.id != PHONE);
    let device = device.ok_or_else(|| SandboxError::not_found("no such device"))?;
    let receipted = lock(&device.receipted);
    let (next, ids) = receipted.page(after, limit.min(PAGE));
    Ok(ReceiptedPage { total: receipted.total(), next, ids })
}

pub(crate) fn stats(world: &World) -> Stats {
    let mut stats = world.stats.read();
    for account in world.book.all() {
        stats.accounts += 1;
        for device in account.devices() {
            stats.devices += u64::from(device.id != PHONE);
            stats.queued += device.mailbox.len() as u64;
        }
    }
    stats
}
