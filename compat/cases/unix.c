// Unix sockets: all types, addresses, ancillary data.
#include "case.h"
#include <sys/un.h>
#define FAMILY "socket"

static struct sockaddr_un addr_of(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    return a;
}
#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)
static int pair(int type, int sv[2]) {
    if (socketpair(AF_UNIX, type, 0, sv)) give_up("socketpair", errno);
    return 0;
}
static int listener(const char *path, int type) {
    int s = MUST(socket(AF_UNIX, type, 0));
    struct sockaddr_un a = addr_of(path);
    MUST(bind(s, ADDR(a)));
    MUST(listen(s, 5));
    return s;
}
static int connected(const char *path, int type) {
    int s = MUST(socket(AF_UNIX, type, 0));
    struct sockaddr_un a = addr_of(path);
    MUST(connect(s, ADDR(a)));
    return s;
}

CASE(socketpair_kinds, "socketpair socket") {
    int sv[2];
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    R(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv));
    R(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv));
    R(fcntl(sv[0], F_GETFD));
    T(fcntl(sv[0], F_GETFL) & O_NONBLOCK);
    R(socketpair(AF_UNIX, SOCK_RDM, 0, sv));
    R(socketpair(AF_UNIX, 77, 0, sv));
    R(socketpair(AF_UNIX, SOCK_STREAM, 5, sv));
    R(socketpair(AF_INET, SOCK_STREAM, 0, sv));
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD));
    R(socket(77, SOCK_STREAM, 0));
    R(socket(-1, SOCK_STREAM, 0));
    R(socket(AF_UNIX, 0, 0));
}

CASE(unix_stream_data, "sendto recvfrom shutdown read write") {
    int sv[2];
    char b[16] = {0};
    pair(SOCK_STREAM, sv);
    R(send(sv[0], "hello", 5, 0));
    R(write(sv[0], " world", 6));
    R(recv(sv[1], b, 3, MSG_PEEK));
    R(recv(sv[1], b, 16, 0));
    show_bytes("b", b, 11);
    R(recv(sv[1], b, 16, MSG_DONTWAIT));
    R(send(sv[0], "12", 2, MSG_OOB | MSG_DONTWAIT) >= -1);
    recv(sv[1], b, 16, MSG_DONTWAIT);
    R(shutdown(sv[0], SHUT_WR));
    R(recv(sv[1], b, 16, 0));
    R(send(sv[0], "x", 1, MSG_NOSIGNAL));
    R(send(sv[1], "back", 4, 0));
    R(recv(sv[0], b, 16, 0));
    close(sv[1]);
    R(recv(sv[0], b, 16, 0));
    R(shutdown(sv[0], 9));
    R(shutdown(1, SHUT_RD));
    R(shutdown(99, SHUT_RD));
}

CASE(unix_stream_reset, "recvfrom close") {
    int sv[2];
    char b[4];
    pair(SOCK_STREAM, sv);
    write(sv[0], "unread", 6);
    close(sv[1]);
    R(recv(sv[0], b, 4, 0));
    R(recv(sv[0], b, 4, 0));
    R(send(sv[0], "x", 1, MSG_NOSIGNAL));
}

CASE(unix_dgram_boundaries, "sendto recvfrom recvmsg") {
    int sv[2];
    char b[16] = {0};
    pair(SOCK_DGRAM, sv);
    R(send(sv[0], "first", 5, 0));
    R(send(sv[0], "", 0, 0));
    R(send(sv[0], "third message", 13, 0));
    R(recv(sv[1], b, 3, 0));
    R(recv(sv[1], b, 16, 0));
    R(recv(sv[1], b, 4, MSG_PEEK | MSG_TRUNC));
    struct iovec v = {b, 4};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    R(recvmsg(sv[1], &m, 0));
    say("flags %x\n", m.msg_flags & (MSG_TRUNC | MSG_EOR));
    R(recv(sv[1], b, 4, MSG_DONTWAIT));
    static char big[1 << 20];
    R(send(sv[0], big, sizeof big, 0));
    close(sv[1]);
    R(send(sv[0], "x", 1, 0));
}

