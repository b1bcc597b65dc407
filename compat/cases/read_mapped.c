// Files that are read again and again: a kernel may have the reader copy from a mapping by then, and nobody is to notice.
#include "case.h"
#include "mapped.h"
#include <stdatomic.h>
#include <sys/inotify.h>
#define FAMILY "io"
#define OFTEN 40

static unsigned char byte_of(long at, int seed) { return (at * 31 >> 4) ^ (at >> 12) ^ seed; }

static int filled(const char *path, long size, int seed) {
    int fd = MUST(open(path, O_CREAT | O_TRUNC | O_RDWR, 0644));
    unsigned char *bytes = malloc(size);
    for (long at = 0; at < size; at++) bytes[at] = byte_of(at, seed);
    for (long at = 0, done; at < size; at += done) done = MUST(write(fd, bytes + at, size - at));
    free(bytes);
    return fd;
}

static long wrong_bytes(const unsigned char *buf, long from, long len, int seed) {
    long wrong = 0;
    for (long i = 0; i < len; i++) wrong += buf[i] != byte_of(from + i, seed);
    return wrong;
}

// Reads everywhere, in pieces of all sizes.
static long read_everywhere(int fd, long size, int seed) {
    static unsigned char buf[LONGEST];
    long wrong = 0;
    for (int i = 0; i < OFTEN; i++) {
        for (int s = 0; s < PIECES; s++) {
            long from = piece_start(i, s, size), want = piece_len(s, from, size);
            long got = pread(fd, buf, pieces[s], from);
            wrong += got != want;
            wrong += got < 0 ? 1 : wrong_bytes(buf, from, got, seed);
        }
    }
    return wrong;
}

CASE(read_mapped_content, "pread64 pwrite64 ftruncate") {
    int fd = filled("file", SIZE, 0), other = MUST(open("file", O_RDWR));
    char buf[64] = "";
    R(read_everywhere(fd, SIZE, 0));
    R(pread(fd, buf, 64, SIZE - 10));
    R(pread(fd, buf, 64, SIZE));
    R(pread(fd, buf, 64, SIZE + 100000));
    R(pwrite(other, "changed", 7, 5000));
    R(pread(fd, buf, 7, 5000));
    show_bytes("changed", buf, 7);
    R(pwrite(fd, "again", 5, SIZE - 2));
    R(pread(fd, buf, 64, SIZE - 2));
    show_bytes("longer", buf, 5);
    R(ftruncate(other, 5004));
    R(pread(fd, buf, 64, 5000));
    R(pread(fd, buf, 64, 5004));
    R(ftruncate(other, SIZE));
    R(pread(fd, buf, 10, 5000));
    show_bytes("zeros", buf, 10);
    R(ftruncate(other, 0));
    R(pread(fd, buf, 10, 0));
    R(pwrite(other, "new", 3, 0));
    R(pread(fd, buf, 10, 0));
    show_bytes("new", buf, 3);
}

CASE(read_mapped_lists, "preadv readv") {
    int fd = filled("file", SIZE, 7);
    R(read_everywhere(fd, SIZE, 7));
    char *end = edge(100), *area = anon(8);
    struct iovec list[] = {{area, 100}, {area + 200, 0}, {area + 4000, 5000}, {end, 100}, {area, 7}};
    for (int count = 1; count <= 5; count++) {
        memset(area, 0, 8 * PAGE);
        R(preadv(fd, list, count, 4000));
        R(wrong_bytes((void *)area, 4000, count == 5 ? 0 : 100, 7));
        if (count > 2) R(wrong_bytes((void *)(area + 4000), 4100, 5000, 7));
    }
    list[3].iov_len = 200;
    R(preadv(fd, list, 5, 4000));
    R(wrong_bytes((void *)end, 9100, 100, 7));
    MUST(lseek(fd, SIZE - 150, SEEK_SET));
    R(readv(fd, list, 5));
    R(wrong_bytes((void *)(area + 4000), SIZE - 50, 50, 7));
    R(readv(fd, list, 5));
    MUST(lseek(fd, 0, SEEK_SET));
    R(readv(fd, list, 5));
    R(lseek(fd, 0, SEEK_CUR));
    struct iovec many[40];
    for (int i = 0; i < 40; i++) many[i] = (struct iovec){area + i * 100, 100};
    R(preadv(fd, many, 40, 77));
    R(wrong_bytes((void *)area, 77, 4000, 7));
    list[0].iov_base = BAD;
    R(preadv(fd, list, 5, 0));
}

