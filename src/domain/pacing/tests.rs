//! The rules against a brute force, and by example.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// The beginning of a day.
const START: i64 = 20_000 * DAY;

fn at(millis: i64) -> Timestamp {
    Timestamp(START + millis)
}

fn limited() -> Rules {
    Rules {
        per_minute: Some(20),
        per_day: Some(200),
        new_chats_per_day: Some(20),
        warm_up_days: 10,
        cool_down: Duration::from_secs(3600),
    }
}

/// The state of things after these sends, each as soon as it may go: when they went.
fn sends(rules: &Rules, history: &mut History, count: usize, begins: bool, from: Timestamp) -> Vec<i64> {
    let mut now = from;
    let mut went = Vec::new();
    for _ in 0..count {
        while let Some(wait) = rules.before(history, begins, now) {
            assert!(wait.not_before > now, "a wait that is over");
            now = wait.not_before;
        }
        history.note_sent(rules, begins, now);
        went.push(now.0);
    }
    went
}

proptest! {
    #[test]
    fn no_minute_and_no_day_holds_more_than_it_may(
        per_minute in 1_u32..400,
        per_day in 1_u32..3_000,
        gaps in prop::collection::vec(0_i64..5_000, 1..600),
    ) {
        let rules = Rules { per_minute: Some(per_minute), per_day: Some(per_day), ..Rules::default() };
        let (mut history, mut now, mut went) = (History::default(), at(0), Vec::new());
        for gap in gaps {
            now = Timestamp(now.0 + gap);
            match rules.before_any(&history, now) {
                Some(wait) => prop_assert!(wait.not_before > now),
                None => {
                    history.note_sent(&rules, false, now);
                    went.push(now.0);
                }
            }
        }
        for (n, first) in went.iter().enumerate() {
            let within = |span: i64| went[n..].iter().take_while(|sent| **sent < first + span).count();
            prop_assert!(within(60_000) <= per_minute as usize);
        }
        prop_assert!(went.len() <= per_day as usize);
    }

    #[test]
    fn an_even_stream_is_hardly_slowed(per_minute in 1_u32..600) {
        let rules = Rules { per_minute: Some(per_minute), ..Rules::default() };
        let count = per_minute as usize * 10;
        let went = sends(&rules, &mut History::default(), count, false, at(0));
        let minutes = (went[count - 1] - went[0]) as f64 / 60_000.0;
        prop_assert!(minutes <= 10.0 / 0.9 + 0.1, "{minutes} minutes for ten minutes' worth");
    }

    #[test]
    fn waiting_alone_never_moves_the_moment(
        sent in 0_i64..300, begun in 0_i64..40, rate in -60_000_i64..60_000, until in -HOUR..2 * HOUR,
        count in 0_i64..10, begins: bool, moment in 0_i64..DAY, steps in prop::collection::vec(0_i64..HOUR, 1..20),
    ) {
        let rules = limited();
        let now = at(moment);
        let refusals = Refusals { count, until: Timestamp(now.0 + until) };
        let history = History {
            linked_at: Some(at(-3 * DAY)), day: 20_000, sent, new_chats: begun,
            rate_at: Timestamp(now.0 + rate), new_chat_at: now, chats: refusals, sends: refusals,
        };
        let Some(wait) = rules.before(&history, begins, now) else { return Ok(()) };
        let mut later = now;
        for step in steps {
            later = Timestamp(later.0 + step);
            match rules.before(&history, begins, later) {
                Some(again) => prop_assert!(later < wait.not_before && again.not_before <= wait.not_before),
                None => prop_assert!(later >= wait.not_before, "told {wait:?}, free at {later}"),
            }
        }
        let far = Timestamp(now.0 + 3 * DAY);
        prop_assert_eq!(rules.before(&history, begins, far), None, "nothing waits for ever");
    }

    #[test]
    fn an_allowance_grows_by_day_up_to_the_full_one(full in 1_u32..100_000, days in 1_u32..60) {
        let rules = Rules { per_day: Some(full), warm_up_days: days, ..Rules::default() };
        let history = History { linked_at: Some(at(HOUR)), ..History::default() };
        let of = |day: u32| rules.allowance(full, &history, at(i64::from(day) * DAY + 2 * HOUR));
        prop_assert_eq!(of(0), (full / 10).max(1));
        for day in 1..=days {
            prop_assert!(of(day) >= of(day - 1));
        }
        prop_assert_eq!(of(days), full);
        prop_assert_eq!(of(days + 1000), full);
    }

    #[test]
    fn cool_downs_double_up_to_a_day_and_end(count in 1_i64..i64::MAX) {
        let rules = limited();
        for refusal in [Refusal::NewChats, Refusal::Sends] {
            let (one, next) = (rules.cool_down(refusal, count), rules.cool_down(refusal, count.saturating_add(1)));
            prop_assert!(one <= next && next <= Duration::from_secs(24 * 3600));
        }
        let mut history = History { chats: Refusals { count, until: at(0) }, ..History::default() };
        let peace = history.forgets_at(&rules);
        history.note_refused(&rules, Refusal::NewChats, peace);
        prop_assert_eq!(history.chats.count, 1, "what is long past counts no more");
    }
}

#[test]
fn nothing_is_limited_unless_it_is_configured() {
    let rules = Rules::default();
    assert!(!rules.limits());
    let mut history = History::default();
    for _ in 0..10_000 {
        assert_eq!(rules.before(&history, true, at(0)), None);
        history.note_sent(&rules, true, at(0));
    }
    history.note_refused(&rules, Refusal::NewChats, at(0));
    assert_eq!(rules.before(&history, true, at(0)), None, "without a cool-down nothing cools");
}

