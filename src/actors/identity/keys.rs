//! The signing keys as this node holds them: what signs now, and who waits for that.

use std::time::Duration;

use ractor::RpcReplyPort;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::handle::{Credentials, Grant, Minted, claims};
use super::ring::{self, Ring};
use super::{Arguments, tokens};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::SigningKey;
use crate::domain::ids::SigningKeyId;
use crate::domain::time::{Timestamp, now};
use crate::domain::write::people::AddSigningKey;
use crate::domain::write::{PeopleWrite, Write};
use crate::infra::tokens::{Algorithm, VerifyingKey};

/// After a look that failed, and between two that were asked for.
const AGAIN: Duration = Duration::from_secs(1);

/// The most that wait for keys.
const WAITING: usize = 1024;

/// The keys, and who waits for them.
#[derive(Default)]
pub(super) struct Keys {
    signs: Option<tokens::SigningKey>,
    looked: Option<Instant>,
    waiting: Vec<RpcReplyPort<Result<()>>>,
    minting: Vec<(Grant, RpcReplyPort<Result<Minted>>)>,
}

impl Keys {
    /// An access token; `None` while there is nothing to sign with.
    pub(super) fn mint(&self, credentials: &Credentials, grant: Grant) -> Option<Result<Minted>> {
        let key = self.signs.as_ref()?;
        let claims = claims(grant, now(), credentials.terms().life);
        let signed = credentials.tokens().sign(key, &claims);
        let expires_at = Timestamp(claims.exp.saturating_mul(1000));
        Some(signed.map(|token| Minted { token: Zeroizing::new(token), expires_at }))
    }

    /// A token for when there is a key.
    pub(super) fn minting(&mut self, grant: Grant, reply: RpcReplyPort<Result<Minted>>) {
        if self.minting.len() < WAITING {
            self.minting.push((grant, reply));
        }
    }

    /// Somebody waits for the next look; true when it should begin now. A look of a moment ago is enough.
    pub(super) fn wait(&mut self, reply: RpcReplyPort<Result<()>>, moment: Instant) -> bool {
        if self.looked.is_some_and(|looked| moment < looked + AGAIN) {
            let _asker_gone = reply.send(Ok(()));
            return false;
        }
        let first = self.waiting.is_empty();
        if self.waiting.len() < WAITING {
            self.waiting.push(reply);
        }
        first
    }

    /// A look has ended: publishes what opens tokens, answers who waited, and says when to look again.
    pub(super) fn looked(
        &mut self,
        args: &Arguments,
        outcome: Result<Vec<SigningKey>>,
        moment: Instant,
    ) -> Instant {
        let held = outcome.and_then(|keys| self.hold(args, &keys));
        self.looked = Some(moment);
        for reply in self.waiting.drain(..) {
            let _asker_gone = reply.send(held.clone());
        }
        for (grant, reply) in std::mem::take(&mut self.minting) {
            let starting = || Error::unavailable("identity_starting", "there is no key to sign with yet");
            let answer = self.mint(&args.credentials, grant);
            let _asker_gone = reply.send(answer.unwrap_or_else(|| Err(starting())));
        }
        match held {
            Ok(()) => moment + args.credentials.terms().look.max(Duration::from_millis(50)),
            Err(error) => {
                tracing::warn!(%error, "signing keys cannot be looked at; trying on");
                moment + AGAIN
            }
        }
    }

    fn hold(&mut self, args: &Arguments, keys: &[SigningKey]) -> Result<()> {
        if let Some(shared) = &args.shared {
            args.credentials.publish(Ring::shared(VerifyingKey {
                kid: shared.kid.clone(),
                algorithm: shared.algorithm,
                material: shared.material.clone(),
            }));
            self.signs = Some(shared.clone());
            return Ok(());
        }
        let at = now();
        args.credentials.publish(Ring::of(keys, at));
        if let Some(key) = ring::signer(keys, at, &args.credentials.terms()) {
            let kid = key.id.to_string();
            if self.signs.as_ref().is_none_or(|signs| signs.kid != kid) {
                let material = Zeroizing::new(args.vault.signing_keys()?.open(KIND, &kid, &key.secret)?);
                self.signs = Some(tokens::SigningKey { kid, algorithm: Algorithm::EdDsa, material });
            }
        }
        Ok(())
    }
}

/// What the private halves are sealed as.
const KIND: &str = "signing key";

/// The stored keys, after what is due about them is done: by whichever node comes first.
pub(super) async fn kept(args: &Arguments) -> Result<Vec<SigningKey>> {
    if args.shared.is_some() {
        return Ok(Vec::new());
    }
    let keys = args.queries.signing_keys().await?;
    let (at, terms) = (now(), args.credentials.terms());
    let due = ring::due(&keys, at, &terms);
    if !due.make && due.retire.is_empty() {
        return Ok(keys);
    }
    if due.make {
        let newest = ring::newest(&keys).map(|key| key.id);
        let key = AddSigningKey { key: made(args, at)?, newest };
        match write(args, PeopleWrite::AddSigningKey(key)).await {
            // Another node came first.
            Err(error) if error.kind == Kind::Conflict => {}
            done => done?,
        }
    }
    for (id, retires_at) in due.retire {
        write(args, PeopleWrite::RetireSigningKey(id, retires_at)).await?;
    }
    args.queries.signing_keys().await
}

async fn write(args: &Arguments, write: PeopleWrite) -> Result<()> {
    args.ledgers.write_patiently(Write::People(Box::new(write))).await.map(|_done| ())
}

/// A new key, its private half under the vault.
fn made(args: &Arguments, at: Timestamp) -> Result<SigningKey> {
    let pair = args.credentials.tokens().make_pair()?;
    let id = SigningKeyId::new();
    let secret = args.vault.signing_keys()?.seal(KIND, &id.to_string(), &pair.secret)?;
    let algorithm = Algorithm::EdDsa.as_str().to_owned();
    Ok(SigningKey { id, algorithm, public: pair.public, secret, created_at: at, retires_at: None })
}
