// Processes: making them, waiting for them, groups and sessions.
#include "case.h"
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/mount.h>
#define FAMILY "process"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int raw_clone3(struct clone_args *a, size_t size) { return syscall(SYS_clone3, a, size); }
static int pidfd_open_(pid_t p, unsigned flags) { return syscall(SYS_pidfd_open, p, flags); }

static void show_info(const siginfo_t *i, pid_t child) {
    say("signo %d code %d status %d pid %s uid %d\n", i->si_signo, i->si_code, i->si_status,
        i->si_pid == child ? "child" : i->si_pid == 0 ? "0" : "other", i->si_uid);
}

CASE(fork_copies_memory, "fork") {
    int x = 1;
    char *p = anon(1);
    p[0] = 'a';
    IN_CHILD(x = 2; p[0] = 'b'; say("child %d %c\n", x, p[0]));
    say("parent %d %c\n", x, p[0]);
}

CASE(fork_inherits, "fork") {
    pid_t pgrp = getpgrp(), sid = getsid(0), me = getpid();
    umask(077);
    nice(3);
    block(SIGUSR1);
    raise(SIGUSR1);
    MUST(chdir("/"));
    IN_CHILD({
        T(getpgrp() == pgrp);
        T(getsid(0) == sid);
        T(getppid() == me);
        say("umask %o nice %d\n", umask(0), getpriority(PRIO_PROCESS, 0));
        sigset_t s;
        sigprocmask(0, 0, &s);
        T(sigismember(&s, SIGUSR1));
        sigpending(&s);
        T(sigismember(&s, SIGUSR1));
        char b[8];
        say("%s\n", getcwd(b, 8));
    });
}

CASE(exit_status_values, "exit_group wait4") {
    IN_CHILD(_exit(0));
    IN_CHILD(_exit(1));
    IN_CHILD(_exit(255));
    IN_CHILD(_exit(256));
    IN_CHILD(_exit(-1));
    IN_CHILD(_exit(0x1234567));
    IN_CHILD(syscall(SYS_exit, 9));
}

static const int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1,
                            SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM,
                            SIGPROF, SIGIO, SIGPWR, SIGSYS, 34, 64};

CASE(death_by_every_signal, "kill wait4") {
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) IN_CHILD(kill(getpid(), fatal[i]));
}

CASE(ignored_by_default, "kill") {
    IN_CHILD(kill(getpid(), SIGCHLD); kill(getpid(), SIGURG); kill(getpid(), SIGWINCH); kill(getpid(), SIGCONT);
             say("alive\n"));
}

CASE(wait4_variants, "wait4") {
    int status;
    R(wait4(-1, &status, 0, 0));
    pid_t a = FORK(_exit(1)), b = FORK(pause());
    T(wait4(a, &status, 0, 0) == a);
    show_status("a", status);
    R(wait4(b, &status, WNOHANG, 0));
    R(wait4(1, &status, 0, 0));
    R(wait4(-99999, &status, 0, 0));
    R(wait4(-1, &status, 0x1000, 0));
    MUST(kill(b, SIGTERM));
    T(wait4(0, &status, 0, 0) == b);
    show_status("b", status);
    R(wait4(INT_MIN, &status, 0, 0));
}

CASE(wait4_group, "wait4 setpgid") {
    pid_t a = FORK(setpgid(0, 0); _exit(4)), b = FORK(_exit(5));
    setpgid(a, a);
    int status;
    T(waitpid(-a, &status, 0) == a);
    show_status("a", status);
    T(waitpid(0, &status, 0) == b);
    show_status("b", status);
    R(waitpid(-a, &status, 0));
}

CASE(wait4_bad_pointers, "wait4") {
    pid_t a = FORK(_exit(3));
    settle(a);
    R(syscall(SYS_wait4, a, BAD, 0, 0));
    int status;
    R(waitpid(a, &status, 0));
    pid_t b = FORK(_exit(3));
    settle(b);
    R(syscall(SYS_wait4, b, &status, 0, BAD));
    T(waitpid(b, &status, 0) == -1);
}

