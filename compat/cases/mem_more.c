// Memory: moving, advising, locking, limits.
#include "case.h"
#include <sys/rseq.h>
#include <linux/membarrier.h>
#include <sys/prctl.h>
#define FAMILY "memory"

static const int AP = MAP_ANONYMOUS | MAP_PRIVATE, RW = PROT_READ | PROT_WRITE;

CASE(mremap_shrink_and_grow, "mremap") {
    char *p = anon(4);
    memset(p, 'a', 4 * PAGE);
    T(mremap(p, 4 * PAGE, 2 * PAGE, 0) == p);
    IN_CHILD(p[3 * PAGE] = 1);
    T(mremap(p, 2 * PAGE, 3 * PAGE, 0) == p);
    say("%d %d\n", p[0], p[2 * PAGE]);
}

CASE(mremap_cannot_grow_in_place, "mremap") {
    char *p = anon(4);
    OK(mremap(p, PAGE, 2 * PAGE, 0));
    p[0] = 'q';
    char *q = mremap(p, PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    T(q != p && q != MAP_FAILED);
    say("%c %d\n", q[0], q[7 * PAGE]);
    IN_CHILD(p[0] = 1);
}

CASE(mremap_fixed, "mremap") {
    char *p = anon(2), *q = anon(4);
    memset(p, 'p', 2 * PAGE);
    memset(q, 'q', 4 * PAGE);
    T(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + PAGE) == q + PAGE);
    say("%c%c%c%c\n", q[0], q[PAGE], q[2 * PAGE], q[3 * PAGE]);
    IN_CHILD(p[0] = 1);
}

CASE(mremap_dontunmap, "mremap") {
    char *p = anon(2);
    memset(p, 'd', 2 * PAGE);
    char *q = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4, 0);
    T(q != p && q != MAP_FAILED);
    say("%d %d\n", p[0], q[0]);
    p[PAGE] = 1;
    OK(mremap(p, 2 * PAGE, PAGE, MREMAP_MAYMOVE | 4, 0));
}

CASE(mremap_zero_old_size_duplicates_shared, "mremap") {
    char *p = mmap(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *q = mremap(p, 0, PAGE, MREMAP_MAYMOVE);
    T(q != MAP_FAILED && q != p);
    p[0] = 'z';
    say("%c\n", q[0]);
    char *a = anon(1);
    OK(mremap(a, 0, PAGE, MREMAP_MAYMOVE));
}

CASE(mremap_bad_arguments, "mremap") {
    char *p = anon(2);
    OK(mremap(p + 1, PAGE, PAGE, 0));
    OK(mremap(p, PAGE, 0, 0));
    OK(mremap(p, PAGE, PAGE, 0x80));
    OK(mremap(p, PAGE, PAGE, MREMAP_FIXED, p + 16 * PAGE));
    OK(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE));
    OK(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 1));
    OK(mremap(p, 16 * PAGE, 32 * PAGE, MREMAP_MAYMOVE));
    munmap(p, PAGE);
    OK(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    OK(mremap(p + PAGE, PAGE, 1ul << 60, MREMAP_MAYMOVE));
}

CASE(mremap_file_keeps_backing, "mremap") {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 4; i++) pwrite(fd, "ABCD" + i, 1, i * PAGE);
    char *p = mmap(0, PAGE, RW, MAP_SHARED, fd, PAGE);
    p = mremap(p, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
    say("%c%c%c\n", p[0], p[PAGE], p[2 * PAGE]);
    p[2 * PAGE + 1] = 'x';
    char b[2];
    pread(fd, b, 2, 3 * PAGE);
    show_bytes("file", b, 2);
}

CASE(madvise_dontneed, "madvise") {
    char *p = anon(2);
    memset(p, 'x', 2 * PAGE);
    R(madvise(p, PAGE, MADV_DONTNEED));
    say("%d %d\n", p[0], p[PAGE]);
    put("f", "file");
    int fd = open("f", O_RDWR);
    char *m = mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0);
    m[0] = 'F';
    R(madvise(m, PAGE, MADV_DONTNEED));
    show_bytes("private", m, 4);
}

