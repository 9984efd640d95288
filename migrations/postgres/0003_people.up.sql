-- The tables of migrations/sqlite/0003, for several writers. Whoever changes anything of a tenant's people holds the
-- tenant's row; a login's own row is the lock of its rotation.

alter table tenants add column name text;
alter table tenants add column next_event_seq bigint not null default 1;
alter table tenants add column suspended_at bigint;

create table users (
    id            uuid primary key,
    tenant_id     uuid not null references tenants (id),
    mail          text collate "C",
    name          text,
    role          text not null check (role in ('viewer', 'member', 'admin', 'owner')),
    state         text not null check (state in ('pending_verification', 'invited', 'active', 'suspended', 'deleted')),
    password      text,
    locale        text not null,
    pending_mail  text collate "C",
    failures      bigint not null,
    locked_until  bigint,
    tokens_after  bigint,
    version       bigint not null,
    verified_at   bigint,
    created_at    bigint not null,
    updated_at    bigint not null,
    deleted_at    bigint,
    check (state <> 'deleted' or (mail is null and name is null and password is null and pending_mail is null))
);
create unique index users_by_mail on users (mail) where deleted_at is null;
create index users_by_tenant on users (tenant_id, id);

create table logins (
    id              uuid primary key,
    tenant_id       uuid not null,
    user_id         uuid not null references users (id),
    current_hash    bytea not null,
    previous_hash   bytea,
    rotated_at      bigint,
    generation      bigint not null,
    user_agent      text not null,
    created_at      bigint not null,
    last_used_at    bigint not null,
    expires_at      bigint not null,
    revoked_at      bigint,
    revoked_reason  text
);
create index logins_by_user on logins (user_id, id);
create index logins_by_expiry on logins (expires_at);

create table one_time_tokens (
    id          uuid primary key,
    tenant_id   uuid not null,
    user_id     uuid not null references users (id),
    purpose     text not null check (purpose in ('verify', 'reset', 'change_mail', 'invite')),
    hash        bytea not null unique,
    mail        text collate "C",
    expires_at  bigint not null,
    used_at     bigint,
    created_at  bigint not null
);
create index one_time_tokens_by_user on one_time_tokens (user_id, purpose);
create index one_time_tokens_by_expiry on one_time_tokens (expires_at);

alter table api_keys add column prefix text not null default '';
alter table api_keys add column scopes text not null default '*';
alter table api_keys add column sessions text;
alter table api_keys add column created_by text;
alter table api_keys add column expires_at bigint;
alter table api_keys add column last_used_at bigint;
alter table api_keys add column revoked_at bigint;
alter table api_keys add column replaced_by uuid;

create table signing_keys (
    id          uuid primary key,
    algorithm   text not null,
    public      bytea not null,
    secret      bytea not null,
    created_at  bigint not null,
    retires_at  bigint
);

create table audit_log (
    id           uuid primary key,
    tenant_id    uuid not null,
    at           bigint not null,
    actor_kind   text not null check (actor_kind in ('user', 'key', 'system')),
    actor_id     uuid,
    action       text not null,
    target_kind  text,
    target_id    text,
    request_id   text,
    client       text,
    detail       text not null
);
create index audit_log_by_tenant on audit_log (tenant_id, at, id);

create function recado_audit_stays() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is neither changed nor cut' using errcode = 'RC002';
end $$;
create trigger audit_log_is_not_changed before update or delete on audit_log
    for each row execute function recado_audit_stays();
create trigger audit_log_is_not_emptied before truncate on audit_log
    for each statement execute function recado_audit_stays();

-- A second wall between tenants, behind the conditions of the queries themselves: a connection sees the rows of the tenant
-- it says it asks for, in recado.tenant, and none when it says nothing. The service's own work says '*'. Also for the
-- tables' owner (force), but not for a superuser, whom nothing stops. A connection that asks for a tenant only reads
-- (default_transaction_read_only); so rows to insert, of which an accepted message has many, are not looked at: docs/adr/0022.
do $$
declare
    name text;
    owner text;
    -- As an inequality the planner takes it for true of nearly all rows, which it is, and plans as it would without.
    seen text := '(case when current_setting(''recado.tenant'', true) = ''*'' then 1
        when %I::text = current_setting(''recado.tenant'', true) then 1 else 0 end) <> 0';
begin
    foreach name in array array['tenants', 'users', 'logins', 'one_time_tokens', 'api_keys', 'audit_log', 'sessions',
            'session_transitions', 'session_auth_creds', 'session_auth_keys', 'commands', 'session_chats',
            'session_chat_aliases', 'session_messages', 'events', 'outbox', 'dead_letters', 'idempotency'] loop
        owner := case when name = 'tenants' then 'id' else 'tenant_id' end;
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I for select using (' || seen || ')', name || '_seen', name, owner);
        execute format('create policy %I on %I for insert with check (true)', name || '_added', name);
        execute format('create policy %I on %I for update using (true) with check (true)', name || '_changed', name);
        execute format('create policy %I on %I for delete using (true)', name || '_removed', name);
    end loop;
end $$;
