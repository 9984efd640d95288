-- Every table that holds anything of a tenant carries tenant_id. Ids are 16-byte UUIDs (v7: they sort by time),
-- moments are milliseconds since 1970, logs are 0 = domain-events and 1 = session-commands.
-- What a commit costs is the pages it touches. So there is no index by session where a look at one session's rows will do.
-- Hot tables declare no foreign keys: sessions are never deleted (deleted_at), and one writer checks before it writes.

create table tenants (
    id          blob primary key not null,
    created_at  integer not null
) strict, without rowid;

create table api_keys (
    id          blob primary key not null,
    tenant_id   blob not null references tenants (id),
    hash        blob not null unique,
    name        text not null,
    created_at  integer not null
) strict, without rowid;
create index api_keys_by_tenant on api_keys (tenant_id);

create table sessions (
    id                blob primary key not null,
    tenant_id         blob not null references tenants (id),
    shard             integer not null,
    name              text,
    state             text not null,
    reason            text not null,
    pn                text,
    lid               text,
    push_name         text,
    endpoint          text not null,
    code              text,
    code_expires_at   integer,
    connected_at      integer,
    next_event_seq    integer not null,
    next_command_seq  integer not null,
    queued            integer not null check (queued >= 0),
    created_at        integer not null,
    updated_at        integer not null,
    deleted_at        integer
) strict, without rowid;
create unique index sessions_by_name on sessions (tenant_id, name) where deleted_at is null and name is not null;
create index sessions_by_tenant on sessions (tenant_id, id);
create index sessions_by_shard on sessions (shard, id) where deleted_at is null;

create table session_transitions (
    session_id  blob not null,
    n           integer not null,
    tenant_id   blob not null,
    from_state  text not null,
    to_state    text not null,
    reason      text not null,
    at          integer not null,
    primary key (session_id, n)
) strict, without rowid;

create table session_auth_creds (
    session_id  blob primary key not null references sessions (id),
    tenant_id   blob not null,
    value       blob not null
) strict;

create table session_auth_keys (
    session_id  blob not null,
    kind        text not null,
    key         text not null,
    tenant_id   blob not null,
    value       blob not null,
    stamp       integer not null,
    primary key (session_id, kind, key)
) strict, without rowid;

create table commands (
    id          blob primary key not null,
    tenant_id   blob not null,
    session_id  blob not null,
    shard       integer not null,
    seq         integer not null,
    kind        text not null,
    state       text not null check (state in ('queued', 'taken', 'done', 'failed')),
    message_id  blob,
    deadline    integer,
    created_at  integer not null,
    updated_at  integer not null
) strict, without rowid;
create index commands_unfinished on commands (session_id, seq) where state in ('queued', 'taken');
create index commands_lifecycle on commands (session_id, seq)
    where state in ('queued', 'taken') and kind <> 'session.sendMessage';
create index commands_due on commands (shard, deadline) where deadline is not null and state in ('queued', 'taken');

create table session_chats (
    id               integer primary key not null,
    tenant_id        blob not null,
    session_id       blob not null,
    jid              text not null,
    pn               text,
    lid              text,
    name             text,
    last_message     text,
    last_message_at  integer not null
) strict;
create index session_chats_by_tenant on session_chats (tenant_id, last_message_at, id);

create table session_chat_aliases (
    session_id  blob not null,
    address     text not null,
    chat_id     integer not null,
    tenant_id   blob not null,
    primary key (session_id, address)
) strict, without rowid;

-- state is the rank: 0 queued, 1 sending, 2 sent, 3 delivered, 4 read, 5 played, 9 failed.
-- peer is the recipient of what went out, the sender of what came in; author tells apart who wrote in a group.
create table session_messages (
    id          blob primary key not null,
    tenant_id   blob not null,
    session_id  blob not null,
    chat_id     integer not null,
    direction   text not null check (direction in ('in', 'out')),
    author      text not null,
    peer        text not null,
    wa_id       text not null,
    content     text not null,
    state       integer not null,
    code        text,
    failure     text,
    command_id  blob,
    deadline    integer,
    timestamp   integer not null,
    updated_at  integer not null
) strict, without rowid;
-- What waits to be sent is not in it: no news of it can come, and an accepted message touches a page less.
create unique index session_messages_once on session_messages (session_id, wa_id, chat_id, direction, author)
    where state > 0;
create index session_messages_by_chat on session_messages (chat_id, timestamp, id);

-- id is the order of commits: one writer inserts, and counts seq per session in the same transaction. An index that proves
-- it again would be the dearest part of a commit: it scatters over as many pages as there are sessions.
create table events (
    id           integer primary key not null,
    event_id     blob not null,
    tenant_id    blob not null,
    shard        integer not null,
    log          integer not null check (log in (0, 1)),
    session_id   blob not null,
    seq          integer not null,
    position     integer,
    type         text not null,
    version      integer not null,
    occurred_at  integer not null,
    data         text not null
) strict;
create index events_unstamped on events (shard, log) where position is null;
create unique index events_by_position on events (shard, log, position) where position is not null;

create table relays (
    shard  integer not null,
    log    integer not null,
    epoch  integer not null,
    head   integer not null,
    primary key (shard, log)
) strict, without rowid;

create table leases (
    shard       integer primary key not null,
    node        text,
    address     text not null,
    epoch       integer not null,
    expires_at  integer not null
) strict;

create table cursors (
    shard       integer not null,
    log         integer not null,
    group_name  text not null,
    position    integer not null,
    primary key (shard, log, group_name)
) strict, without rowid;

create table inbox (
    shard       integer not null,
    log         integer not null,
    group_name  text not null,
    position    integer not null,
    event_id    blob not null,
    primary key (shard, log, group_name, position)
) strict, without rowid;

create table deliveries (
    shard       integer not null,
    log         integer not null,
    group_name  text not null,
    position    integer not null,
    event_id    blob not null,
    attempts    integer not null,
    error       text not null,
    next_at     integer not null,
    updated_at  integer not null,
    primary key (shard, log, group_name, position)
) strict, without rowid;

create table dead_letters (
    id          blob primary key not null,
    tenant_id   blob not null,
    session_id  blob not null,
    shard       integer not null,
    log         integer not null,
    group_name  text not null,
    position    integer not null,
    event_id    blob not null,
    event       text not null,
    state       text not null check (state in ('buried', 'redriving', 'resolved')),
    attempts    integer not null,
    error       text not null,
    buried_at   integer not null,
    updated_at  integer not null
) strict;
create unique index dead_letters_once on dead_letters (shard, log, group_name, event_id);
create index dead_letters_by_tenant on dead_letters (tenant_id, id);
create index dead_letters_redriving on dead_letters (shard, log, group_name, id) where state = 'redriving';

-- id is the order of time.
create table idempotency (
    id           integer primary key not null,
    tenant_id    blob not null,
    key          text not null,
    fingerprint  blob not null,
    response     text not null,
    created_at   integer not null
) strict;
create unique index idempotency_by_key on idempotency (tenant_id, key);

create table probes (
    id  integer primary key not null,
    at  integer not null
) strict;
