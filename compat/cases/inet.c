// TCP and UDP over loopback.
#include "case.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/un.h>
#define FAMILY "socket"

static struct sockaddr_in lo(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return a;
}
#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)
static struct sockaddr_in name_of(int s) {
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    MUST(getsockname(s, (void *)&a, &n));
    return a;
}
static int tcp_listener(struct sockaddr_in *at) {
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = lo(0);
    MUST(bind(l, ADDR(a)) | listen(l, 8));
    *at = name_of(l);
    return l;
}
static void tcp_pair(int *c, int *s) {
    struct sockaddr_in at;
    int l = tcp_listener(&at);
    *c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(*c, ADDR(at)));
    *s = MUST(accept(l, 0, 0));
    close(l);
}

CASE(tcp_connect_and_talk, "socket bind listen connect accept sendto recvfrom shutdown") {
    int c, s;
    char b[16] = {0};
    tcp_pair(&c, &s);
    R(send(c, "ping", 4, 0));
    R(recv(s, b, 16, 0));
    R(send(s, "pong", 4, 0));
    R(recv(c, b, 4, MSG_WAITALL | MSG_PEEK));
    R(recv(c, b, 4, MSG_WAITALL));
    show_bytes("b", b, 4);
    R(shutdown(c, SHUT_WR));
    R(recv(s, b, 16, 0));
    R(send(s, "still", 5, 0));
    R(recv(c, b, 5, MSG_WAITALL));
    R(send(c, "x", 1, MSG_NOSIGNAL));
    close(s);
    R(recv(c, b, 16, 0));
}

CASE(tcp_names, "getsockname getpeername accept4") {
    struct sockaddr_in at, a;
    int l = tcp_listener(&at), c = socket(AF_INET, SOCK_STREAM, 0);
    T(ntohs(at.sin_port) > 1023);
    connect(c, ADDR(at));
    socklen_t n = sizeof a;
    int s = OK(accept4(l, (void *)&a, &n, SOCK_NONBLOCK));
    struct sockaddr_in mine = name_of(c);
    T(a.sin_port == mine.sin_port && a.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    n = sizeof a;
    R(getpeername(c, (void *)&a, &n));
    T(a.sin_port == at.sin_port);
    R(n);
    char b;
    R(recv(s, &b, 1, 0));
}

CASE(tcp_refused_and_misused, "connect bind listen accept") {
    struct sockaddr_in at;
    int l = tcp_listener(&at), c = socket(AF_INET, SOCK_STREAM, 0);
    close(l);
    R(connect(c, ADDR(at)));
    close(c);
    c = socket(AF_INET, SOCK_STREAM, 0);
    char b;
    R(recv(c, &b, 1, 0));
    R(send(c, "x", 1, MSG_NOSIGNAL));
    R(accept(c, 0, 0));
    R(getpeername(c, (void *)&at, &(socklen_t){16}));
    R(connect(c, (void *)&at, 4));
    struct sockaddr_in bad = lo(80);
    bad.sin_family = 99;
    R(connect(c, ADDR(bad)));
    R(bind(c, ADDR(bad)));
    bad = lo(0);
    bad.sin_addr.s_addr = inet_addr("203.0.113.5");
    R(bind(c, ADDR(bad)));
    l = tcp_listener(&at);
    R(bind(c, ADDR(at)));
    R(bind(l, ADDR(at)));
    IN_CHILD(drop_to(1000, 1000); struct sockaddr_in low = lo(81); R(bind(c, ADDR(low))));
}

CASE(tcp_nonblocking_connect, "connect poll getsockopt") {
    struct sockaddr_in at;
    int l = tcp_listener(&at), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int r = connect(c, ADDR(at));
    T(r == 0 || errno == EINPROGRESS);
    struct pollfd p = {c, POLLOUT, 0};
    R(poll(&p, 1, 2000));
    int e = 5;
    socklen_t n = sizeof e;
    R(getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &n));
    R(e);
    R(connect(c, ADDR(at)));
    p = (struct pollfd){l, POLLIN, 0};
    R(poll(&p, 1, 2000));
    close(l);
    c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    r = connect(c, ADDR(at));
    if (r && errno == EINPROGRESS) {
        p = (struct pollfd){c, POLLOUT, 0};
        poll(&p, 1, 2000);
        getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &n);
    } else e = r ? errno : 0;
    say("%s\n", err_name(e));
}

