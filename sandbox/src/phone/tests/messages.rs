//! Conversations between phones and companions: delivery, order, repeats, copies, restarts.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::waproto::whatsapp as wa;

use super::companion::Companion;
use super::world::{World, lid, pn, received};
use crate::phone::stanza::text;
use crate::phone::{
    ChatState, Effect, Kind, MessageRef, Phone, PhoneError, ReceiptKind, ReplyTo, Snapshot, Text,
};

#[test]
fn a_text_arrives_with_both_names_of_its_author() {
    let mut world = World::of(&["1", "2"]);
    let read = world.say("1", "2", "hello");
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].text.as_deref(), Some("hello"));
    assert_eq!((read[0].kind, read[0].repeats, read[0].from_me), (Kind::Text, 0, false));
    assert_eq!(read[0].from_pn, Some(pn("1")));
    assert_eq!(read[0].from_lid, Some(lid("1")));
    assert_eq!(read[0].chat, pn("1"));
}

#[test]
fn a_conversation_goes_on_in_both_directions() {
    let mut world = World::of(&["1", "2"]);
    for n in 0..20 {
        let (from, to) = if n % 3 == 0 { ("1", "2") } else { ("2", "1") };
        let body = format!("message {n}");
        assert_eq!(world.say(from, to, &body)[0].text.as_deref(), Some(body.as_str()));
    }
}

#[test]
fn the_author_gets_a_receipt_for_what_arrived() {
    let mut world = World::of(&["1", "2"]);
    let stanza = world.text("1", &lid("2"), Text { id: Some("ID1"), ..Text::new("hello") });
    let (effects, _) = world.run("1", stanza);
    let delivered = effects.iter().find_map(|(who, effect)| {
        let Effect::Receipt { kind, from, ids } = effect else { return None };
        (who == "1").then(|| (kind.as_str(), from.clone(), ids.clone()))
    });
    assert_eq!(delivered, Some(("delivered", pn("2"), vec!["ID1".to_owned()])));
}

#[test]
fn a_reply_names_the_message_it_answers() {
    let mut world = World::of(&["1", "2"]);
    let first = world.say("1", "2", "question?").remove(0);
    let author = first.from_pn.clone().unwrap();
    let reply = ReplyTo { id: &first.id, sender: &author, body: "question?" };
    let stanza = world.text("2", &author, Text { reply_to: Some(reply), ..Text::new("answer") });
    let read = received(world.run("2", stanza).0);
    assert_eq!(read[0].text.as_deref(), Some("answer"));
    assert_eq!(read[0].quoted_id.as_deref(), Some(first.id.as_str()));
}

#[test]
fn messages_out_of_order_are_all_read() {
    let mut world = World::of(&["1", "2"]);
    world.say("1", "2", "opens the session");
    world.say("2", "1", "and is answered");
    let bodies: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let mut stanzas: Vec<_> = bodies.iter().map(|body| world.text("1", &pn("2"), Text::new(body))).collect();
    stanzas.reverse();
    let mut read = Vec::new();
    for stanza in stanzas {
        read.extend(received(world.run("1", stanza).0).into_iter().filter_map(|one| one.text));
    }
    read.reverse();
    assert_eq!(read, bodies);
}

#[test]
fn the_same_stanza_twice_is_a_repeat_and_acknowledged_again() {
    let mut world = World::of(&["1", "2"]);
    let stanza = world.text("1", &pn("2"), Text { id: Some("ID1"), ..Text::new("once") });
    assert_eq!(received(world.run("1", stanza.clone()).0)[0].repeats, 0);
    let (effects, _) = world.run("1", stanza);
    assert!(effects.iter().any(|(who, effect)| who == "1" && matches!(effect, Effect::Receipt { .. })));
    let again = received(effects);
    assert_eq!((again[0].repeats, again[0].id.as_str(), again[0].text.as_deref()), (1, "ID1", None));
}

#[test]
fn the_same_id_sent_anew_is_a_repeat_with_its_text() {
    let mut world = World::of(&["1", "2"]);
    for expected in 0..3 {
        let stanza = world.text("1", &pn("2"), Text { id: Some("ID1"), ..Text::new("again") });
        let read = received(world.run("1", stanza).0);
        assert_eq!((read[0].repeats, read[0].text.as_deref()), (expected, Some("again")));
    }
}

