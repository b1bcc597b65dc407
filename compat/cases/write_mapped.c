// Files that are written again and again: a kernel may have the writer copy to a mapping by then, and nobody is to notice.
#include "case.h"
#include "mapped.h"
#include <stdatomic.h>
#include <sys/inotify.h>
#define FAMILY "io"
#define OFTEN 30

static unsigned char image[SIZE];

static int filled(const char *path, int seed) {
    for (long at = 0; at < SIZE; at++) image[at] = (at * 17 >> 3) ^ (at >> 11) ^ seed;
    int fd = MUST(open(path, O_CREAT | O_TRUNC | O_RDWR, 0644));
    for (long at = 0; at < SIZE; at += 65536) MUST(write(fd, image + at, SIZE - at < 65536 ? SIZE - at : 65536));
    return fd;
}

// Writes everywhere, in pieces of all sizes, and in the image as well.
static long write_everywhere(int fd) {
    static unsigned char buf[LONGEST];
    long wrong = 0;
    for (int i = 0; i < OFTEN; i++) {
        for (int s = 0; s < PIECES; s++) {
            long from = piece_start(i, s, SIZE), len = piece_len(s, from, SIZE);
            memset(buf, i * 11 + s, len);
            wrong += pwrite(fd, buf, len, from) != len;
            memcpy(image + from, buf, len);
        }
    }
    return wrong;
}

static long differs(int fd) {
    static unsigned char found[SIZE];
    if (pread(fd, found, SIZE, 0) != SIZE) return -1;
    long wrong = 0;
    for (long at = 0; at < SIZE; at++) wrong += found[at] != image[at];
    return wrong;
}

CASE(write_mapped_content, "pwrite64 fstat") {
    int fd = filled("file", 1), other = MUST(open("file", O_RDONLY));
    char *map = mmap(0, SIZE, PROT_READ, MAP_SHARED, other, 0);
    R(write_everywhere(fd));
    R(differs(other));
    R(memcmp(map, image, SIZE));
    struct stat before, after;
    MUST(fstat(other, &before));
    msleep(30);
    MUST(pwrite(fd, "new", 3, 5000));
    MUST(fstat(other, &after));
    T(after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
    T(after.st_ctim.tv_sec == after.st_mtim.tv_sec && after.st_ctim.tv_nsec == after.st_mtim.tv_nsec);
    R(after.st_size);
    R(after.st_blocks - before.st_blocks);
    // A hole, and what is written there again.
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 65536));
    MUST(fstat(other, &before));
    R(before.st_blocks - after.st_blocks);
    R(pwrite(fd, image, 4096, 12288));
    MUST(fstat(other, &after));
    R(after.st_blocks - before.st_blocks);
    R(pwrite(fd, "longer", 6, SIZE - 3));
    MUST(fstat(other, &after));
    R(after.st_size);
    R(ftruncate(fd, 10));
    R(pwrite(fd, "behind", 6, 5000));
    MUST(fstat(other, &after));
    R(after.st_size);
}

CASE(write_mapped_position, "write lseek") {
    int fd = filled("file", 2);
    R(write_everywhere(fd));
    long wrong = 0;
    for (int i = 0; i < 5; i++) {
        MUST(lseek(fd, 0, SEEK_SET));
        for (long at = 0; at + 4000 < SIZE; at += 4000) {
            memset(image + at, i + at / 4000, 4000);
            wrong += write(fd, image + at, 4000) != 4000 || lseek(fd, 0, SEEK_CUR) != at + 4000;
        }
    }
    R(wrong);
    R(differs(fd));
    MUST(lseek(fd, -10, SEEK_END));
    R(write(fd, image, 100));
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, image, 100));
    R(lseek(fd, 0, SEEK_END));
}

