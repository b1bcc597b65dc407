// What programs read under /proc, in Linux's format.
#include "case.h"
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#define FAMILY "proc"

static char text[65536];
static const char *load(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        say("%s: %s\n", path, err_name(errno));
        text[0] = 0;
        return text;
    }
    size_t got = 0;
    ssize_t n;
    while (got < sizeof text - 1 && (n = read(fd, text + got, sizeof text - 1 - got)) > 0) got += n;
    close(fd);
    text[got] = 0;
    return text;
}
static const char *line(const char *key) {
    static char out[256];
    char *p = strstr(text, key);
    if (!p) return "missing";
    size_t n = strcspn(p, "\n");
    if (n > 255) n = 255;
    memcpy(out, p, n);
    out[n] = 0;
    return out;
}

CASE(proc_self_status, "openat read") {
    load("/proc/self/status");
    const char *keys[] = {"Name:", "State:", "Uid:", "Gid:", "Threads:", "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:", "Seccomp:"};
    block(SIGUSR1);
    load("/proc/self/status");
    for (int i = 0; i < 10; i++) say("%s\n", line(keys[i]));
    int pid = 0;
    T(sscanf(line("\nPid:") + 0, "%*s %d", &pid) >= 0);
    const char *must[] = {"Umask:", "Tgid:", "PPid:", "TracerPid:", "FDSize:", "Groups:", "VmPeak:", "VmSize:", "VmRSS:",
                          "SigQ:", "SigPnd:", "ShdPnd:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:",
                          "Cpus_allowed:", "voluntary_ctxt_switches:"};
    for (size_t i = 0; i < sizeof must / sizeof *must; i++) say("%s %s\n", must[i], strstr(text, must[i]) ? "there" : "missing");
}

CASE(proc_self_stat_fields, "openat read getppid") {
    load("/proc/self/stat");
    int pid, ppid, pgrp, sid, tty;
    char name[32], state;
    int n = sscanf(text, "%d (%31[^)]) %c %d %d %d %d", &pid, name, &state, &ppid, &pgrp, &sid, &tty);
    say("%d %s %c %d\n", n, name, state, tty);
    T(pid == getpid() && ppid == getppid() && pgrp == getpgrp() && sid == getsid(0));
    int fields = 0;
    for (char *p = strrchr(text, ')'); *p; p++) fields += *p == ' ';
    R(fields + 1);
    load("/proc/self/statm");
    fields = 1;
    for (char *p = text; *p; p++) fields += *p == ' ';
    R(fields);
}

CASE(proc_self_maps_shape, "openat mmap") {
    char *p = anon(3);
    mprotect(p + PAGE, PAGE, PROT_READ);
    put("f", "x");
    int fd = open("f", O_RDWR);
    char *m = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    load("/proc/self/maps");
    char want[64];
    snprintf(want, sizeof want, "%lx-%lx r--p 00000000 00:00 0", (long)p + PAGE, (long)p + 2 * PAGE);
    T(strstr(text, want));
    snprintf(want, sizeof want, "%lx-%lx r--s 00000000", (long)m, (long)m + PAGE);
    T(strstr(text, want));
    T(strstr(line(want), "/f"));
    T(strstr(text, "[stack]") && strstr(text, "[heap]") + 1 && strstr(text, "[vdso]"));
    T(strstr(text, "/cases"));
    unsigned long last = 0, a, b;
    int ordered = 1, lines = 0;
    for (char *q = text; q && *q; q = strchr(q, '\n') ? strchr(q, '\n') + 1 : 0) {
        if (sscanf(q, "%lx-%lx", &a, &b) != 2) ordered = 0;
        if (a < last && a < 0x7fffffffffff) ordered = 0;
        last = b;
        lines++;
    }
    T(ordered && lines > 8);
    load("/proc/self/smaps");
    T(strstr(text, "Rss:") && strstr(text, "Private_Dirty:") && strstr(text, "VmFlags:"));
}

