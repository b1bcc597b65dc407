// Code as its own program sees it: what a sandbox does to system-call sites must not be seen, and must hold whatever the
// program does to its memory, its threads and its signals meanwhile.
#include "case.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#define FAMILY "text"

// A site of its own: `mov $nr, %eax; syscall; ret`.
__attribute__((naked, noinline, aligned(64))) static long own_getppid(void) {
    __asm__("mov $110, %eax\n syscall\n ret\n");
}

static long call_often(void) {
    long last = 0;
    for (int i = 0; i < 50; i++) last = own_getppid();
    return last;
}

CASE(text_reads_as_written, "mprotect getppid") {
    static const unsigned char code[] = {0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3};
    T(call_often() == getppid());
    char *page = (char *)((unsigned long)own_getppid & ~4095ul);
    MUST(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
    T(memcmp((void *)own_getppid, code, sizeof code) == 0);
    // Another call in the same place.
    ((volatile unsigned char *)own_getppid)[1] = SYS_getuid;
    MUST(mprotect(page, 8192, PROT_READ | PROT_EXEC));
    T(call_often() == getuid());
    MUST(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
    ((volatile unsigned char *)own_getppid)[1] = SYS_getppid;
    T(call_often() == getppid());
}

// Maps the page of `own_getppid` once more, privately, from the program's file.
static long (*map_copy(void *at, int flags))(void) {
    unsigned long addr = (unsigned long)own_getppid, start, end, offset;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && start <= addr && addr < end) break;
    fclose(maps);
    int fd = (int)MUST(open("/proc/self/exe", O_RDONLY));
    unsigned long page = addr & ~4095ul;
    char *copy = mmap(at, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | flags, fd, (long)(offset + (page - start)));
    close(fd);
    if (copy == MAP_FAILED) give_up("mmap of the text", errno);
    return (long (*)(void))(copy + (addr - page));
}

CASE(text_moves_and_goes, "mmap mremap munmap madvise getppid") {
    long (*call)(void) = map_copy(0, 0);
    char *page = (char *)((unsigned long)call & ~4095ul);
    long parent = getppid();
    int good = 1;
    for (int i = 0; i < 20; i++) good &= call() == parent;
    T(good);
    // Elsewhere, far from where it was.
    char *far = (char *)0x123450000000;
    T(mremap(page, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, far) == far);
    call = (long (*)(void))(far + ((char *)call - page));
    for (int i = 0; i < 20; i++) good &= call() == parent;
    T(good);
    // Back to what the file holds, and again.
    for (int round = 0; round < 5; round++) {
        MUST(madvise(far, 8192, MADV_DONTNEED));
        for (int i = 0; i < 12; i++) good &= call() == parent;
    }
    T(good);
    // Replaced by other code, and by itself.
    for (int round = 0; round < 5; round++) {
        MUST(munmap(far, 8192));
        call = map_copy(far, MAP_FIXED);
        for (int i = 0; i < 12; i++) good &= call() == parent;
    }
    T(good);
    R(munmap(far, 8192));
}

// Everything that is free near the program, so that whatever stands there unseen is in the way.
CASE(text_surroundings_can_be_mapped, "mmap munmap getppid") {
    long parent = getppid();
    int good = call_often() == parent;
    unsigned long here = (unsigned long)own_getppid & ~0xffffffful;
    for (int i = -8; i < 8; i++) {
        char *at = (char *)(here + (long)i * 0x10000000);
        // Piece by piece: what is in use stays.
        for (unsigned long piece = 0; piece < 0x10000000; piece += 0x1000000) {
            char *got = mmap(at + piece, 0x1000000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (got != MAP_FAILED) {
                good &= got == at + piece && own_getppid() == parent;
                good &= munmap(got, 0x1000000) == 0;
            }
        }
        good &= call_often() == parent;
    }
    T(good);
}

static volatile int stop;
static volatile long ticks;
static void tick(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)info, (void)context;
    ticks++;
    own_getppid();
}

static void *caller(void *bad) {
    long parent = getppid();
    char byte = 1;
    int zero = open("/dev/zero", O_RDONLY);
    while (!stop) {
        if (own_getppid() != parent || syscall(SYS_getppid) != parent) ++*(int *)bad;
        if (read(zero, &byte, 1) != 1 || byte) ++*(int *)bad;
        if (syscall(SYS_lseek, 12345, 0, 0) != -1 || errno != EBADF) ++*(int *)bad;
    }
    close(zero);
    return 0;
}

CASE(text_under_threads_and_signals, "setitimer rt_sigaction clone3 getppid read") {
    struct sigaction action = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    MUST(sigaction(SIGALRM, &action, 0));
    struct itimerval timer = {{0, 4000}, {0, 4000}};
    MUST(setitimer(ITIMER_REAL, &timer, 0));
    pthread_t threads[3];
    int bad[3] = {0};
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, caller, &bad[i]);
    char *page = (char *)((unsigned long)own_getppid & ~4095ul);
    struct timespec pause = {0, 2000000};
    for (int i = 0; i < 40; i++) {
        // Its code comes and goes under the threads that run it.
        MUST(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
        MUST(mprotect(page, 8192, PROT_READ | PROT_EXEC));
        if (i % 8 == 0) {
            pid_t child = fork();
            if (child == 0) _exit(own_getppid() == getppid() ? 0 : 1);
            int status;
            while (waitpid(child, &status, 0) == -1 && errno == EINTR) continue;
            T(status == 0);
        }
        while (nanosleep(&pause, 0)) continue;
    }
    stop = 1;
    int wrong = 0;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0), wrong += bad[i];
    timer = (struct itimerval){0};
    MUST(setitimer(ITIMER_REAL, &timer, 0));
    T(ticks > 2);
    R(wrong);
}

static volatile unsigned long seen_rip, seen_rax;
static void look(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)info;
    ucontext_t *uc = context;
    seen_rip = (unsigned long)uc->uc_mcontext.gregs[REG_RIP];
    seen_rax = (unsigned long)uc->uc_mcontext.gregs[REG_RAX];
}

// `mov $62, %eax; syscall; ret`: kill(rdi, rsi).
__attribute__((naked, noinline, aligned(64))) static long own_kill(int pid __attribute__((unused)), int signo __attribute__((unused))) {
    __asm__("mov $62, %eax\n syscall\n ret\n");
}

CASE(text_address_in_a_signal_frame, "rt_sigaction kill") {
    struct sigaction action = {.sa_sigaction = look, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR1, &action, 0));
    pid_t self = getpid();
    int good = 1;
    for (int i = 0; i < 20; i++) {
        seen_rip = 0;
        good &= own_kill(self, SIGUSR1) == 0;
        good &= seen_rip == (unsigned long)own_kill + 7 && seen_rax == 0;
    }
    T(good);
}