#[test]
fn a_fresh_account_gets_a_tenth_and_is_told_why_the_rest_waits() {
    let rules = Rules { per_minute: None, ..limited() };
    let mut history = History { linked_at: Some(at(5 * HOUR)), ..History::default() };
    for _ in 0..20 {
        assert_eq!(rules.before(&history, false, at(6 * HOUR)), None);
        history.note_sent(&rules, false, at(6 * HOUR));
    }
    let wait = rules.before(&history, false, at(6 * HOUR)).unwrap();
    assert_eq!((wait.code, wait.not_before), (Reason::WarmUp, at(DAY)));
    assert_eq!(rules.before(&history, false, at(DAY)), None);
    assert_eq!(rules.allowance(200, &history, at(DAY)), 38);
    let view = PacingView::of(&rules, &history, at(7 * HOUR));
    assert_eq!(view.messages, Allowance { used: 20, limit: Some(20), left: Some(0) });
    assert_eq!((view.warm_up, view.waits), (Some(WarmUp { day: 0, days: 10 }), Some(wait)));
    let warm = at(10 * DAY);
    assert_eq!(PacingView::of(&rules, &history, warm).messages.limit, Some(200));
    assert_eq!(PacingView::of(&rules, &history, warm).warm_up, None);
}

#[test]
fn chats_that_are_begun_have_a_quota_of_their_own() {
    let rules = Rules { new_chats_per_day: Some(2), ..Rules::default() };
    let mut history = History::default();
    sends(&rules, &mut history, 2, true, at(HOUR));
    let wait = rules.before(&history, true, at(HOUR)).unwrap();
    assert_eq!((wait.code, wait.not_before), (Reason::NewChats, at(DAY)));
    assert_eq!(rules.before(&history, false, at(HOUR)), None, "known chats go on");
    assert_eq!(rules.before(&history, true, at(DAY)), None);
}

#[test]
fn a_day_that_is_full_is_told_as_a_rate() {
    let rules = Rules { per_day: Some(3), ..Rules::default() };
    let mut history = History::default();
    sends(&rules, &mut history, 3, false, at(0));
    assert_eq!(rules.before(&history, false, at(HOUR)).unwrap().code, Reason::Rate);
    // A clock that is behind by a day goes on with the day it finds.
    let behind = at(-HOUR);
    assert_eq!(rules.before(&history, false, behind).unwrap().not_before, at(DAY));
}

#[test]
fn after_463_new_chats_wait_and_known_ones_go_on() {
    let rules = Rules { cool_down: Duration::from_secs(3600), ..Rules::default() };
    let mut history = History::default();
    history.note_refused(&rules, Refusal::of(463).unwrap(), at(0));
    history.note_refused(&rules, Refusal::NewChats, at(HOUR / 2));
    assert_eq!(
        history.chats,
        Refusals { count: 1, until: at(HOUR) },
        "what was under way makes it no longer"
    );
    let wait = rules.before(&history, true, at(1)).unwrap();
    assert_eq!((wait.code, wait.not_before), (Reason::CoolDown, at(HOUR)));
    assert_eq!(rules.before(&history, false, at(1)), None);
    // Then one by one, a minute apart, until it is forgotten.
    let went = sends(&rules, &mut history, 3, true, at(HOUR));
    assert_eq!(went.iter().map(|sent| sent - at(HOUR).0).collect::<Vec<_>>(), [0, 60_000, 120_000]);
    let mut again = history;
    again.note_refused(&rules, Refusal::NewChats, at(HOUR + 200_000));
    assert_eq!(again.chats, Refusals { count: 2, until: at(3 * HOUR + 200_000) }, "twice as long");
    assert_eq!(history.forgets_at(&rules), at(2 * HOUR));
    assert_eq!(rules.before(&history, true, at(2 * HOUR)), None);
}

#[test]
fn after_429_everything_waits_but_not_for_long_and_only_where_sends_are_limited() {
    let unlimited = Rules { cool_down: Duration::from_secs(3600), ..Rules::default() };
    let mut history = History::default();
    history.note_refused(&unlimited, Refusal::Sends, at(0));
    assert_eq!(history, History::default());
    let rules = Rules { per_day: Some(200), ..unlimited };
    history.note_refused(&rules, Refusal::of(429).unwrap(), at(0));
    let wait = rules.before(&history, false, at(1)).unwrap();
    assert_eq!((wait.code, wait.not_before), (Reason::CoolDown, at(60_000)));
    assert_eq!(rules.before(&history, true, at(60_000)), None);
    assert_eq!(unlimited.before(&history, true, at(1)), None, "the limit was taken away");
    assert_eq!(history.forgets_at(&unlimited), Timestamp::default());
    assert!([400, 404, 479, 503].into_iter().all(|code| Refusal::of(code).is_none()));
}

#[test]
fn a_clock_that_jumped_does_not_stop_a_session_for_long() {
    let rules = Rules { per_minute: Some(6), ..Rules::default() };
    let mut history = History::default();
    sends(&rules, &mut history, 1, false, at(5 * HOUR));
    let wait = rules.before(&history, false, at(0)).unwrap();
    assert!(wait.not_before <= at(2 * 60_000), "{wait:?}");
}

#[test]
fn every_reason_is_shown_as_it_is_documented() {
    for reason in [Reason::WarmUp, Reason::NewChats, Reason::Rate, Reason::CoolDown] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
    assert!(refused(463).contains("463") && refused(479).contains("479"));
}
