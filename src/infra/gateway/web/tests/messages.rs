//! Messages both ways, their acks and receipts, and what a failed commit does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use recado_sandbox::{FaultKind, FaultSpec, Sandbox, SendText};

use super::rig::{Rig, Running, message, sandbox, until};
use crate::domain::content::Content;
use crate::domain::ids::WaId;
use crate::domain::message::{Direction, MessageState};
use crate::domain::write::{AuthOp, AuthWrite};
use crate::infra::gateway::web::{AuthWriter, WebConfig};
use crate::infra::gateway::{Account, LinkEnd, LinkEvent, SendError};

pub(super) fn order(to: &str, text: &str) -> SendText {
    SendText {
        to: to.to_owned(),
        text: text.to_owned(),
        id: None,
        reply_to: None,
        count: None,
        per_second: None,
    }
}

fn acked(event: &LinkEvent, id: &WaId, code: Option<u16>) -> bool {
    matches!(event, LinkEvent::Ack { wa_id, error, .. } if wa_id == id && *error == code)
}

fn receipted(event: &LinkEvent, id: &WaId, as_what: MessageState) -> bool {
    matches!(event, LinkEvent::Receipt { wa_ids, state, .. } if wa_ids.contains(id) && *state == as_what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_travels_with_its_id_and_comes_back_as_ack_and_receipts() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    sandbox.auto_read(&b.phone(), true).unwrap();
    let id = a.send(&b.phone(), "hola").await;
    a.ears.until("ack", |heard| heard.events.iter().any(|event| acked(event, &id, None))).await;
    for state in [MessageState::Delivered, MessageState::Read] {
        a.ears.until("receipt", |heard| heard.events.iter().any(|event| receipted(event, &id, state))).await;
    }
    b.ears.until("the text", |heard| !heard.inbound.is_empty()).await;
    let (a_phone, b_phone) = (a.phone(), b.phone());
    {
        let heard = b.ears.heard();
        let got = &heard.inbound[0];
        assert_eq!(got.wa_id, id);
        assert_eq!(got.content, Content::Text { text: "hola".into(), reply_to: None });
        assert_eq!(got.direction, Direction::In);
        for address in [&got.chat_pn, &got.sender_pn] {
            assert_eq!(address.as_ref().unwrap().user(), a_phone);
        }
        assert!(got.chat_lid.is_some() && got.chat_lid == got.sender_lid);
    }

    // A reply names the message it answers.
    let reply = message(&a_phone, "bien", Some(&id.0));
    b.link.send(&reply).await.unwrap();
    a.ears.until("the reply", |heard| !heard.inbound.is_empty()).await;
    let text = Content::Text { text: "bien".into(), reply_to: Some(id.0.clone()) };
    assert_eq!(a.ears.heard().inbound[0].content, text);
    assert_eq!(sandbox.inbox(&b_phone, 0, 10).unwrap().messages[0].text.as_deref(), Some("hola"));
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_phone_itself_writes_comes_in_as_sent_by_the_account() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());
    sandbox.send(&a_phone, order(&b_phone, "from the phone")).await.unwrap();
    a.ears.until("own message", |heard| !heard.inbound.is_empty()).await;
    b.ears.until("the message", |heard| !heard.inbound.is_empty()).await;
    let own = a.ears.heard().inbound[0].clone();
    assert_eq!(own.direction, Direction::Out);
    assert!(own.chat_pn.iter().chain(&own.chat_lid).next().is_some());
    assert_eq!(own.sender_pn.unwrap().user(), a_phone);
    assert_eq!(b.ears.heard().inbound[0].direction, Direction::In);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_told_with_its_code() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let nack = FaultSpec { code: Some(463), times: Some(1), ..FaultSpec::new(FaultKind::Nack) };
    sandbox.add_fault(nack).unwrap();
    let id = a.send(&b.phone(), "no").await;
    a.ears.until("the nack", |heard| heard.events.iter().any(|event| acked(event, &id, Some(463)))).await;
    a.close().await;
    let late = message(&b.phone(), "x", None);
    let account = b.account.clone();
    b.close().await;
    let link = crate::infra::gateway::Gateway::open(&*rig.gateway, account, super::rig::Ears::some());
    let refused = link.await.unwrap().send(&late).await.unwrap_err();
    assert!(matches!(refused, SendError::NotNow(_)), "{refused:?}");
}

