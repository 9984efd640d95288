//! Admin over HTTP, on the port of the WebSocket. PROMISES: every answer is JSON; an error is `{code, detail}` with a
//! stable code; bodies are bounded.

mod accounts;
mod faults;
mod linking;
mod reply;

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post};

use crate::link;
use crate::noise::identity::hex;
use crate::ops::views;
use crate::world::World;
use reply::{Answer, NotFound};

/// Bytes of a request body.
const BODY: usize = 256 * 1024;

/// What handlers share.
pub(crate) type Shared = State<Arc<World>>;

/// Everything a sandbox serves.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/ws/chat", get(chat))
        .route("/admin/identity", get(identity))
        .route("/admin/stats", get(stats))
        .route("/admin/mock-phone/scan-qr", post(linking::scan_qr))
        .route("/admin/mock-phone/enter-code", post(linking::enter_code))
        .route("/admin/accounts", get(accounts::list))
        .route("/admin/accounts/{phone}", get(accounts::show))
        .route("/admin/accounts/{phone}/inbox", get(accounts::inbox))
        .route("/admin/accounts/{phone}/receipted", get(accounts::receipted))
        .route("/admin/accounts/{phone}/send", post(accounts::send))
        .route("/admin/accounts/{phone}/read", post(accounts::read))
        .route("/admin/accounts/{phone}/auto-read", post(accounts::auto_read))
        .route("/admin/accounts/{phone}/typing", post(accounts::typing))
        .route("/admin/accounts/{phone}/presence", post(accounts::presence))
        .route("/admin/accounts/{phone}/history", post(accounts::history))
        .route("/admin/accounts/{phone}/unlink", post(linking::unlink))
        .route("/admin/faults", post(faults::add).get(faults::list).delete(faults::clear))
        .fallback(|| async { NotFound })
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(world)
}

async fn chat(State(world): Shared, upgrade: WebSocketUpgrade) -> Response {
    let limit = world.config.limits.frame_bytes;
    upgrade.max_message_size(limit).max_frame_size(limit).on_upgrade(move |socket| async move {
        // Under the sandbox's own tasks, so that `stop` waits for it.
        let tasks = world.tasks.clone();
        tasks.spawn(link::serve(world, socket));
    })
}

async fn identity(State(world): Shared) -> Answer {
    Answer::of(&serde_json::json!({
        "staticKey": hex(world.identity.static_public()),
        "rootKey": hex(world.identity.root_public()),
    }))
}

async fn stats(State(world): Shared) -> Answer {
    Answer::of(&views::stats(&world))
}