CASE(tcp_poll_states, "poll shutdown") {
    int c, s;
    tcp_pair(&c, &s);
    struct pollfd p = {s, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&p, 1, 0);
    say("%x\n", p.revents);
    write(c, "x", 1);
    poll(&p, 1, 1000);
    UNTIL((poll(&p, 1, 0), p.revents & POLLIN));
    say("%x\n", p.revents);
    char b;
    read(s, &b, 1);
    shutdown(c, SHUT_WR);
    UNTIL((poll(&p, 1, 0), p.revents & POLLRDHUP));
    say("%x\n", p.revents);
    shutdown(s, SHUT_WR);
    UNTIL((poll(&p, 1, 0), p.revents & POLLHUP));
    say("%x\n", p.revents);
}

CASE(tcp_reset_by_linger, "setsockopt close recvfrom") {
    int c, s;
    tcp_pair(&c, &s);
    struct linger l = {1, 0};
    R(setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    close(c);
    char b;
    R(recv(s, &b, 1, 0));
    R(recv(s, &b, 1, 0));
    R(send(s, "x", 1, MSG_NOSIGNAL));
}

CASE(tcp_options, "setsockopt getsockopt") {
    int c, s, v = 1;
    tcp_pair(&c, &s);
    socklen_t n = sizeof v;
    R(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, n));
    v = 0;
    R(getsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, &n));
    R(v);
    v = 1;
    R(setsockopt(c, SOL_SOCKET, SO_REUSEADDR, &v, n));
    R(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &v, n));
    v = 0;
    R(getsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &v, &n));
    R(v);
    R(getsockopt(c, SOL_SOCKET, SO_TYPE, &v, &n));
    R(v);
    R(getsockopt(c, SOL_SOCKET, SO_PROTOCOL, &v, &n));
    R(v);
    struct tcp_info i;
    n = sizeof i;
    R(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
    R(i.tcpi_state);
    v = 42;
    R(setsockopt(c, IPPROTO_IP, IP_TTL, &v, 4));
    n = 4;
    R(getsockopt(c, IPPROTO_IP, IP_TTL, &v, &n));
    R(v);
    R(setsockopt(c, IPPROTO_TCP, 9999, &v, 4));
    R(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, 2));
}

CASE(tcp_large_transfer, "sendto recvfrom") {
    int c, s;
    tcp_pair(&c, &s);
    size_t total = 4 << 20;
    pid_t w = FORK({
        char *p = malloc(65536);
        for (size_t i = 0; i < total;) {
            for (int k = 0; k < 65536; k++) p[k] = (i + k) >> 4;
            ssize_t n = send(c, p, 65536, 0);
            if (n <= 0) _exit(1);
            i += n;
            if (n != 65536) _exit(2);
        }
    });
    close(c);
    char *p = malloc(65536);
    size_t got = 0, wrong = 0;
    ssize_t n;
    while ((n = recv(s, p, 65536, 0)) > 0) {
        for (ssize_t k = 0; k < n; k++) wrong += p[k] != (char)((got + k) >> 4);
        got += n;
    }
    say("%zu wrong %zu\n", got, wrong);
    show_wait(w);
}

CASE(udp_datagrams, "sendto recvfrom bind connect") {
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in x = lo(0), from;
    MUST(bind(a, ADDR(x)));
    x = name_of(a);
    R(sendto(b, "hello", 5, 0, ADDR(x)));
    R(sendto(b, "", 0, 0, ADDR(x)));
    char buf[16] = {0};
    socklen_t n = sizeof from;
    R(recvfrom(a, buf, 3, MSG_TRUNC, (void *)&from, &n));
    T(from.sin_port == name_of(b).sin_port);
    R(recv(a, buf, 16, 0));
    R(recv(a, buf, 16, MSG_DONTWAIT));
    R(send(b, "x", 1, 0));
    R(connect(b, ADDR(x)));
    R(send(b, "conn", 4, 0));
    R(recv(a, buf, 16, 0));
    static char big[70000];
    R(send(b, big, 70000, 0));
    R(send(b, big, 60000, 0));
    R(recv(a, big, 70000, 0));
    close(a);
    R(send(b, "x", 1, 0));
    msleep(5);
    R(send(b, "x", 1, 0));
    struct sockaddr un = {.sa_family = AF_UNSPEC};
    R(connect(b, &un, sizeof un));
    R(send(b, "x", 1, 0));
}

