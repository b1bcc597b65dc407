# The MUSTs of the OCI runtime specification (1.2), clause by clause. Run with runc, which proves the case, and with runsc: each
# line says "ok" or "no", the clause, and what was seen instead.
# $RT is the runtime with its --root, $BUNDLE a bundle with busybox whose program is `sh -c "$(cat /script)"`, $WORK a directory
# of our own.
rt() { timeout -k 5 30 $RT "$@"; }
# must CLAUSE EXPECTED SEEN
must() { if [ "$2" = "$3" ]; then printf 'ok\t%s\n' "$1"; else printf 'no\t%s\t%s\n' "$1" "$(printf %s "$3" | tr '\n\t' '| ' | head -c 300)"; fi; }
until_() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.02; done; }
field() { rt state "$1" 2>/dev/null | python3 -c "import json, sys; print(json.load(sys.stdin).get('$2', 'absent'))" 2>/dev/null; }
stopped() { test "$(field "$1" status)" = stopped; }
script() { printf '%s' "$*" >"$BUNDLE/rootfs/script"; }
cp "$BUNDLE/config.json" "$WORK/good.json"
# Changes the good config.json by lines of Python: c is the document, p its process, l its linux.
config() { python3 - "$WORK/good.json" "$BUNDLE/config.json" "$1" <<'P'
import json, sys
good, path, change = sys.argv[1:]
c = json.load(open(good)); p = c["process"]; l = c["linux"]
def mount(place, kind, source, *options): c["mounts"].append({"destination": place, "type": kind, "source": source, "options": list(options)})
def hook(kind, text, **more): c.setdefault("hooks", {}).setdefault(kind, []).append(dict({"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"]}, **more))
exec(change)
json.dump(c, open(path, "w"))
P
}
create() { rt create --bundle "$BUNDLE" "$1" </dev/null >"$WORK/out" 2>"$WORK/err"; }
refused() { if "$@" >/dev/null 2>"$WORK/err" </dev/null; then echo accepted; else if [ -s "$WORK/err" ]; then echo refused; else echo silent; fi; fi; }
gone() { rt delete --force "$1" >/dev/null 2>&1; }
# What a container prints that runs the script under a changed configuration; its status is in the last line.
run() { config "$1"; script "$2"; rt run --bundle "$BUNDLE" c </dev/null 2>"$WORK/err"; echo "status $?"; gone c; }
# The same for a configuration that is to be refused.
bad() { config "$1"; script true; refused rt run --bundle "$BUNDLE" c; gone c; }
loop='trap "exit 7" TERM; echo up; while :; do sleep 0.02; done'
out() { printf '%s\n' "$@" "status 0"; }