CASE(madvise_kinds, "madvise") {
    char *p = anon(4);
    R(madvise(p, PAGE, MADV_NORMAL));
    R(madvise(p, PAGE, MADV_RANDOM));
    R(madvise(p, PAGE, MADV_SEQUENTIAL));
    R(madvise(p, PAGE, MADV_WILLNEED));
    R(madvise(p, PAGE, MADV_FREE));
    R(madvise(p, PAGE, MADV_DONTFORK));
    R(madvise(p, PAGE, MADV_DOFORK));
    R(madvise(p, PAGE, MADV_WIPEONFORK));
    R(madvise(p, PAGE, MADV_KEEPONFORK));
    R(madvise(p, PAGE, MADV_DONTDUMP));
    R(madvise(p, PAGE, MADV_DODUMP));
    R(madvise(p, PAGE, MADV_COLD));
    R(madvise(p, PAGE, MADV_PAGEOUT));
    R(madvise(p, PAGE, MADV_POPULATE_READ));
    R(madvise(p, PAGE, MADV_POPULATE_WRITE));
}

CASE(madvise_bad_arguments, "madvise") {
    char *p = anon(3);
    R(madvise(p + 1, PAGE, MADV_DONTNEED));
    R(madvise(p, PAGE, 12345));
    R(madvise(p, 0, MADV_DONTNEED));
    R(madvise(p, ~0ul, MADV_DONTNEED));
    munmap(p + PAGE, PAGE);
    memset(p + 2 * PAGE, 1, PAGE);
    R(madvise(p, 3 * PAGE, MADV_DONTNEED));
    say("%d\n", p[2 * PAGE]);
    R(madvise(p + PAGE, PAGE, MADV_WILLNEED));
    char *s = mmap(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    R(madvise(s, PAGE, MADV_FREE));
    R(madvise(s, PAGE, MADV_WIPEONFORK));
}

CASE(madvise_wipeonfork, "madvise fork") {
    char *p = anon(1), *q = anon(1);
    p[0] = q[0] = 7;
    R(madvise(p, PAGE, MADV_WIPEONFORK));
    IN_CHILD(say("child %d %d\n", p[0], q[0]));
    say("parent %d\n", p[0]);
}

CASE(madvise_dontfork, "madvise fork") {
    char *p = anon(1);
    R(madvise(p, PAGE, MADV_DONTFORK));
    IN_CHILD(p[0] = 1);
    p[0] = 2;
    R(madvise(p, PAGE, MADV_DOFORK));
    IN_CHILD(say("%d\n", p[0]));
}

CASE(madvise_remove_shared, "madvise memfd_create") {
    int fd = memfd_create("m", 0);
    MUST(ftruncate(fd, 2 * PAGE));
    char *p = mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    memset(p, 'r', 2 * PAGE);
    R(madvise(p, PAGE, MADV_REMOVE));
    say("%d %c\n", p[0], p[PAGE]);
    char *a = anon(1);
    R(madvise(a, PAGE, MADV_REMOVE));
}

CASE(mincore_touched_pages, "mincore") {
    char *p = anon(4);
    madvise(p, 4 * PAGE, MADV_NOHUGEPAGE);
    p[0] = p[2 * PAGE] = 1;
    unsigned char v[4] = {9, 9, 9, 9};
    R(mincore(p, 4 * PAGE, v));
    say("%d %d %d %d\n", v[0] & 1, v[1] & 1, v[2] & 1, v[3] & 1);
}

CASE(mincore_bad_arguments, "mincore") {
    char *p = anon(2);
    unsigned char v[4];
    R(mincore(p + 1, PAGE, v));
    R(mincore(p, PAGE, BAD));
    R(mincore(p, 0, v));
    munmap(p + PAGE, PAGE);
    R(mincore(p, 2 * PAGE, v));
    R(mincore(p, 1ul << 60, v));
}

CASE(msync_flags, "msync") {
    char *p = anon(2);
    R(msync(p, PAGE, MS_SYNC));
    R(msync(p, PAGE, MS_ASYNC | MS_SYNC));
    R(msync(p, PAGE, MS_INVALIDATE));
    R(msync(p, PAGE, 0));
    R(msync(p, PAGE, 64));
    R(msync(p + 1, PAGE, MS_SYNC));
    munmap(p + PAGE, PAGE);
    R(msync(p, 2 * PAGE, MS_SYNC));
    R(msync(p, 2 * PAGE, MS_ASYNC));
    R(msync(p, ~0ul - PAGE, MS_ASYNC));
    R(msync(p, 0, MS_SYNC));
}

CASE(mlock_limits_as_user, "mlock munlock setrlimit") {
    struct rlimit r = {2 * PAGE, 2 * PAGE};
    R(setrlimit(RLIMIT_MEMLOCK, &r));
    char *p = anon(4);
    drop_to(1000, 1000);
    R(mlock(p, PAGE));
    R(mlock(p, 3 * PAGE));
    R(mlock(p + 1, PAGE));
    R(munlock(p, 2 * PAGE));
    R(mlock(p, 2 * PAGE));
    R(mlockall(MCL_CURRENT));
    OK(mmap(0, PAGE, RW, AP | MAP_LOCKED, -1, 0));
}

CASE(mlock_zero_limit_is_eperm, "mlock mlockall munlockall") {
    struct rlimit r = {0, 0};
    R(setrlimit(RLIMIT_MEMLOCK, &r));
    char *p = anon(1);
    drop_to(1000, 1000);
    R(mlock(p, PAGE));
    R(mlockall(MCL_CURRENT));
    R(munlockall());
}

CASE(mlock_arguments, "mlock mlock2 munlock mlockall munlockall") {
    char *p = anon(2);
    R(mlock(p, 2 * PAGE));
    R(mlock2(p, PAGE, MLOCK_ONFAULT));
    R(mlock2(p, PAGE, 0x10));
    R(munlock(p, 2 * PAGE));
    munmap(p + PAGE, PAGE);
    R(mlock(p, 2 * PAGE));
    R(munlock(p, 2 * PAGE));
    R(mlock(p, ~0ul - PAGE));
    R(mlockall(0));
    R(mlockall(MCL_ONFAULT));
    R(mlockall(0x100));
    R(munlockall());
}

CASE(memfd_basics, "memfd_create") {
    int fd = OK(memfd_create("name", 0));
    R(write(fd, "abc", 3));
    show_fd(fd);
    R(fcntl(fd, F_GETFD));
    int c = memfd_create("name", MFD_CLOEXEC);
    R(fcntl(c, F_GETFD));
    R(memfd_create(BAD, 0));
    R(memfd_create("x", 0x8000));
    char longname[300];
    memset(longname, 'n', 299);
    longname[299] = 0;
    R(memfd_create(longname, 0));
    longname[249] = 0;
    OK(memfd_create(longname, 0));
    char link[64], path[64] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    R(readlink(link, path, 63));
    say("%s\n", path);
    struct stat st;
    MUST(fstat(fd, &st));
    say("%o %ld\n", st.st_mode, (long)st.st_nlink);
}

CASE(memfd_seals, "memfd_create fcntl") {
    int fd = memfd_create("s", MFD_ALLOW_SEALING);
    R(fcntl(fd, F_GET_SEALS));
    MUST(ftruncate(fd, PAGE));
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    R(ftruncate(fd, 10));
    R(ftruncate(fd, 2 * PAGE));
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    R(ftruncate(fd, 3 * PAGE));
    R(pwrite(fd, "x", 1, 2 * PAGE));
    char *p = mmap(0, PAGE, RW, MAP_SHARED, fd, 0);
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    R(munmap(p, PAGE));
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    R(write(fd, "x", 1));
    OK(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    OK(mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0));
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    R(fcntl(fd, F_GET_SEALS));
    int n = memfd_create("n", 0);
    R(fcntl(n, F_GET_SEALS));
    R(fcntl(n, F_ADD_SEALS, F_SEAL_WRITE));
    int ends[2];
    MUST(pipe(ends));
    R(fcntl(ends[0], F_GET_SEALS));
}

CASE(memfd_future_write_seal, "memfd_create fcntl") {
    int fd = memfd_create("s", MFD_ALLOW_SEALING);
    MUST(ftruncate(fd, PAGE));
    char *p = mmap(0, PAGE, RW, MAP_SHARED, fd, 0);
    R(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    p[0] = 'k';
    R(write(fd, "x", 1));
    OK(mmap(0, PAGE, RW, MAP_SHARED, fd, 0));
    OK(mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    show_bytes("still", p, 1);
}

CASE(memfd_shared_with_child, "memfd_create mmap") {
    int fd = memfd_create("s", 0);
    MUST(ftruncate(fd, PAGE));
    IN_CHILD(char *p = mmap(0, PAGE, RW, MAP_SHARED, fd, 0); strcpy(p, "from child"));
    show_fd(fd);
}

CASE(membarrier_commands, "membarrier") {
    T(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    R(syscall(SYS_membarrier, 1 << 30, 0, 0));
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 7, 0));
}

// Modes and flags of set_mempolicy(2), which <numaif.h> would bring.
enum { DEFAULT_, PREFERRED_, BIND_, INTERLEAVE_, LOCAL_, PREFERRED_MANY_, STATIC_ = 1 << 15, RELATIVE_ = 1 << 14, BALANCING_ = 1 << 13 };
static long set_policy(int mode, unsigned long *set, unsigned long max) { return syscall(SYS_set_mempolicy, mode, set, max); }
static void show_policy(const char *label) {
    int mode = 77;
    unsigned long set[2] = {77, 77};
    int r = syscall(SYS_get_mempolicy, &mode, set, 128, 0, 0);
    say("%s: %d mode %x nodes %lx %lx\n", label, r, mode, set[0], set[1]);
}

CASE(memory_policies, "set_mempolicy get_mempolicy mbind") {
    unsigned long none[40] = {0}, zero[40] = {1}, one[40] = {2}, both[40] = {3}, far[40] = {0}, set = 0;
    far[20] = 1;
    show_policy("at first");
    R(set_policy(BIND_, zero, 64)), show_policy("bind");
    IN_CHILD(show_policy("child"));
    IN_CHILD(execl(program("cases"), "x", "helper", "mempolicy", NULL));
    R(set_policy(BIND_ | STATIC_, both, 64)), show_policy("static");
    R(set_policy(INTERLEAVE_ | RELATIVE_, one, 64)), show_policy("relative");
    R(set_policy(INTERLEAVE_, both, 64)), show_policy("interleave");
    R(syscall(SYS_get_mempolicy, &set, 0, 0, 0, 1)), say("next %lx\n", set & 0xffffffff);
    R(set_policy(PREFERRED_, zero, 2)), show_policy("preferred");
    R(set_policy(PREFERRED_, 0, 0)), show_policy("preferred nowhere");
    R(set_policy(BIND_ | BALANCING_, zero, 64)), show_policy("balancing");
    R(set_policy(LOCAL_, none, 64)), show_policy("local");
    R(set_policy(BIND_, one, 64)), R(set_policy(BIND_, none, 64)), R(set_policy(BIND_, 0, 0)), R(set_policy(BIND_, zero, 1));
    R(set_policy(LOCAL_, zero, 64)), R(set_policy(DEFAULT_, zero, 64)), R(set_policy(DEFAULT_ | STATIC_, none, 64));
    R(set_policy(PREFERRED_ | STATIC_, none, 64)), R(set_policy(LOCAL_ | RELATIVE_, none, 64));
    R(set_policy(7, zero, 64)), R(set_policy(-1, zero, 64)), R(set_policy(STATIC_ | RELATIVE_ | BIND_, zero, 64));
    R(set_policy(INTERLEAVE_ | BALANCING_, zero, 64));
    R(set_policy(BIND_, BAD, 64)), R(set_policy(BIND_, far, 1400)), R(set_policy(BIND_, zero, 40000)), R(set_policy(BIND_, zero, 0));
    show_policy("unchanged");
    R(set_policy(DEFAULT_, 0, 0)), show_policy("default");
    int mode;
    R(syscall(SYS_get_mempolicy, &mode, 0, 0, 0, 8));
    R(syscall(SYS_get_mempolicy, &mode, 0, 0, &mode, 0));
    R(syscall(SYS_get_mempolicy, &mode, 0, 0, 0, 1));
    R(syscall(SYS_get_mempolicy, &mode, 0, 0, BAD, 2));
    R(syscall(SYS_get_mempolicy, BAD, 0, 0, 0, 0));
    R(syscall(SYS_get_mempolicy, 0, BAD, 64, 0, 0));
    R(syscall(SYS_get_mempolicy, 0, &set, 0, 0, 0));
    R(syscall(SYS_get_mempolicy, 0, &set, 64, 0, 4)), say("allowed %lx\n", set);
    R(syscall(SYS_get_mempolicy, 0, &set, 64, 0, 5));
    char *p = anon(3);
    *p = 1;
    R(syscall(SYS_get_mempolicy, &mode, 0, 0, p, 3)), say("on node %d\n", mode);
    R(syscall(SYS_mbind, p, 3 * PAGE, BIND_, zero, 64, 0)), R(syscall(SYS_mbind, p, 3 * PAGE, BIND_, one, 64, 0));
    R(syscall(SYS_mbind, p + 1, PAGE, BIND_, zero, 64, 0)), R(syscall(SYS_mbind, p, PAGE, BIND_, zero, 64, 8));
    R(syscall(SYS_mbind, p, 0, BIND_, zero, 64, 0)), R(syscall(SYS_mbind, p, -PAGE, BIND_, zero, 64, 0));
    munmap(p + PAGE, PAGE);
    R(syscall(SYS_mbind, p, 3 * PAGE, BIND_, zero, 64, 0));
    R(syscall(SYS_mbind, p, PAGE, DEFAULT_, 0, 0, 3));
}

HELPER(mempolicy) {
    show_policy("after exec");
    return 0;
}

CASE(membarrier_registrations, "membarrier fork") {
    const int get = 1 << 9, sync_core = MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, rseq = MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;
    R(syscall(SYS_membarrier, get, 0, 0));
    R(syscall(SYS_membarrier, get, 1, 0));
    R(syscall(SYS_membarrier, sync_core, 0, 0));
    R(syscall(SYS_membarrier, sync_core, 1, 0));
    R(syscall(SYS_membarrier, rseq, 0, 0));
    R(syscall(SYS_membarrier, rseq, 1, 0));
    R(syscall(SYS_membarrier, rseq, 2, 0));
    R(syscall(SYS_membarrier, sync_core << 1, 0, 0));
    R(syscall(SYS_membarrier, get, 0, 0));
    R(syscall(SYS_membarrier, sync_core, 0, 0));
    // Each registers for itself only.
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    R(syscall(SYS_membarrier, rseq << 1, 0, 0));
    R(syscall(SYS_membarrier, rseq, 1, 0));
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0));
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0));
    R(syscall(SYS_membarrier, get, 0, 0));
    IN_CHILD(R(syscall(SYS_membarrier, get, 0, 0)); R(syscall(SYS_membarrier, sync_core, 0, 0)));
    IN_CHILD(execl(program("cases"), "x", "helper", "membarrier", NULL));
}

