// Operations that wake a waiter, or could.
#include "measure.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char block[65536];
static int in, out, poller;
static volatile int word;

static void do_eventfd(void) {
    uint64_t v = 1;
    must(write(in, &v, 8) == 8 && read(in, &v, 8) == 8, "eventfd");
}
static void do_round_trip(void) { must(write(out, block, 1) == 1 && read(in, block, 1) == 1, "round trip"); }
static void do_epoll(void) {
    struct epoll_event e;
    must(epoll_wait(poller, &e, 1, 0) == 1, "epoll_wait");
}
static void do_send_64k(void) { must(write(out, block, sizeof block) > 0, "write"); }
static void do_wake(void) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0); }
static void on_signal(int s) { (void)s; }
static void do_signal(void) { raise(SIGUSR1); }
static void do_sendmsg(void) {
    struct iovec parts[2] = {{block, 100}, {block + 4096, 28}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    must(sendmsg(out, &m, 0) == 128 && recvmsg(in, &m, 0) == 128, "sendmsg");
}

// Gives the turn to the other thread and waits until it is given back.
static void turn(int mine) {
    __atomic_store_n(&word, mine, __ATOMIC_RELEASE);
    do_wake();
    while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == mine) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, mine, 0, 0, 0);
}
static void do_futex(void) { turn(1); }
static void *futex_partner(void *a) {
    while (word == 0) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
    while (word >= 0) turn(2);
    return a;
}
struct ends {
    int in, out;
};
static char far_block[65536];
static void *echo(void *a) {
    struct ends *e = a;
    ssize_t n;
    while ((n = read(e->in, far_block, sizeof far_block)) > 0)
        if (n == 1 && write(e->out, far_block, 1) != 1) break;
    return 0;
}
static void with_partner(int near_in, int near_out, int far_in, int far_out, void (*op)(void)) {
    static struct ends ends;
    ends = (struct ends){far_in, far_out};
    in = near_in;
    out = near_out;
    pthread_t t;
    must(!pthread_create(&t, 0, echo, &ends), "pthread_create");
    measure(op);
}

static void eventfd_(void) {
    in = eventfd(0, 0);
    must(in >= 0, "eventfd");
    measure(do_eventfd);
}
static void pipe_self(void) {
    int p[2];
    must(!pipe(p), "pipe");
    in = p[0];
    out = p[1];
    measure(do_round_trip);
}
static void epoll_(void) {
    int p[2];
    must(!pipe(p) && write(p[1], block, 1) == 1, "pipe");
    poller = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    must(!epoll_ctl(poller, EPOLL_CTL_ADD, p[0], &e), "epoll_ctl");
    measure(do_epoll);
}
static void pipe_threads(void) {
    int p[2], q[2];
    must(!pipe(p) && !pipe(q), "pipe");
    with_partner(q[0], p[1], p[0], q[1], do_round_trip);
}
static void futex_threads(void) {
    pthread_t t;
    must(!pthread_create(&t, 0, futex_partner, 0), "pthread_create");
    measure(do_futex);
}
static void wake_(void) { measure(do_wake); }
static void signal_(void) {
    signal(SIGUSR1, on_signal);
    measure(do_signal);
}
static void unix_threads(void) {
    int p[2];
    must(!socketpair(AF_UNIX, SOCK_STREAM, 0, p), "socketpair");
    with_partner(p[0], p[0], p[1], p[1], do_round_trip);
}
static void sendmsg_(void) {
    int p[2];
    must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, p), "socketpair");
    in = p[0];
    out = p[1];
    measure(do_sendmsg);
}
static void tcp(void (*op)(void)) {
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    must(!bind(l, (void *)&a, n) && !listen(l, 1) && !getsockname(l, (void *)&a, &n), "listen");
    must(!connect(c, (void *)&a, n), "connect");
    int d = accept(l, 0, 0);
    must(d >= 0, "accept");
    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(d, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    with_partner(c, c, d, d, op);
}
static void tcp_threads(void) { tcp(do_round_trip); }
static void tcp_send(void) { tcp(do_send_64k); }

const struct item WAIT_ITEMS[] = {
    {"eventfd_rw_pair", eventfd_},       {"pipe_rw_self", pipe_self},      {"epoll_wait_ready", epoll_},
    {"pipe_pingpong_thr", pipe_threads}, {"futex_pingpong", futex_threads}, {"futex_wake_none", wake_},
    {"signal_self", signal_},            {"unix_pingpong", unix_threads},  {"sendmsg_recvmsg", sendmsg_},
    {"tcp_lo_pingpong", tcp_threads},    {"tcp_lo_send_64k", tcp_send},    {0, 0},
};
