//! Logs and metrics. Every metric's name, unit and help stands in this file only.
//!
//! Promises: a log line holds no secret, phone number or chat id in clear ([`personal`], [`line`]); the engine's own
//! chatter stays out of the log ([`levels`]); how much is logged can be changed while the service runs ([`dial`]);
//! metrics cost no memory when nobody reads them, as long as [`fold`] is called now and then.

mod dial;
mod engine;
mod levels;
mod line;
mod logs;
mod personal;
mod request;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use dial::LogLevel;
pub use levels::Levels;
pub use logs::{LogFormat, log_level, log_panics, set_log_level, start_logs};
pub use personal::{Hashed, PURPOSE as LOG_NAMES, Whose, hash_under, hashed, scrubbed};
pub use request::{LONGEST_ID, RequestIds, Trace, at_request, of_request};

use crate::domain::event::Log;
use crate::domain::ids::{Position, Shard};
use crate::domain::limit::Scope;
use crate::domain::pacing::Refusal;
use crate::domain::time::Timestamp;

/// Where metrics gather.
static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Bounds of every duration: from a commit on a fast disk to the longest wait of a request.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Starts gathering metrics. The first call of a process wins; later ones change nothing.
pub fn start_metrics() {
    METRICS.get_or_init(|| {
        let bounded =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        let recorder = bounded.unwrap_or_else(|_no_buckets| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder takes the metrics");
        }
        for (kind, name, unit, help) in HELP {
            match kind {
                MetricKind::Counter => metrics::describe_counter!(name, unit, help),
                MetricKind::Gauge => metrics::describe_gauge!(name, unit, help),
                MetricKind::Histogram => metrics::describe_histogram!(name, unit, help),
            }
        }
        handle
    });
}

