// Writes over every page that can be written near the top of the address space, and calls every page that can be
// executed there: whatever the platform keeps in this process is in that range.
#define _GNU_SOURCE
#include "guard.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void touch(uintptr_t at, int how) {
    if (sigsetjmp(back, 1)) return;
    if (how == 0) *(volatile uint64_t *)at = 0xdeadbeefcafebabe;
    else if (how == 1) memset((void *)at, 0xff, 4096);
    else ((void (*)(long, long, long))at)(1, 2, 3);
}

static void attack(int how, uintptr_t from, uintptr_t to, uintptr_t step) {
    pid_t p = fork();
    if (p == 0) {
        guard();
        alarm(3);
        uintptr_t here = (uintptr_t)__builtin_frame_address(0);
        for (uintptr_t at = from; at < to; at += step)
            if (at + (1 << 20) < here || at > here + (1 << 20)) touch(at, how);
        for (int i = 0; i < 50; i++) syscall(SYS_getppid);
        _exit(0);
    }
    int st;
    waitpid(p, &st, 0);
}

int main(void) {
    const uintptr_t top = 0x7ffffffff000;
    for (int how = 0; how < 3; how++) {
        attack(how, top - (64ul << 20), top, 4096);
        attack(how, top - (1ul << 30), top, 4096 * 16);
        attack(how, 0x10000, 0x10000 + (32ul << 20), 4096);
        attack(how, 0x7ff000000000, top, 1ul << 24);
    }
    return 0;
}
