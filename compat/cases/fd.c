// Descriptors: duplicating, flags, locks, leases.
#include "case.h"
#include <sys/eventfd.h>
#define FAMILY "fd"

CASE(dup_family, "dup dup2 dup3 close") {
    int fd = OK(dup(1));
    R(dup2(fd, 20));
    R(dup2(20, 20));
    R(dup2(99, 20));
    R(dup2(99, 99));
    R(dup2(fd, -1));
    R(dup2(fd, 1 << 20));
    R(dup3(fd, 21, O_CLOEXEC));
    R(fcntl(21, F_GETFD));
    R(fcntl(20, F_GETFD));
    R(dup3(fd, fd, 0));
    R(dup3(fd, 22, O_APPEND));
    R(dup(99));
    R(close(20));
    R(close(20));
    R(close(-1));
    R(fcntl(fd, F_DUPFD, 50));
    R(fcntl(fd, F_DUPFD_CLOEXEC, 50));
    R(fcntl(51, F_GETFD));
    R(fcntl(fd, F_DUPFD, -1));
    R(fcntl(fd, F_DUPFD, 5000));
}

CASE(lowest_descriptor_is_used, "openat dup close") {
    R(open("/dev/null", O_RDONLY));
    R(open("/dev/null", O_RDONLY));
    R(dup(3));
    R(close(3));
    R(open("/dev/null", O_RDONLY));
    R(close(0));
    R(dup(4));
}

CASE(close_range_call, "close_range") {
    for (int i = 10; i < 16; i++) dup2(1, i);
    R(syscall(SYS_close_range, 11, 12, 0));
    for (int i = 10; i < 16; i++) say("%d %s\n", i, fcntl(i, F_GETFD) < 0 ? "closed" : "open");
    R(syscall(SYS_close_range, 14, 14, 4));
    R(fcntl(14, F_GETFD));
    R(syscall(SYS_close_range, 15, 14, 0));
    R(syscall(SYS_close_range, 14, ~0u, 0x100));
    R(syscall(SYS_close_range, 10, ~0u, 2));
    R(fcntl(13, F_GETFD));
    R(syscall(SYS_close_range, 100, 200, 0));
}

CASE(status_flags, "fcntl") {
    int fd = open("f", O_CREAT | O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
    say("%o\n", fcntl(fd, F_GETFL));
    R(fcntl(fd, F_SETFL, 0));
    say("%o\n", fcntl(fd, F_GETFL));
    R(fcntl(fd, F_SETFL, O_RDONLY | O_TRUNC | O_CREAT | O_NONBLOCK | O_NOATIME));
    say("%o\n", fcntl(fd, F_GETFL));
    R(fcntl(fd, F_GETFD));
    R(fcntl(fd, F_SETFD, 0));
    R(fcntl(fd, F_GETFD));
    R(fcntl(fd, F_SETFD, 0xff));
    R(fcntl(fd, F_GETFD));
    R(fcntl(99, F_GETFL));
    R(fcntl(fd, 9999));
    int d = dup(fd);
    fcntl(d, F_SETFL, O_APPEND);
    say("%o\n", fcntl(fd, F_GETFL));
    say("%o\n", fcntl(open("f", O_WRONLY | O_SYNC), F_GETFL));
    say("%o\n", fcntl(open(".", O_RDONLY | O_DIRECTORY), F_GETFL));
    int on = 1;
    R(ioctl(fd, FIONBIO, &on));
    T(fcntl(fd, F_GETFL) & O_NONBLOCK);
    R(ioctl(fd, FIOCLEX));
    R(fcntl(fd, F_GETFD));
    R(ioctl(fd, FIONCLEX));
    R(fcntl(fd, F_GETFD));
    R(ioctl(fd, 0x12345678, 0));
    R(ioctl(99, FIONBIO, &on));
    R(ioctl(fd, FIONBIO, BAD));
}

static void lock(int fd, int cmd, int type, long start, long len) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    int r = fcntl(fd, cmd, &l);
    say("%s %s %ld+%ld: %s", cmd == F_GETLK || cmd == F_OFD_GETLK ? "get" : cmd == F_SETLK || cmd == F_OFD_SETLK ? "set" : "wait",
        type == F_RDLCK ? "read" : type == F_WRLCK ? "write" : "unlock", start, len, r ? err_name(errno) : "ok");
    if (!r && (cmd == F_GETLK || cmd == F_OFD_GETLK))
        say(" -> %s %ld+%ld pid %s", l.l_type == F_UNLCK ? "free" : l.l_type == F_RDLCK ? "read" : "write", (long)l.l_start,
            (long)l.l_len, l.l_pid == -1 ? "-1" : l.l_pid == getppid() ? "parent" : l.l_pid ? "other" : "0");
    say("\n");
}

