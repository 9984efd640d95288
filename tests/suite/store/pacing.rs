//! Sends that are paced: what goes, what is held, what is counted, and that all of it is in the tables.

use std::time::Duration;

use recado::domain::command::CommandType;
use recado::domain::ids::{Epoch, Fence, MessageId, SessionId};
use recado::domain::message::MessageState::{Failed, Queued, Sending, Sent};
use recado::domain::pacing::{History, Reason, Refusal, Rules};
use recado::domain::session::SessionState;
use recado::domain::time::{Timestamp, now};
use recado::domain::write::{
    LinkChange, Outcome, Paced, Refused, Release, Sweep, Take, TakePaced, Taken, Write,
};

use super::world::{World, code, later};
use crate::invariants::Open;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn new_chats(most: u32) -> Rules {
    Rules { new_chats_per_day: Some(most), cool_down: HOUR, ..Rules::default() }
}

fn asking(world: &World, session: SessionId, rules: Rules, at: Timestamp) -> TakePaced {
    let take = Take { at, ..world.taking(session, 32) };
    TakePaced { take, rules, holds: false, release: Release::default() }
}

async fn paced(world: &World, take: TakePaced) -> Paced {
    match world.write(Write::TakePaced(take)).await.unwrap() {
        Outcome::Paced(paced) => paced,
        other => panic!("{other:?}"),
    }
}

async fn history(world: &World, session: SessionId) -> History {
    world.store.pacing(world.tenant, session).await.unwrap().unwrap()
}

/// Accepts a message to a person; its id.
async fn to(world: &World, session: SessionId, person: &str) -> MessageId {
    let accept = world.message_to(session, person, "hola");
    world.accept(&accept).await.unwrap();
    accept.message.unwrap().id
}

fn ids(taken: &[Taken]) -> Vec<MessageId> {
    taken.iter().filter_map(|taken| Some(taken.message.as_ref()?.id)).collect()
}

const ANA: &str = "15550200001";
const BEA: &str = "15550200002";
const CAI: &str = "15550200003";

pub async fn a_message_to_a_new_chat_waits_and_holds_no_other_back(world: World) {
    let session = world.session().await;
    world.done(world.inbound(session, vec![world.received(Some(CAI), None, "hi")])).await;
    let ana = to(&world, session, ANA).await;
    let bea = to(&world, session, BEA).await;
    let again = to(&world, session, ANA).await;
    let cai = to(&world, session, CAI).await;
    let group = to(&world, session, "120363000000000001@g.us").await;
    let bea_too = to(&world, session, BEA).await;
    let at = now();
    let first = paced(&world, asking(&world, session, new_chats(1), at)).await;
    assert_eq!(ids(&first.taken), [ana, again, cai, group], "a chat is begun once, a group is none");
    let wait = first.held.unwrap();
    assert_eq!((wait.code, first.holds, first.waits, first.more), (Reason::NewChats, 2, None, false));
    for id in [bea, bea_too] {
        assert_eq!(world.message_view(id).await.state, Queued);
        assert!(world.store.begins_chat(world.tenant, id).await.unwrap());
    }
    assert!(!world.store.begins_chat(world.tenant, cai).await.unwrap());
    assert_eq!(world.message_view(ana).await.state, Sending);
    let counted = history(&world, session).await;
    assert_eq!((counted.sent, counted.new_chats), (4, 1));
}

pub async fn what_is_held_is_looked_at_when_it_is_released(world: World) {
    let session = world.session().await;
    let at = now();
    let ids_of =
        [to(&world, session, ANA).await, to(&world, session, BEA).await, to(&world, session, BEA).await];
    let first = paced(&world, asking(&world, session, new_chats(1), at)).await;
    assert_eq!((ids(&first.taken), first.holds), (ids_of[..1].to_vec(), 2));
    let idle = paced(&world, TakePaced { holds: true, ..asking(&world, session, new_chats(1), at) }).await;
    assert!(idle.taken.is_empty() && idle.held.is_none() && !idle.more);
    let release = Release { oldest: TakePaced::LOOK, chats: Vec::new() };
    let tomorrow = first.held.unwrap().not_before;
    let next = TakePaced { holds: true, release, ..asking(&world, session, new_chats(1), tomorrow) };
    let next = paced(&world, next).await;
    assert_eq!((ids(&next.taken), next.released), (ids_of[1..].to_vec(), 2));
    assert_eq!(history(&world, session).await.new_chats, 1, "a new day");
}

