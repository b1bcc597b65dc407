# Everyday use of Podman. Run once with runc and once with runsc: each case must print the same.
# $PODMAN is the command with its storage, $PODMAN_SHARED the same for containers whose files the host sees, $WORK a directory of our own.
p() { timeout 30 $PODMAN "$@" 2>&1; }
# The same with a root file system whose changes the host sees.
s() { timeout 30 $PODMAN_SHARED "$@" 2>&1; }
r() { p run --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@"; }
tty() { timeout 30 script -qec "$PODMAN $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g'; }
case_() { echo "== $*"; }
both() { "$@"; echo "status $?"; }
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
id=engines

case_ run prints; both r --rm busy echo hello
case_ exit status; both r --rm busy sh -c 'exit 6'
case_ no such program; timeout 30 $PODMAN run --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --rm busy nosuch 2>/dev/null; echo "status $?"
case_ standard input; echo piped | both r --rm -i busy cat
case_ environment, directory, user; both r --rm -e A=b -w /tmp -u 1000 busy sh -c 'echo $A $HOME; pwd; id -u'
case_ a volume in both directions; mkdir -p "$WORK/volume"; echo host >"$WORK/volume/in"
both r --rm -v "$WORK/volume:/v" busy sh -c 'cat /v/in; echo guest >/v/out'; cat "$WORK/volume/out"
case_ a read-only root; both r --rm --read-only busy sh -c 'touch /no 2>/dev/null || echo refused; touch /tmp/yes && echo taken'
case_ a terminal; tty run --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --rm -it busy sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ capabilities, limits, host name; both r --rm --cap-drop ALL --cap-add CHOWN --pids-limit 50 --hostname named busy sh -c 'grep CapEff /proc/self/status; hostname'
case_ a tmpfs; both r --rm --tmpfs /t busy sh -c 'echo a >/t/a; cat /t/a'
case_ an init process; both r --rm --init busy sh -c 'cat /proc/1/comm'
case_ copied out and in while it is stopped; s run -d --name "$id-c" --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 busy sh -c 'echo made >/made; sleep 1000' >/dev/null; until_ $PODMAN_SHARED exec "$id-c" test -e /made
s stop -t 0 "$id-c" >/dev/null
s cp "$id-c:/made" "$WORK/made"; cat "$WORK/made"; echo in >"$WORK/in"; s cp "$WORK/in" "$id-c:/in"; s start "$id-c" >/dev/null; until_ $PODMAN_SHARED exec "$id-c" true; s exec "$id-c" cat /in; s diff "$id-c" | sort; s rm -f -t 0 "$id-c" >/dev/null
case_ detached; r -d --name "$id" --memory 100m busy sh -c 'echo one; trap "echo bye; exit 3" TERM; while :; do sleep 0.05; done' >/dev/null
until_ sh -c "$PODMAN logs $id | grep one"; p logs "$id"
case_ exec; both p exec "$id" sh -c 'echo inside; exit 9'
case_ exec with standard input; echo piped | both p exec -i "$id" cat
case_ exec with a terminal; tty exec -it "$id" sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ exec detached; p exec -d "$id" sleep 77 >/dev/null; until_ sh -c "$PODMAN exec $id ps | grep -q 'slee[p] 77'"; p exec "$id" ps | grep -c 'slee[p] 77'
case_ top by the image\'s own ps; p top "$id" -o args | grep -v -e 'sleep 0.05' -e 'ps ' | sort
case_ stats; p stats --no-stream --format '{{.Name}} {{.MemLimit}}' "$id"
case_ pause; p pause "$id" >/dev/null; p inspect -f '{{.State.Status}}' "$id"; p unpause "$id" >/dev/null; p inspect -f '{{.State.Status}}' "$id"
case_ stop; p stop "$id" >/dev/null; p inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$id"; p logs "$id"
case_ started again; p start "$id" >/dev/null; until_ $PODMAN exec "$id" true; p inspect -f '{{.State.Status}}' "$id"
case_ kill; p kill "$id" >/dev/null; p wait "$id"; p rm "$id" >/dev/null; p ps -aq
case_ several at once; for n in 1 2 3 4; do r --rm busy echo "container $n" & done | sort; wait
# The first container of a pod, which keeps its network, has no limits but those of this file.
printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n' >"$WORK/containers.conf"; export CONTAINERS_CONF=$WORK/containers.conf
case_ a pod whose containers talk over the loopback; p pod create --name "$id-pod" --network none --infra-image busy --infra-command 'sleep 1000' >/dev/null
p run -d --pod "$id-pod" --name "$id-web" busy sh -c 'mkdir -p /www; echo page >/www/index.html; httpd -f -p 80 -h /www' >/dev/null
both p run --rm --pod "$id-pod" busy sh -c 'until wget -q -O - http://127.0.0.1/; do sleep 0.1; done; hostname; ip -o -4 addr | tr -s " " | cut -d" " -f2-4'
p pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'; p pod stats --no-stream --format '{{.Name}}' "$id-pod" | sort | grep -c -e web -e infra
case_ a pod paused, stopped, started again; p pod pause "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'; p pod unpause "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'
p pod stop -t 0 "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'; p pod start "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'
until_ $PODMAN exec "$id-web" wget -q -O - http://127.0.0.1/; both p exec "$id-web" wget -q -O - http://127.0.0.1/; p pod rm -f -t 0 "$id-pod" >/dev/null; p pod ps -q; p ps -aq
