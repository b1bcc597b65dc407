// Time: clocks, sleeping, every kind of timer.
#include "case.h"
#include <sys/timerfd.h>
#include <sys/timex.h>
#define FAMILY "time"

static volatile sig_atomic_t n, code, value, overrun;
static void count(int s) {
    (void)s;
    n++;
}
static void info(int s, siginfo_t *i, void *u) {
    (void)s;
    (void)u;
    n++;
    code = i->si_code;
    value = i->si_value.sival_int;
    overrun = i->si_overrun;
}

CASE(clocks_advance, "clock_gettime clock_getres") {
    clockid_t all[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
                       CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct timespec a, b, r;
        long x = syscall(SYS_clock_gettime, all[i], &a);
        for (volatile int k = 0; k < 1000; k++) {}
        clock_gettime(all[i], &b);
        long ns = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
        clock_getres(all[i], &r);
        say("clock %d: %ld forward %d res %s\n", all[i], x, ns >= 0 && ns < 2000000000L,
            r.tv_nsec == 1 ? "1" : r.tv_nsec >= 1000000 ? "coarse" : "other");
    }
}

CASE(clock_errors, "clock_gettime clock_getres clock_settime clock_nanosleep") {
    struct timespec t = {0, 0}, bad = {0, 1000000000};
    R(clock_gettime(77, &t));
    R(clock_getres(77, &t));
    R(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, BAD));
    R(syscall(SYS_clock_getres, CLOCK_MONOTONIC, 0));
    R(clock_settime(CLOCK_MONOTONIC, &t));
    R(clock_settime(77, &t));
    R(clock_settime(CLOCK_REALTIME, &bad));
    R(syscall(SYS_clock_nanosleep, 77, 0, &t, 0));
    R(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &t, 0));
    R(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &bad, 0));
    R(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, BAD, 0));
}

CASE_USER(clock_set_as_user, "clock_settime adjtimex clock_adjtime") {
    struct timespec t = {1000000000, 0};
    R(clock_settime(CLOCK_REALTIME, &t));
    struct timex x = {0};
    T(adjtimex(&x) >= 0);
    x.modes = ADJ_FREQUENCY;
    R(adjtimex(&x));
    R(clock_adjtime(CLOCK_MONOTONIC, &x));
    R(adjtimex(BAD));
}

CASE(time_of_day, "gettimeofday time") {
    struct timeval tv;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    R(syscall(SYS_gettimeofday, &tv, 0));
    T(labs(tv.tv_sec - ts.tv_sec) <= 1);
    T(labs(syscall(SYS_time, 0) - ts.tv_sec) <= 1);
    R(syscall(SYS_gettimeofday, BAD, 0));
    R(syscall(SYS_time, BAD));
    R(syscall(SYS_gettimeofday, 0, 0));
}

CASE(clock_of_other_process, "clock_gettime") {
    pid_t p = FORK(pause());
    clockid_t c = (~(clockid_t)p << 3) | 2;
    struct timespec t;
    R(clock_gettime(c, &t));
    kill(p, 9);
    show_wait(p);
    R(clock_gettime(c, &t));
}

CASE(cpu_clock_runs_only_when_running, "clock_gettime") {
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    msleep(40);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    T((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec < 30000000);
}

CASE(nanosleep_lasts, "nanosleep clock_nanosleep") {
    struct timespec t = {0, 20000000}, bad = {0, -1}, neg = {-1, 0};
    long a = now_ms();
    R(nanosleep(&t, 0));
    T(now_ms() - a >= 19);
    R(nanosleep(&bad, 0));
    R(nanosleep(&neg, 0));
    R(nanosleep(BAD, 0));
    clock_gettime(CLOCK_REALTIME, &t);
    R(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0));
    t = (struct timespec){0, 0};
    R(nanosleep(&t, 0));
}

CASE(itimer_real, "setitimer getitimer") {
    on_signal(SIGALRM, count, 0);
    struct itimerval v = {{0, 3000}, {0, 3000}}, o;
    R(setitimer(ITIMER_REAL, &v, 0));
    T(UNTIL(n >= 3));
    R(getitimer(ITIMER_REAL, &o));
    say("interval %ld\n", (long)o.it_interval.tv_usec);
    T(o.it_value.tv_usec > 0 && o.it_value.tv_usec <= 3000);
    v = (struct itimerval){0};
    R(setitimer(ITIMER_REAL, &v, &o));
    say("interval %ld\n", (long)o.it_interval.tv_usec);
    R(getitimer(ITIMER_REAL, &o));
    say("value %ld\n", (long)o.it_value.tv_usec);
}

