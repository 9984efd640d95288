//! Calls in JSON, for everything that is not load.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::wire::Wire;

/// One server, one key, one kept connection.
pub(crate) struct Api {
    addr: SocketAddr,
    key: Option<String>,
    wire: Option<Wire>,
}

impl Api {
    pub(crate) fn new(addr: SocketAddr, key: Option<String>) -> Self {
        Self { addr, key, wire: None }
    }

    /// The bytes of a request.
    pub(crate) fn request(&self, method: &str, path: &str, idempotency: Option<&str>, body: &str) -> Vec<u8> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.addr);
        if let Some(key) = &self.key {
            text.push_str(&format!("authorization: Bearer {key}\r\n"));
        }
        if let Some(key) = idempotency {
            text.push_str(&format!("idempotency-key: {key}\r\n"));
        }
        if !body.is_empty() {
            text.push_str("content-type: application/json\r\n");
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        text.into_bytes()
    }

    /// One call: status and body; `Null` for a body that is not JSON.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        idempotency: Option<&str>,
        body: &str,
    ) -> Result<(u16, Value)> {
        let request = self.request(method, path, idempotency, body);
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(self.addr).await?,
        };
        let (status, body) = wire.ask(&request).await?;
        let body = serde_json::from_slice(body).unwrap_or_default();
        self.wire = Some(wire);
        Ok((status, body))
    }

    async fn fine(&mut self, method: &str, path: &str, body: &str) -> Result<Value> {
        let kept = self.wire.is_some();
        let answer = match self.call(method, path, None, body).await {
            // The server may have closed a kept connection, or have been killed since.
            Err(_stale) if kept && method == "GET" => self.call(method, path, None, body).await,
            answer => answer,
        };
        let (status, answer) = answer.with_context(|| format!("{method} {path}"))?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {answer}");
        }
        Ok(answer)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        self.fine("GET", path, "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.fine("POST", path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&mut self, path: &str, body: &str) -> Result<Value> {
        self.fine("POST", path, body).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Result<Value> {
        self.fine("DELETE", path, "").await
    }

    /// All rows of a list that is given in pages.
    pub(crate) async fn all(&mut self, path: &str) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = None;
        for _page in 0..10_000 {
            let next = cursor.map_or_else(String::new, |cursor: String| format!("&cursor={cursor}"));
            let page = self.get(&format!("{path}?limit=200{next}")).await?;
            let items = page["items"].as_array().context("a page without items")?;
            rows.extend(items.iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(rows),
            }
        }
        bail!("{path} has no end")
    }
}

/// A member of an object as text; empty when absent.
pub(crate) fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}
