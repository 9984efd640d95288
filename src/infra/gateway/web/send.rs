//! Handing a message to the wire, and what a failure means.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp::message::ExtendedTextMessage;
use whatsapp_rust::waproto::whatsapp::{ContextInfo, Message};
use whatsapp_rust::{Client, IqError, Jid, SendError as Engine, SendOptions};

use crate::domain::address::{Address, Server};
use crate::domain::content::Content;
use crate::domain::write::NewMessage;
use crate::infra::gateway::SendError;

/// Encrypts and sends under the message's own id.
pub(super) async fn send(client: &Client, message: &NewMessage) -> Result<(), SendError> {
    let to = jid(&message.to)?;
    let body = body(&message.content, &message.to)?;
    let options = SendOptions::default().with_message_id(message.wa_id.0.as_str());
    match Box::pin(client.send_message_with_options(to, body, options)).await {
        Ok(_handed_over) => Ok(()),
        Err(error) => Err(meaning(&error)),
    }
}

fn jid(address: &Address) -> Result<Jid, SendError> {
    match address.server() {
        Server::Phone => Ok(Jid::pn(address.user())),
        Server::Lid => Ok(Jid::lid(address.user())),
        Server::Group => Ok(Jid::group(address.user())),
        Server::Newsletter => Ok(Jid::newsletter(address.user())),
        Server::Broadcast => {
            Err(refused("unsupported_recipient", "status updates and lists cannot be written to yet"))
        }
    }
}

fn body(content: &Content, to: &Address) -> Result<Message, SendError> {
    match content {
        Content::Text { text, reply_to: None } => {
            Ok(Message { conversation: Some(text.clone()), ..Message::default() })
        }
        Content::Text { text, reply_to: Some(id) } => {
            // Who wrote the quoted message is not known here; in a chat of two it is mostly the other one.
            let author = matches!(to.server(), Server::Phone | Server::Lid).then(|| to.to_string());
            let context = ContextInfo {
                stanza_id: Some(id.clone()),
                participant: author,
                quoted_message: MessageField::some(Message {
                    conversation: Some(String::new()),
                    ..Message::default()
                }),
                ..ContextInfo::default()
            };
            let extended = ExtendedTextMessage {
                text: Some(text.clone()),
                context_info: MessageField::some(context),
                ..ExtendedTextMessage::default()
            };
            Ok(Message { extended_text_message: MessageField::some(extended), ..Message::default() })
        }
        Content::Unsupported { .. } => Err(refused("unknown_content", "this kind of content cannot be sent")),
    }
}

/// Whether trying again can help.
#[expect(clippy::wildcard_enum_match_arm, reason = "the engine's list grows; what we do not know may pass")]
fn meaning(error: &Engine) -> SendError {
    match error {
        Engine::InvalidRequest(reason) => refused("invalid_request", reason),
        Engine::Iq(IqError::ServerError { code, .. })
            if matches!(code, 400 | 401 | 403 | 404 | 406 | 410) =>
        {
            let reason = format!("WhatsApp refused a question about the recipient with {code}");
            refused(&format!("recipient_refused_{code}"), &reason)
        }
        other => SendError::NotNow(other.to_string()),
    }
}

fn refused(code: &str, reason: &str) -> SendError {
    SendError::Refused { code: code.to_owned(), reason: reason.to_owned() }
}