CASE(itimer_virtual_and_prof, "setitimer") {
    on_signal(SIGVTALRM, count, 0);
    on_signal(SIGPROF, count, 0);
    struct itimerval v = {{0, 0}, {0, 10000}};
    R(setitimer(ITIMER_VIRTUAL, &v, 0));
    long end = now_ms() + 3000;
    while (n < 1 && now_ms() < end) {}
    R(n);
    R(setitimer(ITIMER_PROF, &v, 0));
    end = now_ms() + 3000;
    while (n < 2 && now_ms() < end) {}
    R(n);
}

CASE(itimer_errors, "setitimer getitimer") {
    struct itimerval v = {{0, 0}, {0, 1000000}};
    R(setitimer(ITIMER_REAL, &v, 0));
    v.it_value.tv_usec = -1;
    R(setitimer(ITIMER_REAL, &v, 0));
    R(setitimer(9, &v, 0));
    R(getitimer(9, &v));
    R(getitimer(ITIMER_REAL, BAD));
    R(setitimer(ITIMER_REAL, BAD, 0));
    R(syscall(SYS_setitimer, ITIMER_REAL, 0, 0));
}

CASE(alarm_call, "alarm") {
    R(alarm(100));
    R(alarm(50));
    R(alarm(0));
    R(alarm(0));
    struct itimerval o;
    alarm(10);
    getitimer(ITIMER_REAL, &o);
    T(o.it_value.tv_sec == 9 || o.it_value.tv_sec == 10);
    IN_CHILD(R(alarm(0)));
}

CASE(posix_timer_signal, "timer_create timer_settime timer_gettime timer_getoverrun timer_delete") {
    struct sigaction sa = {.sa_sigaction = info, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGRTMIN, &sa, 0));
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    timer_t t;
    R(timer_create(CLOCK_MONOTONIC, &ev, &t));
    struct itimerspec it = {{0, 0}, {0, 3000000}}, o;
    R(timer_gettime(t, &o));
    say("%ld %ld\n", (long)o.it_value.tv_nsec, (long)o.it_interval.tv_nsec);
    R(timer_settime(t, 0, &it, 0));
    T(UNTIL(n == 1));
    say("code %d value %d overrun %d\n", code, value, overrun);
    it = (struct itimerspec){{100, 0}, {100, 0}};
    R(timer_settime(t, 0, &it, &o));
    R(timer_gettime(t, &o));
    say("interval %ld left %d\n", (long)o.it_interval.tv_sec, o.it_value.tv_sec >= 90 && o.it_value.tv_sec <= 100);
    R(timer_getoverrun(t));
    R(timer_delete(t));
}

CASE(posix_timer_overrun, "timer_getoverrun timer_settime") {
    block(SIGRTMIN);
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    timer_t t;
    MUST(timer_create(CLOCK_REALTIME, &ev, &t));
    struct itimerspec it = {{0, 1000000}, {0, 1000000}};
    MUST(timer_settime(t, 0, &it, 0));
    msleep(20);
    sigset_t s = set_of(SIGRTMIN, 0);
    siginfo_t i;
    R(sigwaitinfo(&s, &i) == SIGRTMIN);
    T(i.si_overrun >= 5);
    T(timer_getoverrun(t) == i.si_overrun);
}

static volatile sig_atomic_t timer_hits;
static void on_timer(int s) {
    (void)s;
    timer_hits++;
}

