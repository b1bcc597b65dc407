// Forged events in the own context, from many threads at once; floods of notifications; stolen and guessed secrets; unmapping,
// forking, executing and ending in the middle of it.
#include "stub.h"

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static volatile uint64_t victim[64];
static volatile int victims, stop;

static void *calls(void *a) {
    int mine = __atomic_fetch_add(&victims, 1, __ATOMIC_SEQ_CST);
    victim[mine % 64] = own_context();
    static char buf[4096];
    for (long i = 0; !stop; i++) {
        syscall(SYS_getcwd, buf, sizeof buf);
        void *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED) munmap(p, 8192);
        if (i % 64 == 0 && fork() == 0) _exit(0);
    }
    return a;
}
static void *forges(void *a) {
    static const uint32_t kinds[] = {0x100, 0x101, 0x102, 0x103, 31, 11, 7, 8, 4, 5, 64, 0, 1, 0xffffffff, 0x7fffffff};
    while (!stop) {
        uint64_t x = victim[next() % 64];
        if (!x) continue;
        switch (next() % 8) {
        case 0: W32(x, KIND) = kinds[next() % 15]; break;
        case 1: W32(x, EVENT) = W32(x, REQUEST); break;
        case 2: W32(x, EVENT) = next(); break;
        case 3: W32(x, OP_DONE) = next(); break;
        case 4: W64(x, OP_RESULT) = next() % 4 ? -(next() % 5000) : next(); break;
        case 5: W64(x, CALL_RAX + next() % 24 * 8) = next() % 2 ? next() % 460 : next(); break;
        case 6: W32(x, WAITING) = next() % 3; break;
        default: W64(x, next() % 0x2000 * 8) = next();
        }
    }
    return a;
}
static void *wakes(void *a) {
    struct machine *m = new_machine();
    for (uint32_t i = 0; !stop; i++) raw(m, 0x0f570001, i, 0, 0, 0, 0, 0);
    return a;
}

static void storm(long how) {
    pthread_t t;
    state += how * 7919;
    for (int i = 0; i < 4; i++) pthread_create(&t, 0, calls, 0);
    for (int i = 0; i < 2; i++) pthread_create(&t, 0, forges, 0);
    if (how % 2) pthread_create(&t, 0, wakes, 0);
    usleep(100000 + next() % 100000);
    if (how % 3 == 0) execl("/bin/true", "true", (char *)0);
    if (how % 3 == 1) munmap((void *)0x10000, 0x7e7dffff0000);
    _exit(0);
}
static void hello(long how) {
    struct machine *m = new_machine();
    uint64_t x = own_context();
    // The cookie of an earlier birth, one of a later, and guesses.
    for (int i = 0; i < 50; i++) raw(m, 0x0f570002, how ? (long)next() : (long)W64(x, 0xa08), 0, 0, 0, 0, 0);
    _exit(0);
}
static void clones(long how) {
    struct machine *m = new_machine();
    static const long flags[] = {SIGCHLD, 0x8000 | 0x400 | SIGCHLD, 0x50f00 | 0x200000, 0x10000000 | SIGCHLD, 0x7e020000};
    uint64_t x = own_context();
    raw(m, SYS_clone, flags[how % 5], how > 5 ? x + 0x8000 : 0, 0, how > 5 ? x + 0xa40 : 0, 0, 0);
    _exit(0);
}

int main(void) {
    if (!find_stub()) return 0;
    in_children(storm, 12, 2000);
    in_children(hello, 2, 1000);
    in_children(clones, 10, 500);
    return 0;
}
