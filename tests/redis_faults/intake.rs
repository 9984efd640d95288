//! Orders of programs outside, on a real stream and real tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use recado::actors::intake::{Arguments, Intake, Msg, Terms};
use recado::actors::ledger::Ledgers;
use recado::domain::event::Log;
use recado::domain::ids::{CommandId, SessionId, TenantId};
use recado::domain::now;
use recado::domain::write::{Sweep, Write};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamPendingReply, StreamRangeReply};
use serde_json::{Value, json};

use crate::rig::{Node, Rig, SOON, eventually, outsider};
use crate::servers::redis::{Keeps, Redis, open};

const DEADLINE: Duration = Duration::from_secs(3600);

async fn start(
    rig: &Rig,
    ledgers: &Ledgers,
    queue_limit: i64,
) -> (ActorRef<Msg>, tokio::task::JoinHandle<()>) {
    let args = Arguments {
        intake: Arc::new(open(&rig.redis.url(), rig.settings.clone())),
        ledgers: ledgers.clone(),
        terms: Terms { shards: 1, message_deadline: DEADLINE, queue_limit },
        claim: Duration::from_secs(1),
    };
    Actor::spawn(None, Intake, args).await.unwrap()
}

fn order(session: SessionId, text: &str) -> Value {
    json!({
        "commandId": CommandId::new(), "type": "session.sendMessage", "sessionId": session,
        "tenantId": TenantId::DEFAULT, "occurredAt": now(),
        "payload": { "to": "15550100199", "content": { "type": "text", "text": text } },
    })
}

async fn add(rig: &Rig, outsider: &mut MultiplexedConnection, fields: &[(&str, String)]) {
    let mut command = redis::cmd("XADD");
    command.arg(format!("{}session-commands", rig.settings.prefix)).arg("*");
    for (name, value) in fields {
        command.arg(name).arg(value);
    }
    let _place: String = command.query_async(outsider).await.unwrap();
}

async fn whole(rig: &Rig, outsider: &mut MultiplexedConnection, order: &Value) {
    add(rig, outsider, &[("payload", order.to_string())]).await;
}

/// The commands accepted, by session, in order.
async fn accepted(rig: &Rig) -> HashMap<String, Vec<String>> {
    let mut accepted: HashMap<String, Vec<String>> = HashMap::new();
    for entry in rig.stored(Log::SessionCommands).await {
        let id = entry.event.data.value()["commandId"].as_str().unwrap().to_owned();
        accepted.entry(entry.event.subject().0.to_string()).or_default().push(id);
    }
    accepted
}

async fn left(rig: &Rig, outsider: &mut MultiplexedConnection) -> (usize, usize) {
    let key = format!("{}session-commands", rig.settings.prefix);
    let length: usize = redis::cmd("XLEN").arg(&key).query_async(outsider).await.unwrap();
    let pending: StreamPendingReply =
        redis::cmd("XPENDING").arg(&key).arg("recado").query_async(outsider).await.unwrap();
    (length, pending.count())
}

