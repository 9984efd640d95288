//! QR codes, pairing codes, several companions, unlinking.

use recado_sandbox::{Code, ScanQr};
use tokio::time::{Duration, Instant};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::prelude::*;

use crate::support::{TestClient, linked, sandbox, until, within};

#[tokio::test]
async fn a_client_links_by_qr_and_is_connected_within_two_seconds() {
    let sandbox = sandbox().await;
    let mut client = TestClient::pinned(&sandbox).await;
    client.run();
    let qr = client.qr().await;
    let began = Instant::now();
    let link = format!("https://wa.me/settings/linked_devices#{qr}");
    let linked = within("linking", sandbox.scan_qr(&link, ScanQr::default())).await.unwrap();
    client.connected().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 2 }), "took {took:?}");
    let pn = client.client.pn().unwrap();
    assert_eq!((pn.user.as_str(), pn.device), (linked.phone.as_str(), linked.device_id));
    assert_eq!(client.client.lid().unwrap().user.as_str(), linked.lid);
    let account = &sandbox.accounts()[0];
    assert_eq!((account.phone.as_str(), account.devices.len()), (linked.phone.as_str(), 1));
    assert!(account.devices[0].prekeys > 0);
}

#[tokio::test]
async fn a_client_links_by_pairing_code() {
    let sandbox = sandbox().await;
    let mut client = TestClient::pinned(&sandbox).await;
    client.run();
    // The QR code is there too; the number decides which phone may enter the code.
    client.qr().await;
    let options = PairCodeOptions { phone_number: "15550001234".into(), ..Default::default() };
    let code = within("a pairing code", client.client.pair_with_code(options)).await.unwrap();
    let linked = within("linking", sandbox.enter_code("+15550001234", &code)).await.unwrap();
    assert_eq!(linked.phone, "15550001234");
    client.connected().await;
}

#[tokio::test]
async fn a_wrong_pairing_code_links_nothing() {
    let sandbox = sandbox().await;
    let mut client = TestClient::pinned(&sandbox).await;
    client.run();
    client.qr().await;
    let options = PairCodeOptions { phone_number: "15550001234".into(), ..Default::default() };
    within("a pairing code", client.client.pair_with_code(options)).await.unwrap();
    let refused =
        tokio::time::timeout(Duration::from_secs(5), sandbox.enter_code("15550001234", "AAAAAAAA")).await;
    assert!(!matches!(refused, Ok(Ok(_))), "{refused:?}");
    assert!(sandbox.accounts().iter().all(|a| a.devices.is_empty()));
}

#[tokio::test]
async fn the_same_name_is_the_same_phone_and_the_next_device() {
    let sandbox = sandbox().await;
    let mut seen = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TestClient::pinned(&sandbox).await;
        client.run();
        let qr = client.qr().await;
        let by = ScanQr { name: Some("Ada".into()), phone: None };
        seen.push(within("linking", sandbox.scan_qr(&qr, by)).await.unwrap());
        client.connected().await;
        clients.push(client);
    }
    assert_eq!(seen[0].phone, seen[1].phone);
    assert_ne!(seen[0].device_id, seen[1].device_id);
    assert_eq!(sandbox.accounts().len(), 1);
}

#[tokio::test]
async fn an_unknown_or_foreign_code_is_refused() {
    let sandbox = sandbox().await;
    let mut client = TestClient::pinned(&sandbox).await;
    client.run();
    let qr = client.qr().await;
    let (_, rest) = qr.split_once(',').unwrap();
    for (text, code) in [("nonsense".into(), Code::Invalid), (format!("2@other,{rest}"), Code::NotFound)] {
        let refused = sandbox.scan_qr(&text, ScanQr::default()).await.unwrap_err();
        assert_eq!(refused.code, code);
    }
    assert!(sandbox.accounts().is_empty());
}

#[tokio::test]
async fn an_unlinked_device_is_told_and_stays_out() {
    let sandbox = sandbox().await;
    let (client, linked) = linked(&sandbox).await;
    sandbox.unlink(&linked.phone, linked.device_id).unwrap();
    client.event("logged out", |e| matches!(e, Event::LoggedOut(_)).then_some(())).await;
    assert!(sandbox.accounts()[0].devices.is_empty());
    until("a refused login", || (sandbox.stats().logins_refused > 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_logs_out_is_unlinked() {
    let sandbox = sandbox().await;
    let (client, _) = linked(&sandbox).await;
    within("logging out", client.client.logout()).await;
    assert!(sandbox.accounts()[0].devices.is_empty());
}
