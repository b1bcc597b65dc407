// Threads: their ids, their ends, what they share.
#include "case.h"
#include <stdatomic.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#define FAMILY "process"

static pid_t tids[4];
static void *tell(void *a) {
    int n = (int)(long)a;
    tids[n] = gettid_();
    return (void *)(long)(n * 10);
}

CASE(thread_ids, "gettid getpid clone") {
    for (long i = 0; i < 3; i++) {
        void *r;
        pthread_join(thread(tell, (void *)i), &r);
        say("%ld\n", (long)r);
    }
    T(gettid_() == getpid());
    T(tids[0] != getpid());
}

static void *exits_group(void *a) {
    msleep(5);
    _exit(33);
    return a;
}
CASE(exit_group_from_thread, "exit_group") {
    IN_CHILD(thread(exits_group, 0); pause());
    IN_CHILD(thread(exits_group, 0); for (;;) {});
}

static void *last_out(void *a) {
    settle(getpid());
    T(proc_state(getpid()) == 'Z');
    syscall(SYS_exit, 44);
    return a;
}
CASE(leader_exits_first, "exit wait4") {
    // The process lives on without its leader; its status is the leader's.
    IN_CHILD(thread(last_out, 0); syscall(SYS_exit, 11));
}

static void *dies(void *a) {
    raise(SIGSEGV);
    return a;
}
CASE(fatal_signal_in_thread_kills_all, "tgkill") { IN_CHILD(thread(dies, 0); pause()); }

static void *forks(void *a) {
    pid_t p = FORK(T(gettid_() == getpid()); _exit(5));
    show_wait(p);
    return a;
}
CASE(fork_from_thread, "fork") { pthread_join(thread(forks, 0), 0); }

static void *waits_for_child(void *a) {
    int status;
    T(waitpid((pid_t)(long)a, &status, 0) == (pid_t)(long)a);
    show_status("child", status);
    return 0;
}
CASE(wait_for_siblings_child, "wait4") {
    pid_t p = FORK(_exit(6));
    pthread_join(thread(waits_for_child, (void *)(long)p), 0);
}

static void *wnothread(void *a) {
    int status;
    R(waitpid((pid_t)(long)a, &status, __WNOTHREAD | WNOHANG));
    return 0;
}
CASE(wait_nothread_flag, "wait4") {
    pid_t p = FORK(_exit(6));
    pthread_join(thread(wnothread, (void *)(long)p), 0);
    show_wait(p);
}

static void *changes_cwd(void *a) {
    chdir("/");
    umask(011);
    int *fd = a;
    *fd = dup(1);
    return 0;
}
CASE(threads_share_fs_and_files, "clone chdir umask") {
    int fd = -1;
    char cwd[8];
    pthread_join(thread(changes_cwd, &fd), 0);
    say("%s %o\n", getcwd(cwd, 8), umask(0));
    R(fcntl(fd, F_GETFD));
}

static void *unshares(void *a) {
    R(unshare(CLONE_FS | CLONE_FILES));
    chdir("/");
    close(*(int *)a);
    return 0;
}
CASE(unshare_fs_and_files, "unshare") {
    int fd = dup(1);
    char cwd[PATH_MAX];
    pthread_join(thread(unshares, &fd), 0);
    R(fcntl(fd, F_GETFD));
    T(strcmp(getcwd(cwd, sizeof cwd), "/") != 0);
    R(unshare(0x1));
    R(unshare(0));
}

static void *names(void *a) {
    char n[17] = {0};
    prctl(PR_GET_NAME, n);
    say("%s\n", n);
    R(prctl(PR_SET_NAME, "a-thread-name-too-long"));
    prctl(PR_GET_NAME, n);
    say("%s\n", n);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", gettid_());
    int fd = MUST(open(path, O_RDONLY));
    show_fd(fd);
    close(fd);
    return a;
}
CASE(thread_names, "prctl") {
    R(prctl(PR_SET_NAME, "main"));
    pthread_join(thread(names, 0), 0);
    show_file("/proc/self/comm");
    R(prctl(PR_SET_NAME, BAD));
}

