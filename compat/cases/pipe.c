// Pipes, FIFOs, eventfds, and waiting on many descriptors.
#include "case.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#define FAMILY "poll"

CASE(pipe_basics, "pipe read write") {
    int p[2];
    char b[8] = {0};
    R(pipe(p));
    R(write(p[1], "hello", 5));
    R(read(p[0], b, 3));
    R(read(p[0], b, 8));
    R(write(p[1], "", 0));
    int n = 9;
    write(p[1], "abc", 3);
    R(ioctl(p[0], FIONREAD, &n));
    R(n);
    close(p[1]);
    R(read(p[0], b, 8));
    R(read(p[0], b, 8));
}

CASE(pipe_nonblocking, "pipe2 read write") {
    int p[2];
    static char big[200000];
    char b[8];
    MUST(pipe2(p, O_NONBLOCK));
    R(read(p[0], b, 8));
    R(write(p[1], big, 200000));
    R(write(p[1], big, 1));
    R(read(p[0], big, 4095));
    R(write(p[1], big, 4096));
    R(read(p[0], big, 1));
    R(write(p[1], big, 4096));
    R(write(p[1], big, 5000));
}

CASE(pipe_atomic_writes, "write pipe") {
    int p[2];
    MUST(pipe(p));
    pid_t w[3];
    for (int i = 0; i < 3; i++) w[i] = FORK({
        char line[100];
        memset(line, 'a' + i, 100);
        for (int k = 0; k < 200; k++) write(p[1], line, 100);
    });
    close(p[1]);
    char line[100];
    int torn = 0, lines = 0;
    for (;;) {
        size_t got = 0;
        ssize_t n;
        while (got < 100 && (n = read(p[0], line + got, 100 - got)) > 0) got += n;
        if (got < 100) break;
        lines++;
        for (int i = 1; i < 100; i++)
            if (line[i] != line[0]) torn = 1;
    }
    say("%d lines torn %d\n", lines, torn);
    for (int i = 0; i < 3; i++) show_wait(w[i]);
}

CASE(pipe_packet_mode, "pipe2 read write") {
    int p[2];
    char b[8];
    R(pipe2(p, O_DIRECT));
    write(p[1], "one", 3);
    write(p[1], "two", 3);
    R(read(p[0], b, 8));
    R(read(p[0], b, 1));
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    R(read(p[0], b, 8));
}

CASE(fifo_open_rules, "mknod openat") {
    MUST(mkfifo("p", 0600));
    R(open("p", O_WRONLY | O_NONBLOCK));
    int r = OK(open("p", O_RDONLY | O_NONBLOCK));
    int w = OK(open("p", O_WRONLY | O_NONBLOCK));
    char b[4];
    R(read(r, b, 4));
    R(write(w, "x", 1));
    R(read(r, b, 4));
    close(w);
    R(read(r, b, 4));
    close(r);
    int rw = OK(open("p", O_RDWR));
    R(write(rw, "q", 1));
    R(read(rw, b, 4));
    close(rw);
    pid_t c = FORK(int f = open("p", O_WRONLY); write(f, "hi", 2));
    int f = open("p", O_RDONLY);
    R(read(f, b, 4));
    show_wait(c);
}

static void show_poll(int fd, short want) {
    struct pollfd p = {fd, want, 0};
    int r = poll(&p, 1, 0);
    say("poll %d:%s%s%s%s%s%s%s\n", r, p.revents & POLLIN ? " in" : "", p.revents & POLLOUT ? " out" : "",
        p.revents & POLLERR ? " err" : "", p.revents & POLLHUP ? " hup" : "", p.revents & POLLNVAL ? " nval" : "",
        p.revents & POLLRDHUP ? " rdhup" : "", p.revents & POLLPRI ? " pri" : "");
}

CASE(poll_pipe_states, "poll") {
    int p[2];
    char big[70000];
    MUST(pipe2(p, O_NONBLOCK));
    show_poll(p[0], POLLIN);
    show_poll(p[1], POLLOUT);
    write(p[1], big, 65536);
    show_poll(p[0], POLLIN | POLLOUT);
    show_poll(p[1], POLLOUT);
    read(p[0], big, 4096);
    show_poll(p[1], POLLOUT);
    close(p[1]);
    show_poll(p[0], POLLIN);
    read(p[0], big, 70000);
    show_poll(p[0], POLLIN);
    MUST(pipe(p));
    close(p[0]);
    show_poll(p[1], POLLOUT);
    show_poll(99, POLLIN);
    show_poll(-1, POLLIN);
    int f = open("f", O_CREAT | O_RDWR, 0600);
    show_poll(f, POLLIN | POLLOUT);
    show_poll(f, 0);
    show_poll(open("/dev/null", O_RDWR), POLLIN | POLLOUT);
}