/// The metrics in Prometheus' text format.
#[must_use]
pub fn rendered() -> String {
    METRICS.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// What is due now and then: folds what histograms have gathered, which otherwise grows until somebody reads
/// `/metrics`, and ends a change of the log level whose time is up.
pub fn fold() {
    logs::tick();
    if let Some(metrics) = METRICS.get() {
        metrics.run_upkeep();
    }
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric: kind, name, unit, help.
const HELP: [(MetricKind, &str, Unit, &str); 32] = [
    (
        MetricKind::Counter,
        "http_requests_total",
        Unit::Count,
        "Requests answered, by route, method and status",
    ),
    (MetricKind::Histogram, "http_request_seconds", Unit::Seconds, "Time to answer a request, by route"),
    (MetricKind::Counter, "password_checks_total", Unit::Count, "Passwords checked, also of nobody's"),
    (MetricKind::Counter, "logins_total", Unit::Count, "Passwords given at the login, by outcome"),
    (MetricKind::Counter, "login_renewals_total", Unit::Count, "Refresh tokens presented, by outcome"),
    (MetricKind::Counter, "ledger_writes_total", Unit::Count, "Writes committed"),
    (
        MetricKind::Counter,
        "ledger_commits_total",
        Unit::Count,
        "Transactions committed; writes per commit is the batch",
    ),
    (MetricKind::Histogram, "ledger_commit_seconds", Unit::Seconds, "Time of one transaction"),
    (MetricKind::Counter, "relay_published_total", Unit::Count, "Entries appended to a stream, by log"),
    (MetricKind::Gauge, "relay_lag", Unit::Count, "Entries of the table that the stream does not have yet"),
    (
        MetricKind::Gauge,
        "relay_stream_ahead",
        Unit::Count,
        "1 while a stream holds positions the table never gave",
    ),
    (
        MetricKind::Counter,
        "events_missed_total",
        Unit::Count,
        "Entries in neither stream nor table; must stay 0",
    ),
    (MetricKind::Gauge, "consumer_lag", Unit::Count, "Entries a consumer group has not handled yet"),
    (MetricKind::Counter, "deliveries_total", Unit::Count, "Entries of a consumer group, by outcome"),
    (MetricKind::Counter, "dead_letters_total", Unit::Count, "Entries given up on, by consumer group"),
    (
        MetricKind::Counter,
        "dead_letter_copies_total",
        Unit::Count,
        "Dead letters shown on their stream, or not, by outcome",
    ),
    (MetricKind::Counter, "intake_orders_total", Unit::Count, "Commands of programs outside, by outcome"),
    (MetricKind::Counter, "mails_total", Unit::Count, "Mails, by kind and outcome"),
    (
        MetricKind::Counter,
        "sends_paced_total",
        Unit::Count,
        "Looks for messages to send that ended with some that wait, by reason",
    ),
    (
        MetricKind::Counter,
        "sends_refused_total",
        Unit::Count,
        "Messages that WhatsApp refused for what their account did, by code",
    ),
    (
        MetricKind::Counter,
        "inbound_asked_again_total",
        Unit::Count,
        "Messages that came again, were stored nowhere and were not readable twice",
    ),
    (MetricKind::Gauge, "hub_clients", Unit::Count, "Clients that follow events"),
    (MetricKind::Gauge, "hub_lag", Unit::Count, "Entries the hub has not shown yet"),
    (
        MetricKind::Counter,
        "hub_slow_clients_total",
        Unit::Count,
        "Clients closed because they read too slowly",
    ),
    (MetricKind::Counter, "limits_refused_total", Unit::Count, "Requests refused by a limit, by scope"),
    (
        MetricKind::Counter,
        "limits_fallbacks_total",
        Unit::Count,
        "Checks that this node made by itself because Redis did not answer",
    ),
    (
        MetricKind::Counter,
        "limits_unchecked_total",
        Unit::Count,
        "Requests let through because the limiter did not answer",
    ),
    (
        MetricKind::Counter,
        "limits_forgotten_total",
        Unit::Count,
        "Counters that went before their window's end, for want of room",
    ),
    (MetricKind::Counter, "supervisor_restarts_total", Unit::Count, "Restarts of actors, by kind"),
    (MetricKind::Gauge, "supervisor_parked", Unit::Count, "Actors whose restart budget is spent, by kind"),
    (MetricKind::Counter, "backups_total", Unit::Count, "Backups by the clock, by outcome"),
    (
        MetricKind::Gauge,
        "backup_last_success_timestamp_seconds",
        Unit::Seconds,
        "When this process last took a backup, since 1970; absent until it did",
    ),
];

/// Commits of the Ledger, with their size in writes and their length.
pub fn ledger_commit(writes: usize, took: Duration) {
    metrics::counter!("ledger_writes_total").increment(u64::try_from(writes).unwrap_or(u64::MAX));
    metrics::counter!("ledger_commits_total").increment(1);
    metrics::histogram!("ledger_commit_seconds").record(took.as_secs_f64());
}

/// Entries the relay appended to a log.
pub fn relay_published(log: Log, entries: usize) {
    metrics::counter!("relay_published_total", "log" => log.as_str()).increment(count(entries));
}

/// How far the stream is behind the table, in entries.
pub fn relay_lag(shard: Shard, log: Log, head: Position, tail: Position) {
    gauge("relay_lag", shard, log.as_str()).set(distance(tail, head));
}

/// 1 while a stream holds positions the table never gave: somebody must look.
pub fn relay_ahead(shard: Shard, log: Log, ahead: bool) {
    gauge("relay_stream_ahead", shard, log.as_str()).set(f64::from(u8::from(ahead)));
}

/// Entries that are neither in the stream nor in the table any more: somebody must look.
pub fn events_missed(log: Log, entries: usize) {
    metrics::counter!("events_missed_total", "log" => log.as_str()).increment(count(entries));
}

/// How far a consumer group is behind what it has seen, in entries.
pub fn consumer_lag(shard: Shard, group: &str, cursor: Position, seen: Position) {
    gauge("consumer_lag", shard, group).set(distance(cursor, seen));
}

/// Entries of a consumer group by outcome: `handled`, `failed`, `buried`, `redriven`.
pub fn deliveries(group: &str, outcome: &'static str, entries: usize) {
    metrics::counter!("deliveries_total", "group" => group.to_owned(), "outcome" => outcome)
        .increment(count(entries));
}

/// Entries a consumer group gave up on.
pub fn dead_letter(group: &str) {
    metrics::counter!("dead_letters_total", "group" => group.to_owned()).increment(1);
}

/// Copies of dead letters by outcome: `copied`, `failed`.
pub fn dead_letter_copy(outcome: &'static str) {
    metrics::counter!("dead_letter_copies_total", "outcome" => outcome).increment(1);
}

/// Commands that programs outside appended to the intake, by outcome: `accepted`, `refused`, `put_off`.
pub fn intake_orders(outcome: &'static str, orders: usize) {
    metrics::counter!("intake_orders_total", "outcome" => outcome).increment(count(orders));
}

/// Mails by outcome: `sent`, `put_off` (to be tried again), `refused` (never), `dropped` (nothing to say any more).
pub fn mail(kind: &'static str, outcome: &'static str) {
    metrics::counter!("mails_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// Messages of a session wait, for a reason.
pub fn sends_paced(reason: &'static str) {
    metrics::counter!("sends_paced_total", "reason" => reason).increment(1);
}

/// WhatsApp refused a message for what its account did.
pub fn sends_refused(refusal: Refusal) {
    let code = match refusal {
        Refusal::NewChats => "463",
        Refusal::Sends => "429",
    };
    metrics::counter!("sends_refused_total", "code" => code).increment(1);
}

/// A message must come again: its key was used, and it is stored nowhere.
pub fn inbound_asked_again() {
    metrics::counter!("inbound_asked_again_total").increment(1);
}

/// Clients connected to the hub, and how far it is behind, in entries.
pub fn hub(shard: Shard, clients: usize, position: Position, tail: Position) {
    gauge("hub_clients", shard, "hub").set(f64::from(u32::try_from(clients).unwrap_or(u32::MAX)));
    gauge("hub_lag", shard, "hub").set(distance(position, tail));
}

/// A client was closed because it read too slowly.
pub fn hub_slow_client() {
    metrics::counter!("hub_slow_clients_total").increment(1);
}

/// A request was refused by a limit.
pub fn limits_refused(scope: Scope) {
    metrics::counter!("limits_refused_total", "scope" => scope.as_str()).increment(1);
}

/// A check was made by this node alone, because Redis did not answer.
pub fn limits_fallback() {
    metrics::counter!("limits_fallbacks_total").increment(1);
}

/// A request was let through because the limiter did not answer.
pub fn limits_unchecked() {
    metrics::counter!("limits_unchecked_total").increment(1);
}

/// Counters went before their window's end, for want of room.
pub fn limits_forgotten(counters: u64) {
    metrics::counter!("limits_forgotten_total").increment(counters);
}

/// A backup was taken.
pub fn backup_done(at: Timestamp) {
    metrics::counter!("backups_total", "outcome" => "done").increment(1);
    let seconds = u32::try_from(at.0 / 1000).unwrap_or(u32::MAX);
    metrics::gauge!("backup_last_success_timestamp_seconds").set(f64::from(seconds));
}

/// A backup failed.
pub fn backup_failed() {
    metrics::counter!("backups_total", "outcome" => "failed").increment(1);
}

fn gauge(name: &'static str, shard: Shard, part: &str) -> metrics::Gauge {
    metrics::gauge!(name, "shard" => shard.0.to_string(), "part" => part.to_owned())
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

fn distance(from: Position, to: Position) -> f64 {
    f64::from(u32::try_from(to.0.saturating_sub(from.0).max(0)).unwrap_or(u32::MAX))
}

/// A password was checked.
pub fn password_checked() {
    metrics::counter!("password_checks_total").increment(1);
}

/// Somebody gave a password at the login.
pub fn login(outcome: &'static str) {
    metrics::counter!("logins_total", "outcome" => outcome).increment(1);
}

/// Somebody presented a refresh token.
pub fn refresh(outcome: &'static str) {
    metrics::counter!("login_renewals_total", "outcome" => outcome).increment(1);
}

/// One answered request.
pub fn http_request(method: &str, route: &str, status: u16, took: Duration) {
    metrics::counter!(
        "http_requests_total",
        "route" => route.to_owned(), "method" => method.to_owned(), "status" => status.to_string()
    )
    .increment(1);
    metrics::histogram!("http_request_seconds", "route" => route.to_owned()).record(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_named_in_this_file_has_its_help() {
        let source = include_str!("mod.rs");
        let (_, code) = source.split_once("];\n").unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        let named = ["counter!(", "gauge!(", "histogram!(", "gauge("]
            .iter()
            .flat_map(|call| code.split(call).skip(1));
        let mut seen = 0;
        for after in named {
            let Some(name) = after.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            seen += 1;
            assert!(HELP.iter().any(|(_, known, ..)| *known == name), "{name} has no help");
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn a_counted_request_shows_with_its_help() {
        start_metrics();
        start_metrics();
        http_request("GET", "/livez", 200, Duration::from_millis(2));
        fold();
        let text = rendered();
        assert!(text.contains("# HELP http_requests_total"), "{text}");
        assert!(text.contains("http_request_seconds_bucket"), "{text}");
    }
}
