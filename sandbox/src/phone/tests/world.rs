//! A world for phones: who exists, whose keys are published, and a post that delivers at once.

use std::collections::{BTreeMap, VecDeque};

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Jid, Node};

use crate::phone::{Directory, Effect, OneTimePreKey, PeerBundle, Phone, Received, SignedPreKey, Text};

pub(super) const NOW: u64 = 1_790_000_000;

pub(super) struct Published {
    pub(super) registration_id: u32,
    pub(super) identity: [u8; 32],
    pub(super) signed_prekey: SignedPreKey,
    pub(super) stock: VecDeque<OneTimePreKey>,
    pub(super) device_identity: Option<Vec<u8>>,
}

/// What the server knows: (user number, device) -> keys. A user's LID is its number with a 9 in front.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) devices: BTreeMap<(String, u16), Published>,
}

pub(super) fn pn(user: &str) -> Jid {
    Jid::pn(user)
}

pub(super) fn lid(user: &str) -> Jid {
    Jid::lid(format!("9{user}"))
}

fn user_of(jid: &Jid) -> &str {
    if jid.is_lid() { jid.user.strip_prefix('9').unwrap_or(&jid.user) } else { &jid.user }
}

impl Directory for Registry {
    fn now(&self) -> u64 {
        NOW
    }

    fn devices(&self, user: &Jid) -> Vec<u16> {
        let user = user_of(user);
        self.devices.keys().filter(|(owner, _)| owner == user).map(|(_, device)| *device).collect()
    }

    fn bundle(&mut self, device: &Jid) -> Option<PeerBundle> {
        let keys = self.devices.get_mut(&(user_of(device).to_owned(), device.device))?;
        Some(PeerBundle {
            registration_id: keys.registration_id,
            identity: keys.identity,
            signed_prekey: keys.signed_prekey.clone(),
            prekey: keys.stock.pop_front(),
            device_identity: keys.device_identity.clone(),
        })
    }

    fn lid_of(&self, pn: &Jid) -> Option<Jid> {
        self.devices.contains_key(&(pn.user.to_string(), 0)).then(|| lid(&pn.user))
    }

    fn pn_of(&self, lid: &Jid) -> Option<Jid> {
        let user = user_of(lid);
        self.devices.contains_key(&(user.to_owned(), 0)).then(|| pn(user))
    }
}

/// One stanza on its way to one device, as the server writes it.
pub(super) struct Delivery {
    pub(super) user: String,
    pub(super) device: u16,
    pub(super) stanza: Node,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) phones: BTreeMap<String, Phone>,
}

impl World {
    pub(super) fn of(users: &[&str]) -> Self {
        let mut world = Self::default();
        for user in users {
            let mut phone = Phone::new(&pn(user), &lid(user), &format!("Name {user}"), NOW).unwrap();
            let published = Published {
                registration_id: phone.registration_id(),
                identity: phone.identity(),
                signed_prekey: phone.signed_prekey(),
                stock: phone.mint_prekeys(10).into(),
                device_identity: None,
            };
            world.registry.devices.insert(((*user).to_owned(), 0), published);
            world.phones.insert((*user).to_owned(), phone);
        }
        world
    }

    pub(super) fn phone(&mut self, user: &str) -> &mut Phone {
        self.phones.get_mut(user).unwrap()
    }

    pub(super) fn text(&mut self, from: &str, to: &Jid, text: Text<'_>) -> Node {
        self.phones.get_mut(from).unwrap().send_text(to, &text, &mut self.registry).unwrap().stanza
    }

    /// What the server makes of a stanza that a device wrote.
    pub(super) fn route(&self, from: &str, device: u16, stanza: &Node) -> Vec<Delivery> {
        let to = stanza.attrs.get("to").unwrap().to_jid().unwrap();
        let sender = if to.is_lid() { lid(from) } else { pn(from) }.with_device(device);
        let addressed = |target: &Jid, children: Vec<Node>| {
            let mut head = NodeBuilder::new_dynamic(stanza.tag.to_string())
                .attr("from", &sender)
                .attr("sender_pn", pn(from))
                .attr("t", NOW);
            for key in ["id", "type", "category", "recipient"] {
                if let Some(value) = stanza.attrs.get(key) {
                    head = head.attr(key, value.as_str().as_ref());
                }
            }
            if user_of(target) == from && user_of(&to) != from {
                head = head.attr("recipient", &to);
            }
            Delivery {
                user: user_of(target).to_owned(),
                device: target.device,
                stanza: head.children(children).build(),
            }
        };
        match stanza.get_optional_child("participants") {
            Some(list) => list
                .get_children_by_tag("to")
                .map(|one| {
                    let target = one.attrs.get("jid").unwrap().to_jid().unwrap();
                    addressed(&target, one.children().unwrap().to_vec())
                })
                .collect(),
            None => vec![addressed(&to, stanza.children().unwrap_or_default().to_vec())],
        }
    }

    /// Carries out a stanza and all that follows from it; what phones saw, and what went to companions.
    pub(super) fn run(&mut self, from: &str, stanza: Node) -> (Vec<(String, Effect)>, Vec<Delivery>) {
        let deliveries = self.route(from, 0, &stanza);
        self.deliver(deliveries)
    }

    pub(super) fn deliver(&mut self, deliveries: Vec<Delivery>) -> (Vec<(String, Effect)>, Vec<Delivery>) {
        let (mut seen, mut elsewhere) = (Vec::new(), Vec::new());
        let mut queue = VecDeque::from(deliveries);
        let mut steps = 0;
        while let Some(next) = queue.pop_front() {
            steps += 1;
            assert!(steps < 1_000, "phones must come to rest");
            if next.device != 0 {
                elsewhere.push(next);
                continue;
            }
            let phone = self.phones.get_mut(&next.user).unwrap();
            for effect in phone.receive(&next.stanza, &mut self.registry) {
                if let Effect::Send(stanza) = &effect {
                    queue.extend(self.route(&next.user, 0, stanza));
                } else {
                    seen.push((next.user.clone(), effect));
                }
            }
        }
        (seen, elsewhere)
    }

    /// Sends a text and gives what the other phone read.
    pub(super) fn say(&mut self, from: &str, to: &str, body: &str) -> Vec<Received> {
        let stanza = self.text(from, &pn(to), Text::new(body));
        received(self.run(from, stanza).0)
    }
}

pub(super) fn received(effects: Vec<(String, Effect)>) -> Vec<Received> {
    effects
        .into_iter()
        .filter_map(
            |(_, effect)| if let Effect::Received(received) = effect { Some(*received) } else { None },
        )
        .collect()
}
