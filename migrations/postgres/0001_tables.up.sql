-- The tables of migrations/sqlite/0001, for several writers. What differs, and why:
-- * A session's row is its lock: whoever changes anything of a session locks it first, so seq, chats, the queue and
--   the dedupe of what came in need no locks of their own.
-- * events holds numbered rows only and is never updated; what has no position yet waits in outbox. So a commit looks
--   at one small table, not at every partition, for what it has to number.
-- * Texts that are compared byte by byte are collated "C", whatever the database's own collation is.
-- * JSON is kept as text: byte for byte what was written.

create table tenants (
    id          uuid primary key,
    created_at  bigint not null
);

create table api_keys (
    id          uuid primary key,
    tenant_id   uuid not null references tenants (id),
    hash        bytea not null unique,
    name        text not null,
    created_at  bigint not null
);
create index api_keys_by_tenant on api_keys (tenant_id);

create table sessions (
    id                uuid primary key,
    tenant_id         uuid not null,
    shard             integer not null,
    name              text collate "C",
    state             text not null,
    reason            text not null,
    pn                text,
    lid               text,
    push_name         text,
    endpoint          text not null,
    code              text,
    code_expires_at   bigint,
    connected_at      bigint,
    next_event_seq    bigint not null,
    next_command_seq  bigint not null,
    queued            bigint not null check (queued >= 0),
    created_at        bigint not null,
    updated_at        bigint not null,
    deleted_at        bigint
) with (fillfactor = 60);
create unique index sessions_by_name on sessions (tenant_id, name) where deleted_at is null and name is not null;
create index sessions_by_tenant on sessions (tenant_id, id);
create index sessions_by_shard on sessions (shard, id) where deleted_at is null;

create table session_transitions (
    session_id  uuid not null,
    n           bigint not null,
    tenant_id   uuid not null,
    from_state  text not null,
    to_state    text not null,
    reason      text not null,
    at          bigint not null,
    primary key (session_id, n)
);

create table session_auth_creds (
    session_id  uuid primary key,
    tenant_id   uuid not null,
    value       bytea not null
);

create table session_auth_keys (
    session_id  uuid not null,
    kind        text collate "C" not null,
    key         text collate "C" not null,
    tenant_id   uuid not null,
    value       bytea not null,
    stamp       bigint not null,
    primary key (session_id, kind, key)
);

create table commands (
    id          uuid primary key,
    tenant_id   uuid not null,
    session_id  uuid not null,
    shard       integer not null,
    seq         bigint not null,
    kind        text not null,
    state       text not null check (state in ('queued', 'taken', 'done', 'failed')),
    message_id  uuid,
    deadline    bigint,
    created_at  bigint not null,
    updated_at  bigint not null
);
create index commands_unfinished on commands (session_id, seq) where state in ('queued', 'taken');
create index commands_lifecycle on commands (session_id, seq)
    where state in ('queued', 'taken') and kind <> 'session.sendMessage';
create index commands_due on commands (shard, deadline) where deadline is not null and state in ('queued', 'taken');

-- Writers take a block of numbers at a time.
create sequence session_chat_ids increment by 1000;

create table session_chats (
    id               bigint primary key,
    tenant_id        uuid not null,
    session_id       uuid not null,
    jid              text not null,
    pn               text,
    lid              text,
    name             text,
    last_message     text,
    last_message_at  bigint not null
) with (fillfactor = 80);
create index session_chats_by_tenant on session_chats (tenant_id, last_message_at, id);

create table session_chat_aliases (
    session_id  uuid not null,
    address     text collate "C" not null,
    chat_id     bigint not null,
    tenant_id   uuid not null,
    primary key (session_id, address)
);

-- state is the rank: 0 queued, 1 sending, 2 sent, 3 delivered, 4 read, 5 played, 9 failed.
-- peer is the recipient of what went out, the sender of what came in; author tells apart who wrote in a group.
-- Partitioned by id: ids are UUID v7, so a range of ids is a range of time, and a look by id reads one partition.
create table session_messages (
    id          uuid not null,
    tenant_id   uuid not null,
    session_id  uuid not null,
    chat_id     bigint not null,
    direction   text collate "C" not null check (direction in ('in', 'out')),
    author      text collate "C" not null,
    peer        text not null,
    wa_id       text collate "C" not null,
    content     text not null,
    state       bigint not null,
    code        text,
    failure     text,
    command_id  uuid,
    deadline    bigint,
    timestamp   bigint not null,
    updated_at  bigint not null,
    primary key (id)
) partition by range (id);
create index session_messages_by_chat on session_messages (chat_id, timestamp, id);
-- Ids that say no time of their own, or one that no partition was made for.
create table session_messages_default partition of session_messages default;

