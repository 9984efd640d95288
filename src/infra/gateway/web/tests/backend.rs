//! The engine's storage contract, over SQLite.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use whatsapp_rust::types::durability_hook::InboundMessage;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry,
    MsgSecretEntry, MsgSecretStore, PendingInboundKey, PendingInboundRow, ProtocolStore, SignalStore,
    TcTokenEntry,
};
use whatsapp_rust::wacore::types::message::{MessageInfo, MessageSource};

use super::rig::{Ears, Rig};
use crate::domain::content::Content;
use crate::domain::ids::WaId;
use crate::domain::message::Direction;
use crate::domain::session::Endpoint;
use crate::domain::time::now;
use crate::domain::write::InboundMessage as StoredMessage;
use crate::infra::gateway::Sink;
use crate::infra::gateway::web::backend::Backend;

/// A fresh backend, as after a restart.
async fn again(rig: &Rig, old: &Backend) -> Backend {
    let account = old.account().clone();
    let vault = rig.vault.session(account.session).unwrap();
    Backend::new(account, rig.store.clone(), rig.writer.clone(), Ears::some(), vault).unwrap()
}

async fn fresh() -> (Rig, Backend) {
    let rig = Rig::new().await;
    let account = rig.account(Endpoint::Whatsapp {}).await;
    let vault = rig.vault.session(account.session).unwrap();
    let backend = Backend::new(account, rig.store.clone(), rig.writer.clone(), Ears::some(), vault).unwrap();
    (rig, backend)
}

fn writes(rig: &Rig) -> usize {
    rig.writer.writes.lock().unwrap().len()
}

#[tokio::test]
async fn signal_state_is_there_after_a_restart() {
    let (rig, old) = fresh().await;
    let address: Arc<str> = "15550100199:1@s.whatsapp.net.0".into();
    old.put_sessions_batch(&[(address.clone(), b"session"[..].into())]).await.unwrap();
    old.put_identities_batch(&[(address.clone(), [5; 32])]).await.unwrap();
    old.put_sender_keys_batch(&[("group::me".into(), b"sender"[..].into())]).await.unwrap();
    old.store_signed_prekey(3, b"signed").await.unwrap();
    let new = again(&rig, &old).await;
    assert_eq!(new.get_session(&address).await.unwrap().unwrap(), &b"session"[..]);
    assert!(new.has_session(&address).await.unwrap());
    assert_eq!(new.load_identity(&address).await.unwrap(), Some([5; 32]));
    assert_eq!(new.get_sender_key("group::me").await.unwrap().unwrap(), b"sender");
    assert_eq!(new.load_all_signed_prekeys().await.unwrap(), vec![(3, b"signed".to_vec())]);
    new.delete_session(&address).await.unwrap();
    new.delete_identity(&address).await.unwrap();
    assert!(new.get_session(&address).await.unwrap().is_none());
    assert!(new.load_identity(&address).await.unwrap().is_none());
}

#[tokio::test]
async fn a_users_signal_state_is_found_by_the_whole_number_only() {
    let (_rig, backend) = fresh().await;
    backend.put_session("155501001991@s.whatsapp.net.0", b"x").await.unwrap();
    assert!(!backend.has_signal_state_for_user("15550100199").await.unwrap());
    backend.put_identity("15550100199:7@s.whatsapp.net.0", [1; 32]).await.unwrap();
    assert!(backend.has_signal_state_for_user("15550100199").await.unwrap());
}

#[tokio::test]
async fn a_used_prekey_does_not_come_back_when_it_is_marked_uploaded() {
    let (rig, backend) = fresh().await;
    let keys: Vec<_> = (1..=3).map(|id| (id, vec![u8::try_from(id).unwrap()].into())).collect();
    let before = writes(&rig);
    backend.store_prekeys_batch(&keys, false).await.unwrap();
    assert_eq!(writes(&rig), before + 1, "a batch is one write");
    backend.remove_prekey(2).await.unwrap();
    backend.mark_prekeys_uploaded(&[1, 2, 3]).await.unwrap();
    let mut left = backend.load_prekeys_batch(&[1, 2, 3]).await.unwrap();
    left.sort_by_key(|(id, _)| *id);
    assert_eq!(left, vec![(1, vec![1].into()), (3, vec![3].into())]);
    assert_eq!(backend.get_max_prekey_id().await.unwrap(), 3);
    assert!(backend.load_prekey(2).await.unwrap().is_none());
}

