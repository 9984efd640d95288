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

-- Messages accepted, and numbered by the stamps p_shards, in one round trip: docs/adr/0013. It knows one case only, in
-- which every write is accepted. At whatever else (a key or command used before, a full queue, a session that is not
-- there, a stale epoch, more rows than a stamp may number) it raises RC001 or a unique violation, has done nothing, and
-- the batch goes the long way, where it is judged. Locks in the order of that way: leases, sessions, relays.
create function recado_accept(
    p_shards bigint[], p_epochs bigint[], p_most bigint[], p_now bigint,
    p_tenant uuid[], p_session uuid[], p_limit bigint[], p_at bigint[], p_command uuid[], p_kind text[],
    p_wake uuid[], p_wake_data text[], p_key text[], p_fingerprint bytea[], p_response text[],
    p_message uuid[], p_wa_id text[], p_address text[], p_pn text[], p_lid text[], p_content text[], p_preview text[],
    p_deadline bigint[], p_event uuid[], p_event_data text[], p_chat bigint[], p_shard bigint[])
returns table (n bigint, command_seq bigint, command_position bigint, event_seq bigint, event_position bigint)
language plpgsql as $$
#variable_conflict use_column
declare
    wanted constant integer := cardinality(p_command);
    found_rows integer;
    valid boolean;
    command_seqs bigint[];
    event_seqs bigint[];
    shards bigint[];
    ranks bigint[];
    chats bigint[];
    known boolean[];
    -- By the place of a shard in p_shards: where its logs begin for what is new, and when they are stamped.
    event_bases bigint[] := '{}';
    command_bases bigint[] := '{}';
    stamps bigint[] := '{}';
    event_head bigint;
    command_head bigint;
    event_stamp bigint;
    command_stamp bigint;
    stamp bigint;
    fresh bigint;
