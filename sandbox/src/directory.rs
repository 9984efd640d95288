//! What a phone may ask of the server: device lists, key bundles, the other name of an address.

use whatsapp_rust::wacore_binary::{Jid, Server};

use crate::account::device::Stock;
use crate::phone::{Directory, PeerBundle};
use crate::world::World;

/// The directory for one operation of one phone.
pub(crate) struct Post<'a> {
    world: &'a World,
    low: Vec<(Jid, usize)>,
}

impl<'a> Post<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, low: Vec::new() }
    }

    /// Notices to owners of stocks that this operation drew down.
    pub(crate) fn tell_low(self) {
        for (device, left) in &self.low {
            self.world.tell_low(device, *left);
        }
    }
}

impl Directory for Post<'_> {
    fn now(&self) -> u64 {
        crate::clock::now_secs()
    }

    fn devices(&self, user: &Jid) -> Vec<u16> {
        self.world.book.of(user).map(|a| a.device_ids()).unwrap_or_default()
    }

    fn bundle(&mut self, device: &Jid) -> Option<PeerBundle> {
        let target = self.world.book.of(device)?.device(device.device)?;
        let (bundle, stock) = target.bundle();
        if let Stock::Low(left) = stock {
            self.low.push((device.clone(), left));
        }
        bundle
    }

    fn lid_of(&self, pn: &Jid) -> Option<Jid> {
        self.world.book.of(pn).map(|a| a.jid(Server::Lid, 0))
    }

    fn pn_of(&self, lid: &Jid) -> Option<Jid> {
        self.world.book.of(lid).map(|a| a.jid(Server::Pn, 0))
    }
}
