// File contents: reading, writing, sizes, holes, copies.
#include "case.h"
#include <linux/falloc.h>
#include <sys/sendfile.h>
#define FAMILY "io"

CASE(read_write_seek, "read write lseek pread64 pwrite64") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    char b[32] = {0};
    R(write(fd, "0123456789", 10));
    R(lseek(fd, 3, SEEK_SET));
    R(read(fd, b, 4));
    show_bytes("b", b, 4);
    R(lseek(fd, 0, SEEK_CUR));
    R(pread(fd, b, 3, 8));
    R(pwrite(fd, "XY", 2, 9));
    R(lseek(fd, 0, SEEK_CUR));
    R(lseek(fd, -1, SEEK_END));
    R(read(fd, b, 10));
    R(read(fd, b, 10));
    R(lseek(fd, -1, SEEK_SET));
    R(lseek(fd, -100, SEEK_CUR));
    R(lseek(fd, 0, 99));
    R(lseek(fd, 100, SEEK_SET));
    R(read(fd, b, 10));
    R(write(fd, "end", 3));
    R(lseek(fd, 0, SEEK_END));
    R(pread(fd, b, 3, -1));
    R(pwrite(fd, b, 3, -1));
    R(pread(fd, b, 3, LONG_MAX));
}

CASE(descriptor_rights, "read write pread64 lseek") {
    put("f", "x");
    int r = open("f", O_RDONLY), w = open("f", O_WRONLY), d = open(".", O_RDONLY), p[2];
    char b[4];
    MUST(pipe(p));
    R(write(r, b, 1));
    R(read(w, b, 1));
    R(read(d, b, 1));
    R(write(d, b, 1));
    R(read(99, b, 1));
    R(read(-1, b, 1));
    R(lseek(p[0], 0, SEEK_SET));
    R(pread(p[0], b, 1, 0));
    R(read(p[1], b, 1));
    R(write(p[0], b, 1));
    R(write(99, b, 0));
    R(read(w, b, 0));
    R(ftruncate(r, 0));
}

CASE(bad_buffers, "read write pread64 pwrite64") {
    put("f", "0123456789");
    int fd = open("f", O_RDWR);
    R(read(fd, BAD, 4));
    R(read(fd, edge(4), 10));
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, BAD, 4));
    char *e = edge(4);
    memcpy(e, "abcd", 4);
    R(pwrite(fd, e, 10, 0));
    show_fd(fd);
    R(read(fd, (char *)-4096, 10));
    R(read(fd, BAD, 0));
    R(write(fd, BAD, 0));
    R(pread(fd, BAD, 5, 100));
    R(read(fd, read_only_page(), 4));
    R(write(fd, e, -1));
    R(read(fd, e, -1));
    int z = open("/dev/zero", O_RDONLY);
    R(read(z, edge(4096), 8192));
    int p[2];
    MUST(pipe(p));
    R(write(p[1], BAD, 3));
    write(p[1], "abc", 3);
    R(read(p[0], BAD, 3));
    R(read(p[0], edge(2), 3));
    char b[4];
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    R(read(p[0], b, 3));
}

CASE(vectors, "readv writev preadv pwritev") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    char a[4] = "abc", b[4] = "def", x[3], y[10];
    struct iovec w[3] = {{a, 3}, {0, 0}, {b, 3}}, r[2] = {{x, 2}, {y, 10}};
    R(writev(fd, w, 3));
    R(preadv(fd, r, 2, 1));
    show_bytes("x", x, 2);
    show_bytes("y", y, 3);
    R(pwritev(fd, w, 3, 4));
    show_fd(fd);
    lseek(fd, 0, SEEK_SET);
    R(readv(fd, r, 2));
    R(readv(fd, r, 0));
    R(readv(fd, r, -1));
    R(readv(fd, r, 1025));
    R(readv(fd, BAD, 2));
    struct iovec big[2] = {{x, LONG_MAX}, {y, 10}}, part[2] = {{x, 2}, {BAD, 10}}, neg[1] = {{x, -1}};
    R(readv(fd, big, 2));
    R(readv(fd, neg, 1));
    R(preadv(fd, part, 2, 0));
    struct iovec wp[2] = {{a, 3}, {BAD, 10}};
    R(pwritev(fd, wp, 2, 0));
    R(preadv(fd, r, 2, -1));
    struct iovec many[1024];
    for (int i = 0; i < 1024; i++) many[i] = (struct iovec){a, 1};
    R(pwritev(fd, many, 1024, 0));
}