-- By what WhatsApp calls a message it is known once, in whichever partition it lies: a unique index of the partitioned
-- table could not promise that. What waits to be sent is not in it: no news of it can come.
create table session_message_ids (
    session_id  uuid not null,
    wa_id       text collate "C" not null,
    chat_id     bigint not null,
    direction   text collate "C" not null,
    author      text collate "C" not null,
    message_id  uuid not null,
    primary key (session_id, wa_id, chat_id, direction, author)
);
-- For retention; it grows at one end.
create index session_message_ids_by_message on session_message_ids (message_id);

-- Partitioned by stored_at: the moment a row got its position, never less than that of the row before it in its log
-- (relays.stamped_at). So whatever partition is dropped first holds the beginning of every log, and no gap is left.
-- Each partition has a unique index on (shard, log, position); across partitions the relay's row under its lock is
-- what makes positions unique.
create table events (
    event_id     uuid not null,
    tenant_id    uuid not null,
    shard        integer not null,
    log          integer not null check (log in (0, 1)),
    session_id   uuid not null,
    seq          bigint not null,
    position     bigint not null,
    type         text not null,
    version      bigint not null,
    occurred_at  bigint not null,
    stored_at    bigint not null,
    data         text not null
) partition by range (stored_at);
create table events_default partition of events default;
create unique index events_default_by_position on events_default (shard, log, position);

-- The tail of the logs that has no position yet. id is the order of commits within a session.
create table outbox (
    shard        integer not null,
    log          integer not null check (log in (0, 1)),
    id           bigint generated always as identity (cache 1),
    event_id     uuid not null,
    tenant_id    uuid not null,
    session_id   uuid not null,
    seq          bigint not null,
    type         text not null,
    version      bigint not null,
    occurred_at  bigint not null,
    data         text not null,
    primary key (shard, log, id)
);

create table relays (
    shard       integer not null,
    log         integer not null,
    epoch       bigint not null,
    head        bigint not null,
    stamped_at  bigint not null,
    primary key (shard, log)
) with (fillfactor = 10);

create table leases (
    shard       integer primary key,
    node        text,
    address     text not null,
    epoch       bigint not null,
    expires_at  bigint not null
) with (fillfactor = 10);

create table cursors (
    shard       integer not null,
    log         integer not null,
    group_name  text collate "C" not null,
    position    bigint not null,
    primary key (shard, log, group_name)
) with (fillfactor = 10);

create table inbox (
    shard       integer not null,
    log         integer not null,
    group_name  text collate "C" not null,
    position    bigint not null,
    event_id    uuid not null,
    primary key (shard, log, group_name, position)
);

create table deliveries (
    shard       integer not null,
    log         integer not null,
    group_name  text collate "C" not null,
    position    bigint not null,
    event_id    uuid not null,
    attempts    bigint not null,
    error       text not null,
    next_at     bigint not null,
    updated_at  bigint not null,
    primary key (shard, log, group_name, position)
);

create table dead_letters (
    id          uuid primary key,
    tenant_id   uuid not null,
    session_id  uuid not null,
    shard       integer not null,
    log         integer not null,
    group_name  text collate "C" not null,
    position    bigint not null,
    event_id    uuid not null,
    event       text not null,
    state       text not null check (state in ('buried', 'redriving', 'resolved')),
    attempts    bigint not null,
    error       text not null,
    buried_at   bigint not null,
    updated_at  bigint not null
);
create unique index dead_letters_once on dead_letters (shard, log, group_name, event_id);
create index dead_letters_by_tenant on dead_letters (tenant_id, id);
create index dead_letters_redriving on dead_letters (shard, log, group_name, id) where state = 'redriving';

create table idempotency (
    tenant_id    uuid not null,
    key          text collate "C" not null,
    fingerprint  bytea not null,
    response     text not null,
    created_at   bigint not null,
    primary key (tenant_id, key)
);
create index idempotency_by_age on idempotency (created_at);

