# Cgroups of version 2 that systemd makes. Run in a virtual machine, once with runc and once with runsc: each case must print
# the same. $RUNTIME is the runtime, $BUNDLE a bundle with busybox whose program is `sh -c "$(cat /script)"`, $WORK a directory.
case_() { echo "== $*"; }
both() { "$@"; echo "status $?"; }
until_() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*"; }
rt() { timeout 60 $RUNTIME --root "$WORK/root" --systemd-cgroup "$@"; }
d() { timeout 150 docker "$@" 2>&1; }
r() { d run --runtime "$RUNTIME" --network none "$@"; }
script() { printf '%s' "$*" >"$BUNDLE/rootfs/script"; }
# Changes config.json by a line of Python.
config() { python3 - "$BUNDLE/config.json" "$1" <<'P'
import json, sys
path, change = sys.argv[1:]
c = json.load(open(path))
exec(change)
json.dump(c, open(path, "w"))
P
}
show() { systemctl show -p "$1" "$2"; }
gone() { ! systemctl -q is-active "$1" && ! test -e "/sys/fs/cgroup/system.slice/$1"; }
create() { rt create --bundle "$BUNDLE" "$1" </dev/null >"$WORK/out" 2>&1 || { echo "refused: create"; tail -n 1 "$WORK/out" >&2; }; }
unit=test-one.scope; dir=/sys/fs/cgroup/system.slice/$unit
config 'c["linux"]["cgroupsPath"] = "system.slice:test:one"'
script 'trap exit TERM; while :; do sleep 0.1; done'

case_ a unit of its own; create a; show ActiveState $unit; show Slice $unit; show Delegate $unit; rt start a; cat $dir/cgroup.controllers | grep -o 'memory pids'
test "$(rt state a | tr -d ' ",' | sed -n 's/^pid://p' | xargs -I{} cat /proc/{}/cgroup)" = "0::/system.slice/$unit" && echo in it
rt kill a KILL; until_ gone $unit; rt delete a; gone $unit && echo gone
# runc has no property for swap, whose limit a reload takes away.
case_ limits are properties, and outlive a reload
config 'c["linux"]["resources"] = {"memory": {"limit": 67108864, "swap": 67108864, "reservation": 33554432}, "cpu": {"quota": 25000, "period": 50000, "shares": 512, "cpus": "0-1"}}'
create a; rt start a; for p in MemoryMax MemoryLow CPUQuotaPerSecUSec CPUQuotaPeriodUSec CPUWeight AllowedCPUs; do show $p $unit; done
files() { (cd $dir; cat memory.max memory.low cpu.max cpu.weight cpuset.cpus); }
files; systemctl daemon-reload; files
case_ other limits; rt update --memory 100663296 --memory-swap 100663296 --cpu-quota 10000 --cpu-period 50000 a; show MemoryMax $unit; show CPUQuotaPerSecUSec $unit; files; systemctl daemon-reload; files
case_ figures; rt events --stats a | python3 -c '
import json, sys
data = json.load(sys.stdin)["data"]
print(data["memory"]["usage"]["limit"], data["memory"]["usage"]["usage"] > 0, data["cpu"]["usage"]["total"] > 0, data["pids"]["current"] > 0, sorted(data))'
rt delete --force a; gone $unit && echo gone
case_ a limit of processes
config 'c["linux"]["resources"] = {"pids": {"limit": 9}}'; script 'i=0; while [ $i -lt 30 ] && sleep 9 & do i=$((i + 1)); echo $i; done 2>/dev/null'
rt run --bundle "$BUNDLE" a </dev/null 2>/dev/null | tail -n 1; until_ gone $unit
case_ out of memory is an event; config 'c["linux"]["resources"] = {"memory": {"limit": 33554432, "swap": 33554432}}'; script 'until test -e /tmp/go; do sleep 0.1; done; tail /dev/zero; touch /tmp/done; while :; do sleep 0.1; done'
create a; rt start a; rt events --interval 100s a >"$WORK/events" & rt exec a touch /tmp/go; until_ rt exec a test -e /tmp/done; until_ grep -q '"type":"oom"' "$WORK/events"; grep -o '"type":"oom"' "$WORK/events" | head -n 1; rt delete --force a; wait; rm -f "$BUNDLE"/rootfs/tmp/*
case_ a unit that has failed under that name; systemd-run -q --unit=$unit --scope false; create a; rt start a; show ActiveState $unit; rt delete --force a; gone $unit && echo gone
case_ other slices; config 'c["linux"]["cgroupsPath"] = "my-own.slice:test:one"'; create a; ls -d /sys/fs/cgroup/my.slice/my-own.slice/$unit; rt delete --force a; ls -d /sys/fs/cgroup/my.slice/my-own.slice/$unit 2>/dev/null
case_ the runtime chooses; config 'del c["linux"]["cgroupsPath"]; c["linux"]["resources"] = {"memory": {"limit": 67108864}}'; create a; ls /sys/fs/cgroup/system.slice | sed -n "s/^$RUNTIME-a.scope/own-a.scope/p"; rt delete --force a
case_ a path that is none; config 'c["linux"]["cgroupsPath"] = "/a/b"'; timeout 60 $RUNTIME --root "$WORK/root" --systemd-cgroup create --bundle "$BUNDLE" a </dev/null >/dev/null 2>&1 || echo refused
case_ without systemd; config 'c["linux"]["cgroupsPath"] = "/plain/a"'; $RUNTIME --root "$WORK/root" create --bundle "$BUNDLE" a </dev/null >/dev/null 2>&1; cat /sys/fs/cgroup/plain/a/memory.max; $RUNTIME --root "$WORK/root" delete --force a; ls -d /sys/fs/cgroup/plain/a 2>/dev/null
config 'c["linux"]["cgroupsPath"] = "system.slice:test:one"'
case_ killed at any time; for delay in 0 0.1 0.2 0.3 0.4 0.6 0.8; do rt create --bundle "$BUNDLE" a </dev/null >/dev/null 2>&1 & sleep $delay; kill -KILL $(pgrep -f "^$RUNTIME .*create") 2>/dev/null; wait 2>/dev/null; rt delete --force a >/dev/null 2>&1; until_ gone $unit; done; rt list -q

case_ docker as it is installed; d info -f '{{.CgroupDriver}} {{.CgroupVersion}}'; both r --rm busy echo hello
id=engines; r -d --name $id --memory 100m --cpus 0.5 busy sleep 1000 >/dev/null; scope=docker-$(d inspect -f '{{.Id}}' $id).scope; show MemoryMax $scope; show CPUQuotaPerSecUSec $scope
case_ docker stats; d stats --no-stream --format '{{.Name}} {{.MemUsage}}' $id | sed 's:[0-9.]*[KMG]*i*B /:N /:'; d top $id | head -n 1 | tr -s ' '
case_ docker update; d update --memory 200m --memory-swap -1 $id >/dev/null; show MemoryMax $scope; both d exec $id echo inside
case_ docker rm; d rm -f $id >/dev/null; until_ gone $scope; gone $scope && echo gone
# Where the shim hears of it after the end, Docker never does: that is not the rule.
oom() { r --name $id --memory 30m --memory-swap 30m busy sh -c 'exec tail /dev/zero'; echo "status $?"; d inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' $id; d rm $id >/dev/null; }
case_ docker out of memory; for _ in 1 2 3 4 5; do seen=$(oom); [ "${seen##* }" = true ] && break; done; echo "$seen"
