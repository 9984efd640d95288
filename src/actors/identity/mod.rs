//! Who somebody is, as far as secrets prove it: passwords are hashed and checked here, access tokens signed, the keys for
//! that made and renewed, and keys' last use noted.
//!
//! Promises: passwords run beside everything else, at most as many at once as there are cores; a signing key is followed by
//! the next before it is old, and every node knows the next before it signs; what opens tokens is published
//! ([`Credentials`]), so that reading one asks nobody. An actor that restarts loses no key: they are in the tables, their
//! private halves under the vault.

mod handle;
mod keys;
mod passwords;
mod ring;
mod touches;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub use self::handle::{Access, Credentials, Grant, Minted, Secrets};
use self::keys::Keys;
use self::passwords::Passwords;
pub use self::ring::Terms;
use self::touches::Touches;
use super::archive::Queries;
use super::ledger::Ledgers;
use super::task::{ChildTask, Panicked, send_at, spawn_child};
use crate::domain::error::Result;
use crate::domain::identity::SigningKey;
use crate::domain::ids::KeyId;
use crate::domain::password::Password;
use crate::domain::time::Timestamp;
pub use crate::infra::passwords::Checked;
use crate::infra::passwords::PasswordHashing;
use crate::infra::tokens;
use crate::infra::vault::Vault;

/// The behaviour.
pub struct Identity;

/// What it needs.
#[derive(Clone)]
pub struct Arguments {
    /// Where it is asked, and what it publishes; it attaches itself.
    pub credentials: Credentials,
    /// The way to write.
    pub ledgers: Ledgers,
    /// The way to read.
    pub queries: Queries,
    /// How passwords are stored.
    pub hashing: Arc<dyn PasswordHashing>,
    /// What seals the private halves.
    pub vault: Arc<Vault>,
    /// One secret to sign with instead of keys of our own.
    pub shared: Option<tokens::SigningKey>,
}

/// What it understands; [`Credentials`] asks.
pub enum Msg {
    /// What is stored of a password.
    Hash(Password, OwnedSemaphorePermit, RpcReplyPort<Result<String>>),
    /// Whether a password is the stored one.
    Check(Password, Option<String>, OwnedSemaphorePermit, RpcReplyPort<Result<Checked>>),
    /// An access token.
    Mint(Grant, RpcReplyPort<Result<Minted>>),
    /// Look for keys that other nodes have made; answered when that is done, or was a moment ago.
    Look(RpcReplyPort<Result<()>>),
    /// A key was used.
    Used(KeyId, Timestamp),
    /// What it tells itself.
    Note(Note),
}

/// What it tells itself; of no use to others.
pub struct Note(Inner);

enum Inner {
    /// It is time to look at the keys.
    Due,
    /// The keys as they are stored now.
    Looked(Result<Result<Vec<SigningKey>>, Panicked>),
    /// It is time to write down what was used.
    Touch,
    /// Some work on a password has ended; whoever asked was told.
    Worked,
    /// What was used is written down.
    Touched(Result<Result<()>, Panicked>),
}

/// What it holds.
pub struct State {
    args: Arguments,
    keys: Keys,
    passwords: Passwords,
    touches: Touches,
    /// Looks at the keys, or waits for the next look.
    looking: Option<ChildTask>,
    /// Writes down what was used, or waits to.
    touching: Option<ChildTask>,
}

impl Actor for Identity {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Arguments) -> Result<State, ActorProcessingErr> {
        args.credentials.attach(myself.clone());
        myself.cast(Msg::Note(Note(Inner::Due)))?;
        let passwords = Passwords::new(args.hashing.clone());
        let (keys, touches) = (Keys::default(), Touches::default());
        Ok(State { args, keys, passwords, touches, looking: None, touching: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Hash(password, place, reply) => state.passwords.hash(&myself, password, place, reply),
            Msg::Check(password, stored, place, reply) => {
                state.passwords.check(&myself, (password, stored), place, reply);
            }
            Msg::Mint(grant, reply) => state.mint(&myself, grant, reply),
            Msg::Look(reply) => {
                if state.keys.wait(reply, Instant::now()) {
                    state.look(&myself);
                }
            }
            Msg::Used(key, at) => state.used(&myself, key, at),
            Msg::Note(Note(inner)) => state.take(&myself, inner),
        }
        Ok(())
    }
}

impl State {
    fn mint(&mut self, myself: &ActorRef<Msg>, grant: Grant, reply: RpcReplyPort<Result<Minted>>) {
        // The first tokens of a node that has just started wait for its keys.
        let answer = match self.keys.mint(&self.args.credentials, grant) {
            Some(answer) => answer,
            None => {
                self.keys.minting(grant, reply);
                if self.looking.is_none() {
                    self.look(myself);
                }
                return;
            }
        };
        let _asker_gone = reply.send(answer);
    }

    fn look(&mut self, myself: &ActorRef<Msg>) {
        let args = self.args.clone();
        let work = async move { keys::kept(&args).await };
        self.looking = Some(spawn_child(myself, work, |outcome| Msg::Note(Note(Inner::Looked(outcome)))));
    }

    fn used(&mut self, myself: &ActorRef<Msg>, key: KeyId, at: Timestamp) {
        self.touches.note(key, at);
        if self.touching.is_none() {
            let when = Instant::now() + touches::GATHER;
            self.touching = Some(send_at(myself, when, || Msg::Note(Note(Inner::Touch))));
        }
    }

    fn take(&mut self, myself: &ActorRef<Msg>, inner: Inner) {
        match inner {
            Inner::Due => self.look(myself),
            Inner::Looked(outcome) => {
                let outcome = outcome.unwrap_or_else(|panicked| Err(crate::domain::Error::bug(panicked)));
                let next = self.keys.looked(&self.args, outcome, Instant::now());
                self.looking = Some(send_at(myself, next, || Msg::Note(Note(Inner::Due))));
            }
            Inner::Worked => {}
            Inner::Touch => {
                let (ledgers, used) = (self.args.ledgers.clone(), self.touches.take());
                let work = async move { touches::write(&ledgers, used).await };
                let done = |outcome| Msg::Note(Note(Inner::Touched(outcome)));
                self.touching = Some(spawn_child(myself, work, done));
            }
            Inner::Touched(outcome) => {
                self.touching = None;
                if let Ok(Err(error)) = outcome {
                    tracing::debug!(%error, "when keys were last used is not written down");
                }
            }
        }
    }
}
