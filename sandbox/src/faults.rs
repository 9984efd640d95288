//! What can be made to go wrong, on purpose. PROMISES: a fault takes effect on the links it names and on no other, as
//! often as it says; with none set, asking costs one atomic read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::account::lock;
use crate::error::{Code, Result, SandboxError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// At once: the socket is closed without a word.
    Drop,
    /// At once: the link neither reads nor writes for `delayMs`, or until the faults are cleared.
    Freeze,
    /// At once: `<stream:error code="515">`, the client reconnects.
    Restart,
    /// At once: `<conflict type="replaced">`.
    Replaced,
    /// The next logins get `<failure reason=code>` (401, 403, 405, 503, …).
    RefuseLogin,
    /// The next messages of the device get `<ack error=code>` and go nowhere.
    Nack,
    /// Messages of the device get `<ack error=code>` (463) and go nowhere, where their two accounts never spoke to each
    /// other: the account is under WhatsApp's reach-out lock.
    NackStrangers,
    /// The next messages of the device get no ack, but are delivered.
    WithholdAck,
    /// What is written to the device waits for `delayMs` first.
    Delay,
    /// The next messages to the device are written twice.
    Duplicate,
    /// The next two messages to the device change places.
    Reorder,
    /// What is written to the device is cut into pieces of any length.
    Split,
}

impl FaultKind {
    /// Takes effect on links that are up, instead of waiting for an occasion.
    fn is_immediate(self) -> bool {
        match self {
            Self::Drop | Self::Freeze | Self::Restart | Self::Replaced => true,
            Self::RefuseLogin
            | Self::Nack
            | Self::NackStrangers
            | Self::WithholdAck
            | Self::Delay
            | Self::Duplicate
            | Self::Reorder
            | Self::Split => false,
        }
    }
}

/// A fault to set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultSpec {
    /// What.
    pub kind: FaultKind,
    /// Only this account; all without it.
    #[serde(default)]
    pub phone: Option<String>,
    /// Only this device of it; all without it.
    #[serde(default)]
    pub device: Option<u16>,
    /// How often; until it is cleared without it.
    #[serde(default)]
    pub times: Option<u32>,
    /// For `delay`, `freeze` and `reorder`.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// For `refuse_login`, `nack` and `nack_strangers`.
    #[serde(default)]
    pub code: Option<u16>,
}

impl FaultSpec {
    /// A fault of this kind for everybody, until cleared.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, phone: None, device: None, times: None, delay_ms: None, code: None }
    }

    pub(crate) fn delay(&self, otherwise: Duration) -> Duration {
        self.delay_ms.map_or(otherwise, Duration::from_millis)
    }

    /// Whether it means this device. A link that is not paired yet has no number.
    pub(crate) fn means(&self, phone: Option<&str>, device: u16) -> bool {
        let same = |want: &String| phone.is_some_and(|have| want.trim_start_matches('+') == have);
        self.phone.as_ref().is_none_or(same) && self.device.is_none_or(|d| d == device)
    }
}

/// A fault that is set.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultView {
    /// Number of the fault.
    pub id: u64,
    /// As it was asked for; `times` counts down.
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// How often it has taken effect.
    pub hits: u64,
}

/// The faults of one sandbox.
pub(crate) struct Faults {
    set: Mutex<Vec<FaultView>>,
    /// How many are set, so that nobody takes the lock for nothing.
    count: AtomicUsize,
    next: AtomicU64,
    cleared: Notify,
    limit: usize,
}

impl Faults {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            set: Mutex::default(),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            cleared: Notify::new(),
            limit,
        }
    }

    /// Notes a fault. Immediate ones are the caller's to carry out and are not kept.
    pub(crate) fn add(&self, mut spec: FaultSpec) -> Result<FaultView> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if spec.times == Some(0) {
            return Err(SandboxError::invalid("times must be at least 1"));
        }
        match spec.kind {
            FaultKind::RefuseLogin => spec.code = Some(spec.code.unwrap_or(503)),
            FaultKind::Nack | FaultKind::NackStrangers => spec.code = Some(spec.code.unwrap_or(463)),
            FaultKind::Drop
            | FaultKind::Freeze
            | FaultKind::Restart
            | FaultKind::Replaced
            | FaultKind::WithholdAck
            | FaultKind::Delay
            | FaultKind::Duplicate
            | FaultKind::Reorder
            | FaultKind::Split => {}
        }
        let view = FaultView { id, spec, hits: 0 };
        if view.spec.kind.is_immediate() {
            return Ok(view);
        }
        let mut set = lock(&self.set);
        if set.len() >= self.limit {
            return Err(SandboxError::new(Code::Full, "too many faults are set"));
        }
        set.push(view.clone());
        self.count.store(set.len(), Ordering::Release);
        Ok(view)
    }

    /// The fault of this kind for this device, counted as used.
    pub(crate) fn hit(&self, kind: FaultKind, phone: Option<&str>, device: u16) -> Option<FaultSpec> {
        if !self.any() {
            return None;
        }
        let mut set = lock(&self.set);
        let at = set.iter().position(|f| f.spec.kind == kind && f.spec.means(phone, device))?;
        let fault = set.get_mut(at)?;
        fault.hits += 1;
        let spec = fault.spec.clone();
        if let Some(times) = &mut fault.spec.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                set.remove(at);
                self.count.store(set.len(), Ordering::Release);
            }
        }
        Some(spec)
    }

    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    pub(crate) fn list(&self) -> Vec<FaultView> {
        lock(&self.set).clone()
    }

    /// Removes one fault, or all, and thaws what is frozen.
    pub(crate) fn clear(&self, id: Option<u64>) -> usize {
        let mut set = lock(&self.set);
        let before = set.len();
        set.retain(|f| id.is_some_and(|id| f.id != id));
        self.count.store(set.len(), Ordering::Release);
        let gone = before - set.len();
        drop(set);
        self.cleared.notify_waiters();
        gone
    }

    /// Resolves at the next [`Self::clear`].
    pub(crate) async fn cleared(&self) {
        self.cleared.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_only_what_it_names_and_only_so_often() {
        let faults = Faults::new(2);
        assert!(faults.hit(FaultKind::Nack, Some("1"), 3).is_none());
        let spec = FaultSpec { phone: Some("+1".into()), times: Some(2), ..FaultSpec::new(FaultKind::Nack) };
        faults.add(spec).unwrap();
        assert!(faults.hit(FaultKind::Nack, Some("2"), 3).is_none());
        assert!(faults.hit(FaultKind::Delay, Some("1"), 3).is_none());
        assert!(faults.hit(FaultKind::Nack, None, 0).is_none());
        assert_eq!(faults.hit(FaultKind::Nack, Some("1"), 3).and_then(|f| f.code), Some(463));
        assert!(faults.hit(FaultKind::Nack, Some("1"), 9).is_some());
        assert!(faults.hit(FaultKind::Nack, Some("1"), 3).is_none());
        assert!(!faults.any());
    }

    #[test]
    fn faults_are_bounded_and_cleared_one_by_one_or_all() {
        let faults = Faults::new(2);
        let one = faults.add(FaultSpec::new(FaultKind::Split)).unwrap();
        faults.add(FaultSpec::new(FaultKind::Delay)).unwrap();
        assert_eq!(faults.add(FaultSpec::new(FaultKind::Delay)).unwrap_err().code, Code::Full);
        assert_eq!(faults.clear(Some(one.id)), 1);
        assert_eq!(faults.clear(None), 1);
        assert!(faults.list().is_empty());
    }
}