CASE(posix_locks_conflict, "fcntl") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    lock(fd, F_SETLK, F_WRLCK, 0, 10);
    lock(fd, F_SETLK, F_RDLCK, 20, 10);
    IN_CHILD({
        lock(fd, F_GETLK, F_WRLCK, 5, 1);
        lock(fd, F_GETLK, F_RDLCK, 20, 5);
        lock(fd, F_GETLK, F_WRLCK, 20, 5);
        lock(fd, F_SETLK, F_WRLCK, 9, 1);
        lock(fd, F_SETLK, F_WRLCK, 10, 10);
        lock(fd, F_SETLK, F_RDLCK, 25, 100);
        lock(fd, F_SETLK, F_WRLCK, 29, 0);
        lock(fd, F_GETLK, F_WRLCK, 0, 0);
    });
    lock(fd, F_SETLK, F_UNLCK, 3, 4);
    IN_CHILD(lock(fd, F_SETLK, F_WRLCK, 3, 4); lock(fd, F_GETLK, F_WRLCK, 0, 3); lock(fd, F_GETLK, F_WRLCK, 7, 10));
}

CASE(posix_locks_split_and_merge, "fcntl") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    lock(fd, F_SETLK, F_WRLCK, 0, 100);
    lock(fd, F_SETLK, F_RDLCK, 40, 20);
    lock(fd, F_SETLK, F_WRLCK, 100, 50);
    IN_CHILD(lock(fd, F_GETLK, F_WRLCK, 0, 0); lock(fd, F_GETLK, F_WRLCK, 40, 0); lock(fd, F_GETLK, F_WRLCK, 60, 0);
             lock(fd, F_GETLK, F_WRLCK, 150, 0));
}

CASE(posix_locks_go_on_any_close, "fcntl close fork") {
    int fd = open("f", O_CREAT | O_RDWR, 0600), other = open("f", O_RDONLY);
    lock(fd, F_SETLK, F_WRLCK, 0, 0);
    IN_CHILD(lock(fd, F_SETLK, F_WRLCK, 0, 0); close(fd));
    IN_CHILD(lock(fd, F_GETLK, F_WRLCK, 0, 0));
    close(other);
    IN_CHILD(lock(fd, F_GETLK, F_WRLCK, 0, 0));
}

CASE(posix_locks_errors, "fcntl") {
    int r = open("f", O_CREAT | O_RDONLY, 0600), w = open("f", O_WRONLY);
    lock(r, F_SETLK, F_WRLCK, 0, 1);
    lock(w, F_SETLK, F_RDLCK, 0, 1);
    lock(w, F_SETLK, 77, 0, 1);
    lock(w, F_SETLK, F_WRLCK, -1, 1);
    lock(w, F_SETLK, F_WRLCK, 10, -5);
    lock(w, F_SETLK, F_WRLCK, 2, -5);
    lock(99, F_SETLK, F_WRLCK, 2, 5);
    R(fcntl(w, F_SETLK, BAD));
    lock(w, F_GETLK, F_UNLCK, 0, 1);
    lock(w, F_SETLK, F_WRLCK, LONG_MAX, 0);
    lock(w, F_SETLK, F_WRLCK, LONG_MAX, 2);
}

CASE(posix_lock_wait_and_deadlock, "fcntl") {
    int fd = open("f", O_CREAT | O_RDWR, 0600), p[2];
    MUST(pipe(p));
    lock(fd, F_SETLK, F_WRLCK, 0, 1);
    pid_t c = FORK({
        lock(fd, F_SETLK, F_WRLCK, 1, 1);
        write(p[1], "r", 1);
        struct flock l = {.l_type = F_WRLCK, .l_start = 0, .l_len = 1};
        int r = fcntl(fd, F_SETLKW, &l);
        _exit(r ? 1 : 0);
    });
    char b;
    read(p[0], &b, 1);
    settle(c);
    lock(fd, F_SETLKW, F_WRLCK, 1, 1);
    lock(fd, F_SETLK, F_UNLCK, 0, 1);
    show_wait(c);
}

CASE(ofd_locks, "fcntl") {
    int a = open("f", O_CREAT | O_RDWR, 0600), b = open("f", O_RDWR), d = dup(a);
    lock(a, F_OFD_SETLK, F_WRLCK, 0, 10);
    lock(d, F_OFD_SETLK, F_WRLCK, 0, 10);
    lock(b, F_OFD_SETLK, F_WRLCK, 0, 10);
    lock(b, F_OFD_GETLK, F_WRLCK, 0, 10);
    lock(b, F_SETLK, F_WRLCK, 5, 1);
    lock(b, F_GETLK, F_WRLCK, 5, 1);
    IN_CHILD(lock(a, F_OFD_SETLK, F_RDLCK, 0, 10); close(a));
    lock(b, F_OFD_SETLK, F_RDLCK, 0, 10);
    close(a);
    lock(b, F_OFD_SETLK, F_WRLCK, 0, 10);
    close(d);
    lock(b, F_OFD_SETLK, F_WRLCK, 0, 10);
    struct flock l = {.l_type = F_WRLCK, .l_pid = 5};
    R(fcntl(b, F_OFD_SETLK, &l));
}