pub async fn a_held_chat_that_answers_goes_on_in_order(world: World) {
    let session = world.session().await;
    let held = to(&world, session, ANA).await;
    let rules = Rules { cool_down: HOUR, ..Rules::default() };
    let refused = Refused { fence: world.fence, session, refusal: Refusal::NewChats, rules, at: now() };
    world.write(Write::Refused(refused)).await.unwrap();
    let first = paced(&world, asking(&world, session, rules, now())).await;
    assert_eq!((first.holds, first.held.unwrap().code), (1, Reason::CoolDown));
    // The chat is known now, under another address too, and more is to be said in it.
    let lid = "777000111@lid";
    world.done(world.inbound(session, vec![world.received(Some(ANA), Some(lid), "who is this?")])).await;
    let later_one = to(&world, session, lid).await;
    let known = to(&world, session, ANA).await;
    let behind = TakePaced { holds: true, ..asking(&world, session, rules, now()) };
    let behind = paced(&world, behind).await;
    assert!(behind.taken.is_empty(), "none of the chat goes before the one that is held");
    assert_eq!((behind.holds, behind.held), (2, None));
    let release = Release { oldest: 0, chats: vec![format!("{ANA}@s.whatsapp.net")] };
    let all = TakePaced { holds: true, release, ..asking(&world, session, rules, now()) };
    assert_eq!(ids(&paced(&world, all).await.taken), [held, later_one, known]);
    world.check(Open::Allowed).await;
}

pub async fn a_spent_rate_leaves_all_queued_and_the_session_in_peace(world: World) {
    let session = world.session().await;
    world.done(Write::Link(world.link(session, SessionState::Connected, "logged_in"))).await;
    let messages = world.accepted(session, 3).await;
    let rules = Rules { per_day: Some(2), ..Rules::default() };
    let first = paced(&world, asking(&world, session, rules, now())).await;
    assert_eq!(first.taken.len(), 2);
    let wait = first.waits.unwrap();
    assert_eq!((wait.code, first.holds, first.more), (Reason::Rate, 0, false));
    assert_eq!(world.message_view(messages[2].id).await.state, Queued);
    let behind = async |at: Timestamp| world.store.sessions_behind(world.fence.shard, at, 10).await.unwrap();
    assert!(behind(later(60_000)).await.is_empty(), "nothing was forgotten");
    assert_eq!(behind(wait.not_before.after(HOUR)).await, [session], "until it may go on");
    // Whoever takes it up, with other rules perhaps, finds all of it.
    world.done(Write::Requeue(world.fence, session)).await;
    assert_eq!(behind(later(60_000)).await, [session]);
    assert_eq!(world.take(session, 10).await.len(), 3);
}

pub async fn a_message_is_counted_once_however_often_it_is_taken(world: World) {
    let session = world.session().await;
    let messages = world.accepted(session, 2).await;
    for _ in 0..3 {
        let taken = paced(&world, asking(&world, session, new_chats(2), now())).await;
        assert_eq!(taken.taken.len(), 2, "what may have reached WhatsApp is sent again");
        world.done(Write::Requeue(world.fence, session)).await;
    }
    let counted = history(&world, session).await;
    assert_eq!((counted.sent, counted.new_chats), (2, 2));
    world.done(world.progress(session, &messages[0].wa_id, &[Sent])).await;
    world.accepted(session, 1).await;
    let taken = paced(&world, asking(&world, session, new_chats(2), now())).await;
    assert_eq!((taken.taken.len(), taken.holds), (1, 1));
    let tomorrow = paced(&world, asking(&world, session, new_chats(2), now().after(DAY))).await;
    assert!(tomorrow.taken.is_empty(), "the held one waits to be released");
}

