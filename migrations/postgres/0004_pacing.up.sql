-- What a session has sent and what WhatsApp refused, for pacing: a row only where something is counted.
create table session_pacing (
    session_id     uuid primary key,
    tenant_id      uuid not null,
    day            bigint not null,
    sent           bigint not null,
    new_chats      bigint not null,
    rate_at        bigint not null,
    new_chat_at    bigint not null,
    chats_refused  bigint not null,
    chats_until    bigint not null,
    sends_refused  bigint not null,
    sends_until    bigint not null
) with (fillfactor = 60);

-- When the account was linked, and until when none of a session's messages may go.
alter table sessions add column linked_at bigint;
alter table sessions add column paced_until bigint;
update sessions set linked_at = created_at where pn is not null;
