//! What the group `mail` does with domain events: it writes to people.
//!
//! Promises: a mail waits in the log until a mail server has it, whatever dies meanwhile; an event's mail has the same
//! `Message-ID` at every try, since a server that took it may not have been heard; a token that is used up, expired or
//! gone, and somebody who is gone, are not written to; no token, address or text is in an event, a log or a dead letter.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::archive::Queries;
use super::consumer::Settings;
use super::handler::{Delivery, Failure, Handler};
use crate::domain::error::{Error, Kind};
use crate::domain::event::{Event, EventType};
use crate::domain::identity::{Locale, MailAddress, Purpose, User, UserState};
use crate::domain::ids::{OneTimeId, UserId};
use crate::domain::now;
use crate::domain::retry::{Retries, Schedule};
use crate::domain::time::Timestamp;
use crate::infra::mail::templates::{Facts, Template};
use crate::infra::mail::{Answer, Mail, Message};
use crate::infra::one_time::OneTimeTokens;
use crate::telemetry;

/// The group's name.
pub const GROUP: &str = "mail";

/// The events that are written about.
const ABOUT: [EventType; 2] = [EventType::UserTokenIssued, EventType::UserPasswordChanged];

/// Tries of a mail whose recipient alone is put off: the others of the tenant wait behind it.
const RECIPIENT_TRIES: u32 = 6;

/// How long one delivery may take: a mail's own deadline is 20 s, and a change of address makes two.
const DEADLINE: Duration = Duration::from_secs(50);

/// Sends a mail for each event that asks for one.
pub struct SendMails {
    /// Where people and tokens are read.
    pub queries: Queries,
    /// The way out.
    pub mail: Arc<dyn Mail>,
    /// Makes the texts of tokens.
    pub tokens: OneTimeTokens,
    /// What links begin with.
    pub base: String,
}

impl fmt::Debug for SendMails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendMails({})", self.base)
    }
}

/// What the events say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    user_id: UserId,
    token_id: Option<OneTimeId>,
    purpose: Option<Purpose>,
    locale: Option<Locale>,
}

/// A mail to write.
struct Wanted {
    template: Template,
    to: MailAddress,
    locale: Locale,
    facts: Facts,
}

#[async_trait]
impl Handler for SendMails {
    fn wants(&self, event: &Event) -> bool {
        ABOUT.iter().any(|kind| kind.as_str() == event.kind)
    }

    /// One mail at a time, and the patience to outlast a mail server that is away for hours.
    fn settings(&self, usual: Settings) -> Settings {
        let schedule = Schedule::exponential(Duration::from_secs(2), Duration::from_secs(10 * 60));
        Settings {
            slots: 4,
            run: 1,
            retries: Retries { tries: 80, schedule },
            deadline: DEADLINE,
            claim: usual.claim.max(DEADLINE * 2),
            ..usual
        }
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        for (before, entry) in delivery.entries.iter().enumerate() {
            if self.wants(&entry.event) {
                let failed = if before == 0 { delivery.attempt } else { 0 };
                self.write_about(&entry.event, failed).await?;
            }
            delivery.done(before + 1);
        }
        Ok(())
    }
}

impl SendMails {
    async fn write_about(&self, event: &Event, failed: u32) -> Result<(), Failure> {
        let told: Told = serde_json::from_str(event.data.as_str()).map_err(|_opaque| Failure::Permanent {
            error: "the event does not say whom to write to".into(),
        })?;
        for wanted in self.wanted(event, &told).await.map_err(failure)? {
            self.send(event, wanted, failed).await?;
        }
        Ok(())
    }

