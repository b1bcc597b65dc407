// Operations on files, and calls that do next to nothing.
#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH "/tmp/.bench-file"
#define SIZE (4l << 20)

static char block[65536];
static int fd;
static long turn;

static void do_getpid(void) { syscall(SYS_getpid); }
static void do_getppid(void) { syscall(SYS_getppid); }
static void do_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
}
static void do_yield(void) { sched_yield(); }
static void do_mask(void) {
    sigset_t s;
    sigemptyset(&s);
    sigprocmask(SIG_BLOCK, &s, 0);
}
static void do_read_1(void) { must(read(fd, block, 1) == 1, "read"); }
static void do_write_1(void) { must(write(fd, block, 1) == 1, "write"); }
static void do_pread_4k(void) { must(pread(fd, block, 4096, turn++ % 1000 * 4096) == 4096, "pread"); }
static void do_pread_64k(void) { must(pread(fd, block, 65536, turn++ % 60 * 65536) == 65536, "pread"); }
static void do_pwrite_4k(void) { must(pwrite(fd, block, 4096, turn++ % 1000 * 4096) == 4096, "pwrite"); }
static struct iovec pieces[4];
static void do_preadv(void) { must(preadv(fd, pieces, 4, turn++ % 1000 * 4096) == 4096, "preadv"); }
static void do_pwritev(void) { must(pwritev(fd, pieces, 4, turn++ % 1000 * 4096) == 4096, "pwritev"); }
static void do_lseek(void) { lseek(fd, 0, SEEK_SET); }
static void do_fstat(void) {
    struct stat s;
    must(!fstat(fd, &s), "fstat");
}
static void do_stat(void) {
    struct stat s;
    must(!stat(PATH, &s), "stat");
}
static void do_stat_missing(void) {
    struct stat s;
    must(stat("/tmp/.bench-no-such-name", &s), "stat");
}
static void do_open(void) {
    int other = open(PATH, O_RDONLY);
    must(other >= 0, "open");
    close(other);
}
static void do_create(void) {
    int other = open("/tmp/.bench-new", O_RDWR | O_CREAT, 0600);
    must(other >= 0, "open");
    close(other);
    must(!unlink("/tmp/.bench-new"), "unlink");
}
static void do_getdents(void) {
    must(lseek(fd, 0, SEEK_SET) == 0, "lseek");
    while (syscall(SYS_getdents64, fd, block, sizeof block) > 0) {}
}
static void do_map(void) {
    void *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(p != MAP_FAILED, "mmap");
    munmap(p, 65536);
}
static char *arena;
static void do_touch(void) {
    madvise(arena, 16 << 20, MADV_DONTNEED);
    for (long i = 0; i < 16 << 20; i += 4096) arena[i] = 1;
}
static void do_file_fault(void) {
    volatile char *p = mmap(0, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    must(p != MAP_FAILED, "mmap");
    for (long i = 0; i < SIZE; i += 4096) (void)p[i];
    munmap((void *)p, SIZE);
}

static void with_file(void (*op)(void)) {
    fd = open(PATH, O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0, "open " PATH);
    memset(block, 7, sizeof block);
    for (long i = 0; i < SIZE; i += sizeof block) must(write(fd, block, sizeof block) == sizeof block, "write");
    for (int i = 0; i < 4; i++) pieces[i] = (struct iovec){block + i * 8192, 1024};
    measure(op);
    unlink(PATH);
}
static void with_device(const char *path, int how, void (*op)(void)) {
    fd = open(path, how);
    must(fd >= 0, path);
    measure(op);
}
static void with_directory(void) {
    char name[64];
    must(!mkdir("/tmp/.bench-dir", 0700), "mkdir");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "/tmp/.bench-dir/file-number-%d", i);
        must((fd = open(name, O_CREAT | O_WRONLY, 0600)) >= 0, name);
        close(fd);
    }
    with_device("/tmp/.bench-dir", O_RDONLY | O_DIRECTORY, do_getdents);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "/tmp/.bench-dir/file-number-%d", i);
        unlink(name);
    }
    rmdir("/tmp/.bench-dir");
}

static void getpid_(void) { measure(do_getpid); }
static void getppid_(void) { measure(do_getppid); }
static void clock_(void) { measure(do_clock); }
static void yield_(void) { measure(do_yield); }
static void mask_(void) { measure(do_mask); }
static void read_zero(void) { with_device("/dev/zero", O_RDONLY, do_read_1); }
static void write_null(void) { with_device("/dev/null", O_WRONLY, do_write_1); }
static void pread_4k(void) { with_file(do_pread_4k); }
static void pread_64k(void) { with_file(do_pread_64k); }
static void pwrite_4k(void) { with_file(do_pwrite_4k); }
static void preadv_(void) { with_file(do_preadv); }
static void pwritev_(void) { with_file(do_pwritev); }
static void lseek_(void) { with_file(do_lseek); }
static void fstat_(void) { with_file(do_fstat); }
static void stat_(void) { with_file(do_stat); }
static void stat_missing(void) { measure(do_stat_missing); }
static void open_(void) { with_file(do_open); }
static void create_(void) { measure(do_create); }
static void map_(void) { measure(do_map); }
static void touch_(void) {
    arena = mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(arena != MAP_FAILED, "mmap");
    madvise(arena, 16 << 20, MADV_NOHUGEPAGE);
    measure(do_touch);
}
static void file_fault(void) { with_file(do_file_fault); }

const struct item FILE_ITEMS[] = {
    {"getpid", getpid_},           {"getppid", getppid_},       {"clock_gettime", clock_},    {"sched_yield", yield_},
    {"sigprocmask", mask_},        {"read_zero_1b", read_zero}, {"write_null_1b", write_null}, {"pread_file_4k", pread_4k},
    {"pread_file_64k", pread_64k}, {"pwrite_file_4k", pwrite_4k}, {"preadv_4x1k", preadv_},   {"pwritev_4x1k", pwritev_},
    {"lseek", lseek_},             {"fstat", fstat_},           {"stat_path", stat_},         {"stat_enoent", stat_missing},
    {"open_close", open_},         {"create_unlink", create_},  {"getdents_100", with_directory}, {"mmap_munmap", map_},
    {"anon_touch_16m", touch_},    {"file_fault_4m", file_fault}, {0, 0},
};
