//! One client's connection, from the WebSocket upgrade to its end. PROMISES: a connection that does not get through the
//! handshake in time is dropped; stanzas are handled in the order in which they came and answered in that order; a
//! client that stops reading is dropped and loses nothing that was queued.

mod disturb;
mod login;
mod session;
mod wire;

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use tokio::time::{Instant, sleep_until, timeout};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use crate::account::device::Device;
use crate::account::mailbox::{Mailbox, Outgoing, Taken};
use crate::linking::candidate::Candidate;
use crate::linking::{code, offer};
use crate::noise::responder::{self, Answer, Peer};
use crate::route::{self, Sender, presence};
use crate::stanza::{Read as _, conflict, first_child, result, server};
use crate::stats::Counter;
use crate::world::World;
use session::Session;
use wire::{Ended, Wire};

/// Stanzas written at one go.
const BATCH: usize = 64;
/// Frames handled before waiting answers are written.
const TURN: usize = 32;

/// Serves one WebSocket until it ends.
pub(crate) async fn serve(world: Arc<World>, socket: WebSocket) {
    world.stats.links_opened.add(1);
    let _open = Gauge::up(&world.stats.links);
    let mut wire = Wire::new(socket, &world.config.limits);
    let shaken = timeout(world.config.limits.handshake, shake(&world, &mut wire)).await;
    let Ok(Ok(peer)) = shaken else {
        world.stats.handshakes_failed.add(1);
        return;
    };
    let session = Session::new(wire, peer.write, peer.read);
    if let Some(link) = login::enter(&world, session, peer.static_key, &peer.payload).await {
        link.run().await;
    }
}

async fn shake(world: &World, wire: &mut Wire) -> Result<Peer, Ended> {
    let frame = wire.frame().await?;
    let refused = |_| Ended;
    match responder::answer(&world.identity, &frame).map_err(refused)? {
        Answer::Done { hello, peer } => {
            wire.write_frame(&hello).await?;
            world.stats.handshakes_ik.add(1);
            Ok(*peer)
        }
        Answer::AwaitFinish { hello, pending, fallback } => {
            wire.write_frame(&hello).await?;
            let finish = wire.frame().await?;
            let peer = pending.finish(&finish).map_err(refused)?;
            let count = if fallback { &world.stats.handshakes_fallback } else { &world.stats.handshakes_xx };
            count.add(1);
            Ok(peer)
        }
    }
}

/// A counter that is up as long as this lives.
struct Gauge<'a>(&'a Counter);

impl<'a> Gauge<'a> {
    fn up(counter: &'a Counter) -> Self {
        counter.add(1);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.take_one();
    }
}

/// Who is on the other end.
enum Who {
    /// Nobody yet: a client that waits for a phone.
    Candidate(Arc<Candidate>),
    /// A linked device.
    Device(Sender, Arc<Device>),
}

impl Who {
    fn mailbox(&self) -> &Mailbox {
        match self {
            Self::Candidate(candidate) => &candidate.mailbox,
            Self::Device(_, device) => &device.mailbox,
        }
    }

    /// Number and device, for faults.
    fn address(&self) -> (Option<&str>, u16) {
        match self {
            Self::Candidate(_) => (None, 0),
            Self::Device(sender, _) => (Some(&sender.account.phone), sender.device),
        }
    }
}

/// A connection that got in.
struct Link {
    world: Arc<World>,
    session: Session,
    who: Who,
    number: u64,
    heard: Instant,
    pinged: bool,
    ends: Option<Instant>,
}

impl Link {
    async fn run(mut self) {
        let world = Arc::clone(&self.world);
        let _online = match &self.who {
            Who::Device(..) => Some(Gauge::up(&world.stats.online)),
            Who::Candidate(_) => None,
        };
        // How it ended is the client's to tell; the sandbox only has to clean up.
        self.talk().await.err();
        self.who.mailbox().detach(self.number);
        match &self.who {
            Who::Candidate(candidate) => self.world.pairing.forget(candidate),
            Who::Device(sender, device) => {
                if !device.mailbox.is_linked() {
                    presence::set(&self.world, sender, false);
                }
            }
        }
    }

