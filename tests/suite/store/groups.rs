//! Consumer groups and dead letters.

use recado::domain::Kind;
use recado::domain::event::{Event, Log};
use recado::domain::ids::{DeadLetterId, Position};
use recado::domain::time::now;
use recado::domain::view::{DeadLetterView, DeliveryState, GroupState, PageRequest};
use recado::domain::write::{DeliveryFailed, Handled, Outcome, Redrive, Write};
use serde_json::json;

use super::world::{World, code, key, later, page};

const GROUP: &str = "webhooks";

async fn group(world: &World) -> GroupState {
    world.store.group(world.fence.shard, Log::DomainEvents, GROUP).await.unwrap()
}

fn handled(world: &World, cursor: i64, above: &[&Event]) -> Write {
    let above = above.iter().map(|event| (event.position, event.event_id)).collect();
    let (fence, group) = (world.fence, GROUP.to_owned());
    Write::Handled(Handled { fence, group, log: Log::DomainEvents, cursor: Position(cursor), above })
}

fn failed(world: &World, event: &Event, attempts: u32) -> DeliveryFailed {
    DeliveryFailed {
        fence: world.fence,
        group: GROUP.to_owned(),
        log: Log::DomainEvents,
        position: event.position,
        event: event.event_id,
        attempts,
        error: format!("attempt {attempts}"),
        at: now(),
        next_at: later(1_000),
        dead_letter: None,
    }
}

async fn events(world: &World, count: usize) -> Vec<Event> {
    let session = world.session().await;
    world.accepted(session, count).await;
    world.events(session, Log::DomainEvents).await
}

async fn letters(world: &World, state: Option<&str>) -> Vec<DeadLetterView> {
    world.store.dead_letters(world.tenant, state, page(100)).await.unwrap().items
}

fn redrive(world: &World, id: DeadLetterId) -> Redrive {
    let response = json!({"deadLetterId": id});
    Redrive { tenant: world.tenant, id, response, idempotency: None, at: now(), audit: None }
}

pub async fn a_cursor_never_moves_back_and_passes_its_inbox(world: World) {
    let events = events(&world, 10).await;
    world.done(handled(&world, 2, &[&events[4], &events[6]])).await;
    world.done(handled(&world, 1, &[&events[0], &events[7], &events[6]])).await;
    let state = group(&world).await;
    assert_eq!(state.cursor, Position(2));
    assert_eq!(state.inbox, [Position(5), Position(7), Position(8)]);
    world.done(handled(&world, 7, &[])).await;
    assert_eq!(
        group(&world).await,
        GroupState { cursor: Position(7), inbox: vec![Position(8)], waiting: vec![] }
    );
}

pub async fn a_failed_delivery_is_remembered_until_handled(world: World) {
    let events = events(&world, 5).await;
    for attempts in 1..=2 {
        world.done(Write::DeliveryFailed(failed(&world, &events[2], attempts))).await;
    }
    world.done(Write::DeliveryFailed(failed(&world, &events[3], 1))).await;
    let waiting = group(&world).await.waiting;
    assert_eq!(
        waiting.iter().map(|delivery| (delivery.position.0, delivery.attempts)).collect::<Vec<_>>(),
        [(3, 2), (4, 1)]
    );
    let DeliveryState { event, next_at, .. } = waiting[0];
    assert_eq!(event, events[2].event_id);
    assert!(next_at > now());
    world.done(handled(&world, 1, &[&events[3]])).await;
    assert_eq!(group(&world).await.waiting.len(), 1, "handled above the cursor");
    world.done(handled(&world, 4, &[])).await;
    assert!(group(&world).await.waiting.is_empty());
}

pub async fn burying_twice_is_one_dead_letter_with_the_whole_event(world: World) {
    let events = events(&world, 3).await;
    world.done(Write::DeliveryFailed(failed(&world, &events[2], 1))).await;
    for _ in 0..2 {
        world.done(Write::Bury(failed(&world, &events[2], 8))).await;
    }
    let letters = letters(&world, None).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].event, events[2]);
    let letter = &letters[0];
    assert_eq!((letter.state.as_str(), letter.attempts, letter.error.as_str()), ("buried", 8, "attempt 8"));
    let state = group(&world).await;
    assert_eq!((state.inbox, state.waiting), (vec![Position(3)], vec![]), "given up on is handled");
}

