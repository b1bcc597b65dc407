//! `xtask bundles`: OCI bundles run by `runc` and by `runsc run`; what the program prints and how it ends must agree.
//!
//! Each case changes a plain bundle of busybox and gives a script for its shell. That `runc` runs it proves the case.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Common;
use crate::host::{Ended, first_difference, run as run_command};
use crate::setup::{need, root, runsc};
use crate::tally::Tally;

/// A bundle and what it runs.
struct Case {
    name: &'static str,
    /// Changes the configuration; the directory is the bundle's.
    change: fn(&mut Value, &Path) -> Result<()>,
    script: &'static str,
}

const CASES: &[Case] = &[
    Case { name: "plain", change: |_, _| Ok(()), script: "echo hello; pwd; id -u; exit 3" },
    Case {
        name: "arguments and environment",
        change: |c, _| {
            c["process"]["args"] = json!(["/bin/sh", "-c", "env | sort; echo \"$@\"", "sh", "a b", "", "ü"]);
            c["process"]["env"] = json!(["PATH=/bin", "A=1", "B=x=y", "EMPTY=", "HOME=/h"]);
            Ok(())
        },
        script: "",
    },
    Case {
        name: "program found on PATH",
        change: |c, _| {
            c["process"]["args"] = json!(["id", "-u"]);
            Ok(())
        },
        script: "",
    },
    Case {
        name: "home from passwd",
        change: |c, _| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 100});
            Ok(())
        },
        script: "echo $HOME; cd; pwd",
    },
    Case {
        name: "home of an unknown user",
        change: |c, _| {
            c["process"]["user"] = json!({"uid": 4242, "gid": 100});
            Ok(())
        },
        script: "echo $HOME",
    },
    Case {
        name: "user, groups and umask",
        change: |c, _| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 100, "additionalGids": [7, 5, 2000], "umask": 0o027});
            Ok(())
        },
        script: "grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask; id -u; id -g; touch /tmp/x; \
                 stat -c '%a %u %g' /tmp/x; touch /etc/x || echo refused",
    },
    Case {
        name: "missing working directory is made",
        change: |c, _| {
            c["process"]["cwd"] = json!("/new/deep");
            Ok(())
        },
        script: "pwd; stat -c '%a %u %g' . ..",
    },
    Case {
        name: "host name",
        change: |c, _| {
            c["hostname"] = json!("inside");
            Ok(())
        },
        script: "hostname; cat /proc/sys/kernel/hostname",
    },
    Case {
        name: "read-only root",
        change: |c, _| {
            c["root"]["readonly"] = json!(true);
            Ok(())
        },
        script: "touch /x || echo no; mkdir /y || echo no; rm /bin/sh || echo no; echo z > /etc/passwd || echo no; \
                 grep ' / ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1",
    },
    Case {
        name: "no capabilities",
        change: |c, _| {
            c["process"]["capabilities"] = json!({});
            Ok(())
        },
        script: "grep ^Cap /proc/self/status; chown 5 /tmp || echo no; hostname x || echo no",
    },
    Case {
        name: "some capabilities",
        change: |c, _| {
            let some = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"]);
            c["process"]["capabilities"] = json!({"bounding": some, "effective": some, "permitted": some});
            Ok(())
        },
        script: "grep ^Cap /proc/self/status; chown 5 /tmp && stat -c %u /tmp",
    },
    Case {
        name: "ambient capabilities of an ordinary user",
        change: |c, _| {
            let some = json!(["CAP_CHOWN", "CAP_KILL"]);
            c["process"]["user"] = json!({"uid": 1000, "gid": 100});
            c["process"]["capabilities"] =
                json!({"bounding": some, "effective": some, "permitted": some, "inheritable": some, "ambient": some});
            Ok(())
        },
        script: "grep ^Cap /proc/self/status; /bin/grep ^Cap /proc/self/status",
    },
    Case {
        name: "ambient capabilities that are not inheritable",
        change: |c, _| {
            let some = json!(["CAP_CHOWN", "CAP_KILL"]);
            c["process"]["capabilities"] =
                json!({"bounding": some, "effective": some, "permitted": some, "ambient": some});
            Ok(())
        },
        script: "grep ^Cap /proc/self/status",
    },
    Case {
        name: "ordinary user with capabilities that exec drops",
        change: |c, _| {
            let some = json!(["CAP_CHOWN", "CAP_KILL"]);
            c["process"]["user"] = json!({"uid": 1000, "gid": 100});
            c["process"]["capabilities"] = json!({"bounding": some, "effective": some, "permitted": some});
            Ok(())
        },
        script: "grep ^Cap /proc/self/status",
    },
    Case {
        name: "resource limits",
        change: |c, _| {
            c["process"]["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_FSIZE", "soft": 4096, "hard": 8192}, {"type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608},
                {"type": "RLIMIT_CPU", "soft": 60, "hard": 70}, {"type": "RLIMIT_AS", "soft": 1073741824u64, "hard": 2147483648u64}
            ]);
            Ok(())
        },
        script: "grep -E '^Max (open|core|file size|stack|cpu|address)' /proc/self/limits; ulimit -n; \
                 head -c 5000 /dev/zero > /tmp/x; echo $?; stat -c %s /tmp/x",
    },
    Case {
        name: "no new privileges",
        change: |c, _| {
            c["process"]["noNewPrivileges"] = json!(true);
            Ok(())
        },
        script: "grep NoNewPrivs /proc/self/status",
    },
    Case {
        name: "out-of-memory standing",
        change: |c, _| {
            c["process"]["oomScoreAdj"] = json!(321);
            Ok(())
        },
        script: "cat /proc/self/oom_score_adj; sh -c 'cat /proc/self/oom_score_adj'",
    },
    Case {
        name: "bind mounts",
        change: |c, dir| {
            fs::create_dir_all(dir.join("data/sub"))?;
            fs::write(dir.join("data/file"), "of the host\n")?;
            fs::write(dir.join("single"), "alone\n")?;
            fs::write(dir.join("written"), "")?;
            mount(c, "/data", "bind", "data", &["rbind", "rw"]);
            mount(c, "/made/for/it", "bind", "data", &["bind", "ro"]);
            mount(c, "/etc/single", "bind", "single", &["bind", "ro"]);
            mount(c, "/etc/written", "bind", "written", &["bind"]);
            Ok(())
        },
        script: "cat /data/file /made/for/it/file /etc/single; echo new > /data/sub/new; cat /made/for/it/sub/new; \
                 touch /made/for/it/x || echo no; echo y > /etc/single || echo no; echo there >> /etc/written; \
                 cat /etc/written; rmdir /data || echo busy; ls -R /data; cat /proc/self/mountinfo | grep -c ' /data '",
    },
    Case {
        name: "mount options",
        change: |c, dir| {
            fs::create_dir_all(dir.join("data"))?;
            fs::copy(dir.join("rootfs/bin/busybox"), dir.join("data/busybox"))?;
            mount(c, "/data", "bind", "data", &["bind", "noexec", "nosuid", "nodev"]);
            Ok(())
        },
        script: "/data/busybox true; echo $?; grep -o ' /data [^ ]* [^ ,]*,nosuid,nodev,noexec' /proc/mounts | cut -d' ' -f4",
    },
    Case {
        name: "a later mount covers an earlier one",
        change: |c, dir| {
            fs::create_dir_all(dir.join("data"))?;
            fs::write(dir.join("data/file"), "of the host\n")?;
            mount(c, "/a/b", "bind", "data", &["bind"]);
            mount(c, "/a", "tmpfs", "tmpfs", &["mode=755"]);
            Ok(())
        },
        script: "ls -A /a | wc -l; ls /a/b || echo hidden",
    },
    Case {
        name: "mount destination through a link of the image",
        change: |c, dir| {
            fs::create_dir_all(dir.join("data"))?;
            fs::write(dir.join("data/file"), "of the host\n")?;
            std::os::unix::fs::symlink("/tmp", dir.join("rootfs/link"))?;
            std::os::unix::fs::symlink("../../../../tmp/../tmp", dir.join("rootfs/upward"))?;
            mount(c, "/link/in", "bind", "data", &["bind"]);
            mount(c, "/upward/up", "bind", "data", &["bind"]);
            Ok(())
        },
        script: "cat /tmp/in/file /tmp/up/file",
    },
    Case {
        name: "tmpfs",
        change: |c, _| {
            mount(c, "/t", "tmpfs", "tmpfs", &["nosuid", "size=1m", "mode=1770", "uid=5", "gid=6"]);
            mount(c, "/r", "tmpfs", "tmpfs", &["ro"]);
            Ok(())
        },
        script: "stat -c '%a %u %g' /t; head -c 2000000 /dev/zero > /t/x; echo $?; stat -c %s /t/x; touch /r/x || echo no; \
                 stat -f -c '%T %b' /t",
    },
    Case {
        name: "kernel file systems",
        change: |c, _| {
            mount(c, "/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]);
            let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
            mount(c, "/dev/pts", "devpts", "devpts", &pts);
            mount(c, "/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]);
            mount(c, "/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
            mount(c, "/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]);
            mount(c, "/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
            Ok(())
        },
        script: "for p in /proc /dev /dev/pts /dev/shm /dev/mqueue /sys; do grep \" $p \" /proc/mounts | cut -d' ' -f2,3; done; \
                 grep ' /dev/pts ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-4; grep ' /dev/shm ' /proc/mounts | cut -d' ' -f1,4 | cut -d, -f1-6; \
                 ls -l /dev | awk '{print $1, $NF}' | grep -v -E 'total|core|console' | sort; touch /sys/x || echo no; echo x > /dev/shm/y; cat /dev/shm/y; \
                 stat -c %a /dev/pts/ptmx; head -c 3 /dev/zero | wc -c; ls -d /sys/fs/cgroup",
    },
    Case {
        name: "seccomp: named calls fail",
        change: |c, _| {
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [
                    {"names": ["mkdir", "mkdirat", "nosuchcall"], "action": "SCMP_ACT_ERRNO"},
                    {"names": ["chmod", "fchmodat", "fchmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                    {"names": ["rmdir"], "action": "SCMP_ACT_LOG"},
                    {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_TRACE", "errnoRet": 5},
                    {"names": ["sync"], "action": "SCMP_ACT_ALLOW"},
                ]
            });
            Ok(())
        },
        script: "grep -E '^(Seccomp|NoNewPrivs)' /proc/self/status; mkdir /x; echo $?; chmod 700 /tmp; echo $?; rmdir /home/annie; echo $?; \
                 ln -s a /tmp/b; echo $?; sync; sh -c 'sh -c \"mkdir /x\"' 2>&1; sh -c 'grep ^Seccomp /proc/$$/status'",
    },
    Case {
        name: "seccomp: calls that kill",
        change: |c, _| {
            c["process"]["noNewPrivileges"] = json!(true);
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"},
                    {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS"},
                    {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_KILL_THREAD"},
                    {"names": ["rmdir"], "action": "SCMP_ACT_TRAP"},
                ]
            });
            Ok(())
        },
        script: "grep -E '^(Seccomp|NoNewPrivs)' /proc/self/status; sh -c 'mkdir /x; true'; sh -c 'exec mkdir /x'; echo $?; \
                 sh -c 'exec chmod 700 /tmp'; echo $?; sh -c 'exec ln -s a /tmp/b'; echo $?; sh -c 'exec rmdir /tmp'; echo $?; \
                 trap 'echo caught; exit 4' SYS; exec rmdir /tmp",
    },
    Case {
        name: "seccomp: what is decided by arguments",
        change: |c, _| {
            let compare = |index: u32, value: u64, op: &str| json!({"index": index, "value": value, "op": op});
            let masked = json!({"index": 1, "value": 0o700, "valueTwo": 0o500, "op": "SCMP_CMP_MASKED_EQ"});
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [compare(0, 8, "SCMP_CMP_EQ")]},
                    {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [masked]},
                    {"names": ["kill"], "action": "SCMP_ACT_ERRNO",
                     "args": [compare(1, 9, "SCMP_CMP_GT"), compare(1, 3, "SCMP_CMP_LT")]},
                    {"names": ["umask"], "action": "SCMP_ACT_KILL", "args": [compare(0, 0o77, "SCMP_CMP_NE"), compare(3, u64::MAX, "SCMP_CMP_LE")]},
                ]
            });
            Ok(())
        },
        script: "linux32 uname -m; echo $?; setarch linux64 uname -m; mkdir -m 511 /tmp/a; mkdir -m 755 /tmp/b; mkdir -m 577 /tmp/c; \
                 ls /tmp; trap '' QUIT TRAP; sleep 9 & for s in 1 2 3 5 9; do kill -$s $! && echo $s || echo no $s; done; (umask 077; echo kept); \
                 sh -c 'umask 022; echo no'; echo $?",
    },
    Case {
        name: "seccomp: only named calls pass",
        change: |c, _| {
            let names: Vec<&str> = SHELL_CALLS.split_whitespace().collect();
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]
            });
            Ok(())
        },
        script: "echo runs; mkdir /tmp/a; echo $?; ls /bin/sh; hostname; sync; chmod 700 /tmp; echo $?; \
                 unshare -U true; echo $?; grep ^Seccomp /proc/self/status",
    },
    Case {
        name: "a user namespace with ids of its own",
        change: |c, dir| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
            if let Some(namespaces) = c["linux"]["namespaces"].as_array_mut() {
                namespaces.push(json!({"type": "user"}));
            }
            fs::create_dir_all(dir.join("data"))?;
            for (name, owner, mode) in
                [("roots", 0, 0o600), ("everybodys", 0, 0o644), ("own", 100_000, 0o600), ("users", 101_000, 0o640)]
            {
                let path = dir.join("data").join(name);
                fs::write(&path, format!("{name}\n"))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                std::os::unix::fs::chown(&path, Some(owner), Some(owner))?;
            }
            std::os::unix::fs::chown(dir.join("data"), Some(100_000), Some(100_000))?;
            let owned = Command::new("chown").args(["-R", "100000:100000"]).arg(dir.join("rootfs")).status()?;
            ensure!(owned.success(), "chown fails");
            for above in [dir, dir.parent().unwrap_or(dir)] {
                fs::set_permissions(above, fs::Permissions::from_mode(0o755))?;
            }
            mount(c, "/data", "bind", "data", &["rbind"]);
            Ok(())
        },
        script: "id -u; cd /data; stat -c '%n %u %g' * / /bin/sh; cat *; echo new > new; chown 5:6 new; stat -c '%u %g' new; \
                 chown 70000 new || echo no such user; echo x > /file; stat -c %u /file; chmod 644 everybodys || echo not mine; \
                 stat -c '%n %u %g' *; rm roots; ls",
    },
    Case {
        name: "device nodes",
        change: |c, _| {
            mount(c, "/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]);
            c["linux"]["devices"] = json!([
                {"path": "/dev/nothing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6},
                {"path": "/dev/sub/zero", "type": "c", "major": 1, "minor": 5},
                {"path": "/dev/fifo", "type": "p", "fileMode": 0o600},
            ]);
            Ok(())
        },
        script: "echo x > /dev/nothing; ls -ln /dev/nothing /dev/sub | tr -s ' ' | cut -d' ' -f1,3,4,5,6; head -c 3 /dev/sub/zero | wc -c; \
                 ls -ln /dev/fifo | cut -c 1-10",
    },
    Case {
        name: "a tmpfs that begins with what is there",
        change: |c, dir| {
            fs::create_dir_all(dir.join("rootfs/etc/sub"))?;
            fs::write(dir.join("rootfs/etc/sub/file"), "deep\n")?;
            std::os::unix::fs::symlink("sub/file", dir.join("rootfs/etc/link"))?;
            std::os::unix::fs::chown(dir.join("rootfs/etc/sub"), Some(5), Some(6))?;
            mount(c, "/etc", "tmpfs", "tmpfs", &["tmpcopyup", "nosuid"]);
            Ok(())
        },
        script: "cat /etc/link; stat -c '%n %a %u %g' /etc/*; grep -c ' /etc tmpfs ' /proc/mounts; echo x > /etc/new && ls /etc; stat -c %a /etc",
    },
    Case {
        name: "names that are not known",
        change: |c, _| {
            for set in ["bounding", "effective", "permitted"] {
                c["process"]["capabilities"][set] = json!(["CAP_CHOWN", "CAP_OF_TOMORROW"]);
            }
            c["linux"]["sysctl"] = json!({"kernel.domainname": "dom"});
            c["linux"]["rootfsPropagation"] = json!("rslave");
            mount(c, "relative/place", "tmpfs", "tmpfs", &[]);
            Ok(())
        },
        script: "grep ^Cap /proc/self/status; cat /proc/sys/kernel/domainname; grep -c ' /relative/place ' /proc/mounts",
    },
    Case {
        name: "masked and read-only paths",
        change: |c, dir| {
            fs::create_dir_all(dir.join("rootfs/secret"))?;
            fs::write(dir.join("rootfs/secret/key"), "secret\n")?;
            fs::write(dir.join("rootfs/key"), "secret\n")?;
            fs::create_dir_all(dir.join("rootfs/fixed/sub"))?;
            fs::write(dir.join("rootfs/fixed/file"), "fixed\n")?;
            fs::write(dir.join("rootfs/alone"), "fixed\n")?;
            c["linux"]["maskedPaths"] = json!(["/secret", "/key", "/none", "/proc/timer_list"]);
            c["linux"]["readonlyPaths"] = json!(["/fixed", "/alone", "/nowhere", "/proc/sys", "/proc/bus"]);
            Ok(())
        },
        script: "ls -A /secret | wc -l; cat /key; touch /secret/x || echo no; cat /fixed/file /alone; \
                 touch /fixed/x || echo no; touch /fixed/sub/x || echo no; echo x > /alone || echo no; \
                 echo x > /proc/sys/kernel/hostname || echo no; touch /free && echo yes",
    },
    Case {
        name: "settings of the kernel",
        change: |c, _| {
            c["linux"]["sysctl"] = json!({
                "net.ipv4.ip_forward": "1", "kernel.msgmax": "65536", "net/ipv4/ip_local_port_range": "20000 30000",
                "kernel.shm_rmid_forced": "1"
            });
            Ok(())
        },
        script: "cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax kernel/shm_rmid_forced; \
                 cat net/ipv4/ip_local_port_range | tr '\\t' ' '",
    },
    Case {
        name: "first process is shielded from its own",
        change: |_, _| Ok(()),
        script: "kill -9 $$; kill -TERM $$; echo alive; sh -c 'kill -9 $$'; echo $?; trap 'echo got' USR1; kill -USR1 $$; echo $$",
    },
    Case { name: "death by fault", change: |_, _| Ok(()), script: "sh -c 'kill -SEGV $$'; echo $?; exit 200" },
    Case {
        name: "death of the first process by its own fault",
        change: |c, _| {
            c["process"]["args"] = json!(["/bin/sh", "-c", "trap - PIPE; exec sh -c 'echo first; exec false'"]);
            Ok(())
        },
        script: "",
    },
    Case {
        name: "standard streams",
        change: |_, _| Ok(()),
        script: "echo out; echo err >&2; cat; ls /proc/self/fd | wc -l; test -t 0 || echo no terminal",
    },
    Case {
        name: "only pid 1 and its children are seen",
        change: |_, _| Ok(()),
        script: "echo /proc/[0-9]*; echo $$ $PPID; cat /proc/self/stat | cut -d' ' -f4",
    },
];

/// What busybox's shell and runc's own start need.
const SHELL_CALLS: &str = "access arch_prctl brk capget capset chdir clone close close_range dup dup2 dup3 epoll_create1 \
    epoll_ctl epoll_pwait eventfd2 execve exit exit_group faccessat faccessat2 fchdir fchown fcntl fork fstat fstatfs futex getcwd getdents64 \
    getegid geteuid getgid getpgrp getpid getppid getrandom gettid getuid ioctl lseek lstat madvise mmap mprotect munmap \
    nanosleep newfstatat open openat pipe pipe2 poll prctl pread64 prlimit64 read readlink readlinkat rseq rt_sigaction \
    rt_sigprocmask rt_sigreturn rt_sigsuspend sched_getaffinity sched_yield sendfile set_robust_list set_tid_address \
    setgid setgroups setpgid setresgid setresuid setsid setuid sigaltstack stat statfs statx sysinfo tgkill time umask \
    uname vfork wait4 waitid write writev";

/// Runs every case by runc and on each platform.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("runc", "runc"), ("busybox", "busybox-static")])?;
    root("runc needs it, as it is used here")?;
    let runsc = runsc(common)?;
    for case in CASES.iter().filter(|c| common.filter.as_deref().is_none_or(|f| c.name.contains(f))) {
        let native = match once(Path::new("runc"), &[], case) {
            Ok(ended) if ended.code != -1 && !ended.stdout.is_empty() => ended,
            Ok(ended) => {
                tally.check(&format!("{} by runc", case.name), Some(format!("{}: {}", ended.code, ended.complaint())));
                continue;
            }
            Err(error) => return Err(error),
        };
        for platform in &common.platform {
            let ours = once(&runsc, &[format!("--platform={platform}")], case)?;
            tally.check(&format!("{} on {platform}", case.name), problem(&native, &ours));
        }
    }
    if common.filter.as_deref().is_none_or(|f| "counters".contains(f)) {
        for platform in &common.platform {
            crate::counters::run(&runsc, platform, tally)?;
        }
    }
    Ok(())
}

