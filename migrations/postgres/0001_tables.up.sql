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

-- How far consumer groups are, for several at once; each group at most once. Raises RC001 when a writer lost its shard,
-- and has done nothing then.
create function recado_handled(
    p_shard bigint[], p_epoch bigint[], p_log bigint[], p_group text[], p_cursor bigint[],
    p_above_place bigint[], p_above bigint[], p_above_event uuid[])
returns void language plpgsql as $$
#variable_conflict use_column
declare
    held bigint[];
    epochs bigint[];
    valid boolean;
begin
    select array_agg(l.shard), array_agg(l.epoch) into held, epochs from
        (select l.shard, l.epoch from leases l where l.shard = any(p_shard) and l.node is not null
         order by l.shard for key share) l;
    select bool_and(coalesce(epochs[array_position(held, v.shard)] = v.epoch, false)) into valid
        from unnest(p_shard, p_epoch) v(shard, epoch);
    if not valid then
        raise exception 'a writer lost its shard' using errcode = 'RC001';
    end if;
    -- The rows above a cursor and those it passes are never the same, so all of it is one statement.
    with v as materialized (select * from unnest(p_shard, p_log, p_group, p_cursor)
            with ordinality v(shard, log, group_name, cursor, n)),
        advanced as (insert into cursors (shard, log, group_name, position)
            select v.shard, v.log, v.group_name, v.cursor from v order by v.shard, v.log, v.group_name
            on conflict (shard, log, group_name) do update
                set position = greatest(cursors.position, excluded.position)),
        above as materialized (select v.shard, v.log, v.group_name, a.position, a.event_id
            from unnest(p_above_place, p_above, p_above_event) a(place, position, event_id) join v on v.n = a.place),
        kept as (insert into inbox (shard, log, group_name, position, event_id) select * from above
            on conflict do nothing),
        settled as (delete from deliveries d using above a where d.shard = a.shard and d.log = a.log
            and d.group_name = a.group_name and d.position = a.position),
        passed as (delete from inbox i using v where i.shard = v.shard and i.log = v.log
            and i.group_name = v.group_name and i.position <= v.cursor)
    delete from deliveries d using v where d.shard = v.shard and d.log = v.log
        and d.group_name = v.group_name and d.position <= v.cursor;
end $$;

-- Messages accepted, and numbered by the stamps p_shards, in one round trip: docs/adr/0013. It knows one case only, in
-- which every write is accepted. At whatever else (a key or command used before, a full queue, a session that is not
-- there, a stale epoch, more rows than a stamp may number) it raises RC001 or a unique violation, has done nothing, and
-- the batch goes the long way, where it is judged. Locks leases, relays, sessions: whoever locks a relay holds a share of
-- its lease, so nobody who holds sessions waits for a relay held here.
--
-- Answers where the rows are: the seqs by the order of the messages, and by the order of p_shards where each log ended
-- before. Few statements, each over the whole batch: a statement costs more here than a row.
create function recado_accept(
    p_shards bigint[], p_epochs bigint[], p_most bigint[], p_now bigint,
    p_tenant uuid[], p_session uuid[], p_limit bigint[], p_at bigint[], p_command uuid[], p_kind text[],
    p_wake uuid[], p_wake_data text[], p_key text[], p_fingerprint bytea[], p_response text[],
    p_message uuid[], p_wa_id text[], p_address text[], p_pn text[], p_lid text[], p_content text[], p_preview text[],
    p_deadline bigint[], p_event uuid[], p_event_data text[], p_chat bigint[], p_shard bigint[],
    out command_seqs bigint[], out event_seqs bigint[], out command_bases bigint[], out event_bases bigint[])
language plpgsql as $$
#variable_conflict use_column
declare
    wanted constant integer := cardinality(p_command);
    stamping constant integer := cardinality(p_shards);
    found_rows integer;
    valid boolean;
    chats bigint[];
    known boolean;
    -- By message: its place among the new ones of its shard, and the shard's place in p_shards.
    ranks bigint[];
    places integer[];
    stamps bigint[];
