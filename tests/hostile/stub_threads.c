// Threads that no longer answer: they block the platform's signal, sleep in the stub, end behind the sentry's back, or
// claim to make calls while they go on. Whoever waits for such a process must get its end.
#include "stub.h"

static volatile int ready;

static void spin(void) {
    ready = 1;
    for (;;) __asm__ volatile("pause");
}

static void *deaf(void *a) {
    struct machine *m = new_machine();
    m->mask = ~0ull;
    raw(m, SYS_membarrier, 0, 0, 0, 0, 0, 0); // Comes back with every signal blocked.
    spin();
    return a;
}
static void *asleep(void *a) {
    static int word;
    struct machine *m = new_machine();
    ready = 1;
    raw(m, SYS_futex, (long)&word, 0, 0, 0, 0, 0);
    return a;
}
static void *gone(void *a) {
    struct machine *m = new_machine();
    ready = 1;
    raw(m, SYS_exit, 0, 0, 0, 0, 0, 0);
    return a;
}
// Publishes calls that make the sentry ask this thread's stub for something, and never looks at the answer.
static void *liar(void *a) {
    uint64_t x = own_context();
    static const long calls[] = {SYS_mmap, SYS_fork, SYS_munmap, SYS_rt_sigreturn, SYS_read, SYS_mprotect};
    W64(x, CALL_RAX) = calls[(long)a % 6];
    W64(x, CALL_RAX + 8) = 0;
    W64(x, CALL_RAX + 16) = 0x10000;
    W64(x, CALL_RAX + 24) = 3;
    W64(x, CALL_RAX + 32) = 0x22;
    W64(x, CALL_RAX + 40) = -1;
    W32(x, KIND) = CALL;
    __atomic_store_n((uint32_t *)(x + EVENT), W32(x, REQUEST), __ATOMIC_SEQ_CST);
    spin();
    return a;
}
static void *unmapper(void *a) {
    struct machine *m = new_machine();
    ready = 1;
    raw(m, SYS_munmap, 0x10000, 0x7e7dffff0000, 0, 0, 0, 0);
    return a;
}

static void *(*const kinds[])(void *) = {deaf, asleep, gone, liar, liar, liar, unmapper};
enum { KINDS = sizeof kinds / sizeof *kinds };

// The end of the process by an orderly thread, by one that gets a signal, by exec, by somebody else; and without others.
static void attack(long how) {
    pthread_t t;
    if (how / KINDS == 4) kinds[how % KINDS]((void *)(how % KINDS));
    if (pthread_create(&t, 0, kinds[how % KINDS], (void *)(how % KINDS))) _exit(77);
    while (!ready) usleep(100);
    usleep(3000);
    switch (how / KINDS) {
    case 0: _exit(3);
    case 1: abort();
    case 2: execl("/bin/true", "true", (char *)0); _exit(4);
    default: for (;;) pause();
    }
}

int main(void) {
    if (!find_stub()) return 0;
    pid_t looks = fork();
    if (looks == 0) {
        // Somebody else looks at them, which must not wait for what they don't answer.
        static char look[] = "for i in 1 2 3; do cat /proc/[0-9]*/status /proc/[0-9]*/maps /proc/[0-9]*/cmdline; done";
        for (int i = 1; i < 3; i++) close(i);
        execl("/bin/sh", "sh", "-c", look, (char *)0);
        _exit(77);
    }
    in_children(attack, KINDS * 5, 100);
    int st;
    waitpid(looks, &st, 0);
    return 0;
}