CASE(poll_errors, "poll ppoll select pselect6") {
    R(poll(BAD, 1, 0));
    R(poll(0, 0, 0));
    R(poll(0, 1 << 30, 0));
    R(syscall(SYS_select, -1, 0, 0, 0, 0));
    fd_set s;
    FD_ZERO(&s);
    FD_SET(77, &s);
    struct timeval tv = {0, 0};
    R(select(78, &s, 0, 0, &tv));
    R(syscall(SYS_select, 10, BAD, 0, 0, &tv));
    R(syscall(SYS_select, 10, 0, 0, 0, BAD));
    R(syscall(SYS_ppoll, 0, 0, BAD, 0, 8));
    sigset_t m;
    sigemptyset(&m);
    R(syscall(SYS_ppoll, 0, 0, &(struct timespec){0, 0}, &m, 4));
}

CASE(select_results, "select pselect6") {
    int p[2];
    MUST(pipe(p));
    fd_set r, w;
    struct timeval tv = {0, 0};
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_SET(p[0], &r);
    FD_SET(p[1], &w);
    R(select(p[1] + 1, &r, &w, 0, &tv));
    say("%d %d\n", !!FD_ISSET(p[0], &r), !!FD_ISSET(p[1], &w));
    write(p[1], "x", 1);
    FD_SET(p[0], &r);
    fd_set x = r;
    R(select(p[1] + 1, &r, &w, &x, &tv));
    FD_SET(p[0], &r);
    R(select(p[0], &r, 0, 0, &tv));
    struct timespec ts = {0, 0};
    FD_SET(p[0], &r);
    R(pselect(p[0] + 1, &r, 0, 0, &ts, 0));
}

CASE(poll_wakes_on_event, "poll") {
    int p[2];
    MUST(pipe(p));
    pid_t me = getpid(), c = FORK(settle(me); write(p[1], "x", 1));
    struct pollfd f = {p[0], POLLIN, 0};
    R(poll(&f, 1, 5000));
    show_wait(c);
    c = FORK(close(p[0]); settle(me); read(-1, 0, 0));
    close(p[1]);
    char b;
    read(p[0], &b, 1);
    R(poll(&f, 1, 5000));
    say("%x\n", f.revents);
    show_wait(c);
}

static int ep(void) { return MUST(epoll_create1(0)); }
static long add(int e, int fd, unsigned events) {
    struct epoll_event ev = {.events = events, .data.u64 = fd};
    return epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev);
}
static void show_events(int e, int timeout) {
    struct epoll_event ev[8];
    int n = epoll_wait(e, ev, 8, timeout);
    say("events %d:", n);
    unsigned all = 0;
    for (int i = 0; i < n; i++) all |= ev[i].events;
    say("%s%s%s%s%s\n", all & EPOLLIN ? " in" : "", all & EPOLLOUT ? " out" : "", all & EPOLLHUP ? " hup" : "",
        all & EPOLLERR ? " err" : "", all & EPOLLRDHUP ? " rdhup" : "");
}

CASE(epoll_level_and_edge, "epoll_ctl epoll_wait epoll_create1") {
    int p[2], e = ep(), f = ep();
    char b[4];
    MUST(pipe(p));
    R(add(e, p[0], EPOLLIN));
    R(add(f, p[0], EPOLLIN | EPOLLET));
    show_events(e, 0);
    write(p[1], "ab", 2);
    show_events(e, 0);
    show_events(e, 0);
    show_events(f, 0);
    show_events(f, 0);
    write(p[1], "c", 1);
    show_events(f, 0);
    read(p[0], b, 1);
    show_events(f, 0);
    show_events(e, 0);
    close(p[1]);
    show_events(f, 0);
    show_events(e, 0);
}

CASE(epoll_oneshot_and_modify, "epoll_ctl epoll_wait") {
    int p[2], e = ep();
    MUST(pipe(p));
    write(p[1], "x", 1);
    R(add(e, p[0], EPOLLIN | EPOLLONESHOT));
    show_events(e, 0);
    show_events(e, 0);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT};
    R(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev));
    show_events(e, 0);
    ev.events = 0;
    R(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev));
    show_events(e, 0);
    close(p[1]);
    show_events(e, 0);
    R(epoll_ctl(e, EPOLL_CTL_DEL, p[0], 0));
    show_events(e, 0);
}