CASE(waitid_exit_info, "waitid") {
    pid_t c = FORK(_exit(77));
    siginfo_t i = {0};
    R(waitid(P_PID, c, &i, WEXITED));
    show_info(&i, c);
    c = FORK(raise(SIGKILL));
    R(waitid(P_ALL, 0, &i, WEXITED));
    show_info(&i, c);
    memset(&i, 0xff, sizeof i);
    c = FORK(pause());
    R(waitid(P_PID, c, &i, WEXITED | WNOHANG));
    show_info(&i, c);
    kill(c, SIGINT);
    R(waitid(P_PGID, getpgrp(), &i, WEXITED));
    show_info(&i, c);
    R(waitid(P_ALL, 0, &i, WEXITED));
}

CASE(waitid_nowait, "waitid") {
    pid_t c = FORK(_exit(9));
    siginfo_t i = {0};
    R(waitid(P_PID, c, &i, WEXITED | WNOWAIT));
    show_info(&i, c);
    R(waitid(P_PID, c, &i, WEXITED | WNOWAIT | WNOHANG));
    show_wait(c);
    R(waitid(P_PID, c, &i, WEXITED | WNOWAIT));
}

CASE(waitid_bad_arguments, "waitid") {
    siginfo_t i;
    R(waitid(P_ALL, 0, &i, 0));
    R(waitid(P_ALL, 0, &i, WNOHANG));
    R(waitid(P_ALL, 0, &i, WEXITED | 0x100));
    R(waitid(77, 0, &i, WEXITED));
    R(waitid(P_PID, 0, &i, WEXITED));
    R(waitid(P_PID, -1, &i, WEXITED));
    R(waitid(P_PIDFD, 999, &i, WEXITED));
    R(waitid(P_PIDFD, 1, &i, WEXITED));
    pid_t c = FORK(_exit(1));
    settle(c);
    R(syscall(SYS_waitid, P_PID, c, BAD, WEXITED, 0));
    c = FORK(_exit(1));
    R(syscall(SYS_waitid, P_PID, c, 0, WEXITED, 0));
}

CASE(stop_and_continue_seen, "wait4 waitid kill") {
    // In a group of its own the child is not orphaned, so that SIGTSTP stops it.
    pid_t c = FORK(pause());
    MUST(setpgid(c, c));
    settle(c);
    int status;
    siginfo_t i = {0};
    kill(c, SIGSTOP);
    T(waitpid(c, &status, WUNTRACED) == c);
    show_status("c", status);
    R(waitpid(c, &status, WUNTRACED | WNOHANG));
    kill(c, SIGCONT);
    R(waitid(P_PID, c, &i, WCONTINUED));
    show_info(&i, c);
    kill(c, SIGTSTP);
    R(waitid(P_PID, c, &i, WSTOPPED | WNOWAIT));
    show_info(&i, c);
    R(waitid(P_PID, c, &i, WSTOPPED));
    R(waitid(P_PID, c, &i, WSTOPPED | WNOHANG));
    kill(c, SIGKILL);
    show_wait(c);
}

CASE(stopped_child_killed_by_sigkill_only, "kill wait4") {
    pid_t c = FORK(pause());
    int status;
    kill(c, SIGSTOP);
    waitpid(c, &status, WUNTRACED);
    kill(c, SIGTERM);
    msleep(10);
    R(waitpid(c, &status, WNOHANG));
    kill(c, SIGCONT);
    show_wait(c);
}

static volatile sig_atomic_t chld_count, chld_code, chld_status;
static void on_chld(int s, siginfo_t *i, void *u) {
    (void)s;
    (void)u;
    chld_count++;
    chld_code = i->si_code;
    chld_status = i->si_status;
}
static void catch_chld(int flags) {
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | flags};
    MUST(sigaction(SIGCHLD, &sa, 0));
}

