# shell: /bin/sh
# needs: sqlite3=sqlite3
# Databases with journal and write-ahead log, two writers at a time.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
sqlite3 a.db 'create table t(i integer primary key, s text);
 with recursive n(x) as (select 1 union all select x+1 from n where x < 5000) insert into t select x, hex(x*x) from n;
 select count(*), sum(i), min(s), max(s) from t;'
sqlite3 a.db 'create index k on t(s); begin; update t set s = s || "x" where i % 3 = 0; rollback; select count(*) from t where s like "%x"; pragma integrity_check;'
sqlite3 a.db 'pragma journal_mode=wal; insert into t(s) values("wal"); select max(i) from t; pragma wal_checkpoint;'
for w in 1 2 3; do
  ( i=0; while [ $i -lt 20 ]; do sqlite3 -cmd '.timeout 20000' a.db "insert into t(s) values('w$w')"; i=$((i+1)); done ) &
done; wait
sqlite3 a.db 'select s, count(*) from t where s like "w_" group by s; vacuum; pragma integrity_check;'
sqlite3 a.db .dump | grep -v -e wal -e "'w[0-9]'" | sha256sum
ls
