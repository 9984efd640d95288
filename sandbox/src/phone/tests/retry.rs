//! Messages that could not be read the first time.

use whatsapp_rust::wacore::protocol::retry::MAX_RETRY_COUNT;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::companion::Companion;
use super::world::{World, lid, pn, received};
use crate::phone::stanza::{number, text};
use crate::phone::{Effect, Text};

#[test]
fn a_message_that_could_not_be_read_is_asked_for_and_read() {
    let mut world = World::of(&["1", "2"]);
    world.say("1", "2", "a");
    world.say("2", "1", "b");
    world.phone("2").forget_sessions();
    let stanza = world.text("1", &pn("2"), Text { id: Some("LOST"), ..Text::new("c") });
    let (effects, _) = world.run("1", stanza);
    assert!(effects.iter().any(|(_, effect)| matches!(
        effect,
        Effect::Undecryptable { id, attempt: 1, gave_up: false, .. } if id == "LOST"
    )));
    let read = received(effects);
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].text.as_deref(), read[0].repeats), (Some("c"), 0));
    assert_eq!(world.say("1", "2", "d")[0].text.as_deref(), Some("d"));
    assert_eq!(world.say("2", "1", "e")[0].text.as_deref(), Some("e"));
}

#[test]
fn asking_stops_after_the_last_attempt() {
    let mut world = World::of(&["1", "2"]);
    let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", "msg").bytes(vec![0x33; 40]).build();
    let garbage = NodeBuilder::new("message")
        .attr("from", lid("1"))
        .attr("id", "BAD")
        .attr("type", "text")
        .children([enc])
        .build();
    for attempt in 1..=MAX_RETRY_COUNT + 2 {
        let phone = world.phones.get_mut("2").unwrap();
        let effects = phone.receive(&garbage, &mut world.registry);
        let asks = effects.iter().filter(|effect| matches!(effect, Effect::Send(_))).count();
        assert_eq!(asks, usize::from(attempt <= MAX_RETRY_COUNT), "attempt {attempt}");
    }
}

fn retry_receipt(
    from: &whatsapp_rust::wacore_binary::Jid,
    id: &str,
    count: u8,
) -> whatsapp_rust::wacore_binary::Node {
    let retry = NodeBuilder::new("retry").attr("v", "1").attr("id", id).attr("count", count).build();
    let registration = NodeBuilder::new("registration").bytes(vec![0, 0, 0, 1]).build();
    NodeBuilder::new("receipt")
        .attr("from", from)
        .attr("id", id)
        .attr("type", "retry")
        .children([retry, registration])
        .build()
}

#[test]
fn a_message_is_written_again_only_for_whom_it_was_meant() {
    let mut world = World::of(&["1", "2", "3"]);
    world.text("1", &pn("2"), Text { id: Some("ID1"), ..Text::new("for 2") });
    let ask = |world: &mut World, receipt| {
        world.phones.get_mut("1").unwrap().receive(&receipt, &mut world.registry)
    };
    assert!(ask(&mut world, retry_receipt(&lid("3"), "ID1", 1)).is_empty(), "a stranger gets nothing");
    assert!(ask(&mut world, retry_receipt(&lid("2"), "ID2", 1)).is_empty(), "nor an unknown id");
    assert!(ask(&mut world, retry_receipt(&lid("2"), "ID1", MAX_RETRY_COUNT)).is_empty(), "nor for ever");
    let answer = ask(&mut world, retry_receipt(&lid("2"), "ID1", 1));
    let [Effect::Send(stanza)] = answer.as_slice() else { panic!("{answer:?}") };
    assert_eq!(text(stanza, "id").as_deref(), Some("ID1"));
    let enc = stanza.get_optional_child("enc").unwrap();
    assert_eq!((text(enc, "type").as_deref(), number(enc, "count")), (Some("pkmsg"), Some(1)));
    let read = received(world.run("1", stanza.clone()).0);
    assert_eq!(read[0].text.as_deref(), Some("for 2"));
}

#[test]
fn an_own_companion_gets_its_copy_again() {
    let mut world = World::of(&["1", "2"]);
    let mut companion = Companion::linked(&mut world, "1");
    world.text("1", &pn("2"), Text { id: Some("ID1"), ..Text::new("copy") });
    let from = lid("1").with_device(companion.device);
    let phone = world.phones.get_mut("1").unwrap();
    let answer = phone.receive(&retry_receipt(&from, "ID1", 1), &mut world.registry);
    let [Effect::Send(stanza)] = answer.as_slice() else { panic!("{answer:?}") };
    assert_eq!(text(stanza, "recipient").as_deref(), Some("92@lid"));
    let delivery = world.route("1", 0, stanza).remove(0);
    let copy = companion.open(&delivery.stanza);
    assert_eq!(copy.device_sent_message.message.conversation.as_deref(), Some("copy"));
}
