//! One address for all nodes, as a load balancer would give: each connection goes to a node that is ready, else to one
//! that lives; what is connected to a node that stopped answering ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{listen, on_a_thread, pump};

/// How often a node is asked how it is.
const ASK: Duration = Duration::from_millis(200);

/// A node that has not answered for so long is dead.
const ANSWER: Duration = Duration::from_secs(4);

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// It does not answer.
    Dead,
    /// It answers that it is not ready.
    Alive,
    /// It is ready.
    Ready,
}

struct Node {
    addr: SocketAddr,
    state: watch::Sender<State>,
}

/// The front. It ends when this is dropped.
pub(crate) struct Front {
    addr: SocketAddr,
    nodes: Arc<[Node]>,
    _until_dropped: watch::Sender<()>,
}

impl Front {
    pub(crate) fn start(nodes: &[SocketAddr]) -> Result<Self> {
        let (listener, addr) = listen()?;
        let node = |addr: &SocketAddr| Node { addr: *addr, state: watch::channel(State::Dead).0 };
        let nodes: Arc<[Node]> = nodes.iter().map(node).collect();
        let (until_dropped, dropped) = watch::channel(());
        let served = nodes.clone();
        on_a_thread("front", listener, move |listener| serve(listener, served, dropped))?;
        Ok(Self { addr, nodes, _until_dropped: until_dropped })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How a node answered lately.
    pub(crate) fn state(&self, node: usize) -> State {
        *self.nodes[node].state.borrow()
    }
}

async fn serve(listener: TcpListener, nodes: Arc<[Node]>, mut dropped: watch::Receiver<()>) {
    let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for place in 0..nodes.len() {
        tasks.spawn_local(watch_over(nodes.clone(), place));
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                tasks.spawn_local(carry(client, nodes.clone(), next.fetch_add(1, Ordering::Relaxed)));
            }
            Some(_ended) = tasks.join_next() => {}
            _gone = dropped.changed() => return,
        }
    }
}

async fn watch_over(nodes: Arc<[Node]>, place: usize) {
    let node = &nodes[place];
    loop {
        let state = timeout(ANSWER, ask(node.addr)).await.unwrap_or(State::Dead);
        node.state.send_if_modified(|known| std::mem::replace(known, state) != state);
        sleep(ASK).await;
    }
}

async fn ask(addr: SocketAddr) -> State {
    let asked = async {
        let mut socket = TcpStream::connect(addr).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        socket.read_exact(&mut status).await?;
        std::io::Result::Ok(status)
    };
    match asked.await {
        Ok(status) if &status == b"HTTP/1.1 200" => State::Ready,
        Ok(_not_ready) => State::Alive,
        Err(_dead) => State::Dead,
    }
}

async fn carry(client: TcpStream, nodes: Arc<[Node]>, turn: usize) {
    let count = nodes.len();
    let mut order: Vec<&Node> = (0..count).map(|n| &nodes[(turn + n) % count]).collect();
    order.sort_by_key(|node| std::cmp::Reverse(*node.state.borrow()));
    for node in order.into_iter().filter(|node| *node.state.borrow() != State::Dead) {
        let Ok(Ok(server)) = timeout(Duration::from_secs(1), TcpStream::connect(node.addr)).await else {
            continue;
        };
        let _slower = (client.set_nodelay(true), server.set_nodelay(true));
        let mut state = node.state.subscribe();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            // The first end is the end: nobody here half-closes.
            _done = pump(from_client, to_server, async || {}) => {}
            _done = pump(from_server, to_client, async || {}) => {}
            _dead = state.wait_for(|state| *state == State::Dead) => {}
        }
        return;
    }
}
