//! The device itself: keys, identity, counters.
//!
//! What it promises: a sandbox's pinned key is put into the device when it is loaded and taken out before it is
//! stored, so that no pin is ever at rest and none can reach a session of the real WhatsApp; and what is loaded is what
//! was saved last, also while the store is slow or away.

use std::time::Duration;

use sha2::{Digest, Sha256};
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::stats::StorageResourceReport;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::DeviceStore;
use zeroize::Zeroizing;

use super::super::trust;
use super::{Backend, StoreResult, decode, encode, within};
use crate::domain::error::{Error, Kind};
use crate::domain::write::AuthOp;

const CREDS: &str = "creds";
const DEVICE: &str = "device";

/// The engine stops saving for good after ten failures in a row: each of its tries is several of ours.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What is known of the device without asking the store.
#[derive(Default)]
pub(super) struct Kept {
    /// SHA-256 of what is stored: an unchanged device is not stored again.
    stored: Option<[u8; 32]>,
    /// The latest one, as long as it is not known to be stored: a connection that begins meanwhile goes on from it.
    unstored: Option<Zeroizing<Vec<u8>>>,
}

#[async_trait]
impl DeviceStore for Backend {
    async fn save(&self, device: &Device) -> StoreResult<()> {
        let plain = match self.pin {
            Some(_) => Zeroizing::new(encode(&trust::unpinned(device))?),
            None => Zeroizing::new(encode(device)?),
        };
        let digest: [u8; 32] = Sha256::digest(&*plain).into();
        let mut kept = self.device.lock().await;
        if kept.stored == Some(digest) {
            return Ok(());
        }
        let sealed = self.vault.seal(CREDS, DEVICE, &plain).map_err(super::failed)?;
        // Whether or how the store takes it is unknown until it says so.
        *kept = Kept { stored: None, unstored: Some(plain) };
        self.persist(sealed).await?;
        *kept = Kept { stored: Some(digest), unstored: None };
        Ok(())
    }

    async fn load(&self) -> StoreResult<Option<Device>> {
        // A save of the connection before may still be under way: what it saves counts, not what was there before.
        let kept = self.device.lock().await;
        let mut device: Device = if let Some(plain) = &kept.unstored {
            decode(plain)?
        } else {
            let Some(sealed) = within(self.store.creds(self.account.session)).await? else { return Ok(None) };
            decode(&Zeroizing::new(self.open(CREDS, DEVICE, &sealed)?))?
        };
        if let Some(key) = self.pin {
            trust::pin(&mut device, key);
        }
        Ok(Some(device))
    }

    async fn exists(&self) -> StoreResult<bool> {
        let kept = self.device.lock().await;
        Ok(kept.unstored.is_some() || within(self.store.creds(self.account.session)).await?.is_some())
    }

    async fn create(&self) -> StoreResult<i32> {
        self.save(&Device::new()).await?;
        Ok(1)
    }

    async fn resource_report(&self) -> StorageResourceReport {
        let mut report = StorageResourceReport::default();
        // The type is closed to literals outside its crate.
        #[allow(clippy::field_reassign_with_default, reason = "non-exhaustive: it has no literal here")]
        {
            report.memory_bytes = Some(0);
        }
        report
    }
}

impl Backend {
    async fn persist(&self, sealed: Vec<u8>) -> StoreResult<()> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            match self.write(vec![AuthOp::PutCreds(sealed.clone())]).await {
                Err(error) if tries < TRIES && is_passing(&error) => {
                    tracing::warn!(session = %self.account.session, tries, "the device is not stored yet, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
                done => return done,
            }
        }
    }
}

/// Whether the same write may succeed in a moment.
fn is_passing(error: &StoreError) -> bool {
    let StoreError::Database(source) = error else { return false };
    let kind = source.downcast_ref::<Error>().map(|error| (error.kind, error.code));
    matches!(kind, Some((Kind::Busy | Kind::Unavailable, code)) if code != "link_closed")
}
