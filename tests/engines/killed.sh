# Pieces of Docker and of its containers that are killed, or have no room. Run once with runc and once with runsc: each case must
# print the same. $RUNTIME is the runtime, $PROGRAM its program, $IMAGE a file tree in a tar, $WORK a directory of our own. The daemon
# is ours, since it is killed too. It keeps the state of every runtime in runtime-runc.
mkdir -p "$WORK/exec"
printf '{"runtimes": {"runsc": {"path": "%s"}}}' "$PROGRAM" >"$WORK/daemon.json"
sock="unix://$WORK/sock"
cgroups="killed-$RUNTIME-$$"
d() { timeout -k 5 60 docker -H "$sock" "$@" 2>&1; }
r() { d run --runtime "$RUNTIME" --network none "$@"; }
case_() { echo "== $*"; }
until_() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
# Starts the daemon; waits until it answers.
up() {
    setsid dockerd --data-root "$WORK/data" --exec-root "$WORK/exec" --pidfile "$WORK/pid" -H "$sock" --config-file "$WORK/daemon.json" \
        --storage-driver=vfs --iptables=false --ip6tables=false --bridge=none \
        --cgroup-parent="$cgroups" "$@" >>"$WORK/log" 2>&1 </dev/null &
    until_ docker -H "$sock" version
}
gone() { [ ! -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
# Kills the daemon and the containerd that it has started, as a crash would: nobody hears of it.
crash() { daemon=$(cat "$WORK/pid"); managed=$(cat "$WORK/exec/containerd/containerd.pid"); kill -KILL "$daemon" "$managed"; until_ gone "$daemon"; until_ gone "$managed"; rm -f "$WORK/pid" "$WORK/exec/containerd/containerd.pid"; }
down() { daemon=$(cat "$WORK/pid"); kill "$daemon"; until_ gone "$daemon"; }
status() { d inspect -f '{{.State.Status}}' "$1"; }
is() { [ "$(status "$1")" = "$2" ]; }
shims() { for p in /proc/[0-9]*; do tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -q "containerd-shim-runc-v2 .*$1.*$WORK\|containerd-shim-runc-v2 .*$WORK.*$1" && echo "${p#/proc/}"; done; }
ours() { for p in /proc/[0-9]*/exe; do [ "$(readlink "$p")" = "$PROGRAM" ] && echo "$p"; done; }
none() { [ -z "$(ours; ls "$WORK/exec/runtime-runc/moby" 2>/dev/null; ls -d /sys/fs/cgroup/memory/$cgroups/*/ 2>/dev/null)" ]; }
# What is left, once all containers are removed.
left() { d ps -aq | while read -r one; do d rm -f "$one" >/dev/null; done; until_ none; d ps -aq; }
swept() {
    d ps -aq | while read -r one; do d rm -f "$one" >/dev/null; done; d ps -aq
    kill -KILL $(shims moby) 2>/dev/null
    for one in $(ls "$WORK/exec/runtime-runc/moby" 2>/dev/null); do "$PROGRAM" --root "$WORK/exec/runtime-runc/moby" delete --force "$one" >/dev/null 2>&1 || runc --root "$WORK/exec/runtime-runc/moby" delete --force "$one" 2>/dev/null; done
    [ "$RUNTIME" = runc ] && rmdir /sys/fs/cgroup/*/$cgroups/*/ 2>/dev/null || until_ none
}
# A container that says that it runs.
start() { r -d --name "$1" busy sh -c 'trap "exit 4" TERM; touch /ready; while :; do sleep 0.05; done' >/dev/null; until_ docker -H "$sock" exec "$1" test -e /ready; }

# Has twenty containers start.
twenty() { starting=; for n in $(seq 20); do r -d --name "c$n" busy sleep 1000 >/dev/null & starting="$starting $!"; done; }

up; d import "$IMAGE" busy >/dev/null
case_ the shim killed; start one; kill -KILL $(shims "$(d inspect -f '{{.Id}}' one)"); until_ is one exited; d inspect -f '{{.State.ExitCode}}' one
d start one >/dev/null; until_ docker -H "$sock" exec one true; status one; left
case_ the container\'s process killed; start one; kill -KILL "$(d inspect -f '{{.State.Pid}}' one)"; until_ is one exited; d inspect -f '{{.State.ExitCode}}' one; left
case_ all of the container\'s processes killed; start one; d exec one sleep 1000 & until_ sh -c "docker -H $sock exec one ps | grep 'slee[p] 1000'"
pid=$(d inspect -f '{{.State.Pid}}' one); kill -KILL $(grep -l "^PPid:.$(grep PPid "/proc/$pid/status" | cut -f 2)\$" /proc/[0-9]*/status | cut -d / -f 3) 2>/dev/null; wait %%; echo "exec $?"; until_ is one exited; left
case_ the daemon killed, and its containers ended with the next; start one; crash; up; until_ is one exited; d inspect -f '{{.State.ExitCode}}' one; left
case_ the daemon stopped, and its containers with it; start one; down; none && echo none; up; status one; d inspect -f '{{.State.ExitCode}}' one; left
case_ the daemon killed, its containers kept for the next; down; up --live-restore; start one; pid=$(d inspect -f '{{.State.Pid}}' one); crash; gone "$pid" || echo goes on; up --live-restore; status one
d exec one echo inside; d top one -o pid,args | grep -c 'while :'; d stop one >/dev/null; d inspect -f '{{.State.Status}} {{.State.ExitCode}}' one; left
case_ a container that ends while no daemon is there; start one; pid=$(d inspect -f '{{.State.Pid}}' one); crash; kill -TERM "$pid"; up --live-restore; until_ is one exited; left
case_ the daemon stopped, its containers kept for the next; start one; down; up --live-restore; status one; d exec one echo inside; d kill one >/dev/null; until_ is one exited; d inspect -f '{{.State.ExitCode}}' one; left
case_ containerd killed under the daemon; start one; kill -KILL "$(cat "$WORK/exec/containerd/containerd.pid")"; until_ docker -H "$sock" exec one echo inside; d exec one echo inside; d kill one >/dev/null; until_ is one exited; left
case_ all killed while twenty start; twenty
for _ in $(seq 20); do docker -H "$sock" kill -s KILL $(docker -H "$sock" ps -q) >/dev/null 2>&1; sleep 0.05; done
wait $starting; docker -H "$sock" kill -s KILL $(docker -H "$sock" ps -q) >/dev/null 2>&1
for n in $(seq 20); do d wait "c$n"; done | sort | uniq -c; left
case_ no room for the state; mkdir -p "$WORK/exec/runtime-runc"; mount -t tmpfs -o size=16k,nr_inodes=3 room "$WORK/exec/runtime-runc"
timeout -k 5 60 docker -H "$sock" run --runtime "$RUNTIME" --network none --name full busy echo runs >"$WORK/said" 2>&1; echo "status $?"; grep -qi 'no space left' "$WORK/said" && echo said || cat "$WORK/said"; ours | wc -l
umount "$WORK/exec/runtime-runc"; d rm -f full >/dev/null; r --rm busy echo runs again; left
# What the engine has forgotten by now is the runtime's to find. runc leaves cgroups and more here: nothing is said of it.
case_ shims killed while twenty start
twenty
for _ in $(seq 15); do kill -KILL $(shims moby) 2>/dev/null; sleep 0.1; done; wait $starting; swept
case_ the daemon killed while twenty start
twenty; sleep 1; crash; up --live-restore; swept
down; rmdir /sys/fs/cgroup/*/$cgroups 2>/dev/null
