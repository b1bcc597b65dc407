// Changes of memory by threads that go on computing, by several threads at once, and under signals.
#include "case.h"
#include <stdatomic.h>
#define FAMILY "memory"

static const int AP = MAP_ANONYMOUS | MAP_PRIVATE, RW = PROT_READ | PROT_WRITE;

static atomic_int turn, stop, bad;
static char *volatile place;

// Waits without a call, so that nothing leads this thread into the kernel.
static void spin_until(int value) {
    while (atomic_load(&turn) != value) __builtin_ia32_pause();
}

// Returns the permissions of the page, or "none".
static const char *permissions(const char *page) {
    static char found[8];
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], rights[8];
    unsigned long start, end;
    strcpy(found, "none");
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && start <= (unsigned long)page &&
            (unsigned long)page < end)
            strcpy(found, rights);
    fclose(maps);
    return found;
}

// Maps, protects, advises and unmaps by turns; after each call it tells by memory only, and computes.
static void *changer(void *arg) {
    (void)arg;
    for (int round = 0; round < 20; round++) {
        place = mmap(0, 2 * PAGE, RW, AP, -1, 0);
        atomic_store(&turn, 8 * round + 1);
        spin_until(8 * round + 2);
        mprotect(place, PAGE, PROT_READ);
        atomic_store(&turn, 8 * round + 3);
        spin_until(8 * round + 4);
        munmap(place, PAGE);
        atomic_store(&turn, 8 * round + 5);
        spin_until(8 * round + 6);
        munmap(place + PAGE, PAGE);
    }
    return 0;
}

CASE(memory_change_is_seen_before_the_next_call, "mmap mprotect munmap") {
    pthread_t thread;
    pthread_create(&thread, 0, changer, 0);
    int good = 1;
    for (int round = 0; round < 20; round++) {
        spin_until(8 * round + 1);
        good &= strcmp(permissions(place), "rw-p") == 0;
        atomic_store(&turn, 8 * round + 2);
        spin_until(8 * round + 3);
        good &= strcmp(permissions(place), "r--p") == 0 && strcmp(permissions(place + PAGE), "rw-p") == 0;
        atomic_store(&turn, 8 * round + 4);
        spin_until(8 * round + 5);
        good &= strcmp(permissions(place), "none") == 0 && strcmp(permissions(place + PAGE), "rw-p") == 0;
        atomic_store(&turn, 8 * round + 6);
    }
    pthread_join(thread, 0);
    T(good);
}

// Changes memory once and then computes until it is told to stop.
static void *computer(void *arg) {
    (void)arg;
    char *p = mmap(0, 4 * PAGE, RW, AP, -1, 0);
    munmap(p, PAGE);
    atomic_store(&turn, 1);
    spin_until(2);
    return 0;
}

CASE(memory_change_does_not_wait_for_a_computing_thread, "mmap munmap brk fork") {
    for (int round = 0; round < 5; round++) {
        atomic_store(&turn, 0);
        pthread_t thread;
        pthread_create(&thread, 0, computer, 0);
        spin_until(1);
        int good = 1;
        for (int i = 0; i < 50; i++) {
            char *p = mmap(0, PAGE, RW, AP, -1, 0);
            good &= p != MAP_FAILED && !munmap(p, PAGE);
        }
        char *end = sbrk(PAGE);
        good &= end != (char *)-1 && sbrk(-(long)PAGE) != (char *)-1;
        pid_t child = fork();
        if (child == 0) _exit(munmap(place ? place : 0, 0) == -1 ? 7 : 8);
        int status;
        waitpid(child, &status, 0);
        T(good && WEXITSTATUS(status) == 7);
        atomic_store(&turn, 2);
        pthread_join(thread, 0);
    }
}

static void *churner(void *arg) {
    long id = (long)arg;
    for (int i = 0; i < 400; i++) {
        long *p = mmap(0, 4 * PAGE, RW, AP, -1, 0);
        if (p == MAP_FAILED) {
            atomic_fetch_add(&bad, 1);
            continue;
        }
        for (int at = 0; at < 4; at++) p[at * 512] = id * 1000 + i;
        int wrong = mprotect(p, 2 * PAGE, PROT_READ) || madvise(p + 3 * 512, PAGE, MADV_DONTNEED);
        for (int at = 0; at < 3; at++) wrong |= p[at * 512] != id * 1000 + i;
        wrong |= p[3 * 512] != 0;
        wrong |= munmap((char *)p + PAGE, PAGE) || munmap(p, 4 * PAGE);
        if (wrong) atomic_fetch_add(&bad, 1);
    }
    return 0;
}

static void run_churners(void) {
    pthread_t threads[4];
    atomic_store(&bad, 0);
    for (long id = 0; id < 4; id++) pthread_create(&threads[id], 0, churner, (void *)id);
    for (int id = 0; id < 4; id++) pthread_join(threads[id], 0);
    T(bad == 0);
}

CASE(memory_changes_of_threads_keep_apart, "mmap mprotect madvise munmap") { run_churners(); }

static atomic_int ticks;
static void tick(int sig) {
    (void)sig;
    char *p = mmap(0, PAGE, RW, AP, -1, 0);
    if (p == MAP_FAILED || (p[0] = 1, munmap(p, PAGE))) atomic_fetch_add(&bad, 1);
    atomic_fetch_add(&ticks, 1);
}

CASE(memory_changes_under_signals, "mmap mprotect madvise munmap setitimer") {
    on_signal(SIGALRM, tick, SA_RESTART);
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, 0);
    for (int i = 0; i < 200 && atomic_load(&ticks) < 100; i++) churner((void *)1);
    T(UNTIL(atomic_load(&ticks) >= 20));
    setitimer(ITIMER_REAL, &never, 0);
    T(bad == 0);
    run_churners();
}

static void *fork_while(void *arg) {
    (void)arg;
    while (!atomic_load(&stop)) {
        char *p = mmap(0, 2 * PAGE, RW, AP, -1, 0);
        mprotect(p, PAGE, PROT_READ);
        munmap(p, 2 * PAGE);
    }
    return 0;
}

CASE(fork_and_exec_while_threads_change_memory, "fork execve mmap munmap") {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], 0, fork_while, 0);
    int good = 1, status;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            char *p = mmap(0, 64 * PAGE, RW, AP, -1, 0);
            p[0] = 1;
            if (i % 4 == 0) execl("/bin/true", "true", NULL);
            _exit(munmap(p, 64 * PAGE) ? 1 : 0);
        }
        good &= waitpid(child, &status, 0) == child && status == 0;
    }
    T(good);
    // The others are in the middle of it.
    pid_t child = fork();
    if (child == 0) {
        atomic_store(&stop, 0);
        for (int i = 0; i < 2; i++) pthread_create(&threads[i], 0, fork_while, 0);
        usleep(2000);
        execl("/bin/true", "true", NULL);
    }
    show_wait(child);
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
}
