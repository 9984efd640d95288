//! Counters of one sandbox.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A number that only rises, or goes up and down for gauges.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn take_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        /// Counters at one moment.
        #[derive(Debug, Clone, Default, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct Stats {
            /// Accounts.
            pub accounts: u64,
            /// Linked companions.
            pub devices: u64,
            /// Stanzas that wait for a device or for its confirmation.
            pub queued: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { accounts: 0, devices: 0, queued: 0, $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Open WebSocket links, paired or not.
    links,
    /// Links of logged-in devices.
    online,
    /// WebSocket links ever opened.
    links_opened,
    /// Noise IK handshakes.
    handshakes_ik,
    /// Noise XX handshakes.
    handshakes_xx,
    /// Noise XX-fallback handshakes.
    handshakes_fallback,
    /// Handshakes that failed.
    handshakes_failed,
    /// Logins.
    logins,
    /// Logins refused.
    logins_refused,
    /// Devices linked.
    linked,
    /// Devices unlinked.
    unlinked,
    /// `<message>` stanzas taken from devices and phones.
    messages,
    /// Copies put into mailboxes.
    routed,
    /// Copies that had no device to go to.
    unroutable,
    /// `<ack class="message">` sent.
    acks,
    /// Of these, with an error.
    nacks,
    /// `<receipt>` stanzas taken.
    receipts,
    /// Of these, retry requests.
    retries,
    /// Stanzas written from an offline queue.
    offline,
    /// Requests answered.
    iqs,
    /// Messages that phones received in clear.
    phone_received,
    /// Messages that phones sent.
    phone_sent,
    /// Messages that phones could not decrypt.
    phone_undecryptable,
    /// Stanzas lost because a mailbox was full.
    overflow,
    /// Faults that took effect.
    faults,
}
