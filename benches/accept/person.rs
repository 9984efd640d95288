//! Somebody of the service's first tenant, invited and logged in.

use std::time::Duration;

use anyhow::{Context, Result};
use recado::infra::one_time::OneTimeTokens;
use recado::infra::vault::Vault;
use serde_json::json;
use uuid::Uuid;

use crate::rig::api::{Api, text};
use crate::rig::world::Service;

/// What nobody tries first.
const PASSWORD: &str = "una-frase-larga-7";

/// The access token of a new member. The invitation's link is made as the mail would make it: from the token's id and the
/// installation's own key.
pub(crate) async fn access_token(service: &Service) -> Result<String> {
    let mail = format!("{}@example.org", Uuid::now_v7());
    service.api().post("/users", &json!({"email": mail, "role": "member"})).await?;
    let tables = rusqlite::Connection::open(service.data().join("recado.db"))?;
    tables.busy_timeout(Duration::from_secs(10))?;
    let sql = "select o.id from one_time_tokens o join users u on u.id = o.user_id where u.mail = ?1";
    let id: Vec<u8> = tables.query_row(sql, [&mail], |row| row.get(0)).context("no invitation")?;
    let vault = Vault::load_or_create(&service.data().join("encryption.key"))?;
    let token = OneTimeTokens::of(&vault)?.text("invite", Uuid::from_slice(&id)?)?;
    let mut open = Api::new(service.addr(), None);
    open.post("/auth/invitations/accept", &json!({"token": token, "password": PASSWORD})).await?;
    let login = open.post("/auth/login", &json!({"email": mail, "password": PASSWORD})).await?;
    Ok(text(&login, "accessToken"))
}