begin
    if stamping > 0 then
        select count(*), array_agg(l.head order by v.n) filter (where l.log = 0),
            array_agg(l.head order by v.n) filter (where l.log = 1),
            array_agg(greatest(l.stamped_at, p_now) order by v.n) filter (where l.log = 0)
            into found_rows, event_bases, command_bases, stamps
            from (select l.shard, r.log, r.head, r.stamped_at, l.epoch from leases l
                  join relays r on r.shard = l.shard and r.epoch = l.epoch
                  where l.shard = any(p_shards) and l.node is not null
                  order by l.shard, r.log for key share of l for no key update of r) l
            join unnest(p_shards, p_epochs) with ordinality v(shard, epoch, n)
                on v.shard = l.shard and v.epoch = l.epoch;
        if found_rows <> 2 * stamping then
            raise exception 'a stale stamp' using errcode = 'RC001';
        end if;
    end if;

    select count(*), bool_and(s.queued + v.rank <= v.most and s.shard = v.shard and s.tenant_id = v.tenant
            and s.deleted_at is null and coalesce(v.shard_rank <= p_most[v.place], true)),
        array_agg(s.next_command_seq + v.rank - 1 order by v.n), array_agg(s.next_event_seq + v.rank - 1 order by v.n),
        array_agg(v.shard_rank order by v.n), array_agg(v.place order by v.n)
        into found_rows, valid, command_seqs, event_seqs, ranks, places
        from (select u.*, row_number() over (partition by u.session order by u.n) as rank,
                  row_number() over (partition by u.shard order by u.n) as shard_rank,
                  array_position(p_shards, u.shard) as place
              from unnest(p_session, p_tenant, p_limit, p_shard) with ordinality u(session, tenant, most, shard, n)) v
        join (select s.id, s.tenant_id, s.shard, s.queued, s.next_command_seq, s.next_event_seq, s.deleted_at
              from sessions s where s.id = any(p_session) order by s.id for no key update) s on s.id = v.session;
    if found_rows <> wanted or not valid then
        raise exception 'not all can be accepted' using errcode = 'RC001';
    end if;
    -- Rows of other nodes come first: the long way knows how many. Only now, when the sessions are locked: before, a row
    -- of one of them could still be on its way, with an earlier seq than ours.
    if stamping > 0 and exists (select from outbox o where o.shard = any(p_shards)) then
        raise exception 'rows wait for their position' using errcode = 'RC001';
    end if;

    select array_agg(coalesce(v.chat_id, v.first_id) order by v.n), bool_and(v.chat_id is not null) into chats, known
        from (select u.n, a.chat_id, first_value(u.chat) over (partition by u.session, u.address order by u.n) as first_id
              from unnest(p_session, p_address, p_chat) with ordinality u(session, address, chat, n)
              left join session_chat_aliases a on a.session_id = u.session and a.address = u.address) v;
    if known then
        update session_chats c set last_message = v.preview, last_message_at = v.at
            from (select distinct on (u.chat) u.chat, u.preview, u.at
                  from unnest(chats, p_preview, p_at) with ordinality u(chat, preview, at, n)
                  order by u.chat, u.at desc, u.n desc) v
            where c.id = v.chat and (c.last_message is null or v.at >= c.last_message_at);
    else
        insert into session_chats as c (id, tenant_id, session_id, jid, pn, lid, last_message, last_message_at)
            select distinct on (u.chat) u.chat, u.tenant, u.session, u.address, u.pn, u.lid, u.preview, u.at
            from unnest(chats, p_tenant, p_session, p_address, p_pn, p_lid, p_preview, p_at)
                with ordinality u(chat, tenant, session, address, pn, lid, preview, at, n)
            order by u.chat, u.at desc, u.n desc
            on conflict (id) do update
                set last_message = excluded.last_message, last_message_at = excluded.last_message_at
            where c.last_message is null or excluded.last_message_at >= c.last_message_at;
        insert into session_chat_aliases (session_id, address, chat_id, tenant_id)
            select u.session, u.address, u.chat, u.tenant
            from unnest(p_session, p_address, chats, p_tenant) u(session, address, chat, tenant)
            on conflict do nothing;
    end if;

    if cardinality(p_key) > 0 then
        insert into idempotency (tenant_id, key, fingerprint, response, created_at)
            select u.tenant, u.key, u.fingerprint, u.response, u.at
            from unnest(p_tenant, p_key, p_fingerprint, p_response, p_at) u(tenant, key, fingerprint, response, at)
            where u.key is not null order by u.tenant, u.key;
    end if;
    insert into commands (id, tenant_id, session_id, shard, seq, kind, state, message_id, deadline, created_at, updated_at)
        select u.command, u.tenant, u.session, u.shard, u.seq, u.kind, 'queued', u.message, u.deadline, u.at, u.at
        from unnest(p_command, p_tenant, p_session, p_shard, command_seqs, p_kind, p_message, p_deadline, p_at)
            u(command, tenant, session, shard, seq, kind, message, deadline, at);
    insert into session_messages (id, tenant_id, session_id, chat_id, direction, author, peer, wa_id, content, state,
        command_id, deadline, timestamp, updated_at)
        select u.message, u.tenant, u.session, u.chat, 'out', '', u.address, u.wa_id, u.content, 0, u.command,
            u.deadline, u.at, u.at
        from unnest(p_message, p_tenant, p_session, chats, p_address, p_wa_id, p_content, p_command, p_deadline, p_at)
            u(message, tenant, session, chat, address, wa_id, content, command, deadline, at);
    with told as (select u.session, count(*) as more from unnest(p_session) u(session) group by u.session),
        numbered as (update relays r set head = r.head + v.more, stamped_at = stamps[v.place]
            from (select u.place, count(*) as more from unnest(places) u(place) where u.place is not null
                  group by u.place) v
            where r.shard = p_shards[v.place])
    update sessions s set next_command_seq = s.next_command_seq + told.more,
        next_event_seq = s.next_event_seq + told.more, queued = s.queued + told.more
        from told where s.id = told.session;

    insert into events (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data, position,
        stored_at)
        select u.event, u.tenant, u.shard, 0, u.session, u.seq, 'message.queued', 1, u.at, u.data,
            event_bases[u.place] + u.rank, stamps[u.place]
        from unnest(p_event, p_tenant, p_shard, p_session, event_seqs, p_at, p_event_data, ranks, places)
            u(event, tenant, shard, session, seq, at, data, rank, place)
        where u.place is not null
        union all
        select u.event, u.tenant, u.shard, 1, u.session, u.seq, u.kind, 1, u.at, u.data,
            command_bases[u.place] + u.rank, stamps[u.place]
        from unnest(p_wake, p_tenant, p_shard, p_session, command_seqs, p_at, p_wake_data, ranks, places, p_kind)
            u(event, tenant, shard, session, seq, at, data, rank, place, kind)
        where u.place is not null;
    if array_position(places, null) is not null then
        insert into outbox (event_id, tenant_id, shard, log, session_id, seq, type, version, occurred_at, data)
            select e.id, u.tenant, u.shard, e.log, u.session, e.seq, e.type, 1, u.at, e.data
            from unnest(p_tenant, p_session, p_at, p_shard, p_wake, p_wake_data, command_seqs, p_kind, p_event,
                    p_event_data, event_seqs, places) with ordinality
                    u(tenant, session, at, shard, wake, wake_data, command_seq, kind, event, event_data, event_seq,
                      place, n)
                cross join lateral (values (u.event, 0, u.event_seq, 'message.queued', u.event_data),
                    (u.wake, 1, u.command_seq, u.kind, u.wake_data)) e(id, log, seq, type, data)
            where u.place is null order by u.n, e.log;
    end if;
end $$;