static __thread int tls = 5;
static void *tls_thread(void *a) {
    tls += (int)(long)a;
    return (void *)(long)tls;
}
CASE(thread_local_storage, "arch_prctl clone") {
    void *r;
    pthread_join(thread(tls_thread, (void *)10), &r);
    say("%ld %d\n", (long)r, tls);
    unsigned long fs = 0;
    R(syscall(SYS_arch_prctl, 0x1003, &fs));
    T(fs == (unsigned long)pthread_self());
    R(syscall(SYS_arch_prctl, 0x1003, BAD));
    R(syscall(SYS_arch_prctl, 0x1002, 1ul << 63));
    R(syscall(SYS_arch_prctl, 0x7777, 0));
    unsigned long value = 0x1122334455;
    R(syscall(SYS_arch_prctl, 0x1001, value));
    unsigned long gs = 0;
    R(syscall(SYS_arch_prctl, 0x1004, &gs));
    T(gs == value);
    R(syscall(SYS_arch_prctl, 0x1001, 0));
}

CASE(many_threads, "clone futex") {
    pthread_t t[64];
    long sum = 0;
    for (long i = 0; i < 64; i++) t[i] = thread(tls_thread, (void *)i);
    for (int i = 0; i < 64; i++) {
        void *r;
        pthread_join(t[i], &r);
        sum += (long)r;
    }
    R(sum);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long counter;
static void *counts(void *a) {
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        pthread_mutex_unlock(&lock);
    }
    return a;
}
CASE(mutex_contention, "futex") {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) t[i] = thread(counts, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    say("%ld\n", counter);
}

static pthread_barrier_t barrier;
static void *meets(void *a) {
    for (int i = 0; i < 100; i++) pthread_barrier_wait(&barrier);
    return a;
}
CASE(barrier_rounds, "futex") {
    pthread_barrier_init(&barrier, 0, 3);
    pthread_t t[3];
    for (int i = 0; i < 3; i++) t[i] = thread(meets, 0);
    for (int i = 0; i < 3; i++) pthread_join(t[i], 0);
    say("met\n");
}

static void *cancelled(void *a) {
    char b;
    read(*(int *)a, &b, 1);
    return 0;
}
CASE(thread_cancellation, "tgkill read") {
    int p[2];
    MUST(pipe(p));
    pthread_t t = thread(cancelled, p);
    msleep(5);
    R(pthread_cancel(t));
    void *r;
    R(pthread_join(t, &r));
    T(r == PTHREAD_CANCELED);
}

static void *undoes(void *a) {
    // clone with CLONE_SYSVSEM gives both the same list; without one, there is none to compare.
    R(syscall(SYS_kcmp, getpid(), gettid_(), KCMP_SYSVSEM, 0, 0));
    return a;
}
CASE(kcmp_other_kinds, "kcmp") {
    pid_t me = getpid();
    pthread_join(thread(undoes, 0), 0);
    pid_t c = FORK(pause());
    R(syscall(SYS_kcmp, me, c, KCMP_SYSVSEM, 0, 0) != 0);
    T(syscall(SYS_kcmp, me, c, KCMP_VM, 0, 0) != 0);
    T(syscall(SYS_kcmp, me, c, KCMP_FILES, 0, 0) != 0);
    R(syscall(SYS_kcmp, me, me, 99, 0, 0));
    R(syscall(SYS_kcmp, me, 1 << 30, KCMP_VM, 0, 0));
    kill(c, SIGKILL);
    show_wait(c);
}

CASE(kcmp_files, "kcmp") {
    int a = open("/dev/null", O_RDONLY), b = dup(a), c = open("/dev/null", O_RDONLY);
    pid_t me = getpid();
    long r = syscall(SYS_kcmp, me, me, KCMP_FILE, a, b);
    T(r == 0 || errno == ENOSYS);
    T(syscall(SYS_kcmp, me, me, KCMP_FILE, a, c) != 0);
}

static void *spin_then_exit(void *a) {
    for (volatile int i = 0; i < 2000000; i++) {}
    return a;
}
CASE(detached_threads_end, "exit clone") {
    for (int i = 0; i < 20; i++) {
        pthread_t t = thread(spin_then_exit, 0);
        pthread_detach(t);
    }
    int left = -1;
    T(UNTIL(({
        char b[4096];
        int fd = open("/proc/self/status", O_RDONLY);
        ssize_t n = read(fd, b, sizeof b - 1);
        close(fd);
        b[n > 0 ? n : 0] = 0;
        char *p = strstr(b, "Threads:");
        left = p ? atoi(p + 8) : -1;
        left == 1;
    })));
}

