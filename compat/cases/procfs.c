// What programs read under /proc, in Linux's format.
#include "case.h"
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