#[test]
fn an_own_companion_gets_a_copy_that_says_where_it_went() {
    let mut world = World::of(&["1", "2"]);
    let mut companion = Companion::linked(&mut world, "1");
    let stanza = world.text("1", &pn("2"), Text::new("from the phone"));
    let (_, elsewhere) = world.run("1", stanza);
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(text(&elsewhere[0].stanza, "recipient").as_deref(), Some("92@lid"));
    let copy = companion.open(&elsewhere[0].stanza);
    let sent = copy.device_sent_message.as_option().unwrap();
    assert_eq!(sent.destination_jid.as_deref(), Some("92@lid"));
    assert_eq!(sent.message.conversation.as_deref(), Some("from the phone"));
}

#[test]
fn a_companions_message_is_read_by_the_other_phone_and_by_its_own() {
    let mut world = World::of(&["1", "2"]);
    let mut companion = Companion::linked(&mut world, "1");
    let said = wa::Message { conversation: Some("from the desk".into()), ..Default::default() };
    let stanza = companion.write(&mut world, &lid("2"), "C1", &said);
    let effects = world.phones.get_mut("2").unwrap().receive(&stanza, &mut world.registry);
    let read = received(effects.into_iter().map(|effect| ("2".to_owned(), effect)).collect());
    assert_eq!(read[0].text.as_deref(), Some("from the desk"));
    assert_eq!((read[0].from_device, &read[0].chat), (companion.device, &pn("1")));

    let copy = wa::message::DeviceSentMessage {
        destination_jid: Some(lid("2").to_string()),
        message: MessageField::some(said),
        ..Default::default()
    };
    let copy = wa::Message { device_sent_message: MessageField::some(copy), ..Default::default() };
    let stanza = companion.write(&mut world, &lid("1"), "C1", &copy);
    let effects = world.phones.get_mut("1").unwrap().receive(&stanza, &mut world.registry);
    let is_sender = |node| text(node, "type").as_deref() == Some("sender");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Send(node) if is_sender(node))));
    let read = received(effects.into_iter().map(|effect| ("1".to_owned(), effect)).collect());
    assert!(read[0].from_me);
    assert_eq!((&read[0].chat, read[0].text.as_deref()), (&pn("2"), Some("from the desk")));
}

#[test]
fn every_device_of_the_recipient_gets_its_own_ciphertext() {
    let mut world = World::of(&["1", "2"]);
    let mut first = Companion::linked(&mut world, "2");
    let mut second = Companion::linked(&mut world, "2");
    let stanza = world.text("1", &pn("2"), Text::new("to all"));
    let (effects, elsewhere) = world.run("1", stanza);
    assert_eq!(received(effects).len(), 1);
    assert_eq!(elsewhere.len(), 2);
    for (companion, delivery) in [&mut first, &mut second].into_iter().zip(&elsewhere) {
        assert_eq!(delivery.device, companion.device);
        assert_eq!(companion.open(&delivery.stanza).conversation.as_deref(), Some("to all"));
    }
}

#[test]
fn a_companion_that_its_account_did_not_sign_is_not_written_to() {
    let mut world = World::of(&["1", "2"]);
    let companion = Companion::linked(&mut world, "2");
    let forged = Companion::unlinked("2").vault.identity_public();
    world.registry.devices.get_mut(&("2".to_owned(), companion.device)).unwrap().identity = forged;
    let stanza = world.text("1", &pn("2"), Text::new("secret"));
    let (effects, elsewhere) = world.run("1", stanza);
    assert_eq!(received(effects).len(), 1, "the phone itself gets it");
    assert!(elsewhere.is_empty());
}

#[test]
fn writing_to_nobody_is_an_error() {
    let mut world = World::of(&["1"]);
    let sent = world.phones.get_mut("1").unwrap().send_text(&pn("3"), &Text::new("?"), &mut world.registry);
    assert_eq!(sent.map(|sent| sent.id), Err(PhoneError::NoRecipient));
}

