//! Linking companions to accounts, and taking them off again. PROMISES: a reference or code links exactly the connection
//! that was given it; a link counts only when the companion's signature was checked; whoever asked for it learns how it
//! ended.

pub(crate) mod candidate;
pub(crate) mod code;
pub(crate) mod offer;
pub(crate) mod qr;
pub(crate) mod unlink;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::lock;
use crate::error::{Result, SandboxError};
use candidate::Candidate;

/// Time a companion has to sign what the phone offered.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How a QR code is scanned.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScanQr {
    /// Number of the phone that scans; made if there is none.
    pub phone: Option<String>,
    /// Name of the phone that scans; the same name is the same phone.
    pub name: Option<String>,
}

/// A companion that is linked now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linked {
    /// Number of the account.
    pub phone: String,
    /// Its LID.
    pub lid: String,
    /// Id of the new companion device.
    pub device_id: u16,
}

/// Connections that wait for a phone.
#[derive(Default)]
pub(crate) struct Pairing {
    refs: Mutex<HashMap<String, Arc<Candidate>>>,
    codes: Mutex<HashMap<String, Arc<Candidate>>>,
}

impl Pairing {
    pub(crate) fn add_refs(&self, refs: &[String], candidate: &Arc<Candidate>) {
        let mut map = lock(&self.refs);
        for reference in refs {
            map.insert(reference.clone(), Arc::clone(candidate));
        }
    }

    pub(crate) fn by_ref(&self, reference: &str) -> Option<Arc<Candidate>> {
        lock(&self.refs).get(reference).cloned()
    }

    pub(crate) fn add_code(&self, phone: String, candidate: &Arc<Candidate>) {
        lock(&self.codes).insert(phone, Arc::clone(candidate));
    }

    pub(crate) fn by_code(&self, phone: &str) -> Option<Arc<Candidate>> {
        lock(&self.codes).get(phone).cloned()
    }

    /// Forgets everything about a connection that ended or was linked.
    pub(crate) fn forget(&self, candidate: &Arc<Candidate>) {
        lock(&self.refs).retain(|_, c| !Arc::ptr_eq(c, candidate));
        lock(&self.codes).retain(|_, c| !Arc::ptr_eq(c, candidate));
    }
}

/// A number as the directory keeps it: digits only.
pub(crate) fn phone_number(text: &str) -> Result<String> {
    let user = text.trim().trim_start_matches('+');
    let user = user.split_once('@').map_or(user, |(user, _)| user);
    let fits = (7..=15).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_digit());
    if !fits || user.starts_with('0') {
        return Err(SandboxError::invalid("a phone number is 7 to 15 digits, without a leading 0"));
    }
    Ok(user.to_owned())
}
