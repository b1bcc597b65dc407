# shell: /bin/sh
# needs: redis-server=redis-server redis-benchmark=redis-tools redis-cli=redis-tools
# A server, its client, persistence and the benchmark.
set -eu
d=$(mktemp -d); cd "$d"; trap 'kill $p 2>/dev/null || true; wait; rm -rf "$d"' EXIT
redis-server --port 0 --unixsocket "$d/s" --dir "$d" --save '' --appendonly no --daemonize no > log 2>&1 & p=$!
i=0; until redis-cli -s s ping 2>/dev/null | grep -q PONG; do i=$((i+1)); [ $i -lt 200 ] || { cat log; exit 1; }; sleep 0.05; done
redis-cli -s s set k v; redis-cli -s s get k; redis-cli -s s incrby n 41; redis-cli -s s incr n
redis-cli -s s rpush l a b c; redis-cli -s s lrange l 0 -1; redis-cli -s s eval 'return redis.call("get", KEYS[1])' 1 k
redis-benchmark -s s -n 2000 -c 10 -P 4 -t set,get,lpush,lrange_100 --csv | cut -d, -f1
redis-cli -s s dbsize; redis-cli -s s save; ls *.rdb; redis-cli -s s bgsave > /dev/null
i=0; while redis-cli -s s info persistence | grep -q 'rdb_bgsave_in_progress:1'; do sleep 0.05; done
redis-cli -s s info persistence | grep rdb_last_bgsave_status
redis-cli -s s debug sleep 0 > /dev/null 2>&1 || true; redis-cli -s s shutdown nosave 2>/dev/null || true
wait $p && echo "server ended"
redis-server --port 7391 --bind 127.0.0.1 --dir "$d" --save '' > log2 2>&1 & p=$!
i=0; until redis-cli -p 7391 ping 2>/dev/null | grep -q PONG; do i=$((i+1)); [ $i -lt 200 ] || { cat log2; exit 1; }; sleep 0.05; done
redis-cli -p 7391 get n; redis-benchmark -p 7391 -n 2000 -c 10 -t ping,set,get --csv | cut -d, -f1
