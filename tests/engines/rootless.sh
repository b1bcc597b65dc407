# Podman of an ordinary user. Run once with runc and once with runsc: each case must print the same.
# $PODMAN is the command with its storage, as that user; $WORK a directory of the user's.
p() { timeout -k 5 30 $PODMAN "$@" 2>&1 | grep -v 'is not a shared mount'; return "${PIPESTATUS[0]}"; }
r() { p run --network none "$@"; }
tty() { timeout -k 5 30 script -qec "$PODMAN $*" /dev/null </dev/null | tr -d '\000\004\b' | sed 's/\^[@D]//g' | grep -v 'is not a shared mount'; }
case_() { echo "== $*"; }
both() { "$@"; echo "status $?"; }
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
id=rootless

case_ run prints; both r --rm busy echo hello
case_ exit status; both r --rm busy sh -c 'exit 6'
case_ no such program; r --rm busy nosuch >/dev/null; echo "status $?"
case_ standard input; echo piped | both r --rm -i busy cat
case_ environment, directory, user; both r --rm -e A=b -w /tmp -u 1000:1000 busy sh -c 'echo $A $HOME; pwd; id'
case_ root of its own; both r --rm busy sh -c 'id -u; touch /x; chown 1000:1000 /x; ls -ln /x | tr -s " " | cut -d" " -f 3,4; chown 0:5 /x && mknod /dev/x c 1 3 2>/dev/null || echo no device'
case_ files of a volume belong to the user, or to those mapped; mkdir -p "$WORK/volume"; echo host >"$WORK/volume/in"; chmod 777 "$WORK/volume"
both r --rm -v "$WORK/volume:/v" busy sh -c 'cat /v/in; echo guest >/v/out; echo other >/v/other; chown 1000 /v/other; ls -ln /v | tr -s " " | cut -d" " -f3,9'; cat "$WORK/volume/out"
stat -c '%n %u' "$WORK"/volume/* | sed 's:.*/::'; rm -f "$WORK"/volume/*
case_ a volume of another user; both r --rm -v "$WORK/secret:/s" busy sh -c 'cat /s/key 2>/dev/null || echo refused; touch /s/new 2>/dev/null || echo refused'
case_ a read-only root; both r --rm --read-only busy sh -c 'touch /no 2>/dev/null || echo refused; touch /tmp/yes && echo taken'
case_ a terminal; tty run --network none --rm -it busy sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ detached; r -d --name "$id" busy sh -c 'echo one; trap "echo bye; exit 3" TERM; while :; do sleep 0.05; done' >/dev/null
until_ sh -c "$PODMAN logs $id | grep one"; p logs "$id"
case_ exec; both p exec "$id" sh -c 'echo inside; exit 9'
case_ exec with standard input; echo piped | both p exec -i "$id" cat
case_ exec with a terminal; tty exec -it "$id" sh -c "'test -t 0 && echo terminal; sleep 0.5'"
case_ a network; p run --rm --network slirp4netns busy sh -c 'ip -o -4 addr | awk "{print \$2, \$4}"; grep -c nameserver /etc/resolv.conf'
case_ a published port; mkdir -p "$WORK/www"; echo page >"$WORK/www/index.html"; p run -d --name $id-web --network slirp4netns -p 127.0.0.1:28473:80 -v "$WORK/www:/www" busy httpd -f -p 80 -h /www >/dev/null
until_ curl -sf http://127.0.0.1:28473/; both curl -s http://127.0.0.1:28473/; both p exec $id-web wget -q -O - http://127.0.0.1/; p rm -f -t 0 $id-web >/dev/null
case_ top; p top "$id" | awk '/%CPU/ || !/sleep 0.05|\[sleep\]/ { print $1, $3, $8, $9, $10 }'; p top "$id" user huser pid args | grep -v sleep
case_ copied in and out while it runs; echo in >"$WORK/in"; both p cp "$WORK/in" "$id:/tmp/in"; p exec "$id" sh -c 'cat /tmp/in; ls -ln /tmp/in | tr -s " " | cut -d" " -f 3,4; echo out >/tmp/out; chown 1000:1000 /tmp/out'
both p cp "$id:/tmp/out" "$WORK/out"; cat "$WORK/out"; stat -c %u "$WORK/out"
case_ stop; p stop "$id" >/dev/null; p inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$id"; p logs "$id"
case_ started again; p start "$id" >/dev/null; until_ $PODMAN exec "$id" true; p inspect -f '{{.State.Status}}' "$id"
case_ kill; p kill "$id" >/dev/null; p wait "$id"; p rm "$id" >/dev/null; p ps -aq
case_ several at once; for n in 1 2 3 4; do r --rm busy echo "container $n" & done | sort; wait
