-- What a session has sent and what WhatsApp refused, for pacing: a row only where something is counted.
create table session_pacing (
    session_id     blob primary key not null,
    tenant_id      blob not null,
    day            integer not null,
    sent           integer not null,
    new_chats      integer not null,
    rate_at        integer not null,
    new_chat_at    integer not null,
    chats_refused  integer not null,
    chats_until    integer not null,
    sends_refused  integer not null,
    sends_until    integer not null
) strict, without rowid;

-- When the account was linked, and until when none of a session's messages may go.
alter table sessions add column linked_at integer;
alter table sessions add column paced_until integer;
update sessions set linked_at = created_at where pn is not null;
