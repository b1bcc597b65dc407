// Scribbles over what its own calls are answered from, and jumps into the code that answers them: the base of gs leads
// there. Everything that it deceives and breaks is its own.
#define _GNU_SOURCE
#include "guard.h"
#include <linux/futex.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t context(void) {
    uint64_t base;
    __asm__("rdgsbase %0" : "=r"(base));
    return base;
}

__attribute__((naked, noinline, aligned(64))) static long hot_getpid(void) {
    __asm__("mov $39, %eax\n syscall\n ret\n");
}
__attribute__((naked, noinline, aligned(64))) static long hot_mask(long how, const void *set, void *old, long size) {
    (void)how, (void)set, (void)old, (void)size;
    __asm__("mov %rcx, %r10\n mov $14, %eax\n syscall\n ret\n");
}

__attribute__((naked, noinline, aligned(64))) static long hot_futex(int *word, long op, long value, long time) {
    (void)word, (void)op, (void)value, (void)time;
    __asm__("mov %rcx, %r10\n mov $202, %eax\n syscall\n ret\n");
}

__attribute__((naked, noinline, aligned(64))) static long hot_stack(const stack_t *new, stack_t *old) {
    (void)new, (void)old;
    __asm__("mov $131, %eax\n syscall\n ret\n");
}

#define SITE(name, nr)                                                                                                \
    __attribute__((naked, noinline, aligned(64))) static long name(long a, void *b) {                                 \
        (void)a, (void)b;                                                                                             \
        __asm__("mov $" #nr ", %eax\n syscall\n ret\n");                                                              \
    }
SITE(hot_clock, 228)
SITE(hot_resolution, 229)
SITE(hot_day, 96)
SITE(hot_time, 201)
SITE(hot_cpu, 309)
SITE(hot_barrier, 324)
__attribute__((naked, noinline, aligned(64))) static long hot_advice(void *at, long len, long advice) {
    (void)at, (void)len, (void)advice;
    __asm__("mov $28, %eax\n syscall\n ret\n");
}
static char spare[0x8000] __attribute__((aligned(4096)));

static void make_calls(void) {
    uint64_t set = ~0ul, old;
    for (int i = 0; i < 10; i++) {
        hot_getpid(), hot_mask(0, &set, &old, 8), hot_mask(1, &set, &old, 8);
        kill(getpid(), SIGWINCH);
        stack_t seen, own;
        hot_stack(0, &own), hot_stack(&own, &seen);
        struct timespec time;
        hot_clock(i, &time), hot_resolution(i, &time), hot_day((long)&time, 0), hot_time((long)&time, 0), hot_cpu((long)&time, 0);
        for (int advice = 0; advice < 26; advice += advice == 8 ? 12 : 1) hot_advice(spare + 0x1000, 0x2000, advice);
        hot_barrier(16, 0), hot_barrier(8, 0);
        int word = i;
        struct timespec brief = {.tv_nsec = 1000};
        hot_futex(&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0);
        hot_futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, i, (long)&brief);
        hot_futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, i + 1, 0);
    }
}

static void in_child(void (*attack)(uint64_t, uint64_t), uint64_t a, uint64_t b) {
    pid_t p = fork();
    if (p == 0) {
        guard();
        make_calls();
        if (!sigsetjmp(back, 1)) attack(a, b);
        if (!sigsetjmp(back, 1)) make_calls();
        _exit(0);
    }
    // It may wait for ever, in code that waits for a reply.
    for (int i = 0; i < 40; i++) {
        if (waitpid(p, 0, WNOHANG) == p) return;
        usleep(1000);
        if (i == 20) kill(p, SIGKILL);
    }
}

static void scribble(uint64_t offset, uint64_t value) {
    *(volatile uint64_t *)(context() + offset) = value;
    make_calls();
}

static void jump(uint64_t offset, uint64_t rbx) {
    __asm__ volatile("mov %0, %%rbx\n mov $14, %%eax\n mov $1, %%ecx\n xor %%edi, %%edi\n mov $8, %%r10d\n jmp *%1\n"
                     :
                     : "r"(rbx), "a"(0x7e8000000000 + offset)
                     : "rbx", "rcx", "rdi", "r10", "memory");
}

// With its stack where the stub calls the vDSO's functions.
static void stand_inside(uint64_t offset, uint64_t what) {
    uint64_t rsp = context() + offset;
    switch (what % 4) {
    case 0: __asm__ volatile("mov %0, %%rsp\n syscall\n jmp *%%rax\n" ::"r"(rsp), "a"(228), "D"(1), "S"(8) : "rcx", "r11", "memory"); break;
    case 1: __asm__ volatile("mov %0, %%rsp\n movl $0, 8\n" ::"r"(rsp) : "memory"); break;
    case 2: __asm__ volatile("mov %0, %%rsp\n ud2\n" ::"r"(rsp) : "memory"); break;
    default: __asm__ volatile("mov %0, %%rsp\n 1: push %%rax\n pop %%rax\n jmp 1b\n" ::"r"(rsp) : "memory");
    }
}

int main(void) {
    make_calls();
    // Where a guest has no such base there is nothing of this kind.
    if (context() < 0x7e8000000000 || context() > 0x7ff000000000) return 0;
    static const uint64_t values[] = {0, ~0ul, 0x0000000100000001, 0x4141414141414141};
    for (uint64_t at = 0x180; at < 0x1c0; at += 8)
        for (int i = 0; i < 4; i++) in_child(scribble, at, values[i]);
    for (uint64_t at = 0xb40; at < 0xc00; at += 8)
        for (int i = 0; i < 4; i++) in_child(scribble, at, values[i]);
    for (uint64_t at = 0; at <= 0x1000; at += 0x200)
        for (int i = 0; i < 4; i++) in_child(stand_inside, at, (uint64_t)i);
    // Numbers of sleepers.
    for (uint64_t at = 0xfe00; at < 0x10000; at += 8) in_child(scribble, at, values[at / 8 % 4]);
    for (uint64_t at = 0; at < 0x1000; at += 29) in_child(jump, at, at & 8 ? context() : (uint64_t)alternate);
    return 0;
}