HELPER(membarrier) {
    R(syscall(SYS_membarrier, 1 << 9, 0, 0));
    R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
    return 0;
}

static void *rseq_thread(void *a) {
    struct { uint32_t w[8]; } __attribute__((aligned(32))) *area = (void *)anon(1);
    // glibc registered its own; a second area is refused.
    R(syscall(SYS_rseq, area, 32, 0, 0x53053053));
    R(syscall(SYS_rseq, (char *)area + 1, 32, 0, 0x53053053));
    R(syscall(SYS_rseq, area, 32, 2, 0x53053053));
    return a;
}

CASE(rseq_second_registration, "rseq") {
    pthread_join(thread(rseq_thread, 0), 0);
}

static int raw_rseq(void *a) {
    (void)a;
    uint32_t *area = (uint32_t *)(a);
    R(syscall(SYS_rseq, area, 32, 0, 0x1234));
    T(area[0] < 1024 && area[1] == area[0]);
    R(syscall(SYS_rseq, area, 32, 0, 0x1234));
    R(syscall(SYS_rseq, area, 32, 0, 0x9999));
    R(syscall(SYS_rseq, area, 32, 1, 0x9999));
    R(syscall(SYS_rseq, area, 32, 1, 0x1234));
    R(syscall(SYS_rseq, area, 32, 1, 0x1234));
    return 0;
}