CASE(sigchld_info, "rt_sigaction wait4") {
    catch_chld(0);
    pid_t c = FORK(_exit(6));
    T(UNTIL(chld_count == 1));
    say("code %d status %d\n", chld_code, chld_status);
    show_wait(c);
    c = FORK(pause());
    kill(c, SIGSTOP);
    T(UNTIL(chld_count == 2));
    say("code %d status %d\n", chld_code, chld_status);
    kill(c, SIGCONT);
    T(UNTIL(chld_count == 3));
    say("code %d status %d\n", chld_code, chld_status);
    kill(c, SIGTERM);
    T(UNTIL(chld_count == 4));
    say("code %d status %d\n", chld_code, chld_status);
    show_wait(c);
}

CASE(sigchld_nocldstop, "rt_sigaction") {
    catch_chld(SA_NOCLDSTOP);
    pid_t c = FORK(pause());
    int status;
    kill(c, SIGSTOP);
    waitpid(c, &status, WUNTRACED);
    msleep(5);
    say("%d\n", chld_count);
    kill(c, SIGKILL);
    T(UNTIL(chld_count == 1));
    show_wait(c);
}

CASE(sigchld_ignored_reaps, "rt_sigaction wait4") {
    signal(SIGCHLD, SIG_IGN);
    pid_t c = FORK(_exit(1));
    int status;
    R(waitpid(c, &status, 0));
    signal(SIGCHLD, SIG_DFL);
    show_wait(FORK(_exit(2)));
}

CASE(sigchld_nocldwait, "rt_sigaction wait4") {
    catch_chld(SA_NOCLDWAIT);
    FORK(_exit(1));
    int status;
    while (waitpid(-1, &status, 0) == -1 && errno == EINTR) {}
    say("%s %d\n", err_name(errno), chld_count);
}

CASE(orphan_goes_to_subreaper, "prctl exit_group wait4") {
    R(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int is = 0;
    R(prctl(PR_GET_CHILD_SUBREAPER, &is));
    say("%d\n", is);
    pid_t me = getpid();
    int go[2];
    MUST(pipe(go));
    pid_t c = FORK(if (fork() == 0) {
        char b;
        close(go[1]);
        read(go[0], &b, 1);
        say("parent is %s\n", getppid() == me ? "the reaper" : "another");
        _exit(8);
    });
    close(go[0]);
    show_wait(c);
    close(go[1]);
    int status;
    T(waitpid(-1, &status, 0) > 0);
    show_status("orphan", status);
}

CASE(subreaper_is_not_inherited, "prctl fork") {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    IN_CHILD(int is = 5; prctl(PR_GET_CHILD_SUBREAPER, &is); say("%d\n", is));
}

static volatile sig_atomic_t got_usr1;
static void usr1(int s) {
    (void)s;
    got_usr1++;
}

CASE(parent_death_signal, "prctl") {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int ready[2];
    MUST(pipe(ready));
    pid_t c = FORK({
        if (fork() == 0) {
            on_signal(SIGUSR1, usr1, 0);
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            int sig = 0;
            prctl(PR_GET_PDEATHSIG, &sig);
            say("%s\n", sig_name(sig));
            write(ready[1], "x", 1);
            _exit(UNTIL(got_usr1) ? 3 : 4);
        }
        char b;
        read(ready[0], &b, 1);
    });
    show_wait(c);
    int status;
    waitpid(-1, &status, 0);
    show_status("orphan", status);
    R(prctl(PR_SET_PDEATHSIG, 65));
    R(prctl(PR_GET_PDEATHSIG, BAD));
}

CASE(process_groups, "setpgid getpgid getpgrp getsid") {
    T(getpgrp() == getpid());
    pid_t c = FORK(pause());
    R(setpgid(c, c));
    T(getpgid(c) == c);
    pid_t d = FORK(pause());
    R(setpgid(d, c));
    T(getpgid(d) == c);
    R(setpgid(d, 99999));
    R(setpgid(d, -1));
    R(setpgid(99999, 0));
    R(setpgid(0, 0));
    R(setpgid(1, 0));
    T(getsid(d) == getsid(0));
    R(getpgid(99999));
    R(getsid(99999));
    R(kill(-c, SIGTERM));
    show_wait(c);
    show_wait(d);
    R(kill(-c, SIGTERM));
}

CASE(setpgid_after_exec, "setpgid execve") {
    int p[2];
    MUST(pipe2(p, O_CLOEXEC));
    pid_t c = FORK(execl("/bin/sleep", "sleep", "10", NULL));
    close(p[1]);
    char b;
    read(p[0], &b, 1);
    R(setpgid(c, c));
    kill(c, SIGKILL);
    show_wait(c);
}

CASE(sessions, "setsid getsid setpgid") {
    R(setsid());
    IN_CHILD({
        T(setsid() == getpid());
        T(getsid(0) == getpid() && getpgrp() == getpid());
        R(setpgid(0, 0));
        R(setsid());
        pid_t c = FORK(pause());
        T(getsid(c) == getpid());
        kill(c, 9);
        show_wait(c);
    });
    pid_t c = FORK(setsid(); pause());
    T(UNTIL(getsid(c) == c));
    R(setpgid(c, 0));
    kill(c, 9);
    show_wait(c);
}

static void member_of_group(void) {
    on_signal(SIGHUP, usr1, 0);
    raise(SIGSTOP);
    _exit(10 + got_usr1);
}
CASE(orphaned_group_gets_hup_cont, "exit_group setsid setpgid") {
    // Session leader > job leader > stopped member: when the job leader ends, the member's new parent is of another
    // session, its group is orphaned and gets SIGHUP and SIGCONT.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t session = FORK({
        setsid();
        pid_t job = FORK(setpgid(0, 0); pid_t c = FORK(member_of_group()); int st; waitpid(c, &st, WUNTRACED));
        show_wait(job);
    });
    show_wait(session);
    int status;
    waitpid(-1, &status, 0);
    show_status("member", status);
}

