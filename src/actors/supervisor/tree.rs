//! The live tree, as seen from outside.

use std::time::Duration;

use futures_util::future::join_all;
use ractor::ActorRef;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::Msg;

/// Nobody waits longer than this for a listing, whatever they ask for.
const LONGEST: Duration = Duration::from_secs(10);

/// What a child does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Its start runs, or waits for a free start.
    Starting,
    /// It runs.
    Running,
    /// It failed, and comes back.
    Waiting {
        /// When, in milliseconds from now.
        #[serde(rename = "restartInMs")]
        #[schema(minimum = 0, example = 500)]
        restart_in_ms: u64,
    },
    /// It was asked to stop.
    Stopping,
    /// It failed too often, and stays down until someone asks for its restart.
    Parked,
}

/// One child and what is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TreeNode)]
pub struct Node {
    /// Its name among its siblings.
    #[schema(max_length = 512, example = "ledger")]
    pub key: String,
    /// The sort of actor.
    #[schema(max_length = 64, example = "ledger")]
    pub kind: &'static str,
    /// What it does now.
    #[serde(flatten)]
    pub phase: Phase,
    /// For how long it has done so, in milliseconds.
    #[schema(minimum = 0, example = 81_000)]
    pub for_ms: u64,
    /// How often it was restarted.
    #[schema(minimum = 0, example = 0)]
    pub restarts: u64,
    /// How its last life ended, or why its last start failed.
    #[schema(max_length = 512, example = "a panic in a handler")]
    pub last_reason: Option<String>,
    /// The children of a supervisor, in start order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion, max_items = 100_000, example = json!([]))]
    pub children: Option<Vec<Node>>,
    /// Set for a supervisor that did not list its children in time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_answer: bool,
}

/// Completes a listing with what the supervisors in it answer, all asked at once. Each level below has four fifths
/// of the time of the level above, so that one stuck branch costs that branch only.
pub(super) async fn descend(
    mut nodes: Vec<Node>,
    branches: Vec<(usize, ActorRef<Msg>)>,
    deadline: Instant,
) -> Vec<Node> {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now).min(LONGEST);
    let below = now + left * 4 / 5;
    let answers =
        branches.into_iter().map(|(index, branch)| async move { (index, ask(&branch, below).await) });
    for (index, children) in join_all(answers).await {
        if let Some(node) = nodes.get_mut(index) {
            node.no_answer = children.is_none();
            node.children = children;
        }
    }
    nodes
}

async fn ask(branch: &ActorRef<Msg>, deadline: Instant) -> Option<Vec<Node>> {
    let (reply, answer) = ractor::concurrency::oneshot();
    branch.cast(Msg::Tree(deadline, reply.into())).ok()?;
    timeout_at(deadline, answer).await.ok()?.ok()
}
