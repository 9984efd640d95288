-- Who is there. `seen_at` changes as long as the node lives; nobody compares it with a clock of their own.
create table nodes (
    node        text primary key,
    address     text not null,
    roles       text not null,
    version     text not null,
    started_at  bigint not null,
    seen_at     bigint not null
);

-- What must stay as it was when the tables were first used, such as the number of shards.
create table facts (
    name   text primary key,
    value  text not null
);