CASE(write_mapped_faults, "write pwrite64") {
    int fd = filled("file", 3);
    R(write_everywhere(fd));
    char *end = edge(100);
    memset(end, 'e', 100);
    // How much of it is written before the fault is the file system's business: nothing, or all that there is.
    long done = pwrite(fd, end, 5000, 10);
    T(done == 100 || (done == -1 && errno == EFAULT));
    R(pwrite(fd, end, 100, 10));
    R(lseek(fd, 77, SEEK_SET));
    R(write(fd, BAD, 100));
    R(write(fd, (char *)-4096, 100));
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, read_only_page(), 4096));
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, end, 0));
    char *map = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(map + 8192, 'm', 4096);
    R(pwrite(fd, map + 8192, 4096, 100000));
    R(memcmp(map + 100000, map + 8192, 4096));
    R(ftruncate(fd, 4096));
    R(pwrite(fd, map + 8192, 10, 0));
    int reader = MUST(open("file", O_RDONLY));
    R(write(reader, end, 10));
}

CASE(write_mapped_lists, "pwritev writev") {
    int fd = filled("file", 10);
    R(write_everywhere(fd));
    char *area = anon(8);
    for (int i = 0; i < 8 * (int)PAGE; i++) area[i] = i * 13 >> 2;
    struct iovec list[] = {{area, 100}, {area + 200, 0}, {area + 4000, 5000}, {area + 300, 7}};
    R(pwritev(fd, list, 4, 70000));
    memcpy(image + 70000, area, 100);
    memcpy(image + 70100, area + 4000, 5000);
    memcpy(image + 75100, area + 300, 7);
    R(differs(fd));
    MUST(lseek(fd, 100, SEEK_SET));
    R(writev(fd, list, 4));
    memcpy(image + 100, area, 100);
    memcpy(image + 200, area + 4000, 5000);
    memcpy(image + 5200, area + 300, 7);
    R(differs(fd));
    R(lseek(fd, 0, SEEK_CUR));
    MUST(lseek(fd, SIZE - 1000, SEEK_SET));
    R(writev(fd, list, 4));
    R(lseek(fd, 0, SEEK_END));
}

CASE(write_mapped_flags, "fcntl write setrlimit fork") {
    int fd = filled("file", 4);
    R(write_everywhere(fd));
    R(fcntl(fd, F_SETFL, O_APPEND));
    R(pwrite(fd, "appended", 8, 0));
    R(lseek(fd, 0, SEEK_END));
    R(fcntl(fd, F_SETFL, 0));
    R(ftruncate(fd, SIZE));
    R(write_everywhere(fd));
    R(differs(fd));
    IN_CHILD({
        // One description, two processes.
        R(write_everywhere(fd));
        R(differs(fd));
        MUST(pwrite(fd, "child", 5, 0));
    });
    char buf[5];
    R(pread(fd, buf, 5, 0));
    show_bytes("file", buf, 5);
    on_signal(SIGXFSZ, SIG_IGN, 0);
    struct rlimit limit = {100000, 100000};
    MUST(setrlimit(RLIMIT_FSIZE, &limit));
    R(pwrite(fd, image, 4096, 98000));
    R(pwrite(fd, image, 4096, 100000));
}

CASE_USER(write_mapped_setid, "pwrite64 fchmod") {
    int fd = filled("file", 5);
    R(write_everywhere(fd));
    MUST(fchmod(fd, 06755));
    R(pwrite(fd, "x", 1, 0));
    struct stat st;
    MUST(fstat(fd, &st));
    say("mode %o\n", st.st_mode & 07777);
}

CASE(write_mapped_inotify, "write inotify_add_watch") {
    int fd = filled("file", 6), watch = MUST(inotify_init1(IN_NONBLOCK));
    R(write_everywhere(fd));
    MUST(inotify_add_watch(watch, "file", IN_MODIFY));
    struct inotify_event event = {0};
    R(pwrite(fd, image, 4096, 0));
    R(read(watch, &event, sizeof event));
    T(event.mask == IN_MODIFY);
}

CASE(write_mapped_seals, "memfd_create fcntl") {
    for (int seal = 0; seal < 2; seal++) {
        int fd = MUST(memfd_create("sealed", MFD_ALLOW_SEALING));
        MUST(ftruncate(fd, SIZE));
        R(write_everywhere(fd));
        R(fcntl(fd, F_ADD_SEALS, seal ? F_SEAL_WRITE : F_SEAL_SHRINK | F_SEAL_GROW));
        R(pwrite(fd, image, 4096, 0));
        R(pwrite(fd, image, 4096, SIZE - 10));
        close(fd);
    }
}

