drop table facts;
drop table nodes;
