alter table sessions drop column paced_until;
alter table sessions drop column linked_at;
drop table session_pacing;
