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

-- The second wall between tenants, as in 0003.
do $$
declare
    seen text := '(case when current_setting(''recado.tenant'', true) = ''*'' then 1
        when tenant_id::text = current_setting(''recado.tenant'', true) then 1 else 0 end) <> 0';
begin
    alter table session_pacing enable row level security;
    alter table session_pacing force row level security;
    execute 'create policy session_pacing_seen on session_pacing for select using (' || seen || ')';
    create policy session_pacing_added on session_pacing for insert with check (true);
    execute 'create policy session_pacing_changed on session_pacing for update using (' || seen || ') with check (true)';
    execute 'create policy session_pacing_removed on session_pacing for delete using (' || seen || ')';
end $$;