/// A store that is away for longer than a connection waits.
async fn impatient() -> Rig {
    let mut config = WebConfig::default();
    config.timeouts.inbound = Duration::from_millis(250);
    Rig::with(config).await
}

fn not_stored() -> LinkEnd {
    LinkEnd::Lost { reason: "inbound_not_stored".into(), was_connected: true }
}

/// The ids of what the sink took, in order.
fn taken(running: &Running) -> Vec<String> {
    running.ears.heard().inbound.iter().map(|it| it.wa_id.0.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_could_not_be_stored_is_not_acknowledged_and_comes_again() {
    let (rig, sandbox) = (impatient().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());
    let device = sandbox.accounts().iter().find(|it| it.phone == b_phone).unwrap().devices[0].id;
    let receipted = || sandbox.receipted(&b_phone, device, 0, 100).unwrap();
    let before = receipted().total;

    b.ears.refuses.store(usize::MAX, Ordering::SeqCst);
    let mut ids = sandbox.send(&a_phone, order(&b_phone, "keep me")).await.unwrap().ids;
    ids.extend(sandbox.send(&a_phone, order(&b_phone, "and me, after it")).await.unwrap().ids);
    b.ears.until("the connection is given up", |heard| heard.ends.contains(&not_stored())).await;
    assert_eq!(receipted().total, before);

    b.ears.refuses.store(0, Ordering::SeqCst);
    b.ears.until("both came again", |heard| heard.inbound.len() >= 2).await;
    until("both are acknowledged", || ids.iter().all(|id| receipted().ids.contains(id))).await;
    assert_eq!(taken(&b), ids, "each once, in order");
    // Nobody was asked for a key again: the conversation goes on.
    let next = sandbox.send(&a_phone, order(&b_phone, "go on")).await.unwrap().ids;
    b.ears.until("the next one", |heard| heard.inbound.iter().any(|it| it.wa_id.0 == next[0])).await;
    assert_eq!(sandbox.stats().retries, 0);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_altogether_loses_no_message_and_no_key() {
    let (rig, sandbox) = (impatient().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());
    let mut ids = sandbox.send(&a_phone, order(&b_phone, "before")).await.unwrap().ids;
    b.ears.until("the first one", |heard| heard.inbound.len() == 1).await;

    b.ears.refuses.store(usize::MAX, Ordering::SeqCst);
    rig.writer.refuse.store(usize::MAX, Ordering::SeqCst);
    ids.extend(sandbox.send(&a_phone, order(&b_phone, "during")).await.unwrap().ids);
    b.ears.until("the connection is given up", |heard| heard.ends.contains(&not_stored())).await;
    rig.writer.refuse.store(0, Ordering::SeqCst);
    b.ears.refuses.store(0, Ordering::SeqCst);
    b.ears.until("it came again", |heard| heard.inbound.len() >= 2).await;
    ids.extend(sandbox.send(&a_phone, order(&b_phone, "after")).await.unwrap().ids);
    b.ears.until("the last one", |heard| heard.inbound.len() >= 3).await;
    assert_eq!(taken(&b), ids);
    assert_eq!(sandbox.stats().retries, 0);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_decrypted_because_the_store_is_away_is_not_refused_and_comes_again() {
    let (rig, sandbox) = (impatient().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());

    // The first message of a conversation: the engine has to ask the store for its keys.
    rig.store.away.store(true, Ordering::SeqCst);
    let mut ids = sandbox.send(&a_phone, order(&b_phone, "keep me")).await.unwrap().ids;
    let silenced = LinkEnd::Lost { reason: "store_not_readable".into(), was_connected: true };
    b.ears.until("the connection is given up", |heard| heard.ends.contains(&silenced)).await;
    let view = || sandbox.accounts().into_iter().find(|it| it.phone == b_phone).unwrap();
    assert!(view().devices[0].queued > 0, "it waits at WhatsApp");

    rig.store.away.store(false, Ordering::SeqCst);
    b.ears.until("it came again", |heard| !heard.inbound.is_empty()).await;
    ids.extend(sandbox.send(&a_phone, order(&b_phone, "go on")).await.unwrap().ids);
    b.ears.until("the next one", |heard| heard.inbound.len() >= 2).await;
    assert_eq!(taken(&b), ids);
    assert_eq!(sandbox.stats().retries, 0);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_trouble_of_the_store_costs_no_connection() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    b.ears.refuses.store(2, Ordering::SeqCst);
    let ids = sandbox.send(&a.phone(), order(&b.phone(), "keep me")).await.unwrap().ids;
    b.ears.until("the message", |heard| !heard.inbound.is_empty()).await;
    assert_eq!(taken(&b), ids);
    assert_eq!(b.ears.heard().ends, vec![LinkEnd::Again], "only that of linking");
    a.close().await;
    b.close().await;
}

/// A message from one to the other, which has it decrypted but not taken.
async fn refused(sandbox: &Sandbox, from: &Running, to: &Running) -> String {
    to.ears.refuses.store(usize::MAX, Ordering::SeqCst);
    let asked = to.ears.asked.load(Ordering::SeqCst);
    let id = sandbox.send(&from.phone(), order(&to.phone(), "keep me")).await.unwrap().ids.remove(0);
    until("the sink was asked", || to.ears.asked.load(Ordering::SeqCst) > asked).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_which_the_ratchet_step_is_stored_already_comes_again_from_the_store() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let id = refused(&sandbox, &a, &b).await;
    let account = b.account.clone();
    b.close().await;
    let with_step = |write: &AuthWrite| {
        let kinds =
            |kind| write.ops.iter().any(|op| matches!(op, AuthOp::Put { kind: it, .. } if *it == kind));
        (kinds("pending-inbound"), kinds("session"))
    };
    let writes: Vec<_> = rig.writer.writes.lock().unwrap().iter().map(with_step).collect();
    assert!(writes.contains(&(true, true)), "the step and what it decrypted are one write");
    let b = rig.start(account).await;
    b.ears.until("it came again", |heard| heard.inbound.iter().any(|it| it.wa_id.0 == id)).await;
    assert_eq!(b.ears.heard().inbound[0].content, Content::Text { text: "keep me".into(), reply_to: None });
    assert_eq!(sandbox.stats().retries, 0);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_which_only_the_ratchet_step_is_left_is_written_again() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let id = refused(&sandbox, &a, &b).await;
    let (account, phone) = (b.account.clone(), b.phone());
    b.close().await;
    // As if the process had died between the two.
    let texts = AuthOp::DeletePrefix { kind: "pending-inbound", prefix: String::new() };
    let Account { tenant, session, fence, .. } = account;
    rig.writer.write(AuthWrite { fence, tenant, session, ops: vec![texts] }).await.unwrap();

    let b = rig.start(account).await;
    b.ears.until("it came again", |heard| heard.inbound.iter().any(|it| it.wa_id.0 == id)).await;
    assert_eq!(b.ears.heard().inbound[0].content, Content::Text { text: "keep me".into(), reply_to: None });
    assert_eq!(sandbox.stats().retries, 1);
    let device = sandbox.accounts().iter().find(|it| it.phone == phone).unwrap().devices[0].id;
    until("it is acknowledged", || sandbox.receipted(&phone, device, 0, 10).unwrap().ids == [id.clone()])
        .await;
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_refused_before_the_process_died_comes_again_to_the_next_one() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let id = refused(&sandbox, &a, &b).await;
    let account = b.account.clone();
    b.close().await;
    let b = rig.start(account).await;
    b.ears.until("it came again", |heard| heard.inbound.iter().any(|it| it.wa_id.0 == id)).await;
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_while_the_session_was_away_comes_in_order() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let (a, b) = (rig.linked(&sandbox).await, rig.linked(&sandbox).await);
    let (a_phone, b_phone) = (a.phone(), b.phone());
    let account = b.account.clone();
    b.close().await;
    let many = SendText { count: Some(60), ..order(&b_phone, "number") };
    let ids = sandbox.send(&a_phone, many).await.unwrap().ids;
    let b = rig.start(account).await;
    b.ears.until("all of them", |heard| heard.inbound.len() >= ids.len()).await;
    let got: Vec<String> = b.ears.heard().inbound.iter().map(|it| it.wa_id.0.clone()).collect();
    assert_eq!(got, ids);
    a.close().await;
    b.close().await;
}