CASE(epoll_errors, "epoll_ctl epoll_create epoll_create1 epoll_wait") {
    int p[2], e = ep();
    struct epoll_event ev = {.events = EPOLLIN};
    MUST(pipe(p));
    R(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    R(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
    R(epoll_ctl(e, EPOLL_CTL_MOD, p[1], &ev));
    R(epoll_ctl(e, EPOLL_CTL_DEL, p[1], &ev));
    R(epoll_ctl(e, EPOLL_CTL_ADD, e, &ev));
    R(epoll_ctl(e, EPOLL_CTL_ADD, 99, &ev));
    R(epoll_ctl(99, EPOLL_CTL_ADD, p[1], &ev));
    R(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &ev));
    R(epoll_ctl(e, 77, p[1], &ev));
    R(epoll_ctl(e, EPOLL_CTL_ADD, p[1], BAD));
    R(epoll_ctl(e, EPOLL_CTL_ADD, open("f", O_CREAT | O_RDWR, 0600), &ev));
    R(epoll_ctl(e, EPOLL_CTL_ADD, open(".", O_RDONLY), &ev));
    R(epoll_wait(e, &ev, 0, 0));
    R(epoll_wait(e, &ev, -1, 0));
    R(epoll_wait(p[0], &ev, 1, 0));
    R(epoll_wait(99, &ev, 1, 0));
    write(p[1], "x", 1);
    R(epoll_wait(e, BAD, 1, 0));
    R(epoll_create(0));
    OK(epoll_create(5));
    R(epoll_create1(0x10));
    R(read(e, &ev, 8));
    R(fcntl(epoll_create1(EPOLL_CLOEXEC), F_GETFD));
}

CASE(epoll_nested, "epoll_ctl epoll_wait poll") {
    int p[2], inner = ep(), outer = ep();
    MUST(pipe(p));
    R(add(inner, p[0], EPOLLIN));
    R(add(outer, inner, EPOLLIN));
    show_events(outer, 0);
    show_poll(outer, POLLIN);
    write(p[1], "x", 1);
    show_events(outer, 0);
    show_poll(outer, POLLIN);
    show_poll(inner, POLLIN);
    R(add(inner, outer, EPOLLIN));
    int chain = outer;
    for (int i = 0; i < 6; i++) {
        int next = ep();
        long r = add(next, chain, EPOLLIN);
        say("depth %d %s\n", i + 2, r ? err_name(errno) : "ok");
        chain = next;
    }
}

CASE(epoll_closed_and_duplicated, "epoll_ctl close dup") {
    int p[2], e = ep();
    MUST(pipe(p));
    write(p[1], "x", 1);
    R(add(e, p[0], EPOLLIN));
    int d = dup(p[0]);
    close(p[0]);
    show_events(e, 0);
    R(add(e, d, EPOLLIN));
    struct epoll_event ev[4];
    R(epoll_wait(e, ev, 4, 0));
    close(d);
    show_events(e, 0);
}

CASE(epoll_exclusive, "epoll_ctl") {
    int p[2], e = ep();
    MUST(pipe(p));
    R(add(e, p[0], EPOLLIN | EPOLLEXCLUSIVE));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    R(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev));
    R(add(e, p[1], EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT));
    R(add(e, ep(), EPOLLIN | EPOLLEXCLUSIVE));
    write(p[1], "x", 1);
    show_events(e, 0);
}

CASE(epoll_wait_wakes, "epoll_wait epoll_pwait2") {
    int p[2], e = ep();
    MUST(pipe(p));
    add(e, p[0], EPOLLIN);
    pid_t me = getpid(), c = FORK(settle(me); write(p[1], "x", 1));
    show_events(e, 5000);
    show_wait(c);
    struct epoll_event ev;
    struct timespec ts = {0, 1000000}, bad = {0, -1};
    char b;
    read(p[0], &b, 1);
    R(syscall(SYS_epoll_pwait2, e, &ev, 1, &ts, 0, 8));
    R(syscall(SYS_epoll_pwait2, e, &ev, 1, &bad, 0, 8));
}

CASE(epoll_max_events_rotates, "epoll_wait") {
    int e = ep(), seen[3] = {0}, fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = eventfd(1, 0);
        add(e, fds[i], EPOLLIN);
    }
    for (int k = 0; k < 6; k++) {
        struct epoll_event ev;
        if (epoll_wait(e, &ev, 1, 0) == 1)
            for (int i = 0; i < 3; i++)
                if ((int)ev.data.u64 == fds[i]) seen[i]++;
    }
    say("%d %d %d\n", seen[0], seen[1], seen[2]);
}