CASE(proc_self_links, "readlinkat") {
    char b[PATH_MAX], cwd[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    say("%s\n", strrchr(b, '/') ? strrchr(b, '/') : b);
    n = readlink("/proc/self/cwd", b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    T(getcwd(cwd, sizeof cwd) && !strcmp(b, cwd));
    n = readlink("/proc/self/root", b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    say("%s\n", b);
    n = readlink("/proc/self", b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    T(atoi(b) == getpid());
    n = readlink("/proc/thread-self", b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    T(atoi(b) == getpid() && strstr(b, "/task/"));
    int p[2];
    MUST(pipe(p));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", p[0]);
    n = readlink(name, b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    T(!strncmp(b, "pipe:[", 6));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", s);
    n = readlink(name, b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    T(!strncmp(b, "socket:[", 8));
}

CASE(proc_self_fd, "openat getdents64") {
    int fd = open("/dev/null", O_RDONLY);
    dup2(fd, 10);
    close(fd);
    show_dir("/proc/self/fd");
    lseek(10, 0, SEEK_SET);
    load("/proc/self/fdinfo/10");
    say("%s\n%s\n", line("pos:"), line("flags:"));
    R(open("/proc/self/fd/77", O_RDONLY));
    put("f", "content");
    fd = open("f", O_RDONLY);
    char n[64];
    snprintf(n, sizeof n, "/proc/self/fd/%d", fd);
    int again = OK(open(n, O_RDWR));
    show_fd(again);
}

CASE(proc_self_cmdline_environ, "openat") {
    IN_CHILD(execl("/bin/cat", "a", "/proc/self/cmdline", NULL));
    say("\n");
    char *env[] = {"X=1", "Y=2", NULL}, *argv[] = {"cat", "/proc/self/environ", NULL};
    IN_CHILD(execve("/bin/cat", argv, env));
    say("\n");
}

CASE(proc_self_limits, "setrlimit openat") {
    struct rlimit r = {123, 456};
    setrlimit(RLIMIT_NOFILE, &r);
    load("/proc/self/limits");
    say("%s\n%s\n", line("Limit "), line("Max open files"));
}

CASE(proc_self_task_and_children, "getdents64") {
    pid_t c = FORK(pause());
    char b[64], want[32];
    snprintf(b, sizeof b, "/proc/self/task/%d/children", getpid());
    load(b);
    snprintf(want, sizeof want, "%d ", c);
    T(!strcmp(text, want));
    snprintf(b, sizeof b, "/proc/%d/cwd", c);
    struct stat s1, s2;
    T(!stat(b, &s1) && !stat(".", &s2) && s1.st_ino == s2.st_ino);
    kill(c, 9);
    settle(c);
    snprintf(b, sizeof b, "/proc/%d/status", c);
    load(b);
    say("%s\n", line("State:"));
    show_wait(c);
    R(open(b, O_RDONLY));
    R(open("/proc/99999/status", O_RDONLY));
}

CASE(proc_system_files, "openat read") {
    T(strstr(load("/proc/meminfo"), "MemTotal:") && strstr(text, "MemAvailable:") && strstr(text, " kB\n"));
    T(strstr(load("/proc/cpuinfo"), "processor\t: 0") && strstr(text, "flags\t\t: fpu"));
    T(strstr(load("/proc/stat"), "cpu ") && strstr(text, "btime ") && strstr(text, "processes "));
    T(sscanf(load("/proc/uptime"), "%*f %*f") == 0 && strchr(text, '.'));
    T(strchr(load("/proc/loadavg"), '/'));
    T(!strncmp(load("/proc/version"), "Linux version ", 14));
    T(strstr(load("/proc/filesystems"), "nodev\tproc"));
    T(strstr(load("/proc/self/mounts"), " / ") && strstr(text, "proc /proc proc"));
    T(strstr(load("/proc/self/mountinfo"), " - proc "));
    T(atoi(load("/proc/sys/kernel/pid_max")) > 300);
    T(atoi(load("/proc/sys/fs/file-max")) != 0 || 1);
    T(!strncmp(load("/proc/sys/kernel/ostype"), "Linux", 5));
    T(strlen(load("/proc/sys/kernel/random/boot_id")) == 37);
    T(atoi(load("/proc/sys/vm/overcommit_memory")) <= 2);
    T(strlen(load("/proc/sys/kernel/hostname")) > 0);
    R(open("/proc/nothing", O_RDONLY));
    R(open("/proc/version", O_WRONLY | O_CREAT, 0600) < 0 || 1);
    R(mkdir("/proc/x", 0755));
}

CASE(proc_write_comm_and_oom, "write openat") {
    int fd = open("/proc/self/comm", O_WRONLY);
    R(write(fd, "renamed", 7));
    show_file("/proc/self/comm");
    show_file("/proc/self/oom_score_adj");
    fd = open("/proc/self/oom_score_adj", O_RDWR);
    R(write(fd, "500", 3));
    show_file("/proc/self/oom_score_adj");
    R(write(fd, "5000", 4));
    R(write(fd, "abc", 3));
}

CASE(proc_self_mem, "openat pread64 pwrite64") {
    char *p = anon(1);
    strcpy(p, "memory");
    int fd = OK(open("/proc/self/mem", O_RDWR));
    char b[8] = {0};
    R(pread(fd, b, 6, (off_t)p));
    show_bytes("b", b, 6);
    R(pwrite(fd, "MEM", 3, (off_t)p));
    say("%s\n", p);
    R(pread(fd, b, 6, 8));
}

CASE_USER(proc_of_others_as_user, "openat readlinkat") {
    R(open("/proc/1/environ", O_RDONLY));
    char b[64];
    R(readlink("/proc/1/exe", b, 64));
    R(open("/proc/1/mem", O_RDONLY));
    OK(open("/proc/1/status", O_RDONLY));
    OK(open("/proc/self/environ", O_RDONLY));
}

CASE(sys_and_dev_present, "stat getdents64") {
    struct stat st;
    const char *all[] = {"/sys", "/dev/shm", "/dev/pts", "/dev/ptmx", "/dev/fd", "/dev/stdin", "/proc/self/ns/pid",
                         "/sys/devices/system/cpu"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) say("%s %s\n", all[i], stat(all[i], &st) ? err_name(errno) : "there");
    load("/sys/devices/system/cpu/online");
    T(text[0] == '0');
    T(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
}

// What `poll` says of a file now, without waiting.
static void show_poll(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI};
    int n = poll(&p, 1, 0);
    say("poll %d:%s%s%s%s\n", n, p.revents & POLLIN ? " IN" : "", p.revents & POLLOUT ? " OUT" : "",
        p.revents & POLLPRI ? " PRI" : "", p.revents & POLLERR ? " ERR" : "");
}

CASE(proc_mounts_tell_of_changes, "poll epoll_ctl epoll_wait mount umount2 unshare") {
    MUST(mkdir("m", 0755));
    MUST(unshare(CLONE_NEWNS));
    MUST(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
    int fd = MUST(open("/proc/self/mountinfo", O_RDONLY)), other = MUST(open("/proc/self/mounts", O_RDONLY));
    show_poll(fd);
    MUST(mount("none", "m", "tmpfs", 0, 0));
    show_poll(fd), show_poll(fd), show_poll(other), show_poll(other);
    int set = MUST(epoll_create1(0));
    struct epoll_event e = {.events = EPOLLPRI}, got;
    R(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
    R(epoll_wait(set, &got, 1, 0));
    // Somebody waits while another one mounts.
    pid_t me = gettid_();
    pid_t c = FORK(settle(me); MUST(mount(0, "m", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0)));
    R(epoll_wait(set, &got, 1, 10000));
    say("events %x\n", got.events);
    show_wait(c);
    R(epoll_wait(set, &got, 1, 0));
    MUST(umount("m"));
    show_poll(other);
    R(umount("m"));
    show_poll(other);
    // Nothing else of the kind can be watched.
    R(epoll_ctl(set, EPOLL_CTL_ADD, MUST(open("/proc/self/status", O_RDONLY)), &e));
}

CASE(proc_mountinfo_shows_what_part_is_mounted, "mount unshare") {
    MUST(mkdir("m", 0755)), MUST(mkdir("n", 0755));
    MUST(unshare(CLONE_NEWNS));
    MUST(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
    MUST(mount("src", "m", "tmpfs", 0, 0));
    MUST(mkdir("m/a", 0755)), MUST(mkdir("m/a/b c", 0755));
    MUST(mount("m/a/b c", "n", 0, MS_BIND, 0));
    char here[PATH_MAX], want[PATH_MAX + 8];
    MUST(getcwd(here, sizeof here) ? 0 : -1);
    for (const char *name = "mn"; *name; name++) {
        snprintf(want, sizeof want, " %s/%c ", here, *name);
        char *at = strstr(load("/proc/self/mountinfo"), want), root[64] = "";
        while (at && at > text && at[-1] != '\n') at--;
        if (at) sscanf(at, "%*s %*s %*s %63s", root);
        say("%c: %s\n", *name, root);
    }
}

// The locks of a kind that a file shows of a descriptor's inode: our own process as `me`, without device and inode. The
// order of `/proc/locks` is that of processors.
static void show_locks_of(const char *wanted, const char *label, const char *path, int fd) {
    char name[64], kind[8], mode[8], end[24];
    long id, pid, start;
    struct stat st;
    MUST(fstat(fd, &st));
    snprintf(name, sizeof name, path, fd);
    load(name);
    for (char *at = text; (at = strstr(at, "ADVISORY")); at++) {
        char *line = at;
        while (line > text && line[-1] != '\n') line--;
        int waits = strstr(line, "-> ") && strstr(line, "-> ") < at;
        unsigned major, minor;
        unsigned long ino;
        if (sscanf(line + (line[0] == 'l' ? 6 : 0), waits ? "%ld: -> %7s" : "%ld: %7s", &id, kind) != 2) continue;
        if (sscanf(at, "ADVISORY %7s %ld %x:%x:%lu %ld %23s", mode, &pid, &major, &minor, &ino, &start, end) != 7) continue;
        if (ino != st.st_ino || strcmp(kind, wanted)) continue;
        say("%s %s%s %s %s %ld %s\n", label, waits ? "waits " : "", kind, mode,
            pid == getpid() ? "me" : pid < 0 ? "-1" : pid == 0 ? "0" : "other", start, end);
    }
}

static void show_locks(const char *label, const char *path, int fd) {
    const char *kinds[] = {"FLOCK", "POSIX", "OFDLCK"};
    for (int i = 0; i < 3; i++) show_locks_of(kinds[i], label, path, fd);
}

CASE(proc_shows_file_locks, "fcntl flock openat") {
    int a = MUST(open("f", O_RDWR | O_CREAT, 0600)), b = MUST(open("f", O_RDWR)), c = MUST(open("f", O_RDWR));
    struct flock part = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5},
                 own = {.l_type = F_WRLCK, .l_start = 100, .l_len = 1};
    MUST(flock(a, LOCK_SH));
    MUST(fcntl(b, F_OFD_SETLK, &part));
    MUST(fcntl(c, F_SETLK, &own));
    show_locks("a", "/proc/self/fdinfo/%d", a);
    show_locks("b", "/proc/self/fdinfo/%d", b);
    show_locks("c", "/proc/self/fdinfo/%d", c);
    // Of a child the record lock isn't.
    IN_CHILD(show_locks("child a", "/proc/self/fdinfo/%d", a); show_locks("child c", "/proc/self/fdinfo/%d", c));
    pid_t p = FORK(flock(MUST(open("f", O_RDWR)), LOCK_EX));
    settle(p);
    int waits = UNTIL(strstr(load("/proc/locks"), "-> FLOCK"));
    T(waits);
    MUST(flock(a, LOCK_UN));
    show_wait(p);
    show_locks("all", "/proc/locks", a);
    // The holder has ended, the description lives on.
    int d = MUST(open("f", O_RDWR));
    show_wait(FORK(flock(d, LOCK_EX)));
    show_locks("d", "/proc/self/fdinfo/%d", d);
    MUST(close(b)), MUST(close(c)), MUST(close(d));
    show_locks("none", "/proc/locks", a);
}

CASE(proc_timerslack, "prctl openat write") {
    show_file("/proc/self/timerslack_ns");
    MUST(prctl(PR_SET_TIMERSLACK, 1234));
    show_file("/proc/self/timerslack_ns");
    int fd = MUST(open("/proc/self/timerslack_ns", O_RDWR));
    R(write(fd, "777\n", 4));
    R(prctl(PR_GET_TIMERSLACK));
    R(write(fd, "0x10", 4));
    R(write(fd, " 5", 2));
    R(write(fd, "5 ", 2));
    R(write(fd, "-5", 2));
    R(write(fd, "\n", 1));
    R(write(fd, "99999999999999999999", 20));
    R(write(fd, "+888", 4));
    R(prctl(PR_GET_TIMERSLACK));
    R(write(fd, "0", 1));
    R(prctl(PR_GET_TIMERSLACK));
    R(open("/proc/thread-self/timerslack_ns", O_RDONLY));
    int child[2];
    MUST(pipe(child));
    pid_t p = FORK(char c; close(child[1]); read(child[0], &c, 1));
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/timerslack_ns", p);
    T(atol(load(name)) == 50000);
    IN_CHILD(drop_to(1000, 1000); int f = open(name, O_RDWR); char b[8]; T(f >= 0); R(read(f, b, 8)); R(write(f, "5", 1)));
    close(child[1]);
    show_wait(p);
}

CASE(proc_interrupts_shape, "openat read") {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    T(!strncmp(load("/proc/interrupts"), "           CPU0       ", 22) && strstr(text, "\nERR: ") && strstr(text, "\nMIS: "));
    T(!strncmp(load("/proc/softirqs"), "                    CPU0       ", 31) && strstr(text, "\n       TIMER: "));
    int columns = 0;
    for (const char *at = load("/proc/softirqs"); *at != '\n'; at++) columns += !strncmp(at, "CPU", 3);
    T(columns == cpus);
}

CASE(sys_describes_processors, "openat read") {
    const char *names[] = {"topology/thread_siblings", "topology/core_cpus", "topology/core_cpus_list", "topology/package_cpus",
                           "topology/core_siblings", "topology/core_siblings_list", "cache/index0/size", "cache/index0/type",
                           "cache/index0/level", "cache/index1/ways_of_associativity", "cache/index2/number_of_sets",
                           "cache/index0/shared_cpu_map", "cache/index0/coherency_line_size"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/%s", names[i]);
        // Machines without caches in sysfs have nothing to compare with.
        T(access(path, F_OK) == 0 ? strlen(load(path)) > 1 : !strncmp(names[i], "cache", 5));
    }
    T(strstr(load("/sys/devices/system/node/node0/meminfo"), "Node 0 MemTotal: ") == text && strstr(text, "\nNode 0 MemFree: "));
    T(strlen(load("/sys/devices/system/node/node0/cpumap")) > 1);
}

CASE(proc_numa_maps, "set_mempolicy openat read") {
    // Anonymous pages, file pages, and nothing.
    char *p = mmap(0, 10 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE;
    MUST(mprotect(p, 8 * PAGE, PROT_READ | PROT_WRITE));
    memset(p, 1, 3 * PAGE);
    int fd = MUST(open("a = b", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 4 * PAGE));
    volatile char *f = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), *none = mmap(0, PAGE, PROT_NONE, MAP_PRIVATE, fd, 0);
    f[0] = f[1] = 1;
    unsigned long node = 1;
    char key[32];
    for (int round = 0; round < 2; round++) {
        load("/proc/self/numa_maps");
        for (char *at = text; (at = strstr(at, " active=")); ) memmove(at, at + 9, strlen(at + 9) + 1);
        snprintf(key, sizeof key, "%lx ", (unsigned long)p), say("%s\n", line(key) + strlen(key));
        snprintf(key, sizeof key, "%lx ", (unsigned long)f);
        const char *found = line(key);
        T(strstr(found, "a\\040\\075\\040b") && strstr(found, " anon=1 dirty=1") && strstr(found, " kernelpagesize_kB=4"));
        snprintf(key, sizeof key, "%lx ", (unsigned long)none);
        T(!strstr(line(key), "N0="));
        T(strstr(text, " heap") && strstr(text, " stack"));
        MUST(syscall(SYS_set_mempolicy, 2 | 1 << 15, &node, 64));
    }
}

// Present, swapped, of a file or shared.
static void show_pages(const char *label, int fd, const volatile char *at, int count) {
    uint64_t e[8] = {0};
    ssize_t got = pread(fd, e, count * 8, (unsigned long)at / PAGE * 8);
    say("%s: %zd", label, got);
    for (int i = 0; i < count && got > 0; i++) say(" %lx", (unsigned long)(e[i] >> 61));
    say("\n");
}

CASE(proc_pagemap, "openat pread64 mmap") {
    int fd = MUST(open("/proc/self/pagemap", O_RDONLY)), file = MUST(open("f", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 2 * PAGE));
    volatile char *p = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise((void *)p, 4 * PAGE, MADV_NOHUGEPAGE);
    show_pages("untouched", fd, p, 4);
    p[0] = p[2 * PAGE] = 1;
    show_pages("touched", fd, p, 4);
    munmap((void *)(p + 2 * PAGE), PAGE);
    show_pages("with a hole", fd, p, 4);
    p = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    p[0] = 1;
    show_pages("file", fd, p, 1);
    show_pages("low", fd, 0, 2);
    show_pages("beyond", fd, (char *)0x7ffffffff000, 2);
    uint64_t e[3];
    R(pread(fd, e, 7, 0)), R(pread(fd, e, 8, 4)), R(pread(fd, e, 0, 0)), R(pread(fd, BAD, 8, 0));
    R(open("/proc/self/pagemap", O_WRONLY) < 0 || 1);
    IN_CHILD(drop_to(1000, 1000); R(open("/proc/1/pagemap", O_RDONLY)));
}