#[tokio::test]
async fn a_pending_message_is_stored_with_the_ratchet_step_and_not_before() {
    let (rig, old) = fresh().await;
    let before = writes(&rig);
    let row = |id| PendingInboundRow { chat: "c", sender: "s", id, message: b"text" };
    old.store_pending_inbound_batch(&[row("1"), row("2")]).await.unwrap();
    assert_eq!(writes(&rig), before);
    old.delete_pending_inbound("c", "s", "2").await.unwrap();
    again(&rig, &old).await.get_pending_inbound("c", "s", "1").await.unwrap_err();

    old.put_session("a", b"step").await.unwrap();
    assert_eq!(writes(&rig), before + 1, "one write for both");
    let new = again(&rig, &old).await;
    assert_eq!(new.get_pending_inbound("c", "s", "1").await.unwrap().unwrap(), b"text");
    new.get_pending_inbound("c", "s", "2").await.unwrap_err();

    // Gone at once for readers, and from the tables with the next step.
    new.delete_pending_inbound_batch(&[PendingInboundKey { chat: "c", sender: "s", id: "1" }]).await.unwrap();
    assert!(new.get_pending_inbound("c", "s", "1").await.unwrap().is_none());
    new.put_session("a", b"step 2").await.unwrap();
    again(&rig, &new).await.get_pending_inbound("c", "s", "1").await.unwrap_err();
}

#[tokio::test]
async fn a_failed_step_keeps_its_pending_messages_for_the_next() {
    let (rig, old) = fresh().await;
    old.store_pending_inbound("c", "s", "1", b"text").await.unwrap();
    rig.writer.refuse.store(1, Ordering::SeqCst);
    assert!(old.put_session("a", b"step").await.is_err());
    old.put_session("a", b"step").await.unwrap();
    let new = again(&rig, &old).await;
    assert_eq!(new.get_pending_inbound("c", "s", "1").await.unwrap().unwrap(), b"text");
}

