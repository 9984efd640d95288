//! HTTP: what the service offers, and nothing of how it does it.
//!
//! Handlers read a request, ask an actor, and write an answer; they hold references to actors and nothing else. The
//! route table is [`routes`]; the documentation at `/docs` is made from the same table. Promises: a `202` is sent
//! after the commit; every failure is a problem with a stable code; every input has a size and every wait a deadline.

mod access;
mod account;
pub mod actor;
mod admin;
mod audit;
mod auth;
mod browser;
mod callers;
mod chats;
mod client;
mod codes;
mod cookies;
mod dead_letters;
mod edge;
mod error;
mod events;
mod idempotency;
mod input;
mod jwks;
mod key_text;
mod keys;
mod lifecycle;
mod limits;
mod links;
mod login;
mod logins;
mod messages;
mod nodes;
mod openapi;
mod pacing;
mod page;
mod pairing;
mod proofs;
mod qr;
mod reads;
mod server;
mod sessions;
mod socket;
mod users;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::{get, post};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

pub use client::Proxies;
pub use key_text::{new_key, store_key};
pub use openapi::openapi;
pub use server::serve;
pub use waiting::wait_visibly;

use crate::actors::archive::Queries;
use crate::actors::directory::Directory;
use crate::actors::health::Health;
use crate::actors::hubs::Hubs;
use crate::actors::identity::Credentials;
use crate::actors::ledger::Ledgers;
use crate::actors::limiter::Admission;
use crate::actors::neighbours::{Neighbours, PAIRING_CODE};
use crate::domain::pacing::Rules;

/// The longest body of a request in bytes: the longest text, escaped.
const BODY_LIMIT: usize = 256 * 1024;

/// What handlers ask.
pub struct Api {
    /// The way to the writer.
    pub ledgers: Ledgers,
    /// The way to the reader.
    pub queries: Queries,
    /// The way to live events.
    pub hubs: Hubs,
    /// The way to sessions.
    pub directory: Directory,
    /// The way to sessions of other nodes.
    pub neighbours: Neighbours,
    /// How the service is.
    pub health: Arc<dyn Health>,
    /// Limits.
    pub config: HttpConfig,
    /// The way to passwords and tokens.
    credentials: Credentials,
    limits: limits::Limits,
    callers: callers::Callers,
    sockets: socket::Sockets,
}

/// The actors that handlers ask.
pub struct Actors {
    /// The way to the writer.
    pub ledgers: Ledgers,
    /// The way to the reader.
    pub queries: Queries,
    /// The way to live events.
    pub hubs: Hubs,
    /// The way to sessions.
    pub directory: Directory,
    /// The way to sessions of other nodes.
    pub neighbours: Neighbours,
    /// How the service is.
    pub health: Arc<dyn Health>,
    /// The way to passwords and tokens.
    pub credentials: Credentials,
    /// The way to the limiter.
    pub admission: Admission,
}

impl Api {
    /// The API over these actors.
    #[must_use]
    pub fn new(actors: Actors, config: HttpConfig) -> Arc<Self> {
        let Actors { ledgers, queries, hubs, directory, neighbours, health, credentials, admission } = actors;
        let limits = limits::Limits::new(admission, config.proxies.clone());
        let (callers, sockets) = Default::default();
        Arc::new(Self {
            ledgers,
            queries,
            hubs,
            directory,
            neighbours,
            health,
            config,
            credentials,
            limits,
            callers,
            sockets,
        })
    }
}

