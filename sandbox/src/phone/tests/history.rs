//! Past chats, read by the engine's own history code.

use std::collections::HashSet;

use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::history_sync::process_history_sync;
use whatsapp_rust::wacore_binary::zlib_pool::decompress_zlib_pooled;
use whatsapp_rust::waproto::whatsapp as wa;

use super::companion::Companion;
use super::world::{NOW, World, pn};
use crate::phone::{CHUNK, Conversation, PastMessage};

fn past(chat: &str, count: usize) -> Conversation {
    let one = |n| PastMessage {
        id: format!("{chat}-{n}"),
        from_me: n % 2 == 0,
        text: format!("text {n}"),
        timestamp: NOW - 1_000,
    };
    Conversation { chat: pn(chat), name: None, messages: (0..count).map(one).collect() }
}

#[test]
fn history_comes_in_chunks_that_hold_every_message_once() {
    let mut world = World::of(&["1", "2", "3"]);
    let mut companion = Companion::linked(&mut world, "1");
    let history = [past("2", CHUNK + 20), past("3", 5)];
    let phone = world.phones.get_mut("1").unwrap();
    let stanzas = phone.history_sync(companion.device, &history, &mut world.registry).unwrap();
    assert_eq!(stanzas.len(), 2);
    let mut ids = HashSet::new();
    for (order, stanza) in stanzas.iter().enumerate() {
        let delivery = world.route("1", 0, stanza).remove(0);
        let message = companion.open(&delivery.stanza);
        let notification = &message.protocol_message.history_sync_notification;
        assert_eq!(notification.chunk_order, Some(u32::try_from(order).unwrap()));
        let payload = notification.initial_hist_bootstrap_inline_payload.clone().unwrap();
        let engine = process_history_sync(payload.clone(), Some("1"), false).unwrap();
        assert_eq!(engine.own_pushname.as_deref(), Some("Name 1"));
        assert_eq!(engine.lid_mappings.len(), 2);
        let sync =
            wa::HistorySync::decode_from_slice(&decompress_zlib_pooled(&payload, 1 << 24).unwrap()).unwrap();
        for message in sync.conversations.iter().flat_map(|one| &one.messages) {
            assert!(ids.insert(message.message.key.id.clone().unwrap()));
        }
    }
    assert_eq!(ids.len(), CHUNK + 25);
}

#[test]
fn an_empty_phone_says_so() {
    let mut world = World::of(&["1"]);
    let mut companion = Companion::linked(&mut world, "1");
    let phone = world.phones.get_mut("1").unwrap();
    let stanzas = phone.history_sync(companion.device, &[], &mut world.registry).unwrap();
    let delivery = world.route("1", 0, &stanzas[0]).remove(0);
    let message = companion.open(&delivery.stanza);
    assert_eq!(message.protocol_message.history_sync_notification.progress, Some(100));
}
