# Everyday use of Podman. Run once with runc and once with runsc: each case must print the same.
# $PODMAN is the command with its storage, $PODMAN_SHARED the same for containers whose files the host sees, $WORK a directory of our own.
p() { timeout -k 5 30 $PODMAN "$@" 2>&1; }
# The same with a root file system whose changes the host sees.
s() { timeout -k 5 30 $PODMAN_SHARED "$@" 2>&1; }
r() { p run --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@"; }
tty() { timeout -k 5 30 script -qec "$PODMAN $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g'; }
case_() { echo "== $*"; }
both() { "$@"; echo "status $?"; }
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
id=engines

case_ run prints; both r --rm busy echo hello
case_ exit status; both r --rm busy sh -c 'exit 6'
case_ no such program; timeout -k 5 30 $PODMAN run --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --rm busy nosuch 2>/dev/null; echo "status $?"
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
case_ top by the image\'s own ps; p top "$id" -o args | grep -v -e 'sleep 0.05' -e 'ps ' -e '\[sleep\]' | sort
case_ top; p top "$id" | awk '/%CPU/ || !/sleep 0.05|\[sleep\]/ { print $1, $3, $8, $9, $10 }'
case_ top with columns; p top "$id" user group pid ppid state capeff comm args | grep -v 'sleep' | sed 's/  */ /g'
case_ copied in and out while it runs; mkdir -p "$WORK/tree/below"; echo in >"$WORK/tree/file"; echo deep >"$WORK/tree/below/file"; ln -sf file "$WORK/tree/link"
r -d --name "$id-r" -v "$WORK/volume:/v" --tmpfs /t busy sh -c 'echo made >/made; echo tmp >/t/made; mkdir /d; echo inner >/d/file; chown 7:8 /d/file; sleep 1000' >/dev/null; until_ $PODMAN exec "$id-r" test -e /d/file
for to in / /t /v; do both p cp "$WORK/tree" "$id-r:$to"; p exec "$id-r" sh -c "cd $to/tree && cat file below/file link && ls -ln | awk 'NR > 1 { print \$1, \$3, \$4, \$9 }'"; done
for from in /made /t/made /d /v/in; do both p cp "$id-r:$from" "$WORK/got"; find "$WORK/got" -type f -exec cat {} +; rm -rf "$WORK/got"; done
case_ copied where nothing is; p cp "$WORK/in" "$id-r:/none/of/it" | sed 's/.*Error/Error/'; p cp "$id-r:/none" "$WORK/got" | sed 's/.*Error/Error/'
case_ copied between two that run; r -d --name "$id-s" busy sleep 1000 >/dev/null; both p cp "$id-r:/d" "$id-s:/taken"; p exec "$id-s" ls -ln /taken | awk 'NR > 1 { print $1, $3, $4, $9 }'; p rm -f -t 0 "$id-s" "$id-r" | sort >/dev/null
case_ stats; p stats --no-stream --format '{{.Name}} {{.MemLimit}}' "$id"
case_ pause; p pause "$id" >/dev/null; p inspect -f '{{.State.Status}}' "$id"; p unpause "$id" >/dev/null; p inspect -f '{{.State.Status}}' "$id"
case_ stop; p stop "$id" >/dev/null; p inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$id"; p logs "$id"
case_ started again; p start "$id" >/dev/null; until_ $PODMAN exec "$id" true; p inspect -f '{{.State.Status}}' "$id"
case_ kill; p kill "$id" >/dev/null; p wait "$id"; p rm "$id" >/dev/null; p ps -aq
case_ several at once; for n in 1 2 3 4; do r --rm busy echo "container $n" & done | sort; wait
case_ an overlay over a directory; mkdir -p "$WORK/over"; echo low >"$WORK/over/low"; r --rm -v "$WORK/over:/v:O" busy sh -c 'cat /v/low; rm /v/low; echo new >/v/new; ls /v'; ls "$WORK/over"
case_ a read-only root that the host sees; s run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --read-only busy sh -c 'touch /run/x /tmp/x /dev/shm/x /var/tmp/x && echo taken; touch /no 2>/dev/null || echo refused'
case_ a tmpfs where nothing was, and where something was; r --rm --mount type=tmpfs,destination=/t,tmpfs-mode=0700 busy stat -c %a /t; r --rm --tmpfs /etc busy ls /etc
case_ cgroups of the host; r --rm -v /sys/fs/cgroup:/sys/fs/cgroup:ro busy sh -c 'test -n "$(ls /sys/fs/cgroup)" && echo some; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused'; r --rm --systemd always busy sh -c 'ls -d /run/lock; cat /proc/1/comm'
case_ the name of the host; r --rm --uts host busy hostname
case_ health, restarts, new limits; r -d --name "$id" --health-cmd 'echo fine' --health-interval disable --restart on-failure:2 -v "$WORK/volume:/v" busy sh -c 'echo try; test -e /v/again || { touch /v/again; exit 1; }; sleep 1000' >/dev/null; until_ sh -c "test \$($PODMAN logs $id | grep -c try) = 2"; both p healthcheck run "$id"; p inspect "$id" --format '{{.RestartCount}}'
p update --memory 64m "$id" >/dev/null; p inspect "$id" --format '{{.HostConfig.Memory}}'; p rm -f -t 0 "$id" >/dev/null
case_ a secret; echo secret | p secret create "$id" - >/dev/null; r --rm --secret "$id" busy cat "/run/secrets/$id"; p secret rm "$id" >/dev/null
case_ events; since=$(date +%s); r --rm --name "$id-events" busy true; p events --stream=false --since "$since" --filter "container=$id-events" --format '{{.Status}}' | grep -x -e create -e start -e died | sort
case_ a checkpoint fails, and leaves it running; r -d --name "$id" busy sleep 1000 >/dev/null; p container checkpoint "$id" >/dev/null 2>&1 || echo refused; p inspect "$id" --format '{{.State.Status}}'; p rm -f -t 0 "$id" >/dev/null
case_ conmon killed; r -d --name "$id" busy sleep 1000 >/dev/null; kill -KILL "$(p inspect "$id" --format '{{.State.ConmonPid}}')"; p exec "$id" echo inside; p rm -f -t 0 "$id" >/dev/null 2>&1; p ps -aq
case_ built; mkdir -p "$WORK/build"; echo copied >"$WORK/build/file"; printf '%s\n' 'FROM busy' 'ENV KEY=value' 'RUN echo "built $KEY" >/built && mkdir /dir' 'COPY file /dir/file' 'RUN cat /dir/file /built >/both' 'USER 1000' 'CMD ["cat", "/both"]' >"$WORK/build/Dockerfile"
timeout -k 5 60 $PODMAN_SHARED build --network none --isolation oci --no-cache --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 -q -t "$id-built" "$WORK/build" >/dev/null 2>"$WORK/said" || cat "$WORK/said"; both r --rm "$id-built"; p rmi -f "$id-built" >/dev/null
# The first container of a pod, which keeps its network, is what this file says.
p tag busy localhost/busy:latest; printf '%s\n' 'FROM busy' 'CMD ["/bin/pause"]' >"$WORK/Infra"; p build -q -t localhost/infra -f "$WORK/Infra" "$WORK/build" >/dev/null
printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n[engine]\ninfra_image = "localhost/infra:latest"\n' >"$WORK/containers.conf"; export CONTAINERS_CONF=$WORK/containers.conf
case_ a pod whose containers talk over the loopback; p pod create --name "$id-pod" --network none >/dev/null
p run -d --pod "$id-pod" --name "$id-web" busy sh -c 'mkdir -p /www; echo page >/www/index.html; httpd -f -p 80 -h /www' >/dev/null
both p run --rm --pod "$id-pod" busy sh -c 'until wget -q -O - http://127.0.0.1/ 2>/dev/null; do sleep 0.1; done; hostname; ip -o -4 addr | tr -s " " | cut -d" " -f2-4'
p pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'; p pod stats --no-stream --format '{{.Name}}' "$id-pod" | sort | grep -c -e web -e infra
case_ a pod paused, stopped, started again; p pod pause "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'; p pod unpause "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'
p pod stop -t 0 "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'; p pod start "$id-pod" >/dev/null; p pod ps --format '{{.Status}}'
until_ $PODMAN exec "$id-web" wget -q -O - http://127.0.0.1/; both p exec "$id-web" wget -q -O - http://127.0.0.1/; p pod rm -f -t 0 "$id-pod" >/dev/null; p pod ps -q; p ps -aq
case_ a pod of Kubernetes\' description
printf '%s\n' 'apiVersion: v1' 'kind: Pod' "metadata: {name: $id-kube}" 'spec:' '  containers:' "  - {name: a, image: localhost/busy:latest, imagePullPolicy: Never, command: [/bin/sh, -c, 'mkdir /www; echo page >/www/index.html; httpd -f -p 80 -h /www']}" \
    "  - {name: b, image: localhost/busy:latest, imagePullPolicy: Never, command: [/bin/sh, -c, 'until wget -q -O - http://127.0.0.1/ 2>/dev/null; do sleep 0.1; done; sleep 1000']}" >"$WORK/pod.yml"
p kube play --network none "$WORK/pod.yml" >/dev/null 2>"$WORK/said" || cat "$WORK/said"; until_ sh -c "$PODMAN logs $id-kube-b | grep page"; p logs "$id-kube-b"; p kube down "$WORK/pod.yml" >/dev/null; p pod ps -q
