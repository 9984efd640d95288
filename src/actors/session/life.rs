//! What a session is told to do with its life, and how it looks after itself.

use ractor::ActorRef;

use super::connection::After;
use super::{Msg, State};
use crate::domain::command::CommandType;
use crate::domain::error::Result;
use crate::domain::session::SessionInput;
use crate::domain::time::now;
use crate::domain::write::{AuthOp, AuthWrite, Finish, Taken, Write};

/// The most lifecycle commands carried out in one go.
const LIFECYCLE_RUN: usize = 16;

impl State {
    /// Looks for work: its row first, then commands.
    pub(super) async fn work(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        if self.row.is_none() && !self.load(myself).await? {
            return Ok(());
        }
        // What the session is told to do with its life does not wait for its messages.
        if self.connection.live().is_none() || self.pacing.waits(now()) {
            let lifecycle = self.take_commands(true, LIFECYCLE_RUN).await?;
            self.obey(lifecycle, myself).await?;
        }
        self.send_due(myself).await
    }

    /// Reads its row; a session that had a link wants it back. False when there is no such session.
    async fn load(&mut self, myself: &ActorRef<Msg>) -> Result<bool> {
        let Some(row) = self.setup.store.owned_session(self.id).await? else {
            myself.stop(Some("no such session".into()));
            return Ok(false);
        };
        let resume = row.state.wants_link();
        self.row = Some(row);
        if let Err(error) = self.load_pacing().await {
            self.row = None;
            return Err(error);
        }
        // A command taken by an earlier incarnation and not finished is taken again.
        self.setup.ledgers.write_patiently(Write::Requeue(self.fence, self.id)).await?;
        if resume {
            self.connection.take_over();
            self.change(SessionInput::Start, "resumed".into(), None).await?;
            self.open_link(myself).await?;
        }
        Ok(true)
    }

    /// Carries out lifecycle commands in order.
    pub(super) async fn obey(&mut self, commands: Vec<Taken>, myself: &ActorRef<Msg>) -> Result<()> {
        for command in &commands {
            match command.kind {
                CommandType::Start => self.start("requested", myself).await?,
                CommandType::Stop => {
                    self.change(SessionInput::Stop, "requested".into(), None).await?;
                    self.connection.close(After::Rest);
                }
                CommandType::Reconnect => {
                    self.change(SessionInput::Start, "reconnect_requested".into(), None).await?;
                    self.reopen_now(myself).await?;
                }
                CommandType::Logout => {
                    self.change(SessionInput::LoggedOut, "requested".into(), None).await?;
                    self.close_then(After::Wipe, myself).await?;
                }
                CommandType::Delete => {
                    self.change(SessionInput::Stop, "deleted".into(), None).await?;
                    return self.close_then(After::Delete, myself).await;
                }
                CommandType::SendMessage => {}
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        let commands = commands.iter().map(|taken| taken.command).collect();
        let finish = Finish { fence: self.fence, session: self.id, commands };
        self.setup.ledgers.write_patiently(Write::Finish(finish)).await.map(|_done| ())
    }

    async fn start(&mut self, reason: &str, myself: &ActorRef<Msg>) -> Result<()> {
        if self.connection.live().is_some() {
            return Ok(());
        }
        self.change(SessionInput::Start, reason.into(), None).await?;
        if self.connection.is_closing() {
            self.connection.close(After::Open);
        }
        self.open_link(myself).await
    }

    async fn reopen_now(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        if self.connection.is_open() {
            self.connection.close(After::Open);
            return Ok(());
        }
        self.open_link(myself).await
    }

    /// Closes the link if there is one and does what must follow, now or when the link is gone.
    async fn close_then(&mut self, after: After, myself: &ActorRef<Msg>) -> Result<()> {
        let open = self.connection.is_open();
        self.connection.close(after);
        match after {
            _ if open => Ok(()),
            After::Wipe => self.wipe().await,
            After::Delete => self.forget(myself).await,
            After::Rest | After::Open => Ok(()),
        }
    }

    /// Forgets the account's credentials.
    pub(super) async fn wipe(&mut self) -> Result<()> {
        let tenant = self.row()?.tenant_id;
        let auth = AuthWrite { fence: self.fence, tenant, session: self.id, ops: vec![AuthOp::Wipe] };
        self.setup.ledgers.write_patiently(Write::Auth(auth)).await.map(|_done| ())
    }

    /// Forgets the session; its delete command ends with it.
    pub(super) async fn forget(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        self.setup.ledgers.write_patiently(Write::DeleteSession(self.fence, self.id)).await?;
        myself.stop(Some("deleted".into()));
        Ok(())
    }

    /// Deadlines. The poll behind wake-ups is the roster's, one query for all sessions.
    pub(super) async fn tick(&mut self, myself: &ActorRef<Msg>) -> Result<()> {
        if self.row.is_some() {
            self.record_events(myself).await?;
            self.look_after_overdue();
            self.flush_news().await?;
            let planned = self.connection.is_open() || self.connection.is_waiting();
            if self.state().wants_link() && !planned {
                self.open_link(myself).await?;
            }
        }
        if self.row.is_none() || self.delivery.is_behind() || self.pacing.has_heard() {
            self.work(myself).await?;
        }
        self.rest_when_idle(myself);
        Ok(())
    }

    /// A session without link and work keeps no actor; the next wake-up starts one.
    fn rest_when_idle(&mut self, myself: &ActorRef<Msg>) {
        let idle = !self.connection.is_open() && !self.state().wants_link() && self.delivery.is_idle();
        if !idle {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert_with(tokio::time::Instant::now);
        if since.elapsed() >= self.setup.linger {
            myself.stop(Some("idle".into()));
        }
    }
}