pub async fn two_paced_takes_of_a_batch_share_one_allowance(world: World) {
    let (one, other) = (world.session().await, world.session().await);
    for session in [one, other] {
        world.accepted(session, 5).await;
    }
    let rules = Rules { per_day: Some(3), ..Rules::default() };
    let mut takes: Vec<_> = [one, one, other].map(|session| asking(&world, session, rules, now())).into();
    takes[0].take.limit = 2;
    let batch: Vec<Write> = takes.into_iter().map(Write::TakePaced).collect();
    let answers = world.store.commit(batch.into()).await.unwrap();
    let counts: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Outcome::Paced(paced) => (paced.taken.len(), paced.more, paced.waits.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [(2, true, false), (1, false, true), (3, false, true)]);
}

pub async fn refusals_are_remembered_and_grow(world: World) {
    let session = world.session().await;
    assert_eq!(history(&world, session).await, History::default());
    let rules = Rules { cool_down: HOUR, ..Rules::default() };
    let at = now();
    let refuse = async |at: Timestamp| {
        let refused = Refused { fence: world.fence, session, refusal: Refusal::NewChats, rules, at };
        match world.write(Write::Refused(refused)).await.unwrap() {
            Outcome::Cooling(until) => until,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refuse(at).await, at.after(2 * HOUR));
    assert_eq!(refuse(at.after(HOUR / 2)).await, at.after(2 * HOUR), "under way when the first one came");
    let second = at.after(HOUR + HOUR / 2);
    assert_eq!(refuse(second).await, second.after(4 * HOUR));
    let told = history(&world, session).await;
    assert_eq!((told.chats.count, told.chats.until), (2, second.after(2 * HOUR)));
    let stale = Fence { epoch: Epoch(world.fence.epoch.0 - 1), ..world.fence };
    let refused = Refused { fence: stale, session, refusal: Refusal::Sends, rules, at };
    assert_eq!(code(&world.write(Write::Refused(refused)).await), "fenced");
    let mut take = asking(&world, session, rules, at);
    take.take.fence = stale;
    assert_eq!(code(&world.write(Write::TakePaced(take)).await), "fenced");
    assert_eq!(history(&world, session).await, told);
}

pub async fn an_account_is_linked_once_however_often_it_logs_in(world: World) {
    let session = world.session().await;
    let linked = async |pn: Option<&str>, at: Timestamp| {
        let pn = pn.map(|pn| pn.parse().unwrap());
        let link = world.link(session, SessionState::Connected, "logged_in");
        world.done(Write::Link(LinkChange { pn, at, ..link })).await;
        history(&world, session).await.linked_at
    };
    let at = now();
    assert_eq!(linked(None, at).await, None);
    assert_eq!(linked(Some(ANA), at).await, Some(at));
    assert_eq!(linked(Some(ANA), at.after(HOUR)).await, Some(at));
    assert_eq!(linked(None, at.after(HOUR)).await, Some(at));
    assert_eq!(linked(Some(BEA), at.after(DAY)).await, Some(at.after(DAY)), "another account begins anew");
}

pub async fn a_held_message_ends_at_its_deadline_and_with_its_session(world: World) {
    let session = world.session().await;
    let mut overdue = world.message_to(session, ANA, "late");
    overdue.message.as_mut().unwrap().deadline = later(-1);
    world.accept(&overdue).await.unwrap();
    let kept = to(&world, session, BEA).await;
    let rules = Rules { cool_down: HOUR, ..Rules::default() };
    let refused = Refused { fence: world.fence, session, refusal: Refusal::NewChats, rules, at: now() };
    world.write(Write::Refused(refused)).await.unwrap();
    assert_eq!(paced(&world, asking(&world, session, rules, now())).await.holds, 2);
    let sweep = Sweep { fence: world.fence, at: now(), keys_before: later(-60_000), limit: 9 };
    assert!(matches!(world.write(Write::Sweep(sweep)).await.unwrap(), Outcome::Swept(1)));
    let failed = world.message_view(overdue.message.unwrap().id).await;
    assert_eq!((failed.state, failed.code.as_deref()), (Failed, Some("deadline_passed")));
    assert!(failed.failure.as_deref().unwrap().contains("held by the pacing"), "{failed:?}");
    assert_eq!(world.view(session).await.queued, 1);
    world.done(Write::DeleteSession(world.fence, session)).await;
    let ended = world.message_view(kept).await;
    assert_eq!((ended.state, ended.code.as_deref()), (Failed, Some("session_deleted")));
    world.check(Open::Refused).await;
}

pub async fn a_message_behind_a_spent_rate_fails_as_held_and_one_without_an_answer_does_not(world: World) {
    let session = world.session().await;
    let mut ids = Vec::new();
    for text in ["goes", "waits"] {
        let mut overdue = world.message_to(session, ANA, text);
        overdue.message.as_mut().unwrap().deadline = later(-1);
        world.accept(&overdue).await.unwrap();
        ids.push(overdue.message.unwrap().id);
    }
    let rules = Rules { per_day: Some(1), ..Rules::default() };
    let first = paced(&world, asking(&world, session, rules, now())).await;
    assert_eq!((first.taken.len(), first.waits.unwrap().code), (1, Reason::Rate));
    let sweep = Sweep { fence: world.fence, at: now(), keys_before: later(-60_000), limit: 9 };
    assert!(matches!(world.write(Write::Sweep(sweep)).await.unwrap(), Outcome::Swept(2)));
    for (id, held) in ids.into_iter().zip([false, true]) {
        let failed = world.message_view(id).await;
        assert_eq!((failed.state, failed.code.as_deref()), (Failed, Some("deadline_passed")));
        let reason = failed.failure.unwrap();
        assert_eq!(reason.contains("held by the pacing"), held, "{reason}");
        assert_eq!(reason.contains("did not acknowledge"), !held, "{reason}");
    }
    world.check(Open::Allowed).await;
}

pub async fn many_held_messages_are_looked_at_in_bounded_steps(world: World) {
    let session = world.session().await;
    let messages = world.accepted(session, TakePaced::LOOK + 10).await;
    world.accept(&world.command(session, CommandType::Reconnect)).await.unwrap();
    let rules = new_chats(3);
    let first = paced(&world, asking(&world, session, rules, now())).await;
    assert_eq!((first.taken.len(), first.holds, first.more), (3, TakePaced::LOOK - 3, true));
    let second = paced(&world, TakePaced { holds: true, ..asking(&world, session, rules, now()) }).await;
    assert_eq!((second.taken.len(), second.holds, second.more), (1, 10, false));
    assert_eq!(second.taken[0].kind, CommandType::Reconnect, "a lifecycle command waits for nothing");
    let release = Release { oldest: 5, chats: Vec::new() };
    let tomorrow = first.held.unwrap().not_before;
    let next = TakePaced { holds: true, release, ..asking(&world, session, rules, tomorrow) };
    let next = paced(&world, next).await;
    assert_eq!((next.released, next.holds), (5, 2));
    assert_eq!(ids(&next.taken), messages[3..6].iter().map(|message| message.id).collect::<Vec<_>>());
}

pub async fn nothing_of_a_tenants_pacing_is_shown_to_another(world: World) {
    let session = world.session().await;
    let id = to(&world, session, ANA).await;
    let stranger = recado::domain::ids::TenantId(uuid::Uuid::now_v7());
    assert!(world.store.pacing(stranger, session).await.unwrap().is_none());
    assert!(!world.store.begins_chat(stranger, id).await.unwrap());
}
