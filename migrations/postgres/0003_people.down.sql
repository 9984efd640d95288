do $$
declare
    name text;
begin
    foreach name in array array['tenants', 'api_keys', 'sessions', 'session_transitions', 'session_auth_creds',
            'session_auth_keys', 'commands', 'session_chats', 'session_chat_aliases', 'session_messages', 'events',
            'outbox', 'dead_letters', 'idempotency'] loop
        execute format('drop policy %I on %I', name || '_seen', name);
        execute format('drop policy %I on %I', name || '_added', name);
        execute format('drop policy %I on %I', name || '_changed', name);
        execute format('drop policy %I on %I', name || '_removed', name);
        execute format('alter table %I no force row level security', name);
        execute format('alter table %I disable row level security', name);
    end loop;
end $$;

drop table audit_log;
drop function recado_audit_stays();
drop table signing_keys;
alter table api_keys drop column replaced_by;
alter table api_keys drop column revoked_at;
alter table api_keys drop column last_used_at;
alter table api_keys drop column expires_at;
alter table api_keys drop column created_by;
alter table api_keys drop column sessions;
alter table api_keys drop column scopes;
alter table api_keys drop column prefix;
drop table one_time_tokens;
drop table logins;
drop table users;
alter table tenants drop column suspended_at;
alter table tenants drop column next_event_seq;
alter table tenants drop column name;
