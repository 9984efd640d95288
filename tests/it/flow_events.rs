//! Clients and consumers of events: reconnects, slow readers, poison.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use recado::actors::handler::{Delivery, Failure, Handler};
use recado::actors::tree::Group;
use recado::domain::event::Log;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::app::{SOON, TestApp};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn follow(app: &TestApp, after: i64) -> Socket {
    let url = format!("{}/ws/sessions?after={after}", app.base.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", app.key).parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// The next event; greetings and pings are passed over. `None` when the server closed.
async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        match timeout(SOON, socket.next()).await.expect("an event in time")?.ok()? {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                if event["position"].is_i64() {
                    return Some(event);
                }
            }
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
        }
    }
}

/// Accepts `count` texts for a session that is never started: each is one event.
async fn queue(app: &TestApp, session: &str, count: usize) {
    for i in 0..count {
        let body = json!({"to": "15550100199", "content": {"type": "text", "text": format!("t{i}")}});
        let answer = app.call("POST", &format!("/sessions/{session}/messages"), Some(body)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drops_fifty_times_and_resumes_misses_nothing_and_sees_nothing_twice() {
    let mut app = TestApp::start().await;
    app.unfinished = true;
    let session = app.create(false).await;
    let app = &app;
    let (_, positions) = tokio::join!(queue(app, &session, 250), async {
        let mut positions = Vec::new();
        let mut after = 0;
        while positions.len() < 251 {
            let mut socket = follow(app, after).await;
            for _ in 0..5 {
                if positions.len() == 251 {
                    break;
                }
                let event = next(&mut socket).await.expect("an open socket");
                after = event["position"].as_i64().unwrap();
                positions.push(after);
            }
        }
        positions
    });
    let wanted: Vec<i64> = (1..=251).collect();
    assert_eq!(positions, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_what_a_client_sees_without_losing_its_place() {
    let mut app = TestApp::start().await;
    app.unfinished = true;
    let (one, two) = (app.create(false).await, app.create(false).await);
    queue(&app, &one, 3).await;
    queue(&app, &two, 3).await;
    let of_two = app
        .until("three events", async || {
            let events = app.events(&format!("&sessionId={two}&type=message.queued")).await;
            (events.len() >= 3).then_some(events)
        })
        .await;
    assert_eq!(of_two.len(), 3);
    assert!(of_two.iter().all(|event| event["sessionId"] == json!(two)));
}

/// Fails for the poisoned session until it is cured, by a panic; counts the rest.
struct Poison {
    session: std::sync::Mutex<Option<String>>,
    cured: AtomicBool,
    handled: tokio::sync::watch::Sender<u64>,
}

#[async_trait]
impl Handler for Poison {
    async fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        let poisoned =
            self.session.lock().unwrap().as_deref() == Some(delivery.subject.0.to_string().as_str());
        assert!(!poisoned || self.cured.load(Ordering::SeqCst), "poison");
        self.handled.send_modify(|n| *n += delivery.entries.len() as u64);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_buried_while_others_go_on_and_can_be_redriven() {
    let poison = Arc::new(Poison {
        session: std::sync::Mutex::default(),
        cured: AtomicBool::new(false),
        handled: tokio::sync::watch::channel(0).0,
    });
    let group = Group { name: "poisoned".into(), log: Log::DomainEvents, handler: poison.clone() };
    let mut app = TestApp::with(vec![group]).await;
    app.unfinished = true;
    let (bad, good) = (app.create(false).await, app.create(false).await);
    let mut handled = poison.handled.subscribe();
    timeout(SOON, handled.wait_for(|n| *n == 2)).await.unwrap().unwrap();
    *poison.session.lock().unwrap() = Some(bad.clone());
    queue(&app, &bad, 1).await;
    queue(&app, &good, 50).await;
    timeout(Duration::from_secs(20), handled.wait_for(|n| *n == 52))
        .await
        .expect("the other session goes on")
        .unwrap();
    let letter = app
        .until("the dead letter", async || {
            let page = app.get("/dead-letters").await;
            page["items"].as_array().unwrap().first().cloned()
        })
        .await;
    assert_eq!((letter["group"].as_str(), letter["attempts"].as_u64()), (Some("poisoned"), Some(5)));
    assert_eq!(letter["event"]["sessionId"], json!(bad));
    poison.cured.store(true, Ordering::SeqCst);
    let id = letter["deadLetterId"].as_str().unwrap();
    let answer = app.call("POST", &format!("/dead-letters/{id}/redrive"), None).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    timeout(SOON, handled.wait_for(|n| *n == 53)).await.unwrap().unwrap();
    app.until("resolved", async || {
        let page = app.get("/dead-letters").await;
        (page["items"][0]["state"] == "resolved").then_some(())
    })
    .await;
}