CASE(rseq_register_and_unregister, "rseq") {
    // A raw thread without libc's registration.
    char *stack = anon(16), *area = anon(1);
    int status;
    pid_t p = clone(raw_rseq, stack + 16 * PAGE, CLONE_VM | CLONE_SIGHAND | SIGCHLD, area);
    MUST(waitpid(p, &status, 0));
    show_status("child", status);
}

#define RSEQ_SIGNATURE 0x53053053
// What libc has registered for this thread.
static char *rseq_area(void) {
    return (char *)__builtin_thread_pointer() + __rseq_offset;
}

static volatile uint64_t rip_seen, abort_at;
static void note_rip(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)info;
    rip_seen = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}

// Loops in a critical section, which only its abort ends.
static int endless_section(char *area) {
    int aborted = 0;
    uint64_t handler = 0;
    __asm__ volatile(".pushsection .data.rel.local, \"aw\"\n"
                     ".balign 32\n"
                     "5: .long 0, 0\n"
                     ".quad 1f, 2f - 1f, 4f\n"
                     ".popsection\n"
                     "leaq 4f(%%rip), %[handler]\n"
                     "movq %[handler], %[note]\n"
                     "leaq 5b(%%rip), %%rax\n"
                     "movq %%rax, 8(%[area])\n"
                     "1: pause\n"
                     "jmp 1b\n"
                     "2: jmp 6f\n"
                     ".long 0x53053053\n"
                     "4: movl $1, %[aborted]\n"
                     "6:\n"
                     : [aborted] "+r"(aborted), [handler] "=&r"(handler), [note] "=m"(abort_at)
                     : [area] "r"(area)
                     : "rax", "memory");
    return aborted;
}

