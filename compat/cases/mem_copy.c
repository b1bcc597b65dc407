// What calls copy from and to memory that ends at a page boundary: to the byte, whichever way it is copied. Every call is made
// several times from one place, since a sandbox may serve the first ones in another way than later ones.
#include "case.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#define FAMILY "memory"

enum { TIMES = 4 };
static const size_t rooms[] = {0, 1, 2, 7, 8, 15, 16, 63, 64, 65, 143, 144, 145, 255, 256, 257, 389, 390, 512, 513, 1024, 4096};
#define EACH_ROOM(...)                                                                                                \
    for (int time_ = 0; time_ < TIMES; time_++)                                                                       \
        for (size_t at_ = 0; at_ < sizeof rooms / sizeof *rooms; at_++) {                                             \
            size_t room = rooms[at_];                                                                                 \
            __VA_ARGS__;                                                                                              \
        }

// The end of two pages, and nothing behind it.
static char *end_of_memory(void) {
    char *p = edge(1);
    return p + 1;
}

static long sum;
static void note(long value) {
    long result = value == -1 ? -errno : value;
    sum = (sum * 31 + result + 1000) % 1000000007;
}

CASE(copies_out_end_at_the_fault, "fstat stat uname getrlimit clock_gettime getcwd") {
    char *end = end_of_memory();
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    int good = 1;
    sum = 0;
    EACH_ROOM({
        if (room > 1024) continue;
        memset(end - 1024, 'x', 1024);
        struct stat *st = (struct stat *)(end - room);
        note(syscall(SYS_fstat, fd, st));
        note(fstat(fd, st));
        note(stat("f", st));
        note(stat("missing", st));
        note(syscall(SYS_uname, end - room));
        note(getrlimit(RLIMIT_CORE, (struct rlimit *)(end - room)));
        note(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, end - room));
        good &= room < 16 || fstat(fd, st) == (room < sizeof *st ? -1 : 0);
    });
    T(good);
    say("%ld\n", sum);
}

CASE(reads_end_at_the_fault, "read pread64 readv") {
    char *end = end_of_memory(), text[4096];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 7);
    int fd = open("f", O_RDWR | O_CREAT, 0600), zero = open("/dev/zero", O_RDONLY);
    MUST(write(fd, text, sizeof text));
    int good = 1;
    sum = 0;
    EACH_ROOM({
        for (size_t len = 1; len <= 4096; len = len * 3 + 1) {
            memset(end - 4096, 'x', 4096);
            note(pread(fd, end - room, len, 5));
            size_t got = room < len ? room : len;
            if (got > sizeof text - 5) got = sizeof text - 5;
            good &= memcmp(end - room, text + 5, got) == 0;
            good &= room <= got || end[(long)got - (long)room] == 'x';
            note(read(zero, end - room, len));
            lseek(fd, 100, SEEK_SET);
            note(read(fd, end - room, len));
            note(lseek(fd, 0, SEEK_CUR));
        }
    });
    T(good);
    say("%ld\n", sum);
}

CASE(writes_begin_before_the_fault, "write pwrite64 writev") {
    char *end = end_of_memory(), back[4096];
    for (long i = 1; i <= 4096; i++) end[-i] = (char)(i * 5);
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    int good = 1;
    sum = 0;
    EACH_ROOM({
        for (size_t len = 1; len <= 4096; len = len * 3 + 1) {
            ftruncate(fd, 0);
            long put = pwrite(fd, end - room, len, 0);
            note(put);
            if (put > 0) good &= pread(fd, back, put, 0) == put && memcmp(back, end - room, put) == 0;
            lseek(fd, 7, SEEK_SET);
            note(write(fd, end - room, len));
            note(lseek(fd, 0, SEEK_CUR));
            struct iovec parts[2] = {{"abc", 3}, {end - room, len}};
            note(pwritev(fd, parts, 2, 0));
        }
    });
    T(good);
    say("%ld\n", sum);
}

CASE(paths_end_at_the_fault, "stat access open readlink chdir") {
    char *end = end_of_memory();
    char name[256];
    memset(name, 'n', 200);
    name[200] = 0;
    make(name, 0600);
    int good = 1;
    for (int time = 0; time < TIMES; time++)
        for (size_t room = 1; room < 300; room += 1 + room / 8) {
            // With its end in memory, and without.
            size_t len = room - 1 < 200 ? room - 1 : 200;
            char *path = end - len - 1;
            memset(path, 'n', len);
            path[len] = 0;
            struct stat st;
            int expected = len == 200 ? 0 : ENOENT;
            good &= (stat(path, &st) ? errno : 0) == expected;
            good &= (access(path, F_OK) ? errno : 0) == expected;
            path[len] = 'n';
            good &= stat(path, &st) == -1 && errno == EFAULT;
            good &= open(path, O_RDONLY) == -1 && errno == EFAULT;
            good &= chdir(path) == -1 && errno == EFAULT;
        }
    T(good);
}

CASE(consuming_calls_at_the_fault, "read epoll_wait eventfd2 pipe2") {
    char *end = end_of_memory();
    int pipes[2], event = eventfd(0, EFD_NONBLOCK), set = epoll_create1(0);
    MUST(pipe2(pipes, O_NONBLOCK));
    struct epoll_event one = {.events = EPOLLIN, .data.u64 = 0x1122334455667788};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, pipes[0], &one));
    sum = 0;
    EACH_ROOM({
        if (room > 256) continue;
        write(pipes[1], "0123456789abcdef", 16);
        note(epoll_wait(set, (struct epoll_event *)(end - room), 1, 0));
        note(read(pipes[0], end - room, 16));
        // What is left.
        char rest[64];
        note(read(pipes[0], rest, sizeof rest));
        unsigned long count = 3;
        write(event, &count, 8);
        note(read(event, end - room, 8));
        note(read(event, rest, 8));
    });
    say("%ld\n", sum);
}

// The buffer may be the page that another thread takes away.
static void *volatile area;
static volatile int over;
static void *taker(void *arg) {
    (void)arg;
    while (!over) {
        mprotect(area, PAGE, PROT_NONE);
        mprotect(area, PAGE, PROT_READ | PROT_WRITE);
    }
    return 0;
}

CASE(copies_race_with_protection, "fstat read write stat mprotect") {
    area = anon(1);
    strcpy(area, "f");
    int fd = open("f", O_RDWR | O_CREAT, 0600), zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
    pthread_t thread;
    pthread_create(&thread, 0, taker, 0);
    int good = 1;
    struct stat st;
    for (int i = 0; i < 3000; i++) {
        good &= fstat(fd, area + 512) == 0 || errno == EFAULT;
        long got = read(zero, area + 1024, 100);
        good &= got == 100 || (got == -1 && errno == EFAULT);
        good &= stat(area, &st) == 0 || errno == EFAULT;
        got = write(null, area, 100);
        good &= got == 100 || (got == -1 && errno == EFAULT);
    }
    over = 1;
    pthread_join(thread, 0);
    T(good);
}
