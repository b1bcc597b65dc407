// Every system call with garbage arguments, many times, each in a child that may die of it.
#define _GNU_SOURCE
#include "inside.h"
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static char page[8192];

static uint64_t argument(void) {
    static const uint64_t odd[] = {0, 1, 2, 3, 7, 8, 100, 4095, 4096, 65536, 0x7fffffff, 0x80000000, 0xffffffff, ~0ull,
                                   0x7ffffffff000, 0x7fffffffe000, 0xffff800000000000, 1ull << 63, 0x7fffffffffffffff};
    uint64_t r = next();
    switch (r % 4) {
    case 0: return odd[(r >> 8) % (sizeof odd / sizeof *odd)];
    case 1: return (uint64_t)page + (r >> 8) % sizeof page;
    case 2: return (r >> 8) % 64;
    default: return next();
    }
}

static int skip(long nr) {
    // Calls that end this child, sleep for good, or signal everyone: no attack on the sentry.
    return nr == SYS_exit || nr == SYS_exit_group || nr == SYS_pause || nr == SYS_rt_sigsuspend || nr == SYS_kill ||
           nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_rt_sigqueueinfo || nr == SYS_rt_tgsigqueueinfo ||
           nr == SYS_pidfd_send_signal || nr == SYS_reboot || nr == SYS_vhangup || nr == SYS_fork || nr == SYS_vfork ||
           nr == SYS_clone || nr == SYS_clone3;
}

int main(void) {
    for (int round = 0; round < 40; round++) {
        next();
        pid_t p = fork();
        if (p == 0) {
            struct rlimit r = {256 << 20, 256 << 20};
            setrlimit(RLIMIT_AS, &r);
            state += round * 7919;
            alarm(2);
            for (int i = 0; i < 400; i++) {
                long nr = next() % 16 ? (long)(next() % 480) : (long)next();
                if (skip(nr)) continue;
                syscall(nr, argument(), argument(), argument(), argument(), argument(), argument());
                alarm(2);
            }
            _exit(0);
        }
        int st;
        waitpid(p, &st, 0);
    }
    return 0;
}
