# Everyday use of containerd's own client. Run once with runc and once with runsc: each case must print the same.
# $CTR is the client, $BINARY the runtime's program, $IMAGE the image.
c() { timeout -k 5 30 $CTR "$@" 2>&1; }
r() { c run --runc-binary "$BINARY" --snapshotter native "$@"; }
tty() { timeout -k 5 30 script -qec "$CTR $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g'; }
case_() { echo "== $*"; }
both() { "$@"; echo "status $?"; }
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
id=engines

case_ run prints; both r --rm "$IMAGE" $id-1 echo hello
case_ exit status; both r --rm "$IMAGE" $id-2 sh -c 'exit 8'
case_ a terminal; tty run --runc-binary "$BINARY" --snapshotter native --rm -t "$IMAGE" $id-3 sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ detached; r -d "$IMAGE" $id sh -c 'trap "exit 3" TERM; while :; do sleep 0.05; done'; c task ls | awk '/^engines/ {print $1, $3}'
case_ exec; both c task exec --exec-id e1 $id sh -c 'echo inside; exit 4'
case_ metrics; c task metrics $id | awk '/memory.usage_in_bytes|cpuacct.usage |pids.current/ {print $1, ($2 > 0)}'
case_ processes; c task ps $id | awk 'NR > 1 {n++} END {print (n > 0)}'
case_ pause; c task pause $id; c task ls | awk '/^engines/ {print $3}'; c task resume $id; c task ls | awk '/^engines/ {print $3}'
case_ exec while paused; c task pause $id; c task exec --exec-id e2 $id true >/dev/null 2>&1 && echo ran || echo refused; c task resume $id
case_ exec with a user, a directory and a terminal; both c task exec --exec-id e3 --user 1000 --cwd /tmp $id sh -c 'id -u; pwd'; tty task exec --exec-id e4 -t $id sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ many at once; for n in 1 2 3 4 5 6; do c task exec --exec-id m$n $id sh -c "echo at once $n" & done | sort; wait
case_ events of memory; c run -d --runc-binary "$BINARY" --snapshotter native --memory-limit 33554432 "$IMAGE" $id-oom sh -c 'exec tail /dev/zero'; until_ sh -c "$CTR task ls | grep oom | grep -q STOPPED"; c task rm $id-oom 2>&1 | grep -o 'exit code [0-9]*'; c container rm $id-oom
case_ kill all; r -d "$IMAGE" $id-all sh -c 'sleep 1000 & sleep 1000'; c task kill -a -s KILL $id-all; until_ sh -c "$CTR task ls | grep all | grep -q STOPPED"; c task rm -f $id-all 2>&1 | grep -o 'exit code [0-9]*'; c container rm $id-all
case_ killed by force; r -d "$IMAGE" $id-f sleep 1000; c task rm -f $id-f 2>&1 | grep -o 'exit code [0-9]*'; c container rm $id-f
case_ an image exported and imported again; c images export "$WORK/image.tar" "$IMAGE"; c images import --index-name again:latest --snapshotter native "$WORK/image.tar" >/dev/null; c images ls -q | grep -c busy; both r --rm "$IMAGE" $id-i echo again
case_ kill; c task kill -s TERM $id; until_ sh -c "$CTR task ls | grep -q STOPPED"; c task rm $id 2>&1 | grep -o 'exit code [0-9]*'; c container rm $id; c task ls | awk 'NR > 1'
case_ many containers; for n in 1 2 3 4 5; do r --rm "$IMAGE" $id-m$n sh -c "echo container $n" & done | sort; wait; c container ls -q