#[tokio::test]
async fn a_sent_message_is_taken_once_wherever_it_is() {
    let (rig, backend) = fresh().await;
    for flushed in [false, true] {
        backend.store_sent_message("c", "1", b"payload").await.unwrap();
        if flushed {
            backend.settle().await.unwrap();
        }
        let (one, two) =
            tokio::join!(backend.take_sent_message("c", "1"), backend.take_sent_message("c", "1"));
        assert_eq!(one.unwrap().iter().chain(&two.unwrap()).count(), 1, "flushed: {flushed}");
        backend.settle().await.unwrap();
        assert!(again(&rig, &backend).await.take_sent_message("c", "1").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn old_sent_messages_are_swept_and_an_idle_session_is_not_asked_again() {
    let (rig, backend) = fresh().await;
    backend.store_sent_message("c", "1", b"payload").await.unwrap();
    backend.settle().await.unwrap();
    let later = now().0 / 1000 + 100;
    backend.delete_expired_sent_messages(later).await.unwrap();
    let new = again(&rig, &backend).await;
    assert!(new.take_sent_message("c", "1").await.unwrap().is_none());
    let before = writes(&rig);
    backend.delete_expired_sent_messages(later).await.unwrap();
    assert_eq!(writes(&rig), before);
}

#[tokio::test]
async fn privacy_tokens_only_move_forward() {
    let (_rig, backend) = fresh().await;
    backend.touch_tc_token_sender_timestamp("1@lid", 50).await.unwrap();
    backend.store_received_tc_token("1@lid", b"new", 40).await.unwrap();
    backend.store_received_tc_token("1@lid", b"stale", 30).await.unwrap();
    backend.touch_tc_token_sender_timestamp("1@lid", 20).await.unwrap();
    let entry = backend.get_tc_token("1@lid").await.unwrap().unwrap();
    assert_eq!(
        (entry.token.as_slice(), entry.token_timestamp, entry.sender_timestamp),
        (&b"new"[..], 40, Some(50))
    );
    let old = TcTokenEntry { token: b"old".to_vec(), token_timestamp: 1, sender_timestamp: None };
    backend.put_tc_token("2@lid", &old).await.unwrap();
    assert_eq!(backend.delete_expired_tc_tokens(45, 45).await.unwrap(), 1);
    assert_eq!(backend.get_all_tc_token_jids().await.unwrap(), vec!["1@lid"]);
    backend.delete_tc_token("1@lid").await.unwrap();
    assert!(backend.get_tc_token("1@lid").await.unwrap().is_none());
}

#[tokio::test]
async fn concurrent_touches_lose_nothing() {
    let (_rig, backend) = fresh().await;
    let touch = |at| backend.touch_tc_token_sender_timestamp("1@lid", at);
    let store = |at| backend.store_received_tc_token("1@lid", b"t", at);
    let (a, b, c, d) = tokio::join!(touch(5), store(7), touch(9), store(3));
    for done in [a, b, c, d] {
        done.unwrap();
    }
    let entry = backend.get_tc_token("1@lid").await.unwrap().unwrap();
    assert_eq!((entry.token_timestamp, entry.sender_timestamp), (7, Some(9)));
}

#[tokio::test]
async fn message_secrets_merge_and_never_lose_their_window() {
    let (_rig, backend) = fresh().await;
    let entry = |secret: u8, expires_at, message_ts| MsgSecretEntry {
        chat: "c".into(),
        sender: "s".into(),
        msg_id: "1".into(),
        secret: [secret; 32],
        expires_at,
        message_ts,
    };
    let later = now().0 / 1000 + 500;
    backend.put_msg_secrets(vec![entry(1, later, 10), entry(2, later - 400, 0)]).await.unwrap();
    backend.put_msg_secrets(vec![entry(3, later - 300, 5)]).await.unwrap();
    assert_eq!(backend.get_msg_secret_with_ts("c", "s", "1").await.unwrap(), Some((vec![3; 32], 10)));
    backend.delete_expired_msg_secrets(later - 1).await.unwrap();
    assert!(backend.get_msg_secret("c", "s", "1").await.unwrap().is_some(), "the longest window counts");
    let (_rig, backend) = fresh().await;
    backend.put_msg_secrets(vec![entry(1, 77, 0)]).await.unwrap();
    backend.delete_expired_msg_secrets(77).await.unwrap();
    assert!(backend.get_msg_secret("c", "s", "1").await.unwrap().is_none(), "at the deadline it goes");
}

#[tokio::test]
async fn a_number_points_at_its_latest_lid_and_a_moved_lid_leaves_no_pointer() {
    let (_rig, backend) = fresh().await;
    let map = |lid: &str, phone: &str| LidPnMappingEntry {
        lid: lid.into(),
        phone_number: phone.into(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".into(),
    };
    backend.put_lid_mappings(&[map("L1", "100"), map("L2", "200")]).await.unwrap();
    backend.put_lid_mapping(&map("L3", "100")).await.unwrap();
    assert_eq!(backend.get_pn_mapping("100").await.unwrap().unwrap().lid, "L3");
    backend.put_lid_mapping(&map("L2", "300")).await.unwrap();
    assert!(backend.get_pn_mapping("200").await.unwrap().is_none());
    assert_eq!(backend.get_lid_mapping("L2").await.unwrap().unwrap().phone_number, "300");
    // L1 had the number before L3 took it over: moving L1 must not cost L3 its pointer.
    backend.put_lid_mapping(&map("L1", "400")).await.unwrap();
    assert_eq!(backend.get_pn_mapping("100").await.unwrap().unwrap().lid, "L3");
    assert_eq!(backend.get_all_lid_mappings().await.unwrap().len(), 3);
}

#[tokio::test]
async fn sender_key_marks_go_by_group_by_device_and_altogether() {
    let (_rig, backend) = fresh().await;
    for group in ["1@g.us", "12@g.us"] {
        backend.set_sender_key_status(group, &[("a:1@lid", true), ("b:2@lid", false)]).await.unwrap();
    }
    let mut marks = backend.get_sender_key_devices("1@g.us").await.unwrap();
    marks.sort();
    assert_eq!(marks, vec![("a:1@lid".to_owned(), true), ("b:2@lid".to_owned(), false)]);
    backend.delete_sender_key_device_rows(&["a:1@lid"]).await.unwrap();
    assert_eq!(backend.get_sender_key_devices("12@g.us").await.unwrap(), vec![("b:2@lid".to_owned(), false)]);
    backend.clear_sender_key_devices("1@g.us").await.unwrap();
    assert!(backend.get_sender_key_devices("1@g.us").await.unwrap().is_empty());
    assert_eq!(backend.get_sender_key_devices("12@g.us").await.unwrap().len(), 1);
    backend.clear_all_sender_key_devices().await.unwrap();
    assert!(backend.get_sender_key_devices("12@g.us").await.unwrap().is_empty());
}

#[tokio::test]
async fn app_state_keys_versions_and_macs_are_kept_apart() {
    use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
    let (_rig, backend) = fresh().await;
    for id in [[3_u8, 1], [9, 0], [1, 1]] {
        let key = AppStateSyncKey { key_data: id.to_vec(), fingerprint: vec![], timestamp: 0 };
        backend.set_sync_key(&id, key).await.unwrap();
    }
    assert_eq!(backend.get_latest_sync_key_id().await.unwrap(), Some(vec![1, 1]));
    assert_eq!(backend.get_sync_key(&[9, 0]).await.unwrap().unwrap().key_data, vec![9, 0]);
    let mut state = backend.get_version("regular").await.unwrap();
    assert_eq!(state.version, 0);
    state.version = 7;
    backend.set_version("regular", state).await.unwrap();
    assert_eq!(backend.get_version("regular").await.unwrap().version, 7);
    let mac = |byte: u8| AppStateMutationMAC { index_mac: vec![byte; 32], value_mac: vec![byte] };
    backend.put_mutation_macs("regular", 1, &[mac(1), mac(2)]).await.unwrap();
    backend.put_mutation_macs("regular_high", 1, &[mac(1)]).await.unwrap();
    backend.delete_mutation_macs("regular", &[vec![2; 32]]).await.unwrap();
    let found = backend.get_mutation_macs("regular", &[[1; 32], [2; 32]]).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), vec![([1; 32], vec![1])]);
    backend.clear_mutation_macs("regular").await.unwrap();
    assert!(backend.get_mutation_mac("regular", &[1; 32]).await.unwrap().is_none());
    assert!(backend.get_mutation_mac("regular_high", &[1; 32]).await.unwrap().is_some());
}

#[tokio::test]
async fn device_lists_groups_and_base_keys_survive() {
    let (rig, old) = fresh().await;
    let record = DeviceListRecord {
        user: "1".into(),
        devices: vec![DeviceInfo::new(4, Some(2))],
        timestamp: 9,
        phash: Some("h".into()),
        raw_id: Some(5),
    };
    old.update_device_list(record).await.unwrap();
    old.put_group_metadata("g", b"blob").await.unwrap();
    old.save_base_key("a", "m", b"base").await.unwrap();
    let new = again(&rig, &old).await;
    assert_eq!(new.get_devices("1").await.unwrap().unwrap().devices[0].device_id, 4);
    assert_eq!(new.get_group_metadata("g").await.unwrap().unwrap(), b"blob");
    assert!(new.has_same_base_key("a", "m", b"base").await.unwrap());
    assert!(!new.has_same_base_key("a", "m", b"other").await.unwrap());
    new.delete_devices("1").await.unwrap();
    new.delete_group_metadata("g").await.unwrap();
    new.delete_base_key("a", "m").await.unwrap();
    assert!(new.get_devices("1").await.unwrap().is_none());
    assert!(new.get_group_metadata("g").await.unwrap().is_none());
    assert!(!new.has_same_base_key("a", "m", b"base").await.unwrap());
}

#[tokio::test]
async fn the_device_is_stored_when_it_changed_and_through_a_short_outage() {
    let (rig, backend) = fresh().await;
    assert!(!backend.exists().await.unwrap());
    backend.create().await.unwrap();
    let mut device: Device = backend.load().await.unwrap().unwrap();
    let before = writes(&rig);
    backend.save(&device).await.unwrap();
    assert_eq!(writes(&rig), before, "unchanged");
    device.push_name = "Ana".into();
    rig.writer.refuse.store(3, Ordering::SeqCst);
    backend.save(&device).await.unwrap();
    assert_eq!(again(&rig, &backend).await.load().await.unwrap().unwrap().push_name, "Ana");
}

#[tokio::test]
async fn a_sealed_backend_and_a_lost_lease_write_nothing() {
    let (rig, backend) = fresh().await;
    let mut account = backend.account().clone();
    account.fence.epoch.0 -= 1;
    let vault = rig.vault.session(account.session).unwrap();
    let stale = Backend::new(account, rig.store.clone(), rig.writer.clone(), Ears::some(), vault).unwrap();
    assert!(stale.put_session("a", b"x").await.is_err());
    assert!(stale.is_fenced());
    assert!(backend.get_session("a").await.unwrap().is_none());
    backend.seal();
    assert!(backend.put_session("a", b"x").await.is_err());
    assert!(backend.get_session("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_that_was_decrypted_and_is_nowhere_is_asked_for_and_others_are_not() {
    let (rig, old) = fresh().await;
    let (chat, sender) = ("15550100199@s.whatsapp.net", "15550100199:1@s.whatsapp.net");
    let source = MessageSource {
        chat: chat.parse().unwrap(),
        sender: sender.parse().unwrap(),
        ..MessageSource::default()
    };
    let info = MessageInfo { id: "EMPTY".into(), source, ..MessageInfo::default() };
    old.handled(&InboundMessage::builder().message(Arc::default()).info(Arc::new(info)).build());
    old.settle().await.unwrap();

    let ears = Ears::some();
    let vault = rig.vault.session(old.account().session).unwrap();
    let new = Backend::new(old.account().clone(), rig.store.clone(), rig.writer.clone(), ears.clone(), vault);
    let new = new.unwrap();
    ears.inbound(vec![stored("HERE")]).await.unwrap();
    for known in ["EMPTY", "HERE"] {
        assert_eq!(new.get_pending_inbound(chat, sender, known).await.unwrap(), None, "{known}");
    }
    new.get_pending_inbound(chat, sender, "GONE").await.unwrap_err();
    let wanted = new.wanted().await;
    assert_eq!(wanted.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["GONE"]);
    assert_eq!((wanted[0].chat.as_str(), wanted[0].sender.as_str()), (chat, sender));

    new.delete_expired_pending_inbound(now().0 / 1000 + 1).await.unwrap();
    new.get_pending_inbound(chat, sender, "EMPTY").await.unwrap_err();
}

fn stored(id: &str) -> StoredMessage {
    StoredMessage {
        wa_id: WaId(id.to_owned()),
        chat_pn: None,
        chat_lid: None,
        sender_pn: None,
        sender_lid: None,
        direction: Direction::In,
        push_name: None,
        content: Content::Unsupported { kind: "unknown".to_owned() },
        sent_at: now(),
    }
}