// Leaves behind whatever a thread can have of its own.
static pthread_mutex_t left_locked;
static void *leaves_traces(void *a) {
    struct timespec spent;
    do {
        for (volatile int i = 0; i < 10000; i++) {}
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    } while (spent.tv_nsec < 40000000 && spent.tv_sec == 0);
    stack_t alt = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&alt, 0);
    prctl(PR_SET_NAME, "earlier");
    prctl(PR_SET_TIMERSLACK, 77777);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, 0);
    // Stays pending, and goes with the thread.
    syscall(SYS_tgkill, getpid(), gettid_(), SIGUSR2);
    pthread_mutex_lock(&left_locked);
    return a;
}
static void *finds_none(void *a) {
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    T(spent.tv_sec == 0 && spent.tv_nsec < 20000000);
    struct rusage used;
    getrusage(RUSAGE_THREAD, &used);
    T(used.ru_utime.tv_sec + used.ru_stime.tv_sec == 0 && used.ru_utime.tv_usec + used.ru_stime.tv_usec < 20000);
    stack_t alt;
    R(sigaltstack(0, &alt));
    T(alt.ss_flags == SS_DISABLE);
    sigset_t mask, pending;
    pthread_sigmask(SIG_SETMASK, 0, &mask);
    sigpending(&pending);
    T(sigisemptyset(&mask) && sigisemptyset(&pending));
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    T(strcmp(name, "earlier") != 0);
    T(prctl(PR_GET_TIMERSLACK) != 77777);
    T(pthread_mutex_lock(&left_locked) == EOWNERDEAD);
    pthread_mutex_consistent(&left_locked);
    pthread_mutex_unlock(&left_locked);
    return a;
}
CASE(thread_after_thread, "clone exit clock_gettime getrusage sigaltstack") {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&left_locked, &attr);
    signal(SIGUSR2, SIG_DFL);
    for (int i = 0; i < 3; i++) {
        pthread_join(thread(leaves_traces, 0), 0);
        pthread_join(thread(finds_none, 0), 0);
    }
    // The process has spent it all.
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    long ms = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    T(ms >= 110);
}

static void *adds_with_state(void *a) {
    // Floating-point control is the creator's.
    unsigned mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    *(unsigned *)a = mxcsr & 0x6000;
    unsigned other = 0x1f80 | 0x2000;
    __asm__ volatile("ldmxcsr %0" : : "m"(other));
    return a;
}
CASE(many_threads_one_after_another, "clone exit futex") {
    int good = 0;
    unsigned rounding[2] = {1, 1}, up = 0x1f80 | 0x4000, nearest = 0x1f80;
    for (int i = 0; i < 150; i++) {
        pthread_t two[2] = {thread(adds_with_state, &rounding[0]), thread(adds_with_state, &rounding[1])};
        pthread_join(two[0], 0), pthread_join(two[1], 0);
        good += rounding[0] == (i ? 0x4000 : 0) && rounding[1] == rounding[0];
        if (i == 0) __asm__ volatile("ldmxcsr %0" : : "m"(up));
    }
    __asm__ volatile("ldmxcsr %0" : : "m"(nearest));
    T(good == 150);
    // Forks in between must not bring back what was left over.
    for (int i = 0; i < 5; i++) IN_CHILD(pthread_join(thread(adds_with_state, &rounding[0]), 0); _exit((int)rounding[0]));
}

static void *nothing(void *arg) { return arg; }

// The id that the parent is given is written before the thread can end and have it cleared.
CASE(thread_many_in_a_row, "clone3 futex exit set_tid_address") {
    int good = 0;
    for (int i = 0; i < 3000; i++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, nothing, &good)) give_up("pthread_create", 0);
        void *result = 0;
        pthread_join(thread, &result);
        good += result == &good;
    }
    R(good);
}

// The kernel may move its own work about while guests are busy; the CPUs that a guest may use stay the same.
static atomic_int busy_over;
static void *be_busy(void *arg) {
    while (!busy_over) lseek(0, 0, SEEK_CUR);
    return arg;
}
CASE(thread_affinity_while_busy, "sched_getaffinity") {
    cpu_set_t before, now;
    MUST(sched_getaffinity(0, sizeof before, &before));
    pthread_t busy[3];
    for (int i = 0; i < 3; i++) MUST(-pthread_create(&busy[i], 0, be_busy, 0));
    int same = 1;
    for (int i = 0; i < 300; i++) {
        usleep(1000);
        MUST(sched_getaffinity(0, sizeof now, &now));
        same &= CPU_EQUAL(&before, &now);
    }
    busy_over = 1;
    for (int i = 0; i < 3; i++) pthread_join(busy[i], 0);
    T(same);
}
