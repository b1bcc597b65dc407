// Advice about memory and barriers at call sites that have become quick: what a sandbox lets pass without a look at its books must
// do what it does on Linux, whatever has become of the memory since.
#include "case.h"
#include "forbid.h"
#include "pester.h"
#include <linux/membarrier.h>
#include <stdatomic.h>
#define FAMILY "answers"

// Sites of our own, so that it is these that become quick.
#define SITE(name, nr)                                                                                                \
    __attribute__((naked, noinline, aligned(64))) static long name(long a, long b, long c) {                          \
        (void)a, (void)b, (void)c;                                                                                    \
        __asm__("mov $" #nr ", %eax\n syscall\n ret\n");                                                              \
    }
SITE(hot_madvise, 28)
SITE(hot_membarrier, 324)

enum { PAGES = 16 };
static long drop(char *at, size_t len) { return hot_madvise((long)at, (long)len, MADV_DONTNEED); }

// Memory about which much advice has been given already.
static char *known(void) {
    char *at = mmap(0, PAGES * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) give_up("mmap", errno);
    for (int i = 0; i < 14; i++) drop(at, PAGE);
    for (int i = 0; i < PAGES; i++) at[i * (int)PAGE] = (char)('a' + i);
    return at;
}

// The first byte of each page; 0 as a dot.
static void look(const char *label, const char *at, int pages) {
    char text[PAGES + 1] = "";
    for (int i = 0; i < pages; i++) text[i] = at[i * (long)PAGE] ? at[i * (long)PAGE] : '.';
    say("%s: %s\n", label, text);
}

CASE(answers_advice_by_range, "madvise") {
    char *at = known();
    R(drop(at + PAGE, PAGE));
    R(drop(at + 3 * PAGE, 1));
    R(drop(at + 5 * PAGE, PAGE + 1));
    look("three times", at, PAGES);
    R(drop(at + 1, PAGE));
    R(drop(at, 0));
    R(drop(at + 7, 0));
    R(drop(at, -1ul));
    R(drop(at, -PAGE));
    R(drop(at + 8 * PAGE, 1ul << 47));
    R(hot_madvise((long)at, PAGE, -1));
    R(hot_madvise((long)at, PAGE, 1000));
    R(hot_madvise((long)at + 4, PAGE, 1000));
    // To the end, and beyond: what is there goes.
    R(drop(at + 15 * PAGE, PAGE));
    MUST(munmap(at + 14 * PAGE, 2 * PAGE));
    for (int i = 0; i < 12; i++) drop(at + 13 * PAGE, PAGE);
    at[13 * PAGE] = 'x';
    R(drop(at + 13 * PAGE, 2 * PAGE));
    look("cut", at, 14);
    R(drop(0, PAGE));
    R(drop((char *)(1ul << 47), PAGE));
    R(drop((char *)-PAGE, PAGE));
}

CASE(answers_advice_of_all_kinds, "madvise") {
    int kinds[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT,
                   MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK, 22, 23, 24};
    char *at = known();
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (int round = 0; round < 2; round++) say("%d: %ld ", kinds[i], hot_madvise((long)at, 4 * PAGE, kinds[i]));
        say("\n");
    }
    hot_madvise((long)at, PAGES * PAGE, MADV_COLD);
    hot_madvise((long)at, PAGES * PAGE, MADV_PAGEOUT);
    look("cold", at + 4 * PAGE, 8);
    at = known();
    hot_madvise((long)at, PAGES * PAGE, MADV_FREE);
    int either = 0;
    for (int i = 0; i < PAGES; i++) either += at[i * (long)PAGE] == 0 || at[i * (long)PAGE] == 'a' + i;
    R(either);
    // Written again, it stays.
    for (int i = 0; i < PAGES; i++) at[i * (long)PAGE] = (char)('A' + i);
    look("after", at, PAGES);
    MUST(madvise(at, PAGES * PAGE, MADV_WIPEONFORK));
    R(drop(at, PAGE));
    look("to be wiped", at, 4);
    IN_CHILD(look("wiped", at, 4));
}