CASE(ipv6_loopback, "socket bind connect") {
    int l = socket(AF_INET6, SOCK_STREAM, 0);
    if (l < 0) {
        say("no IPv6: %s\n", err_name(errno));
        return;
    }
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    R(bind(l, ADDR(a)));
    R(listen(l, 1));
    socklen_t n = sizeof a;
    getsockname(l, (void *)&a, &n);
    R(n);
    int c = socket(AF_INET6, SOCK_STREAM, 0);
    R(connect(c, ADDR(a)));
    int s = OK(accept(l, 0, 0));
    R(write(c, "six", 3));
    char b[4];
    R(read(s, b, 4));
    int v6 = 1;
    int m = socket(AF_INET6, SOCK_STREAM, 0);
    R(setsockopt(m, IPPROTO_IPV6, IPV6_V6ONLY, &v6, 4));
    R(bind(m, (void *)&a, 16));
}

CASE(dual_stack_accepts_mapped, "bind connect accept") {
    int l = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6}, p;
    R(bind(l, ADDR(a)));
    R(listen(l, 1));
    socklen_t n = sizeof a;
    getsockname(l, (void *)&a, &n);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in v4 = lo(ntohs(a.sin6_port));
    R(connect(c, ADDR(v4)));
    n = sizeof p;
    OK(accept(l, (void *)&p, &n));
    char t[64];
    say("%s\n", inet_ntop(AF_INET6, &p.sin6_addr, t, 64));
}

CASE(reuse_rules, "bind setsockopt") {
    int on = 1, a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in x = lo(0);
    setsockopt(a, SOL_SOCKET, SO_REUSEPORT, &on, 4);
    setsockopt(b, SOL_SOCKET, SO_REUSEPORT, &on, 4);
    R(bind(a, ADDR(x)));
    x = name_of(a);
    R(bind(b, ADDR(x)));
    R(bind(c, ADDR(x)));
}

CASE(interfaces_list_loopback, "socket ioctl") {
    struct ifreq r = {0};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(r.ifr_name, "lo");
    R(ioctl(s, SIOCGIFFLAGS, &r));
    T(r.ifr_flags & IFF_LOOPBACK);
    R(ioctl(s, SIOCGIFADDR, &r));
    say("%s\n", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
    T(if_nametoindex("lo") == 1);
    strcpy(r.ifr_name, "none0");
    R(ioctl(s, SIOCGIFFLAGS, &r));
    struct ifaddrs *list = 0;
    int found = 0;
    if (!getifaddrs(&list))
        for (struct ifaddrs *i = list; i; i = i->ifa_next)
            if (!strcmp(i->ifa_name, "lo") && i->ifa_addr && i->ifa_addr->sa_family == AF_INET) found = 1;
    say("netlink lists lo: %d\n", found);
}

CASE(accept_queue_and_epoll, "accept epoll_wait") {
    struct sockaddr_in at;
    int l = tcp_listener(&at), n = 0;
    fcntl(l, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 4; i++) {
        int c = socket(AF_INET, SOCK_STREAM, 0);
        MUST(connect(c, ADDR(at)));
    }
    while (accept(l, 0, 0) >= 0) n++;
    say("%d %s\n", n, err_name(errno));
    int q = -1;
    R(ioctl(l, FIONREAD, &q));
}

// Sends one byte with one control message of `len` bytes of an int, or none, and shows what the receiver is told.
static void send_with(int from, int to, int level, int type, int value, unsigned len) {
    char control[64] = {0}, b[4] = {0}, got[128];
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    MUST(getsockname(to, (void *)&at, &n));
    struct iovec v = {"x", 1}, w = {b, sizeof b};
    struct msghdr m = {.msg_name = &at, .msg_namelen = n, .msg_iov = &v, .msg_iovlen = 1};
    if (len) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(len);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type};
        memcpy(CMSG_DATA(c), &value, len < 4 ? len : 4);
    }
    say("level %d type %d value %d length %u\n", level, type, value, len);
    if (R(sendmsg(from, &m, 0)) < 0) return;
    struct msghdr r = {.msg_iov = &w, .msg_iovlen = 1, .msg_control = got, .msg_controllen = sizeof got};
    R(recvmsg(to, &r, 0));
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&r); c; c = CMSG_NXTHDR(&r, c)) {
        int told = 0;
        size_t size = c->cmsg_len - CMSG_LEN(0);
        memcpy(&told, CMSG_DATA(c), size < 4 ? size : 4);
        say("  told %d/%d: %d in %zu bytes\n", c->cmsg_level, c->cmsg_type, told, size);
    }
}

