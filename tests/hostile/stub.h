// Makes calls from the stub's own code (systrap), as a guest can that has read it: `raw` jumps to where the stub performs
// operations, with a context of its own making, and a helper thread then asks the stub to return by a forged frame.
// Offsets are those of sentry/platform/src/systrap/layout.rs.
#pragma once
#define _GNU_SOURCE
#include "inside.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REQUEST = 0x00, COMMAND = 0x04, OP_COUNT = 0x08, FLAGS = 0x0c, EVENT = 0x80, KIND = 0x84, CALL_RAX = 0x88,
    OP_DONE = 0x168, OP_RESULT = 0x170, SPIN = 0x180, WAITING = 0x1c0, OPS = 0x200, SIGNAL_STACK = 0x1000,
    FRAME_REGS = 48, FRAME_MASK = 48 + 256, GO = 1, CALL = 0x102,
};
static const uintptr_t STUB = 0x7e8000000000, CONTROL = 0x7e8000001000, CONTEXTS = 0x7e8100000000;

#define W32(base, at) (*(volatile uint32_t *)((base) + (at)))
#define W64(base, at) (*(volatile uint64_t *)((base) + (at)))

// A caller by the stub: one for each thread that uses it.
struct machine {
    char *context;
    uint64_t mask; // What the forged frame blocks.
    volatile int done;
};

static uintptr_t stub_ops; // Where the stub goes through its operations.
static sigjmp_buf stub_back;
static void stub_fault(int s) { siglongjmp(stub_back, s); }

static uint64_t own_context(void) {
    uint64_t gs;
    __asm__ volatile("rdgsbase %0" : "=r"(gs));
    return gs;
}

// Finds the code; 0 where there is no such stub (ptrace).
static int find_stub(void) {
    struct sigaction sa = {.sa_handler = stub_fault, .sa_flags = SA_NODEFER}, old[3];
    int signals[] = {SIGSEGV, SIGILL, SIGBUS};
    for (int i = 0; i < 3; i++) sigaction(signals[i], &sa, &old[i]);
    if (sigsetjmp(stub_back, 1) == 0) {
        own_context();
        static const unsigned char pattern[] = {0x44, 0x3b, 0x6b, 0x08}; // cmp r13d, [rbx + 8]
        char *at = memmem((char *)STUB, 4096, pattern, sizeof pattern);
        stub_ops = (uintptr_t)at;
    }
    for (int i = 0; i < 3; i++) sigaction(signals[i], &old[i], 0);
    return stub_ops != 0;
}

static void *stub_helper(void *a) {
    struct machine *m = a;
    for (unsigned spins = 0; !m->done; spins++) {
        if (W32(m->context, EVENT) == W32(m->context, REQUEST)) {
            W32(m->context, COMMAND) = GO;
            W32(m->context, FLAGS) = 0;
            __atomic_add_fetch((uint32_t *)(m->context + REQUEST), 1, __ATOMIC_SEQ_CST);
        }
        if (spins % 64 == 0) syscall(SYS_sched_yield);
    }
    return 0;
}

__attribute__((unused)) static struct machine *new_machine(void) {
    struct machine *m = calloc(1, sizeof *m);
    char *area = mmap(0, 0x20000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m->context = (char *)(((uintptr_t)area + 0xffff) & ~0xffffull);
    W32(m->context, REQUEST) = 1;
    pthread_t t;
    if (pthread_create(&t, 0, stub_helper, m)) _exit(77);
    return m;
}

// Returns what the host has answered, or doesn't.
__attribute__((noinline, unused)) static long raw(struct machine *m, long nr, long a, long b, long c, long d, long e, long f) {
    char *x = m->context;
    uint64_t op[7] = {nr, a, b, c, d, e, f};
    memcpy(x + OPS, op, sizeof op);
    W32(x, OP_COUNT) = 1;
    W32(x, SPIN) = 0x7fffffff; // The stub must not sleep: only the sentry could wake it.
    char *frame = x + W32(CONTROL, 0x44);
    memset(frame, 0, 440);
    uint64_t real = own_context() & ~0xffffull;
    W64(frame, 24) = real + SIGNAL_STACK;
    W64(frame, 40) = 0x7000;
    W64(frame, FRAME_MASK) = m->mask;
    W64(frame, FRAME_REGS + 17 * 8) = 0x202;
    W64(frame, FRAME_REGS + 18 * 8) = 0x33 | 0x2bull << 48;
    uint64_t in[] = {(uint64_t)frame, (uint64_t)x, stub_ops}, *at = in;
    __asm__ volatile(
        "sub $128, %%rsp; push %%rbp; push %%rbx\n"
        "mov (%%rax), %%rdx\n"
        "mov %%rsp, %c[rsp](%%rdx)\n"
        "lea 1f(%%rip), %%rcx\n"
        "mov %%rcx, %c[rip](%%rdx)\n"
        "mov 8(%%rax), %%rbx\n"
        "mov 16(%%rax), %%rcx\n"
        "movabs $0x7e8000001000, %%rbp\n"
        "lea 0x200(%%rbx), %%r14\n"
        "xor %%r13d, %%r13d\n"
        "jmp *%%rcx\n"
        "1: pop %%rbx; pop %%rbp; add $128, %%rsp\n"
        : "+a"(at)
        : [rsp] "i"(FRAME_REGS + 15 * 8), [rip] "i"(FRAME_REGS + 16 * 8)
        : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    return (long)W64(x, OP_RESULT);
}

// Runs an attack with each argument below `count`, in processes of their own, some at a time, and waits for their ends, which
// must come: those that don't end by themselves are killed.
__attribute__((unused)) static void in_children(void (*attack)(long), long count, int milliseconds) {
    enum { AT_ONCE = 16 };
    for (long first = 0; first < count; first += AT_ONCE) {
        pid_t p[AT_ONCE];
        int n = 0, st;
        for (long arg = first; arg < count && n < AT_ONCE; arg++) {
            p[n] = fork();
            if (p[n] == 0) {
                attack(arg);
                _exit(0);
            }
            n += p[n] > 0;
        }
        for (int left = n, t = 0; left && t < milliseconds; t++, usleep(1000))
            for (int i = 0; i < n; i++)
                if (p[i] && waitpid(p[i], &st, WNOHANG) == p[i]) p[i] = 0, left--;
        for (int i = 0; i < n; i++)
            if (p[i]) kill(p[i], SIGKILL), waitpid(p[i], &st, 0);
    }
}
