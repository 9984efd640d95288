//! A companion made of the engine's parts: its pairing code, and the same Signal library.

use whatsapp_rust::wacore::companion_reg::CompanionWebClientType;
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore::messages::{MessageUtils, decode_plaintext};
use whatsapp_rust::wacore::pair::{DeviceState, PairUtils};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::world::{NOW, Published, World, lid};
use crate::phone::addressing::session_of;
use crate::phone::stanza::{bytes_of, text};
use crate::phone::vault::{Cipher, Vault};
use crate::phone::{Directory as _, LinkOffer, Qr};

pub(super) struct Companion {
    pub(super) owner: String,
    pub(super) device: u16,
    pub(super) vault: Vault,
    pub(super) state: DeviceState,
}

impl Companion {
    pub(super) fn unlinked(owner: &str) -> Self {
        let mut vault = Vault::generate().unwrap();
        let noise_key = KeyPair::generate(&mut vault.rng);
        let identity_key = KeyPair::from(vault.identity().clone());
        let state = DeviceState { identity_key, noise_key, adv_secret_key: [7; 32] };
        Self { owner: owner.to_owned(), device: 0, vault, state }
    }

    pub(super) fn qr_text(&self) -> String {
        PairUtils::make_qr_data(&self.state, "2@ref", CompanionWebClientType::Chrome)
    }

    /// Goes through the whole linking by QR code.
    pub(super) fn linked(world: &mut World, owner: &str) -> Self {
        let mut companion = Self::unlinked(owner);
        let qr: Qr = companion.qr_text().parse().unwrap();
        let offer = world.phone(owner).link_by_qr(&qr, NOW).unwrap();
        companion.accept(world, &offer);
        companion
    }

    pub(super) fn accept(&mut self, world: &mut World, offer: &LinkOffer) {
        let (blob, index) = PairUtils::do_pair_crypto(&self.state, &offer.container).unwrap();
        assert_eq!(index, offer.key_index);
        world.phone(&self.owner).complete_link(offer.device, &blob, NOW).unwrap();
        self.device = offer.device;
        let published = Published {
            registration_id: self.vault.registration_id(),
            identity: self.vault.identity_public(),
            signed_prekey: self.vault.signed_prekey(),
            stock: self.vault.mint_prekeys(10).into(),
            device_identity: Some(blob),
        };
        world.registry.devices.insert((self.owner.clone(), offer.device), published);
    }

    /// Decrypts what the server delivered.
    pub(super) fn open(&mut self, stanza: &Node) -> wa::Message {
        let from = stanza.attrs.get("from").unwrap().to_jid().unwrap();
        let enc = stanza.get_optional_child("enc").unwrap();
        let cipher = Cipher::from_wire(&text(enc, "type").unwrap()).unwrap();
        let plaintext = self.vault.decrypt((&from, &from), cipher, bytes_of(enc).unwrap()).unwrap();
        decode_plaintext(&plaintext, 2).unwrap()
    }

    /// Encrypts a message for one device, as it stands inside the stanza that the server delivers.
    pub(super) fn write(&mut self, world: &mut World, to: &Jid, id: &str, message: &wa::Message) -> Node {
        let session = session_of(to);
        if !self.vault.has_session(&session) {
            let bundle = world.registry.bundle(to).unwrap();
            self.vault.start_session(&session, &bundle).unwrap();
        }
        let (kind, sealed) = self.vault.encrypt(&session, &MessageUtils::encode_and_pad(message)).unwrap();
        let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind).bytes(sealed).build();
        NodeBuilder::new("message")
            .attr("from", lid(&self.owner).with_device(self.device))
            .attr("id", id)
            .attr("type", "text")
            .attr("t", NOW)
            .children([enc])
            .build()
    }
}