async fn all_answered(rig: &Rig, outsider: &mut MultiplexedConnection) {
    eventually("every order is answered", async || left(rig, outsider).await == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_orders_are_commands_once_and_bad_ones_are_shown_with_their_reason() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 5).await;
    rig.shard().await;
    let mut outsider = outsider(&rig.redis.url()).await;
    let mut wanted: HashMap<String, Vec<String>> = HashMap::new();
    let id = |order: &Value| order["commandId"].as_str().unwrap().to_owned();
    for n in 0..60 {
        if n == 30 {
            // The first half waited for the first start.
            start(&rig, &rig.node.ledgers, i64::MAX).await;
        }
        let session = rig.sessions[n % 5];
        let order = order(session, "hola");
        wanted.entry(session.to_string()).or_default().push(id(&order));
        if n % 2 == 0 {
            whole(&rig, &mut outsider, &order).await;
            whole(&rig, &mut outsider, &order).await;
        } else {
            let text = |name: &str| order[name].as_str().unwrap().to_owned();
            let names = ["commandId", "type", "sessionId", "tenantId"];
            let mut fields: Vec<_> = names.iter().map(|name| (*name, text(name))).collect();
            fields.push(("payload", order["payload"].to_string()));
            add(&rig, &mut outsider, &fields).await;
        }
    }
    let mut bad = vec![order(SessionId::new(), "whose?"), order(rig.sessions[0], "")];
    let mut foreign = order(rig.sessions[0], "not mine");
    foreign["tenantId"] = json!(TenantId::new());
    let mut unknown = order(rig.sessions[0], "what?");
    unknown["type"] = json!("session.fly");
    bad.extend([foreign, unknown]);
    for order in &bad {
        whole(&rig, &mut outsider, order).await;
    }
    add(&rig, &mut outsider, &[("hola", "mundo".into())]).await;
    all_answered(&rig, &mut outsider).await;
    rig.settled().await;
    assert_eq!(accepted(&rig).await, wanted);
    let key = format!("{}session-commands-dlq", rig.settings.prefix);
    let refused: StreamRangeReply =
        redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query_async(&mut outsider).await.unwrap();
    let mut codes: Vec<String> = refused.ids.iter().map(|id| id.get("code").unwrap()).collect();
    codes.sort();
    println!("90 orders, 60 commands, refused: {codes:?}");
    assert_eq!(
        codes,
        ["invalid_order", "invalid_text", "session_not_found", "session_not_found", "unknown_command"]
    );
    assert!(refused.ids.iter().all(|id| id.get::<String>("error").is_some_and(|text| !text.is_empty())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_ledger_orders_wait_and_then_come_in_order() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 3).await;
    rig.shard().await;
    let mut outsider = outsider(&rig.redis.url()).await;
    let late = Node { relays: rig.node.relays.clone(), ..Node::new() };
    start(&rig, &late.ledgers, i64::MAX).await;
    let mut wanted: HashMap<String, Vec<String>> = HashMap::new();
    // More than are held at once.
    for n in 0..600 {
        let session = rig.sessions[n % 3];
        let order = order(session, "hola");
        wanted.entry(session.to_string()).or_default().push(order["commandId"].as_str().unwrap().to_owned());
        whole(&rig, &mut outsider, &order).await;
    }
    eventually("some are held", async || left(&rig, &mut outsider).await.1 >= 256).await;
    let (length, pending) = left(&rig, &mut outsider).await;
    assert_eq!(length, 600, "something was answered without a ledger");
    assert!(pending < 400, "{pending} are held");
    assert!(accepted(&rig).await.is_empty());
    late.start_ledger(&rig.store).await;
    all_answered(&rig, &mut outsider).await;
    rig.settled().await;
    assert_eq!(accepted(&rig).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_session_waits_for_room_and_holds_up_no_other() {
    let rig = Rig::new(Redis::start(Keeps::Nothing), 2).await;
    let fence = rig.take().await;
    rig.relay(fence, &rig.node, Duration::from_millis(500)).await;
    let mut outsider = outsider(&rig.redis.url()).await;
    start(&rig, &rig.node.ledgers, 5).await;
    let (full, other) = (rig.sessions[0], rig.sessions[1]);
    let mut wanted = Vec::new();
    for _ in 0..12 {
        let order = order(full, "hola");
        wanted.push(order["commandId"].as_str().unwrap().to_owned());
        whole(&rig, &mut outsider, &order).await;
    }
    for _ in 0..5 {
        whole(&rig, &mut outsider, &order(other, "hola")).await;
    }
    let count = async |session: SessionId| {
        accepted(&rig).await.get(&session.to_string()).map(Vec::len).unwrap_or_default()
    };
    eventually("the other's are accepted", async || count(other).await == 5).await;
    eventually("the full one's are, as far as there is room", async || count(full).await == 5).await;
    assert_eq!(left(&rig, &mut outsider).await.0, 7);
    // Room comes when messages end: here, because their deadline is over.
    eventually("all are accepted in the end", async || {
        let at = now().after(DEADLINE * 2);
        let sweep = Sweep { fence, at, keys_before: now(), limit: 1000 };
        rig.node.ledgers.write(Write::Sweep(sweep)).await.unwrap();
        count(full).await == 12
    })
    .await;
    all_answered(&rig, &mut outsider).await;
    assert_eq!(accepted(&rig).await[&full.to_string()], wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_intakes_and_a_killed_redis_lose_and_repeat_nothing() {
    let rig = Rig::new(Redis::start(Keeps::Log), 4).await;
    rig.shard().await;
    let mut connection = outsider(&rig.redis.url()).await;
    let mut wanted: HashMap<String, Vec<String>> = HashMap::new();
    for round in 0..6_usize {
        for n in 0..40 {
            let session = rig.sessions[n % 4];
            let order = order(session, "hola");
            wanted
                .entry(session.to_string())
                .or_default()
                .push(order["commandId"].as_str().unwrap().to_owned());
            whole(&rig, &mut connection, &order).await;
        }
        let (actor, end) = start(&rig, &rig.node.ledgers, i64::MAX).await;
        let total = async || accepted(&rig).await.values().map(Vec::len).sum::<usize>();
        eventually("some are accepted", async || total().await > round * 40).await;
        actor.kill();
        tokio::time::timeout(SOON, end).await.unwrap().unwrap();
        if round % 2 == 1 {
            rig.redis.restart();
            connection = outsider(&rig.redis.url()).await;
        }
    }
    start(&rig, &rig.node.ledgers, i64::MAX).await;
    all_answered(&rig, &mut connection).await;
    rig.settled().await;
    assert_eq!(accepted(&rig).await, wanted);
}