// What the memory becomes by other calls, of the same thread.
CASE(answers_advice_after_changes, "madvise mmap munmap mremap mprotect mlock brk") {
    char *at = known();
    int file = MUST(open("words", O_RDWR | O_CREAT, 0600));
    static char block[PAGES * PAGE];
    for (int i = 0; i < PAGES; i++) block[i * (long)PAGE] = (char)('0' + i);
    if (write(file, block, sizeof block) < 0) give_up("write", errno);
    MUST((long)mmap(at, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file, 0));
    at[0] = at[PAGE] = '!';
    R(drop(at, 6 * PAGE));
    look("a file", at, 8);
    MUST((long)mmap(at, 4 * PAGE, 3, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
    at[0] = at[PAGE] = '!';
    R(drop(at, 6 * PAGE));
    R(hot_madvise((long)at, 6 * PAGE, MADV_FREE));
    look("shared", at, 8);
    MUST((long)mmap(at, PAGES * PAGE, 3, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0));
    at[0] = '!';
    R(drop(at, PAGE));
    look("anew", at, 2);
    for (int i = 0; i < 10; i++) drop(at, PAGE);
    at[0] = at[PAGE] = at[2 * PAGE] = '!';
    MUST(mlock(at + PAGE, PAGE));
    R(drop(at, 3 * PAGE));
    R(drop(at + PAGE, PAGE));
    R(hot_madvise((long)at + (long)PAGE, PAGE, MADV_FREE));
    R(hot_madvise((long)at + (long)PAGE, PAGE, MADV_COLD));
    look("locked", at, 3);
    MUST(munlock(at + PAGE, PAGE));
    R(drop(at + PAGE, PAGE));
    look("unlocked", at, 3);
    MUST(mprotect(at, PAGE, PROT_NONE));
    R(drop(at, 2 * PAGE));
    MUST(mprotect(at, PAGE, PROT_READ));
    R(drop(at, 2 * PAGE));
    MUST(mprotect(at, PAGE, 3));
    at[0] = 'y', at[4 * PAGE] = 'z';
    char *far = anon(PAGES);
    for (int i = 0; i < 10; i++) drop(far, PAGE);
    far[0] = 'f', far[PAGE] = 'g';
    T(mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, far) == far);
    R(drop(at, PAGE));
    R(drop(at, 2 * PAGE));
    R(drop(far + PAGE, PAGE));
    look("moved", far, 2);
    R(drop(far, PAGE));
    look("dropped", far, 2);
    MUST(munmap(far, PAGE));
    R(drop(far, PAGE));
    MUST(munlockall());
    char *heap = sbrk(0);
    heap = (char *)(((uintptr_t)heap + PAGE - 1) & -PAGE);
    MUST(brk(heap + 4 * PAGE));
    for (int i = 0; i < 10; i++) drop(heap, PAGE);
    heap[0] = heap[PAGE] = 'h';
    R(drop(heap, PAGE));
    look("heap", heap, 2);
    MUST(brk(heap + PAGE));
    R(drop(heap, PAGE));
    R(drop(heap, 2 * PAGE));
    MUST(brk(heap));
    R(drop(heap, PAGE));
}

CASE(answers_advice_about_code, "madvise mprotect") {
    unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3}; // getpid
    char *at = known();
    memcpy(at, code, sizeof code);
    MUST(mprotect(at, PAGE, 5));
    long (*call)(void) = (long (*)(void))at;
    int good = 0;
    for (int i = 0; i < 30; i++) good += call() == getpid();
    R(good);
    R(drop(at, PAGE));
    T(at[0] == 0 && at[5] == 0);
    MUST(mprotect(at, PAGE, 3));
    memcpy(at, code, sizeof code);
    code[1] = 110; // getppid
    memcpy(at, code, sizeof code);
    MUST(mprotect(at, PAGE, 5));
    T(call() == getppid());
}