/// The limits of the API.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Whether clients are served here at all.
    pub serves: bool,
    /// The most sessions of a tenant.
    pub max_sessions: i64,
    /// The most unfinished commands of a session.
    pub session_queue: i64,
    /// When a message fails that WhatsApp has not acknowledged.
    pub message_deadline: Duration,
    /// How much a session may send: to tell when a message that waits may go.
    pub pacing: Rules,
    /// The most connections at once; more wait to be accepted.
    pub connections: usize,
    /// How long requests under way may take when the service stops.
    pub drain: Duration,
    /// Web origins that may call from a browser: none, some, or `*`.
    pub cors_origins: Vec<String>,
    /// Whether anybody can register.
    pub registration: bool,
    /// How long a login can go unused.
    pub login_for: Duration,
    /// Whether cookies are for TLS alone; they are not only on plain HTTP to the machine itself.
    pub secure_cookies: bool,
    /// Who may say for whom it asks.
    pub proxies: Proxies,
}

/// The route table.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(sessions::create, sessions::list))
        .routes(routes!(sessions::show, sessions::delete))
        .routes(routes!(sessions::timeline))
        .routes(routes!(pacing::show))
        .routes(routes!(lifecycle::start))
        .routes(routes!(lifecycle::stop))
        .routes(routes!(lifecycle::reconnect))
        .routes(routes!(lifecycle::logout))
        .routes(routes!(pairing::qr))
        .routes(routes!(pairing::pairing_code))
        .routes(routes!(messages::send))
        .routes(routes!(messages::show))
        .routes(routes!(chats::list))
        .routes(routes!(chats::messages, chats::send))
        .routes(routes!(events::list))
        .routes(routes!(socket::follow))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(admin::tree))
        .routes(routes!(nodes::list))
        .merge(logins())
        .merge(people())
        .merge(signs_of_life())
}

/// How people come in, and prove what they say.
fn logins() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(account::register))
        .routes(routes!(proofs::verify))
        .routes(routes!(account::forgot))
        .routes(routes!(proofs::reset))
        .routes(routes!(account::change_mail))
        .routes(routes!(proofs::confirm_mail))
        .routes(routes!(proofs::accept))
        .routes(routes!(links::page))
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(login::logout_all))
        .routes(routes!(logins::me))
        .routes(routes!(logins::list, logins::end_others))
        .routes(routes!(logins::end))
        .routes(routes!(jwks::jwks))
}

/// People, their programs' keys, and what all of them did.
fn people() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(users::list, users::invite))
        .routes(routes!(users::show, users::change, users::delete))
        .routes(routes!(users::suspend))
        .routes(routes!(users::reinstate))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(audit::list))
}

/// What every node answers, also one that serves no clients.
fn signs_of_life() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(admin::livez))
        .routes(routes!(admin::readyz))
        .routes(routes!(admin::metrics))
        .routes(routes!(admin::log_level, admin::set_log_level))
}

/// The routes, their documentation, and what surrounds them.
fn app(api: Arc<Api>) -> Router {
    let cors = cors(&api.config.cors_origins);
    let app = if api.config.serves {
        let (router, _) = routes().split_for_parts();
        router
            .route(links::SCRIPT, get(links::script))
            .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", openapi()))
    } else {
        signs_of_life().split_for_parts().0
    };
    let app = app
        // Between nodes, and no part of the contract.
        .route(PAIRING_CODE, post(nodes::pairing_code))
        .fallback(limits::unknown_route)
        .with_state(api)
        .layer((axum::middleware::from_fn(edge::edge), DefaultBodyLimit::max(BODY_LIMIT)));
    match cors {
        Some(cors) => app.layer(cors),
        None => app,
    }
}

/// Answers for browsers on other origins, where some are allowed.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let named = HeaderName::from_static;
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                named("idempotency-key"),
                edge::REQUEST_ID,
            ])
            .expose_headers([
                edge::REQUEST_ID,
                named("idempotent-replayed"),
                header::RETRY_AFTER,
                header::LOCATION,
                header::ETAG,
                header::WWW_AUTHENTICATE,
                header::LINK,
                named("ratelimit"),
                named("ratelimit-policy"),
                named("ratelimit-limit"),
                named("ratelimit-remaining"),
                named("ratelimit-reset"),
                named("deprecation"),
                named("sunset"),
            ])
            .max_age(Duration::from_secs(3600)),
    )
}