static void section_with_timer(void) {
    struct sigaction action = {.sa_sigaction = note_rip, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGALRM, &action, 0));
    struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    MUST(setitimer(ITIMER_REAL, &soon, 0));
    R(endless_section(rseq_area()));
    // By the signal, or already by a preemption before it.
    while (!rip_seen) usleep(1000);
    T(*(uint64_t *)(rseq_area() + 8) == 0);
}

CASE(rseq_signal_aborts_section, "rseq") {
    T(__rseq_size > 0);
    section_with_timer();
    rip_seen = 0;
    say("after fork\n");
    IN_CHILD(section_with_timer());
}

static void *spin(void *stop) {
    while (!*(volatile int *)stop) __builtin_ia32_pause();
    return 0;
}

CASE(rseq_preemption_aborts_section, "rseq") {
    // Two spinning threads on one CPU: the section loses it after a time slice.
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    MUST(sched_setaffinity(0, sizeof one, &one));
    int stop = 0;
    pthread_t other[4];
    for (int i = 0; i < 4; i++) other[i] = thread(spin, &stop);
    R(endless_section(rseq_area()));
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(other[i], 0);
}

CASE(rseq_abort_without_signature, "rseq") {
    IN_CHILD({
        static struct { uint32_t version, flags; uint64_t start, length, abort; } __attribute__((aligned(32))) section;
        // Nearly all of memory, and an abort handler that no signature vouches for.
        char *nowhere = mmap((void *)0x10000, PAGE, RW, AP | MAP_FIXED_NOREPLACE, -1, 0);
        section.start = 0x11000;
        section.length = 0x7fffffff0000 - 0x11000;
        section.abort = (uint64_t)nowhere + 64;
        *(void *volatile *)(rseq_area() + 8) = &section;
        for (;;) sched_yield();
    });
}