    async fn talk(&mut self) -> Result<(), Ended> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wrote = self.write_waiting(&mut batch).await?;
            let mut handled = 0;
            while handled < TURN
                && let Some(frame) = self.session.next_frame()?
            {
                self.handle(frame.get());
                handled += 1;
            }
            if handled > 0 || wrote {
                // Something may have come in the meantime; then it is handled before anything waits.
                if self.session.poll_more()? {
                    self.heard = Instant::now();
                }
                continue;
            }
            self.wait().await?;
        }
    }

    /// Waits for the client, for work, or for time to pass.
    async fn wait(&mut self) -> Result<(), Ended> {
        let limit = self.world.config.limits.idle;
        let patience = if self.pinged { limit } else { limit / 2 };
        let deadline = self.ends.map_or(self.heard + patience, |ends| ends.min(self.heard + patience));
        tokio::select! {
            read = self.session.read_more() => {
                self.heard = Instant::now();
                self.pinged = false;
                read
            }
            () = self.who.mailbox().rung() => Ok(()),
            () = self.world.tasks.stopping() => Err(Ended),
            () = sleep_until(deadline) => self.silence(),
        }
    }

    /// Nothing was heard for a while: ask, and then give up.
    fn silence(&mut self) -> Result<(), Ended> {
        if self.pinged || self.ends.is_some_and(|ends| ends <= Instant::now()) {
            return Err(Ended);
        }
        self.pinged = true;
        let ping = NodeBuilder::new("iq")
            .attr("from", server())
            .attr("type", "get")
            .attr("xmlns", "urn:xmpp:ping")
            .attr("id", self.world.next_id());
        self.who.mailbox().say(ping.build());
        Ok(())
    }

    /// Writes a batch of what waits. True if there was any.
    async fn write_waiting(&mut self, batch: &mut Vec<Outgoing>) -> Result<bool, Ended> {
        batch.clear();
        if self.who.mailbox().take(self.number, BATCH, batch) == Taken::Replaced {
            self.session.send(&conflict("replaced"), false).await?;
            self.session.close().await;
            return Err(Ended);
        }
        if batch.is_empty() {
            return Ok(false);
        }
        let split = disturb::outgoing(&self.world, &self.who, self.number, batch).await;
        for out in batch.drain(..) {
            match out {
                Outgoing::Stanza(node) | Outgoing::Queued(node) => self.session.put(&node)?,
                Outgoing::Offline(node) => {
                    self.world.stats.offline.add(1);
                    self.session.put(&offline(&node))?;
                }
                Outgoing::Freeze(time) => {
                    self.session.flush(split).await?;
                    disturb::freeze(&self.world, time).await;
                }
                Outgoing::Drop => return Err(Ended),
                Outgoing::Close => {
                    self.session.flush(split).await?;
                    self.session.close().await;
                    return Err(Ended);
                }
            }
        }
        self.session.flush(split).await?;
        Ok(true)
    }

    fn handle(&mut self, node: &NodeRef<'_>) {
        match &self.who {
            Who::Candidate(candidate) => unpaired(&self.world, candidate, node),
            Who::Device(sender, _) => route::stanza(&self.world, sender, node),
        }
    }
}

/// A stanza that waited while its device was away says so.
fn offline(node: &Node) -> Node {
    let mut node = node.clone();
    node.attrs.push("offline", "0");
    node
}

/// What a client without a device may say.
fn unpaired(world: &Arc<World>, candidate: &Arc<Candidate>, node: &NodeRef<'_>) {
    if node.tag != "iq" {
        return;
    }
    match node.word("type").as_ref() {
        "result" | "error" => offer::answered(world, candidate, node),
        _ => match first_child(node) {
            Some(reg) if reg.tag == "link_code_companion_reg" => code::request(world, candidate, node, reg),
            _ => candidate.mailbox.say(result(node, Vec::new())),
        },
    }
}
