# Everyday use of Docker. Run once with runc and once with runsc: each case must print the same.
# $DOCKER is the client, $RUNTIME the runtime, $WORK a directory of our own.
d() { timeout 30 $DOCKER "$@" 2>&1; }
r() { d run --runtime "$RUNTIME" --network none "$@"; }
tty() { timeout 30 script -qec "$DOCKER $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g'; }
case_() { echo "== $*"; }
# What a command prints on standard output, and its exit status; what it prints on standard error need not be the same.
both() { "$@"; echo "status $?"; }
# Waits until a command succeeds.
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
id=engines-$RUNTIME

case_ run prints; both r --rm busy echo hello
case_ exit status; both r --rm busy sh -c 'exit 5'
case_ killed by a signal; both r --rm busy sh -c 'kill -KILL $$; kill -TERM $$; sleep 0.1; echo still here'
case_ no such program; timeout 30 $DOCKER run --runtime "$RUNTIME" --network none --rm busy nosuch 2>/dev/null; echo "status $?"
case_ no program; timeout 30 $DOCKER run --runtime "$RUNTIME" --network none --rm busy /etc/passwd 2>/dev/null; echo "status $?"
case_ environment, directory, user; both r --rm -e A=b -w /tmp -u 1000:1000 busy sh -c 'echo $A $HOME; pwd; id'
case_ a directory that is made; both r --rm -w /not/there/yet busy pwd
case_ standard input; echo piped | both r --rm -i busy cat
case_ standard error apart; timeout 30 $DOCKER run --runtime "$RUNTIME" --network none --rm busy sh -c 'echo out; echo err >&2' 2>/dev/null
case_ host name; both r --rm --hostname named busy hostname
case_ a volume in both directions; mkdir -p "$WORK/volume"; echo host >"$WORK/volume/in"
both r --rm -v "$WORK/volume:/v" busy sh -c 'cat /v/in; echo guest >/v/out'; cat "$WORK/volume/out"
case_ a read-only volume; both r --rm -v "$WORK/volume:/v:ro" busy sh -c 'cat /v/in; touch /v/no 2>/dev/null || echo refused'
case_ a read-only root; both r --rm --read-only busy sh -c 'touch /no 2>/dev/null || echo refused'
case_ a tmpfs; both r --rm --tmpfs /t busy sh -c 'echo a >/t/a; cat /t/a; grep -c " /t tmpfs " /proc/mounts'
case_ capabilities; both r --rm --cap-drop ALL --cap-add CHOWN busy sh -c 'grep -E "^Cap(Eff|Bnd)" /proc/self/status'
case_ no new privileges; both r --rm --security-opt no-new-privileges busy grep NoNewPrivs /proc/self/status
case_ limits of files; both r --rm --ulimit nofile=100:200 busy sh -c 'ulimit -n; ulimit -Hn'
case_ an init process; both r --rm --init busy sh -c 'cat /proc/1/comm'
case_ files that the engine mounts; both r --rm --hostname h busy sh -c 'tail -n 1 /etc/hosts | wc -l; cat /etc/hostname; test -e /etc/resolv.conf && echo resolv'
case_ a terminal; tty run --runtime "$RUNTIME" --network none --rm -it busy sh -c "'test -t 0 && test -t 1 && test -t 2 && echo all three; tty'"
case_ the size of a terminal; tty run --runtime "$RUNTIME" --network none --rm -it busy sh -c "'stty rows 33 cols 77; stty size'"

case_ detached; r -d --name "$id" --memory 100m --pids-limit 60 busy sh -c 'echo one; echo two >&2; trap "echo bye; exit 3" TERM; while :; do sleep 0.05; done' >/dev/null
until_ sh -c "$DOCKER logs $id | grep one"; d logs "$id" | sort
case_ listed; d ps --filter "name=$id" --format '{{.State}}'
case_ exec; both d exec "$id" sh -c 'echo inside; id -u; exit 9'
case_ exec with environment, directory, user; both d exec -e X=y -w /tmp -u 1000 "$id" sh -c 'echo $X $HOME; pwd; id -u'
case_ exec with standard input; echo piped | both d exec -i "$id" cat
case_ exec with a terminal; tty exec -it "$id" sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ exec without a program; timeout 30 $DOCKER exec "$id" nosuch >/dev/null 2>&1; echo "status $?"
case_ exec detached; d exec -d "$id" sleep 77; until_ sh -c "$DOCKER exec $id ps | grep -q 'slee[p] 77'"; d exec "$id" ps | grep -c 'slee[p] 77'
case_ many at once; for n in 1 2 3 4 5 6 7 8; do d exec "$id" sh -c "echo at once $n; exit $n" & done | sort; wait
case_ top; d top "$id" | sed -n '1p' | tr -s ' '
case_ stats; d stats --no-stream --format '{{.Name}} {{.MemUsage}}' "$id" | sed "s/$id//; s:[0-9.]*[KkM]iB /:N /:"
case_ pause; d pause "$id" >/dev/null; d inspect -f '{{.State.Status}}' "$id"; timeout 30 $DOCKER exec "$id" true >/dev/null 2>&1; echo "status $?"
case_ unpause; d unpause "$id" >/dev/null; d inspect -f '{{.State.Status}}' "$id"; both d exec "$id" echo goes on
case_ new limits; both d update --memory 200m --memory-swap -1 "$id" | sed "s/$id//"; d inspect -f '{{.HostConfig.Memory}}' "$id"
case_ a signal that is caught; both d kill -s TERM "$id" | sed "s/$id//"
until_ sh -c "test \$($DOCKER inspect -f '{{.State.Status}}' $id) = exited"; d inspect -f '{{.State.ExitCode}}' "$id"
case_ started again; d start "$id" >/dev/null; until_ $DOCKER exec "$id" true; d inspect -f '{{.State.Status}}' "$id"
until_ sh -c "test \$($DOCKER logs $id | grep -c one) = 2"
case_ stop; d stop "$id" >/dev/null; d inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$id"; d logs "$id" | grep -c bye
case_ kill; d start "$id" >/dev/null; d kill "$id" >/dev/null; d wait "$id"
case_ remove; d rm "$id" >/dev/null; d ps -a --filter "name=$id" -q
case_ removed by force; r -d --name "$id" busy sleep 1000 >/dev/null; both d rm -f "$id" | sed "s/$id//"
case_ several at once; for n in 1 2 3 4 5 6 7 8; do r --rm busy echo "container $n" & done | sort; wait
case_ killed while they start
for n in 1 2 3 4 5; do r -d --name "$id-$n" busy sleep 1000 >/dev/null & done; sleep 0.2
for n in 1 2 3 4 5; do d rm -f "$id-$n" >/dev/null; done; wait
for n in 1 2 3 4 5; do d rm -f "$id-$n" >/dev/null; done; d ps -a --filter "name=$id" -q
case_ restart policy; r -d --name "$id" --restart on-failure:2 busy sh -c 'echo try; exit 1' >/dev/null
until_ sh -c "test \$($DOCKER logs $id | grep -c try) = 3"; d inspect -f '{{.RestartCount}}' "$id"; d rm -f "$id" >/dev/null
case_ health check; r -d --name "$id" --health-cmd 'test -e /tmp/well' --health-interval 200ms busy sh -c 'touch /tmp/well; sleep 1000' >/dev/null
until_ sh -c "test \$($DOCKER inspect -f '{{.State.Health.Status}}' $id) = healthy"; d inspect -f '{{.State.Health.Status}}' "$id"; d rm -f "$id" >/dev/null
case_ nothing is left; ls "$WORK/exec/runtime-$RUNTIME/moby" 2>/dev/null; ls -d /sys/fs/cgroup/memory/docker/*/ 2>/dev/null
