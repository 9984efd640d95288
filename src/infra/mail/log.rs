//! Mail to nowhere: the log says that there was one, and to whom as a hash. For those who want no mail at all.

use std::fmt;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Answer, Mail, Message};

/// Says that a mail was made.
pub struct LogOnly(Zeroizing<[u8; 32]>);

impl LogOnly {
    /// With the key that addresses are hashed under: without it, nobody finds out by trying which address a hash is of.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    fn hashed(&self, address: &str) -> String {
        // A key of this length is always taken.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.0) else { return String::new() };
        mac.update(address.as_bytes());
        mac.finalize().into_bytes().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for LogOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogOnly(..)")
    }
}

#[async_trait]
impl Mail for LogOnly {
    async fn send(&self, message: &Message) -> Answer {
        tracing::info!(mail = message.id, to = self.hashed(&message.to), "a mail was made, and goes nowhere");
        Answer::Sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_apart_and_not_shown() {
        let log = LogOnly::new([7; 32]);
        let (ana, eva) = (log.hashed("ana@example.org"), log.hashed("eva@example.org"));
        assert_eq!((ana.len(), &ana), (12, &log.hashed("ana@example.org")));
        assert_ne!(ana, eva);
        assert_ne!(ana, LogOnly::new([8; 32]).hashed("ana@example.org"));
    }
}
