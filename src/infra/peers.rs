//! Calls between nodes of one cluster.
//!
//! Promises: a call is signed under a key that only nodes with the same encryption key have, over its path, its body and
//! the minute; what is not, or is old, is not genuine. An answer is bounded in size and time. What travels is signed,
//! not encrypted: between machines that do not trust their network, nodes are reached over TLS.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::redirect;
use sha2::Sha256;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::domain::error::{Error, Result};
use crate::domain::time::{Timestamp, now};
use crate::telemetry::RequestIds;

/// How long another node may take to take the call.
const CONNECT: Duration = Duration::from_secs(3);

/// How long the whole call may take: a pairing code takes up to 25 s.
const WHOLE: Duration = Duration::from_secs(28);

/// How far the clocks of two nodes may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// Calls at once, to all nodes together: what waits for a slow one must not gather without end.
const AT_ONCE: usize = 64;

/// The longest answer in bytes.
const ANSWER: usize = 64 * 1024;

/// The header with the moment of a call, in milliseconds.
pub const MOMENT: &str = "x-recado-moment";

/// The header with the signature of a call, in hex.
pub const SIGNATURE: &str = "x-recado-signature";

/// The way to other nodes.
pub struct Peers {
    client: reqwest::Client,
    key: Zeroizing<[u8; 32]>,
    places: Semaphore,
}

impl Peers {
    /// Calls signed under this key.
    ///
    /// # Errors
    /// `Bug` when there is no TLS to be had.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(Error::bug)?;
        Ok(Self { client, key, places: Semaphore::new(AT_ONCE) })
    }

    /// Calls `path` of the node at `address`.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer, or not as a node does; `Busy` when too many calls are under way.
    pub async fn ask(&self, address: &str, path: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let full = |_full| Error::busy("too_many_questions", "too many live questions at once");
        let _place = self.places.try_acquire().map_err(full)?;
        let Timestamp(moment) = now();
        let signature = hex(&self.signed(moment, path, &body)?.finalize().into_bytes());
        let call = self.client.post(format!("{address}{path}")).header(MOMENT, moment.to_string());
        let call = call.header(SIGNATURE, signature).header("content-type", "application/json");
        // What the other node logs of it belongs to the same trace.
        let ids = RequestIds::current();
        let call = ids.iter().fold(call, |call, ids| call.header("traceparent", ids.traceparent()));
        let answer = call.body(body).send().await.map_err(|error| away(&error))?;
        if !answer.status().is_success() {
            let detail = format!("the session's node answered {}", answer.status().as_u16());
            return Err(Error::unavailable("owner_away", detail));
        }
        let mut answer = answer;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| away(&error))? {
            if bytes.len() + chunk.len() > ANSWER {
                return Err(Error::unavailable("owner_away", "the session's node answered too much"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Whether a call comes from a node of this cluster, and now.
    #[must_use]
    pub fn is_genuine(&self, moment: &str, signature: &str, path: &str, body: &[u8]) -> bool {
        let Ok(moment) = moment.parse() else { return false };
        let apart = now().since(Timestamp(moment)).max(Timestamp(moment).since(now()));
        let Some(signature) = unhex(signature).filter(|_| apart <= SKEW) else { return false };
        self.signed(moment, path, body).is_ok_and(|mac| mac.verify_slice(&signature).is_ok())
    }

    fn signed(&self, moment: i64, path: &str, body: &[u8]) -> Result<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.key).map_err(Error::bug)?;
        mac.update(format!("{moment}\n{path}\n").as_bytes());
        mac.update(body);
        Ok(mac)
    }
}

fn away(error: &reqwest::Error) -> Error {
    let how = if error.is_timeout() { "in time" } else { "at all" };
    Error::unavailable("owner_away", format!("the session's node does not answer {how}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(key: u8) -> Peers {
        drop(rustls::crypto::ring::default_provider().install_default());
        Peers::new(Zeroizing::new([key; 32])).unwrap()
    }

    #[test]
    fn only_a_fresh_call_of_the_same_cluster_is_genuine() {
        let (ours, theirs) = (peers(1), peers(2));
        let Timestamp(moment) = now();
        let sign = |moment: i64| hex(&ours.signed(moment, "/a", b"body").unwrap().finalize().into_bytes());
        let good = sign(moment);
        assert!(ours.is_genuine(&moment.to_string(), &good, "/a", b"body"));
        assert!(!theirs.is_genuine(&moment.to_string(), &good, "/a", b"body"));
        assert!(!ours.is_genuine(&moment.to_string(), &good, "/b", b"body"));
        assert!(!ours.is_genuine(&moment.to_string(), &good, "/a", b"bodY"));
        assert!(!ours.is_genuine(&(moment + 1).to_string(), &good, "/a", b"body"));
        assert!(!ours.is_genuine("now", &good, "/a", b"body"));
        assert!(!ours.is_genuine(&moment.to_string(), "é", "/a", b"body"));
        for old in [moment - 120_000, moment + 120_000] {
            assert!(!ours.is_genuine(&old.to_string(), &sign(old), "/a", b"body"));
        }
    }
}