CASE(unix_seqpacket, "sendto recvfrom recvmsg") {
    int sv[2];
    char b[16];
    pair(SOCK_SEQPACKET, sv);
    R(send(sv[0], "one", 3, 0));
    R(send(sv[0], "two", 3, 0));
    struct iovec v = {b, 16};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    R(recvmsg(sv[1], &m, 0));
    R(recv(sv[1], b, 2, 0));
    close(sv[0]);
    R(recv(sv[1], b, 16, 0));
    R(send(sv[1], "x", 1, MSG_NOSIGNAL));
}

CASE(unix_listen_connect_accept, "bind listen connect accept accept4 getsockname getpeername") {
    int l = listener("s", SOCK_STREAM);
    show_stat("s");
    struct sockaddr_un a;
    socklen_t n = sizeof a;
    int c = connected("s", SOCK_STREAM);
    memset(&a, 0, sizeof a);
    int d = OK(accept4(l, (void *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK));
    say("peer %d family %d\n", n, a.sun_family);
    R(fcntl(d, F_GETFD));
    n = sizeof a;
    R(getpeername(c, (void *)&a, &n));
    say("%d %s\n", n, a.sun_path);
    n = sizeof a;
    R(getsockname(d, (void *)&a, &n));
    say("%d %s\n", n, a.sun_path);
    n = sizeof a;
    R(getsockname(c, (void *)&a, &n));
    say("%d\n", n);
    n = 4;
    R(getsockname(d, (void *)&a, &n));
    say("%d\n", n);
    R(getpeername(l, (void *)&a, &n));
    R(accept4(l, 0, 0, 0x10));
    fcntl(l, F_SETFL, O_NONBLOCK);
    R(accept(l, 0, 0));
    R(accept(c, 0, 0));
    R(accept(1, 0, 0));
    R(listen(c, 1));
    R(write(c, "x", 1));
    char b;
    R(read(d, &b, 1));
}

CASE(unix_address_errors, "bind connect") {
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = addr_of("s");
    put("file", "");
    MUST(mkdir("dir", 0755));
    R(bind(s, (void *)&a, 1));
    R(bind(s, (void *)&a, 200));
    R(bind(s, BAD, sizeof a));
    struct sockaddr_un f = addr_of("file"), dir = addr_of("no/such"), d2 = addr_of("dir");
    R(bind(s, ADDR(f)));
    R(bind(s, ADDR(dir)));
    R(connect(s, ADDR(f)));
    R(connect(s, ADDR(dir)));
    R(connect(s, ADDR(d2)));
    R(bind(s, ADDR(a)));
    R(bind(s, ADDR(a)));
    int t = socket(AF_UNIX, SOCK_STREAM, 0);
    R(bind(t, ADDR(a)));
    R(connect(t, ADDR(a)));
    R(listen(t, 1));
    int dg = socket(AF_UNIX, SOCK_DGRAM, 0);
    R(listen(s, 1));
    R(connect(dg, ADDR(a)));
    R(send(t, "x", 1, MSG_NOSIGNAL));
    R(recv(t, &a, 1, 0));
    close(s);
    R(connect(t, ADDR(a)));
    a.sun_family = AF_INET;
    R(connect(t, ADDR(a)));
    IN_CHILD({
        drop_to(1000, 1000);
        int u = socket(AF_UNIX, SOCK_STREAM, 0);
        struct sockaddr_un x = addr_of("s");
        R(connect(u, ADDR(x)));
    });
}

CASE(unix_abstract_names, "bind connect getsockname") {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int len = snprintf(a.sun_path + 1, 100, "case-%d", getpid()) + 3;
    int s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_UNIX, SOCK_STREAM, 0);
    R(bind(s, (void *)&a, len));
    R(bind(t, (void *)&a, len));
    R(listen(s, 1));
    R(connect(t, (void *)&a, len - 1));
    R(connect(t, (void *)&a, len));
    OK(accept(s, 0, 0));
    show_dir(".");
    int u = socket(AF_UNIX, SOCK_DGRAM, 0);
    a.sun_family = AF_UNIX;
    R(bind(u, (void *)&a, 2));
    socklen_t n = sizeof a;
    R(getsockname(u, (void *)&a, &n));
    say("%d %d\n", n, a.sun_path[0]);
}

