// Garbage for what a stub does by itself with signal frames: stacks in the stub's own memory, frames that lie, contexts
// that change under the call. Each process attacks for itself; the others go on.
#define _GNU_SOURCE
#include "stub.h"
#include <stdatomic.h>
#include <ucontext.h>

__attribute__((naked, noinline, aligned(64))) static long hot_tgkill(long pid, long tid, long signal) {
    (void)pid, (void)tid, (void)signal;
    __asm__("mov $234, %eax\n syscall\n ret\n");
}
__attribute__((naked, noinline, aligned(64))) static void hot_restorer(void) { __asm__("mov $15, %eax\n syscall\n"); }
// The same with another stack.
__attribute__((naked, noinline)) static long raise_on(uint64_t stack, long pid, long tid, long signal) {
    (void)stack, (void)pid, (void)tid, (void)signal;
    __asm__("push %rbp\n mov %rsp, %rbp\n mov %rdi, %rsp\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n"
            "mov $234, %eax\n syscall\n mov %rbp, %rsp\n pop %rbp\n ret\n");
}
__attribute__((naked, noinline)) static void return_from(uint64_t stack) {
    (void)stack;
    __asm__("mov %rdi, %rsp\n jmp hot_restorer\n");
}

static uint64_t state = 7654321;
static uint64_t next(void) {
    state ^= state << 13, state ^= state >> 7;
    return state ^= state << 17;
}

struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};
static void on(int signal, void (*handler)(int, siginfo_t *, void *)) {
    struct kernel_action action = {handler, 0x04000000 | SA_SIGINFO, hot_restorer, 0};
    syscall(SYS_rt_sigaction, signal, &action, 0, 8);
}
static void nothing(int s, siginfo_t *i, void *u) { (void)s, (void)i, (void)u; }
static void scramble(int s, siginfo_t *i, void *u) {
    (void)s, (void)i;
    ucontext_t *uc = u;
    char *image = (char *)uc->uc_mcontext.fpregs;
    uint64_t places[] = {0, CONTROL, CONTEXTS, own_context(), own_context() + 0x8000, STUB, 0x7ffffffff000, next(), next() & ~63ul};
    switch (next() % 6) {
    case 0: uc->uc_mcontext.fpregs = (void *)places[next() % 9]; break;
    case 1: uc->uc_mcontext.gregs[REG_RIP] = (long long)places[next() % 9]; break;
    case 2: uc->uc_mcontext.gregs[REG_RSP] = (long long)places[next() % 9]; break;
    case 3: memset(image + 464 + next() % 112, (int)next(), next() % 48); break;
    case 4: memset(&uc->uc_sigmask, 0xff, 8); break;
    case 5: uc->uc_stack.ss_sp = (void *)places[next() % 9], uc->uc_stack.ss_size = next(); break;
    }
}

// Changes one thing of those that the stub goes by, again and again.
static int disturbed;
static void *disturb(void *a) {
    char *context = a;
    for (;;) {
        uint64_t value = next();
        switch (disturbed) {
        case 0: W64(context, 0x20) = value; break;                     // where the state goes to
        case 1: W64(context, 0x28) = value; break;                     // a copy: from
        case 2: W64(context, 0x30) = value; break;                     // to
        case 3: W64(context, 0x38) = value >> 40; break;               // length
        case 4: W64(context, 0xb48 + value % 3 * 8) = value; break;    // the alternate stack
        case 5: W64(context, 0xb40) = value & ~0x2000ul; break;        // the mask
        case 6: W32(context, 0xb84) = (uint32_t)value & 1; break;      // whether signals wait
        case 7: W64(context, 0xfc00 + value % 38 * 8) = value; break;  // the frame that is being returned by
        case 8: W64(context, 0xb000 + value % 55 * 8) = value; break;  // the frame that is being written
        case 9: W32(context, COMMAND) = 13; break;
        case 10: W64(context, 0x10 + value % 2 * 8) = value; break;    // bytes in the line of the reply
        default: W32(context, KIND) = (uint32_t)value % 2 ? 0x100 : CALL; break;
        }
    }
    return 0;
}

static void child(int kind) {
    alarm(3);
    on(SIGUSR1, nothing);
    long pid = getpid(), tid = syscall(SYS_gettid);
    for (int i = 0; i < 16; i++) hot_tgkill(pid, tid, SIGUSR1), raise_on((uint64_t)__builtin_frame_address(0) - 65536, pid, tid, SIGUSR1);
    uint64_t own = own_context();
    uint64_t stacks[] = {CONTROL + 0x1000, own + 0x1000, own + 0x8000, own + 0x10000, own + 0x4000, own + 0x20000, CONTEXTS + 0x10000,
                         STUB + 0x1000,    0,            64,           4096,          0x7ffffffff000, 1ul << 63, next(), next() >> 17};
    stack_t own_stack = {.ss_sp = (void *)(own + 0x1000 * (uint64_t)(kind % 15)), .ss_size = 1 << 15};
    switch (kind % 4) {
    case 0: raise_on(stacks[kind / 4 % 15], pid, tid, SIGUSR1); break;
    case 1: return_from(stacks[kind / 4 % 15] - (uint64_t)(kind % 3) * 304); break;
    case 2:
        on(SIGUSR1, scramble);
        if (kind % 8 < 4) sigaltstack(&own_stack, 0);
        for (int i = 0; i < 50; i++) hot_tgkill(pid, tid, SIGUSR1);
        break;
    default: {
        pthread_t thread;
        disturbed = kind / 4 % 12;
        pthread_create(&thread, 0, disturb, (void *)own);
        for (int i = 0; i < 5000; i++) hot_tgkill(pid, tid, SIGUSR1);
    }
    }
    _exit(0);
}

int main(void) {
    if (!find_stub()) return 0;
    for (int kind = 0; kind < 144; kind++) {
        next();
        pid_t p = fork();
        if (p == 0) child(kind);
        int status;
        waitpid(p, &status, 0);
    }
    return 0;
}
