//! How much is logged, and how that is changed while the service runs.
//!
//! Promises: a change holds on this node only, until it is taken back, until its time is up, or until the process ends;
//! a change for a while goes back by itself, within five seconds of its time ([`Dial::tick`]). A process that writes no
//! log has a dial too, which starts at `off`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;

use super::levels::Levels;
use crate::domain::time::{Timestamp, now};

/// What makes a change take effect.
pub(super) type Apply = Box<dyn Fn(&Levels) + Send + Sync>;

/// What is logged, and until when.
#[derive(Clone, Debug)]
pub struct LogLevel {
    /// What holds now.
    pub level: Levels,
    /// What the process started with.
    pub configured: Levels,
    /// When it goes back to that by itself.
    pub until: Option<Timestamp>,
}

struct State {
    apply: Option<Apply>,
    shown: LogLevel,
    ends: Option<Instant>,
}

/// The level of this process.
pub(super) struct Dial(Mutex<State>);

impl Dial {
    pub(super) fn at_rest() -> Self {
        let shown = LogLevel { level: Levels::off(), configured: Levels::off(), until: None };
        Self(Mutex::new(State { apply: None, shown, ends: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log has started with these levels; `apply` changes them.
    pub(super) fn start(&self, levels: Levels, apply: Apply) {
        apply(&levels);
        let shown = LogLevel { level: levels.clone(), configured: levels, until: None };
        *self.state() = State { apply: Some(apply), shown, ends: None };
    }

    /// What is logged now.
    pub(super) fn read(&self) -> LogLevel {
        self.state().shown.clone()
    }

    /// Whether a line passes now.
    pub(super) fn passes(&self, target: &str, level: Level) -> bool {
        self.state().shown.level.passes(target, level)
    }

    /// Logs by these levels, for a while or for good.
    pub(super) fn turn(&self, levels: Levels, lasts: Option<Duration>) -> LogLevel {
        let mut state = self.state();
        state.ends = lasts.map(|lasts| Instant::now() + lasts);
        state.shown.until = lasts.map(|lasts| now().after(lasts));
        state.shown.level = levels;
        if let Some(apply) = &state.apply {
            apply(&state.shown.level);
        }
        state.shown.clone()
    }

    /// Goes back when the time is up; true when it did. To be called now and then.
    pub(super) fn tick(&self) -> bool {
        let configured = {
            let state = self.state();
            let over = state.ends.is_some_and(|ends| ends <= Instant::now());
            over.then(|| state.shown.configured.clone())
        };
        configured.map(|configured| self.turn(configured, None)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn dial() -> (Dial, Arc<Mutex<Vec<String>>>) {
        let (dial, applied) = (Dial::at_rest(), Arc::new(Mutex::new(Vec::new())));
        let seen = applied.clone();
        dial.start(
            "info".parse().unwrap(),
            Box::new(move |levels| seen.lock().unwrap().push(levels.to_string())),
        );
        (dial, applied)
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_for_a_while_goes_back_by_itself_and_not_before() {
        let (dial, applied) = dial();
        let shown = dial.turn("debug".parse().unwrap(), Some(Duration::from_secs(60)));
        assert_eq!((shown.level.to_string(), shown.configured.to_string()), ("debug".into(), "info".into()));
        assert!(shown.until.is_some() && dial.passes("recado", Level::DEBUG));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!dial.tick());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(dial.tick());
        assert!(!dial.tick(), "once");
        let shown = dial.read();
        assert_eq!((shown.level.to_string(), shown.until), ("info".into(), None));
        assert_eq!(*applied.lock().unwrap(), ["info", "debug", "info"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_change_takes_the_earlier_ones_place_with_its_end() {
        let (dial, _) = dial();
        dial.turn("debug".parse().unwrap(), Some(Duration::from_secs(60)));
        dial.turn("trace".parse().unwrap(), None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(!dial.tick());
        assert_eq!(dial.read().level.to_string(), "trace");
    }
}
