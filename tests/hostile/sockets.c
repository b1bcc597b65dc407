// Every family, option, request and control message of sockets, with garbage: what the sentry does not let through must be
// refused before its own filter sees it, which would be its end.
#define _GNU_SOURCE
#include "inside.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char junk[65536];

static void options(int s) {
    static const int levels[] = {0, 1, 2, 6, 17, 41, 58, 132, 136, 255, 262, 263, 270, 271, 280, 282, 284, -1};
    for (unsigned l = 0; l < sizeof levels / sizeof *levels; l++) {
        for (int name = -1; name < 140; name++) {
            socklen_t len = sizeof junk;
            getsockopt(s, levels[l], name, junk, &len);
            len = 4;
            getsockopt(s, levels[l], name, junk, &len);
            // Not the time that a close may take, and nothing that would make this program wait.
            if (levels[l] == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) continue;
            int one = 1;
            setsockopt(s, levels[l], name, &one, sizeof one);
            memset(junk, name, 300);
            setsockopt(s, levels[l], name, junk, 300);
        }
    }
}

static void requests(int s) {
    for (unsigned r = 0x8900; r < 0x8a00; r++) {
        memset(junk, 0, 64);
        strcpy((char *)junk, r & 1 ? "lo" : "eth0");
        ioctl(s, r, junk);
        memset(junk, 0xff, 64);
        ioctl(s, r, junk);
    }
}

static void messages(int s) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct iovec part = {junk, 100};
    for (int level = 0; level < 60; level++) {
        for (int kind = 0; kind < 110; kind += 1) {
            _Alignas(8) char control[CMSG_SPACE(24)] = {0};
            struct msghdr m = {&to, sizeof to, &part, 1, control, sizeof control, 0};
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(kind % 25), .cmsg_level = level, .cmsg_type = kind};
            sendmsg(s, &m, MSG_DONTWAIT | (kind << 20));
            m.msg_controllen = sizeof control;
            recvmsg(s, &m, MSG_DONTWAIT | (kind & 1 ? MSG_ERRQUEUE : MSG_PEEK));
        }
    }
}

static void names(int s) {
    for (int family = 0; family < 50; family++) {
        for (int len = 0; len < 130; len += 7) {
            memset(junk, 0, 130);
            junk[0] = family;
            // A port of its own, never one that somebody listens on.
            junk[3] = 9;
            bind(s, (struct sockaddr *)junk, len);
            connect(s, (struct sockaddr *)junk, len);
            sendto(s, junk, 8, MSG_DONTWAIT | MSG_FASTOPEN, (struct sockaddr *)junk, len);
        }
    }
}

static void netlink(void) {
    int s = socket(AF_NETLINK, SOCK_RAW, 0);
    for (unsigned kind = 0; kind < 130; kind++) {
        for (unsigned flags = 0; flags < 0x800; flags += 0xff) {
            uint32_t head[16] = {64, kind | flags << 16, kind, 0};
            memset(head + 4, kind, sizeof head - 16);
            for (unsigned len = 12; len <= 64; len += 13) {
                head[0] = len;
                send(s, head, sizeof head, MSG_DONTWAIT);
                while (recv(s, junk, sizeof junk, MSG_DONTWAIT) > 0) {}
            }
        }
    }
    close(s);
}

int main(void) {
    alarm(40);
    signal(SIGPIPE, SIG_IGN);
    for (int family = -1; family < 48; family++) {
        for (int kind = 0; kind < 12; kind++) {
            for (int protocol = -1; protocol < 300; protocol += protocol < 20 ? 1 : 13) {
                int s = socket(family, kind | SOCK_NONBLOCK, protocol);
                if (s < 0) continue;
                if (protocol <= 17) requests(s), options(s), messages(s), names(s);
                listen(s, protocol);
                accept4(s, NULL, NULL, 0x7fffffff);
                shutdown(s, kind);
                close(s);
            }
        }
    }
    netlink();
    return 0;
}
