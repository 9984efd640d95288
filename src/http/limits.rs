//! Limits as requests meet them: who is counted where, what a refusal says, and the `RateLimit-*` headers of every answer
//! that a limit applied to.
//!
//! Three calls, each one question to the limiter at most, and none where no limit is set:
//! * [`Limits::before`] before something is looked up that could be guessed: a key, a token, a password;
//! * [`Limits::failed`] when it was wrong;
//! * [`Limits::admit`] when it is known who asks. It holds the address as well, unless `before` has.
//!
//! So a request whose key is known asks once, for all limits together.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use uuid::Uuid;

use super::Api;
use super::client::{Proxies, counted};
use super::error::{Problem, Result};
use crate::actors::limiter::Admission;
use crate::domain::error::{Error, Kind};
use crate::domain::ids::{SessionId, TenantId};
use crate::domain::limit::{Charge, Scope, Standing, Subject, Verdict};

/// How many in a window, how many more now, and seconds until there are as many again.
pub(super) const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

tokio::task_local! {
    /// The connection that the request under way came by. HTTP/1.1 answers one request of a connection at a time, in the
    /// connection's task, so that this needs no lock and costs a request no allocation.
    static LINE: Line;
}

struct Line {
    peer: IpAddr,
    /// The address has been held against its limit for this request.
    held: Cell<bool>,
    /// The tightest limit that applied to this request.
    standing: Cell<Option<Standing>>,
}

/// Serves a connection from this address.
pub(super) async fn on_line<F: Future>(peer: IpAddr, serve: F) -> F::Output {
    LINE.scope(Line { peer, held: Cell::new(false), standing: Cell::new(None) }, serve).await
}

/// A request begins.
pub(super) fn begin() {
    let _outside_of_a_connection = LINE.try_with(|line| {
        line.held.set(false);
        line.standing.set(None);
    });
}