// Others shorten the file meanwhile, by its name: it is as long as the last of them or the last write makes it.
static atomic_int over;
static void *shorten(void *arg) {
    (void)arg;
    for (int i = 0; !over; i++) {
        if (truncate("file", i % 2 ? SIZE : 8192)) give_up("truncate", errno);
        if (i % 8 == 0) sched_yield();
    }
    return 0;
}

CASE(write_mapped_shortened, "pwrite64 truncate") {
    int fd = filled("file", 7);
    R(write_everywhere(fd));
    pid_t child = FORK({
        alarm(1);
        shorten(0);
    });
    long wrong = 0;
    char buf[4096];
    memset(buf, 'w', sizeof buf);
    long until = now_ms() + 700;
    for (int i = 0; now_ms() < until; i++) wrong += pwrite(fd, buf, 4096, i % 8 * 4096) != 4096;
    R(wrong);
    waitpid(child, 0, 0);
    MUST(ftruncate(fd, 4096));
    MUST(pwrite(fd, buf, 4096, 0));
    struct stat st;
    MUST(fstat(fd, &st));
    R(st.st_size);
    R(st.st_blocks);
    MUST(ftruncate(fd, 8192));
    R(pread(fd, buf, 4096, 4096));
    long sum = 0;
    for (int at = 0; at < 4096; at++) sum += buf[at];
    R(sum);
    unlink("file");
}

// Writers of several threads and processes: each write is there as a whole.
static void *write_stripes(void *arg) {
    int fd = (int)(long)arg >> 8, mark = (int)(long)arg & 255;
    unsigned char buf[16384];
    memset(buf, mark, sizeof buf);
    for (int i = 0; i < 1500; i++) {
        if (pwrite(fd, buf, sizeof buf, i % 16 * 16384L) != sizeof buf) give_up("pwrite", errno);
    }
    return 0;
}

static long torn(int fd) {
    unsigned char buf[16384];
    long torn = 0;
    for (int i = 0; i < 16; i++) {
        MUST(pread(fd, buf, sizeof buf, i * 16384L));
        for (unsigned at = 1; at < sizeof buf; at++) torn += buf[at] != buf[0];
    }
    return torn;
}

// Waits for the other, but not for ever.
static void meet(atomic_int *count, int wanted) {
    for (long until = now_ms() + 5000; *count < wanted;)
        if (now_ms() > until) _exit(1);
}

static long write_together(int fd, int mark, atomic_int *round) {
    unsigned char buf[65536];
    memset(buf, mark, sizeof buf);
    for (int i = 0; i < 20; i++) MUST(pwrite(fd, buf, sizeof buf, 0));
    long wrong = 0;
    for (int i = 1; i <= 600; i++) {
        atomic_fetch_add(&round[0], 1);
        meet(&round[0], 2 * i);
        MUST(pwrite(fd, buf, sizeof buf, 0));
        atomic_fetch_add(&round[1], 1);
        meet(&round[1], 2 * i);
        unsigned char found[65536];
        MUST(pread(fd, found, sizeof found, 0));
        for (unsigned at = 1; at < sizeof found; at++) wrong += found[at] != found[0];
    }
    return wrong;
}

CASE(write_mapped_atomic, "pwrite64 clone") {
    int fd = filled("file", 8), second = MUST(open("file", O_RDWR));
    R(write_everywhere(fd));
    pthread_t others[2];
    for (long i = 0; i < 2; i++) pthread_create(&others[i], 0, write_stripes, (void *)(long)(fd << 8 | (int)(i + 1)));
    write_stripes((void *)(long)(fd << 8 | 3));
    for (int i = 0; i < 2; i++) pthread_join(others[i], 0);
    R(torn(fd));
    pid_t child = FORK(write_stripes((void *)(long)(second << 8 | 4)));
    write_stripes((void *)(long)(fd << 8 | 5));
    show_wait(child);
    R(torn(fd));
    close(second);
    // One description of two processes, which begin each write at the same time.
    atomic_int *round = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    child = FORK(write_together(fd, 6, round));
    long wrong = write_together(fd, 7, round);
    show_wait(child);
    R(wrong);
    unlink("file");
}