pub async fn only_the_event_at_the_position_is_buried(world: World) {
    let events = events(&world, 3).await;
    let mut wrong = failed(&world, &events[2], 1);
    wrong.position = Position(2);
    assert_eq!(code(&world.write(Write::Bury(wrong)).await), "event_not_found");
    assert!(letters(&world, None).await.is_empty());
    assert_eq!(group(&world).await, GroupState::default());
}

pub async fn a_dead_letter_is_redriven_and_resolved(world: World) {
    let events = events(&world, 3).await;
    world.done(Write::Bury(failed(&world, &events[1], 8))).await;
    let id = letters(&world, Some("buried")).await[0].dead_letter_id;
    let waiting =
        async || world.store.redriving(world.fence.shard, Log::DomainEvents, GROUP, 10).await.unwrap();
    assert!(waiting().await.is_empty());
    world.done(Write::Redriven(world.fence, id)).await;
    assert_eq!(letters(&world, Some("buried")).await.len(), 1, "only what is redriven can be resolved");
    for _ in 0..2 {
        world.write(Write::Redrive(redrive(&world, id))).await.unwrap();
    }
    let redriving = waiting().await;
    assert_eq!((redriving.len(), redriving[0].id, &redriving[0].event), (1, id, &events[1]));
    world.done(Write::Redriven(world.fence, id)).await;
    assert!(waiting().await.is_empty());
    assert_eq!(letters(&world, Some("resolved")).await.len(), 1);
    let refusal = world.write(Write::Redrive(redrive(&world, id))).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (Kind::Conflict, "dead_letter_resolved"));
    let unknown = redrive(&world, DeadLetterId::new());
    assert_eq!(code(&world.write(Write::Redrive(unknown)).await), "dead_letter_not_found");
}

pub async fn a_redriven_letter_that_fails_again_is_buried_again(world: World) {
    let events = events(&world, 1).await;
    world.done(Write::Bury(failed(&world, &events[1], 8))).await;
    let id = letters(&world, None).await[0].dead_letter_id;
    world.write(Write::Redrive(redrive(&world, id))).await.unwrap();
    let again = |attempts| DeliveryFailed { dead_letter: Some(id), ..failed(&world, &events[1], attempts) };
    world.done(Write::DeliveryFailed(again(9))).await;
    assert_eq!(letters(&world, Some("redriving")).await[0].attempts, 9);
    world.done(Write::Bury(again(10))).await;
    let letter = letters(&world, None).await;
    assert_eq!(letter.len(), 1);
    assert_eq!((letter[0].state.as_str(), letter[0].attempts), ("buried", 10));
    assert!(group(&world).await.waiting.is_empty(), "a redriven letter is no delivery of the log");
}

pub async fn a_redrive_with_a_key_is_answered_once(world: World) {
    let events = events(&world, 1).await;
    world.done(Write::Bury(failed(&world, &events[1], 8))).await;
    let id = letters(&world, None).await[0].dead_letter_id;
    let wanted = Redrive { idempotency: key("again", 1), ..redrive(&world, id) };
    for expected in [false, true] {
        let Outcome::Accepted { replayed, .. } = world.write(Write::Redrive(wanted.clone())).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(replayed, expected);
    }
}

pub async fn dead_letters_page_newest_first(world: World) {
    let events = events(&world, 6).await;
    for event in &events {
        world.done(Write::Bury(failed(&world, event, 1))).await;
    }
    let mut at = PageRequest { cursor: None, limit: 3 };
    let mut seen = Vec::new();
    loop {
        let page = world.store.dead_letters(world.tenant, Some("buried"), at.clone()).await.unwrap();
        seen.extend(page.items.into_iter().map(|letter| letter.event.position.0));
        at.cursor = page.next_cursor;
        if at.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
}
