//! Linking, reconnecting, ending.

use std::time::Duration;

use recado_sandbox::{FaultKind, FaultSpec, Sandbox, SandboxConfig};

use super::rig::{PATIENCE, Rig, endpoint, sandbox, until};
use crate::domain::error::Kind;
use crate::infra::gateway::{Gateway, LinkEnd, LinkEvent};
use crate::infra::store::Store;

fn fault(kind: FaultKind, code: Option<u16>) -> FaultSpec {
    FaultSpec { code, times: Some(1), ..FaultSpec::new(kind) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_links_by_qr_and_knows_itself() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.start(rig.account(endpoint(&sandbox)).await).await;
    let linked = running.scan(&sandbox).await;
    running.ears.until("connected", |heard| heard.connected() > 0).await;
    {
        let heard = running.ears.heard();
        let Some(LinkEvent::Connected { pn, lid, push_name }) =
            heard.events.iter().find(|event| matches!(event, LinkEvent::Connected { .. }))
        else {
            panic!("not connected")
        };
        assert_eq!(pn.as_ref().unwrap().user(), linked.phone);
        assert!(linked.lid.starts_with(lid.as_ref().unwrap().user()));
        assert!(push_name.as_ref().is_some_and(|name| !name.is_empty()));
        assert_eq!(heard.ends, vec![LinkEnd::Again], "linking takes one new connection");
        let paired = heard.events.iter().filter(|event| matches!(event, LinkEvent::Paired { .. }));
        assert_eq!(paired.count(), 1);
    }
    until("the login gate is free", || rig.gateway.free_logins() == 32).await;
    let ears = running.close().await;
    assert_eq!(ears.heard().ends.last(), Some(&LinkEnd::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_link_heals_and_a_restart_of_the_process_stays_linked() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.linked(&sandbox).await;
    sandbox.add_fault(fault(FaultKind::Drop, None)).unwrap();
    running.ears.until("connected again", |heard| heard.connected() == 2).await;
    // A socket dropped with something in it that the server had not read is reset by the kernel; an empty one is closed.
    let lost = |reason: &str| LinkEnd::Lost { reason: reason.to_owned(), was_connected: true };
    let end = running.ears.heard().ends.last().cloned().unwrap();
    assert!([lost("server_closed"), lost("read_error")].contains(&end), "{end:?}");

    sandbox.add_fault(fault(FaultKind::Restart, None)).unwrap();
    running.ears.until("connected after 515", |heard| heard.connected() == 3).await;
    assert_eq!(running.ears.heard().ends.last(), Some(&LinkEnd::Again));

    let account = running.account.clone();
    running.close().await;
    let running = rig.start(account).await;
    running.ears.until("connected with stored keys", |heard| heard.connected() == 1).await;
    assert!(running.ears.heard().qr().is_none(), "no new QR code");
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_connection_leaves_no_task_and_writes_nothing() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.linked(&sandbox).await;
    running.close().await;
    until("the sandbox sees it go", || sandbox.stats().online == 0).await;
    let writes = rig.writer.writes.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.writer.writes.lock().unwrap().len(), writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_named_and_found_again() {
    let rig = Rig::new().await;
    let first = sandbox().await;
    let config = SandboxConfig { listen: first.addr(), ..SandboxConfig::default() };
    let running = rig.linked(&first).await;
    let state = first.stop().await.unwrap();
    running
        .ears
        .until("a refused connection", |heard| {
            heard.ends.contains(&LinkEnd::Lost { reason: "connect_failed".into(), was_connected: false })
        })
        .await;
    let second = Sandbox::resume(config, state).await.unwrap();
    running.ears.until("connected again", |heard| heard.connected() == 2).await;
    running.close().await;
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_login_has_its_meaning() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let cases = [
        (503, LinkEnd::Lost { reason: "login_503".into(), was_connected: false }),
        (405, LinkEnd::Fatal { reason: "client_outdated".into() }),
        (403, LinkEnd::LoggedOut { reason: "login_403".into() }),
        (401, LinkEnd::LoggedOut { reason: "login_401".into() }),
    ];
    let running = rig.linked(&sandbox).await;
    let account = running.account.clone();
    running.close().await;
    for (code, end) in cases {
        sandbox.add_fault(fault(FaultKind::RefuseLogin, Some(code))).unwrap();
        let running = rig.start(account.clone()).await;
        running.ears.until("an end", |heard| !heard.ends.is_empty()).await;
        assert_eq!(running.ears.heard().ends[0], end, "{code}");
        running.link.close(PATIENCE).await;
        sandbox.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_link_does_not_fight_back() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.linked(&sandbox).await;
    sandbox.add_fault(fault(FaultKind::Replaced, None)).unwrap();
    let replaced = LinkEnd::Fatal { reason: "replaced".into() };
    running.ears.until("replaced", |heard| heard.ends.contains(&replaced)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlinking_is_told_from_either_side() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.linked(&sandbox).await;
    running.link.logout().await.unwrap();
    let requested = LinkEnd::LoggedOut { reason: "requested".into() };
    running.ears.until("logged out", |heard| heard.ends.contains(&requested)).await;
    assert_eq!(
        running.link.logout().await.unwrap_err().kind,
        Kind::Unavailable,
        "nothing to unlink any more"
    );
    assert!(sandbox.accounts()[0].devices.is_empty());

    let running = rig.linked(&sandbox).await;
    sandbox.unlink(&running.phone(), 1).or_else(|_| sandbox.unlink(&running.phone(), 2)).unwrap();
    let removed = LinkEnd::LoggedOut { reason: "device_removed".into() };
    running.ears.until("unlinked by the phone", |heard| heard.ends.contains(&removed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_code_links_too_and_a_linked_session_gets_none() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    // The phone must exist before a code can be entered on it.
    let other = rig.linked(&sandbox).await;
    let phone = other.phone();
    let running = rig.start(rig.account(endpoint(&sandbox)).await).await;
    let number = phone.parse().unwrap();
    let (code, _until) = running.link.pairing_code(&number, PATIENCE).await.unwrap();
    let linked = sandbox.enter_code(&phone, &code).await.unwrap();
    assert_eq!(linked.phone, phone);
    running.ears.until("connected", |heard| heard.connected() == 1).await;
    let refusal = running.link.pairing_code(&number, PATIENCE).await.unwrap_err();
    assert_eq!(refusal.code, "already_linked");
    running.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_link_in_any_phase() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let waiting = rig.start(rig.account(endpoint(&sandbox)).await).await;
    waiting.ears.until("a QR code", |heard| heard.qr().is_some()).await;
    let ears = waiting.close().await;
    assert_eq!(ears.heard().ends, vec![LinkEnd::Closed]);

    let ears = super::rig::Ears::some();
    let link = rig.gateway.open(rig.account(endpoint(&sandbox)).await, ears).await.unwrap();
    link.close(PATIENCE).await;
    assert_eq!(link.run().await, LinkEnd::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_link_leaves_its_socket_at_once_even_if_the_store_hangs() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, mut b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());
    rig.writer.hangs.store(true, std::sync::atomic::Ordering::SeqCst);
    let order = super::messages::order(&b_phone, "hello");
    sandbox.send(&a_phone, order).await.unwrap();
    b.ears.until("the message", |heard| !heard.inbound.is_empty()).await;
    b.kill();
    let killed = tokio::time::Instant::now();
    let online = || sandbox.accounts().into_iter().find(|it| it.phone == b_phone).unwrap().devices[0].online;
    until("its socket is closed", || !online()).await;
    assert!(killed.elapsed() < Duration::from_secs(1), "only after {:?}", killed.elapsed());
    rig.writer.hangs.store(false, std::sync::atomic::Ordering::SeqCst);
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_a_moment_costs_nothing() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.start(rig.account(endpoint(&sandbox)).await).await;
    running.ears.until("a QR code", |heard| heard.qr().is_some()).await;
    rig.writer.refuse.store(3, std::sync::atomic::Ordering::SeqCst);
    running.scan(&sandbox).await;
    running.ears.until("connected", |heard| heard.connected() > 0).await;
    let session = running.account.session;
    running.close().await;
    assert!(rig.store.creds(session).await.unwrap().is_some());
}
