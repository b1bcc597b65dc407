// Takes as much of everything as it is given, and ends without giving it back.
#define _GNU_SOURCE
#include "inside.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *sleeps(void *a) {
    pause();
    return a;
}

static void child(int kind) {
    static char big[65536];
    alarm(5);
    switch (kind) {
    case 0: // descriptors of every sort
        for (int i = 0; i < 30000; i++) {
            int p[2];
            if (pipe2(p, O_NONBLOCK) < 0) break;
            if (write(p[1], big, sizeof big) < 0) break;
            eventfd(0, 0);
            epoll_create1(0);
            timerfd_create(CLOCK_MONOTONIC, 0);
            inotify_init();
            socketpair(AF_UNIX, SOCK_STREAM, 0, p);
        }
        break;
    case 1: // mappings
        for (int i = 0; i < 70000; i++)
            if (mmap(0, 4096, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
        break;
    case 2: // processes
        for (int i = 0; i < 200; i++) {
            pid_t p = fork();
            if (p == 0) {
                pause();
                _exit(0);
            }
            if (p < 0) break;
        }
        signal(SIGTERM, SIG_IGN);
        kill(0, SIGTERM);
        break;
    case 3: // threads
        for (int i = 0; i < 1000; i++) {
            pthread_t t;
            if (pthread_create(&t, 0, sleeps, 0)) break;
        }
        break;
    case 4: // timers
        for (int i = 0; i < 20000; i++) {
            timer_t t;
            struct sigevent e = {.sigev_notify = SIGEV_NONE};
            struct itimerspec s = {{0, 1000}, {0, 1000}};
            if (timer_create(CLOCK_MONOTONIC, &e, &t) || timer_settime(t, 0, &s, 0)) break;
        }
        break;
    case 5: { // names
        char n[64];
        if (chdir("/tmp")) _exit(77);
        mkdir("many", 0700);
        for (int i = 0; i < 5000; i++) {
            snprintf(n, sizeof n, "many/%d", i);
            close(open(n, O_CREAT | O_WRONLY, 0600));
        }
        for (int i = 0; i < 500; i++)
            if (mkdir("deep", 0700) || chdir("deep")) break;
        break;
    }
    default: { // descriptors in flight, in circles
        int sv[2];
        for (int i = 0; i < 200 && !socketpair(AF_UNIX, SOCK_DGRAM, 0, sv); i++) {
            char c[CMSG_SPACE(8)] = {0};
            struct iovec v = {"x", 1};
            struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
            struct cmsghdr *h = CMSG_FIRSTHDR(&m);
            *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(8), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
            __builtin_memcpy(CMSG_DATA(h), sv, 8);
            sendmsg(sv[0], &m, MSG_DONTWAIT);
            close(sv[0]);
            close(sv[1]);
        }
    }
    }
    _exit(0);
}

int main(void) {
    for (int kind = 0; kind < 7; kind++) {
        pid_t p = fork();
        if (p == 0) {
            setpgid(0, 0);
            child(kind);
        }
        int st;
        waitpid(p, &st, 0);
        kill(-p, SIGKILL);
    }
    return 0;
}
