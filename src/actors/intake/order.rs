//! What an order says: checked as a request over HTTP is, because anybody may have written it.
//!
//! Two forms: one field `payload` with the whole command as JSON, or the command's members as fields of their own, then
//! `payload` is only the command's payload. Either may repeat members of the other.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::address::Address;
use crate::domain::command::CommandType;
use crate::domain::content::Content;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{CommandId, MessageId, SessionId, Shard, TenantId, WaId};
use crate::domain::time::now;
use crate::domain::write::{Accept, NewMessage};
use crate::infra::stream::intake::Order;

/// The most an order may weigh in bytes: the longest text, escaped, and room for the rest.
const LIMIT: usize = 512 * 1024;

/// What every accepted order gets from our settings.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many shards there are.
    pub shards: u16,
    /// When a message fails that WhatsApp has not acknowledged.
    pub message_deadline: Duration,
    /// The most unfinished commands of a session.
    pub queue_limit: i64,
}

/// The change an order asks for.
///
/// # Errors
/// `Invalid`, naming the member; what it says is not repeated.
pub(super) fn read(order: &Order, terms: &Terms) -> Result<Accept> {
    if order.weight() > LIMIT {
        return Err(Error::invalid("payload", "order_too_large", format!("must be at most {LIMIT} bytes")));
    }
    let command = command(order)?;
    let kind: CommandType = text(&command, "type")?.parse()?;
    let session: SessionId = id(&command, "sessionId")?;
    let tenant: TenantId = id(&command, "tenantId")?;
    let command_id: CommandId = id(&command, "commandId")?;
    let at = now();
    let payload = command.get("payload").filter(|payload| !payload.is_null());
    let (message, response) = if kind == CommandType::SendMessage {
        let (to, content) = message(payload, &command)?;
        let id = MessageId::new();
        let wa_id = WaId::of(id);
        let response = serde_json::json!({
            "messageId": id, "commandId": command_id, "waMessageId": wa_id, "status": "queued",
        });
        let deadline = at.after(terms.message_deadline);
        (Some(NewMessage { id, wa_id, to, content, deadline }), response)
    } else {
        if payload.is_some_and(|payload| payload.as_object().is_none_or(|members| !members.is_empty())) {
            return Err(Error::invalid("payload", "unknown_member", "must be empty for this command"));
        }
        (None, serde_json::json!({ "commandId": command_id, "status": "queued" }))
    };
    Ok(Accept {
        tenant,
        session,
        shard: Shard::of(session, terms.shards),
        command: command_id,
        kind,
        message,
        response,
        idempotency: None,
        at,
        queue_limit: terms.queue_limit,
        audit: None,
    })
}

/// The members of the command, whichever form it has.
fn command(order: &Order) -> Result<Map<String, Value>> {
    let payload = order.field("payload").map(json).transpose()?;
    let flat = order.field("sessionId").is_some();
    let mut command = match payload {
        Some(Value::Object(command)) if !flat => command,
        Some(payload) if flat => Map::from_iter([("payload".to_owned(), payload)]),
        None if flat => Map::new(),
        Some(_) | None => {
            return Err(Error::invalid("payload", "invalid_order", "must be the command as a JSON object"));
        }
    };
    for name in ["commandId", "type", "sessionId", "tenantId"] {
        if let (Some(value), false) = (order.field(name), command.contains_key(name)) {
            let value = String::from_utf8(value.to_vec()).map_err(|_bytes| wrong(name, "must be text"))?;
            command.insert(name.to_owned(), Value::String(value));
        }
    }
    Ok(command)
}

fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|_may_quote_it| wrong("payload", "is not JSON"))
}

/// To whom and what: members of the payload, or of the command where it has none.
fn message(payload: Option<&Value>, command: &Map<String, Value>) -> Result<(Address, Content)> {
    let members = match payload {
        None => command,
        Some(payload) => {
            let members = payload.as_object().ok_or_else(|| wrong("payload", "must be an object"))?;
            if members.keys().any(|name| !matches!(name.as_str(), "to" | "content")) {
                return Err(Error::invalid("payload", "unknown_member", "must have only to and content"));
            }
            members
        }
    };
    let to: Address = text(members, "to")?.parse()?;
    let content = members.get("content").filter(|content| content.is_object());
    let content = content.ok_or_else(|| wrong("content", "must be an object"))?;
    let content: Content = serde::Deserialize::deserialize(content)
        .map_err(|_may_quote_it| wrong("content", "is not content that can be sent"))?;
    content.check()?;
    Ok((to, content))
}

fn text<'c>(members: &'c Map<String, Value>, name: &str) -> Result<&'c str> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| wrong(name, "must be text"))
}

fn id<T: FromStr<Err = Error>>(command: &Map<String, Value>, name: &str) -> Result<T> {
    text(command, name)?.parse().map_err(|_bad: Error| wrong(name, "must be a UUID"))
}

