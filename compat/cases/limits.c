// Limits, scheduling, names, usage: calls that remember and report.
#include "case.h"
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>
#define FAMILY "limits"

static void show_limit(int which) {
    struct rlimit r = {0};
    if (getrlimit(which, &r)) say("limit %d: %s\n", which, err_name(errno));
    else say("limit %d: %ld %ld\n", which, (long)r.rlim_cur, (long)r.rlim_max);
}

CASE(rlimit_set_and_get, "getrlimit setrlimit prlimit64") {
    struct rlimit r = {100, 200}, old;
    R(setrlimit(RLIMIT_NOFILE, &r));
    show_limit(RLIMIT_NOFILE);
    r.rlim_cur = 300;
    R(setrlimit(RLIMIT_NOFILE, &r));
    R(getrlimit(77, &r));
    R(setrlimit(77, &r));
    R(getrlimit(RLIMIT_CORE, BAD));
    R(setrlimit(RLIMIT_CORE, BAD));
    r = (struct rlimit){50, 60};
    R(prlimit(0, RLIMIT_NOFILE, &r, &old));
    say("%ld %ld\n", (long)old.rlim_cur, (long)old.rlim_max);
    IN_CHILD(show_limit(RLIMIT_NOFILE));
    R(prlimit(99999, RLIMIT_CORE, 0, &old));
}

CASE_USER(rlimit_user_cannot_raise, "setrlimit prlimit64") {
    struct rlimit r = {10, 20};
    R(setrlimit(RLIMIT_CPU, &r));
    r.rlim_max = 21;
    R(setrlimit(RLIMIT_CPU, &r));
    r = (struct rlimit){20, 20};
    R(setrlimit(RLIMIT_CPU, &r));
    R(prlimit(getppid(), RLIMIT_CPU, 0, &r));
}

CASE(rlimit_nofile_enforced, "setrlimit dup openat pipe socketpair fcntl") {
    struct rlimit r = {5, 5};
    MUST(setrlimit(RLIMIT_NOFILE, &r));
    R(dup(1));
    int p[2];
    R(pipe(p));
    R(dup(1));
    R(dup(1));
    R(open("/dev/null", O_RDONLY));
    R(dup2(1, 5));
    R(dup2(1, 4));
    R(fcntl(1, F_DUPFD, 5));
    R(fcntl(1, F_DUPFD, 4));
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    R(memfd_create("x", 0));
    r.rlim_cur = 3;
    R(setrlimit(RLIMIT_NOFILE, &r));
    R(write(4, "", 0));
}

CASE(rlimit_fsize, "setrlimit write ftruncate") {
    struct rlimit r = {10, RLIM_INFINITY};
    int fd = MUST(open("f", O_CREAT | O_RDWR, 0600));
    pid_t p = FORK({
        setrlimit(RLIMIT_FSIZE, &r);
        signal(SIGXFSZ, SIG_IGN);
        long a = write(fd, "0123456789abc", 13);
        long b = write(fd, "x", 1);
        int be = errno;
        long c = ftruncate(fd, 20);
        int ce = errno;
        long d = ftruncate(fd, 3);
        r.rlim_cur = RLIM_INFINITY;
        setrlimit(RLIMIT_FSIZE, &r);
        say("%ld %ld %s %ld %s %ld\n", a, b, err_name(be), c, err_name(ce), d);
    });
    show_wait(p);
    p = FORK(setrlimit(RLIMIT_FSIZE, &r); pwrite(fd, "y", 1, 100));
    show_wait(p);
}

CASE(rlimit_cpu_sends_xcpu, "setrlimit") {
    // A soft limit already used up: the signal comes at once or within the first second of use.
    struct rlimit r = {1, 2};
    pid_t p = FORK(setrlimit(RLIMIT_CPU, &r); show_limit(RLIMIT_CPU));
    show_wait(p);
}

CASE_USER(rlimit_nproc, "setrlimit fork") {
    struct rlimit r = {0, 0};
    R(setrlimit(RLIMIT_NPROC, &r));
    R(fork());
}