CASE(tty_stop_ignored_in_orphaned_group, "kill setpgid") {
    // This process leads its own session: its group is orphaned, SIGTSTP does nothing.
    raise(SIGTSTP);
    say("went on\n");
    raise(SIGTTIN);
    raise(SIGTTOU);
    say("went on\n");
}

static int clone_fn(void *a) {
    *(int *)a = 5;
    return 12;
}

CASE(clone_vm_shares_memory, "clone") {
    char *stack = anon(16);
    int x = 0, status;
    pid_t p = clone(clone_fn, stack + 16 * PAGE, CLONE_VM | SIGCHLD, &x);
    MUST(waitpid(p, &status, 0));
    show_status("child", status);
    say("%d\n", x);
    x = 1;
    p = clone(clone_fn, stack + 16 * PAGE, SIGCHLD, &x);
    MUST(waitpid(p, &status, 0));
    say("%d\n", x);
}

static int close_fd(void *a) {
    close(*(int *)a);
    chdir("/");
    umask(0);
    return 0;
}

CASE(clone_files_and_fs, "clone") {
    char *stack = anon(16), cwd[PATH_MAX];
    int fd = MUST(dup(1)), status;
    pid_t p = clone(close_fd, stack + 16 * PAGE, SIGCHLD, &fd);
    waitpid(p, &status, 0);
    T(fcntl(fd, F_GETFD) == 0);
    p = clone(close_fd, stack + 16 * PAGE, CLONE_FILES | SIGCHLD, &fd);
    waitpid(p, &status, 0);
    R(fcntl(fd, F_GETFD));
    T(strcmp(getcwd(cwd, sizeof cwd), "/"));
    p = clone(close_fd, stack + 16 * PAGE, CLONE_FS | SIGCHLD, &fd);
    waitpid(p, &status, 0);
    say("%s %o\n", getcwd(cwd, sizeof cwd), umask(022));
}

CASE(clone_exit_signal, "clone wait4") {
    on_signal(SIGUSR1, usr1, 0);
    char *stack = anon(16);
    int x, status;
    pid_t p = clone(clone_fn, stack + 16 * PAGE, CLONE_VM | SIGUSR1, &x);
    T(UNTIL(got_usr1 == 1));
    R(waitpid(p, &status, WNOHANG));
    T(waitpid(p, &status, __WCLONE) == p);
    show_status("child", status);
    p = clone(clone_fn, stack + 16 * PAGE, CLONE_VM, &x);
    T(waitpid(p, &status, __WALL) == p);
}

