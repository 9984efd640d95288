//! The way to the actor that hashes and signs, and what is published of it: the keys that open access tokens.
//!
//! Promises: opening a token asks nobody as long as its key is known; everything else is answered or refused within a
//! deadline; no more work waits than there are places for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use hmac::{Hmac, KeyInit, Mac};
use ractor::{ActorRef, RpcReplyPort};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Msg;
use super::ring::{Ring, Terms};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::{Locale, MailAddress, PasswordHash, Purpose, Role, Scopes};
use crate::domain::ids::{KeyId, LoginId, OneTimeId, TenantId, UserId};
use crate::domain::password::Password;
use crate::domain::time::{Timestamp, now};
use crate::domain::write::people::NewOneTime;
use crate::infra::one_time::{self, OneTimeTokens};
use crate::infra::passwords::Checked;
use crate::infra::tokens::{AccessTokens, Claims};
use crate::infra::vault::Vault;

/// How long work may take, waiting included.
const ANSWER: Duration = Duration::from_secs(10);

/// What a client must show that its cookie came with is made under a key of this name.
const CSRF: &str = "recado csrf tokens v1";

/// Who an access token is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose data.
    pub tenant: TenantId,
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// By which login.
    pub login: LoginId,
}

/// A token, and until when it opens anything.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The text.
    pub token: Zeroizing<String>,
    /// Its end.
    pub expires_at: Timestamp,
}

/// What an access token says, proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose data.
    pub tenant: TenantId,
    /// Who.
    pub user: UserId,
    /// By which login.
    pub login: LoginId,
    /// What for.
    pub scopes: Scopes,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Its end.
    pub expires_at: Timestamp,
}

/// Keys that are derived from the vault's, each for one thing.
pub struct Secrets {
    one_time: OneTimeTokens,
    csrf: Zeroizing<[u8; 32]>,
}

impl Secrets {
    /// Derived from the vault's key.
    ///
    /// # Errors
    /// As for [`Vault::key_for`].
    pub fn of(vault: &Vault) -> Result<Self> {
        Ok(Self { one_time: OneTimeTokens::of(vault)?, csrf: vault.key_for(CSRF)? })
    }
}

/// The way to the actor; cheap to clone, and outlives its restarts.
#[derive(Clone)]
pub struct Credentials {
    slot: Arc<ArcSwapOption<ActorRef<Msg>>>,
    places: Arc<Semaphore>,
    ring: Arc<ArcSwap<Ring>>,
    tokens: Arc<dyn AccessTokens>,
    secrets: Arc<Secrets>,
    terms: Terms,
}

impl Credentials {
    /// A way to an actor that is yet to start; refuses beyond `depth` waiting passwords.
    #[must_use]
    pub fn new(depth: usize, tokens: Arc<dyn AccessTokens>, secrets: Secrets, terms: Terms) -> Self {
        let (places, secrets) = (Arc::new(Semaphore::new(depth)), Arc::new(secrets));
        Self { slot: Arc::default(), places, ring: Arc::default(), tokens, secrets, terms }
    }

    pub(super) fn attach(&self, actor: ActorRef<Msg>) {
        self.slot.store(Some(Arc::new(actor)));
    }

    pub(super) fn publish(&self, ring: Ring) {
        self.ring.store(Arc::new(ring));
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    pub(super) fn tokens(&self) -> &dyn AccessTokens {
        &*self.tokens
    }

    /// What is stored of a new password.
    ///
    /// # Errors
    /// `Busy` when too many wait.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash> {
        let place = self.place()?;
        self.ask(|reply| Msg::Hash(password, place, reply)).await?.map(PasswordHash)
    }

    /// Whether a password is the stored one. Without a stored one the same work is done, and the answer is no.
    ///
    /// # Errors
    /// `Busy` when too many wait.
    pub async fn check(&self, password: Password, stored: Option<PasswordHash>) -> Result<Checked> {
        let place = self.place()?;
        self.ask(|reply| Msg::Check(password, stored.map(|stored| stored.0), place, reply)).await?
    }

    /// An access token.
    ///
    /// # Errors
    /// `Unavailable` while there is no key to sign with.
    pub async fn mint(&self, grant: Grant) -> Result<Minted> {
        self.ask(|reply| Msg::Mint(grant, reply)).await?
    }