CASE(rseq_after_exec, "rseq execve") {
    IN_CHILD(execl(program("cases"), "cases", "helper", "rseq_registered", (char *)0));
}
HELPER(rseq_registered) {
    T(__rseq_size > 0);
    // libc's own is in place: the kernel has forgotten that of the old program.
    R(syscall(SYS_rseq, rseq_area(), 32, 0, RSEQ_SIGNATURE));
    R(syscall(SYS_rseq, rseq_area(), 32, 1, RSEQ_SIGNATURE));
    R(syscall(SYS_rseq, rseq_area(), 32, 1, RSEQ_SIGNATURE));
    return 0;
}

static void as_limit(size_t bytes) {
    struct rlimit r = {bytes, bytes};
    if (setrlimit(RLIMIT_AS, &r)) give_up("setrlimit", errno);
}

CASE(rlimit_as_enomem, "mmap mremap brk setrlimit") {
    char *p = anon(1);
    as_limit(1 << 20);
    OK(mmap(0, 4 << 20, RW, AP, -1, 0));
    OK(mremap(p, PAGE, 4 << 20, MREMAP_MAYMOVE));
    char *b = (char *)syscall(SYS_brk, 0);
    T(syscall(SYS_brk, b + (4 << 20)) == (long)b);
    R(munmap(p, PAGE));
}

