//! One person, one chat.

use recado::domain::content::Content;
use recado::domain::time::Timestamp;
use recado::domain::view::{ChatView, PageRequest};

use super::world::{World, page};
use crate::invariants::Open;

const PN: &str = "15550100199@s.whatsapp.net";
const LID: &str = "77@lid";

async fn chats(world: &World) -> Vec<ChatView> {
    world.store.chats(world.tenant, None, page(100)).await.unwrap().items
}

pub async fn a_chat_is_one_under_phone_address_and_lid(world: World) {
    let session = world.session().await;
    for (pn, lid) in [(None, Some(LID)), (Some(PN), Some(LID)), (Some(PN), None)] {
        let message = world.received(pn, lid, "hola");
        world.done(world.inbound(session, vec![message])).await;
    }
    world.accept(&world.message_to(session, "+1 555 010 0199", "hola")).await.unwrap();
    let chats = chats(&world).await;
    assert_eq!(chats.len(), 1);
    assert_eq!(chats[0].jid, LID, "a chat keeps the address it was first seen by");
    assert_eq!((chats[0].pn.as_deref(), chats[0].lid.as_deref()), (Some(PN), Some(LID)));
    for name in [PN, LID, "15550100199", "+1 (555) 010-0199"] {
        assert_eq!(world.chat(session, name).await.len(), 4, "{name}");
    }
}

pub async fn two_chats_that_turn_out_to_be_one_are_merged(world: World) {
    let session = world.session().await;
    let by_pn = world.received(Some(PN), None, "one");
    let by_lid = world.received(None, Some(LID), "two");
    world.done(world.inbound(session, vec![by_pn, by_lid])).await;
    assert_eq!(chats(&world).await.len(), 2);
    // The news that they are one arrives in the middle of a batch that speaks of all three.
    let batch = vec![
        world.received(None, Some(LID), "three"),
        world.received(Some(PN), Some(LID), "four"),
        world.received(None, Some(LID), "five"),
    ];
    world.done(world.inbound(session, batch)).await;
    let chats = chats(&world).await;
    assert_eq!(chats.len(), 1);
    assert_eq!((chats[0].jid.as_str(), chats[0].lid.as_deref()), (PN, Some(LID)));
    for name in [PN, LID] {
        assert_eq!(world.chat(session, name).await.len(), 5, "{name}");
    }
    world.accept(&world.message_to(session, LID, "six")).await.unwrap();
    assert_eq!(world.chat(session, PN).await.len(), 6);
    world.check(Open::Allowed).await;
}

pub async fn a_message_replayed_after_a_merge_is_still_known(world: World) {
    let session = world.session().await;
    let by_pn = world.received(Some(PN), None, "one");
    let mut by_lid = world.received(None, Some(LID), "two");
    let other_session = world.session().await;
    world.done(world.inbound(other_session, vec![by_lid.clone()])).await;
    world.done(world.inbound(session, vec![by_pn.clone(), by_lid.clone()])).await;
    let both = world.received(Some(PN), Some(LID), "three");
    world.done(world.inbound(session, vec![both.clone()])).await;
    by_lid.chat_pn = Some(PN.parse().unwrap());
    world.done(world.inbound(session, vec![by_pn, by_lid, both])).await;
    assert_eq!(world.chat(session, PN).await.len(), 3);
    assert_eq!(world.chat(other_session, LID).await.len(), 1, "another session's chat is its own");
}

pub async fn the_summary_shows_the_latest_message_whatever_the_order(world: World) {
    let session = world.session().await;
    let mut late = world.received(Some(PN), None, "late");
    let mut early = world.received(Some(PN), None, "early");
    early.push_name = Some("Ana María".to_owned());
    (early.sent_at, late.sent_at) = (Timestamp(1_000), Timestamp(2_000));
    world.done(world.inbound(session, vec![late])).await;
    world.done(world.inbound(session, vec![early])).await;
    let chat = chats(&world).await.remove(0);
    assert_eq!((chat.last_message.as_deref(), chat.last_message_at), (Some("late"), Timestamp(2_000)));
    assert_eq!(chat.name.as_deref(), Some("Ana María"));
    let texts: Vec<_> = world.chat(session, PN).await.into_iter().map(|view| view.timestamp.0).collect();
    assert_eq!(texts, [2_000, 1_000], "newest first");
}

pub async fn chats_and_messages_page_without_gap_or_repeat(world: World) {
    let (one, two) = (world.session().await, world.session().await);
    for n in 0..23 {
        let session = if n % 3 == 0 { two } else { one };
        let mut message = world.received(Some(&format!("1555010{:04}", n / 3)), None, &n.to_string());
        message.sent_at = Timestamp(1_000 + n / 4);
        let mut same_chat = world.received(Some(PN), None, &n.to_string());
        same_chat.sent_at = Timestamp(1_000 + n / 4);
        world.done(world.inbound(session, vec![message, same_chat])).await;
    }
    let mut seen = Vec::new();
    let mut at = PageRequest { cursor: None, limit: 5, among: None };
    loop {
        let page = world.store.messages(world.tenant, None, PN, at.clone()).await.unwrap();
        assert!(page.items.len() <= 5);
        seen.extend(page.items.iter().map(|view| (view.timestamp, view.message_id)));
        at.cursor = page.next_cursor;
        if at.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 23);
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(seen, sorted);
    for (session, expected) in [(None, 18), (Some(one), 9), (Some(two), 9)] {
        let mut names = Vec::new();
        let mut at = PageRequest { cursor: None, limit: 4, among: None };
        loop {
            let page = world.store.chats(world.tenant, session, at.clone()).await.unwrap();
            names.extend(page.items.iter().map(|chat| (chat.session_id, chat.jid.clone())));
            at.cursor = page.next_cursor;
            if at.cursor.is_none() {
                break;
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), count), (expected, expected), "{session:?}");
    }
}

pub async fn unknown_content_is_kept(world: World) {
    let session = world.session().await;
    let mut message = world.received(Some(PN), None, "");
    message.content = Content::Unsupported { kind: "poll".to_owned() };
    world.done(world.inbound(session, vec![message])).await;
    let view = world.chat(session, PN).await.remove(0);
    assert_eq!(view.content, Content::Unsupported { kind: "poll".to_owned() });
}