CASE(priority_calls, "getpriority setpriority") {
    R(getpriority(PRIO_PROCESS, 0));
    R(setpriority(PRIO_PROCESS, 0, 5));
    R(getpriority(PRIO_PROCESS, 0));
    R(syscall(SYS_getpriority, PRIO_PROCESS, 0));
    R(setpriority(PRIO_PROCESS, 0, 100));
    R(getpriority(PRIO_PROCESS, 0));
    R(getpriority(PRIO_PGRP, 0));
    R(setpriority(PRIO_PROCESS, 99999, 1));
    R(getpriority(9, 0));
    R(setpriority(9, 0, 0));
    IN_CHILD(drop_to(1000, 1000); R(setpriority(PRIO_PROCESS, 0, 0)); R(setpriority(PRIO_PROCESS, getppid(), 0)));
}

CASE(sched_policy, "sched_getscheduler sched_setscheduler sched_getparam sched_setparam sched_yield") {
    struct sched_param sp = {0};
    R(sched_getscheduler(0));
    R(sched_getparam(0, &sp));
    R(sched_setscheduler(0, SCHED_BATCH, &sp));
    R(sched_getscheduler(0));
    R(sched_setscheduler(0, SCHED_OTHER, &sp));
    sp.sched_priority = 5;
    R(sched_setscheduler(0, SCHED_OTHER, &sp));
    R(sched_setscheduler(0, 99, &sp));
    R(sched_setscheduler(99999, SCHED_OTHER, &sp));
    R(sched_getscheduler(99999));
    R(sched_getscheduler(-1));
    R(sched_getparam(0, NULL));
    R(sched_setparam(0, &sp));
    sp.sched_priority = 0;
    R(sched_setparam(0, &sp));
    R(sched_yield());
}

CASE(sched_priorities_range, "sched_get_priority_max sched_get_priority_min sched_rr_get_interval") {
    int all[] = {SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, 77};
    for (int i = 0; i < 6; i++) {
        R(sched_get_priority_min(all[i]));
        R(sched_get_priority_max(all[i]));
    }
    struct timespec t;
    R(sched_rr_get_interval(0, &t));
    R(sched_rr_get_interval(99999, &t));
    R(sched_rr_get_interval(0, BAD));
}

CASE(sched_affinity, "sched_getaffinity sched_setaffinity getcpu") {
    cpu_set_t s, t;
    CPU_ZERO(&s);
    T(sched_getaffinity(0, sizeof s, &s) == 0 && CPU_COUNT(&s) >= 1);
    int first = -1;
    for (int i = 0; i < CPU_SETSIZE && first < 0; i++)
        if (CPU_ISSET(i, &s)) first = i;
    CPU_ZERO(&t);
    CPU_SET(first, &t);
    R(sched_setaffinity(0, sizeof t, &t));
    CPU_ZERO(&s);
    sched_getaffinity(0, sizeof s, &s);
    T(CPU_EQUAL(&s, &t));
    unsigned cpu = 99;
    R(syscall(SYS_getcpu, &cpu, 0, 0));
    CPU_ZERO(&t);
    R(sched_setaffinity(0, sizeof t, &t));
    R(sched_getaffinity(0, 3, &s));
    R(sched_getaffinity(99999, sizeof s, &s));
    R(sched_setaffinity(0, sizeof s, BAD));
    R(syscall(SYS_getcpu, BAD, 0, 0));
}

CASE(sched_attr_calls, "sched_getattr sched_setattr") {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t prio; uint64_t a, b, c; } at = {0};
    R(syscall(SYS_sched_getattr, 0, &at, sizeof at, 0));
    say("size %u policy %u nice %d\n", at.size, at.policy, at.nice);
    at.nice = 4;
    at.size = sizeof at;
    R(syscall(SYS_sched_setattr, 0, &at, 0));
    R(getpriority(PRIO_PROCESS, 0));
    R(syscall(SYS_sched_getattr, 0, &at, 10, 0));
    R(syscall(SYS_sched_getattr, 0, &at, sizeof at, 1));
    R(syscall(SYS_sched_setattr, 0, BAD, 0));
}

CASE(ioprio_calls, "ioprio_get ioprio_set") {
    R(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 4));
    R(syscall(SYS_ioprio_get, 1, 0));
    R(syscall(SYS_ioprio_set, 1, 0, 7 << 13));
    R(syscall(SYS_ioprio_get, 9, 0));
    R(syscall(SYS_ioprio_get, 1, 99999));
}