CASE(vectors_with_flags, "preadv2 pwritev2") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    char a[] = "abc", x[8] = {0};
    struct iovec w = {a, 3}, r = {x, 8};
    R(pwritev2(fd, &w, 1, 0, 0));
    R(pwritev2(fd, &w, 1, -1, 0));
    R(lseek(fd, 0, SEEK_CUR));
    R(pwritev2(fd, &w, 1, 0, RWF_APPEND));
    R(pwritev2(fd, &w, 1, 0, RWF_DSYNC | RWF_SYNC));
    R(pwritev2(fd, &w, 1, 0, 0x10000));
    R(preadv2(fd, &r, 1, 0, 0));
    show_bytes("x", x, 8);
    R(preadv2(fd, &r, 1, 0, RWF_HIPRI));
    R(preadv2(fd, &r, 1, -2, 0));
    long n = preadv2(fd, &r, 1, 0, RWF_NOWAIT);
    T(n == 6 || n == 8 || errno == EAGAIN || errno == EOPNOTSUPP);
    int p[2];
    MUST(pipe(p));
    R(preadv2(p[0], &r, 1, -1, RWF_NOWAIT));
    R(preadv2(p[0], &r, 1, 0, 0));
}

CASE(append_mode, "openat write fcntl pwrite64") {
    put("f", "start");
    int a = open("f", O_WRONLY | O_APPEND), b = open("f", O_WRONLY | O_APPEND);
    R(write(a, "A", 1));
    R(write(b, "B", 1));
    R(write(a, "C", 1));
    R(lseek(a, 0, SEEK_CUR));
    R(pwrite(a, "P", 1, 0));
    R(fcntl(b, F_SETFL, 0));
    R(write(b, "x", 1));
    show_file("f");
}

CASE(offsets_shared_by_dup_and_fork, "dup fork lseek") {
    put("f", "0123456789");
    int a = open("f", O_RDONLY), b = dup(a), c = open("f", O_RDONLY);
    char x[4];
    read(a, x, 3);
    R(lseek(b, 0, SEEK_CUR));
    R(lseek(c, 0, SEEK_CUR));
    IN_CHILD(read(a, x, 2));
    R(lseek(a, 0, SEEK_CUR));
}

CASE(truncate_sizes, "truncate ftruncate") {
    put("f", "0123456789");
    R(truncate("f", 4));
    R(truncate("f", 6));
    show_file("f");
    R(truncate("f", -1));
    R(truncate("none", 0));
    R(truncate(".", 0));
    MUST(symlink("f", "l"));
    R(truncate("l", 1));
    int fd = open("f", O_RDWR);
    R(ftruncate(fd, -1));
    R(ftruncate(fd, 1L << 40));
    struct stat st;
    fstat(fd, &st);
    say("%ld blocks few %d\n", (long)st.st_size, st.st_blocks < 100);
    R(ftruncate(fd, 5));
    int p[2];
    MUST(pipe(p));
    R(ftruncate(p[1], 0));
    R(ftruncate(99, 0));
    IN_CHILD(drop_to(1000, 1000); R(truncate("f", 0)));
    R(truncate(BAD, 0));
    MUST(mkfifo("p", 0600));
    R(truncate("p", 0));
}

