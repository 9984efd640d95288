//! The figures of one scenario, and the promises among them that did not hold.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::check;
use crate::cluster::audit::{self, Audit};
use crate::cluster::effects::{self, Effects};
use crate::cluster::streams::{self, Streams};
use crate::cluster::tables::{self, Tables};
use crate::rig::figures::{object, round};
use crate::stage::{Settled, Stage};

/// What a run came to.
pub(crate) struct Verdict {
    name: &'static str,
    seed: u64,
    nodes: usize,
    sessions: usize,
    accepted: usize,
    repeated: u64,
    contradicted: u64,
    outgoing: check::Outgoing,
    inbound_sent: usize,
    inbound: check::Incoming,
    settled: Settled,
    tables: Tables,
    streams: Streams,
    /// Entries that a group has been given and has not acknowledged.
    pending: usize,
    audit: Audit,
    effects: Option<Effects>,
    overlap: u64,
    catch_up: Duration,
    connect: Duration,
    took: Duration,
    /// The scenario's own figures.
    pub(crate) own: Value,
}

impl Verdict {
    /// Looks at everything: the API, the tables, the streams, the phones.
    pub(crate) async fn reach(
        name: &'static str,
        stage: &Stage,
        settled: Settled,
        (own, catch_up, connect, took): (Value, Duration, Duration, Duration),
    ) -> Result<Self> {
        let (cluster, service, accounts) = (&stage.cluster, &stage.service, &stage.accounts);
        let accepted = stage.ledger.accepted();
        stage.caught_up().await?;
        let effects = if cluster.effects { Some(effects::read(cluster).await?) } else { None };
        let tables = tables::read(cluster).await?;
        Ok(Self {
            name,
            seed: stage.size.seed,
            nodes: cluster.nodes.len(),
            sessions: accounts.len(),
            accepted: accepted.len(),
            repeated: stage.ledger.repeated.load(Ordering::Relaxed),
            contradicted: stage.ledger.contradicted.load(Ordering::Relaxed),
            outgoing: check::outgoing(service, &cluster.sandbox, accounts, &accepted, &settled.log).await?,
            inbound_sent: settled.sent.values().map(Vec::len).sum(),
            inbound: check::incoming(&cluster.sandbox, accounts, &settled.sent, &settled.log).await?,
            streams: streams::compare(stage.redis()?, &tables).await?,
            pending: streams::pending(stage.redis()?).await?,
            effects,
            audit: audit::read(cluster).await?,
            overlap: stage.overlaps().await?.saturating_sub(stage.forgiven),
            settled,
            tables,
            catch_up,
            connect,
            took,
            own,
        })
    }

    /// What a sink without an inbox would have done twice.
    pub(crate) fn effects_repeated(&self) -> usize {
        self.effects.as_ref().map_or(0, |effects| effects.repeats)
    }

    /// One line for machines.
    pub(crate) fn json(&self) -> String {
        let (log, watched) = (&self.settled.log, &self.settled.watched);
        let mut figures = json!({
            "seed": self.seed, "nodes": self.nodes, "sessions": self.sessions,
            "lost": self.streams.lost + log.gaps + self.tables.gaps,
            "duplicatesInStream": self.streams.duplicates, "diverged": self.streams.diverged,
            "orderViolations": self.tables.disorder + log.disorder + watched.disorder,
            "staleWrites": self.audit.stale, "ownerWrites": self.audit.writes, "leasesWon": self.audit.won,
            "overlap": self.overlap,
            "events": self.tables.rows, "inStreams": self.streams.entries, "unnumbered": self.tables.waiting,
            "pendingLeft": self.pending,
            "unfinishedCommands": self.tables.unfinished,
            "accepted": self.accepted, "stuck": self.outgoing.stuck, "failed": self.outgoing.failed,
            "lostAtPhones": self.outgoing.lost, "copiesAtPhones": self.outgoing.copies,
            "acceptedTwice": self.outgoing.twice, "requestsRepeated": self.repeated,
            "keysContradicted": self.contradicted,
            "inboundSent": self.inbound_sent, "inboundReceipted": self.inbound.receipted,
            "ackedAndMissing": self.inbound.missing, "inboundNotStored": self.inbound.not_stored,
            "receivedTwice": log.received_twice,
            "webSocketGaps": watched.gaps, "webSocketDuplicates": watched.duplicates,
            "webSocketResumes": self.settled.resumes,
            "catchUpSeconds": round(self.catch_up.as_secs_f64()),
            "connectSeconds": round(self.connect.as_secs_f64()),
            "seconds": round(self.took.as_secs_f64()),
        });
        if let Some(effects) = &self.effects {
            figures["effects"] = json!({
                "done": effects.done, "missing": effects.missing, "duplicatesWithInbox": effects.duplicates,
                "repeatsWithoutInbox": effects.repeats, "orderViolations": effects.disorder,
            });
        }
        figures["own"] = self.own.clone();
        object(self.name, &figures)
    }

    /// The promises that did not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let (log, watched) = (&self.settled.log, &self.settled.watched);
        let zeros = [
            ("lost in the streams", self.streams.lost),
            ("duplicates in the streams", self.streams.duplicates),
            ("entries that are not the tables'", self.streams.diverged),
            ("entries that a group never acknowledged", self.pending),
            ("gaps in the tables", self.tables.gaps),
            ("duplicates in the tables", self.tables.duplicates),
            ("order violations in the tables", self.tables.disorder),
            ("rows without a position", count(self.tables.waiting)),
            ("commands without an end", count(self.tables.unfinished)),
            ("stale writes accepted", self.audit.stale),
            ("epochs that went back", self.audit.epochs_back),
            ("second links at the same time", count(self.overlap)),
            ("accepted and not ended", self.outgoing.stuck),
            ("failed without a reason", self.outgoing.without_reason),
            ("sent and not at the phone", self.outgoing.lost),
            ("accepted twice under one key", self.outgoing.twice),
            ("the same key, another answer", count(self.contradicted)),
            ("acked and missing", self.inbound.missing),
            ("sent to us and not stored", self.inbound.not_stored),
            ("received twice in the log", log.received_twice),
            ("gaps in the log", log.gaps),
            ("duplicates in the log", log.duplicates),
            ("order violations in the log", log.disorder),
            ("gaps on the WebSocket", watched.gaps),
            ("duplicates on the WebSocket", watched.duplicates),
            ("order violations on the WebSocket", watched.disorder),
            ("events without their effect", self.effects.as_ref().map_or(0, |effects| effects.missing)),
            ("duplicate effects at the inbox", self.effects.as_ref().map_or(0, |effects| effects.duplicates)),
            ("effects out of order", self.effects.as_ref().map_or(0, |effects| effects.disorder)),
        ];
        let held = |(name, count): (&str, usize)| (count > 0).then(|| format!("{name}: {count}"));
        let mut broken: Vec<String> = zeros.into_iter().filter_map(held).collect();
        if self.inbound.not_stored > 0 {
            broken.push(format!("not stored were {:?}", self.inbound.such_as));
        }
        if self.audit.stale > 0 {
            broken.push(format!("stale writes were to {:?}", self.audit.where_stale));
        }
        // A run in which nothing happened proves nothing.
        let silent = [self.accepted, self.inbound.receipted, self.audit.writes, self.streams.entries];
        if silent.contains(&0) || watched.events != log.events || log.events == 0 {
            broken.push(format!(
                "accepted, receipted, owner's writes, stream entries {silent:?}; events {} in the log and {} on the WebSocket",
                log.events, watched.events
            ));
        }
        broken
    }
}

fn count(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}