create table probes (
    id  bigint primary key,
    at  bigint not null
);

-- Which partitions there are, from and up to which moment.
create table partitions (
    name     text primary key,
    parent   text not null,
    from_at  bigint not null,
    upto_at  bigint not null
);

-- Makes the partition for the moment p_at and p_ahead more of p_span milliseconds each. One made by hand, or rows that
-- went to the default partition meanwhile, are left as they are.
create function recado_make_partitions(p_at bigint, p_span bigint, p_ahead integer) returns integer
language plpgsql as $$
declare
    made integer := 0;
    table_name text;
    start bigint;
    stop bigint;
    low text;
    high text;
    part text;
    strays boolean;
begin
    perform pg_advisory_xact_lock(7234900113);
    foreach table_name in array array['events', 'session_messages'] loop
        loop
            select greatest(coalesce(max(upto_at), 0), p_at - p_at % p_span) into start
                from partitions where parent = table_name;
            exit when start > p_at + p_span * p_ahead;
            stop := start - start % p_span + p_span;
            part := format('%s_%s', table_name, start);
            if table_name = 'events' then
                low := start::text;
                high := stop::text;
                select exists (select from events_default where stored_at >= start and stored_at < stop) into strays;
            else
                low := quote_literal(rpad(lpad(to_hex(start), 12, '0'), 32, '0')::uuid);
                high := quote_literal(rpad(lpad(to_hex(stop), 12, '0'), 32, '0')::uuid);
                execute format('select exists (select from session_messages_default where id >= %s and id < %s)',
                    low, high) into strays;
            end if;
            if not strays then
                execute format('create table %I partition of %I for values from (%s) to (%s)',
                    part, table_name, low, high);
                if table_name = 'events' then
                    execute format('create unique index on %I (shard, log, position)', part);
                end if;
                made := made + 1;
            end if;
            insert into partitions (name, parent, from_at, upto_at) values (part, table_name, start, stop);
        end loop;
    end loop;
    return made;
end $$;

-- Drops one partition of events that ended before p_before and that no group still needs; says whether there was one.
create function recado_drop_events(p_before bigint) returns boolean
language plpgsql as $$
declare
    part text;
    needed boolean;
begin
    perform pg_advisory_xact_lock(7234900113);
    select name into part from partitions where parent = 'events' and upto_at <= p_before order by from_at limit 1;
    if part is null then
        return false;
    end if;
    if to_regclass(format('%I', part)) is not null then
        -- A group that has handled nothing yet has its cursor at the beginning.
        execute format('select exists (select from cursors c where exists (select from %I e
            where e.shard = c.shard and e.log = c.log and e.position > c.position))', part) into needed;
        if needed then
            return false;
        end if;
        execute format('drop table %I', part);
    end if;
    delete from partitions where name = part;
    return true;
end $$;

-- Drops one partition of messages that ended before p_before, once at most p_limit names of its messages are left to
-- forget at a time; says whether there is more to do. Unfinished commands keep their message, and so its partition.
create function recado_drop_messages(p_before bigint, p_limit integer) returns boolean
language plpgsql as $$
declare
    part text;
    stop bigint;
    high uuid;
    needed boolean;
    forgotten integer;
begin
    perform pg_advisory_xact_lock(7234900113);
    select name, upto_at into part, stop from partitions
        where parent = 'session_messages' and upto_at <= p_before order by from_at limit 1;
    if part is null then
        return false;
    end if;
    if to_regclass(format('%I', part)) is not null then
        high := rpad(lpad(to_hex(stop), 12, '0'), 32, '0')::uuid;
        select exists (select from commands where deadline is not null and state in ('queued', 'taken')
            and message_id < high) into needed;
        if needed then
            return false;
        end if;
        delete from session_message_ids where (session_id, wa_id, chat_id, direction, author) in
            (select session_id, wa_id, chat_id, direction, author from session_message_ids
             where message_id < high order by message_id limit p_limit);
        get diagnostics forgotten = row_count;
        if forgotten = p_limit then
            return true;
        end if;
        execute format('drop table %I', part);
    end if;
    delete from partitions where name = part;
    return true;
end $$;
