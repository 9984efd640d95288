//! What a supervisor needs to know of a child, and short ways to say it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, Message, SpawnErr};

use super::{Msg, Policy, Supervisor};

type Starting = Pin<Box<dyn Future<Output = Result<Started, SpawnErr>> + Send>>;

/// Starts one child linked to the given supervisor. Called again at each restart.
///
/// Spawning the actor is the last thing it awaits: a start that is called off between the spawn and its end would
/// leave an actor that the supervisor cannot name (it would live on until the supervisor stops).
#[derive(Clone)]
pub struct Start(Arc<dyn Fn(ActorCell) -> Starting + Send + Sync>);

impl Start {
    /// From a function that makes a new start attempt at each call.
    pub fn new<F, Fut>(start: F) -> Self
    where
        F: Fn(ActorCell) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Started, SpawnErr>> + Send + 'static,
    {
        Self(Arc::new(move |supervisor| Box::pin(start(supervisor))))
    }

    pub(super) fn run(&self, supervisor: ActorCell) -> Starting {
        (self.0)(supervisor)
    }
}

/// A child that runs.
#[derive(Clone, Debug)]
pub struct Started {
    /// The child itself.
    pub cell: ActorCell,
    /// The same when it is a supervisor, so that the tree below it is known.
    pub supervisor: Option<ActorRef<Msg>>,
}

impl Started {
    /// An actor with no tree of ours below it.
    #[must_use]
    pub fn leaf<M: Message>(actor: &ActorRef<M>) -> Self {
        Self { cell: actor.get_cell(), supervisor: None }
    }

    /// A supervisor.
    #[must_use]
    pub fn branch(supervisor: ActorRef<Msg>) -> Self {
        Self { cell: supervisor.get_cell(), supervisor: Some(supervisor) }
    }
}

/// Which ends of a child are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Every end, also an orderly one, which then counts as a failure too.
    Permanent,
    /// A failure, a panic or a kill; an orderly end removes the child.
    Transient,
    /// None: any end removes the child.
    Never,
}

/// A child: its name among its siblings, what it is, and how it is started.
#[derive(Clone)]
pub struct Child {
    /// Unique among the children of one supervisor. Logged: no phone number, no JID.
    pub key: String,
    /// The sort of actor, as a label of metrics.
    pub kind: &'static str,
    /// What its end means.
    pub restart: Restart,
    /// How it is started.
    pub start: Start,
}

/// A child whose start needs more than one `spawn_linked`.
pub fn child<F, Fut>(key: impl Into<String>, kind: &'static str, restart: Restart, start: F) -> Child
where
    F: Fn(ActorCell) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Started, SpawnErr>> + Send + 'static,
{
    Child { key: key.into(), kind, restart, start: Start::new(start) }
}

/// A plain actor; `make` gives its behaviour and its arguments anew at each start.
pub fn leaf<A, F>(key: impl Into<String>, kind: &'static str, restart: Restart, make: F) -> Child
where
    A: Actor,
    F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
{
    leaf_known(key, kind, restart, make, |_actor| ())
}

/// A plain actor that others write to: `known` is told the reference of each new incarnation
/// (for instance `move |actor| mailbox.bind(actor.clone())`).
pub fn leaf_known<A, F, K>(
    key: impl Into<String>,
    kind: &'static str,
    restart: Restart,
    make: F,
    known: K,
) -> Child
where
    A: Actor,
    F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    K: Fn(&ActorRef<A::Msg>) + Clone + Send + Sync + 'static,
{
    child(key, kind, restart, move |supervisor| {
        let (behaviour, arguments) = make();
        let known = known.clone();
        async move {
            let (actor, _) = Actor::spawn_linked(None, behaviour, arguments, supervisor).await?;
            known(&actor);
            Ok(Started::leaf(&actor))
        }
    })
}

/// A supervisor under this one; `tree` gives its policy and first children anew at each start.
pub fn branch<F>(key: impl Into<String>, kind: &'static str, restart: Restart, tree: F) -> Child
where
    F: Fn() -> (Policy, Vec<Child>) + Send + Sync + 'static,
{
    branch_known(key, kind, restart, tree, |_supervisor| ())
}

/// As [`branch`], and `known` is told the reference of each new incarnation, to start and stop children through it.
pub fn branch_known<F, K>(
    key: impl Into<String>,
    kind: &'static str,
    restart: Restart,
    tree: F,
    known: K,
) -> Child
where
    F: Fn() -> (Policy, Vec<Child>) + Send + Sync + 'static,
    K: Fn(&ActorRef<Msg>) + Clone + Send + Sync + 'static,
{
    child(key, kind, restart, move |above| {
        let arguments = tree();
        let known = known.clone();
        async move {
            let (supervisor, _) = Actor::spawn_linked(None, Supervisor, arguments, above).await?;
            known(&supervisor);
            Ok(Started::branch(supervisor))
        }
    })
}

/// Why a child was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A child of this key is there already, in whatever phase.
    #[error("a child of this key exists")]
    Exists,
    /// The supervisor has as many children as its policy allows.
    #[error("the supervisor has its {0} children")]
    Full(usize),
    /// Its start failed or panicked.
    #[error("{0}")]
    Failed(String),
    /// Its start did not end in time.
    #[error("not started within {0:?}")]
    Late(Duration),
    /// It was stopped before its start ended.
    #[error("stopped while starting")]
    Stopped,
    /// The supervisor is gone, or did not answer in time.
    #[error("the supervisor does not answer")]
    Unreachable,
}

/// Why a child cannot be restarted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// No child of this key.
    #[error("no child of this key")]
    Unknown,
    /// It is being stopped.
    #[error("the child is being stopped")]
    Stopping,
    /// The supervisor is gone, or did not answer in time.
    #[error("the supervisor does not answer")]
    Unreachable,
}
