//! The wiring of virtual phones: one task per account gives its phone what arrived for device 0 and routes what the
//! phone answers. PROMISES: accounts run in parallel; a phone sees its stanzas in order; what it received in clear is in
//! the account's inbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use whatsapp_rust::wacore_binary::{Jid, Node};

use crate::account::device::{Device, Keys};
use crate::account::inbox::InboxMessage;
use crate::account::settings::{Collection, Settings};
use crate::account::{Account, PHONE, book::Fresh, lock};
use crate::clock::{now_millis, now_secs};
use crate::config::Limits;
use crate::error::{Result, SandboxError};
use crate::phone::{Effect, MessageRef, Phone, ReceiptKind, Received};
use crate::route::{self, Sender};
use crate::world::{PHONE_STOCK, World};

/// Characters of a name. The phone keeps no more, and the same name must find the same phone.
const NAME: usize = 25;
/// How many stanzas a phone handles before it lets others run.
const TURN: usize = 16;

/// A name as phones keep it.
pub(crate) fn short_name(name: &str) -> String {
    name.trim().chars().take(NAME).collect()
}

/// A new account with a phone that has keys in stock and its app state seeded.
pub(crate) fn create(fresh: &Fresh, name: &str, limits: &Limits) -> Result<Account> {
    let now = now_secs();
    let mut phone = Phone::new(&Jid::pn(fresh.phone.as_str()), &Jid::lid(fresh.lid.as_str()), name, now)
        .map_err(SandboxError::bug)?;
    let mut settings = Settings::default();
    for patch in phone.seed_app_state(now).map_err(SandboxError::bug)? {
        let collection: &mut Collection =
            settings.collections.entry(patch.collection.to_owned()).or_default();
        collection
            .append(patch.version.saturating_sub(1), patch.patch)
            .map_err(|e| SandboxError::bug(format!("the phone seeded its app state out of order: {e:?}")))?;
    }
    let device = device_of(&mut phone, limits, None);
    Account::new(phone, vec![device], settings, limits)
}

/// Device 0 as the server sees it. `keys` are those of a former run.
pub(crate) fn device_of(phone: &mut Phone, limits: &Limits, keys: Option<Keys>) -> Arc<Device> {
    let device = Device::new(PHONE, phone.identity(), limits);
    {
        let mut stock = lock(&device.keys);
        *stock = keys.unwrap_or_default();
        stock.registration_id = phone.registration_id();
        stock.signed = Some(phone.signed_prekey());
        if stock.one_time.is_empty() {
            stock.add(phone.mint_prekeys(PHONE_STOCK), limits.prekeys);
        }
    }
    Arc::new(device)
}

/// Starts the task of an account's phone.
pub(crate) fn start(world: &Arc<World>, account: &Arc<Account>) {
    let (world, account) = (Arc::clone(world), Arc::clone(account));
    let tasks = world.tasks.clone();
    tasks.clone().spawn(async move {
        let Some(device) = account.device(PHONE) else { return };
        device.mailbox.attach();
        device.mailbox.go_live();
        loop {
            let mut turn = 0;
            while let Some(stanza) = device.mailbox.pop() {
                receive(&world, &account, &stanza);
                turn += 1;
                if turn % TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            restock(&world, &account, &device);
            tokio::select! {
                () = device.mailbox.rung() => {}
                () = tasks.stopping() => return,
            }
        }
    });
}

fn restock(world: &World, account: &Account, device: &Device) {
    if lock(&device.keys).one_time.len() > usize::from(PHONE_STOCK / 4) {
        return;
    }
    let fresh = account.handset().mint_prekeys(PHONE_STOCK);
    lock(&device.keys).add(fresh, world.config.limits.prekeys);
}

fn receive(world: &World, account: &Arc<Account>, stanza: &Node) {
    let effects = world.with_phone(account, |phone, directory| phone.receive(stanza, directory));
    for effect in effects {
        match effect {
            Effect::Send(node) => send(world, account, &node),
            Effect::Received(received) => note(world, account, *received),
            Effect::Undecryptable { gave_up, .. } => {
                world.stats.phone_undecryptable.add(1);
                if gave_up {
                    lock(&account.inbox).count_undecryptable();
                }
            }
            Effect::Receipt { .. } | Effect::ChatState { .. } | Effect::Presence { .. } => {}
        }
    }
}

fn note(world: &World, account: &Arc<Account>, received: Received) {
    world.stats.phone_received.add(1);
    let of = MessageRef::from(&received);
    if !received.from_me && account.auto_read.load(Ordering::Relaxed) {
        let receipt = world.with_phone(account, |phone, dir| phone.receipt(ReceiptKind::Read, &of, dir));
        send(world, account, &receipt);
    }
    lock(&account.inbox).push(InboxMessage {
        seq: 0,
        message_id: received.id,
        from: of.sender.user.to_string(),
        from_lid: received.from_lid.map(|j| j.user.to_string()),
        from_device: received.from_device,
        chat: received.chat.user.to_string(),
        from_me: received.from_me,
        kind: received.kind,
        text: received.text,
        quoted_id: received.quoted_id,
        push_name: received.push_name,
        timestamp: received.timestamp,
        received_at: now_millis(),
        copies: 0,
    });
}

/// Routes a stanza that a phone wrote.
pub(crate) fn send(world: &World, account: &Arc<Account>, node: &Node) {
    let sender = Sender { account: Arc::clone(account), device: PHONE };
    route::stanza(world, &sender, &node.as_node_ref());
}

/// Sends a companion what a phone owes it after its first login: the app-state key. Waits for the companion's prekeys.
pub(crate) fn welcome(world: &World, account: &Arc<Account>, device: &Device) {
    if device.welcomed.load(Ordering::Acquire)
        || !device.mailbox.is_live()
        || lock(&device.keys).signed.is_none()
    {
        return;
    }
    if device.welcomed.swap(true, Ordering::AcqRel) {
        return;
    }
    account.touch();
    match world.with_phone(account, |phone, directory| phone.welcome(device.id, directory)) {
        Ok(nodes) => nodes.iter().for_each(|node| send(world, account, node)),
        // Tried again at the next login.
        Err(_) => device.welcomed.store(false, Ordering::Release),
    }
}