CASE(posix_timer_ignored_then_caught, "timer_settime rt_sigaction") {
    signal(SIGUSR1, SIG_IGN);
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t t;
    MUST(timer_create(CLOCK_MONOTONIC, &ev, &t));
    struct itimerspec it = {{0, 1000000}, {0, 1000000}};
    MUST(timer_settime(t, 0, &it, 0));
    msleep(20);
    MUST(timer_gettime(t, &it));
    T(it.it_value.tv_sec == 0 && it.it_value.tv_nsec > 0 && it.it_value.tv_nsec <= 1000000);
    timer_hits = 0;
    signal(SIGUSR1, on_timer);
    for (int i = 0; i < 200 && timer_hits < 3; i++) msleep(10);
    T(timer_hits >= 3);
    signal(SIGUSR1, SIG_IGN);
    msleep(5);
    signal(SIGUSR1, on_timer);
    timer_hits = 0;
    for (int i = 0; i < 200 && timer_hits < 3; i++) msleep(10);
    T(timer_hits >= 3);
    R(timer_delete(t));
}

CASE(posix_timers_share_a_signal, "timer_settime rt_sigtimedwait") {
    block(SIGUSR1);
    kill(getpid(), SIGUSR1);
    for (int n = 0; n < 2; n++) {
        struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = n};
        timer_t t;
        MUST(timer_create(CLOCK_MONOTONIC, &ev, &t));
        struct itimerspec it = {{0, 1000000}, {0, 1000000}};
        MUST(timer_settime(t, 0, &it, 0));
        msleep(10);
    }
    sigset_t s = set_of(SIGUSR1, 0);
    siginfo_t i;
    R(sigwaitinfo(&s, &i) == SIGUSR1);
    say("code %d\n", i.si_code);
    for (int n = 0; n < 2; n++) {
        R(sigwaitinfo(&s, &i) == SIGUSR1);
        say("code %d value %d\n", i.si_code, i.si_value.sival_int);
        T(i.si_overrun >= 1);
    }
}

CASE(posix_timer_none_goes_on, "timer_settime timer_gettime") {
    struct sigevent ev = {.sigev_notify = SIGEV_NONE};
    timer_t t;
    MUST(timer_create(CLOCK_MONOTONIC, &ev, &t));
    struct itimerspec it = {{0, 1000000}, {0, 1000000}};
    MUST(timer_settime(t, 0, &it, 0));
    msleep(5);
    MUST(timer_gettime(t, &it));
    T(it.it_value.tv_nsec > 0 && it.it_value.tv_nsec <= 1000000);
    it = (struct itimerspec){{0, 0}, {0, 1000000}};
    MUST(timer_settime(t, 0, &it, 0));
    msleep(5);
    MUST(timer_gettime(t, &it));
    say("%ld %ld\n", (long)it.it_value.tv_sec, it.it_value.tv_nsec);
    R(timer_getoverrun(t));
}

CASE(posix_timer_errors, "timer_create timer_settime timer_gettime timer_delete timer_getoverrun") {
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99};
    int id;
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    ev = (struct sigevent){.sigev_notify = 77};
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    R(syscall(SYS_timer_create, 77, 0, &id));
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, BAD));
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD, &id));
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &id));
    struct itimerspec it = {{0, 0}, {0, 1000000000}};
    R(syscall(SYS_timer_settime, id, 0, &it, 0));
    R(syscall(SYS_timer_settime, id, 0, 0, 0));
    R(syscall(SYS_timer_settime, 999, 0, &it, 0));
    R(syscall(SYS_timer_gettime, 999, &it));
    R(syscall(SYS_timer_gettime, id, BAD));
    R(syscall(SYS_timer_getoverrun, 999));
    R(syscall(SYS_timer_delete, 999));
    R(syscall(SYS_timer_delete, id));
    R(syscall(SYS_timer_delete, id));
}

CASE(posix_timer_notify_none_and_fork, "timer_create fork") {
    struct sigevent ev = {.sigev_notify = SIGEV_NONE};
    timer_t t;
    MUST(timer_create(CLOCK_MONOTONIC, &ev, &t));
    struct itimerspec it = {{0, 0}, {0, 2000000}}, o;
    MUST(timer_settime(t, 0, &it, 0));
    msleep(10);
    R(timer_gettime(t, &o));
    say("%ld\n", (long)o.it_value.tv_nsec);
    IN_CHILD(R(timer_gettime(t, &o)));
}

