//! The life of a session, as rows. Many sessions change at once when a link or a node goes: their changes are read and
//! written together.

use std::collections::HashMap;

use super::{Tx, auth, progress};
use crate::domain::address::Address;
use crate::domain::error::Result;
use crate::domain::ids::SessionId;
use crate::domain::session::SessionState;
use crate::domain::time::now;
use crate::domain::write::{LinkChange, Outcome};
use crate::infra::store::batch::life::{self, Before, DELETED, Life};
use crate::infra::store::batch::progress::{Ended, fail};
use crate::infra::store::columns::Columns;
use crate::infra::store::postgres::sql::{Cells, execute, rows};

const LOAD: &str = "select id, state, code, pn, lid, connected_at from sessions where id = any($1)";
const SAVE: &str = "update sessions s set state = v.state, reason = v.reason, pn = coalesce(v.pn, s.pn), \
    linked_at = case when v.pn is null or v.pn is not distinct from s.pn then s.linked_at else v.at end, \
    lid = coalesce(v.lid, s.lid), push_name = coalesce(v.push_name, s.push_name), code = v.code, \
    code_expires_at = v.code_until, connected_at = v.connected_at, \
    updated_at = case when v.moved then v.at else s.updated_at end \
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], \
    $9::bigint[], $10::bool[], $11::bigint[]) \
    v(id, state, reason, pn, lid, push_name, code, code_until, connected_at, moved, at) where s.id = v.id";
const TRANSITIONS: &str = "insert into session_transitions (session_id, n, tenant_id, from_state, to_state, reason, at) \
    select v.id, coalesce((select max(t.n) from session_transitions t where t.session_id = v.id), 0) + 1, \
    s.tenant_id, v.from_state, v.to_state, v.reason, v.at from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], \
    $5::bigint[]) v(id, from_state, to_state, reason, at) join sessions s on s.id = v.id";
const FORGET_TRANSITIONS: &str = "delete from session_transitions t using unnest($1::uuid[]) v(id) \
    where t.session_id = v.id and t.n <= (select max(m.n) from session_transitions m where m.session_id = v.id) - 50";
const OPEN: &str = "select k.id, m.id, m.wa_id, c.jid, m.peer, m.state from commands k \
    left join session_messages m on m.id = k.message_id left join session_chats c on c.id = m.chat_id \
    where k.session_id = $1 and k.state in ('queued', 'taken') order by k.seq";
/// The command that asked for the end has reached its aim.
const END_COMMANDS: &str = "update commands set \
    state = case when kind = 'session.delete' and state = 'taken' then 'done' else 'failed' end, updated_at = $2 \
    where session_id = $1 and state in ('queued', 'taken')";
const DELETE: &str = "update sessions set deleted_at = $2, updated_at = $2, state = 'stopped', reason = 'deleted', \
    code = null, code_expires_at = null where id = $1";

/// A change that is made, and what was before it.
struct Step<'w> {
    link: &'w LinkChange,
    from: SessionState,
    moved: bool,
    connected_at: Option<i64>,
}

/// Applies changes in the order they came: those of different sessions together, a second one of a session after it.
pub(super) async fn life(tx: &mut Tx<'_>, items: &[(usize, Life<'_>)]) -> Result<()> {
    let mut round: HashMap<SessionId, (usize, &LinkChange)> = HashMap::new();
    for (place, change) in items {
        match change {
            Life::Link(link) => {
                if round.contains_key(&link.session) {
                    links(tx, std::mem::take(&mut round)).await?;
                }
                round.insert(link.session, (*place, link));
            }
            Life::Delete(fence, session) => {
                links(tx, std::mem::take(&mut round)).await?;
                let answer = match life::may_delete(&tx.batch, *fence, *session) {
                    Ok(true) => delete(tx, *session).await.map(Ok)?,
                    Ok(false) => Ok(()),
                    Err(refusal) => Err(refusal),
                };
                tx.batch.answer(*place, answer.map(|()| Outcome::Done));
            }
        }
    }
    links(tx, round).await
}