    /// The mails that an event asks for; none when there is nothing to say any more.
    async fn wanted(&self, event: &Event, told: &Told) -> Result<Vec<Wanted>, Error> {
        let (tenant, id) = (event.tenant_id, told.user_id);
        let user = self.queries.user(tenant, id).await?;
        let Some(user) = user.filter(|user| user.state != UserState::Deleted) else {
            return Ok(dropped(event, "they are gone"));
        };
        let locale = told.locale.unwrap_or(user.locale);
        let facts = Facts { base: self.base.clone(), when: shown(event.occurred_at), ..Facts::default() };
        if let Some(token) = told.token_id {
            return self.with_token(event, (user, token), told.purpose, (locale, facts)).await;
        }
        if event.kind == EventType::UserTokenIssued.as_str() {
            return Err(Error::invalid("tokenId", "no_token", "the event does not name the token"));
        }
        let template = Template::PasswordChanged;
        let Some(to) = user.mail else { return Ok(dropped(event, "they have no address")) };
        Ok(vec![Wanted { template, to, locale, facts }])
    }

    async fn with_token(
        &self,
        event: &Event,
        (user, id): (User, OneTimeId),
        purpose: Option<Purpose>,
        (locale, facts): (Locale, Facts),
    ) -> Result<Vec<Wanted>, Error> {
        let token = self.queries.one_time_of(event.tenant_id, id).await?;
        let good = token
            .filter(|token| token.user == user.id && Some(token.purpose) == purpose && token.good(now()));
        let Some(token) = good else { return Ok(dropped(event, "the token is good no more")) };
        let text = self.tokens.text(token.purpose.as_str(), id.0)?;
        let proof = Facts { token: text, until: shown(token.expires_at), ..facts.clone() };
        let wanted =
            |template, to: Option<MailAddress>, facts| to.map(|to| Wanted { template, to, locale, facts });
        // The mail with the link first: should the notice be refused, the link has gone out.
        let mails = match token.purpose {
            Purpose::Verify => [wanted(Template::Verify, user.mail, proof), None],
            Purpose::Invite => [wanted(Template::Invite, user.mail, proof), None],
            Purpose::Reset => [wanted(Template::Reset, user.mail, proof), None],
            Purpose::ChangeMail => [
                wanted(Template::ChangeMail, token.mail, proof),
                wanted(Template::ChangeMailNotice, user.mail, facts),
            ],
        };
        Ok(mails.into_iter().flatten().collect())
    }

    async fn send(&self, event: &Event, wanted: Wanted, failed: u32) -> Result<(), Failure> {
        let Wanted { template, to, locale, facts } = wanted;
        let words = template.words(locale, &facts);
        let message = Message {
            id: format!("{}-{}", event.event_id, template.as_str().replace('_', "-")),
            to: to.as_str().to_owned(),
            subject: words.subject,
            text: words.text,
            html: words.html,
        };
        match self.mail.send(&message).await {
            Answer::Sent => {
                telemetry::mail(template.as_str(), "sent");
                tracing::debug!(mail = message.id, "a mail was handed over");
                Ok(())
            }
            Answer::Refused { why } => {
                telemetry::mail(template.as_str(), "refused");
                Err(Failure::Permanent { error: why })
            }
            Answer::Unavailable { why, recipient } => {
                telemetry::mail(template.as_str(), "put_off");
                let last = recipient && failed + 1 >= RECIPIENT_TRIES;
                Err(if last {
                    Failure::Permanent { error: why }
                } else {
                    Failure::Retry { error: why, after: None }
                })
            }
        }
    }
}

fn dropped(event: &Event, why: &str) -> Vec<Wanted> {
    telemetry::mail("any", "dropped");
    tracing::debug!(event = %event.event_id, why, "nobody is written to");
    Vec::new()
}

fn failure(error: Error) -> Failure {
    match error.kind {
        Kind::Busy | Kind::Unavailable | Kind::Fenced | Kind::Bug => {
            Failure::Retry { error: error.to_string(), after: None }
        }
        Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::Unauthorized | Kind::Forbidden => {
            Failure::Permanent { error: error.to_string() }
        }
    }
}

/// For people: `2026-11-23 02:00 UTC`.
fn shown(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or_default();
    format!("{day} {} UTC", time.get(..5).unwrap_or_default())
}
