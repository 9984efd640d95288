//! Linking and unlinking by request.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::Shared;
use super::reply::{Answer, body};
use crate::error::{Result, SandboxError};
use crate::linking::{ScanQr, code, qr, unlink as off};

/// The body is the QR text itself.
pub(super) async fn scan_qr(
    State(world): Shared,
    query: Result<Query<ScanQr>, QueryRejection>,
    text: String,
) -> Result<Answer> {
    let Query(by) = query.map_err(|e| SandboxError::invalid(e.body_text()))?;
    qr::scan(&world, &text, &by).await.map(|linked| Answer::of(&linked))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnterCode {
    phone: String,
    code: String,
}

pub(super) async fn enter_code(State(world): Shared, text: String) -> Result<Answer> {
    let typed: EnterCode = body(&text)?;
    code::enter(&world, &typed.phone, &typed.code).await.map(|linked| Answer::of(&linked))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlink {
    device: u16,
}

pub(super) async fn unlink(State(world): Shared, Path(phone): Path<String>, text: String) -> Result<Answer> {
    let which: Unlink = body(&text)?;
    let account = world.book.need(&phone)?;
    off::unlink(&world, &account, which.device)?;
    Ok(Answer::of(&serde_json::json!({ "unlinked": which.device })))
}
