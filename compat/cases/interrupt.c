// Waiting for signals, and calls that a signal interrupts: which start again, which fail, which report the rest.
#include "case.h"
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#define FAMILY "signal"

static volatile sig_atomic_t n;
static int wake_fd = -1;
static void count(int s) {
    (void)s;
    n++;
    if (wake_fd >= 0) write(wake_fd, "w", 1);
}

// A child that sends SIGUSR1 to this process once it sleeps.
static pid_t poke(void) {
    pid_t me = getpid();
    return FORK(msleep(8); settle(me); kill(me, SIGUSR1));
}
static void reap(pid_t p) {
    int st;
    while (waitpid(p, &st, 0) < 0 && errno == EINTR) {}
}

// Runs the call with a handler without and with SA_RESTART; with restart, the handler writes to `fd` to end the call.
#define POKED(flags, ...) do { on_signal(SIGUSR1, count, flags); n = 0; pid_t p_ = poke(); R(__VA_ARGS__); reap(p_);   \
                               say("handled %d\n", n); } while (0)

CASE(interrupted_read, "read") {
    int p[2];
    char c;
    MUST(pipe(p));
    POKED(0, read(p[0], &c, 1));
    wake_fd = p[1];
    POKED(SA_RESTART, read(p[0], &c, 1));
}

CASE(interrupted_write, "write fcntl") {
    int p[2];
    static char big[1 << 20];
    MUST(pipe(p));
    fcntl(p[1], F_SETPIPE_SZ, 4096);
    POKED(0, write(p[1], big, 100000));
    POKED(0, write(p[1], big, 100000));
    POKED(SA_RESTART, write(p[1], big, 0));
}

CASE(interrupted_wait, "wait4 waitid") {
    pid_t c = FORK(pause());
    POKED(0, waitpid(c, 0, 0));
    siginfo_t i;
    POKED(0, waitid(P_PID, c, &i, WEXITED));
    on_signal(SIGUSR1, count, SA_RESTART);
    pid_t me = getpid();
    pid_t k = FORK(settle(me); kill(me, SIGUSR1); msleep(5); kill(c, SIGTERM));
    int st;
    T(waitpid(c, &st, 0) == c);
    reap(k);
}

CASE(interrupted_sleep_never_restarts, "nanosleep clock_nanosleep") {
    struct timespec t = {5, 0}, rem = {0};
    POKED(SA_RESTART, nanosleep(&t, &rem));
    T(rem.tv_sec == 4 && rem.tv_nsec > 0);
    rem.tv_sec = 0;
    POKED(SA_RESTART, clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rem));
    T(rem.tv_sec == 4);
    struct timespec abs;
    clock_gettime(CLOCK_MONOTONIC, &abs);
    abs.tv_sec += 5;
    rem.tv_sec = 77;
    POKED(SA_RESTART, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, &rem));
    T(rem.tv_sec == 77);
}

CASE(interrupted_poll_never_restarts, "poll ppoll select pselect6 epoll_wait epoll_pwait") {
    int p[2];
    MUST(pipe(p));
    struct pollfd f = {p[0], POLLIN, 0};
    POKED(SA_RESTART, poll(&f, 1, 5000));
    POKED(SA_RESTART, ppoll(&f, 1, 0, 0));
    fd_set s;
    FD_ZERO(&s);
    FD_SET(p[0], &s);
    struct timeval tv = {5, 0};
    POKED(SA_RESTART, select(p[0] + 1, &s, 0, 0, &tv));
    T(tv.tv_sec == 4);
    POKED(SA_RESTART, pselect(p[0] + 1, &s, 0, 0, 0, 0));
    int e = epoll_create1(0);
    struct epoll_event ev;
    POKED(SA_RESTART, epoll_wait(e, &ev, 1, 5000));
    POKED(SA_RESTART, epoll_pwait(e, &ev, 1, 5000, 0));
}

CASE(interrupted_pause_and_suspend, "pause rt_sigsuspend") {
    POKED(SA_RESTART, pause());
    sigset_t s;
    sigemptyset(&s);
    block(SIGUSR1);
    POKED(SA_RESTART, sigsuspend(&s));
    sigprocmask(0, 0, &s);
    T(sigismember(&s, SIGUSR1));
    R(syscall(SYS_rt_sigsuspend, BAD, 8));
    R(syscall(SYS_rt_sigsuspend, &s, 4));
}

CASE(interrupted_futex, "futex") {
    int word = 1;
    struct timespec t = {5, 0};
    POKED(0, syscall(SYS_futex, &word, FUTEX_WAIT, 1, 0, 0, 0));
    POKED(0, syscall(SYS_futex, &word, FUTEX_WAIT, 1, &t, 0, 0));
    t = (struct timespec){0, 40000000};
    POKED(SA_RESTART, syscall(SYS_futex, &word, FUTEX_WAIT, 1, &t, 0, 0));
}

