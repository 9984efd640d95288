//! Accounts: what they are, what they received, and what their phones do.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::reply::{Answer, body};
use crate::error::{Result, SandboxError};
use crate::ops::talk::{self, SendText, Typing};
use crate::ops::views;

/// Part of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    after: u64,
    limit: usize,
    device: Option<u16>,
}

impl Default for Page {
    fn default() -> Self {
        Self { after: 0, limit: 1000, device: None }
    }
}

type PageQuery = Result<Query<Page>, QueryRejection>;

fn page(query: PageQuery) -> Result<Page> {
    query.map(|Query(page)| page).map_err(|e| SandboxError::invalid(e.body_text()))
}

pub(super) async fn list(State(world): Shared) -> Answer {
    Answer::of(&json!({ "accounts": views::accounts(&world) }))
}

pub(super) async fn show(State(world): Shared, Path(phone): Path<String>) -> Result<Answer> {
    views::account(&world, &phone).map(|view| Answer::of(&view))
}

pub(super) async fn inbox(
    State(world): Shared,
    Path(phone): Path<String>,
    query: PageQuery,
) -> Result<Answer> {
    let page = page(query)?;
    views::inbox(&world, &phone, page.after, page.limit).map(|inbox| Answer::of(&inbox))
}

pub(super) async fn receipted(
    State(world): Shared,
    Path(phone): Path<String>,
    query: PageQuery,
) -> Result<Answer> {
    let page = page(query)?;
    let device = page.device.ok_or_else(|| SandboxError::invalid("device is missing"))?;
    views::receipted(&world, &phone, device, page.after, page.limit).map(|ids| Answer::of(&ids))
}

pub(super) async fn send(State(world): Shared, Path(phone): Path<String>, text: String) -> Result<Answer> {
    let order: SendText = body(&text)?;
    talk::send(&world, &phone, &order).await.map(|sent| Answer::of(&sent))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    chat: String,
    #[serde(default)]
    ids: Vec<String>,
}

pub(super) async fn read(State(world): Shared, Path(phone): Path<String>, text: String) -> Result<Answer> {
    let order: Read = body(&text)?;
    let read = talk::read(&world, &phone, &order.chat, &order.ids)?;
    Ok(Answer::of(&json!({ "read": read })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoRead {
    on: bool,
}

pub(super) async fn auto_read(
    State(world): Shared,
    Path(phone): Path<String>,
    text: String,
) -> Result<Answer> {
    let order: AutoRead = body(&text)?;
    talk::auto_read(&world, &phone, order.on)?;
    Ok(Answer::of(&json!({ "autoRead": order.on })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Types {
    to: String,
    state: Typing,
}

pub(super) async fn typing(State(world): Shared, Path(phone): Path<String>, text: String) -> Result<Answer> {
    let order: Types = body(&text)?;
    talk::typing(&world, &phone, &order.to, order.state)?;
    Ok(Answer::of(&json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Comes {
    available: bool,
}

pub(super) async fn presence(
    State(world): Shared,
    Path(phone): Path<String>,
    text: String,
) -> Result<Answer> {
    let order: Comes = body(&text)?;
    talk::presence(&world, &phone, order.available)?;
    Ok(Answer::of(&json!({ "available": order.available })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    count: usize,
    #[serde(default)]
    with: Option<String>,
}

pub(super) async fn history(State(world): Shared, Path(phone): Path<String>, text: String) -> Result<Answer> {
    let order: Past = body(&text)?;
    let stanzas = talk::history(&world, &phone, order.with.as_deref(), order.count)?;
    Ok(Answer::of(&json!({ "stanzas": stanzas })))
}
