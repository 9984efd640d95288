//! How the service is: the live supervision tree, and whether work moves.
//!
//! Promises: an answer is about progress, not about being alive (a writer that accepts and never commits is not
//! ready), and it comes within a deadline.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use crate::domain::error::Result;

/// Whether the service can do its work, part by part.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Every check passed.
    pub ready: bool,
    /// One per part.
    #[schema(max_items = 32)]
    pub checks: Vec<Check>,
}

/// One part of the service.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// `ledger`, `relay`, `archive`…
    #[schema(max_length = 64, example = "ledger")]
    pub name: String,
    /// It makes progress.
    pub ok: bool,
    /// For people: what it last did, or what is wrong.
    #[schema(max_length = 1024, example = "last commit 12 ms ago")]
    pub detail: String,
}

impl Readiness {
    /// Ready when every check passed.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        Self { ready: checks.iter().all(|check| check.ok), checks }
    }
}

/// Answers how the service is.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// The live supervision tree: states, restarts and reasons.
    async fn tree(&self) -> Result<Value>;
    /// Whether work moves.
    async fn readiness(&self) -> Readiness;
}