CASE(flock_locks, "flock") {
    int a = open("f", O_CREAT | O_RDWR, 0600), b = open("f", O_RDONLY), d = dup(a);
    R(flock(a, LOCK_SH));
    R(flock(b, LOCK_SH | LOCK_NB));
    R(flock(a, LOCK_EX | LOCK_NB));
    R(flock(b, LOCK_UN));
    R(flock(a, LOCK_EX | LOCK_NB));
    R(flock(d, LOCK_EX | LOCK_NB));
    R(flock(b, LOCK_SH | LOCK_NB));
    IN_CHILD(R(flock(a, LOCK_EX | LOCK_NB)); R(flock(b, LOCK_EX | LOCK_NB)));
    lock(b, F_SETLK, F_RDLCK, 0, 0);
    close(a);
    R(flock(b, LOCK_EX | LOCK_NB));
    close(d);
    R(flock(b, LOCK_EX | LOCK_NB));
    R(flock(b, 77));
    R(flock(b, LOCK_NB));
    R(flock(99, LOCK_EX));
    int p[2];
    MUST(pipe(p));
    R(flock(p[0], LOCK_EX | LOCK_NB));
}

CASE(flock_waits, "flock") {
    int a = open("f", O_CREAT | O_RDWR, 0600);
    R(flock(a, LOCK_EX));
    pid_t c = FORK(int b = open("f", O_RDWR); _exit(flock(b, LOCK_EX) ? 1 : 0));
    settle(c);
    say("state %c\n", proc_state(c));
    R(flock(a, LOCK_UN));
    show_wait(c);
}

CASE(pipe_size, "fcntl pipe2") {
    int p[2];
    R(pipe2(p, O_NONBLOCK | O_CLOEXEC));
    R(fcntl(p[0], F_GETPIPE_SZ));
    R(fcntl(p[0], F_SETPIPE_SZ, 5000));
    R(fcntl(p[1], F_GETPIPE_SZ));
    R(fcntl(p[1], F_SETPIPE_SZ, 0));
    char buf[9000];
    R(write(p[1], buf, 9000));
    R(fcntl(p[1], F_SETPIPE_SZ, 4096));
    R(fcntl(1, F_GETPIPE_SZ));
    R(fcntl(p[1], F_SETPIPE_SZ, -1));
    R(pipe2(p, 0x10));
    R(pipe2(BAD, 0));
    R(count_fds());
}

CASE(lease_calls, "fcntl") {
    int fd = open("f", O_CREAT | O_RDONLY, 0600);
    long r = fcntl(fd, F_SETLEASE, F_RDLCK);
    T(r == 0 || errno == EINVAL || errno == EAGAIN);
    r = fcntl(fd, F_SETLEASE, 77);
    T(r == -1);
    T(fcntl(fd, F_GETLEASE) >= 0 || errno == EINVAL);
}

CASE(owner_of_descriptor, "fcntl") {
    int p[2];
    MUST(pipe(p));
    R(fcntl(p[0], F_GETOWN));
    R(fcntl(p[0], F_SETOWN, -getpgrp()));
    T(fcntl(p[0], F_GETOWN) == -getpgrp());
    struct f_owner_ex o = {F_OWNER_TID, gettid_()};
    R(fcntl(p[0], F_SETOWN_EX, &o));
    o.pid = 0;
    R(fcntl(p[0], F_GETOWN_EX, &o));
    T(o.type == F_OWNER_TID && o.pid == gettid_());
    o.type = 9;
    R(fcntl(p[0], F_SETOWN_EX, &o));
    R(fcntl(p[0], F_SETOWN, 99999));
}

CASE(created_query, "fcntl") {
    int new = open("f", O_CREAT | O_RDWR, 0600), old = open("f", O_CREAT | O_RDWR, 0600), p[2];
    MUST(pipe(p));
    // F_CREATED_QUERY of Linux 6.12
    R(fcntl(new, 1028));
    R(fcntl(dup(new), 1028));
    R(fcntl(old, 1028));
    R(fcntl(p[0], 1028));
    R(fcntl(99, 1028));
}

CASE(asynchronous_flag_of_files_that_send_no_signals, "fcntl ioctl") {
    int fd = open("f", O_CREAT | O_RDWR, 0600), p[2], on = 1, off = 0, counter = eventfd(0, 0);
    MUST(pipe(p));
    R(fcntl(fd, F_SETFL, O_ASYNC));
    T(fcntl(fd, F_GETFL) & O_ASYNC);
    R(ioctl(fd, FIOASYNC, &on));
    R(ioctl(fd, FIOASYNC, &off));
    R(fcntl(p[0], F_SETFL, O_ASYNC));
    T(fcntl(p[0], F_GETFL) & O_ASYNC);
    R(ioctl(p[0], FIOASYNC, &off));
    T(fcntl(p[0], F_GETFL) & O_ASYNC);
    R(fcntl(counter, F_SETFL, O_ASYNC));
    T(fcntl(counter, F_GETFL) & O_ASYNC);
    R(ioctl(counter, FIOASYNC, &on));
}
