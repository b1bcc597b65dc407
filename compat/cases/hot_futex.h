// Private futex calls by a site of their own, which becomes quick with use.
#pragma once
#include "case.h"
#include <linux/futex.h>
#define WAIT (FUTEX_WAIT | FUTEX_PRIVATE_FLAG)
#define WAKE (FUTEX_WAKE | FUTEX_PRIVATE_FLAG)
#define WAIT_BITS (FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG)
#define WAKE_BITS (FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG)

// Word, operation, value, time, second word, bits; the kernel's own answer.
#define FUTEX_SITE(name)                                                                                              \
    __attribute__((naked, noinline, aligned(64), unused)) static long name(void *word, long op, long value, long time, \
                                                                           void *other, long bits) {                  \
        (void)word, (void)op, (void)value, (void)time, (void)other, (void)bits;                                       \
        __asm__("mov %rcx, %r10\n mov $202, %eax\n syscall\n ret\n");                                                \
    }

FUTEX_SITE(hot_futex)

static void warm_up(void) {
    int word = 0;
    for (int i = 0; i < 10; i++) hot_futex(&word, WAKE, 1, 0, 0, 0);
}
