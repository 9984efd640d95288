//! A TCP proxy to one server: lets through, cuts, refuses, delays, swallows, and goes elsewhere when told.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{listen, on_a_thread, pump};

/// What happens to bytes in one direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They go on.
    Pass,
    /// Each piece waits so long.
    Delay(Duration),
    /// They wait until this changes.
    Hold,
}

#[derive(Clone, Copy)]
struct Rules {
    target: SocketAddr,
    open: bool,
    /// Connections of an earlier count end.
    cuts: u64,
    there: Flow,
    back: Flow,
}

/// Local ports of the connections that were made to the server, ever.
type Ports = Arc<Mutex<HashSet<u16>>>;

/// One proxy. It ends when this is dropped.
pub(crate) struct Proxy {
    addr: SocketAddr,
    rules: watch::Sender<Rules>,
    ports: Ports,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Result<Self> {
        let (listener, addr) = listen()?;
        let rules = Rules { target, open: true, cuts: 0, there: Flow::Pass, back: Flow::Pass };
        let (rules, follow) = watch::channel(rules);
        let ports = Ports::default();
        let seen = ports.clone();
        on_a_thread("proxy", listener, move |listener| serve(listener, follow, seen))?;
        Ok(Self { addr, rules, ports })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends what is connected and refuses what comes.
    pub(crate) fn refuse(&self) {
        self.rules.send_modify(|rules| (rules.open, rules.cuts) = (false, rules.cuts + 1));
    }

    /// Ends what is connected; new connections are welcome.
    pub(crate) fn cut(&self) {
        self.rules.send_modify(|rules| rules.cuts += 1);
    }

    /// Changes what happens to bytes: to the server, and back.
    pub(crate) fn flow(&self, there: Flow, back: Flow) {
        self.rules.send_modify(|rules| (rules.there, rules.back) = (there, back));
    }

    /// As it was at first.
    pub(crate) fn heal(&self) {
        self.rules.send_modify(|rules| {
            (rules.open, rules.there, rules.back) = (true, Flow::Pass, Flow::Pass);
        });
    }

    /// Goes to another server from now on; what is connected ends.
    pub(crate) fn turn_to(&self, target: SocketAddr) {
        self.rules.send_modify(|rules| (rules.target, rules.cuts) = (target, rules.cuts + 1));
    }

    /// The ports by which the server knows whoever came through here.
    pub(crate) fn ports(&self) -> HashSet<u16> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, mut rules: watch::Receiver<Rules>, ports: Ports) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if rules.borrow().open {
                    connections.spawn_local(carry(client, rules.clone(), ports.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
            changed = rules.changed() => if changed.is_err() { return },
        }
    }
}

async fn carry(client: TcpStream, mut rules: watch::Receiver<Rules>, ports: Ports) {
    let begun = *rules.borrow_and_update();
    let Ok(server) = TcpStream::connect(begun.target).await else { return };
    if let Ok(local) = server.local_addr() {
        ports.lock().unwrap_or_else(PoisonError::into_inner).insert(local.port());
    }
    let _slower = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (there, back) = (rules.clone(), rules.clone());
    let both = async {
        tokio::join!(
            pump(from_client, to_server, async || pass(there.clone(), |rules| rules.there).await),
            pump(from_server, to_client, async || pass(back.clone(), |rules| rules.back).await),
        )
    };
    tokio::select! {
        _broken_or_done = both => {}
        _cut = rules.wait_for(|rules| rules.cuts != begun.cuts) => {}
    }
}

/// Returns when a piece may go on.
async fn pass(mut rules: watch::Receiver<Rules>, pick: fn(&Rules) -> Flow) {
    let flow = pick(&rules.borrow_and_update());
    match flow {
        Flow::Pass => {}
        Flow::Delay(time) => sleep(time).await,
        // When nobody is left to change it, the connection is about to end.
        Flow::Hold => drop(rules.wait_for(|rules| pick(rules) != Flow::Hold).await),
    }
}