CASE(udp_class_and_hops_by_message, "sendmsg recvmsg setsockopt") {
    int on = 1, values[] = {-2, -1, 0, 1, 96, 255, 256};
    struct sockaddr_in a4 = lo(0);
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int t4 = MUST(socket(AF_INET, SOCK_DGRAM, 0)), f4 = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    int t6 = MUST(socket(AF_INET6, SOCK_DGRAM, 0)), f6 = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    MUST(bind(t4, ADDR(a4)) | bind(t6, ADDR(a6)));
    R(setsockopt(t4, IPPROTO_IP, IP_RECVTTL, &on, 4) | setsockopt(t4, IPPROTO_IP, IP_RECVTOS, &on, 4));
    R(setsockopt(t6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, 4) | setsockopt(t6, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, 4));
    send_with(f4, t4, 0, 0, 0, 0);
    send_with(f6, t6, 0, 0, 0, 0);
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
        send_with(f4, t4, IPPROTO_IP, IP_TTL, values[i], 4);
        send_with(f4, t4, IPPROTO_IP, IP_TOS, values[i], 4);
        send_with(f6, t6, IPPROTO_IPV6, IPV6_HOPLIMIT, values[i], 4);
        send_with(f6, t6, IPPROTO_IPV6, IPV6_TCLASS, values[i], 4);
    }
    unsigned sizes[] = {1, 2, 3, 5, 8};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        send_with(f4, t4, IPPROTO_IP, IP_TTL, 7, sizes[i]);
        send_with(f4, t4, IPPROTO_IP, IP_TOS, 8, sizes[i]);
        send_with(f6, t6, IPPROTO_IPV6, IPV6_HOPLIMIT, 7, sizes[i]);
        send_with(f6, t6, IPPROTO_IPV6, IPV6_TCLASS, 8, sizes[i]);
    }
    send_with(f4, t4, IPPROTO_IPV6, IPV6_HOPLIMIT, 9, 4);
    send_with(f6, t6, IPPROTO_IP, IP_TTL, 9, 4);
    send_with(f4, t4, IPPROTO_IP, 999, 9, 4);
    send_with(f6, t6, IPPROTO_IPV6, 999, 9, 4);
    send_with(f4, t4, IPPROTO_ICMP, 1, 9, 4);
    send_with(f6, t4, IPPROTO_IP, IP_TTL, 11, 4); // not to be reached from there
    struct sockaddr_in6 m6 = {.sin6_family = AF_INET6, .sin6_port = name_of(t4).sin_port};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &m6.sin6_addr);
    R(connect(f6, ADDR(m6)));
    R(send(f6, "m", 1, 0));
    char b[4];
    R(recv(t4, b, 4, 0));
}

// A line for each of our sockets: the order of answers is that of hash tables.
static char lines[8][512];
static void add(int n, const char *fmt, ...) {
    size_t at = strlen(lines[n]);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(lines[n] + at, sizeof lines[n] - at, fmt, ap);
    va_end(ap);
}

