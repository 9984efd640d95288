-- People, their logins and tokens, what keys may do, and what is written down of all that.
-- An event's subject is its session, or its tenant where there is none: events.session_id and dead_letters.session_id
-- hold the subject, so a row whose session_id is its tenant_id is about no session.
-- Secrets are here as SHA-256 (keys, tokens), Argon2id (passwords) or ciphertext (signing keys) only.

alter table tenants add column name text;
alter table tenants add column next_event_seq integer not null default 1;
alter table tenants add column suspended_at integer;

create table users (
    id            blob primary key not null,
    tenant_id     blob not null references tenants (id),
    mail          text,
    name          text,
    role          text not null check (role in ('viewer', 'member', 'admin', 'owner')),
    state         text not null check (state in ('pending_verification', 'invited', 'active', 'suspended', 'deleted')),
    password      text,
    locale        text not null,
    pending_mail  text,
    failures      integer not null,
    locked_until  integer,
    tokens_after  integer,
    version       integer not null,
    verified_at   integer,
    created_at    integer not null,
    updated_at    integer not null,
    deleted_at    integer,
    check (state <> 'deleted' or (mail is null and name is null and password is null and pending_mail is null))
) strict, without rowid;
create unique index users_by_mail on users (mail) where deleted_at is null;
create index users_by_tenant on users (tenant_id, id);

create table logins (
    id              blob primary key not null,
    tenant_id       blob not null,
    user_id         blob not null references users (id),
    current_hash    blob not null,
    previous_hash   blob,
    rotated_at      integer,
    generation      integer not null,
    user_agent      text not null,
    created_at      integer not null,
    last_used_at    integer not null,
    expires_at      integer not null,
    revoked_at      integer,
    revoked_reason  text
) strict, without rowid;
create index logins_by_user on logins (user_id, id);
create index logins_by_expiry on logins (expires_at);

create table one_time_tokens (
    id          blob primary key not null,
    tenant_id   blob not null,
    user_id     blob not null references users (id),
    purpose     text not null check (purpose in ('verify', 'reset', 'change_mail', 'invite')),
    hash        blob not null unique,
    mail        text,
    expires_at  integer not null,
    used_at     integer,
    created_at  integer not null
) strict, without rowid;
create index one_time_tokens_by_user on one_time_tokens (user_id, purpose);
create index one_time_tokens_by_expiry on one_time_tokens (expires_at);

-- Keys of before may all that there is.
alter table api_keys add column prefix text not null default '';
alter table api_keys add column scopes text not null default '*';
alter table api_keys add column sessions text;
alter table api_keys add column created_by text;
alter table api_keys add column expires_at integer;
alter table api_keys add column last_used_at integer;
alter table api_keys add column revoked_at integer;
alter table api_keys add column replaced_by blob;

create table signing_keys (
    id          blob primary key not null,
    algorithm   text not null,
    public      blob not null,
    secret      blob not null,
    created_at  integer not null,
    retires_at  integer
) strict, without rowid;

create table audit_log (
    id           blob primary key not null,
    tenant_id    blob not null,
    at           integer not null,
    actor_kind   text not null check (actor_kind in ('user', 'key', 'system')),
    actor_id     blob,
    action       text not null,
    target_kind  text,
    target_id    text,
    request_id   text,
    client       text,
    detail       text not null
) strict, without rowid;
create index audit_log_by_tenant on audit_log (tenant_id, at, id);

create trigger audit_log_is_not_changed before update on audit_log begin
    select raise(abort, 'the audit log is not changed');
end;
create trigger audit_log_is_not_cut before delete on audit_log begin
    select raise(abort, 'the audit log is not cut');
end;
-- `insert or replace` removes without asking the trigger above.
create trigger audit_log_is_not_replaced before insert on audit_log
    when exists (select 1 from audit_log where id = new.id) begin
    select raise(abort, 'the audit log is not changed');
end;