CASE(holes, "lseek ftruncate pwrite64") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    char z[4096];
    memset(z, 'd', sizeof z);
    pwrite(fd, z, 4096, 65536);
    MUST(ftruncate(fd, 262144));
    R(lseek(fd, 0, SEEK_DATA));
    R(lseek(fd, 65536, SEEK_HOLE));
    R(lseek(fd, 0, SEEK_HOLE));
    R(lseek(fd, 131072, SEEK_DATA));
    R(lseek(fd, 131072, SEEK_HOLE));
    R(lseek(fd, 262144, SEEK_DATA));
    R(lseek(fd, 262144, SEEK_HOLE));
    R(lseek(fd, -1, SEEK_DATA));
    char b[4];
    R(pread(fd, b, 4, 1000));
    show_bytes("hole", b, 4);
}

CASE(fallocate_modes, "fallocate") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    struct stat st;
    R(fallocate(fd, 0, 0, 10000));
    fstat(fd, &st);
    say("size %ld blocks %d\n", (long)st.st_size, st.st_blocks > 0);
    R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
    fstat(fd, &st);
    say("size %ld\n", (long)st.st_size);
    char z[10000];
    memset(z, 'd', sizeof z);
    pwrite(fd, z, sizeof z, 0);
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000));
    char b[4];
    pread(fd, b, 4, 98);
    show_bytes("start of hole", b, 4);
    pread(fd, b, 4, 5098);
    show_bytes("end of hole", b, 4);
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    R(fallocate(fd, 0, 0, 0));
    R(fallocate(fd, 0, -1, 10));
    R(fallocate(fd, 0, 10, -1));
    R(fallocate(fd, 0x1000, 0, 10));
    R(fallocate(fd, 0, LONG_MAX - 5, 10));
    int r = open("f", O_RDONLY), p[2];
    R(fallocate(r, 0, 0, 10));
    MUST(pipe(p));
    R(fallocate(p[1], 0, 0, 10));
    R(fallocate(open(".", O_RDONLY), 0, 0, 10));
    R(fallocate(99, 0, 0, 10));
}