CASE(eventfd_counter, "eventfd2 eventfd read write poll") {
    uint64_t v = 5;
    int fd = OK(eventfd(3, EFD_NONBLOCK));
    show_poll(fd, POLLIN | POLLOUT);
    R(write(fd, &v, 8));
    R(read(fd, &v, 8));
    R(v);
    R(read(fd, &v, 8));
    show_poll(fd, POLLIN | POLLOUT);
    v = ~0ul - 1;
    R(write(fd, &v, 8));
    show_poll(fd, POLLIN | POLLOUT);
    v = 1;
    R(write(fd, &v, 8));
    v = ~0ul;
    R(write(fd, &v, 8));
    R(write(fd, &v, 4));
    R(read(fd, &v, 4));
    R(read(fd, BAD, 8));
    int s = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    for (int i = 0; i < 4; i++) R(read(s, &v, 8));
    R(eventfd(0, 0x100));
    OK(syscall(SYS_eventfd, 4));
    R(lseek(s, 0, SEEK_SET));
}

CASE(eventfd_blocks, "eventfd2 read write") {
    int fd = eventfd(0, 0);
    pid_t me = getpid(), c = FORK(settle(me); uint64_t one = 7; write(fd, &one, 8));
    uint64_t v;
    R(read(fd, &v, 8));
    R(v);
    show_wait(c);
}

static void show_notes(int fd) {
    char b[4096] __attribute__((aligned(8)));
    ssize_t n = read(fd, b, sizeof b);
    if (n < 0) {
        say("notes: %s\n", err_name(errno));
        return;
    }
    for (char *p = b; p < b + n;) {
        struct inotify_event *e = (void *)p;
        say("note wd %d mask %x%s %s\n", e->wd, e->mask, e->cookie ? " cookie" : "", e->len ? e->name : "");
        p += sizeof *e + e->len;
    }
}

CASE(inotify_directory, "inotify_init1 inotify_add_watch inotify_rm_watch") {
    MUST(mkdir("d", 0755) | mkdir("o", 0755));
    int fd = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    R(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    show_notes(fd);
    close(open("d/f", O_CREAT | O_WRONLY, 0600));
    show_notes(fd);
    int w = open("d/f", O_RDWR);
    write(w, "x", 1);
    char b;
    pread(w, &b, 1, 0);
    close(w);
    show_notes(fd);
    chmod("d/f", 0644);
    rename("d/f", "d/g");
    rename("d/g", "o/g");
    show_notes(fd);
    mkdir("d/s", 0755);
    rmdir("d/s");
    rename("o/g", "d/h");
    unlink("d/h");
    show_notes(fd);
    rmdir("d");
    show_notes(fd);
    R(inotify_rm_watch(fd, 1));
}

CASE(inotify_file, "inotify_add_watch inotify_rm_watch inotify_init") {
    put("f", "x");
    int fd = inotify_init1(IN_NONBLOCK);
    R(inotify_add_watch(fd, "f", IN_MODIFY));
    R(inotify_add_watch(fd, "f", IN_ATTRIB | IN_MASK_ADD));
    R(inotify_add_watch(fd, "f", IN_ATTRIB | IN_MASK_CREATE));
    show_poll(fd, POLLIN);
    truncate("f", 0);
    chmod("f", 0600);
    int n = 0;
    show_poll(fd, POLLIN);
    R(ioctl(fd, FIONREAD, &n));
    R(n);
    char b[8];
    R(read(fd, b, 8));
    show_notes(fd);
    R(inotify_rm_watch(fd, 1));
    show_notes(fd);
    R(inotify_add_watch(fd, "f", IN_DELETE_SELF | IN_ONESHOT | IN_ATTRIB));
    unlink("f");
    show_notes(fd);
    R(inotify_add_watch(fd, "none", IN_MODIFY));
    R(inotify_add_watch(fd, ".", 0));
    R(inotify_add_watch(99, ".", IN_MODIFY));
    R(inotify_add_watch(1, ".", IN_MODIFY));
    put("g", "");
    R(inotify_add_watch(fd, "g", IN_MODIFY | IN_ONLYDIR));
    R(inotify_rm_watch(fd, 99));
    R(inotify_init1(0x10));
    OK(syscall(SYS_inotify_init));
}

CASE(epoll_ioctls, "ioctl") {
    int e = epoll_create1(0), v = 0;
    R(ioctl(e, FIONREAD, &v));
    R(ioctl(e, 0x5401, &v));
}
