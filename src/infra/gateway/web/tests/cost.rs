//! What messages cost the tables.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use whatsapp_rust::wacore::store::traits::{DeviceInfo, DeviceListRecord, ProtocolStore, TcTokenEntry};

use super::rig::{Ears, Rig, Running, sandbox};
use crate::domain::session::Endpoint;
use crate::domain::write::{AuthOp, AuthWrite};
use crate::infra::gateway::web::backend::Backend;

const COUNT: usize = 200;

/// The rows written for a session, per family, and the writes.
fn written(rig: &Rig, of: &Running) -> (usize, BTreeMap<String, usize>) {
    let writes = rig.writer.writes.lock().unwrap();
    let mine: Vec<&AuthWrite> = writes.iter().filter(|write| write.session == of.account.session).collect();
    let mut rows = BTreeMap::new();
    for op in mine.iter().flat_map(|write| &write.ops) {
        let name = match op {
            AuthOp::PutCreds(_) => "creds".to_owned(),
            AuthOp::Wipe => "wipe".to_owned(),
            AuthOp::Put { kind, .. } | AuthOp::Update { kind, .. } => (*kind).to_owned(),
            AuthOp::Delete { kind, .. }
            | AuthOp::DeletePrefix { kind, .. }
            | AuthOp::DeleteStamped { kind, .. } => {
                format!("-{kind}")
            }
        };
        *rows.entry(name).or_default() += 1;
    }
    (mine.len(), rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_steady_traffic_costs_less_than_one_credential_write_and_no_read() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());
    // Both have written: sessions, devices and tokens are known on both sides.
    for turn in 1..=3 {
        a.send(&b_phone, "hello").await;
        b.ears.until("a greeting", |heard| heard.inbound.len() == turn).await;
        b.send(&a_phone, "hello").await;
        a.ears.until("a greeting", |heard| heard.inbound.len() == turn).await;
    }
    rig.writer.writes.lock().unwrap().clear();
    rig.store.reads();
    for n in 0..COUNT {
        a.send(&b_phone, &n.to_string()).await;
    }
    b.ears.until("all", |heard| heard.inbound.len() >= COUNT + 3).await;
    let reads = rig.store.reads();
    let (sender, receiver) = (written(&rig, &a), written(&rig, &b));
    assert!(reads.values().sum::<usize>() < COUNT / 10, "{reads:?} reads for {COUNT} messages on both sides");
    assert!(sender.0 + receiver.0 < COUNT, "{sender:?} {receiver:?} for {COUNT} messages");
    a.close().await;
    b.close().await;
}

async fn fresh() -> (Rig, Backend) {
    let rig = Rig::new().await;
    let account = rig.account(Endpoint::Whatsapp {}).await;
    let vault = rig.vault.session(account.session).unwrap();
    let backend = Backend::new(account, rig.store.clone(), rig.writer.clone(), Ears::some(), vault).unwrap();
    (rig, backend)
}

fn record(user: &str, device: u32) -> DeviceListRecord {
    let devices = vec![DeviceInfo::new(device, None)];
    DeviceListRecord { user: user.into(), devices, timestamp: 9, phash: None, raw_id: None }
}

#[tokio::test]
async fn devices_and_tokens_are_read_once_also_when_there_are_none() {
    let (rig, backend) = fresh().await;
    for _ in 0..3 {
        assert!(backend.get_devices("none").await.unwrap().is_none());
        assert!(backend.get_tc_token("none@lid").await.unwrap().is_none());
    }
    let once = BTreeMap::from([("devices".to_owned(), 1), ("tc-token".to_owned(), 1)]);
    assert_eq!(rig.store.reads(), once);

    backend.update_device_list(record("1", 4)).await.unwrap();
    let token = TcTokenEntry { token: vec![1], token_timestamp: 5, sender_timestamp: None };
    backend.put_tc_token("1@lid", &token).await.unwrap();
    backend.touch_tc_token_sender_timestamp("1@lid", 7).await.unwrap();
    assert_eq!(backend.get_devices("1").await.unwrap().unwrap().devices[0].device_id, 4);
    assert_eq!(backend.get_tc_token("1@lid").await.unwrap().unwrap().sender_timestamp, Some(7));
    backend.delete_devices("1").await.unwrap();
    assert!(backend.get_devices("1").await.unwrap().is_none());
    assert_eq!(rig.store.reads(), BTreeMap::new(), "what was written is known");
}

#[tokio::test]
async fn a_write_that_failed_leaves_the_tables_to_say_what_is_there() {
    let (rig, backend) = fresh().await;
    backend.update_device_list(record("1", 4)).await.unwrap();
    rig.writer.refuse.store(1, Ordering::SeqCst);
    assert!(backend.update_device_list(record("1", 5)).await.is_err());
    rig.store.reads();
    for _ in 0..2 {
        assert_eq!(backend.get_devices("1").await.unwrap().unwrap().devices[0].device_id, 4);
    }
    assert_eq!(rig.store.reads().get("devices"), Some(&2), "it may still be applied");
    backend.update_device_list(record("1", 6)).await.unwrap();
    assert_eq!(backend.get_devices("1").await.unwrap().unwrap().devices[0].device_id, 6);
    assert_eq!(rig.store.reads(), BTreeMap::new());
}