CASE(unix_backlog_nonblocking, "listen connect") {
    listener("s", SOCK_STREAM);
    struct sockaddr_un a = addr_of("s");
    int refused = 0, ok = 0, other = 0;
    for (int i = 0; i < 12; i++) {
        int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int r = connect(c, ADDR(a));
        if (!r) ok++;
        else if (errno == EAGAIN) refused++;
        else other++;
    }
    say("%d %d %d\n", ok, refused, other);
}

CASE(unix_dgram_addresses, "sendto recvfrom connect") {
    int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un x = addr_of("a"), y = addr_of("b"), from;
    MUST(bind(a, ADDR(x)) | bind(b, ADDR(y)));
    R(sendto(b, "to a", 4, 0, ADDR(x)));
    char buf[8] = {0};
    socklen_t n = sizeof from;
    R(recvfrom(a, buf, 8, 0, (void *)&from, &n));
    say("%s from %s\n", buf, from.sun_path);
    R(send(b, "x", 1, 0));
    R(connect(b, ADDR(x)));
    R(send(b, "x", 1, 0));
    int c = socket(AF_UNIX, SOCK_DGRAM, 0);
    R(connect(a, ADDR(y)));
    R(sendto(c, "x", 1, 0, ADDR(x)));
    struct sockaddr_un none = {.sun_family = AF_UNSPEC};
    R(connect(a, (void *)&none, sizeof none));
    R(sendto(c, "x", 1, 0, ADDR(x)));
    close(a);
    R(send(b, "x", 1, 0));
}