CASE(read_mapped_position, "read lseek dup") {
    int fd = filled("file", SIZE, 1), same = MUST(dup(fd));
    static unsigned char buf[70000];
    long wrong = 0, total = 0, got;
    for (int i = 0; i < 5; i++) {
        MUST(lseek(fd, 0, SEEK_SET));
        for (long at = 0; (got = read(i % 2 ? same : fd, buf, i % 3 ? 4000 : 65536)) > 0; at += got) {
            wrong += wrong_bytes(buf, at, got, 1);
            total += got;
            wrong += lseek(same, 0, SEEK_CUR) != at + got;
        }
    }
    R(wrong);
    R(total);
    R(lseek(fd, -100, SEEK_END));
    R(read(fd, buf, 70000));
    R(read(fd, buf, 70000));
    R(lseek(same, 0, SEEK_CUR));
    R(close(fd));
    R(lseek(same, 77, SEEK_SET));
    R(read(same, buf, 100));
    R(wrong_bytes(buf, 77, 100, 1));
    R(lseek(same, 0, SEEK_CUR));
}

CASE(read_mapped_faults, "read pread64") {
    int fd = filled("file", SIZE, 2);
    R(read_everywhere(fd, SIZE, 2));
    char *end = edge(100), *locked = read_only_page();
    R(pread(fd, end, 5000, 10));
    R(wrong_bytes((void *)end, 10, 100, 2));
    R(lseek(fd, 10, SEEK_SET));
    R(read(fd, end, 5000));
    R(lseek(fd, 0, SEEK_CUR));
    R(read(fd, locked, 5000));
    R(read(fd, BAD, 100));
    R(read(fd, (char *)-4096, 100));
    R(lseek(fd, 0, SEEK_CUR));
    R(read(fd, end, 0));
    // Into the file itself, and into shared memory.
    char *map = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    R(pread(fd, map + 8192, 4096, 0));
    R(wrong_bytes((void *)(map + 8192), 0, 4096, 2));
    R(pread(fd, map + 100, 3000, 4096));
    R(wrong_bytes((void *)(map + 100), 4096, 3000, 2));
    int closed = MUST(open("file", O_WRONLY));
    R(read(closed, end, 10));
}

CASE(read_mapped_descriptors, "read close dup2 close_range unlink") {
    enum { FILES = 40 };
    int fds[FILES];
    char name[16];
    long wrong = 0;
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "file%d", i);
        fds[i] = filled(name, 70000, i);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < FILES; i++) wrong += read_everywhere(fds[i], 70000, i);
    }
    R(wrong);
    // Another file by the same number.
    wrong = 0;
    for (int i = 0; i + 1 < FILES; i += 2) {
        MUST(close(fds[i]));
        snprintf(name, sizeof name, "file%d", i + 1);
        wrong += (fds[i] = MUST(open(name, O_RDONLY))) < 0;
        unlink(name);
        wrong += read_everywhere(fds[i], 70000, i + 1);
        MUST(dup2(fds[0], fds[i + 1]));
        wrong += read_everywhere(fds[i + 1], 70000, 1);
    }
    R(wrong);
    R(close_range(fds[1], fds[FILES - 1], 0));
    char buf[10];
    R(read(fds[1], buf, 10));
    R(read_everywhere(fds[0], 70000, 1));
}

CASE(read_mapped_processes, "read fork execve") {
    int fd = filled("file", SIZE, 3);
    R(read_everywhere(fd, SIZE, 3));
    IN_CHILD({
        R(read_everywhere(fd, SIZE, 3));
        MUST(pwrite(fd, "child", 5, 0));
        close(fd);
    });
    char buf[5];
    R(pread(fd, buf, 5, 0));
    show_bytes("parent", buf, 5);
    MUST(lseek(fd, 0, SEEK_SET));
    IN_CHILD(MUST(read(fd, (char[100]){0}, 100)));
    R(lseek(fd, 0, SEEK_CUR));
}

CASE(read_mapped_inotify, "read inotify_add_watch") {
    int fd = filled("file", SIZE, 4), watch = MUST(inotify_init1(IN_NONBLOCK));
    R(read_everywhere(fd, SIZE, 4));
    MUST(inotify_add_watch(watch, "file", IN_ACCESS));
    char buf[4096];
    struct inotify_event event = {0};
    R(pread(fd, buf, 4096, 0));
    R(read(watch, &event, sizeof event));
    T(event.mask == IN_ACCESS);
    R(pread(fd, buf, 4096, SIZE));
    R(read(watch, &event, sizeof event));
}