CASE(getrusage_and_times, "getrusage times") {
    struct rusage u;
    R(getrusage(RUSAGE_SELF, &u));
    T(u.ru_maxrss > 0);
    R(getrusage(RUSAGE_CHILDREN, &u));
    T(u.ru_utime.tv_sec == 0 && u.ru_maxrss == 0);
    R(getrusage(RUSAGE_THREAD, &u));
    R(getrusage(5, &u));
    R(getrusage(RUSAGE_SELF, BAD));
    struct tms t;
    T(times(&t) != -1);
    R(syscall(SYS_times, BAD));
    // By its own clock: others may want the processor too.
    pid_t p = FORK(while (clock() < CLOCKS_PER_SEC / 16) {});
    int st;
    struct rusage w;
    T(wait4(p, &st, 0, &w) == p);
    T(w.ru_utime.tv_usec + w.ru_stime.tv_usec > 10000);
    getrusage(RUSAGE_CHILDREN, &u);
    T(u.ru_utime.tv_usec + u.ru_stime.tv_usec > 10000);
    times(&t);
    T(t.tms_cutime + t.tms_cstime > 0);
}

static void use_and_give_back(long pages) {
    char *p = anon(pages);
    memset(p, 1, pages * PAGE);
    munmap(p, pages * PAGE);
}

// What counts is the most at a time, of the programs before an exec as well, and the parent may ask at once.
CASE(usage_of_memory_that_has_gone, "getrusage wait4 waitid execve vfork") {
    struct rusage used;
    int st, good = 0;
    for (int i = 0; i < 10; i++) {
        pid_t c = FORK(use_and_give_back(4096));
        good += wait4(c, &st, 0, &used) == c && used.ru_maxrss > 16000 && used.ru_maxrss < 30000;
        c = FORK(use_and_give_back(4096));
        siginfo_t info;
        good += !syscall(SYS_waitid, P_PID, c, &info, WEXITED, &used) && used.ru_maxrss > 16000 && used.ru_maxrss < 30000;
    }
    R(good);
    pid_t c = FORK(use_and_give_back(8192));
    waitpid(c, &st, 0);
    getrusage(RUSAGE_CHILDREN, &used);
    T(used.ru_maxrss > 32000 && used.ru_maxrss < 46000);
    // A grandchild's counts only once it was waited for.
    c = FORK({
        pid_t g = FORK(use_and_give_back(16384));
        if (waitpid(g, &st, 0) != g) _exit(1);
        use_and_give_back(12288);
    });
    T(wait4(c, &st, 0, &used) == c && used.ru_maxrss > 64000);
    getrusage(RUSAGE_SELF, &used);
    T(used.ru_maxrss < 30000);
    c = FORK(use_and_give_back(8192), execl("/bin/true", "true", NULL));
    T(wait4(c, &st, 0, &used) == c && used.ru_maxrss > 32000 && used.ru_maxrss < 46000);
    char *p = anon(8192);
    memset(p, 1, 8192 * PAGE);
    c = vfork();
    if (c == 0) execl("/bin/true", "true", NULL), _exit(1);
    T(wait4(c, &st, 0, &used) == c && used.ru_maxrss > 32000);
}

CASE(usage_of_memory, "getrusage wait4") {
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    char *p = anon(8192);
    memset(p, 1, 8192 * PAGE);
    getrusage(RUSAGE_SELF, &after);
    T(after.ru_maxrss - before.ru_maxrss > 30000);
    T(after.ru_minflt >= before.ru_minflt);
    munmap(p, 8192 * PAGE);
    getrusage(RUSAGE_THREAD, &before);
    T(before.ru_maxrss >= after.ru_maxrss);
    pid_t c = FORK(char *q = anon(8192); memset(q, 1, 8192 * PAGE));
    int st;
    T(wait4(c, &st, 0, &after) == c);
    T(after.ru_maxrss > 30000);
    getrusage(RUSAGE_CHILDREN, &after);
    T(after.ru_maxrss > 30000);
    char text[8192] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
        char *line = strstr(text, "VmHWM:");
        T(line && atol(line + 6) > 30000);
        line = strstr(text, "VmRSS:");
        T(line && atol(line + 6) > 500 && atol(line + 6) < 30000);
    }
}

CASE(minor_faults_counted, "getrusage") {
    struct rusage a, b;
    getrusage(RUSAGE_SELF, &a);
    char *p = anon(256);
    madvise(p, 256 * PAGE, MADV_NOHUGEPAGE);
    for (int i = 0; i < 256; i++) p[i * PAGE] = 1;
    getrusage(RUSAGE_SELF, &b);
    T(b.ru_minflt - a.ru_minflt >= 256);
}