async fn links(tx: &mut Tx<'_>, round: HashMap<SessionId, (usize, &LinkChange)>) -> Result<()> {
    let mut owned = HashMap::new();
    for (session, (place, link)) in round {
        let answer = tx.batch.owned(link.fence, session).map(|()| Outcome::Done);
        if answer.is_ok() {
            owned.insert(session, link);
        }
        tx.batch.answer(place, answer);
    }
    if owned.is_empty() {
        return Ok(());
    }
    let mut steps = Vec::new();
    for row in rows(tx.conn, LOAD, Cells::new().ids(owned.keys().map(|id| id.0))).await? {
        let Some(link) = owned.get(&SessionId(row.id(0)?)) else { continue };
        let before = Before::read(&row, 1)?;
        life::tell(&mut tx.batch, link, &before)?;
        let (moved, connected_at) = (before.moves(link), before.connected_at(link));
        steps.push(Step { link, from: before.state, moved, connected_at });
    }
    save(tx, &steps).await?;
    steps.retain(|step| step.moved);
    transitions(tx, &steps).await
}

async fn save(tx: &mut Tx<'_>, steps: &[Step<'_>]) -> Result<()> {
    let text = |address: &Option<Address>| address.as_ref().map(ToString::to_string);
    let pns: Vec<_> = steps.iter().map(|step| text(&step.link.pn)).collect();
    let lids: Vec<_> = steps.iter().map(|step| text(&step.link.lid)).collect();
    let links = || steps.iter().map(|step| step.link);
    let cells = Cells::new()
        .ids(links().map(|link| link.session.0))
        .texts(links().map(|link| link.state.as_str()))
        .texts(links().map(|link| link.reason.as_str()))
        .opt_texts(pns.iter().map(Option::as_deref))
        .opt_texts(lids.iter().map(Option::as_deref))
        .opt_texts(links().map(|link| link.push_name.as_deref()))
        .opt_texts(links().map(|link| link.code.as_ref().map(|(code, _)| code.as_str())))
        .opt_ints(links().map(|link| link.code.as_ref().map(|(_, until)| until.0)))
        .opt_ints(steps.iter().map(|step| step.connected_at))
        .flags(steps.iter().map(|step| step.moved))
        .ints(links().map(|link| link.at.0));
    execute(tx.conn, SAVE, cells).await.map(drop)
}

async fn transitions(tx: &mut Tx<'_>, steps: &[Step<'_>]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let links = || steps.iter().map(|step| step.link);
    let ids = || links().map(|link| link.session.0);
    let cells = Cells::new()
        .ids(ids())
        .texts(steps.iter().map(|step| step.from.as_str()))
        .texts(links().map(|link| link.state.as_str()))
        .texts(links().map(|link| link.reason.as_str()))
        .ints(links().map(|link| link.at.0));
    execute(tx.conn, TRANSITIONS, cells).await?;
    execute(tx.conn, FORGET_TRANSITIONS, Cells::new().ids(ids())).await.map(drop)
}

async fn delete(tx: &mut Tx<'_>, session: SessionId) -> Result<()> {
    let at = now();
    let open = rows(tx.conn, OPEN, Cells::new().id(session.0)).await?;
    let mut messages = Vec::new();
    for row in &open {
        messages.extend(life::outgoing(row, session)?);
    }
    // Its commands end below, with those that have no message.
    let mut ended = Ended::default();
    fail(&mut tx.batch, &mut messages, (DELETED.0, DELETED.1, at), &mut ended)?;
    progress::save(tx.conn, &messages).await?;
    execute(tx.conn, END_COMMANDS, Cells::new().id(session.0).int(at.0)).await?;
    life::deleted(&mut tx.batch, session, at)?;
    execute(tx.conn, DELETE, Cells::new().id(session.0).int(at.0)).await?;
    auth::wipe(tx.conn, session.0).await
}