fn wrong(name: &str, message: &str) -> Error {
    Error::invalid(name, "invalid_order", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::error::Kind;

    const TERMS: Terms = Terms { shards: 8, message_deadline: Duration::from_secs(60), queue_limit: 10 };

    fn order(fields: &[(&str, &str)]) -> Order {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        Order { place: "1-0".into(), fields: fields.collect() }
    }

    fn whole(command: &Value) -> Order {
        order(&[("payload", &command.to_string())])
    }

    fn sample() -> Value {
        json!({
            "commandId": CommandId::new(), "type": "session.sendMessage", "sessionId": SessionId::new(),
            "tenantId": TenantId::DEFAULT, "occurredAt": now(),
            "payload": { "to": "+1 555 010 0199", "content": { "type": "text", "text": "hola" } },
        })
    }

    #[test]
    fn every_form_says_the_same() {
        let command = sample();
        let get = |name: &str| command[name].as_str().unwrap().to_owned();
        let (id, session, tenant) = (get("commandId"), get("sessionId"), get("tenantId"));
        let payload = command["payload"].to_string();
        let mut bare = command.clone();
        bare["to"] = command["payload"]["to"].clone();
        bare["content"] = command["payload"]["content"].clone();
        bare.as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(name.as_str(), "payload" | "type" | "commandId"));
        let forms = [
            whole(&command),
            order(&[
                ("commandId", &id),
                ("type", "session.sendMessage"),
                ("sessionId", &session),
                ("tenantId", &tenant),
                ("payload", &payload),
            ]),
            order(&[("commandId", &id), ("type", "session.sendMessage"), ("payload", &bare.to_string())]),
        ];
        for form in forms {
            let accept = read(&form, &TERMS).unwrap();
            assert_eq!(
                (accept.command.to_string(), accept.session.to_string()),
                (id.clone(), session.clone())
            );
            assert_eq!(accept.shard, Shard::of(accept.session, 8));
            let message = accept.message.unwrap();
            assert_eq!(
                (message.to.to_string().as_str(), message.content.preview()),
                ("15550100199@s.whatsapp.net", "hola")
            );
        }
    }

    #[test]
    fn commands_for_a_sessions_life_need_no_payload() {
        for kind in ["session.start", "session.create", "session.stop", "session.close", "session.delete"] {
            let mut command = sample();
            command["type"] = kind.into();
            assert_eq!(read(&whole(&command), &TERMS).unwrap_err().code, "unknown_member");
            for payload in [json!(null), json!({})] {
                command["payload"] = payload;
                assert!(read(&whole(&command), &TERMS).unwrap().message.is_none(), "{kind}");
            }
        }
    }

    #[test]
    fn what_http_refuses_is_refused_and_not_repeated() {
        let secret = "+1 555 SECRET";
        let broken: [(&str, Value); 10] = [
            ("/type", json!("session.fly")),
            ("/type", json!(7)),
            ("/commandId", json!(secret)),
            ("/sessionId", json!(null)),
            ("/tenantId", json!([secret])),
            ("/payload", json!(secret)),
            ("/payload/to", json!(secret)),
            ("/payload/content", json!(["text", secret])),
            ("/payload/content/text", json!("")),
            ("/payload/content/extra", json!(secret)),
        ];
        for (at, value) in broken {
            let mut command = sample();
            command["payload"]["content"]["extra"] = Value::Null;
            let content = command["payload"]["content"].as_object_mut().unwrap();
            if !at.ends_with("extra") {
                content.remove("extra");
            }
            *command.pointer_mut(at).unwrap() = value;
            let refusal = read(&whole(&command), &TERMS).unwrap_err();
            assert_eq!(refusal.kind, Kind::Invalid, "{at}");
            assert!(!refusal.to_string().contains("SECRET"), "{refusal}");
        }
        let mut command = sample();
        command["payload"]["also"] = json!(1);
        assert_eq!(read(&whole(&command), &TERMS).unwrap_err().code, "unknown_member");
        assert!(read(&order(&[]), &TERMS).is_err());
        let large = "x".repeat(LIMIT);
        assert_eq!(read(&order(&[("payload", &large)]), &TERMS).unwrap_err().code, "order_too_large");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(fields in prop::collection::vec((
            prop::sample::select(vec!["payload", "commandId", "type", "sessionId", "tenantId", "x"]),
            prop_oneof![prop::collection::vec(any::<u8>(), 0..40), r#"[{}\[\]":,0-9a-z]{0,40}"#.prop_map(String::into_bytes)],
        ), 0..6)) {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            if let Err(refusal) = read(&Order { place: "1-0".into(), fields }, &TERMS) {
                prop_assert_eq!(refusal.kind, Kind::Invalid);
            }
        }
    }
}
