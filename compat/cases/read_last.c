// Reads of a process with several threads, whose others change the memory that is read into: what was not delivered is still
// there, and everybody gets on.
#include "case.h"
#include <netinet/in.h>
#include <stdatomic.h>
#define FAMILY "io"
#define WORDS 6000

static char *page;
static atomic_int over;
static _Atomic long changes;

static void *change_protection(void *arg) {
    (void)arg;
    for (int i = 0; !over; i++, changes++) {
        if (mprotect(page, PAGE, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ)) give_up("mprotect", errno);
        if (i % 16 == 0) sched_yield();
    }
    return 0;
}

static void *replace_page(void *arg) {
    (void)arg;
    for (int i = 0; !over; i++, changes++) {
        int prot = i % 2 ? PROT_READ | PROT_WRITE : PROT_NONE;
        if (mmap(page, PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) give_up("mmap", errno);
        if (i % 16 == 0) sched_yield();
    }
    return 0;
}

static void *write_numbers(void *fd) {
    for (int i = 0; i < WORDS; i++) {
        // Not without a change now and then.
        for (long seen = changes; i % 64 == 0 && changes == seen;) sched_yield();
        if (write((int)(long)fd, &i, sizeof i) != sizeof i) give_up("write", errno);
    }
    return 0;
}

// Reads with a buffer that is longer than what comes, and counts what is there. A page that was replaced has lost its bytes,
// so there only their number is looked at.
static void read_numbers(int from, int to, void *(*change)(void *)) {
    page = anon(1);
    over = 0;
    changes = 0;
    pthread_t writer, changer;
    pthread_create(&writer, 0, write_numbers, (void *)(long)to);
    pthread_create(&changer, 0, change, 0);
    long bytes = 0, wrong = 0, last = -1;
    while (bytes < WORDS * 4) {
        long got = read(from, page + 64, change == replace_page ? 4 : 2048);
        if (got < 0 && errno != EFAULT) give_up("read", errno);
        if (got <= 0) continue;
        if (change == change_protection) {
            for (long at = 0; at + 4 <= got; at += 4) wrong += *(int *)(page + 64 + at) != ++last;
        }
        bytes += got;
    }
    over = 1;
    pthread_join(writer, 0);
    pthread_join(changer, 0);
    R(bytes);
    R(wrong);
    T(changes > 10);
    munmap(page, PAGE);
}

CASE(read_last_pipe, "read mprotect") {
    int fds[2];
    MUST(pipe(fds));
    read_numbers(fds[0], fds[1], change_protection);
    read_numbers(fds[0], fds[1], replace_page);
}

CASE(read_last_unix, "read mprotect socketpair") {
    int fds[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    read_numbers(fds[0], fds[1], change_protection);
    read_numbers(fds[0], fds[1], replace_page);
}

CASE(read_last_tcp, "read mprotect accept4") {
    int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    MUST(bind(listener, (void *)&addr, len));
    MUST(listen(listener, 1));
    MUST(getsockname(listener, (void *)&addr, &len));
    MUST(connect(client, (void *)&addr, len));
    int server = MUST(accept(listener, 0, 0));
    read_numbers(server, client, change_protection);
    read_numbers(server, client, replace_page);
}

// A thread that computes after a read doesn't keep others from changing memory, nor does one that is stopped or sleeps.
static atomic_int stage;
static void *read_and_compute(void *fd) {
    char *buf = page + 128;
    for (long bytes = 0, got; bytes < 20; bytes += got) {
        got = read((int)(long)fd, buf, 1024);
        if (got < 1) give_up("read", errno);
    }
    stage = 1;
    while (stage != 2) {}
    return 0;
}

CASE(read_last_then_compute, "read mprotect munmap") {
    int fds[2];
    MUST(pipe(fds));
    page = anon(4);
    pthread_t reader;
    pthread_create(&reader, 0, read_and_compute, (void *)(long)fds[0]);
    for (int i = 0; i < 20; i++) {
        MUST(write(fds[1], "x", 1));
        usleep(500);
    }
    while (stage != 1) sched_yield();
    R(mprotect(page, PAGE, PROT_READ));
    R(munmap(page, 4 * PAGE));
    stage = 2;
    pthread_join(reader, 0);
}

// Data of the program itself: private pages of its file, which nobody can shorten while it is executed.
static char own[3 * PAGE] __attribute__((aligned(PAGE))) = {1, 2, 3};

static long sum(void) {
    long all = 0;
    for (size_t i = 0; i < sizeof own; i++) all = all * 31 + own[i];
    return all;
}

CASE(read_last_program, "read fork mprotect truncate") {
    int fds[2], zero = MUST(open("/dev/zero", O_RDONLY));
    MUST(pipe(fds));
    for (int i = 0; i < 100; i++) {
        MUST(write(fds[1], "0123456789", 10));
        // Also across pages.
        if (read(fds[0], own + i * 90, 100) != 10) give_up("read", errno);
    }
    printf("%ld\n", sum());
    pid_t child = MUST(fork());
    if (!child) {
        for (int i = 0; i < 100; i++) read(zero, own + i * 100, 100);
        printf("%ld\n", sum());
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, 0, 0);
    printf("%ld\n", sum());
    MUST(mprotect(own + PAGE, PAGE, PROT_READ));
    MUST(write(fds[1], "kept", 4));
    for (int i = 0; i < 20; i++) {
        if (read(fds[0], own + PAGE + 100, 4) != -1 || errno != EFAULT) give_up("read", errno);
    }
    R(read(fds[0], own, 4));
    T(!memcmp(own, "kept", 4));
    MUST(mprotect(own + PAGE, PAGE, PROT_READ | PROT_WRITE));
    R(open("/proc/self/exe", O_WRONLY));
    R(truncate("/proc/self/exe", 100));
    R(read(zero, own + PAGE - 50, 100));
    printf("%ld\n", sum());
}