struct control {
    char buf[CMSG_SPACE(sizeof(int) * 4)] __attribute__((aligned(8)));
};
static long send_fds(int s, int *fds, int n, const char *text) {
    struct control c;
    struct iovec v = {(void *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(h), fds, sizeof(int) * n);
    return sendmsg(s, &m, 0);
}
static int recv_fds(int s, int *fds, size_t space, int flags) {
    struct control c;
    char buf[32];
    struct iovec v = {buf, sizeof buf};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = space};
    long r = recvmsg(s, &m, flags);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    int n = h && h->cmsg_type == SCM_RIGHTS ? (h->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
    if (n) memcpy(fds, CMSG_DATA(h), n * sizeof(int));
    say("recvmsg %ld fds %d flags %x controllen %zu\n", r, n, m.msg_flags & ~MSG_CMSG_CLOEXEC, m.msg_controllen);
    return n;
}

CASE(pass_descriptors, "sendmsg recvmsg") {
    int sv[2], fds[4], p[2];
    pair(SOCK_STREAM, sv);
    put("f", "passed");
    int f = open("f", O_RDONLY);
    MUST(pipe(p));
    R(send_fds(sv[0], (int[]){f, p[1]}, 2, "two"));
    close(f);
    if (recv_fds(sv[1], fds, sizeof(struct control), MSG_CMSG_CLOEXEC) == 2) {
        show_fd(fds[0]);
        R(fcntl(fds[0], F_GETFD));
        R(write(fds[1], "x", 1));
    }
    R(send_fds(sv[0], (int[]){p[0], p[1]}, 2, "cut"));
    recv_fds(sv[1], fds, CMSG_SPACE(sizeof(int)), 0);
    R(send_fds(sv[0], (int[]){p[0]}, 1, "none"));
    recv_fds(sv[1], fds, 0, 0);
    R(send_fds(sv[0], (int[]){99}, 1, "bad"));
    R(send_fds(sv[0], (int[]){sv[1]}, 1, "cycle"));
    close(sv[0]);
    close(sv[1]);
    R(count_fds());
}

CASE(pass_descriptors_stop_at_message, "sendmsg recvmsg") {
    int sv[2], fds[4], n = open("/dev/null", O_RDONLY);
    pair(SOCK_STREAM, sv);
    write(sv[0], "plain", 5);
    send_fds(sv[0], &n, 1, "first");
    send_fds(sv[0], &n, 1, "second");
    recv_fds(sv[1], fds, sizeof(struct control), 0);
    recv_fds(sv[1], fds, sizeof(struct control), 0);
    recv_fds(sv[1], fds, sizeof(struct control), MSG_DONTWAIT);
    char b[8];
    send_fds(sv[0], &n, 1, "dropped by read");
    R(read(sv[1], b, 8));
    R(count_fds());
}

CASE(pass_descriptor_to_child, "sendmsg recvmsg fork") {
    int sv[2];
    pair(SOCK_SEQPACKET, sv);
    pid_t c = FORK(int fds[4]; close(sv[0]); recv_fds(sv[1], fds, sizeof(struct control), 0); write(fds[0], "by child", 8));
    close(sv[1]);
    int f = open("f", O_CREAT | O_RDWR, 0600);
    // The child prints from here on.
    long sent = send_fds(sv[0], &f, 1, "go");
    show_wait(c);
    R(sent);
    show_fd(f);
}

CASE(credentials_of_peer, "getsockopt setsockopt recvmsg") {
    int sv[2], on = 1;
    pair(SOCK_STREAM, sv);
    struct ucred u;
    socklen_t n = sizeof u;
    R(getsockopt(sv[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
    say("pid %d uid %d gid %d len %d\n", u.pid == getpid(), u.uid, u.gid, n);
    R(setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    show_wait(FORK(drop_to(1000, 1000); write(sv[0], "x", 1)));
    char cb[128] __attribute__((aligned(8))), b[8];
    struct iovec v = {b, 8};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = sizeof cb};
    R(recvmsg(sv[1], &m, 0));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h) {
        memcpy(&u, CMSG_DATA(h), sizeof u);
        say("type %d uid %d gid %d\n", h->cmsg_type, u.uid, u.gid);
    }
}

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif

// Says which process a pidfd stands for.
static void show_pidfd(int fd, pid_t child) {
    char name[64], b[1024] = "", *at;
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    int f = MUST(open(name, O_RDONLY));
    MUST(read(f, b, sizeof b - 1));
    close(f);
    long pid = (at = strstr(b, "\nPid:")) ? atol(at + 5) : -2;
    say("of %s%s\n", pid == getpid() ? "me" : pid == child ? "child" : "another",
        fcntl(fd, F_GETFD) & FD_CLOEXEC ? ", cloexec" : "");
}

// Receives a byte and shows its control messages.
static void show_senders(int fd, size_t room, int flags, pid_t child) {
    char cb[256] __attribute__((aligned(8))), b[8];
    struct iovec v = {b, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = room};
    R(recvmsg(fd, &m, flags));
    say("%s\n", m.msg_flags & MSG_CTRUNC ? "cut" : "whole");
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        say("type %d len %zu\n", h->cmsg_type, (size_t)h->cmsg_len);
        if (h->cmsg_type != 4) continue;
        int pidfd;
        memcpy(&pidfd, CMSG_DATA(h), sizeof pidfd);
        show_pidfd(pidfd, child);
        close(pidfd);
    }
}

CASE(pidfds_of_senders_and_peers, "setsockopt getsockopt recvmsg pidfd_open") {
    int on = 1, kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 3; i++) {
        int sv[2], fd = -1, got = -1;
        pair(kinds[i], sv);
        socklen_t n = sizeof got;
        R(getsockopt(sv[1], SOL_SOCKET, SO_PASSPIDFD, &got, &n));
        R(setsockopt(sv[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on));
        R(getsockopt(sv[1], SOL_SOCKET, SO_PASSPIDFD, &got, &n));
        say("%d\n", got);
        MUST(write(sv[0], "a", 1)), MUST(write(sv[0], "b", 1)), MUST(write(sv[0], "c", 1)), MUST(write(sv[0], "d", 1));
        show_senders(sv[1], 256, MSG_PEEK, 0);
        show_senders(sv[1], CMSG_LEN(sizeof(int)), 0, 0);
        show_senders(sv[1], CMSG_LEN(sizeof(int)) - 1, 0, 0);
        show_senders(sv[1], 0, 0, 0);
        R(setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
        show_senders(sv[1], 256, 0, 0);
        // One that lives while its message is read.
        int go[2];
        MUST(pipe(go));
        pid_t c = FORK(char x; write(sv[0], "x", 1); close(go[1]); read(go[0], &x, 1));
        show_senders(sv[1], 256, 0, c);
        close(go[1]);
        show_wait(c);
        n = sizeof fd;
        R(getsockopt(sv[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &n) ? -1 : 0);
        if (fd >= 0) say("len %d ", n), show_pidfd(fd, 0), close(fd);
        n = sizeof fd;
        R(getsockopt(sv[0], SOL_SOCKET, SO_PEERPIDFD, BAD, &n));
    }
    int before = count_fds(), s = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_UNIX, SOCK_STREAM, 0), fd;
    socklen_t n = sizeof fd;
    R(setsockopt(s, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on));
    R(getsockopt(s, SOL_SOCKET, SO_PASSPIDFD, &fd, &n));
    R(getsockopt(s, SOL_SOCKET, SO_PEERPIDFD, &fd, &n));
    R(getsockopt(u, SOL_SOCKET, SO_PEERPIDFD, &fd, &n));
    R(setsockopt(u, SOL_SOCKET, SO_PEERPIDFD, &on, sizeof on));
    R(count_fds() - before);
}

CASE(credentials_forged, "sendmsg") {
    int sv[2];
    pair(SOCK_DGRAM, sv);
    char cb[CMSG_SPACE(sizeof(struct ucred))] __attribute__((aligned(8)));
    struct iovec v = {"x", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = sizeof cb};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS};
    struct ucred u = {getpid(), 5, 5};
    memcpy(CMSG_DATA(h), &u, sizeof u);
    R(sendmsg(sv[0], &m, 0));
    IN_CHILD(drop_to(1000, 1000); R(sendmsg(sv[0], &m, 0)));
    h->cmsg_len = 3;
    R(sendmsg(sv[0], &m, 0));
    h->cmsg_len = 1000;
    R(sendmsg(sv[0], &m, 0));
}

CASE(message_vectors, "sendmmsg recvmmsg") {
    int sv[2];
    pair(SOCK_DGRAM, sv);
    struct iovec v[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
    struct mmsghdr m[3] = {0}, r[4] = {0};
    for (int i = 0; i < 3; i++) m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
    R(sendmmsg(sv[0], m, 3, 0));
    say("%u %u %u\n", m[0].msg_len, m[1].msg_len, m[2].msg_len);
    char b[4][8];
    struct iovec w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (struct iovec){b[i], 8};
        r[i].msg_hdr = (struct msghdr){.msg_iov = &w[i], .msg_iovlen = 1};
    }
    R(recvmmsg(sv[1], r, 4, MSG_DONTWAIT, 0));
    say("%u %u %u\n", r[0].msg_len, r[1].msg_len, r[2].msg_len);
    R(recvmmsg(sv[1], r, 4, MSG_DONTWAIT, 0));
    R(sendmmsg(sv[0], BAD, 1, 0));
    R(recvmmsg(sv[1], r, 1, MSG_WAITFORONE, &(struct timespec){0, -1}));
}

CASE(message_errors, "sendmsg recvmsg sendto recvfrom") {
    int sv[2];
    pair(SOCK_STREAM, sv);
    struct iovec v = {"x", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 2000};
    R(sendmsg(sv[0], &m, 0));
    m = (struct msghdr){.msg_iov = BAD, .msg_iovlen = 1};
    R(sendmsg(sv[0], &m, 0));
    R(sendmsg(sv[0], BAD, 0));
    R(recvmsg(sv[0], BAD, 0));
    R(sendmsg(1, &m, 0));
    R(sendmsg(99, &m, 0));
    R(send(sv[0], BAD, 5, 0));
    R(recv(sv[0], BAD, 5, MSG_DONTWAIT));
    write(sv[1], "abc", 3);
    R(recv(sv[0], BAD, 5, 0));
    struct sockaddr_un a = addr_of("x");
    R(sendto(sv[0], "x", 1, 0, ADDR(a)));
    m = (struct msghdr){.msg_name = &a, .msg_namelen = -1, .msg_iov = &v, .msg_iovlen = 1};
    R(sendmsg(sv[0], &m, 0));
}

CASE(unix_blocking_full_buffer, "sendto poll") {
    int sv[2];
    static char big[4096];
    pair(SOCK_STREAM, sv);
    fcntl(sv[0], F_SETFL, O_NONBLOCK);
    long total = 0, n;
    while ((n = write(sv[0], big, sizeof big)) > 0) total += n;
    say("full: %s\n", err_name(errno));
    T(total > 65536);
    struct pollfd p = {sv[0], POLLOUT, 0};
    R(poll(&p, 1, 0));
    while (total > 0) {
        n = read(sv[1], big, sizeof big);
        if (n <= 0) break;
        total -= n;
    }
    R(poll(&p, 1, 0));
    struct timeval tv = {0, 5000};
    R(setsockopt(sv[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    R(recv(sv[1], big, 1, 0));
}

CASE(unix_socket_options, "getsockopt setsockopt") {
    int sv[2], v = 0;
    pair(SOCK_STREAM, sv);
    socklen_t n = sizeof v;
    R(getsockopt(sv[0], SOL_SOCKET, SO_TYPE, &v, &n));
    R(v);
    R(getsockopt(sv[0], SOL_SOCKET, SO_DOMAIN, &v, &n));
    R(v);
    R(getsockopt(sv[0], SOL_SOCKET, SO_PROTOCOL, &v, &n));
    R(getsockopt(sv[0], SOL_SOCKET, SO_ERROR, &v, &n));
    R(v);
    R(getsockopt(sv[0], SOL_SOCKET, SO_ACCEPTCONN, &v, &n));
    R(v);
    R(getsockopt(sv[0], SOL_SOCKET, 9999, &v, &n));
    R(getsockopt(sv[0], 9999, 1, &v, &n));
    R(setsockopt(sv[0], SOL_SOCKET, 9999, &v, 4));
    R(setsockopt(sv[0], SOL_SOCKET, SO_PASSCRED, &v, 1));
    R(setsockopt(sv[0], SOL_SOCKET, SO_PASSCRED, BAD, 4));
    n = 2;
    R(getsockopt(sv[0], SOL_SOCKET, SO_TYPE, &v, &n));
    R(n);
    n = -1;
    R(getsockopt(sv[0], SOL_SOCKET, SO_TYPE, &v, &n));
    v = 10000;
    R(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &v, 4));
    n = 4;
    R(getsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &v, &n));
    R(v);
    R(getsockopt(1, SOL_SOCKET, SO_TYPE, &v, &n));
    struct linger l = {1, 5};
    R(setsockopt(sv[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
    n = sizeof l;
    R(getsockopt(sv[0], SOL_SOCKET, SO_LINGER, &l, &n));
    say("%d %d\n", l.l_onoff, l.l_linger);
}