    /// What an access token says, if all of it holds now.
    ///
    /// # Errors
    /// `Unauthorized`: `token_expired` when that alone is wrong, else `token_invalid`.
    pub async fn open(&self, token: &str) -> Result<Access> {
        let kid = self.tokens.kid(token)?;
        if self.ring.load().find(&kid).is_none() {
            // Another node may have made the key a moment ago.
            self.ask(Msg::Look).await??;
        }
        let ring = self.ring.load();
        let unknown = || Error::new(Kind::Unauthorized, "token_invalid", "the access token is not valid");
        read(self.tokens.open(ring.find(&kid).ok_or_else(unknown)?, token, now())?)
    }

    /// The public keys that open tokens, as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.ring.load().jwks().clone()
    }

    /// What must stand in the header of a request that a cookie of this login authenticates.
    #[must_use]
    pub fn csrf(&self, login: LoginId) -> String {
        keyed(&self.secrets.csrf, login.0.as_bytes())
    }

    /// A new one-time token for a purpose; its text is made again where the mail is.
    ///
    /// # Errors
    /// As for [`OneTimeTokens::hash`].
    pub fn one_time(
        &self,
        purpose: Purpose,
        locale: Locale,
        mail: Option<MailAddress>,
        at: Timestamp,
    ) -> Result<NewOneTime> {
        let id = OneTimeId::new();
        let hash = self.secrets.one_time.hash(purpose.as_str(), id.0)?;
        let hours = match purpose {
            Purpose::Reset => 1,
            Purpose::Verify | Purpose::ChangeMail => 24,
            Purpose::Invite => 7 * 24,
        };
        let expires_at = at.after(Duration::from_secs(hours * 3600));
        Ok(NewOneTime { id, purpose, hash, mail, expires_at, locale })
    }

    /// What the store knows of a one-time token's text; refuses at once what cannot be one.
    #[must_use]
    pub fn one_time_hash(text: &str) -> Option<[u8; 32]> {
        let shaped = text.len() == one_time::LENGTH
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        shaped.then(|| one_time::hash(text))
    }

    /// A key was used just now. A hint: losing it loses a minute of `lastUsedAt`.
    pub fn used(&self, key: KeyId) {
        if let Some(actor) = &*self.slot.load() {
            let _restarting = actor.cast(Msg::Used(key, now()));
        }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_full| Error::busy("identity_busy", "too many passwords wait; try again shortly"))
    }

    async fn ask<T: Send + 'static>(&self, message: impl FnOnce(RpcReplyPort<T>) -> Msg) -> Result<T> {
        let gone = || Error::unavailable("identity_gone", "the keeper of passwords and keys is restarting");
        let actor = self.slot.load_full().ok_or_else(gone)?;
        let (sender, receiver) = ractor::concurrency::oneshot();
        actor.cast(message(sender.into())).map_err(|_stopped| gone())?;
        let late = |_elapsed| Error::unavailable("identity_late", "passwords take too long now");
        tokio::time::timeout(ANSWER, receiver).await.map_err(late)?.map_err(|_dropped| gone())
    }
}

/// The claims with our types.
fn read(claims: Claims) -> Result<Access> {
    let odd = |_odd: Error| Error::new(Kind::Unauthorized, "token_invalid", "the access token is not valid");
    Ok(Access {
        tenant: TenantId(claims.tenant),
        user: UserId(claims.sub),
        login: LoginId(claims.family),
        scopes: claims.scope.parse().map_err(odd)?,
        issued_at: Timestamp(claims.iat.saturating_mul(1000)),
        expires_at: Timestamp(claims.exp.saturating_mul(1000)),
    })
}

/// What a token says of a grant at this moment.
pub(super) fn claims(grant: Grant, at: Timestamp, life: Duration) -> Claims {
    let seconds = at.0.div_euclid(1000);
    Claims {
        sub: grant.user.0,
        tenant: grant.tenant.0,
        role: grant.role.as_str().to_owned(),
        scope: grant.role.scopes(grant.tenant).to_string(),
        family: grant.login.0,
        jti: Uuid::now_v7(),
        iat: seconds,
        nbf: seconds,
        exp: seconds.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)),
        token_use: Claims::ACCESS.to_owned(),
    }
}

/// HMAC-SHA256 in hex.
fn keyed(key: &[u8; 32], message: &[u8]) -> String {
    let bytes: [u8; 32] = match <Hmac<Sha256> as KeyInit>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        // HMAC takes keys of any length; should it not, what comes out must still tell nothing.
        Err(_no_key) => Sha256::digest(key).into(),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