CASE(interrupted_sockets, "accept recvfrom connect recvmsg") {
    int sv[2];
    char c;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    POKED(0, recv(sv[0], &c, 1, 0));
    wake_fd = sv[1];
    POKED(SA_RESTART, recv(sv[0], &c, 1, 0));
    wake_fd = -1;
    struct timeval tv = {5, 0};
    MUST(setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    POKED(SA_RESTART, recv(sv[0], &c, 1, 0));
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un { sa_family_t f; char p[108]; } a = {AF_UNIX, "sock"};
    MUST(bind(l, (void *)&a, sizeof a) | listen(l, 1));
    POKED(0, accept(l, 0, 0));
}

CASE(interrupted_locks, "fcntl flock") {
    int fd = open("f", O_CREAT | O_RDWR, 0600), ready[2];
    MUST(pipe(ready));
    pid_t holder = FORK({
        struct flock l = {.l_type = F_WRLCK};
        int own = open("f", O_RDWR);
        fcntl(own, F_SETLK, &l);
        flock(own, LOCK_EX);
        write(ready[1], "r", 1);
        pause();
    });
    char c;
    read(ready[0], &c, 1);
    struct flock l = {.l_type = F_WRLCK};
    POKED(0, fcntl(fd, F_SETLKW, &l));
    POKED(0, flock(fd, LOCK_EX));
    kill(holder, 9);
    reap(holder);
}

CASE(interrupted_open_of_fifo, "openat") {
    MUST(mkfifo("p", 0600));
    POKED(0, open("p", O_RDONLY));
    POKED(0, open("p", O_WRONLY));
}

CASE(interrupted_sigtimedwait, "rt_sigtimedwait") {
    sigset_t s = set_of(SIGUSR2, 0);
    struct timespec t = {5, 0};
    POKED(SA_RESTART, sigtimedwait(&s, 0, &t));
}

CASE(stop_and_continue_restarts_silently, "read nanosleep poll") {
    int p[2];
    MUST(pipe(p));
    pid_t c = FORK({
        char b;
        R(read(p[0], &b, 1));
        struct timespec t = {0, 30000000}, rem;
        R(nanosleep(&t, &rem));
    });
    settle(c);
    int st;
    kill(c, SIGSTOP);
    waitpid(c, &st, WUNTRACED);
    kill(c, SIGCONT);
    waitpid(c, &st, WCONTINUED);
    msleep(5);
    write(p[1], "x", 1);
    settle(c);
    kill(c, SIGSTOP);
    msleep(2);
    kill(c, SIGCONT);
    show_wait(c);
}

CASE(ignored_signal_does_not_interrupt, "read") {
    int p[2];
    MUST(pipe(p));
    signal(SIGUSR1, SIG_IGN);
    pid_t me = getpid();
    pid_t k = FORK(settle(me); kill(me, SIGUSR1); kill(me, SIGCHLD); msleep(3); write(p[1], "x", 1));
    char c;
    R(read(p[0], &c, 1));
    reap(k);
}

CASE(sigtimedwait_takes_pending, "rt_sigtimedwait") {
    block(SIGUSR1);
    block(SIGRTMIN);
    union sigval v = {.sival_int = 5};
    sigqueue(getpid(), SIGRTMIN, v);
    kill(getpid(), SIGUSR1);
    sigset_t s = set_of(SIGUSR1, SIGRTMIN, 0);
    siginfo_t i;
    struct timespec zero = {0, 0}, shortly = {0, 5000000}, bad = {0, -1};
    R(sigtimedwait(&s, &i, &zero));
    say("code %d\n", i.si_code);
    R(sigwaitinfo(&s, &i));
    say("code %d value %d\n", i.si_code, i.si_value.sival_int);
    R(sigtimedwait(&s, &i, &zero));
    R(sigtimedwait(&s, &i, &shortly));
    R(sigtimedwait(&s, &i, &bad));
    R(syscall(SYS_rt_sigtimedwait, BAD, &i, &zero, 8));
    R(syscall(SYS_rt_sigtimedwait, &s, &i, &zero, 16));
    kill(getpid(), SIGUSR1);
    R(syscall(SYS_rt_sigtimedwait, &s, BAD, &zero, 8));
}

CASE(sigwait_wakes_on_arrival, "rt_sigtimedwait kill") {
    block(SIGUSR1);
    pid_t p = poke();
    sigset_t s = set_of(SIGUSR1, 0);
    siginfo_t i;
    R(sigwaitinfo(&s, &i));
    T(i.si_pid == p && i.si_code == SI_USER);
    reap(p);
}

static void *waits(void *a) {
    int sig = 0;
    sigset_t s = set_of(SIGUSR1, 0);
    sigwait(&s, &sig);
    *(int *)a = sig;
    return 0;
}
CASE(process_signal_goes_to_waiting_thread, "rt_sigtimedwait kill") {
    block(SIGUSR1);
    int got = 0;
    pthread_t t = thread(waits, &got);
    msleep(5);
    kill(getpid(), SIGUSR1);
    pthread_join(t, 0);
    say("%s\n", sig_name(got));
}

CASE(signalfd_reads, "signalfd4 signalfd read poll") {
    block(SIGUSR1);
    block(SIGRTMIN);
    sigset_t s = set_of(SIGUSR1, SIGRTMIN, 0);
    int fd = OK(signalfd(-1, &s, SFD_NONBLOCK));
    struct signalfd_siginfo si[3];
    R(read(fd, si, sizeof si));
    struct pollfd p = {fd, POLLIN, 0};
    R(poll(&p, 1, 0));
    kill(getpid(), SIGUSR1);
    union sigval v = {.sival_int = 31};
    sigqueue(getpid(), SIGRTMIN, v);
    R(poll(&p, 1, 0));
    R(read(fd, si, 10));
    R(read(fd, si, sizeof si));
    say("%d %d; %d %d %d\n", si[0].ssi_signo, si[0].ssi_code, si[1].ssi_signo, si[1].ssi_code, si[1].ssi_int);
    T(si[0].ssi_pid == (unsigned)getpid());
    s = set_of(SIGUSR2, 0);
    T(signalfd(fd, &s, 0) == fd);
    kill(getpid(), SIGUSR1);
    R(read(fd, si, sizeof si));
    R(signalfd(1, &s, 0));
    R(signalfd(99, &s, 0));
    R(signalfd(-1, &s, 1));
    R(syscall(SYS_signalfd4, -1, &s, 4, 0));
    R(syscall(SYS_signalfd4, -1, BAD, 8, 0));
    R(write(fd, si, 128));
    OK(syscall(SYS_signalfd, -1, &s, 8));
}

CASE(signalfd_blocks_until_signal, "signalfd4") {
    block(SIGUSR1);
    sigset_t s = set_of(SIGUSR1, 0);
    int fd = signalfd(-1, &s, SFD_CLOEXEC);
    pid_t p = poke();
    struct signalfd_siginfo si;
    R(read(fd, &si, sizeof si));
    T((pid_t)si.ssi_pid == p);
    reap(p);
}

CASE(ppoll_mask_is_atomic, "ppoll pselect6 epoll_pwait epoll_pwait2") {
    on_signal(SIGUSR1, count, 0);
    block(SIGUSR1);
    raise(SIGUSR1);
    sigset_t none, now;
    sigemptyset(&none);
    R(ppoll(0, 0, 0, &none));
    say("handled %d\n", n);
    raise(SIGUSR1);
    R(pselect(0, 0, 0, 0, 0, &none));
    raise(SIGUSR1);
    int e = epoll_create1(0);
    struct epoll_event ev;
    R(epoll_pwait(e, &ev, 1, -1, &none));
    raise(SIGUSR1);
    R(syscall(SYS_epoll_pwait2, e, &ev, 1, 0, &none, 8));
    say("handled %d\n", n);
    sigprocmask(0, 0, &now);
    T(sigismember(&now, SIGUSR1));
}

CASE(stop_signals_and_cont_discard_each_other, "kill rt_sigpending") {
    block(SIGTSTP);
    block(SIGCONT);
    raise(SIGTSTP);
    sigset_t p;
    sigpending(&p);
    say("%d\n", sigismember(&p, SIGTSTP));
    raise(SIGCONT);
    sigpending(&p);
    say("%d %d\n", sigismember(&p, SIGTSTP), sigismember(&p, SIGCONT));
    raise(SIGTSTP);
    sigpending(&p);
    say("%d %d\n", sigismember(&p, SIGTSTP), sigismember(&p, SIGCONT));
}

CASE(ignoring_discards_pending, "rt_sigaction rt_sigpending") {
    block(SIGUSR1);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigset_t p;
    sigpending(&p);
    say("%d\n", sigismember(&p, SIGUSR1));
    raise(SIGUSR1);
    sigpending(&p);
    say("%d\n", sigismember(&p, SIGUSR1));
}

CASE(sigpipe_on_broken_pipe, "write sendto") {
    int p[2];
    MUST(pipe(p));
    close(p[0]);
    IN_CHILD(write(p[1], "x", 1));
    on_signal(SIGPIPE, count, 0);
    R(write(p[1], "x", 1));
    say("handled %d\n", n);
    int sv[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    close(sv[0]);
    R(send(sv[1], "x", 1, MSG_NOSIGNAL));
    say("handled %d\n", n);
    R(send(sv[1], "x", 1, 0));
    say("handled %d\n", n);
}

CASE(async_io_signal, "fcntl") {
    int sv[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    on_signal(SIGIO, count, 0);
    R(fcntl(sv[0], F_SETOWN, getpid()));
    T(fcntl(sv[0], F_GETOWN) == getpid());
    R(fcntl(sv[0], F_SETFL, O_ASYNC));
    write(sv[1], "x", 1);
    T(UNTIL(n > 0));
    R(fcntl(sv[0], F_GETSIG));
    R(fcntl(sv[0], F_SETSIG, SIGUSR1));
    R(fcntl(sv[0], F_GETSIG));
    R(fcntl(sv[0], F_SETSIG, 99));
}