# runtime.md, State
config 'c["annotations"] = {"org.example.key": "value"}'; script "$loop"; create a
must 'state: ociVersion is a version of the specification' 1 "$(field a ociVersion | cut -d. -f1)"
must 'state: id is the id of the container' a "$(field a id)"
must 'state: status is created' created "$(field a status)"
must 'state: pid is of a process of the host when created' yes "$(test -d "/proc/$(field a pid)" && test "$(field a pid)" -gt 1 && echo yes)"
must 'state: bundle is an absolute path' "$(realpath "$BUNDLE")" "$(field a bundle)"
must 'state: annotations are those of config.json' "{'org.example.key': 'value'}" "$(field a annotations)"
# runtime.md, Operations
must 'create: an id that is not unique is an error' refused "$(refused rt create --bundle "$BUNDLE" a)"
must 'create: the program must not run' "" "$(cat "$WORK/out")"
must 'delete: a container that is not stopped is an error' refused "$(rt start a; refused rt delete a)"
until_ grep up "$WORK/out"
must 'start: the program runs' up "$(cat "$WORK/out")"
must 'state: status is running' running "$(field a status)"
must 'start: a container that is not created is an error' refused "$(refused rt start a)"
must 'start: that attempt has no effect on the container' running "$(field a status)"
must 'delete: that attempt has no effect on the container' running "$(field a status)"
rt kill a TERM; until_ stopped a
must 'kill: the signal is sent to the process' stopped "$(field a status)"
must 'kill: a container neither created nor running is an error' refused "$(refused rt kill a TERM)"
must 'start: a stopped container is an error' refused "$(refused rt start a)"
must 'delete: a stopped container is deleted' accepted "$(refused rt delete a)"
must 'state: a container that does not exist is an error' refused "$(refused rt state a)"
must 'start, kill, delete: a container that does not exist is an error' "refused refused refused" "$(refused rt start a) $(refused rt kill a) $(refused rt delete a)"
create a; gone a; must 'delete: the id may be used again' accepted "$(refused rt create --bundle "$BUNDLE" a)"; gone a
must 'operations: without an id is an error' "refused refused" "$(refused rt state) $(refused rt create --bundle "$BUNDLE")"
must 'create: a bundle that does not exist is an error' refused "$(refused rt create --bundle "$WORK/none" a)"
config 'pass'; script 'cat /etc/mark 2>/dev/null; echo end'; create a; config 'p["args"] = ["/bin/echo", "changed"]'; rt start a; until_ stopped a
must 'create: changes of config.json afterwards have no effect' end "$(cat "$WORK/out")"; gone a
mkdir -p "$WORK/precious"; echo kept >"$WORK/precious/file"; config "mount('/v', 'bind', '$WORK/precious', 'bind')"; script true; rt run --bundle "$BUNDLE" a </dev/null >/dev/null 2>&1
must 'delete: what create has not made is not deleted' kept "$(cat "$WORK/precious/file")"
config 'l["cgroupsPath"] = "/runsc-conformance/here"; l["resources"] = {"memory": {"limit": 67108864}}'; script "$loop"
mkdir -p /sys/fs/cgroup/memory/runsc-conformance; create a; there=$(test -d /sys/fs/cgroup/memory/runsc-conformance/here && echo there); rt delete --force a
must 'cgroups: cgroupsPath is where the container is' there "$there"
must 'delete: a cgroup that create has made is deleted' "" "$(ls -d /sys/fs/cgroup/memory/runsc-conformance/here 2>/dev/null)"
must 'delete: a cgroup that was there is not deleted' /sys/fs/cgroup/memory/runsc-conformance "$(ls -d /sys/fs/cgroup/memory/runsc-conformance)"; rmdir /sys/fs/cgroup/*/runsc-conformance 2>/dev/null

# runtime.md, Lifecycle, and config.md, POSIX-platform Hooks
log=$WORK/hooks; rm -f "$log"
say() { echo "import json; hook('$1', 'read s; echo \$s >>$log-$1; echo $1 >>$log')"; }
config "$(for kind in prestart createRuntime createContainer poststart poststop; do say $kind; done)"; script "$loop"; create a
must 'hooks: prestart, createRuntime, createContainer run in this order in create' "prestart createRuntime createContainer" "$(tr '\n' ' ' <"$log" | sed 's/ $//')"
rt start a; until_ grep poststart "$log"; must 'hooks: poststart runs with start' poststart "$(tail -n 1 "$log")"
rt delete --force a; must 'hooks: poststop runs with delete' poststop "$(tail -n 1 "$log")"
of() { python3 -c "import json; s = json.load(open('$log-$1')); print(s['id'], s['status'], s['bundle'] == '$(realpath "$BUNDLE")', s.get('pid', 0) > 0)"; }
must 'hooks: the state is on standard input, prestart' "a creating True True" "$(of prestart | sed s/created/creating/)"
must 'hooks: the state is on standard input, createRuntime' "a creating True True" "$(of createRuntime)"
must 'hooks: the state is on standard input, createContainer' "a creating True True" "$(of createContainer)"
must 'hooks: the state is on standard input, poststart' "a running True True" "$(of poststart)"
must 'hooks: the state is on standard input, poststop' "a stopped True False" "$(of poststop)"
rm -f "$log"*; config "for n in '123': hook('createRuntime', 'echo ' + n + ' >>$log')"; create a; gone a
must 'hooks: they are called in the order of the list' "1 2 3" "$(tr '\n' ' ' <"$log" | sed 's/ $//')"
rm -f "$log"*; config "hook('createRuntime', 'echo \$0 \$KEY >>$log; env | grep -c . >>$log', env=['KEY=value'], args=['name', '-c', 'echo \$0 \$KEY >>$log'])"; create a; gone a
must 'hooks: args are like those of execv, env is the environment' "name value" "$(cat "$log")"
for kind in prestart createRuntime createContainer; do
    rm -f "$log"; config "hook('$kind', 'exit 1'); hook('poststop', 'echo poststop >>$log')"
    must "hooks: a failing $kind is an error" refused "$(refused create a)"; must "hooks: a failing $kind leaves no container" refused "$(refused rt state a)"; gone a
done
config "hook('startContainer', 'exit 1')"; script 'echo ran'; create a; must 'hooks: a failing startContainer is an error of start' refused "$(refused rt start a)"; until_ stopped a
must 'hooks: after a failing startContainer the program does not run' "" "$(cat "$WORK/out")"; gone a
rm -f "$log"; config "hook('poststop', 'exit 1'); hook('poststop', 'echo second >>$log')"; script true; create a; rt start a; until_ stopped a
must 'hooks: a failing poststop is no error of delete' accepted "$(refused rt delete a)"; must 'hooks: after a failing poststop the others run' second "$(cat "$log" 2>/dev/null)"; gone a
must 'hooks: a path that is not absolute is an error' refused "$(bad "hook('createRuntime', '', path='bin/sh')")"
must 'hooks: a timeout ends the hook, and is an error' refused "$(bad "hook('createRuntime', 'exec sleep 60', timeout=1)")"
rm -f "$log"; config "p['args'] = ['/bin/cat', '/tmp/of-hook']; hook('startContainer', 'echo inside \$(hostname) >/tmp/of-hook', env=['PATH=/bin'])"
must 'hooks: startContainer runs in the container, before the program' "$(out 'inside box')" "$(rt run --bundle "$BUNDLE" a </dev/null 2>/dev/null; echo "status $?")"; gone a; rm -f "$BUNDLE/rootfs/tmp/of-hook"

# config.md
must 'ociVersion: not of the form of SemVer is an error' refused "$(bad 'c["ociVersion"] = "x"')"
must 'ociVersion: missing is an error' refused "$(bad 'del c["ociVersion"]')"
must 'root: missing is an error' refused "$(bad 'del c["root"]')"
must 'root.path: a directory must exist' refused "$(bad 'c["root"]["path"] = "none"')"
must 'root.readonly: true means read-only' "$(out refused)" "$(run 'c["root"]["readonly"] = True' 'touch /x 2>/dev/null || echo refused')"
must 'mounts: they are mounted in the order of the list' "$(out second)" "$(run "mount('/m', 'tmpfs', 'one'); mount('/m', 'tmpfs', 'two', 'ro')" 'touch /m/x 2>/dev/null || echo second')"
must 'mounts: a destination that is missing is made' "$(out made)" "$(run "mount('/made/for/it', 'tmpfs', 'tmpfs')" 'grep -q " /made/for/it tmpfs " /proc/mounts && echo made')"
must 'mounts: bind follows the type or the options' "$(out kept kept)" "$(run "mount('/a', 'bind', '$WORK/precious', 'bind'); mount('/b', 'none', '$WORK/precious', 'rbind')" 'cat /a/file /b/file')"
must 'mounts: a source relative to the bundle' "$(out kept)" "$(cp -a "$WORK/precious" "$BUNDLE/relative"; run "mount('/a', 'bind', 'relative', 'bind')" 'cat /a/file')"
must 'mounts: options of Linux' "$(out ro,nosuid,nodev,noexec,noatime)" "$(run "mount('/m', 'tmpfs', 'tmpfs', 'ro', 'nosuid', 'nodev', 'noexec', 'noatime')" 'grep " /m " /proc/mounts | cut -d" " -f4 | cut -d, -f1-5')"
must 'mounts: later options outdo earlier ones' "$(out written)" "$(run "mount('/m', 'tmpfs', 'tmpfs', 'ro', 'rw', 'noexec', 'exec')" 'echo written >/m/x && cat /m/x')"
must 'mounts: data is for the file system' "$(out '3 5 6')" "$(run "mount('/m', 'tmpfs', 'tmpfs', 'size=12k', 'uid=5', 'gid=6')" 'echo $(stat -f -c %b /m) $(stat -c "%u %g" /m)')"
must 'mounts: tmpcopyup' "$(out root:x:0:0:root:/root:/bin/sh)" "$(run "mount('/etc', 'tmpfs', 'tmpfs', 'tmpcopyup')" 'head -n 1 /etc/passwd; echo more >>/etc/passwd')"
mkdir -p "$WORK/around/below"; chmod 700 "$BUNDLE/rootfs/root"; echo top >"$WORK/around/top"; ln -sf top "$WORK/around/link"; mount -t tmpfs below "$WORK/around/below"; echo deep >"$WORK/around/below/deep"
must 'mounts: bind is without what is mounted below, rbind with it' "$(out none deep)" "$(run "mount('/a', 'bind', '$WORK/around', 'bind'); mount('/b', 'bind', '$WORK/around', 'rbind')" 'cat /a/below/deep 2>/dev/null || echo none; cat /b/below/deep')"
# What the host mounts below a source later, and unmounts again while the container runs.
mkdir -p "$WORK/later"; mount -t tmpfs later "$WORK/later"; mount --make-shared "$WORK/later"; mkdir "$WORK/later/sub"; echo >"$WORK/later/sub/under"
later() {
    config "mount('/v', 'bind', '$WORK/later', 'rbind', '$1', '$2')"; script "$loop"; create a; rt start a; rt exec a ls /v/sub
    mount -t tmpfs sub "$WORK/later/sub"; echo >"$WORK/later/sub/seen"; rt exec a ls /v/sub; rt exec a sh -c 'echo >/v/sub/made 2>/dev/null || echo refused'; (cd "$WORK/later/sub" && ls)
    umount "$WORK/later/sub" || { echo busy; umount -l "$WORK/later/sub"; }; rt exec a ls /v/sub; gone a; rm -f "$WORK/later/sub/made"
}
must 'mounts: rslave shows what the host mounts later' 'under seen made seen under' "$(echo $(later rslave rw))"
must 'mounts: slave does, too, and shared' 'under seen made seen under under seen made seen under' "$(echo $(later slave rw; later rshared rw))"
must 'mounts: rprivate does not' 'under under seen made under' "$(echo $(later rprivate rw))"
umount "$WORK/later"
must 'mounts: rro is read-only below, too' "$(out refused refused)" "$(run "mount('/a', 'bind', '$WORK/around', 'rbind', 'rro')" 'for at in /a /a/below; do touch $at/new 2>/dev/null || echo refused; done')"
umount "$WORK/around/below"
must 'mounts: nosymfollow' "$(out top refused)" "$(run "mount('/a', 'bind', '$WORK/around', 'bind', 'nosymfollow')" 'cat /a/top; cat /a/link 2>/dev/null || echo refused')"
must 'mounts: a tmpfs is as open as what it covers' "$(out 700 755)" "$(run "mount('/root', 'tmpfs', 'tmpfs', 'nosuid'); mount('/etc', 'tmpfs', 'tmpfs')" 'stat -c %a /root /etc')"
must 'mounts: a number of inodes' "$(out made refused)" "$(run "mount('/m', 'tmpfs', 'tmpfs', 'nr_inodes=3')" 'mkdir /m/1 /m/2 && echo made; mkdir /m/3 2>/dev/null || echo refused')"
must 'mounts: in a tmpfs that can only be read' "$(out kept refused)" "$(run "mount('/m', 'tmpfs', 'tmpfs', 'ro'); mount('/m/v', 'bind', '$WORK/precious', 'bind')" 'cat /m/v/file; touch /m/x 2>/dev/null || echo refused')"
# Files of root and of another user, the latter outside of the map.
mkdir -p "$WORK/ids"; echo own >"$WORK/ids/own"; chmod 600 "$WORK/ids/own"; echo other >"$WORK/ids/other"; chown 70000:70000 "$WORK/ids/other"; chmod 755 "$WORK" "$WORK/.."; mkdir -p "$BUNDLE/rootfs/v"
users='l["namespaces"] += [{"type": "user"}]; l["uidMappings"] = l["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]; mount("/dev", "tmpfs", "tmpfs")'
maps='dict(uidMappings=l["uidMappings"], gidMappings=l["gidMappings"])'
idmapped() { run "$users; mount('/v', 'bind', '$WORK/ids', $1); c['mounts'][-1].update($2)" 'cd /v; stat -c "%n %u %g" *; cat own; echo new >new && chown 5:6 new && stat -c "%u %g" new'; stat -c '%u %g' "$WORK/ids/new" 2>/dev/null; rm -f "$WORK/ids/new"; }
seen=$(printf '%s\n' 'other 65534 65534' 'own 0 0' own '5 6' 'status 0' '5 6')
must 'mounts: ids of a mount' "$seen" "$(idmapped "'bind'" "$maps")"
must 'mounts: idmap is by the ids of the container' "$seen" "$(idmapped "'rbind', 'idmap'" '{}')"
must 'mounts: idmap without any ids is an error' refused "$(bad "mount('/v', 'bind', '$WORK/ids', 'bind', 'idmap')")"
must 'mounts: ids of users without those of groups are an error' refused "$(bad "$users; mount('/v', 'bind', '$WORK/ids', 'bind'); c['mounts'][-1]['uidMappings'] = l['uidMappings']")"
must 'mounts: ids of what is no bind mount are an error' refused "$(bad "$users; mount('/v', 'tmpfs', 'tmpfs', 'idmap')")"
mkdir -p "$WORK/closed/in"; chmod 700 "$WORK/closed"; echo reached >"$WORK/closed/in/file"
must 'mounts: a source that the ids of the container have no way to' "$(out reached)" "$(run "$users; mount('/v', 'bind', '$WORK/closed/in', 'bind')" 'cat /v/file')"
must 'process: missing is an error of start' refused "$(bad 'del c["process"]')"
must 'process.cwd: is the working directory' "$(out /tmp)" "$(run 'p["cwd"] = "/tmp"' 'pwd')"
must 'process.cwd: not absolute is an error' refused "$(bad 'p["cwd"] = "tmp"')"
must 'process.cwd: missing is an error' refused "$(bad 'del p["cwd"]')"
must 'process.env: like environ' "$(out 'v=w ')" "$(run 'p["env"] += ["A=v=w", "EMPTY="]' 'echo "$A $EMPTY"')"
must 'process.args: at least one' refused "$(bad 'p["args"] = []')"
must 'process.args: a program that does not exist is an error' refused "$(bad 'p["args"] = ["/none"]')"
must 'process.rlimits: soft and hard' "$(out '123 456')" "$(run 'p["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 123, "hard": 456}]' 'echo $(ulimit -n) $(ulimit -Hn)')"
must 'process.rlimits: each limit of Linux' "$(out 16)" "$(run 'p["rlimits"] = [{"type": "RLIMIT_" + n, "soft": 1 << 33 if n in ("AS", "DATA") else 8388608 if n == "STACK" else 100 if n not in ("NICE", "RTPRIO") else 0, "hard": 1 << 34 if n in ("AS", "DATA") else 8388608 if n == "STACK" else 100 if n not in ("NICE", "RTPRIO") else 0} for n in "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK".split()]' 'tail -n +2 /proc/self/limits | wc -l')"
must 'process.rlimits: an unknown type is an error' refused "$(bad 'p["rlimits"] = [{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]')"
must 'process.rlimits: the same type twice is an error' refused "$(bad 'p["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2')"
must 'process.capabilities: the five sets' "$(out 'CapInh:	0000000000000001' 'CapPrm:	0000000000000003' 'CapEff:	0000000000000003' 'CapBnd:	0000000000000007' 'CapAmb:	0000000000000001')" "$(run 'names = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]; p["user"] = {"uid": 0, "gid": 0}; p["capabilities"] = {"bounding": names, "permitted": names[:2], "effective": names[:2], "inheritable": names[:1], "ambient": names[:1]}; p["noNewPrivileges"] = False; p["args"] = ["/bin/sh", "-c", "grep ^Cap /proc/self/status | sed s/CapPrm:.*7/CapPrm:x/"]' '' | sed 's/CapPrm:x/CapPrm:	0000000000000003/; s/\(CapEff:	\)0000000000000007/\10000000000000003/')"
must 'process.noNewPrivileges: true sets it' "$(out 'NoNewPrivs:	1')" "$(run 'p["noNewPrivileges"] = True' 'grep NoNewPrivs /proc/self/status')"
must 'process.oomScoreAdj: is that of the process' "$(out 77)" "$(run 'p["oomScoreAdj"] = 77' 'cat /proc/self/oom_score_adj')"
must 'process.user: ids, groups, umask' "$(out 'uid=5 gid=6 groups=7,8' 0027)" "$(run 'p["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27}' 'id | sed s/groups=6,/groups=/; umask')"
must 'process.terminal: false means no terminal' "$(out none)" "$(run 'p["terminal"] = False; p["consoleSize"] = {"height": 10, "width": 20}' 'test -t 0 || echo none')"
must 'hostname: as seen by processes' "$(out named named)" "$(run 'c["hostname"] = "named"' 'hostname; cat /proc/sys/kernel/hostname')"
must 'annotations: unknown keys are ignored' "$(out on)" "$(run 'c["annotations"] = {"org.example.unknown": "x"}' 'echo on')"
must 'extensibility: unknown properties are ignored' "$(out on)" "$(run 'c["unknown"] = {"a": 1}; p["unknown"] = 2; l["unknown"] = []' 'echo on')"
must 'valid values: an invalid value is an error' refused "$(bad 'p["user"]["uid"] = "root"')"

# config-linux.md
must 'default file systems: /proc' "$(out /proc)" "$(run 'pass' 'grep -o " /proc proc " /proc/mounts | cut -d" " -f2')"
must 'default devices' "$(out 'null zero full random urandom tty ptmx')" "$(run "mount('/dev', 'tmpfs', 'tmpfs', 'nosuid', 'mode=755'); mount('/dev/pts', 'devpts', 'devpts', 'newinstance', 'ptmxmode=0666')" 'echo $(for d in null zero full random urandom tty ptmx; do test -c /dev/$d && echo $d; done)')"
must 'default symbolic links' "$(out '/proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2')" "$(run "mount('/dev', 'tmpfs', 'tmpfs', 'nosuid', 'mode=755')" 'echo $(for d in fd stdin stdout stderr; do readlink /dev/$d; done)')"
must 'namespaces: a new pid namespace' "$(out 1)" "$(run 'pass' 'echo $$')"
must 'namespaces: a new network namespace has no interfaces of the host' "$(out lo)" "$(run 'pass' 'tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "')"
must 'namespaces: a type given twice is an error' refused "$(bad 'l["namespaces"] += [{"type": "pid"}]')"
must 'namespaces: an unknown type is an error' refused "$(bad 'l["namespaces"] += [{"type": "none"}]')"
must 'namespaces: a path that is not absolute is an error' refused "$(bad 'l["namespaces"] = [n for n in l["namespaces"] if n["type"] != "network"] + [{"type": "network", "path": "proc/self/ns/net"}]')"
must 'namespaces: a path of another type is an error' refused "$(bad 'l["namespaces"] = [n for n in l["namespaces"] if n["type"] != "network"] + [{"type": "network", "path": "/proc/self/ns/uts"}]')"
ip netns add runsc-conformance; ip netns exec runsc-conformance ip link add extra type veth peer name other; ip netns exec runsc-conformance ip link set other up; ip netns exec runsc-conformance ip link set extra up
must 'namespaces: the network of a path is joined' "$(out yes)" "$(run 'l["namespaces"] = [n for n in l["namespaces"] if n["type"] != "network"] + [{"type": "network", "path": "/run/netns/runsc-conformance"}]' 'grep -q extra: /proc/net/dev && echo yes')"
ip netns del runsc-conformance
ip netns add runsc-conformance; ip netns exec runsc-conformance ip link set lo up
joins='l["namespaces"] = [n for n in l["namespaces"] if n["type"] != "network"] + [{"type": "network", "path": "/run/netns/runsc-conformance"}]'
config "$joins"; script 'httpd -f -p 127.0.0.1:80 -h /etc'; create a; rt start a
must 'namespaces: the loopback of a path is shared' "$(out root:x:0:0:root:/root:/bin/sh)" "$(run "$joins" 'until wget -q -O - http://127.0.0.1/passwd 2>/dev/null; do sleep 0.1; done | head -n 1')"
gone a; ip netns del runsc-conformance
must 'user namespace: mappings are obeyed' "$(out '0 0')" "$(run 'mount("/dev", "tmpfs", "tmpfs"); l["namespaces"] += [{"type": "user"}]; l["uidMappings"] = l["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 65536}]' 'echo $(id -u) $(id -g)')"
must 'devices: the node is made as described' "$(out 'character special file 1:5 640 5 6')" "$(run 'l["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 5, "gid": 6}]; mount("/dev", "tmpfs", "tmpfs")' 'stat -c "%F %t:%T %a %u %g" /dev/mine')"
must 'devices: a fifo' "$(out fifo)" "$(run 'l["devices"] = [{"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0}]; mount("/dev", "tmpfs", "tmpfs")' 'stat -c %F /dev/pipe')"
must 'sysctl: is set in the container' "$(out 65530)" "$(run 'l["sysctl"] = {"kernel.msgmax": "65530"}' 'cat /proc/sys/kernel/msgmax')"
must 'sysctl: one that the container does not have of its own is an error' refused "$(bad 'l["sysctl"] = {"vm.swappiness": "1"}')"
must 'seccomp: an action of a call' "$(out 'refused')" "$(run 'l["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}' 'mkdir /x 2>/dev/null || echo refused')"
must 'seccomp: an unknown action is an error' refused "$(bad 'l["seccomp"] = {"defaultAction": "SCMP_ACT_NONE"}')"
must 'rootfsPropagation: an unknown value is an error' refused "$(bad 'l["rootfsPropagation"] = "none"')"
must 'maskedPaths: what is masked can not be read' "$(out 0 0)" "$(run 'l["maskedPaths"] = ["/etc", "/bin/busybox-none", "/script"]; p["args"] = ["/bin/sh", "-c", "ls -A /etc | wc -l; wc -c </script"]' 'x')"
must 'readonlyPaths: what is read-only can not be written' "$(out refused kept)" "$(run "mount('/v', 'bind', '$WORK/precious', 'bind'); l['readonlyPaths'] = ['/v']" 'echo x >/v/file 2>/dev/null || echo refused; cat /v/file')"
must 'maskedPaths, readonlyPaths: not absolute is an error' "refused refused" "$(bad 'l["maskedPaths"] = ["etc"]') $(bad 'l["readonlyPaths"] = ["etc"]')"
little='l["cgroupsPath"] = "/runsc-conformance"; l["resources"] = {"memory": {"limit": 33554432, "swap": 33554432}}'
must 'resources: memory.limit bites' "status 137" "$(run "$little" 'exec tail /dev/zero')"
# Programs that read into memory which they have not touched, so that the kernel (with runsc the sentry) fills it: what they
# read from must not matter, nor that they have slept in the call.
must 'resources: memory.limit takes one process only' "$(out $(yes 137 | head -n 9))" "$(run "$little" 'head -c 9000000 /dev/zero >/file; for _ in 1 2 3; do
    tail /dev/zero; echo $?; dd if=/dev/zero of=/dev/null bs=100M; echo $?
    while cat /file; do sleep 0.01; done | dd of=/dev/null bs=100M iflag=fullblock; echo $?; done 2>/dev/null; rm /file')"
must 'resources: pids.limit bites' yes "$(run 'l["cgroupsPath"] = "/runsc-conformance"; l["resources"] = {"pids": {"limit": 20}}' 'i=0; while [ $i -lt 60 ] && sleep 5 & do i=$((i + 1)); echo $i; done 2>/dev/null' | grep -v status | tail -n 1 | awk '{print ($1 < 25) ? "yes" : $1}')"
must 'resources: unknown cpus are an error' refused "$(bad 'l["resources"] = {"cpu": {"cpus": "99999"}}')"
rmdir /sys/fs/cgroup/*/runsc-conformance 2>/dev/null
# features.md
must 'features: what is required' "['ociVersionMax', 'ociVersionMin'] True" "$(rt features | python3 -c 'import json, sys; f = json.load(sys.stdin); print(sorted(k for k in f if k.startswith("oci")), "linux" in f)')"
