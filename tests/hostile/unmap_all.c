// Unmaps, protects and remaps everything, the platform's own pages included, from several threads.
#define _GNU_SOURCE
#include "inside.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const uintptr_t top = 0x7ffffffff000;

static void *works(void *a) {
    for (;;) syscall(SYS_getppid);
    return a;
}

static void child(int kind) {
    pthread_t t;
    alarm(2);
    pthread_create(&t, 0, works, 0);
    switch (kind) {
    case 0: munmap((void *)0x10000, top - 0x10000); break;
    case 1: mprotect((void *)0x10000, top - 0x10000, PROT_NONE); break;
    case 2:
        for (uintptr_t at = top - (256ul << 20); at < top; at += 4096) munmap((void *)at, 4096);
        break;
    case 3:
        for (uintptr_t at = top - (64ul << 20); at < top; at += 4096)
            mmap((void *)at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        break;
    case 4:
        for (uintptr_t at = top - (16ul << 20); at < top; at += 4096)
            mremap((void *)at, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(0x20000000 + at % (1 << 24)));
        break;
    case 5: madvise((void *)(top - (1ul << 30)), 1ul << 30, MADV_DONTNEED); break;
    default: brk((void *)top); sbrk(1l << 46);
    }
    _exit(0);
}

int main(void) {
    for (int kind = 0; kind < 7; kind++) {
        pid_t p = fork();
        if (p == 0) child(kind);
        int st;
        waitpid(p, &st, 0);
    }
    return 0;
}