CASE(rlimit_data_counts_private_writable, "mmap setrlimit") {
    struct rlimit r = {1 << 20, 1 << 20};
    MUST(setrlimit(RLIMIT_DATA, &r));
    OK(mmap(0, 4 << 20, RW, AP, -1, 0));
    OK(mmap(0, 4 << 20, PROT_READ, AP, -1, 0));
    OK(mmap(0, 4 << 20, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

CASE(huge_noreserve_mapping, "mmap") {
    char *p = mmap(0, 1ul << 40, RW, AP | MAP_NORESERVE, -1, 0);
    T(p != MAP_FAILED);
    p[0] = p[(1ul << 40) - 1] = 3;
    say("%d\n", p[0] + p[(1ul << 40) - 1]);
    R(munmap(p, 1ul << 40));
}

CASE(remap_file_pages_old_call, "remap_file_pages") {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 2; i++) pwrite(fd, "AB" + i, 1, i * PAGE);
    char *p = mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    R(syscall(SYS_remap_file_pages, p, PAGE, 0, 1, 0));
    say("%c%c\n", p[0], p[PAGE]);
    R(syscall(SYS_remap_file_pages, p, PAGE, 1, 1, 0));
}

CASE(process_vm_read_write, "process_vm_readv process_vm_writev") {
    char *p = anon(2);
    strcpy(p, "secret");
    int ready[2], go[2];
    MUST(pipe(ready) | pipe(go));
    pid_t child = FORK(strcpy(p, "child"); write(ready[1], "r", 1); char c; read(go[0], &c, 1); say("%s\n", p));
    char c, buf[16] = {0};
    read(ready[0], &c, 1);
    struct iovec l = {buf, 6}, r = {p, 6};
    R(process_vm_readv(child, &l, 1, &r, 1, 0));
    show_bytes("read", buf, 6);
    strcpy(buf, "patch");
    R(process_vm_writev(child, &l, 1, &r, 1, 0));
    R(process_vm_readv(child, &l, 1, &r, 1, 1));
    r.iov_base = BAD;
    R(process_vm_readv(child, &l, 1, &r, 1, 0));
    r.iov_base = p;
    l.iov_base = BAD;
    R(process_vm_readv(child, &l, 1, &r, 1, 0));
    R(process_vm_readv(999999, &l, 1, &r, 1, 0));
    R(process_vm_readv(child, &l, 2000, &r, 1, 0));
    write(go[1], "g", 1);
    show_wait(child);
}

CASE(anon_vma_name_shows_in_maps, "prctl") {
    char *p = anon(1);
    int r = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, PAGE, "case");
    T(r == 0 || errno == EINVAL);
}
