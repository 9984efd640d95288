//! Status posts: the one thing that a sandbox account reads with sender keys.

use futures_util::FutureExt;
use whatsapp_rust::async_trait;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::libsignal::protocol::{
    SenderKeyName, SenderKeyRecord, SenderKeyStore, SignalProtocolError,
    create_sender_key_distribution_message, group_encrypt,
};
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::companion::Companion;
use super::world::{World, lid, pn, received};
use crate::phone::Effect;
use crate::phone::stanza::text;

#[derive(Default)]
struct One(Option<SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for One {
    async fn store_sender_key(
        &mut self,
        _: &SenderKeyName,
        key: SenderKeyRecord,
    ) -> Result<(), SignalProtocolError> {
        self.0 = Some(key);
        Ok(())
    }

    async fn load_sender_key(
        &self,
        _: &SenderKeyName,
    ) -> Result<Option<SenderKeyRecord>, SignalProtocolError> {
        Ok(self.0.clone())
    }
}

/// A status post of a companion for one viewer; `announced` = with its sender key.
fn post(world: &mut World, author: &mut Companion, key: &mut One, id: &str, announced: bool) -> Node {
    let name = SenderKeyName::from_parts("status@broadcast", "me");
    let rng = &mut author.vault.rng;
    let skdm = create_sender_key_distribution_message(&name, key, rng).now_or_never().unwrap().unwrap();
    let said = wa::Message { conversation: Some(format!("status {id}")), ..Default::default() };
    let sealed =
        group_encrypt(key, &name, &MessageUtils::encode_and_pad(&said), rng).now_or_never().unwrap().unwrap();
    let announcement = wa::message::SenderKeyDistributionMessage {
        group_id: Some("status@broadcast".into()),
        axolotl_sender_key_distribution_message: Some(skdm.serialized().to_vec()),
    };
    let announcement = wa::Message {
        sender_key_distribution_message: MessageField::some(announcement),
        ..Default::default()
    };
    let mut parts = Vec::new();
    if announced {
        let direct = author.write(world, &lid("2"), id, &announcement);
        parts.push(direct.get_optional_child("enc").unwrap().clone());
    }
    let sealed = sealed.serialized().to_vec();
    parts.push(NodeBuilder::new("enc").attr("v", "2").attr("type", "skmsg").bytes(sealed).build());
    NodeBuilder::new("message")
        .attr("from", Jid::status_broadcast())
        .attr("participant", lid("1").with_device(author.device))
        .attr("id", id)
        .attr("type", "text")
        .children(parts)
        .build()
}

#[test]
fn a_status_post_is_read_once_its_key_was_announced() {
    let mut world = World::of(&["1", "2"]);
    let mut author = Companion::linked(&mut world, "1");
    let mut key = One::default();
    let unannounced = post(&mut world, &mut author, &mut key, "S0", false);
    let effects = world.phones.get_mut("2").unwrap().receive(&unannounced, &mut world.registry);
    let [Effect::Undecryptable { gave_up: false, .. }, Effect::Send(retry)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(text(retry, "type").as_deref(), Some("retry"));
    assert_eq!(text(retry, "participant").as_deref(), Some(format!("91:{}@lid", author.device).as_str()));
    for (id, announced) in [("S1", true), ("S2", false)] {
        let stanza = post(&mut world, &mut author, &mut key, id, announced);
        let effects = world.phones.get_mut("2").unwrap().receive(&stanza, &mut world.registry);
        let read = received(effects.into_iter().map(|effect| (String::new(), effect)).collect());
        assert_eq!(read[0].text.as_deref(), Some(format!("status {id}").as_str()));
        assert_eq!((&read[0].chat, &read[0].from_pn), (&Jid::status_broadcast(), &Some(pn("1"))));
    }
}
