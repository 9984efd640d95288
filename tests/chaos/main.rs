//! Kills with `kill -9`: the whole service under load, and while its sessions start.
//!
//! Promises proved here (design, section 1): I1 I2 I3 every event once, in order, without gaps; I5 every accepted send
//! ends, and the same key gets the same answer; I6 whatever WhatsApp was told "received" is in the store.
//!
//! `scripts/chaos` runs the full size in release; a plain `cargo test` runs a size that fits a development build.
//! `CHAOS_SEED` repeats a run's choices; every run prints its own.

#[path = "../../benches/rig/mod.rs"]
mod rig;

mod bursts;
mod check;
mod kills;
mod load;
mod starting;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Both tests want the machine for themselves.
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
