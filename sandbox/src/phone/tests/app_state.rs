//! Settings and their key, read by the engine's own app-state processor.

use std::sync::Arc;

use whatsapp_rust::TokioRuntime;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::appstate::patch_decode::parse_patch_list;
use whatsapp_rust::wacore::appstate_sync::{AppStateProcessor, Mutation};
use whatsapp_rust::wacore::store::in_memory::InMemoryBackend;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore as _};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::waproto::whatsapp as wa;

use super::companion::Companion;
use super::world::{NOW, World, lid};
use crate::phone::{CRITICAL_BLOCK, CollectionPatch, Effect};

fn shared_keys(message: &wa::Message) -> &[wa::message::AppStateSyncKey] {
    &message.protocol_message.app_state_sync_key_share.keys
}

/// A companion's app state: the engine's processor with the keys it was given.
async fn processor(keys: &[wa::message::AppStateSyncKey]) -> AppStateProcessor {
    let backend = Arc::new(InMemoryBackend::new());
    for key in keys {
        let stored = AppStateSyncKey {
            key_data: key.key_data.key_data.clone().unwrap(),
            fingerprint: key.key_data.fingerprint.encode_to_vec(),
            timestamp: key.key_data.timestamp.unwrap(),
        };
        backend.set_sync_key(key.key_id.key_id.as_deref().unwrap(), stored).await.unwrap();
    }
    AppStateProcessor::new(backend, Arc::new(TokioRuntime))
}

async fn apply(processor: &AppStateProcessor, patches: &[CollectionPatch]) -> Vec<Mutation> {
    let patches = patches
        .iter()
        .map(|one| NodeBuilder::new("patch").bytes(one.patch.clone()).build())
        .collect::<Vec<_>>();
    let collection = NodeBuilder::new("collection")
        .attr("name", CRITICAL_BLOCK)
        .children([NodeBuilder::new("patches").children(patches).build()])
        .build();
    let sync = NodeBuilder::new("sync").children([collection]).build();
    let list = parse_patch_list(&NodeBuilder::new("iq").children([sync]).build()).unwrap();
    let (mutations, _, list) = processor.process_patch_list(list, true).await.unwrap();
    assert!(list.error.is_none());
    mutations
}

fn push_name(mutations: &[Mutation]) -> Option<String> {
    mutations
        .iter()
        .find(|one| one.index == ["setting_pushName"])
        .and_then(|one| one.action_value.as_ref()?.push_name_setting.name.clone())
}

fn welcomed(world: &mut World, companion: &mut Companion) -> wa::Message {
    let phone = world.phones.get_mut("1").unwrap();
    let stanzas = phone.welcome(companion.device, &mut world.registry).unwrap();
    let delivery = world.route("1", 0, &stanzas[0]).remove(0);
    assert_eq!(delivery.stanza.attrs.get("category").unwrap().as_str(), "peer");
    companion.open(&delivery.stanza)
}

#[tokio::test]
async fn a_welcomed_companion_can_read_the_settings() {
    let mut world = World::of(&["1"]);
    let seed = world.phone("1").seed_app_state(NOW).unwrap();
    assert!(world.phone("1").seed_app_state(NOW).unwrap().is_empty(), "only once");
    let mut companion = Companion::linked(&mut world, "1");
    let share = welcomed(&mut world, &mut companion);
    let processor = processor(shared_keys(&share)).await;
    let mutations = apply(&processor, &seed).await;
    assert_eq!(push_name(&mutations).as_deref(), Some("Name 1"));
    assert!(mutations.iter().any(|one| one.index == ["setting_locale"]));

    let renamed = world.phone("1").rename("Anna", NOW + 1).unwrap();
    assert_eq!(renamed.version, 2);
    assert_eq!(push_name(&apply(&processor, &[renamed]).await).as_deref(), Some("Anna"));
}

#[tokio::test]
async fn a_companions_patch_is_followed_and_built_upon() {
    let mut world = World::of(&["1"]);
    let seed = world.phone("1").seed_app_state(NOW).unwrap();
    let mut companion = Companion::linked(&mut world, "1");
    let share = welcomed(&mut world, &mut companion);
    let processor = processor(shared_keys(&share)).await;
    apply(&processor, &seed).await;

    // What another device of the account would write: made by a copy of the same state.
    let mut other = crate::phone::Phone::restore(world.phone("1").snapshot().unwrap()).unwrap();
    let theirs = other.rename("Desk", NOW + 1).unwrap();
    world.phone("1").follow_patch(CRITICAL_BLOCK, &theirs.patch).unwrap();
    assert_eq!(world.phone("1").push_name(), "Desk");
    let replayed = world.phone("1").follow_patch(CRITICAL_BLOCK, &theirs.patch);
    assert!(replayed.is_err(), "a version is taken once");
    let ours = world.phone("1").rename("Phone", NOW + 2).unwrap();
    let mutations = apply(&processor, &[theirs, ours]).await;
    assert_eq!(push_name(&mutations[mutations.len() - 1..]).as_deref(), Some("Phone"));
}

#[test]
fn a_request_for_keys_is_answered_and_unknown_ones_are_named_as_such() {
    let mut world = World::of(&["1"]);
    let mut companion = Companion::linked(&mut world, "1");
    let share = welcomed(&mut world, &mut companion);
    let known = shared_keys(&share)[0].key_id.key_id.clone();
    let ids = [known.clone(), Some(vec![9; 6])];
    let request = wa::message::AppStateSyncKeyRequest {
        key_ids: ids.iter().map(|id| wa::message::AppStateSyncKeyId { key_id: id.clone() }).collect(),
    };
    let protocol = wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_REQUEST),
        app_state_sync_key_request: MessageField::some(request),
        ..Default::default()
    };
    let request = wa::Message { protocol_message: MessageField::some(protocol), ..Default::default() };
    let mut stanza = companion.write(&mut world, &lid("1"), "REQ", &request);
    stanza.attrs.insert("category", "peer");
    let effects = world.phones.get_mut("1").unwrap().receive(&stanza, &mut world.registry);
    let [Effect::Send(answer), Effect::Send(receipt)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(receipt.attrs.get("type").unwrap().as_str(), "peer_msg");
    let delivery = world.route("1", 0, answer).remove(0);
    let answer = companion.open(&delivery.stanza);
    let keys = shared_keys(&answer);
    assert_eq!(keys[0].key_id.key_id, known);
    assert_eq!(keys[0].key_data.key_data, shared_keys(&share)[0].key_data.key_data);
    assert_eq!((keys.len(), keys[1].key_data.is_set()), (2, false));
}
