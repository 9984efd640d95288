//! The intake on Redis: the plain stream `session-commands`, which any program may append to.
//!
//! Promises what the port promises. An order that is done is removed: the stream is a queue. Its group reads from the
//! very beginning, so that orders wait for the first start; where the group is gone it is made again.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::{RedisStream, dead_letters, entry, failure, group_read};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::time::now;
use crate::infra::stream::intake::{Intake, Order};

/// The group's name.
const GROUP: &str = "recado";

/// The most bytes of a refused order that are shown.
const SHOWN: usize = 64 * 1024;

#[async_trait]
impl Intake for RedisStream {
    async fn mine(&self, after: Option<&str>, count: usize) -> Result<Vec<Order>> {
        let stream = self.settings.intake();
        let ask = group_read((GROUP, &self.settings.consumer, &stream), count, None, after.unwrap_or("0"));
        match self.command(&ask).await {
            Ok(answer) => self.orders(entry::of_stream(answer)?).await,
            Err(error) => self.regroup(error).await,
        }
    }

    async fn abandoned(&self, idle: Duration, count: usize) -> Result<Vec<Order>> {
        let stream = self.settings.intake();
        match self.take_over((GROUP, &self.settings.consumer, &stream), idle, count).await {
            Ok(answer) => self.orders(answer).await,
            Err(error) => self.regroup(error).await,
        }
    }

    async fn fresh(&self, count: usize, wait: Duration) -> Result<Vec<Order>> {
        let stream = self.settings.intake();
        let ask =
            |millis: Option<u64>| group_read((GROUP, &self.settings.consumer, &stream), count, millis, ">");
        match self.readers.wait(wait, ask).await {
            Ok(answer) => self.orders(entry::of_stream(answer)?).await,
            Err(error) => self.regroup(error).await,
        }
    }

    async fn done(&self, places: &[String]) -> Result<()> {
        for some in places.chunks(super::IDS) {
            let mut script = self.scripts.done.key(self.settings.intake());
            script.arg(GROUP).arg(some);
            self.script(&script).await?;
        }
        Ok(())
    }

    async fn refuse(&self, order: &Order, reason: &Error) -> Result<()> {
        let mut command = redis::cmd("XADD");
        command.arg(self.settings.refused_commands());
        command.arg("MAXLEN").arg("~").arg(self.settings.refused).arg("*");
        command.arg("entryId").arg(&order.place).arg("code").arg(reason.code);
        command
            .arg("error")
            .arg(dead_letters::cut(&reason.to_string()))
            .arg("failedAt")
            .arg(now().to_string());
        for name in ["commandId", "type", "sessionId", "tenantId", "payload"] {
            if let Some(value) = order.field(name) {
                command.arg(name).arg(value.get(..SHOWN.min(value.len())).unwrap_or_default());
            }
        }
        self.command(&command).await?;
        // Another key and perhaps another slot: a crash in between shows the refusal twice.
        self.done(std::slice::from_ref(&order.place)).await
    }
}

impl RedisStream {
    /// Makes the group where it is missing, at the very beginning: whatever is there is for us.
    async fn regroup(&self, error: Error) -> Result<Vec<Order>> {
        if error.kind != Kind::NotFound {
            return Err(error);
        }
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(self.settings.intake()).arg(GROUP).arg("0").arg("MKSTREAM");
        match self.command(&command).await {
            Err(error) if error.code != failure::GROUP_EXISTS => Err(error),
            Ok(_) | Err(_) => Ok(Vec::new()),
        }
    }

    /// The orders of an answer. One that was removed by others while it was held is let go.
    async fn orders(&self, answer: Value) -> Result<Vec<Order>> {
        let list = entry::list(answer)?;
        let (mut orders, mut gone) = (Vec::with_capacity(list.len()), Vec::new());
        for raw in list {
            let (place, fields) = entry::parts(raw)?;
            let Value::BulkString(place) = place else { return failure::odd("an order") };
            let place = String::from_utf8_lossy(&place).into_owned();
            match fields {
                Some(fields) => orders.push(Order { place, fields: named(fields) }),
                None => gone.push(place),
            }
        }
        if !gone.is_empty() {
            self.done(&gone).await?;
        }
        Ok(orders)
    }
}

fn named(fields: Vec<Value>) -> Vec<(String, Vec<u8>)> {
    let mut fields = fields.into_iter();
    let mut named = Vec::new();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (fields.next(), fields.next())
    {
        named.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    named
}