static void *sleeper(void *a) {
    MUST(syscall(SYS_gettid));
    *(volatile pid_t *)a = gettid_();
    msleep(2000);
    return 0;
}
static volatile pid_t handled_in;
static void which_thread(int s) {
    (void)s;
    handled_in = gettid_();
}
CASE(posix_timer_thread_id, "timer_create") {
    volatile pid_t tid = 0;
    thread(sleeper, (void *)&tid);
    UNTIL(tid);
    on_signal(SIGRTMIN + 1, which_thread, 0);
    struct { union sigval v; int signo, notify, tid; char pad[48]; } ev = {{0}, SIGRTMIN + 1, 4, tid, {0}};
    int id;
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    struct itimerspec it = {{0, 0}, {0, 2000000}};
    R(syscall(SYS_timer_settime, id, 0, &it, 0));
    T(UNTIL(handled_in));
    T(handled_in == tid);
    ev.tid = 99999;
    R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
}

CASE(posix_timer_cpu_clock, "timer_create timer_settime") {
    on_signal(SIGUSR1, count, 0);
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t t;
    R(timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &t));
    struct itimerspec it = {{0, 0}, {0, 5000000}};
    R(timer_settime(t, 0, &it, 0));
    long end = now_ms() + 3000;
    while (!n && now_ms() < end) {}
    R(n);
}

CASE(timerfd_reads, "timerfd_create timerfd_settime timerfd_gettime read poll") {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    uint64_t v = 0;
    R(read(fd, &v, 8));
    struct itimerspec it = {{0, 1000000}, {0, 1000000}}, o;
    R(timerfd_settime(fd, 0, &it, 0));
    struct pollfd p = {fd, POLLIN, 0};
    R(poll(&p, 1, 1000));
    msleep(10);
    R(read(fd, &v, 8));
    T(v >= 5);
    R(timerfd_gettime(fd, &o));
    say("interval %ld\n", (long)o.it_interval.tv_nsec);
    R(read(fd, &v, 7));
    R(write(fd, &v, 8));
    it = (struct itimerspec){0};
    R(timerfd_settime(fd, 0, &it, &o));
    R(poll(&p, 1, 5));
    it.it_value = (struct timespec){1, 0};
    R(timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, 0));
    R(poll(&p, 1, 1000));
    R(read(fd, &v, 8));
    say("%ld\n", (long)v);
}

CASE(timerfd_blocking_read, "timerfd_create read") {
    int fd = timerfd_create(CLOCK_REALTIME, 0);
    struct itimerspec it = {{0, 0}, {0, 5000000}};
    timerfd_settime(fd, 0, &it, 0);
    uint64_t v = 0;
    R(read(fd, &v, 8));
    say("%ld\n", (long)v);
    timerfd_gettime(fd, &it);
    say("%ld\n", (long)it.it_value.tv_nsec);
}

CASE(timerfd_errors, "timerfd_create timerfd_settime timerfd_gettime") {
    struct itimerspec it = {{0, 0}, {0, 1000000000}};
    R(timerfd_create(77, 0));
    R(timerfd_create(CLOCK_MONOTONIC, 1));
    R(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
    int fd = timerfd_create(CLOCK_BOOTTIME, 0);
    R(timerfd_settime(fd, 0, &it, 0));
    R(timerfd_settime(fd, 99, &it, 0));
    R(timerfd_settime(1, 0, &it, 0));
    R(timerfd_settime(99, 0, &it, 0));
    R(timerfd_gettime(1, &it));
    R(timerfd_gettime(fd, BAD));
    R(timerfd_settime(fd, 0, BAD, 0));
}

CASE(timeouts_of_waits, "poll select epoll_wait ppoll") {
    long a = now_ms();
    R(poll(0, 0, 15));
    T(now_ms() - a >= 14);
    struct timeval tv = {0, 15000};
    a = now_ms();
    R(select(0, 0, 0, 0, &tv));
    T(now_ms() - a >= 14);
    say("left %ld\n", (long)tv.tv_usec);
    struct timespec ts = {0, 15000000};
    a = now_ms();
    R(syscall(SYS_ppoll, 0, 0, &ts, 0, 8));
    T(now_ms() - a >= 14);
    say("left %ld\n", (long)ts.tv_nsec);
    ts.tv_nsec = -1;
    R(syscall(SYS_ppoll, 0, 0, &ts, 0, 8));
    tv.tv_usec = -1;
    R(syscall(SYS_select, 0, 0, 0, 0, &tv));
}
