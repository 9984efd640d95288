//! Real processes and real faults: one service on its own, and several nodes on Postgres and Redis.
//!
//! Promises proved here (design, section 1): I1 I2 I3 every event once, in order, without gaps, in the tables, in the streams
//! and on the WebSocket; I4 each effect once at a sink that takes the event's id; I5 every accepted send ends, and the same key
//! gets the same answer; I6 whatever WhatsApp was told "received" is in the store; I7 no write of a node without the lease;
//! I8 no second link of a session; I9 an orderly stop in time.
//!
//! The checker reads the API, the tables, the streams and what the virtual phones saw, and nothing else. Each scenario
//! prints one line of figures with its seed; its number is that of the study's table. `scripts/chaos` runs the full size
//! in release; a plain `cargo test` runs a size that fits a development build. `CHAOS_SEED` repeats a run's choices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::or_fun_call,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "../../benches/rig/mod.rs"]
mod rig;
#[path = "../servers/mod.rs"]
mod servers;

mod bursts;
mod check;
mod cluster;
mod kills;
mod load;
mod net;
mod scenarios;
mod stage;
mod starting;
mod verdict;
mod worker;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Every test wants the machine for itself.
static ALONE: Mutex<()> = Mutex::new(());

/// No test takes longer.
const WHOLE: Duration = Duration::from_secs(40 * 60);

#[test]
fn a_service_killed_under_load_loses_nothing_and_repeats_no_event() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let figures = rig::alone(kills::run(), WHOLE).unwrap();
    println!("{}", figures.line());
    println!("{}", figures.json());
    assert_eq!(figures.broken(), [""; 0], "promises that did not hold");
}

#[test]
fn a_service_killed_while_its_sessions_start_connects_them_all_at_the_next_start() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let figures = rig::alone(starting::run(), WHOLE).unwrap();
    println!("{}", figures.line());
    println!("{}", figures.json());
    assert_eq!(figures.connected, figures.sessions, "connected after the last start: {}", figures.states);
}

fn scenario(run: impl Future<Output = anyhow::Result<verdict::Verdict>>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let verdict = rig::alone(run, WHOLE).unwrap();
    println!("{}", verdict.json());
    assert_eq!(verdict.broken(), [""; 0], "promises that did not hold");
}

#[test]
fn s22_nodes_killed_one_by_one() {
    scenario(scenarios::nodes::killed_one_by_one());
}

#[test]
fn s23_a_node_paused_past_its_lease() {
    scenario(scenarios::nodes::paused_past_the_lease());
}

#[test]
fn s24_redis_killed() {
    scenario(scenarios::redis::killed());
}

#[test]
fn s25_redis_flushed() {
    scenario(scenarios::redis::flushed());
}

#[test]
fn s26_the_end_of_the_redis_log_cut_off() {
    scenario(scenarios::redis::cut_short());
}

#[test]
fn s28_all_nodes_killed_at_once() {
    scenario(scenarios::nodes::killed_all_at_once());
}

#[test]
fn s29_postgres_restarted_and_away() {
    scenario(scenarios::postgres::restarted_and_away());
}

#[test]
fn s38_sigterm_under_load() {
    scenario(scenarios::stops::stopped_under_load());
}

#[test]
fn s39_a_rolling_restart_of_two_nodes() {
    scenario(scenarios::stops::rolled());
}

#[test]
fn s40_one_node_cut_from_redis_then_from_postgres() {
    scenario(scenarios::cuts::one_node_cut_off());
}

#[test]
fn s27_a_redis_replica_promoted() {
    scenario(scenarios::failover::redis_replica_promoted());
}

#[test]
fn s30_a_postgres_standby_that_lacks_the_last_commits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let figures = rig::alone(scenarios::failover::postgres_standby_promoted(), WHOLE).unwrap();
    println!("{}", figures.json());
    assert_eq!(figures.broken(), [""; 0], "promises that did not hold");
}

#[test]
fn s31_consumers_killed_between_effect_and_acknowledgement() {
    scenario(scenarios::consumers::killed_between_effect_and_ack());
}

#[test]
fn s32_what_slow_owners_hold_is_claimed() {
    scenario(scenarios::consumers::claimed_from_the_slow());
}

#[test]
fn takeover_of_many_sessions() {
    scenario(scenarios::nodes::one_of_three_gone());
}

#[test]
fn s46_a_full_disk() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(figures) = rig::alone(scenarios::disk::full(), WHOLE).unwrap() else {
        println!("SKIPPED chaos-46: this machine lets nobody mount a small disk");
        return;
    };
    println!("{}", figures.json());
    assert_eq!(figures.broken(), [""; 0], "promises that did not hold");
}

#[test]
fn s47_back_a_version_and_forward() {
    scenario(scenarios::versions::back_and_forward());
}
