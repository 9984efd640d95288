//! Who is typing to whom. PROMISES: a notice that nobody ends is ended after its time; bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use crate::account::lock;
use crate::route::{Sender, chatstate};
use crate::world::World;

const LIMIT: usize = 10_000;

/// (sender's number, device, to) and when it ends.
#[derive(Default)]
pub(crate) struct Typing {
    running: Mutex<HashMap<(String, u16, Jid), Instant>>,
}

impl Typing {
    pub(crate) fn started(&self, from: &Sender, to: &Jid, ttl: Duration) {
        let mut running = lock(&self.running);
        if running.len() < LIMIT {
            running.insert((from.account.phone.clone(), from.device, to.clone()), Instant::now() + ttl);
        }
    }

    pub(crate) fn ended(&self, from: &Sender, to: &Jid) {
        lock(&self.running).remove(&(from.account.phone.clone(), from.device, to.clone()));
    }

    fn take_expired(&self) -> Vec<(String, u16, Jid)> {
        let now = Instant::now();
        let mut running = lock(&self.running);
        let over: Vec<_> = running.iter().filter(|(_, end)| **end <= now).map(|(k, _)| k.clone()).collect();
        for key in &over {
            running.remove(key);
        }
        over
    }
}

/// Ends notices for the life of the sandbox.
pub(crate) async fn sweep(world: Arc<World>) {
    let beat = (world.config.chatstate_ttl / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
    let tasks = world.tasks.clone();
    let mut tick = tokio::time::interval(beat);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = tasks.stopping() => return,
        }
        for (phone, device, to) in world.typing.take_expired() {
            if let Some(account) = world.book.find(&phone) {
                let paused = NodeBuilder::new("paused").build();
                chatstate::deliver(&world, &Sender { account, device }, &to, paused);
            }
        }
    }
}
