//! The two names of a user. Promises that a phone knows each user under one name, its LID when it has one, whatever
//! form a stanza used; otherwise one device would get two sessions.

use whatsapp_rust::wacore::libsignal::protocol::ProtocolAddress;
use whatsapp_rust::wacore::types::jid::JidExt as _;
use whatsapp_rust::wacore_binary::Jid;

use super::directory::Directory;

/// Who this phone is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) pn: Jid,
    pub(super) lid: Jid,
}

impl Own {
    pub(super) fn is(&self, jid: &Jid) -> bool {
        (jid.is_pn() && jid.user == self.pn.user) || (jid.is_lid() && jid.user == self.lid.user)
    }

    /// The one name of a user or device.
    pub(super) fn canonical(&self, jid: &Jid, directory: &dyn Directory) -> Jid {
        if !jid.is_pn() {
            return jid.clone();
        }
        if jid.user == self.pn.user {
            return self.lid.with_device(jid.device);
        }
        match directory.lid_of(&jid.to_non_ad()) {
            Some(lid) => lid.with_device(jid.device),
            None => jid.clone(),
        }
    }

    /// The name by which people know a user: the number when it is known.
    pub(super) fn shown(&self, jid: &Jid, directory: &dyn Directory) -> Jid {
        self.number_of(jid, directory).unwrap_or_else(|| jid.to_non_ad())
    }

    pub(super) fn number_of(&self, jid: &Jid, directory: &dyn Directory) -> Option<Jid> {
        if jid.is_pn() {
            return Some(jid.to_non_ad());
        }
        if !jid.is_lid() {
            return None;
        }
        if jid.user == self.lid.user {
            return Some(self.pn.clone());
        }
        directory.pn_of(&jid.to_non_ad())
    }
}

/// Where the session with a device is kept; `device` must be canonical.
pub(super) fn session_of(device: &Jid) -> ProtocolAddress {
    device.to_protocol_address()
}