CASE(read_mapped_attributes, "read fstat") {
    int fd = filled("file", SIZE, 5), sparse = MUST(open("sparse", O_CREAT | O_RDWR, 0644));
    MUST(ftruncate(sparse, SIZE));
    MUST(pwrite(sparse, "x", 1, 100000));
    struct stat before, after;
    char buf[4096];
    MUST(fstat(sparse, &before));
    long sum = 0;
    for (int i = 0; i < OFTEN; i++) {
        MUST(pread(sparse, buf, 4096, i * 4096L));
        for (int at = 0; at < 4096; at++) sum += buf[at];
    }
    R(sum);
    MUST(fstat(sparse, &after));
    R(after.st_blocks - before.st_blocks);
    // A read after a write moves the access time, however often the file was read before.
    R(read_everywhere(fd, SIZE, 5));
    MUST(fstat(fd, &before));
    msleep(30);
    MUST(pwrite(fd, "y", 1, 0));
    msleep(30);
    MUST(pread(fd, buf, 4096, 0));
    MUST(fstat(fd, &after));
    T(after.st_atim.tv_sec > before.st_mtim.tv_sec || after.st_atim.tv_nsec != before.st_atim.tv_nsec);
}

// A file of another tree: the program itself.
CASE(read_mapped_program, "read pread64 mmap") {
    int fd = MUST(open(program("cases"), O_RDONLY));
    struct stat st;
    MUST(fstat(fd, &st));
    char *map = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0), *buf = malloc(st.st_size);
    long wrong = 0, total = 0, got;
    for (int i = 0; i < 4; i++) {
        MUST(lseek(fd, 0, SEEK_SET));
        for (long at = 0; (got = read(fd, buf, 3000 + i * 20000)) > 0; at += got, total += got) {
            wrong += memcmp(buf, map + at, got) != 0;
        }
    }
    R(wrong);
    T(total == 4 * st.st_size);
    T(pread(fd, buf, st.st_size, 100) == st.st_size - 100);
    T(!memcmp(buf, map + 100, st.st_size - 100));
    R(pread(fd, buf, 10, st.st_size));
}

// Others shorten the file meanwhile: what is read is the file's or zero, and the position says how much that was.
static atomic_int over;
static void *shorten(void *arg) {
    int fd = (int)(long)arg;
    for (int i = 0; !over; i++) {
        if (ftruncate(fd, i % 2 ? SIZE : 4096 + i % 5000)) give_up("ftruncate", errno);
        if (i % 8 == 0) sched_yield();
    }
    return 0;
}

CASE(read_mapped_shortened, "read ftruncate") {
    int fd = filled("file", SIZE, 6), reader = MUST(open("file", O_RDONLY));
    R(read_everywhere(reader, SIZE, 6));
    pthread_t other;
    over = 0;
    pthread_create(&other, 0, shorten, (void *)(long)fd);
    static unsigned char buf[20000];
    long wrong = 0, lost = 0;
    for (int i = 0; i < 4000; i++) {
        MUST(lseek(reader, i % 30 * 1000, SEEK_SET));
        long from = i % 30 * 1000, got = read(reader, buf, sizeof buf);
        if (got < 0) give_up("read", errno);
        lost += lseek(reader, 0, SEEK_CUR) != from + got;
        for (long at = 0; at < got; at++) wrong += buf[at] != byte_of(from + at, 6) && buf[at];
    }
    over = 1;
    pthread_join(other, 0);
    R(wrong);
    R(lost);
    unlink("file");
}

// Others use the same places for other files.
static long read_files(int seed) {
    char name[16];
    long wrong = 0;
    unsigned char buf[8192];
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 24; i++) {
            snprintf(name, sizeof name, "file%d", (i + seed * 5) % 24);
            int fd = MUST(open(name, O_RDONLY));
            for (int part = 0; part < 8; part++) {
                wrong += pread(fd, buf, 8192, part * 8192L) != 8192;
                wrong += wrong_bytes(buf, part * 8192L, 8192, (i + seed * 5) % 24);
            }
            if (round % 3) MUST(close(fd));
        }
    }
    return wrong;
}

static void *read_files_in(void *arg) { return (void *)read_files((int)(long)arg); }

CASE(read_mapped_threads, "pread64 close openat") {
    char name[16];
    for (int i = 0; i < 24; i++) {
        snprintf(name, sizeof name, "file%d", i);
        close(filled(name, 65536, i));
    }
    pthread_t others[3];
    for (long i = 0; i < 3; i++) pthread_create(&others[i], 0, read_files_in, (void *)(i + 1));
    long wrong = read_files(0);
    for (int i = 0; i < 3; i++) {
        void *more;
        pthread_join(others[i], &more);
        wrong += (long)more;
    }
    R(wrong);
}