CASE(answers_advice_in_children, "madvise fork vfork") {
    char *at = known();
    IN_CHILD({
        R(drop(at, 4 * PAGE));
        for (int i = 0; i < 10; i++) drop(at, PAGE);
        look("child", at, 8);
        MUST(munmap(at, PAGE));
        R(drop(at, PAGE));
    });
    R(drop(at + 5 * PAGE, PAGE));
    look("parent", at, 8);
    pid_t child = vfork();
    if (child == 0) {
        for (int i = 0; i < 10; i++) drop(at + PAGE, PAGE);
        munmap(at, PAGE);
        _exit(0);
    }
    show_wait(child);
    R(drop(at, PAGE));
    R(drop(at, 2 * PAGE));
    look("after vfork", at + PAGE, 7);
}

static atomic_int step;
static char *common;
static void *change_there(void *unused) {
    (void)unused;
    for (int at = 1;; at += 2) {
        while (step != at) sched_yield();
        int kind = at / 2 % 4;
        if (at > 160) return 0;
        if (kind == 0) munmap(common, 4 * PAGE);
        if (kind == 1) MUST((long)mmap(common, 4 * PAGE, 3, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0)), common[PAGE] = 's';
        if (kind == 2) MUST((long)mmap(common, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0)), common[PAGE] = 'p';
        if (kind == 3) common[PAGE] = 'q', mlock(common, PAGE * 4);
        step = at + 1;
    }
}

// By another thread.
CASE(answers_advice_after_changes_by_others, "madvise mmap munmap mlock") {
    common = known();
    pthread_t other = thread(change_there, 0);
    char told[4][32];
    int same = 0;
    for (int at = 0; at < 160; at += 2) {
        step = at + 1;
        while (step != at + 2) sched_yield();
        long r = drop(common + PAGE, PAGE);
        int kind = at / 2 % 4;
        char now = kind == 0 ? '-' : common[PAGE] ? common[PAGE] : '.';
        char text[32];
        snprintf(text, sizeof text, "%ld %c", r, now);
        if (at < 8) say("%s\n", text), memcpy(told[kind], text, sizeof text);
        else same += !strcmp(told[kind], text);
        if (kind == 3) munlock(common, PAGE * 4);
        if (kind == 2)
            for (int i = 0; i < 3; i++) drop(common, PAGE);
    }
    R(same);
    step = 161;
    pthread_join(other, 0);
}

static atomic_int leave, handled, ready;
static void count(int signal) {
    (void)signal;
    handled++;
}
static void *drop_often(void *bad) {
    char *at = known();
    ready = 1;
    while (!leave) {
        at[0] = at[PAGE] = 1;
        if (drop(at, 2 * PAGE) || at[0] || at[PAGE] || at[2 * PAGE] != 'c') ++*(int *)bad;
        if (hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)) ++*(int *)bad;
    }
    return 0;
}

CASE(answers_advice_interrupted_anywhere, "madvise membarrier tgkill") {
    on_signal(SIGUSR1, count, SA_RESTART);
    MUST(hot_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    int bad = 0;
    pthread_t other = thread(drop_often, &bad);
    UNTIL(ready);
    int good = pester(other, 500, &handled);
    leave = 1;
    pthread_join(other, 0);
    T(good), T(bad == 0);
}

HELPER(barrier_after_exec) {
    R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    return 0;
}

CASE(answers_barriers, "membarrier fork execve") {
    for (int i = 0; i < 12; i++) hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    R(hot_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    for (int round = 0; round < 3; round++) {
        R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
        R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 1, 0));
        R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED | 1, 0, 0));
        R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
        R(hot_membarrier(-1, 0, 0));
    }
    IN_CHILD(R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)); R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)));
    pid_t p = fork();
    if (p == 0) {
        execl(program("cases"), "cases", "helper", "barrier_after_exec", NULL);
        _exit(9);
    }
    show_wait(p);
}

CASE(answers_advice_obeys_filters, "seccomp madvise membarrier") {
    MUST(hot_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    char *at = known();
    IN_CHILD({
        R(drop(at, PAGE)), R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
        R(forbid(SYS_madvise));
        R(drop(at + PAGE, PAGE)), R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
        R(forbid(SYS_membarrier));
        R(hot_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
        look("left", at, 3);
    });
}