CASE(clone_flag_errors, "clone clone3") {
    char *stack = anon(2);
    R(clone(clone_fn, stack + 2 * PAGE, CLONE_SIGHAND, 0));
    R(clone(clone_fn, stack + 2 * PAGE, CLONE_THREAD | CLONE_VM, 0));
    R(clone(clone_fn, stack + 2 * PAGE, CLONE_FS | CLONE_NEWNS, 0));
    R(syscall(SYS_clone, CLONE_PIDFD | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, stack, 0, 0, 0));
    struct clone_args a = {.flags = 0, .exit_signal = 65};
    R(raw_clone3(&a, sizeof a));
    a = (struct clone_args){.exit_signal = SIGCHLD, .stack = 8};
    R(raw_clone3(&a, sizeof a));
    a = (struct clone_args){.exit_signal = SIGCHLD, .stack_size = 8};
    R(raw_clone3(&a, sizeof a));
    a = (struct clone_args){.flags = 1, .exit_signal = SIGCHLD};
    R(raw_clone3(&a, sizeof a));
    R(raw_clone3(&a, 10));
    R(raw_clone3(&a, 5000));
    R(raw_clone3(BAD, sizeof a));
    a = (struct clone_args){.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD};
    R(raw_clone3(&a, sizeof a));
}

CASE(clone3_fork, "clone3") {
    int pidfd = -1;
    pid_t tid = 0;
    struct clone_args a = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .exit_signal = SIGCHLD,
                           .pidfd = (uintptr_t)&pidfd, .parent_tid = (uintptr_t)&tid};
    pid_t p = raw_clone3(&a, sizeof a);
    if (p == 0) _exit(21);
    T(p > 0 && tid == p && pidfd > 2);
    R(fcntl(pidfd, F_GETFD));
    siginfo_t i = {0};
    R(waitid(P_PIDFD, pidfd, &i, WEXITED));
    show_info(&i, p);
}

CASE(clone3_clear_sighand, "clone3") {
    on_signal(SIGUSR1, usr1, 0);
    on_signal(SIGUSR2, SIG_IGN, 0);
    struct clone_args a = {.flags = 0x100000000ull, .exit_signal = SIGCHLD};
    pid_t p = raw_clone3(&a, sizeof a);
    if (p == 0) {
        struct sigaction sa;
        sigaction(SIGUSR1, 0, &sa);
        say("%s\n", sa.sa_handler == SIG_DFL ? "default" : "other");
        sigaction(SIGUSR2, 0, &sa);
        say("%s\n", sa.sa_handler == SIG_IGN ? "ignored" : "other");
        _exit(0);
    }
    show_wait(p);
}

CASE(clone_child_tid_pointers, "clone set_tid_address") {
    pid_t *tids = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tids[1] = 77;
    pid_t p = syscall(SYS_clone, CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | SIGCHLD, 0, &tids[0], &tids[1], 0);
    if (p == 0) _exit(tids[1] == getpid() ? 0 : 1);
    T(tids[0] == p);
    show_wait(p);
    T(syscall(SYS_set_tid_address, &tids[2]) == gettid_());
}

CASE(vfork_suspends_parent, "vfork") {
    volatile int x = 0;
    pid_t p = vfork();
    if (p == 0) {
        msleep(10);
        x = 4;
        _exit(2);
    }
    say("%d\n", x);
    show_wait(p);
}