fn problem(runc: &Ended, ours: &Ended) -> Option<String> {
    if runc.code != ours.code {
        return Some(format!("exit status {} instead of {}: {}", ours.code, runc.code, ours.complaint()));
    }
    (runc.stdout != ours.stdout).then(|| {
        format!("{} (native is runc); stderr: {}", first_difference(&runc.stdout, &ours.stdout), ours.complaint())
    })
}

/// Makes the bundle anew and runs it.
fn once(runtime: &Path, flags: &[String], case: &Case) -> Result<Ended> {
    let dir = tempfile::Builder::new().prefix("runsc-bundle").tempdir().context("make a directory")?;
    let bundle = dir.path().join("bundle");
    busybox_rootfs(&bundle.join("rootfs"))?;
    let mut config = plain(case.script);
    (case.change)(&mut config, &bundle).context("prepare the bundle")?;
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    let mut command = Command::new(runtime);
    command.args(flags).arg("--root").arg(dir.path().join("state"));
    command.args(["run", "--bundle"]).arg(&bundle).arg(format!("case-{}", std::process::id()));
    run_command(&mut command, Duration::from_secs(30))
}

/// A configuration that runs a shell script with everything left at what engines commonly use.
pub(crate) fn plain(script: &str) -> Value {
    let caps = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
        "CAP_AUDIT_WRITE",
        "CAP_SETFCAP"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"},
        ]},
    })
}

fn mount(config: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(json!({"destination": destination, "type": kind, "source": source, "options": options}));
    }
}

/// A root file system of busybox alone.
pub(crate) fn busybox_rootfs(rootfs: &Path) -> Result<()> {
    let bin = rootfs.join("bin");
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "home/annie"] {
        fs::create_dir_all(rootfs.join(dir)).context("make a rootfs")?;
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).context("open /tmp up")?;
    let users = "root:x:0:0:root:/root:/bin/sh\nannie:x:1000:100::/home/annie:/bin/sh\n";
    fs::write(rootfs.join("etc/passwd"), users).context("write passwd")?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|p| p.exists());
    let busybox = busybox.context("find busybox")?;
    fs::copy(&busybox, bin.join("busybox")).context("copy busybox")?;
    let list = Command::new(&busybox).arg("--list").output().context("list busybox's applets")?;
    ensure!(list.status.success(), "busybox --list fails");
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).context("link an applet")?;
    }
    Ok(())
}
