//! Logins as rows: opened, renewed, ended.

use super::{Tx, people};
use crate::domain::error::Result;
use crate::domain::identity::Rotation;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::write::Outcome;
use crate::domain::write::people::{Logins, OpenLogin, Revocation, RevokeLogins, Rotate};
use crate::infra::store::batch::logins::{self as rules, CROWDED_OUT, REUSED};
use crate::infra::store::batch::people::{login_not_found, user_not_found};
use crate::infra::store::columns::limit;
use crate::infra::store::postgres::read::logins::LOGIN;
use crate::infra::store::postgres::sql::{Cells, execute, row};
use crate::infra::store::views::people as views;

const OPEN: &str = "insert into logins (id, tenant_id, user_id, current_hash, generation, user_agent, created_at, \
    last_used_at, expires_at) values ($1, $2, $3, $4, 1, $5, $6, $6, $7)";
const CROWD: &str = "update logins set revoked_at = $4, revoked_reason = $5 where id in (select id from logins \
    where user_id = $2 and tenant_id = $1 and revoked_at is null order by last_used_at desc, id desc offset $3)";
/// The login's row is the lock: of two who present the same token, the later one sees what the earlier one did.
const FAMILY: &str = "select l.id, l.tenant_id, l.user_id, l.generation, l.user_agent, l.created_at, l.last_used_at, \
    l.expires_at, l.revoked_at, l.revoked_reason, l.current_hash, l.previous_hash, l.rotated_at, \
    (u.state <> 'active' or t.suspended_at is not null)::int from logins l join users u on u.id = l.user_id \
    join tenants t on t.id = l.tenant_id where l.id = $1 for update of l";
const RENEW: &str = "update logins set previous_hash = current_hash, current_hash = $2, rotated_at = $3, \
    generation = generation + 1, last_used_at = $3, expires_at = $4 where id = $1";
const END_ONE: &str =
    "update logins set revoked_at = $2, revoked_reason = $3 where id = $1 and revoked_at is null";
const END: &str = "update logins set revoked_at = $4, revoked_reason = $5 where user_id = $2 and tenant_id = $1 \
    and ($3 is null or id <> $3) and revoked_at is null";
const VOID_TOKENS: &str =
    "update users set tokens_after = greatest(tokens_after, $3) where id = $1 and tenant_id = $2";

/// Opens a login; beyond the most there may be, the one unused for longest goes.
pub(super) async fn open(tx: &mut Tx<'_>, open: &OpenLogin) -> Result<Result<Outcome>> {
    let user = people::of_tenant(tx, open.tenant, open.user).await?;
    if let Err(refusal) = rules::may_open(&tx.batch, open, user.map(|user| user.state)) {
        return Ok(Err(refusal));
    }
    let cells = Cells::new()
        .id(open.login.0)
        .id(open.tenant.0)
        .id(open.user.0)
        .blob(&open.hash)
        .text(&rules::agent(&open.user_agent))
        .int(open.at.0)
        .int(open.expires_at.0);
    execute(tx.conn, OPEN, cells).await?;
    let cells = Cells::new().id(open.tenant.0).id(open.user.0).int(limit(open.most.max(1)));
    execute(tx.conn, CROWD, cells.int(open.at.0).text(CROWDED_OUT)).await?;
    tx.batch.note(open.audit.as_deref());
    Ok(Ok(Outcome::Done))
}

/// Renews a family's token, or ends the family.
pub(super) async fn rotate(tx: &mut Tx<'_>, rotate: &Rotate) -> Result<Outcome> {
    let found = row(tx.conn, FAMILY, Cells::new().id(rotate.login.0)).await?;
    let found = found.as_ref().map(views::family).transpose()?;
    let mut answer = rules::rotation(found, rotate);
    match &mut answer {
        Rotation::Rotated(login) => {
            let cells = Cells::new().id(rotate.login.0).blob(&rotate.fresh);
            execute(tx.conn, RENEW, cells.int(rotate.at.0).int(rotate.expires_at.0)).await?;
            *login = rules::renewed(login.clone(), rotate);
        }
        Rotation::Reused(login) => {
            let cells = Cells::new().id(rotate.login.0).int(rotate.at.0).text(REUSED);
            execute(tx.conn, END_ONE, cells).await?;
            rules::note_reuse(&mut tx.batch, login, rotate);
        }
        Rotation::Superseded | Rotation::Revoked | Rotation::Expired | Rotation::Unknown => (),
    }
    Ok(Outcome::Rotated(Box::new(answer)))
}

/// Ends logins.
pub(super) async fn revoke(tx: &mut Tx<'_>, revoke: &RevokeLogins) -> Result<Result<Outcome>> {
    let of = (revoke.tenant, revoke.user);
    if people::of_tenant(tx, of.0, of.1).await?.is_none() {
        return Ok(Err(user_not_found()));
    }
    match revoke.logins {
        Logins::One(login) => {
            let cells = Cells::new().id(login.0).id(revoke.tenant.0).id(revoke.user.0);
            if row(tx.conn, LOGIN, cells).await?.is_none() {
                return Ok(Err(login_not_found()));
            }
            let cells = Cells::new().id(login.0).int(revoke.at.0).text(revoke.reason);
            execute(tx.conn, END_ONE, cells).await?;
        }
        Logins::AllBut(login) => {
            end(tx, of, Revocation { except: Some(login), reason: revoke.reason }, revoke.at).await?;
        }
        Logins::All => {
            end(tx, of, Revocation { except: None, reason: revoke.reason }, revoke.at).await?;
        }
    }
    if revoke.void_tokens {
        let cells = Cells::new().id(revoke.user.0).id(revoke.tenant.0).int(revoke.at.0);
        execute(tx.conn, VOID_TOKENS, cells).await?;
    }
    tx.batch.note(revoke.audit.as_deref());
    Ok(Ok(Outcome::Done))
}

/// Ends somebody's logins.
pub(super) async fn end(
    tx: &mut Tx<'_>,
    (tenant, user): (TenantId, UserId),
    which: Revocation,
    at: Timestamp,
) -> Result<()> {
    let cells = Cells::new().id(tenant.0).id(user.0).opt_id(which.except.map(|login| login.0));
    execute(tx.conn, END, cells.int(at.0).text(which.reason)).await.map(drop)
}
