//! Faults do what they say, to a real client.

use recado_sandbox::{FaultKind, FaultSpec};
use tokio::time::{Duration, Instant};
use whatsapp_rust::prelude::*;

use crate::support::{TestClient, linked, sandbox, text, until, within};

fn fault(kind: FaultKind) -> FaultSpec {
    FaultSpec::new(kind)
}

#[tokio::test]
async fn a_dropped_link_heals_and_nothing_is_lost() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    let logins = sandbox.stats().logins;
    let dropped =
        sandbox.add_fault(FaultSpec { phone: Some(mine.phone.clone()), ..fault(FaultKind::Drop) }).unwrap();
    assert_eq!(dropped.hits, 1);
    sandbox.send(&theirs.phone, text(&mine.phone, "while away")).await.unwrap();
    assert_eq!(a.message().await.1, "while away");
    assert_eq!(sandbox.stats().logins, logins + 1);
}

#[tokio::test]
async fn a_nacked_send_is_told_with_its_code_and_goes_nowhere() {
    let sandbox = sandbox().await;
    let (a, _) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    sandbox.add_fault(FaultSpec { times: Some(1), ..fault(FaultKind::Nack) }).unwrap();
    a.send(&theirs.phone, "NO", "no").await;
    let code = a
        .event("a nack", |e| match e {
            Event::ServerAck(ack) if ack.id == "NO" => Some(ack.error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(code.as_deref(), Some("463"));
    a.send(&theirs.phone, "YES", "yes").await;
    until("the second one", || (sandbox.inbox(&theirs.phone, 0, 9).unwrap().total == 1).then_some(())).await;
    assert_eq!(sandbox.inbox(&theirs.phone, 0, 9).unwrap().messages[0].message_id, "YES");
}

#[tokio::test]
async fn only_messages_to_strangers_are_refused_under_the_reach_out_lock() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    let (_b, known) = linked(&sandbox).await;
    let (_c, stranger) = linked(&sandbox).await;
    sandbox.send(&known.phone, text(&mine.phone, "hello")).await.unwrap();
    a.message().await;
    sandbox.add_fault(fault(FaultKind::NackStrangers)).unwrap();
    a.send(&stranger.phone, "NO", "no").await;
    let code = a
        .event("a nack", |e| match e {
            Event::ServerAck(ack) if ack.id == "NO" => Some(ack.error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(code.as_deref(), Some("463"));
    a.send(&known.phone, "YES", "yes").await;
    until("the answer", || (sandbox.inbox(&known.phone, 0, 9).unwrap().total == 1).then_some(())).await;
    assert_eq!(sandbox.inbox(&stranger.phone, 0, 9).unwrap().total, 0);
}

#[tokio::test]
async fn a_refused_login_is_seen_and_ends_with_the_fault() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    sandbox
        .add_fault(FaultSpec { times: Some(2), code: Some(503), ..fault(FaultKind::RefuseLogin) })
        .unwrap();
    sandbox.add_fault(FaultSpec { phone: Some(mine.phone), ..fault(FaultKind::Drop) }).unwrap();
    a.connected().await;
    assert_eq!(sandbox.stats().logins_refused, 2);
}

#[tokio::test]
async fn a_replaced_client_is_told_so() {
    let sandbox = sandbox().await;
    let (a, _) = linked(&sandbox).await;
    sandbox.add_fault(fault(FaultKind::Replaced)).unwrap();
    a.event("replaced", |e| matches!(e, Event::StreamReplaced(_)).then_some(())).await;
}

#[tokio::test]
async fn a_restart_brings_the_client_back() {
    let sandbox = sandbox().await;
    let (a, _) = linked(&sandbox).await;
    sandbox.add_fault(fault(FaultKind::Restart)).unwrap();
    a.connected().await;
}

#[tokio::test]
async fn output_in_pieces_and_a_duplicate_are_survived() {
    let sandbox = sandbox().await;
    sandbox.add_fault(fault(FaultKind::Split)).unwrap();
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    for n in 0..5 {
        sandbox.send(&theirs.phone, text(&mine.phone, &n.to_string())).await.unwrap();
        assert_eq!(a.message().await.1, n.to_string());
    }
    sandbox.clear_faults();
    assert!(sandbox.faults().is_empty());
}

#[tokio::test]
async fn two_messages_change_places() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    sandbox.send(&theirs.phone, text(&mine.phone, "hello")).await.unwrap();
    a.message().await;
    let only = |kind| FaultSpec { phone: Some(mine.phone.clone()), times: Some(1), ..fault(kind) };
    sandbox.add_fault(FaultSpec { delay_ms: Some(5000), ..only(FaultKind::Reorder) }).unwrap();
    sandbox.send(&theirs.phone, text(&mine.phone, "one")).await.unwrap();
    sandbox.send(&theirs.phone, text(&mine.phone, "two")).await.unwrap();
    assert_eq!(a.message().await.1, "two");
    assert_eq!(a.message().await.1, "one");
}

#[tokio::test]
async fn a_delay_delays_and_a_freeze_freezes_until_cleared() {
    let sandbox = sandbox().await;
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    let only = |kind| FaultSpec { phone: Some(mine.phone.clone()), ..fault(kind) };
    sandbox.add_fault(FaultSpec { times: Some(1), delay_ms: Some(400), ..only(FaultKind::Delay) }).unwrap();
    let began = Instant::now();
    sandbox.send(&theirs.phone, text(&mine.phone, "late")).await.unwrap();
    a.message().await;
    assert!(began.elapsed() >= Duration::from_millis(400));

    sandbox.add_fault(only(FaultKind::Freeze)).unwrap();
    sandbox.send(&theirs.phone, text(&mine.phone, "cold")).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(300), a.message()).await;
    assert!(silent.is_err(), "a frozen link says nothing");
    sandbox.clear_faults();
    assert_eq!(within("thawed", a.message()).await.1, "cold");
}

#[tokio::test]
async fn a_withheld_ack_leaves_the_sender_waiting_but_delivers() {
    let sandbox = sandbox().await;
    let (a, _): (TestClient, _) = linked(&sandbox).await;
    let (b, theirs) = linked(&sandbox).await;
    sandbox.add_fault(FaultSpec { times: Some(1), ..fault(FaultKind::WithholdAck) }).unwrap();
    let acks = sandbox.stats().acks;
    a.send(&theirs.phone, "QUIET", "quiet").await;
    assert_eq!(b.message().await.0, "QUIET");
    assert_eq!(sandbox.stats().acks, acks);
}