/// Tells how the request stood with its limits, if there were any.
pub(super) fn tell(headers: &mut HeaderMap) {
    let Some(standing) = LINE.try_with(|line| line.standing.take()).ok().flatten() else { return };
    let values = [standing.limit.into(), standing.remaining.into(), standing.reset_seconds()];
    for (name, value) in HEADERS.into_iter().zip(values) {
        headers.insert(name, HeaderValue::from(value));
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    /// Whose data it is about.
    pub(super) tenant: TenantId,
    /// The API key or the user.
    pub(super) token: Uuid,
    /// The session that is given a message to send, if it is known by now: see [`Limits::sender`].
    pub(super) sends: Option<SessionId>,
}

/// The limits of the API.
pub(super) struct Limits {
    admission: Admission,
    proxies: Proxies,
}

impl Limits {
    pub(super) fn new(admission: Admission, proxies: Proxies) -> Self {
        Self { admission, proxies }
    }

    /// Holds the address against its limit and asks whether it may fail once more. For whatever is about to look something
    /// up that could be guessed, and for what needs no authentication at all.
    pub(super) async fn before(&self, headers: &HeaderMap) -> Result<()> {
        let mut charges = Vec::new();
        self.address(headers, &mut charges);
        self.failure(headers, false, &mut charges);
        self.ask(charges).await
    }

    /// Counts a failed authentication; the problem to answer with.
    pub(super) async fn failed(&self, headers: &HeaderMap, error: impl Into<Problem>) -> Problem {
        let mut charges = Vec::new();
        self.address(headers, &mut charges);
        self.failure(headers, true, &mut charges);
        // Those that were let in together beyond the limit learn no more than those after them.
        self.ask(charges).await.err().unwrap_or_else(|| error.into())
    }

    /// What was found out of somebody who asks to be known; counted if they are not who they say.
    pub(super) async fn judged<T>(&self, headers: &HeaderMap, found: Result<T, Error>) -> Result<T> {
        match found {
            Err(error) if error.kind == Kind::Unauthorized => Err(self.failed(headers, error).await),
            found => Ok(found?),
        }
    }

    /// Holds a request against the limits of whoever asks.
    pub(super) async fn admit(&self, headers: &HeaderMap, who: Who) -> Result<()> {
        let mut charges = Vec::new();
        self.address(headers, &mut charges);
        let session = who.sends.map(|session| Subject::Session(who.tenant, session));
        let subjects = [Some(Subject::Token(who.token)), Some(Subject::Tenant(who.tenant)), session];
        charges.extend(subjects.into_iter().flatten().filter_map(|subject| self.charge(subject, true)));
        self.ask(charges).await
    }

    /// Holds a message against the limit of the session that is to send it, where [`Limits::sender`] could not tell.
    pub(super) async fn sends(&self, tenant: TenantId, session: SessionId) -> Result<()> {
        self.ask(Vec::from_iter(self.charge(Subject::Session(tenant, session), true))).await
    }

    /// The session that a request gives a message to, where its path says so and there is a limit for it.
    pub(super) fn sender(&self, parts: &Parts) -> Option<SessionId> {
        self.admission.rate(Scope::Session)?;
        let path = parts.uri.path().strip_prefix("/sessions/")?.strip_suffix("/messages")?;
        (parts.method == Method::POST).then(|| path.parse().ok())?
    }

    /// The address, once per request.
    fn address(&self, headers: &HeaderMap, charges: &mut Vec<Charge>) {
        let is_limited = self.admission.rate(Scope::Ip).is_some();
        if is_limited && LINE.try_with(|line| !line.held.replace(true)).unwrap_or_default() {
            charges
                .extend(self.client(headers).map(Subject::Ip).and_then(|subject| self.charge(subject, true)));
        }
    }

    fn failure(&self, headers: &HeaderMap, counts: bool, charges: &mut Vec<Charge>) {
        if self.admission.rate(Scope::AuthFailures).is_some() {
            let client = self.client(headers).map(Subject::AuthFailures);
            charges.extend(client.and_then(|subject| self.charge(subject, counts)));
        }
    }

    fn charge(&self, subject: Subject, counts: bool) -> Option<Charge> {
        self.admission.rate(subject.scope()).map(|rate| Charge { subject, rate, counts })
    }

    /// Who is at the other end, as it is counted; nobody outside of a connection.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<u128> {
        LINE.try_with(|line| counted(self.proxies.client(line.peer, headers))).ok()
    }

    async fn ask(&self, charges: Vec<Charge>) -> Result<()> {
        let (standing, verdict) = match self.admission.ask(charges).await {
            Verdict::Admitted(None) => return Ok(()),
            Verdict::Admitted(Some(standing)) => (standing, Ok(())),
            Verdict::Refused(standing) => (standing, Err(refused(standing))),
        };
        let _outside_of_a_connection = LINE.try_with(|line| {
            let tightest = line.standing.get().map_or(standing, |known| known.tighter(standing));
            line.standing.set(Some(if verdict.is_err() { standing } else { tightest }));
        });
        verdict
    }
}

/// The answer to a path that no route has: looking for one is asking too.
pub(super) async fn unknown_route(State(api): State<Arc<Api>>, headers: HeaderMap) -> Problem {
    match api.limits.before(&headers).await {
        Ok(()) => super::edge::unknown_route().await,
        Err(problem) => problem,
    }
}

fn refused(standing: Standing) -> Problem {
    let Standing { scope, limit, .. } = standing;
    let seconds = standing.reset_seconds().max(1);
    let what = match scope {
        Scope::Ip => "requests from this address",
        Scope::AuthFailures => "failed authentications from this address",
        Scope::Token => "requests of this key or user",
        Scope::Tenant => "requests of this tenant",
        Scope::Session => "messages for this session",
    };
    let detail = format!("more than {limit} {what}; try again in {seconds} s");
    Problem::limited(Error::busy("rate_limited", detail), scope.as_str(), seconds)
}