begin
    if cardinality(p_shards) > 0 then
        select count(*) into found_rows from
            (select l.shard, l.epoch from leases l where l.shard = any(p_shards) and l.node is not null
             order by l.shard for key share) l
            join unnest(p_shards, p_epochs) v(shard, epoch) on v.shard = l.shard and v.epoch = l.epoch;
        if found_rows <> cardinality(p_shards) then
            raise exception 'a stale stamp' using errcode = 'RC001';
        end if;
    end if;

    perform from sessions s where s.id = any(p_session) order by s.id for update;
    select count(*), bool_and(s.queued + v.rank <= v.most and s.shard = v.shard),
        array_agg(s.next_command_seq + v.rank - 1 order by v.n), array_agg(s.next_event_seq + v.rank - 1 order by v.n),
        array_agg(s.shard::bigint order by v.n)
        into found_rows, valid, command_seqs, event_seqs, shards
        from (select u.*, row_number() over (partition by u.session order by u.n) as rank
              from unnest(p_session, p_tenant, p_limit, p_shard) with ordinality u(session, tenant, most, shard, n)) v
        join sessions s on s.id = v.session and s.tenant_id = v.tenant and s.deleted_at is null;
    if found_rows <> wanted or not valid then
        raise exception 'not all can be accepted' using errcode = 'RC001';
    end if;

    select array_agg(coalesce(v.chat_id, v.first_id) order by v.n), array_agg(v.chat_id is not null order by v.n)
        into chats, known
        from (select u.n, a.chat_id, first_value(u.chat) over (partition by u.session, u.address order by u.n) as first_id
              from unnest(p_session, p_address, p_chat) with ordinality u(session, address, chat, n)
              left join session_chat_aliases a on a.session_id = u.session and a.address = u.address) v;
    insert into session_chats as c (id, tenant_id, session_id, jid, pn, lid, last_message, last_message_at)
        select distinct on (u.chat) u.chat, u.tenant, u.session, u.address, u.pn, u.lid, u.preview, u.at
        from unnest(chats, p_tenant, p_session, p_address, p_pn, p_lid, p_preview, p_at)
            with ordinality u(chat, tenant, session, address, pn, lid, preview, at, n)
        order by u.chat, u.at desc, u.n desc
        on conflict (id) do update set last_message = excluded.last_message, last_message_at = excluded.last_message_at
        where c.last_message is null or excluded.last_message_at >= c.last_message_at;
    if not (true = all(known)) then
        insert into session_chat_aliases (session_id, address, chat_id, tenant_id)
            select u.session, u.address, u.chat, u.tenant
            from unnest(p_session, p_address, chats, p_tenant, known) u(session, address, chat, tenant, known)
            where not u.known on conflict do nothing;
    end if;

    insert into commands (id, tenant_id, session_id, shard, seq, kind, state, message_id, deadline, created_at, updated_at)
        select u.command, u.tenant, u.session, u.shard, u.seq, u.kind, 'queued', u.message, u.deadline, u.at, u.at
        from unnest(p_command, p_tenant, p_session, shards, command_seqs, p_kind, p_message, p_deadline, p_at)
            u(command, tenant, session, shard, seq, kind, message, deadline, at);
    insert into session_messages (id, tenant_id, session_id, chat_id, direction, author, peer, wa_id, content, state,
        command_id, deadline, timestamp, updated_at)
        select u.message, u.tenant, u.session, u.chat, 'out', '', u.address, u.wa_id, u.content, 0, u.command,
            u.deadline, u.at, u.at
        from unnest(p_message, p_tenant, p_session, chats, p_address, p_wa_id, p_content, p_command, p_deadline, p_at)
            u(message, tenant, session, chat, address, wa_id, content, command, deadline, at);
    if cardinality(p_key) > 0 then
        insert into idempotency (tenant_id, key, fingerprint, response, created_at)
            select u.tenant, u.key, u.fingerprint, u.response, u.at
            from unnest(p_tenant, p_key, p_fingerprint, p_response, p_at) u(tenant, key, fingerprint, response, at)
            where u.key is not null order by u.tenant, u.key;
    end if;
    update sessions s set next_command_seq = s.next_command_seq + v.more, next_event_seq = s.next_event_seq + v.more,
        queued = s.queued + v.more
        from (select u.session, count(*) as more from unnest(p_session) u(session) group by u.session) v
        where s.id = v.session;

    for i in 1 .. cardinality(p_shards) loop
        select r.head, r.stamped_at into event_head, event_stamp from relays r
            where r.shard = p_shards[i] and r.log = 0 and r.epoch = p_epochs[i] for update;
        select r.head, r.stamped_at into command_head, command_stamp from relays r
            where r.shard = p_shards[i] and r.log = 1 and r.epoch = p_epochs[i] for update;
        stamp := greatest(event_stamp, command_stamp, p_now);
        if stamp is null then
            raise exception 'a leased shard without its relay' using errcode = 'RC001';
        end if;
        fresh := cardinality(array_positions(shards, p_shards[i]));
        if fresh > p_most[i] or exists (select from outbox o where o.shard = p_shards[i]) then
            -- Rows of other nodes come first: the long way knows how many.
            raise exception 'rows wait for their position' using errcode = 'RC001';
        end if;
        event_bases := event_bases || event_head;
        command_bases := command_bases || command_head;
        stamps := stamps || stamp;
        if fresh > 0 then
            update relays r set head = r.head + fresh, stamped_at = stamp where r.shard = p_shards[i];
        end if;
        n := -i;
        command_position := command_head + fresh;
        event_position := event_head + fresh;
        return next;
    end loop;

    select array_agg(v.rank order by v.n) into ranks
        from (select u.n, row_number() over (partition by u.shard order by u.n) as rank
              from unnest(shards) with ordinality u(shard, n)) v;
    insert into events (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data, position,
        stored_at)
        select e.id, u.tenant, u.shard, e.log, u.session, e.seq, e.type, 1, u.at, e.data, e.base + u.rank, stamps[u.place]
        from (select x.*, array_position(p_shards, x.shard) as place
              from unnest(p_tenant, p_session, p_at, shards, ranks, p_wake, p_wake_data, command_seqs, p_kind, p_event,
                  p_event_data, event_seqs) with ordinality
                  x(tenant, session, at, shard, rank, wake, wake_data, command_seq, kind, event, event_data, event_seq, n)) u
            cross join lateral (values
                (u.event, 0, u.event_seq, 'message.queued', u.event_data, event_bases[u.place]),
                (u.wake, 1, u.command_seq, u.kind, u.wake_data, command_bases[u.place])) e(id, log, seq, type, data, base)
        where u.place is not null order by e.log, u.n;
    insert into outbox (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data)
        select e.id, u.tenant, u.shard, e.log, u.session, e.seq, e.type, 1, u.at, e.data
        from unnest(p_tenant, p_session, p_at, shards, p_wake, p_wake_data, command_seqs, p_kind, p_event,
                p_event_data, event_seqs) with ordinality
                u(tenant, session, at, shard, wake, wake_data, command_seq, kind, event, event_data, event_seq, n)
            cross join lateral (values (u.event, 0, u.event_seq, 'message.queued', u.event_data),
                (u.wake, 1, u.command_seq, u.kind, u.wake_data)) e(id, log, seq, type, data)
        where array_position(p_shards, u.shard) is null order by u.n, e.log;

    return query select u.n, u.command_seq, command_bases[u.place] + u.rank, u.event_seq, event_bases[u.place] + u.rank
        from (select x.*, array_position(p_shards, x.shard) as place
              from unnest(command_seqs, event_seqs, shards, ranks) with ordinality
                  x(command_seq, event_seq, shard, rank, n)) u order by u.n;
end $$;
