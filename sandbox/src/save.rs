//! The data folder: one file per account. PROMISES: a link, an unlink or a key upload is on disk within a second; a stop
//! writes everything, queues and phones included. After an end without a stop, links and keys are there, phones begin
//! new Signal sessions (an old ratchet must never run twice), and what waited in queues is gone.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::marshal::marshal;

use crate::account::book::Book;
use crate::account::device::{Device, Keys};
use crate::account::mailbox::Class;
use crate::account::settings::Settings;
use crate::account::{Account, PHONE, lock};
use crate::config::Limits;
use crate::error::{Result, SandboxError};
use crate::handset;
use crate::phone::{Phone, Snapshot};
use crate::stanza;
use crate::store::{read_json, write_json};
use crate::world::World;

/// How often changes are looked for.
const BEAT: Duration = Duration::from_millis(500);
/// There while a sandbox runs on the folder; found at a start, it says that the last one was not stopped.
const RUNNING: &str = "running.json";
const SERIAL: &str = "serial.json";
const ACCOUNTS: &str = "accounts";

#[derive(Serialize, Deserialize)]
struct StoredAccount {
    phone: Snapshot,
    devices: Vec<StoredDevice>,
    settings: Settings,
    auto_read: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredDevice {
    id: u16,
    noise: Option<[u8; 32]>,
    identity: [u8; 32],
    device_identity: Option<String>,
    keys: Keys,
    welcomed: bool,
    /// Class, id and marshalled stanza; only after a stop.
    queue: Vec<(Class, String, String)>,
}

/// Fills a book from a folder.
pub(crate) fn load(dir: &Path, book: &Book, limits: &Limits) -> Result<()> {
    let clean = read_json::<u64>(&dir.join(RUNNING))?.is_none();
    book.set_serial(read_json::<u64>(&dir.join(SERIAL))?.unwrap_or(0));
    let files = match fs::read_dir(dir.join(ACCOUNTS)) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(SandboxError::io("reading the data folder", e)),
    };
    for file in files {
        let path = file.map_err(|e| SandboxError::io("reading the data folder", e))?.path();
        // A file that was being written when the process ended is not the account's file.
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        if let Some(stored) = read_json::<StoredAccount>(&path)? {
            book.insert(Arc::new(thaw(stored, clean, limits)?))?;
        }
    }
    Ok(())
}

fn thaw(stored: StoredAccount, clean: bool, limits: &Limits) -> Result<Account> {
    let mut phone = Phone::restore(stored.phone).map_err(|e| SandboxError::io("a stored phone", e))?;
    if !clean {
        phone.forget_sessions();
    }
    let mut devices = Vec::with_capacity(stored.devices.len());
    for one in stored.devices {
        let queue = if clean { one.queue } else { Vec::new() };
        let device = if one.id == PHONE {
            handset::device_of(&mut phone, limits, Some(one.keys))
        } else {
            let blob = one.device_identity.map(|b| BASE64_STANDARD.decode(b)).transpose();
            let device = Device {
                noise: one.noise,
                device_identity: blob.map_err(|e| SandboxError::io("a stored device", e))?,
                ..Device::new(one.id, one.identity, limits)
            };
            device.welcomed.store(one.welcomed, Ordering::Release);
            *lock(&device.keys) = one.keys;
            Arc::new(device)
        };
        for (class, id, stanza) in queue {
            refill(&device, class, &id, &stanza)?;
        }
        devices.push(device);
    }
    let account = Account::new(phone, devices, stored.settings, limits)?;
    account.auto_read.store(stored.auto_read, Ordering::Relaxed);
    account.take_dirty();
    Ok(account)
}

fn refill(device: &Device, class: Class, id: &str, stanza: &str) -> Result<()> {
    let wrong = |e: &dyn std::fmt::Display| SandboxError::io("a stored stanza", e);
    let bytes = BASE64_STANDARD.decode(stanza).map_err(|e| wrong(&e))?;
    let node = stanza::decode(BytesMut::from(&bytes[..])).map_err(|e| wrong(&e))?.to_owned_node();
    device
        .mailbox
        .post(class, id, Arc::new(node))
        .map_err(|_cause| wrong(&"the queue limit is lower than it was"))
}

fn freeze(account: &Account, with_queues: bool) -> Result<StoredAccount> {
    let queue = |device: &Device| -> Result<Vec<(Class, String, String)>> {
        let waiting = if with_queues { device.mailbox.waiting() } else { Vec::new() };
        let text = |node| marshal(node).map(|bytes| BASE64_STANDARD.encode(bytes)).map_err(SandboxError::bug);
        waiting.iter().map(|(class, id, node)| Ok((*class, id.to_string(), text(node)?))).collect()
    };
    let mut devices = Vec::new();
    for device in account.devices() {
        devices.push(StoredDevice {
            id: device.id,
            noise: device.noise,
            identity: device.identity,
            device_identity: device.device_identity.as_ref().map(|b| BASE64_STANDARD.encode(b)),
            keys: lock(&device.keys).clone(),
            welcomed: device.welcomed.load(Ordering::Acquire),
            queue: queue(&device)?,
        });
    }
    let phone = account.handset().snapshot().map_err(SandboxError::bug)?;
    let settings = lock(&account.settings).clone();
    Ok(StoredAccount { phone, devices, settings, auto_read: account.auto_read.load(Ordering::Relaxed) })
}

/// Marks the folder as in use.
pub(crate) fn opened(dir: &Path) -> Result<()> {
    write_json(&dir.join(RUNNING), &crate::clock::now_secs())
}

/// Writes changed accounts for the life of the sandbox.
pub(crate) async fn keep(world: Arc<World>) {
    let Some(dir) = world.config.data_dir.clone() else { return };
    let tasks = world.tasks.clone();
    let mut tick = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = tasks.stopping() => return,
        }
        let changed: Vec<_> = world.book.all().into_iter().filter(|a| a.take_dirty()).collect();
        if changed.is_empty() {
            continue;
        }
        let (dir, book) = (dir.clone(), Arc::clone(&world.book));
        let write = move || write(&dir, &book, &changed, false);
        if let Ok(Err(failed)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(error = %failed, "the sandbox cannot write its data folder");
        }
    }
}

/// Writes everything, once nothing runs any more.
pub(crate) fn close(world: &World) -> Result<()> {
    let Some(dir) = &world.config.data_dir else { return Ok(()) };
    write(dir, &world.book, &world.book.all(), true)?;
    fs::remove_file(dir.join(RUNNING)).map_err(|e| SandboxError::io("writing the data folder", e))
}

fn write(dir: &Path, book: &Book, accounts: &[Arc<Account>], with_queues: bool) -> Result<()> {
    write_json(&dir.join(SERIAL), &book.serial())?;
    let mut seen = HashSet::new();
    for account in accounts {
        if seen.insert(account.phone.as_str()) {
            write_json(&file(dir, &account.phone), &freeze(account, with_queues)?)?;
        }
    }
    Ok(())
}

fn file(dir: &Path, phone: &str) -> PathBuf {
    dir.join(ACCOUNTS).join(format!("{phone}.json"))
}
