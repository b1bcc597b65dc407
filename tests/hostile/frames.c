// Signal frames, stacks, segment bases and thread pointers made of garbage.
#define _GNU_SOURCE
#include "inside.h"
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static uint64_t state = 1234567;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static void scramble(int s, siginfo_t *i, void *u) {
    (void)s;
    (void)i;
    ucontext_t *uc = u;
    uint64_t *words = (uint64_t *)uc;
    for (int k = 0; k < 12; k++) words[next() % (sizeof *uc / 8)] = next();
    if (next() % 2) uc->uc_mcontext.fpregs = (void *)next();
    else if (uc->uc_mcontext.fpregs) memset((char *)uc->uc_mcontext.fpregs + next() % 400, (int)next(), 100);
}
static void sys(long nr, uint64_t a, uint64_t b) { syscall(nr, a, b, 0, 0, 0, 0); }

static void child(int kind) {
    struct sigaction sa = {.sa_sigaction = scramble, .sa_flags = SA_SIGINFO};
    alarm(2);
    sigaction(SIGUSR1, &sa, 0);
    switch (kind % 8) {
    case 0: case 1: case 2:
        raise(SIGUSR1);
        break;
    case 3:
        sys(SYS_arch_prctl, 0x1001, 0x7ffffffff000 - next() % (1 << 24)); // ARCH_SET_GS
        for (int i = 0; i < 100; i++) syscall(SYS_getppid);
        break;
    case 4:
        sys(SYS_arch_prctl, 0x1001, next() & 0x7fffffffffff);
        __asm__ volatile("mov $39, %%eax; syscall; mov $110, %%eax; syscall" ::: "rax", "rcx", "r11", "memory");
        raise(SIGUSR1);
        break;
    case 5:
        __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" ::"r"(next()) : "rax", "memory");
        break;
    case 6:
        __asm__ volatile("int $0x80" ::"a"(20) : "memory");
        __asm__ volatile("mov $0xffffffffff600000, %%rax; call *%%rax" ::"D"(0L), "S"(0L) : "rax", "rcx", "r11", "memory");
        break;
    default:
        for (int i = 0; i < 20000; i++) {
            union sigval v = {.sival_int = i};
            sigqueue(getpid(), SIGRTMIN + i % 20, v);
            if (i == 0)
                for (int s = SIGRTMIN; s < SIGRTMAX; s++) signal(s, SIG_IGN);
        }
    }
    _exit(0);
}

int main(void) {
    for (int kind = 0; kind < 64; kind++) {
        next();
        pid_t p = fork();
        if (p == 0) child(kind);
        int st;
        waitpid(p, &st, 0);
    }
    return 0;
}
