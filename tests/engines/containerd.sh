# Everyday use of containerd's own client. Run once with runc and once with runsc: each case must print the same.
# $CTR is the client, $BINARY the runtime's program, $IMAGE the image.
c() { timeout 30 $CTR "$@" 2>&1; }
r() { c run --runc-binary "$BINARY" --snapshotter native "$@"; }
tty() { timeout 30 script -qec "$CTR $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g'; }
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
case_ kill; c task kill -s TERM $id; until_ sh -c "$CTR task ls | grep -q STOPPED"; c task rm $id 2>&1 | grep -o 'exit code [0-9]*'; c container rm $id; c task ls | awk 'NR > 1'