CASE(sync_calls, "fsync fdatasync sync syncfs sync_file_range readahead fadvise64") {
    int fd = open("f", O_CREAT | O_RDWR, 0600), p[2];
    MUST(pipe(p));
    write(fd, "x", 1);
    R(fsync(fd));
    R(fdatasync(fd));
    R(fsync(p[0]));
    R(fsync(99));
    R(syscall(SYS_sync));
    R(syncfs(fd));
    R(syncfs(99));
    R(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    R(sync_file_range(fd, -1, 0, 0));
    R(sync_file_range(fd, 0, 0, 0x100));
    R(sync_file_range(p[0], 0, 0, 0));
    R(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    R(syscall(SYS_fadvise64, fd, 0, 0, 77));
    R(syscall(SYS_fadvise64, p[0], 0, 0, POSIX_FADV_NORMAL));
    R(syscall(SYS_readahead, fd, 0, 100));
    R(syscall(SYS_readahead, p[0], 0, 100));
    R(syscall(SYS_readahead, 99, 0, 100));
}

CASE(copy_file_range_call, "copy_file_range") {
    put("a", "0123456789");
    int a = open("a", O_RDONLY), b = open("b", O_CREAT | O_RDWR, 0600);
    loff_t i = 2, o = 5;
    R(copy_file_range(a, 0, b, 0, 4, 0));
    R(copy_file_range(a, &i, b, &o, 3, 0));
    say("%ld %ld\n", (long)i, (long)o);
    show_file("b");
    R(copy_file_range(a, 0, b, 0, 100, 0));
    R(copy_file_range(a, 0, b, 0, 100, 0));
    R(copy_file_range(a, 0, b, 0, 1, 1));
    R(copy_file_range(b, 0, a, 0, 1, 0));
    i = 0;
    o = 3;
    R(copy_file_range(b, &i, b, &o, 5, 0));
    o = 20;
    R(copy_file_range(b, &i, b, &o, 5, 0));
    int ap = open("b", O_WRONLY | O_APPEND);
    i = 0;
    R(copy_file_range(a, &i, ap, 0, 3, 0));
    R(copy_file_range(open(".", O_RDONLY), 0, b, 0, 3, 0));
    R(copy_file_range(99, 0, b, 0, 3, 0));
    i = -1;
    R(copy_file_range(a, &i, b, 0, 3, 0));
}

CASE(sendfile_call, "sendfile") {
    put("a", "0123456789");
    int a = open("a", O_RDONLY), b = open("b", O_CREAT | O_RDWR, 0600), p[2];
    off_t o = 3;
    MUST(pipe(p));
    R(sendfile(b, a, &o, 4));
    R(o);
    R(sendfile(b, a, 0, 100));
    R(sendfile(b, a, 0, 100));
    show_file("b");
    o = 0;
    R(sendfile(p[1], a, &o, 5));
    char c[8] = {0};
    R(read(p[0], c, 8));
    R(sendfile(b, p[0], 0, 5));
    R(sendfile(a, b, 0, 5));
    o = -1;
    R(sendfile(b, a, &o, 5));
    R(sendfile(b, a, BAD, 5));
    R(sendfile(99, a, 0, 5));
    int ap = open("b", O_WRONLY | O_APPEND);
    o = 0;
    R(sendfile(ap, a, &o, 2));
    int sv[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    o = 1;
    R(sendfile(sv[0], a, &o, 3));
    R(read(sv[1], c, 8));
    show_bytes("c", c, 3);
}

CASE(splice_calls, "splice tee vmsplice") {
    put("a", "0123456789");
    int a = open("a", O_RDWR), p[2], q[2];
    char b[16] = {0};
    MUST(pipe(p) | pipe(q));
    loff_t o = 2;
    R(splice(a, &o, p[1], 0, 5, 0));
    R(tee(p[0], q[1], 3, 0));
    R(read(q[0], b, 16));
    show_bytes("tee", b, 3);
    o = 0;
    R(splice(p[0], 0, a, &o, 16, SPLICE_F_NONBLOCK));
    show_file("a");
    R(splice(p[0], 0, a, 0, 16, SPLICE_F_NONBLOCK));
    R(splice(a, 0, a, 0, 5, 0));
    R(splice(p[0], &o, a, 0, 5, 0));
    R(splice(p[0], 0, p[1], 0, 5, 0));
    R(splice(a, 0, p[1], 0, 5, 0x100));
    R(splice(99, 0, p[1], 0, 5, 0));
    R(tee(p[0], a, 3, 0));
    R(tee(p[0], q[1], 3, SPLICE_F_NONBLOCK));
    struct iovec v[2] = {{"hello ", 6}, {"world", 5}};
    R(vmsplice(p[1], v, 2, 0));
    R(read(p[0], b, 16));
    show_bytes("vmsplice", b, 11);
    v[0].iov_base = BAD;
    R(vmsplice(p[1], v, 1, 0));
    R(vmsplice(a, v, 1, 0));
    write(q[1], "pipe to pipe", 12);
    R(splice(q[0], 0, p[1], 0, 4, 0));
    R(read(p[0], b, 16));
    close(p[1]);
    R(splice(p[0], 0, a, 0, 5, 0));
}

CASE(device_files, "read write openat") {
    char b[8];
    memset(b, 'x', 8);
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    R(read(null, b, 8));
    R(write(null, b, 8));
    R(read(zero, b, 4));
    show_bytes("zero", b, 8);
    R(write(zero, b, 8));
    R(read(full, b, 8));
    R(write(full, b, 8));
    R(lseek(null, 100, SEEK_SET));
    R(lseek(zero, 5, SEEK_CUR));
    int rnd = open("/dev/urandom", O_RDONLY);
    R(read(rnd, b, 8));
    OK(open("/dev/random", O_RDONLY));
    OK(open("/dev/fd/1", O_WRONLY));
    OK(open("/dev/stdout", O_WRONLY | O_APPEND));
    struct stat st;
    const char *all[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"};
    for (int i = 0; i < 6; i++) {
        stat(all[i], &st);
        say("%s %o %d %d\n", all[i], st.st_mode & S_IFMT, (int)(st.st_rdev >> 8), (int)(st.st_rdev & 255));
    }
    char *m = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    T(m != MAP_FAILED && m[0] == 0);
    R(open("/dev/tty", O_RDWR));
}

CASE(direct_io_flag, "openat fcntl") {
    int fd = open("f", O_CREAT | O_RDWR | O_DIRECT, 0600);
    T(fd >= 0);
    char *p = anon(2);
    memset(p, 'd', PAGE);
    R(pwrite(fd, p, PAGE, 0));
    R(pread(fd, p + PAGE, PAGE, 0));
    T(p[PAGE] == 'd');
    T(fcntl(fd, F_GETFL) & O_DIRECT);
}

CASE(large_transfers, "read write") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    size_t size = 3 << 20;
    char *p = malloc(size), *q = malloc(size);
    for (size_t i = 0; i < size; i++) p[i] = i * 31 >> 3;
    R(write(fd, p, size));
    R(pread(fd, q, size, 0));
    T(!memcmp(p, q, size));
    R(pread(fd, q, size, size - 10));
}

CASE(copy_file_range_limits, "copy_file_range") {
    put("a", "0123456789");
    int a = open("a", O_RDWR), b = open("b", O_CREAT | O_RDWR, 0600);
    loff_t far = LONG_MAX, in = 4, out = 12;
    // What lies behind the end doesn't count, neither for size nor for overlap.
    R(copy_file_range(b, 0, b, 0, 1, 0));
    R(copy_file_range(a, 0, b, &far, 5, 0));
    R(copy_file_range(a, &far, b, 0, 5, 0));
    R(copy_file_range(a, 0, b, 0, ~0ul, 0));
    R(copy_file_range(a, &in, b, 0, ~0ul, 0));
    in = 4;
    R(copy_file_range(a, &in, a, &out, 100, 0));
    in = 0;
    out = 5;
    R(copy_file_range(a, &in, a, &out, 6, 0));
    R(lseek(a, 0, SEEK_END));
}

CASE(sendfile_limits, "sendfile") {
    put("a", "0123456789");
    int a = open("a", O_RDONLY), b = open("b", O_CREAT | O_RDWR, 0600);
    off_t at = 5, far = LONG_MAX;
    R(sendfile(b, open(".", O_RDONLY), 0, 5));
    R(sendfile(b, a, &at, ~0ul));
    R(sendfile(b, a, &far, 3));
    R(sendfile(b, a, &at, LONG_MAX));
    R(sendfile(b, a, &at, LONG_MAX - 5));
}

CASE(random_devices_do_not_seek, "lseek") {
    int r = open("/dev/urandom", O_RDONLY);
    char b[4];
    R(read(r, b, 4));
    R(lseek(r, 5, SEEK_SET));
    R(lseek(r, 0, SEEK_CUR));
}

CASE(ioctl_sizes, "ioctl") {
    int fd = open("f", O_CREAT | O_RDWR, 0600), v = 0, p[2];
    long size = 0;
    write(fd, "0123456789", 10);
    MUST(fsync(fd));
    R(ioctl(fd, FIOQSIZE, &size));
    // In whole blocks, once they are allocated.
    T(size > 0 && size % 512 == 0);
    R(ioctl(fd, 2 /* FIGETBSZ */, &v));
    R(v);
    v = 0;
    MUST(pipe(p));
    R(ioctl(p[0], 2, &v));
    R(v);
    R(ioctl(p[0], FIOQSIZE, &size));
}

CASE(fallocate_of_no_file, "fallocate") {
    int sv[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    R(fallocate(sv[0], 0, 0, 1));
    R(fallocate(open("/dev/null", O_RDWR), 0, 0, 1));
    R(fallocate(memfd_create("m", 0), 0, 0, 1));
}