// Asks for all sockets of a family and shows those of ours, by number.
static void show_diag(const char *label, const void *body, size_t len, const int *fds, int count) {
    struct { struct nlmsghdr h; char body[64]; } ask = {.h = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_seq = 7}};
    ask.h.nlmsg_len = NLMSG_LENGTH(len);
    ask.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    memcpy(ask.body, body, len);
    int s = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    MUST(send(s, &ask, ask.h.nlmsg_len, 0));
    static char answer[1 << 16];
    memset(lines, 0, sizeof lines);
    for (int done = 0; !done;) {
        size_t got = MUST(recv(s, answer, sizeof answer, 0));
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
            if (h->nlmsg_type == NLMSG_ERROR) say("%s: %s\n", label, err_name(-((struct nlmsgerr *)NLMSG_DATA(h))->error));
            int status = h->nlmsg_type == NLMSG_DONE ? *(int *)NLMSG_DATA(h) : 0;
            if (status) say("%s: done with %s\n", label, err_name(-status));
            if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) done = 1;
            if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY) continue;
            struct inet_diag_msg *i = NLMSG_DATA(h);
            struct unix_diag_msg *u = NLMSG_DATA(h);
            int is_unix = i->idiag_family == AF_UNIX;
            for (int n = 0; n < count; n++) {
                struct stat st;
                MUST(fstat(fds[n], &st));
                if (st.st_ino != (is_unix ? u->udiag_ino : i->idiag_inode)) continue;
                if (is_unix) {
                    add(n, "%s %d: type %d state %d", label, n, u->udiag_type, u->udiag_state);
                } else {
                    add(n, "%s %d: family %d state %d uid %d queues %d %d if %d src %08x port %s dst %08x%s", label, n,
                        i->idiag_family, i->idiag_state, i->idiag_uid, i->idiag_rqueue, i->idiag_wqueue, i->id.idiag_if,
                        ntohl(i->id.idiag_src[0]), i->id.idiag_sport ? "set" : "0", ntohl(i->id.idiag_dst[0]),
                        i->id.idiag_dport ? " to a port" : "");
                }
                struct rtattr *a = (void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(is_unix ? sizeof *u : sizeof *i));
                int left = (char *)h + h->nlmsg_len - (char *)a;
                for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
                    int len = RTA_PAYLOAD(a), wanted = is_unix ? a->rta_type != UNIX_DIAG_PEER : a->rta_type == INET_DIAG_SKV6ONLY;
                    if (!wanted || (a->rta_type == UNIX_DIAG_RQLEN && is_unix && u->udiag_state != TCP_LISTEN)) continue;
                    add(n, " [%d:", a->rta_type);
                    for (int b = 0; b < len; b++) add(n, "%02x", ((unsigned char *)RTA_DATA(a))[b]);
                    add(n, "]");
                }
                add(n, "\n");
            }
        }
    }
    for (int n = 0; n < count; n++) say("%s", lines[n]);
    close(s);
}

static void show_diag_inet(const char *label, int family, int protocol, unsigned states, const int *fds, int count) {
    struct inet_diag_req_v2 r = {.sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = states};
    show_diag(label, &r, sizeof r, fds, count);
}

CASE(sock_diag_lists_sockets, "socket bind listen sendto recvfrom") {
    int fds[8], n = 0;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int l = fds[n++] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(bind(l, (void *)&a, sizeof a)), MUST(listen(l, 5)), MUST(getsockname(l, (void *)&a, &len));
    int c = fds[n++] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(c, (void *)&a, sizeof a));
    struct pollfd p = {.fd = l, .events = POLLIN};
    MUST(poll(&p, 1, 5000));
    show_diag_inet("queued", AF_INET, IPPROTO_TCP, -1, fds, n);
    fds[n++] = MUST(accept(l, 0, 0));
    MUST(write(c, "four", 4));
    p = (struct pollfd){.fd = fds[2], .events = POLLIN};
    MUST(poll(&p, 1, 5000));
    show_diag_inet("listen", AF_INET, IPPROTO_TCP, 1 << TCP_LISTEN, fds, n);
    show_diag_inet("established", AF_INET, IPPROTO_TCP, 1 << TCP_ESTABLISHED, fds, n);
    show_diag_inet("six", AF_INET6, IPPROTO_TCP, -1, fds, n);
    int on = 1, six = fds[n++] = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    MUST(setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    MUST(listen(six, 3));
    show_diag_inet("six", AF_INET6, IPPROTO_TCP, -1, fds, n);
    int u = fds[n++] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in any = {.sin_family = AF_INET};
    MUST(bind(u, (void *)&any, sizeof any));
    show_diag_inet("udp", AF_INET, IPPROTO_UDP, -1, fds, n);
    show_diag_inet("nothing", AF_INET, 250, -1, fds, n);
    show_diag_inet("nothing", 99, 250, -1, fds, n);
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0compat-diag"};
    int x = fds[n++] = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(x, (void *)&name, offsetof(struct sockaddr_un, sun_path) + 12)), MUST(listen(x, 9));
    int d = fds[n++] = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    strcpy(name.sun_path, "path");
    MUST(bind(d, (void *)&name, offsetof(struct sockaddr_un, sun_path) + 5));
    struct unix_diag_req r = {.sdiag_family = AF_UNIX, .udiag_states = -1, .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN};
    show_diag("unix", &r, sizeof r, fds, n);
    r.udiag_states = 1 << TCP_LISTEN;
    show_diag("unix listening", &r, sizeof r, fds, n);
    r.udiag_show = 0;
    show_diag("unix bare", &r, sizeof r, fds, n);
    show_diag("short", &r, 4, fds, n);
}
