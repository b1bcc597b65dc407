# shell: /bin/bash
# needs: psql=postgresql-client /usr/lib/postgresql/15/bin/pgbench=postgresql setpriv=util-linux
# heavy: a large package
# A database cluster: made, started, asked by many at once, stopped, killed and recovered.
set -u
b=$(echo /usr/lib/postgresql/*/bin); d=$(mktemp -d); chmod 755 "$d"; mkdir "$d/pg"; chown nobody "$d/pg"; cd "$d/pg"
as() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
trap 'as $b/pg_ctl -D $d/pg/data -m immediate stop > /dev/null 2>&1; cd /; rm -rf "$d"' EXIT
as $b/initdb -D data -A trust -U postgres -N > initdb.log 2>&1; echo "initdb $?"
cat >> data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$d/pg'
shared_buffers = 16MB
END
as $b/pg_ctl -D data -l log -w start > ctl.log 2>&1; echo "start $?"
q() { psql -XAt -h "$d/pg" -U postgres "$@"; }
q -c 'select 6*7' -c 'show data_checksums' -c "select count(*) > 100 from pg_proc"
q <<'END'
create table t(i int primary key, s text);
insert into t select n, md5(n::text) from generate_series(1, 20000) n;
create index on t(s); analyze t;
select count(*), min(s), max(s), sum(i) from t;
begin; delete from t where i % 2 = 0; select count(*) from t; rollback; select count(*) from t;
create function f(int) returns int language plpgsql as $$ begin return $1 * 2; end $$; select f(21);
set max_parallel_workers_per_gather = 2; set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
select count(*), sum(length(s)) from t where s like '%a%';
copy (select * from t order by i limit 3) to stdout;
vacuum full t; checkpoint;
END
$b/pgbench -h "$d/pg" -U postgres -i -s 1 -q postgres > bench.log 2>&1; echo "pgbench -i $?"
$b/pgbench -h "$d/pg" -U postgres -c 4 -j 2 -t 50 postgres 2>&1 | grep -E '^(number of trans|number of failed|transaction type)'
q -c 'select count(*) from pgbench_history' -c 'select sum(abalance) = (select sum(bbalance) from pgbench_branches) from pgbench_accounts'
q -c 'listen c' -c "notify c, 'x'" | sed 's/PID [0-9]*/PID n/'
$b/pg_dump -h "$d/pg" -U postgres -t t postgres | grep -v '^--' | grep -v '^.\(un\)\?restrict' | sha256sum
as $b/pg_ctl -D data -m immediate stop > /dev/null; echo "stop $?"
as $b/pg_ctl -D data -l log -w start > /dev/null; echo "recovered $?"
q -c 'select count(*) from t' -c 'select count(*) from pgbench_history'
as $b/pg_ctl -D data -m fast stop > /dev/null; echo "stop $?"
grep -cE "PANIC|FATAL|ERROR" log; true
