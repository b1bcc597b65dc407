# The life of containers by the runtime's own commands. Run once with runc and once with runsc: each case must print the same.
# $RT is the runtime with its --root, $BUNDLE a bundle with busybox whose program is `sh -c "$(cat /script)"`.
rt() { timeout -k 5 20 $RT "$@"; }
case_() { echo "== $*"; }
# Prints whether a command succeeds; what it says need not be the same.
tried() { if rt "$@" >/dev/null 2>"$WORK/said" </dev/null; then echo "done: $1"; else echo "refused: $1"; [ -s "$WORK/said" ] || echo "and silent"; fi; }
state() { rt state "$1" 2>/dev/null | tr -d ' ",' | grep '^status' ; }
until_() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.02; done; echo "never: $*"; }
stopped() { test "$(state "$1")" = status:stopped; }
script() { printf '%s' "$*" >"$BUNDLE/rootfs/script"; }
# Creates a container; its output goes to a file.
create() { rt create --bundle "$BUNDLE" --pid-file "$WORK/pid" "$1" </dev/null >"$WORK/out" 2>"$WORK/err" || echo "refused: create"; }
loop='trap "echo term; exit 7" TERM; echo up; while :; do sleep 0.02; done'

case_ created, started, killed, deleted
script "$loop"; create a; state a; test "$(cat "$WORK/pid")" = "$(rt state a | tr -d ' ",' | sed -n 's/^pid://p')" && echo same pid
tried start a; until_ grep up "$WORK/out"; state a; tried kill a TERM; until_ stopped a; cat "$WORK/out"; state a; tried delete a; tried state a
case_ what is refused in which state
create a; tried create --bundle "$BUNDLE" a; tried start a; tried start a; tried delete a; tried resume a
tried kill a KILL; until_ stopped a; tried start a; tried exec a true; tried pause a; tried kill a KILL; tried delete a
case_ deleted before it is started; create a; tried delete a; tried state a
case_ deleted by force; create a; tried start a; tried delete --force a; tried state a; tried delete --force a; tried delete a
case_ killed before it is started; create a; tried kill a KILL; until_ stopped a; state a; tried delete a
case_ listed; create a; create b; rt list -q | sort; rt delete a; rt delete b; rt list -q
case_ names; for name in .. a/b 'a b' ''; do tried create --bundle "$BUNDLE" "$name"; done
case_ run; script 'echo hello; exit 4'; rt run --bundle "$BUNDLE" a </dev/null; echo "status $?"; rt list -q
case_ run detached; script "$loop"; rt run --detach --bundle "$BUNDLE" a </dev/null >"$WORK/out" 2>"$WORK/err"; until_ grep up "$WORK/out"; state a
case_ exec; rt exec a sh -c 'echo inside; exit 5'; echo "status $?"; echo piped | rt exec a cat; rt exec -e X=1 --cwd /tmp -u 1000 a sh -c 'echo $X; pwd; id -u'
case_ exec that dies of a signal; rt exec a sh -c 'kill -KILL $$'; echo "status $?"
case_ exec detached; rt exec --detach --pid-file "$WORK/epid" a sleep 50 </dev/null >/dev/null 2>&1; until_ sh -c "$RT exec a ps | grep -q 'slee[p] 50'"
kill -KILL "$(cat "$WORK/epid")"; until_ sh -c "! $RT exec a ps | grep -q 'slee[p] 50'"; echo gone
case_ many at once; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do rt exec a sh -c "echo $n; exit $n" & done | sort -n; wait
case_ a descriptor is passed on; rt exec --preserve-fds 1 a sh -c 'cat <&3' 3<<<'through three'
case_ pause; tried pause a; state a; tried exec a true; tried resume a; state a; rt exec a echo on
case_ signals; tried kill a 0x; tried kill a 65; tried kill a SIGNOTHING; tried kill a TERM; until_ stopped a; cat "$WORK/out"; tried delete a
case_ a seccomp profile holds for exec too
cp "$BUNDLE/config.json" "$WORK/config.json"
python3 - "$BUNDLE/config.json" <<'P'
import json, sys
config = json.load(open(sys.argv[1]))
config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
json.dump(config, open(sys.argv[1], "w"))
P
create a; tried start a; until_ grep up "$WORK/out"; cp "$WORK/config.json" "$BUNDLE/config.json"
rt exec a sh -c 'mkdir /x 2>&1; grep ^Seccomp /proc/self/status'; rt exec --no-new-privs a mkdir /x 2>&1; echo "status $?"; rt delete --force a
# runc runs poststart before the start; the specification says after: only the order of the hooks is compared.
case_ hooks in their order
cp "$BUNDLE/config.json" "$WORK/config.json"
python3 - "$BUNDLE/config.json" "$WORK" <<'P'
import json, sys
path, work = sys.argv[1:]
config = json.load(open(path))
hook = lambda name: [{"path": "/bin/sh", "args": ["sh", "-c", f"sed 's/.*status\":\"\\([a-z]*\\).*/{name} \\1/' >>{work}/hooks; echo >>{work}/hooks"]}]
config["hooks"] = {name: hook(name) for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]}
json.dump(config, open(path, "w"))
P
rm -f "$WORK/hooks"; create a; tried start a; tried delete --force a; grep . "$WORK/hooks" | sed 's/creating/created/; s/poststart .*/poststart/'
case_ a hook inside
python3 - "$BUNDLE/config.json" <<'P'
import json, sys
config = json.load(open(sys.argv[1]))
script = "read state; echo $state | sed 's/.*status\":\"\\([a-z]*\\).*/\\1/' >/tmp/hook; echo $KEY $(hostname) $(id -u) >>/tmp/hook; test -e /proc/self/status && echo proc >>/tmp/hook"
config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["KEY=value", "PATH=/bin"]}]}
json.dump(config, open(sys.argv[1], "w"))
P
create a; tried start a; until_ grep up "$WORK/out"; rt exec a cat /tmp/hook; rt delete --force a; rm -f "$BUNDLE/rootfs/tmp/hook"
case_ a hook that fails
python3 - "$BUNDLE/config.json" <<'P'
import json, sys
config = json.load(open(sys.argv[1]))
config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
json.dump(config, open(sys.argv[1], "w"))
P
tried create --bundle "$BUNDLE" a; tried state a; cp "$WORK/config.json" "$BUNDLE/config.json"
case_ one name, claimed by many; for n in 1 2 3 4 5 6; do rt create --bundle "$BUNDLE" a </dev/null >/dev/null 2>&1 && echo one & done | wc -l; wait; rt delete --force a; rt list -q
case_ started and deleted at the same time
for n in 1 2 3 4 5 6 7 8; do create a$n; rt start a$n >/dev/null 2>&1 & rt delete --force a$n >/dev/null 2>&1 & rt kill a$n KILL >/dev/null 2>&1 & rt state a$n >/dev/null 2>&1 & wait; rt delete --force a$n; done; rt list -q
