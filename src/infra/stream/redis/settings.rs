//! What an operator can choose about the streams, and the names of the keys that follow from it.
//!
//! Promises: all keys of one stream are in one slot of a cluster, and a script touches the keys of one stream only; a
//! name that would break this is refused at the start.

use std::time::Duration;

use crate::domain::error::{Error, Result};
use crate::domain::event::Log;
use crate::infra::stream::StreamKey;

/// Names and limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many shards there are: with one, the stream of events has the plain name.
    pub shards: u16,
    /// Before the name of every key.
    pub prefix: String,
    /// The stream of domain events (`EVENTS_STREAM`).
    pub events: String,
    /// Copies of dead letters (`EVENTS_DLQ_STREAM`).
    pub dead_letters: String,
    /// Before the names of the groups that read domain events (`EVENTS_GROUP`); empty for none.
    pub group: String,
    /// Who this process is, unlike any other that runs (`EVENTS_CONSUMER` and the node's id).
    pub consumer: String,
    /// Entries a stream may hold before its groups have to catch up.
    pub entries: usize,
    /// Bytes of memory a stream may take, as Redis counts them.
    pub bytes: usize,
    /// Entries that a stream of dead letters or refused orders keeps.
    pub refused: usize,
    /// A reader that holds nothing and has not asked for so long is forgotten.
    pub forget: Duration,
    /// How long one call may take, beside the wait it asks for.
    pub deadline: Duration,
    /// Connections for readers that wait: one for each consumer and hub. Beyond it they ask again and again.
    pub readers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 1,
            prefix: String::new(),
            events: Log::DomainEvents.as_str().to_owned(),
            dead_letters: "domain-events-dlq".to_owned(),
            group: String::new(),
            consumer: format!("consumer-{}", std::process::id()),
            entries: 100_000,
            bytes: 256 << 20,
            refused: 10_000,
            forget: Duration::from_secs(600),
            deadline: Duration::from_secs(5),
            readers: 256,
        }
    }
}

/// The keys of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// The stream.
    pub(super) stream: String,
    /// What is known of it beside its entries: the epoch of its latest owner.
    pub(super) meta: String,
}

impl Settings {
    /// Refuses names that cannot work.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub(super) fn check(&self) -> Result<()> {
        let names = [
            ("EVENTS_STREAM", &self.events, false),
            ("EVENTS_DLQ_STREAM", &self.dead_letters, false),
            ("EVENTS_CONSUMER", &self.consumer, false),
            ("EVENTS_GROUP", &self.group, true),
            ("prefix", &self.prefix, true),
        ];
        for (setting, name, may_be_empty) in names {
            let visible = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
            let long_enough = may_be_empty || !name.is_empty();
            if !visible || !long_enough || name.len() > 128 {
                let rule = "must be visible characters without braces, at most 128";
                return Err(Error::invalid(setting, "invalid_stream_name", rule));
            }
        }
        let commands = Log::SessionCommands.as_str();
        let taken = [commands.to_owned(), format!("{commands}-dlq"), self.dead_letters.clone()];
        if taken.contains(&self.events) || taken[..2].contains(&self.dead_letters) {
            let rule = "two streams would have the same name";
            return Err(Error::invalid("EVENTS_STREAM", "stream_name_taken", rule));
        }
        Ok(())
    }

    /// The keys of a stream. The plain name of the commands is the intake's, so ours always carries its shard.
    pub(super) fn keys(&self, key: StreamKey) -> Keys {
        let Self { prefix, events, shards, .. } = self;
        let shard = key.shard;
        let stream = match key.log {
            Log::DomainEvents if *shards <= 1 => {
                let stream = format!("{prefix}{events}");
                return Keys { meta: format!("{{{stream}}}:meta"), stream };
            }
            Log::DomainEvents => format!("{prefix}{events}:{{{shard}}}"),
            Log::SessionCommands => format!("{prefix}{}:{{{shard}}}", key.log),
        };
        Keys { meta: format!("{stream}:meta"), stream }
    }

    /// A group's name in Redis.
    pub(super) fn group(&self, log: Log, group: &str) -> String {
        match log {
            Log::DomainEvents if !self.group.is_empty() => format!("{}:{group}", self.group),
            Log::DomainEvents | Log::SessionCommands => group.to_owned(),
        }
    }

    /// Where programs outside put their commands.
    pub(super) fn intake(&self) -> String {
        format!("{}{}", self.prefix, Log::SessionCommands)
    }

    /// Where commands go that cannot be accepted.
    pub(super) fn refused_commands(&self) -> String {
        format!("{}{}-dlq", self.prefix, Log::SessionCommands)
    }

    /// Where copies of dead letters go.
    pub(super) fn dead_letters(&self) -> String {
        format!("{}{}", self.prefix, self.dead_letters)
    }

    /// Where nodes tell each other to look.
    pub(super) fn hints(&self) -> String {
        format!("{}recado-hints", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Shard;

    /// What Redis Cluster hashes of a key.
    fn tag(key: &str) -> &str {
        let inside = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        inside.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key)
    }

    #[test]
    fn the_keys_of_a_stream_share_a_slot_and_no_two_streams_a_name() {
        for shards in [1, 32] {
            let settings = Settings { shards, prefix: "p:".into(), ..Settings::default() };
            let mut all = vec![settings.intake(), settings.refused_commands(), settings.dead_letters()];
            for log in Log::ALL {
                for shard in (0..shards).map(Shard) {
                    let keys = settings.keys(StreamKey { shard, log });
                    assert_eq!(tag(&keys.stream), tag(&keys.meta), "{keys:?}");
                    all.extend([keys.stream, keys.meta]);
                }
            }
            let count = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), count);
        }
    }

    #[test]
    fn names_are_as_documented() {
        let one = Settings::default();
        let many = Settings { shards: 4, group: "g".into(), ..Settings::default() };
        let key = |log| StreamKey { shard: Shard(3), log };
        assert_eq!(one.keys(key(Log::DomainEvents)).stream, "domain-events");
        assert_eq!(many.keys(key(Log::DomainEvents)).stream, "domain-events:{3}");
        assert_eq!(one.keys(key(Log::SessionCommands)).stream, "session-commands:{3}");
        assert_eq!(one.intake(), "session-commands");
        assert_eq!(many.group(Log::DomainEvents, "webhooks"), "g:webhooks");
        assert_eq!(many.group(Log::SessionCommands, "commands"), "commands");
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        assert!(Settings::default().check().is_ok());
        for (events, dead_letters) in [
            ("a{b", "d"),
            ("", "d"),
            ("session-commands", "d"),
            ("same", "same"),
            ("e", "session-commands-dlq"),
        ] {
            let settings =
                Settings { events: events.into(), dead_letters: dead_letters.into(), ..Settings::default() };
            assert!(settings.check().is_err(), "{events} {dead_letters}");
        }
    }
}