CASE(pidfd_poll_and_signal, "pidfd_open pidfd_send_signal poll waitid") {
    pid_t c = FORK(pause());
    int fd = OK(pidfd_open_(c, 0));
    struct pollfd pf = {fd, POLLIN, 0};
    R(poll(&pf, 1, 0));
    R(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
    R(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    R(poll(&pf, 1, 5000));
    say("revents %d\n", pf.revents);
    R(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    siginfo_t i = {0};
    R(waitid(P_PIDFD, fd, &i, WEXITED));
    show_info(&i, c);
    R(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    R(syscall(SYS_pidfd_send_signal, 1, SIGTERM, 0, 0));
    R(syscall(SYS_pidfd_send_signal, 99, SIGTERM, 0, 0));
}

CASE(pidfd_open_errors, "pidfd_open waitid") {
    R(pidfd_open_(-1, 0));
    R(pidfd_open_(0, 0));
    R(pidfd_open_(99999, 0));
    R(pidfd_open_(getpid(), 0x1000));
    int fd = pidfd_open_(getpid(), O_NONBLOCK);
    R(fcntl(fd, F_GETFD));
    char b;
    R(read(fd, &b, 1));
    pid_t c = FORK(pause());
    int cfd = pidfd_open_(c, O_NONBLOCK);
    siginfo_t i;
    R(waitid(P_PIDFD, cfd, &i, WEXITED));
    R(waitid(P_PIDFD, fd, &i, WEXITED));
    kill(c, 9);
    show_wait(c);
}

CASE(pidfd_getfd_of_child, "pidfd_getfd") {
    int p[2];
    MUST(pipe(p));
    pid_t c = FORK(dup2(p[1], 30); close(p[1]); write(30, "r", 1); pause());
    char b;
    read(p[0], &b, 1);
    int pfd = pidfd_open_(c, 0);
    int fd = OK(syscall(SYS_pidfd_getfd, pfd, 30, 0));
    R(fcntl(fd, F_GETFD));
    R(write(fd, "via", 3));
    char buf[4] = {0};
    R(read(p[0], buf, 3));
    R(syscall(SYS_pidfd_getfd, pfd, 99, 0));
    R(syscall(SYS_pidfd_getfd, pfd, 30, 1));
    R(syscall(SYS_pidfd_getfd, 1, 30, 0));
    kill(c, 9);
    show_wait(c);
}

CASE(clone3_with_a_wanted_id, "clone3") {
    pid_t wanted = 31999;
    struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
    pid_t p = raw_clone3(&a, sizeof a);
    if (p == 0) _exit(getpid() == 31999 ? 3 : 4);
    T(p == 31999);
    R(raw_clone3(&a, sizeof a));
    show_wait(p);
    pid_t bad[] = {0, -1, 1, 1 << 30};
    for (int i = 0; i < 4; i++) {
        wanted = bad[i];
        R(raw_clone3(&a, sizeof a));
    }
    wanted = 31998;
    a.set_tid = 8;
    R(raw_clone3(&a, sizeof a));
    a.set_tid = 0;
    R(raw_clone3(&a, sizeof a));
    a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted};
    R(raw_clone3(&a, sizeof a));
    a.set_tid_size = 99;
    R(raw_clone3(&a, sizeof a));
    a.set_tid_size = 1;
    IN_CHILD(drop_to(1000, 1000); R(raw_clone3(&a, sizeof a)));
    IN_CHILD(drop_to(1000, 1000); wanted = 0; R(raw_clone3(&a, sizeof a)));
    a = (struct clone_args){.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .exit_signal = SIGCHLD,
                            .pidfd = (uintptr_t)&wanted, .parent_tid = (uintptr_t)&wanted};
    R(raw_clone3(&a, sizeof a));
}

CASE(clone_into_cgroup, "clone3 mount unshare") {
    MUST(mkdir("m", 0755));
    MUST(unshare(CLONE_NEWNS));
    MUST(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
    MUST(mount("none", "m", "cgroup2", 0, 0));
    int dir = MUST(open("m", O_PATH | O_DIRECTORY | O_CLOEXEC)), file = MUST(open("m/cgroup.procs", O_RDONLY));
    int other = MUST(open("/", O_PATH));
    struct clone_args a = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
    long bad[] = {77, other, file, -1L, 1L << 31};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a.cgroup = bad[i];
        R(raw_clone3(&a, sizeof a));
    }
    a.cgroup = dir;
    R(raw_clone3(&a, CLONE_ARGS_SIZE_VER1));
    pid_t p = raw_clone3(&a, sizeof a);
    if (p == 0) _exit(7);
    if (p < 0) say("%s\n", err_name(errno));
    show_wait(p);
    MUST(umount2("m", MNT_DETACH));
}
