# Everyday use of Docker. Run once with runc and once with runsc: each case must print the same.
# $DOCKER is the client, $RUNTIME the runtime, $SHARED the runtime whose root file system the host sees too, $WORK a directory
# of our own, $DAEMON_CONFIG the daemon's daemon.json and $DAEMON_PID the file with its id.
d() { timeout -k 5 30 $DOCKER "$@" 2>&1; }
r() { d run --runtime "$RUNTIME" --network none "$@"; }
# The same with a root file system whose changes the host sees.
s() { d run --runtime "$SHARED" --network none "$@"; }
tty() { timeout -k 5 30 script -qec "$DOCKER $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g'; }
case_() { echo "== $*"; }
# What a command prints on standard output, and its exit status; what it prints on standard error need not be the same.
both() { "$@"; echo "status $?"; }
# Waits until a command succeeds.
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
id=engines-$RUNTIME

case_ run prints; both r --rm busy echo hello
case_ exit status; both r --rm busy sh -c 'exit 5'
case_ killed by a signal; both r --rm busy sh -c 'kill -KILL $$; kill -TERM $$; sleep 0.1; echo still here'
case_ no such program; timeout -k 5 30 $DOCKER run --runtime "$RUNTIME" --network none --rm busy nosuch 2>/dev/null; echo "status $?"
case_ no program; timeout -k 5 30 $DOCKER run --runtime "$RUNTIME" --network none --rm busy /etc/passwd 2>/dev/null; echo "status $?"
case_ environment, directory, user; both r --rm -e A=b -w /tmp -u 1000:1000 busy sh -c 'echo $A $HOME; pwd; id'
case_ a directory that is made; both r --rm -w /not/there/yet busy pwd
case_ standard input; echo piped | both r --rm -i busy cat
case_ standard error apart; timeout -k 5 30 $DOCKER run --runtime "$RUNTIME" --network none --rm busy sh -c 'echo out; echo err >&2' 2>/dev/null
case_ host name; both r --rm --hostname named busy hostname
case_ a volume in both directions; mkdir -p "$WORK/volume"; echo host >"$WORK/volume/in"
both r --rm -v "$WORK/volume:/v" busy sh -c 'cat /v/in; echo guest >/v/out'; cat "$WORK/volume/out"
case_ owners of files in a volume; both r --rm -v "$WORK/volume:/v" busy sh -c 'touch /v/a /v/b; chown 1000:2000 /v/a; cat /v/a; stat -c "%n %u %g" /v/a /v/b'; stat -c '%u %g' "$WORK/volume/a"
case_ a read-only volume; both r --rm -v "$WORK/volume:/v:ro" busy sh -c 'cat /v/in; touch /v/no 2>/dev/null || echo refused'
case_ a read-only root; both r --rm --read-only busy sh -c 'touch /no 2>/dev/null || echo refused'
case_ a tmpfs; both r --rm --tmpfs /t busy sh -c 'echo a >/t/a; cat /t/a; grep -c " /t tmpfs " /proc/mounts'
case_ capabilities; both r --rm --cap-drop ALL --cap-add CHOWN busy sh -c 'grep -E "^Cap(Eff|Bnd)" /proc/self/status'
case_ no new privileges; both r --rm --security-opt no-new-privileges busy grep NoNewPrivs /proc/self/status
case_ the default seccomp profile; both r --rm busy sh -c 'exec 2>&1; grep ^Seccomp /proc/self/status; unshare -U true; mount -t tmpfs t /tmp; chroot / true; linux32 uname -m; echo "status $?"'
case_ no seccomp profile; both r --rm --security-opt seccomp=unconfined busy sh -c 'grep ^Seccomp /proc/self/status'
case_ a seccomp profile of our own
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}' >"$WORK/profile.json"
both r --rm --security-opt "seccomp=$WORK/profile.json" busy sh -c 'exec 2>&1; mkdir /x; touch /y && echo touched'
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
case_ exec without a program; timeout -k 5 30 $DOCKER exec "$id" nosuch >/dev/null 2>&1; echo "status $?"
case_ exec detached; d exec -d "$id" sleep 77; until_ sh -c "$DOCKER exec $id ps | grep -q 'slee[p] 77'"; d exec "$id" ps | grep -c 'slee[p] 77'
case_ many at once; for n in 1 2 3 4 5 6 7 8; do d exec "$id" sh -c "echo at once $n; exit $n" & done | sort; wait
case_ top; d top "$id" | sed -n '1p' | tr -s ' '; d exec -d "$id" sh -c 'sleep 78; true'; until_ sh -c "$DOCKER top $id -o pid,args | grep -q 'slee[p] 78'"
d top "$id" -o pid,args | sed 's/^[0-9]* *//' | grep -v -e 'sleep 0.05' -e COMMAND | sort; d exec "$id" killall sleep
case_ stats; d stats --no-stream --format '{{.Name}} {{.MemUsage}}' "$id" | sed "s/$id//; s:[0-9.]*[KMG]*i*B /:N /:"
case_ pause; d pause "$id" >/dev/null; d inspect -f '{{.State.Status}}' "$id"; timeout -k 5 30 $DOCKER exec "$id" true >/dev/null 2>&1; echo "status $?"
case_ unpause; d unpause "$id" >/dev/null; d inspect -f '{{.State.Status}}' "$id"; both d exec "$id" echo goes on
case_ new limits; both d update --memory 200m --memory-swap -1 "$id" | sed "s/$id//"; d inspect -f '{{.HostConfig.Memory}}' "$id"
case_ a signal that is caught; both d kill -s TERM "$id" | sed "s/$id//"
until_ sh -c "test \$($DOCKER inspect -f '{{.State.Status}}' $id) = exited"; d inspect -f '{{.State.ExitCode}}' "$id"
case_ started again; d start "$id" >/dev/null; until_ $DOCKER exec "$id" true; d inspect -f '{{.State.Status}}' "$id"
until_ sh -c "test \$($DOCKER logs $id | grep -c one) = 2"
case_ stop; d stop "$id" >/dev/null; d inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$id"; d logs "$id" | grep -c bye
case_ kill; d start "$id" >/dev/null; d kill "$id" >/dev/null; d wait "$id"
case_ remove; d rm "$id" >/dev/null; d ps -a --filter "name=$id" -q
case_ events; since=$(date +%s); r --rm --name "$id-events" busy sh -c 'exit 3'; d events --since "$since" --until $(($(date +%s) + 2)) --filter "container=$id-events" --format '{{.Action}} {{index .Actor.Attributes "exitCode"}}' | sort
case_ a signal of its own to stop; r -d --name "$id" --stop-signal USR1 busy sh -c 'trap "echo usr1; exit 9" USR1; echo up; while :; do sleep 0.1; done' >/dev/null
until_ sh -c "$DOCKER logs $id | grep up"; d stop "$id" >/dev/null; d logs "$id"; d inspect -f '{{.State.ExitCode}}' "$id"; d rm "$id" >/dev/null
case_ a stop that is not heeded; r -d --name "$id" --init busy sh -c 'trap "" TERM; while :; do sleep 0.1; done' >/dev/null; d stop -t 1 "$id" >/dev/null; d inspect -f '{{.State.ExitCode}}' "$id"; d rm "$id" >/dev/null
case_ renamed and restarted; r -d --name "$id" busy sh -c 'echo up; sleep 1000' >/dev/null; d rename "$id" "$id-new"; until_ sh -c "$DOCKER logs $id-new | grep up"; d restart -t 0 "$id-new" >/dev/null; until_ sh -c "test \$($DOCKER logs $id-new | grep -c up) = 2"; d rm -f "$id-new" >/dev/null
case_ logs followed; r -d --name "$id" busy sh -c 'for i in 1 2 3; do echo $i; sleep 0.1; done' >/dev/null; d logs -f "$id"; d rm "$id" >/dev/null
case_ 'paused, and killed, stopped, removed'; for what in kill 'stop -t 1' 'rm -f'; do r -d --name "$id" busy sleep 1000 >/dev/null; d pause "$id" >/dev/null; d $what "$id" >/dev/null; [ "$what" = kill ] && d unpause "$id" >/dev/null 2>&1; [ "$what" = 'rm -f' ] || { d wait "$id"; d rm "$id" >/dev/null; }; done; d ps -a --filter "name=$id" -q
case_ volumes of another container, and what the image has in their place; r -d --name "$id" -v /etc -v /data busy sh -c 'echo data >/data/file; sleep 1000' >/dev/null; until_ $DOCKER exec "$id" test -s /data/file; r --rm --volumes-from "$id" busy sh -c 'cat /data/file; ls /etc'; d rm -fv "$id" >/dev/null
case_ shared memory of another container; r -d --name "$id" --ipc shareable busy sh -c 'echo shared >/dev/shm/file; sleep 1000' >/dev/null; until_ $DOCKER exec "$id" test -s /dev/shm/file; r --rm --ipc "container:$id" busy cat /dev/shm/file; d rm -f "$id" >/dev/null
case_ the name of the host; r --rm --uts host busy hostname
case_ removed by force; r -d --name "$id" busy sleep 1000 >/dev/null; both d rm -f "$id" | sed "s/$id//"
case_ exec that ends with the container; r -d --name "$id" busy sleep 1000 >/dev/null; for n in 1 2 3; do { d exec "$id" sleep 1000; echo "exec $?"; } & done
until_ sh -c "test \$($DOCKER exec $id ps | grep -c 'slee[p] 1000') = 4"; d kill "$id" >/dev/null; wait; d rm "$id" >/dev/null
case_ exec that ends just before the container; r -d --name "$id" busy sh -c 'until test -e /over; do sleep 0.01; done' >/dev/null
(for n in 1 2 3; do { d exec "$id" sh -c "until test -e /last; do sleep 0.01; done; exit $n"; echo "exec $?"; } & done
until_ sh -c "test \$($DOCKER exec $id ps | grep -c 'unti[l] test') = 4"; d exec "$id" sh -c 'touch /last; while ps | grep -q "las[t];"; do :; done; touch /over'; wait) | sort; d rm -f "$id" >/dev/null
case_ several at once; for n in 1 2 3 4 5 6 7 8; do r --rm busy echo "container $n" & done | sort; wait
case_ killed while they start
for n in 1 2 3 4 5; do r -d --name "$id-$n" busy sleep 1000 >/dev/null & done; sleep 0.2
for n in 1 2 3 4 5; do d rm -f "$id-$n" >/dev/null; done; wait
for n in 1 2 3 4 5; do d rm -f "$id-$n" >/dev/null; done; d ps -a --filter "name=$id" -q
case_ restart policy; r -d --name "$id" --restart on-failure:2 busy sh -c 'echo try; exit 1' >/dev/null
until_ sh -c "test \$($DOCKER logs $id | grep -c try) = 3"; d inspect -f '{{.RestartCount}}' "$id"; d rm -f "$id" >/dev/null
case_ health check; r -d --name "$id" --health-cmd 'test -e /tmp/well' --health-interval 200ms busy sh -c 'touch /tmp/well; sleep 1000' >/dev/null
until_ sh -c "test \$($DOCKER inspect -f '{{.State.Health.Status}}' $id) = healthy"; d inspect -f '{{.State.Health.Status}}' "$id"; d rm -f "$id" >/dev/null
case_ ill health; r -d --name "$id" --health-cmd false --health-interval 100ms --health-retries 1 busy sleep 1000 >/dev/null
until_ sh -c "test \$($DOCKER inspect -f '{{.State.Health.Status}}' $id) = unhealthy"; d inspect -f '{{.State.Health.Status}}' "$id"; d rm -f "$id" >/dev/null
case_ always restarted until stopped; r -d --name "$id" --restart always busy sh -c 'echo try' >/dev/null
until_ sh -c "test \$($DOCKER logs $id | grep -c try) -ge 3"; d stop "$id" >/dev/null; d inspect -f '{{.State.Status}}' "$id"; d rm -f "$id" >/dev/null
# Repeats a command until it prints something else than at some unlucky times, which are not the rule.
luckily() { for _ in 1 2 3 4 5; do seen=$("$2"); [ "$seen" = "$1" ] && break; done; echo "$seen"; }
# Where the shim hears of it after the end, Docker never does.
oom() { r --name "$id" --memory 30m --memory-swap 30m busy sh -c 'exec tail /dev/zero'; echo "status $?"; d inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' "$id"; d rm "$id" >/dev/null; }
case_ out of memory; luckily "$(printf 'status 137\n137 true')" oom
case_ out of memory, survived by the first process; r --rm --memory 30m --memory-swap 30m busy sh -c 'exec 2>&1; tail /dev/zero; echo "status $?"'
case_ a share of the processor; r -d --name "$id" --cpus 0.2 busy sh -c 'while :; do :; done' >/dev/null
stat=/sys/fs/cgroup/cpu/docker/$($DOCKER inspect -f '{{.Id}}' "$id"); until_ sh -c "! grep -q 'nr_throttled 0' $stat/cpu.stat"; cat "$stat/cpu.cfs_quota_us" "$stat/cpu.cfs_period_us"; d rm -f "$id" >/dev/null
case_ a limit of processes, and a lower one
forks='i=0; while [ $i -lt 60 ] && sleep 9 & do i=$((i + 1)); [ $i -lt 60 ] || exit; echo $i; done'
r -d --name "$id" --pids-limit 40 busy sleep 1000 >/dev/null; d exec "$id" sh -c "exec 2>/dev/null; $forks" | tail -n 1; d exec "$id" killall -9 sleep >/dev/null 2>&1
d rm -f "$id" >/dev/null; r -d --name "$id" --pids-limit 40 busy sleep 1000 >/dev/null; d update --pids-limit 20 "$id" >/dev/null
d exec "$id" sh -c "exec 2>/dev/null; $forks" | tail -n 1; d rm -f "$id" >/dev/null

case_ copied out and in, compared, made an image
s -d --name "$id" busy sh -c 'echo made >/made; rm /etc/group; mkdir -p /dir/sub; echo deep >/dir/sub/file; touch /tmp/ready; sleep 1000' >/dev/null
until_ $DOCKER exec "$id" test -e /tmp/ready; d cp "$id:/made" "$WORK/made" >/dev/null 2>&1; cat "$WORK/made"; d cp "$id:/dir" - 2>/dev/null | tar t
echo from outside >"$WORK/in"; d cp "$WORK/in" "$id:/in" >/dev/null 2>&1; d exec "$id" cat /in; d diff "$id" | sort
d commit "$id" "$id-committed" >/dev/null; r --rm "$id-committed" sh -c 'cat /made /dir/sub/file /in; test -e /etc/group || echo no groups'
case_ exported and imported; d export "$id" 2>/dev/null | $DOCKER import - "$id-imported" >/dev/null; r --rm "$id-imported" cat /made; d rm -f "$id" >/dev/null
case_ saved and loaded; $DOCKER save -o "$WORK/saved.tar" "$id-committed"; d rmi "$id-committed" >/dev/null; d load -q -i "$WORK/saved.tar" | sed "s/$id//"
r --rm "$id-committed" cat /made; d rmi "$id-committed" "$id-imported" >/dev/null
case_ built
python3 - "$DAEMON_CONFIG" "$SHARED" <<'P'
import json, sys
path, runtime = sys.argv[1:]
config = json.load(open(path))
config["default-runtime"] = runtime
json.dump(config, open(path, "w"))
P
kill -HUP "$(cat "$DAEMON_PID")"; until_ sh -c "test \$($DOCKER info -f '{{.DefaultRuntime}}') = $SHARED"
mkdir -p "$WORK/build"; echo copied >"$WORK/build/file"
printf '%s\n' 'FROM busy' 'ENV KEY=value' 'RUN echo "built $KEY" >/built && mkdir -m 777 /dir && echo builder:x:1234:1234::/:/bin/sh >>/etc/passwd' 'COPY file /dir/file' 'USER builder' 'WORKDIR /dir' \
    'RUN id -un >/dir/me; cat /dir/file /built >/dir/both' 'CMD ["cat", "/dir/both", "/dir/me"]' >"$WORK/build/Dockerfile"
DOCKER_BUILDKIT=0 timeout -k 5 60 $DOCKER build --no-cache --network none -q -t "$id-built" "$WORK/build" >/dev/null 2>"$WORK/said" || cat "$WORK/said"; both r --rm "$id-built"; d rmi "$id-built" >/dev/null
printf '%s\n' 'FROM busy' 'RUN exit 7' >"$WORK/build/Dockerfile"
DOCKER_BUILDKIT=0 timeout -k 5 60 $DOCKER build --force-rm --network none -q "$WORK/build" 2>&1 | grep -o 'returned a non-zero code: 7'
case_ two services of one file
printf '%s\n' 'version: "2.4"' 'services:' "  one: {image: busy, runtime: $RUNTIME, network_mode: none, command: [sh, -c, 'echo first; sleep 1000'], volumes: ['$WORK/shared:/s']}" \
    "  two: {image: busy, runtime: $RUNTIME, network_mode: none, command: [sh, -c, 'echo second >/s/two; sleep 1000'], volumes: ['$WORK/shared:/s'], depends_on: [one]}" >"$WORK/compose.yml"
c() { timeout -k 5 60 docker-compose -p "$id" -f "$WORK/compose.yml" "$@" 2>&1; }
c up -d >"$WORK/said" || cat "$WORK/said"; until_ test -s "$WORK/shared/two"; cat "$WORK/shared/two"; c exec -T one cat /s/two; c logs --no-color one | grep -o first; c ps -q | wc -l; c down -t 0 >/dev/null; d ps -aq --filter "name=$id"

case_ twenty at once; for n in $(seq 20); do r -d --name "$id-$n" busy sh -c "echo up; trap 'exit $n' TERM; while :; do sleep 0.1; done" >/dev/null & done; wait
d ps -q --filter "name=$id" | wc -l; d kill $($DOCKER ps -q --filter "name=$id") | wc -l; for n in $(seq 20); do d wait "$id-$n"; done | sort | uniq -c
d rm -f $($DOCKER ps -aq --filter "name=$id") | wc -l
case_ all killed while they start; for n in $(seq 12); do r -d --name "$id-$n" busy sleep 1000 >/dev/null & done
for _ in $(seq 20); do $DOCKER kill -s KILL $($DOCKER ps -q --filter "name=$id") >/dev/null 2>&1; sleep 0.05; done; wait
$DOCKER kill -s KILL $($DOCKER ps -q --filter "name=$id") >/dev/null 2>&1; for n in $(seq 12); do d wait "$id-$n"; done | sort | uniq -c
d rm -f $($DOCKER ps -aq --filter "name=$id") | wc -l
case_ nothing is left; ls "$WORK/../exec/runtime-runc/moby" 2>/dev/null; ls -d /sys/fs/cgroup/memory/docker/*/ 2>/dev/null