CASE(sysinfo_plausible, "sysinfo") {
    struct sysinfo s;
    R(sysinfo(&s));
    T(s.totalram > 0 && s.mem_unit > 0 && s.freeram <= s.totalram);
    T(s.procs > 0 && s.uptime > 0);
    R(sysinfo(BAD));
}

CASE(uname_fields, "uname") {
    struct utsname u;
    R(uname(&u));
    say("%s %s\n", u.sysname, u.machine);
    T(atoi(u.release) >= 4);
    R(uname(BAD));
}

CASE(hostname_in_own_namespace, "unshare sethostname setdomainname uname") {
    R(unshare(CLONE_NEWUTS));
    R(sethostname("inside", 6));
    R(setdomainname("example.org", 11));
    struct utsname u;
    uname(&u);
    say("%s %s\n", u.nodename, u.domainname);
    R(sethostname("x", 65));
    R(sethostname("x", -1));
    R(sethostname(BAD, 5));
    IN_CHILD(R(sethostname("child", 5)));
    uname(&u);
    say("%s\n", u.nodename);
}

CASE(personality_remembers, "personality") {
    R(personality(0xffffffff));
    R(personality(ADDR_NO_RANDOMIZE));
    R(personality(0xffffffff));
    IN_CHILD(R(personality(0xffffffff)));
    IN_CHILD(execl("/bin/cat", "cat", "/proc/self/personality", NULL));
    R(personality(PER_LINUX));
}

CASE(prctl_misc, "prctl") {
    R(prctl(PR_GET_TIMERSLACK));
    R(prctl(PR_SET_TIMERSLACK, 1000));
    R(prctl(PR_GET_TIMERSLACK));
    R(prctl(PR_SET_TIMERSLACK, 0));
    R(prctl(PR_GET_TIMERSLACK));
    R(prctl(99999));
    R(prctl(PR_GET_TSC, BAD));
    int tsc = 0;
    R(prctl(PR_GET_TSC, &tsc));
    say("%d\n", tsc);
    R(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    R(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    R(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    R(prctl(PR_GET_SECCOMP));
    R(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    R(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    R(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    IN_CHILD(R(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0)));
    R(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, 3, 0, 0));
    R(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 1, 0, 0));
    R(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
    R(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
    int *addr = 0;
    T(prctl(PR_GET_TID_ADDRESS, &addr) == 0 || errno == EINVAL);
}

CASE(unknown_calls, "restart_syscall uretprobe") {
    R(syscall(5000));
    R(syscall(-1));
    R(syscall(335));
    R(syscall(400));
    R(syscall(SYS_restart_syscall));
    R(syscall(156));
    R(syscall(180));
}

CASE(random_bytes, "getrandom") {
    char a[64] = {0}, b[64] = {0};
    R(syscall(SYS_getrandom, a, 64, 0));
    R(syscall(SYS_getrandom, b, 64, 1));
    T(memcmp(a, b, 64));
    R(syscall(SYS_getrandom, a, 64, 0x10));
    R(syscall(SYS_getrandom, a, 64, 2 | 4));
    R(syscall(SYS_getrandom, BAD, 64, 0));
    R(syscall(SYS_getrandom, edge(10), 64, 0));
    R(syscall(SYS_getrandom, a, 0, 0));
}

CASE(seccomp_strict_and_filter, "seccomp prctl") {
    IN_CHILD({
        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        struct { unsigned short code; unsigned char jt, jf; unsigned k; } prog[] = {
            {0x20, 0, 0, 0}, {0x15, 0, 1, SYS_getppid}, {0x06, 0, 0, 0x50000 | 77}, {0x06, 0, 0, 0x7fff0000}};
        struct { unsigned short len; void *f; } fp = {4, prog};
        long r = prctl(PR_SET_SECCOMP, 2, &fp);
        if (r == 0) say("getppid %s\n", syscall(SYS_getppid) == -1 ? err_name(errno) : "served");
        else say("no seccomp: %s\n", err_name(errno));
    });
    R(syscall(SYS_seccomp, 99, 0, 0));
    R(syscall(SYS_seccomp, 1, 0, BAD));
}