#[test]
fn reactions_edits_and_revocations_name_their_target() {
    let mut world = World::of(&["1", "2"]);
    let key = || wa::MessageKey { id: Some("T1".into()), ..Default::default() };
    let reaction = wa::message::ReactionMessage {
        key: MessageField::some(key()),
        text: Some("+".into()),
        ..Default::default()
    };
    let protocol = |kind, edited| wa::message::ProtocolMessage {
        key: MessageField::some(key()),
        r#type: Some(kind),
        edited_message: edited,
        ..Default::default()
    };
    let edited = wa::Message { conversation: Some("better".into()), ..Default::default() };
    use wa::message::protocol_message::Type;
    let messages = [
        (
            wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() },
            (Kind::Reaction, Some("+")),
        ),
        (
            wa::Message {
                protocol_message: MessageField::some(protocol(
                    Type::MESSAGE_EDIT,
                    MessageField::some(edited),
                )),
                ..Default::default()
            },
            (Kind::Edit, Some("better")),
        ),
        (
            wa::Message {
                protocol_message: MessageField::some(protocol(Type::REVOKE, MessageField::default())),
                ..Default::default()
            },
            (Kind::Revoke, None),
        ),
    ];
    for (message, (kind, text)) in messages {
        let phone = world.phones.get_mut("1").unwrap();
        let stanza = phone.send(&pn("2"), None, &message, &mut world.registry).unwrap().stanza;
        let read = received(world.run("1", stanza).0);
        assert_eq!((read[0].kind, read[0].text.as_deref()), (kind, text));
        assert_eq!(read[0].target_id.as_deref(), Some("T1"));
    }
}

#[test]
fn receipts_typing_and_presence_reach_the_other_side() {
    let mut world = World::of(&["1", "2"]);
    let read = world.say("1", "2", "hello").remove(0);
    let of = MessageRef::from(&read);
    let phone = &world.phones["2"];
    let receipt = phone.receipt(ReceiptKind::Read, &of, &world.registry);
    let typing = phone.chatstate(&pn("1"), ChatState::Composing, &world.registry);
    assert_eq!(text(&phone.presence(true), "name").as_deref(), Some("Name 2"));
    let effects = world.run("2", receipt).0;
    let Effect::Receipt { kind, from, ids } = &effects[0].1 else { panic!("{effects:?}") };
    assert_eq!((kind.as_str(), from, ids.as_slice()), ("read", &pn("2"), std::slice::from_ref(&of.id)));
    let effects = world.run("2", typing).0;
    assert!(matches!(&effects[0].1, Effect::ChatState { composing: true, from } if *from == pn("2")));
}

#[test]
fn a_restored_phone_goes_on_where_it_stood() {
    let mut world = World::of(&["1", "2"]);
    let companion = Companion::linked(&mut world, "2");
    world.say("1", "2", "a");
    world.say("2", "1", "b");
    let early = world.text("1", &pn("2"), Text { id: Some("EARLY"), ..Text::new("c") });
    for user in ["1", "2"] {
        let stored = serde_json::to_string(&world.phone(user).snapshot().unwrap()).unwrap();
        let back: Snapshot = serde_json::from_str(&stored).unwrap();
        let restored = Phone::restore(back).unwrap();
        assert_eq!(restored.identity(), world.phone(user).identity());
        world.phones.insert(user.to_owned(), restored);
    }
    assert_eq!(world.phone("2").linked_devices()[0].device, companion.device);
    assert_eq!(received(world.run("1", early.clone()).0)[0].text.as_deref(), Some("c"));
    assert_eq!(received(world.run("1", early).0)[0].repeats, 1, "it still knows what it has read");
    let stanza = world.text("2", &pn("1"), Text::new("d"));
    let kinds: Vec<_> = world.route("2", 0, &stanza).iter().map(enc_type).collect();
    assert!(kinds.contains(&"msg".to_owned()), "the session goes on: {kinds:?}");
    assert_eq!(received(world.run("2", stanza).0)[0].text.as_deref(), Some("d"));
    assert_eq!(world.say("1", "2", "e")[0].text.as_deref(), Some("e"));
    let more = world.phone("1").mint_prekeys(1)[0].id;
    assert!(more > 10, "prekey ids are not given out twice");
}

fn enc_type(delivery: &super::world::Delivery) -> String {
    text(delivery.stanza.get_optional_child("enc").unwrap(), "type").unwrap().into_owned()
}

#[test]
fn a_number_and_its_lid_are_one_chat_with_one_session() {
    let mut world = World::of(&["1", "2"]);
    world.say("1", "2", "first");
    world.say("2", "1", "answer");
    // The same peer, now addressed by number on the wire as well.
    let stanza = world.text("1", &lid("2"), Text::new("second"));
    let mut delivery = world.route("1", 0, &stanza).remove(0);
    let by_number: Jid = pn("1");
    delivery.stanza.attrs.insert("from", &by_number);
    let (effects, _) = world.deliver(vec![delivery]);
    let read = received(effects);
    assert_eq!((read[0].text.as_deref(), &read[0].chat), (Some("second"), &pn("1")));
}
