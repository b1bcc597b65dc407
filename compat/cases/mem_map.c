// Memory: what is mapped where, and with which rights.
#include "case.h"
#define FAMILY "memory"

static const int AP = MAP_ANONYMOUS | MAP_PRIVATE, RW = PROT_READ | PROT_WRITE;

CASE(brk_grow_shrink, "brk") {
    char *start = (char *)syscall(SYS_brk, 0);
    T(syscall(SYS_brk, start + 3 * PAGE) == (long)(start + 3 * PAGE));
    start[0] = 1;
    start[3 * PAGE - 1] = 2;
    T(syscall(SYS_brk, start + PAGE) == (long)(start + PAGE));
    T(start[0] == 1);
    T(syscall(SYS_brk, start + 3 * PAGE) == (long)(start + 3 * PAGE));
    T(start[3 * PAGE - 1] == 0);
    T(syscall(SYS_brk, (void *)PAGE) == (long)(start + 3 * PAGE));
    T(syscall(SYS_brk, start) == (long)start);
}

CASE(brk_unaligned_keeps_value, "brk") {
    char *start = (char *)syscall(SYS_brk, 0);
    T(syscall(SYS_brk, start + 100) == (long)(start + 100));
    T(syscall(SYS_brk, 0) == (long)(start + 100));
    start[99] = 7;
    T(syscall(SYS_brk, start + 50) == (long)(start + 50));
    T(start[49] == 0);
}

CASE(brk_stops_at_mapping, "brk mmap") {
    char *start = (char *)syscall(SYS_brk, 0);
    char *page = (char *)(((uintptr_t)start + PAGE - 1) & ~(PAGE - 1));
    T(mmap(page + 2 * PAGE, PAGE, RW, AP | MAP_FIXED, -1, 0) == page + 2 * PAGE);
    T(syscall(SYS_brk, page + 4 * PAGE) == (long)start);
    T(syscall(SYS_brk, page + PAGE) == (long)(page + PAGE));
}

CASE(brk_rlimit_data, "brk setrlimit") {
    char *start = (char *)syscall(SYS_brk, 0);
    struct rlimit r = {0, RLIM_INFINITY};
    R(setrlimit(RLIMIT_DATA, &r));
    T(syscall(SYS_brk, start + 64 * PAGE) == (long)start);
}

CASE(mmap_zero_filled, "mmap munmap") {
    char *p = anon(4);
    int sum = 0;
    for (size_t i = 0; i < 4 * PAGE; i++) sum |= p[i];
    R(sum);
    memset(p, 0xaa, 4 * PAGE);
    R(munmap(p, 4 * PAGE));
    R(munmap(p, 4 * PAGE));
}

CASE(mmap_bad_arguments, "mmap") {
    OK(mmap(0, 0, RW, AP, -1, 0));
    OK(mmap(0, PAGE, RW, 0, -1, 0));
    OK(mmap(0, PAGE, RW, MAP_ANONYMOUS, -1, 0));
    OK(mmap(0, PAGE, RW, AP | MAP_SHARED_VALIDATE, -1, 0));
    OK(mmap(0, PAGE, RW, AP, -1, 1));
    OK(syscall(SYS_mmap, 0, PAGE, RW, AP, -1, 123));
    OK(mmap((void *)123, PAGE, RW, AP | MAP_FIXED, -1, 0));
    OK(mmap(0, PAGE, RW, MAP_PRIVATE, -1, 0));
    OK(mmap(0, PAGE, RW, MAP_PRIVATE, 999, 0));
    OK(mmap(0, ~0ul, RW, AP, -1, 0));
    OK(mmap(0, ~0ul - PAGE, RW, AP, -1, 0));
    OK(mmap(0, 1ul << 47, RW, AP, -1, 0));
    OK(mmap((void *)(~0ul & ~(PAGE - 1)), PAGE, RW, AP | MAP_FIXED, -1, 0));
    OK(mmap((void *)0x7ffffffff000, PAGE, RW, AP | MAP_FIXED, -1, 0));
    OK(mmap(0, PAGE, 0x80, AP, -1, 0));
}

CASE(mmap_fixed_replaces, "mmap") {
    char *p = anon(3);
    memset(p, 'a', 3 * PAGE);
    T(mmap(p + PAGE, PAGE, RW, AP | MAP_FIXED, -1, 0) == p + PAGE);
    say("%d %d %d\n", p[0], p[PAGE], p[2 * PAGE]);
}

CASE(mmap_fixed_noreplace, "mmap") {
    char *p = anon(2);
    OK(mmap(p, PAGE, RW, AP | MAP_FIXED_NOREPLACE, -1, 0));
    R(munmap(p, PAGE));
    T(mmap(p, PAGE, RW, AP | MAP_FIXED_NOREPLACE, -1, 0) == p);
    OK(mmap(p, 2 * PAGE, RW, AP | MAP_FIXED_NOREPLACE, -1, 0));
}

CASE(mmap_hint_is_taken_when_free, "mmap") {
    char *p = anon(8);
    munmap(p, 8 * PAGE);
    T(mmap(p + 2 * PAGE, PAGE, RW, AP, -1, 0) == p + 2 * PAGE);
    T(mmap(p + 2 * PAGE, PAGE, RW, AP, -1, 0) != p + 2 * PAGE);
    T(mmap(p + 5 * PAGE + 123, PAGE, RW, AP, -1, 0) == p + 5 * PAGE);
}

CASE_USER(mmap_below_min_addr, "mmap") {
    OK(mmap((void *)PAGE, PAGE, RW, AP | MAP_FIXED, -1, 0));
    OK(mmap(0, PAGE, RW, AP | MAP_FIXED, -1, 0));
    T(mmap((void *)PAGE, PAGE, RW, AP, -1, 0) >= (void *)65536);
}

CASE(mmap_32bit, "mmap") {
    char *p = mmap(0, PAGE, RW, AP | MAP_32BIT, -1, 0);
    T((uintptr_t)p < (1ul << 31));
    p[0] = 1;
}

CASE(mmap_prot_none_then_touch, "mmap mprotect") {
    char *p = mmap(0, PAGE, PROT_NONE, AP, -1, 0);
    IN_CHILD(p[0] = 1);
    IN_CHILD(say("%d", p[0]));
    R(mprotect(p, PAGE, PROT_READ));
    IN_CHILD(say("%d\n", p[0]));
    IN_CHILD(p[0] = 1);
}

CASE(mmap_exec_rights, "mmap mprotect") {
    unsigned char *p = (unsigned char *)anon(1);
    p[0] = 0xc3;
    IN_CHILD(((void (*)(void))p)());
    R(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    IN_CHILD(((void (*)(void))p)(); say("ran\n"));
}

CASE(mmap_file_private_cow, "mmap") {
    put("f", "hello world");
    int fd = open("f", O_RDWR);
    char *p = mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0);
    show_bytes("map", p, 12);
    p[0] = 'J';
    show_bytes("map", p, 11);
    show_fd(fd);
    pwrite(fd, "W", 1, 6);
    show_fd(fd);
}

CASE(mmap_file_shared_writes_through, "mmap msync") {
    put("f", "hello world");
    int fd = open("f", O_RDWR);
    char *p = mmap(0, PAGE, RW, MAP_SHARED, fd, 0), *q = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    memcpy(p, "HELLO", 5);
    show_bytes("other", q, 11);
    R(msync(p, PAGE, MS_SYNC));
    show_fd(fd);
    pwrite(fd, "xyz", 3, 0);
    show_bytes("map", p, 11);
    close(fd);
    p[10] = '!';
    show_file("f");
}

CASE(mmap_file_rights, "mmap mprotect") {
    put("f", "data");
    int r = open("f", O_RDONLY), w = open("f", O_WRONLY), path = open("f", O_PATH);
    OK(mmap(0, PAGE, PROT_READ, MAP_SHARED, w, 0));
    OK(mmap(0, PAGE, PROT_WRITE, MAP_SHARED, r, 0));
    OK(mmap(0, PAGE, PROT_WRITE, MAP_PRIVATE, r, 0));
    OK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, path, 0));
    char *p = mmap(0, PAGE, PROT_READ, MAP_SHARED, r, 0);
    R(mprotect(p, PAGE, RW));
    int d = open(".", O_RDONLY);
    OK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, d, 0));
    int pp[2];
    MUST(pipe(pp));
    OK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, pp[0], 0));
}

CASE(mmap_file_beyond_end_sigbus, "mmap") {
    put("f", "x");
    int fd = open("f", O_RDWR);
    char *p = mmap(0, 3 * PAGE, RW, MAP_SHARED, fd, 0);
    say("%d %d\n", p[0], p[PAGE - 1]);
    IN_CHILD(say("%d", p[PAGE]));
    MUST(ftruncate(fd, 2 * PAGE));
    IN_CHILD(say("%d\n", p[PAGE]); p[2 * PAGE] = 1);
}

CASE(mmap_file_truncated_under_map, "mmap ftruncate") {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    MUST(ftruncate(fd, 2 * PAGE));
    char *p = mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    p[PAGE] = 'x';
    p[10] = 'y';
    MUST(ftruncate(fd, 5));
    IN_CHILD(p[PAGE] = 1);
    MUST(ftruncate(fd, 2 * PAGE));
    say("%d %d\n", p[10], p[PAGE]);
}

CASE(mmap_file_offset, "mmap") {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 3; i++) pwrite(fd, "ABC" + i, 1, i * PAGE);
    char *p = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    say("%c\n", p[0]);
    p = mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE);
    say("%c%c\n", p[0], p[PAGE]);
    OK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, fd, 100));
    OK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, fd, 1L << 62));
}

CASE(mmap_shared_anon_across_fork, "mmap fork") {
    int *s = mmap(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int *p = (int *)anon(1);
    IN_CHILD(*s = 42; *p = 43);
    say("%d %d\n", *s, *p);
}

CASE(mmap_populate, "mmap mincore") {
    char *p = mmap(0, 4 * PAGE, RW, AP | MAP_POPULATE, -1, 0);
    unsigned char v[4];
    R(mincore(p, 4 * PAGE, v));
    say("%d %d %d %d\n", v[0] & 1, v[1] & 1, v[2] & 1, v[3] & 1);
}

CASE(mmap_growsdown, "mmap") {
    char *base = mmap(0, 512 * PAGE, PROT_NONE, AP, -1, 0);
    munmap(base, 512 * PAGE);
    char *p = mmap(base + 500 * PAGE, PAGE, RW, AP | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    T(p == base + 500 * PAGE);
    p[0] = 1;
    p[-1] = 2;
    p[-(long)PAGE - 1] = 3;
    say("%d %d %d\n", p[0], p[-1], p[-(long)PAGE - 1]);
}

CASE(munmap_hole, "munmap mincore") {
    char *p = anon(5);
    memset(p, 'x', 5 * PAGE);
    R(munmap(p + 2 * PAGE, PAGE));
    unsigned char v[5];
    R(mincore(p, 5 * PAGE, v));
    say("%c %c\n", p[PAGE], p[3 * PAGE]);
    IN_CHILD(p[2 * PAGE] = 1);
    R(munmap(p, 5 * PAGE));
    IN_CHILD(p[0] = 1);
}

CASE(munmap_bad_arguments, "munmap") {
    char *p = anon(1);
    R(munmap(p + 1, PAGE));
    R(munmap(p, 0));
    R(munmap(p, 100));
    R(munmap(p, PAGE));
    R(munmap((void *)(1ul << 47), PAGE));
    R(munmap(p, 1ul << 47));
    R(munmap(p, ~0ul));
}

CASE(mprotect_splits, "mprotect") {
    char *p = anon(3);
    memset(p, 1, 3 * PAGE);
    R(mprotect(p + PAGE, PAGE, PROT_READ));
    p[0] = p[2 * PAGE] = 5;
    IN_CHILD(p[PAGE] = 1);
    R(mprotect(p, 3 * PAGE, RW));
    p[PAGE] = 9;
    say("%d %d %d\n", p[0], p[PAGE], p[2 * PAGE]);
}

CASE(mprotect_bad_arguments, "mprotect") {
    char *p = anon(3);
    R(mprotect(p + 1, PAGE, RW));
    R(mprotect(p, 0, RW));
    R(mprotect(p, 1, PROT_READ));
    munmap(p + PAGE, PAGE);
    R(mprotect(p, 3 * PAGE, PROT_READ));
    R(mprotect(p + PAGE, PAGE, PROT_READ));
    R(mprotect(p, PAGE, 0x40));
    R(mprotect(p, PAGE, PROT_READ | PROT_GROWSDOWN));
    R(mprotect(p, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
    R(mprotect(p, ~0ul, PROT_READ));
    R(mprotect(0, PAGE, PROT_READ));
}

CASE(mprotect_applies_before_hole, "mprotect") {
    char *p = anon(3);
    munmap(p + PAGE, PAGE);
    R(mprotect(p, 3 * PAGE, PROT_NONE));
    IN_CHILD(p[0] = 1);
    IN_CHILD(p[2 * PAGE] = 1);
}

CASE(pkey_mprotect_default_key, "pkey_mprotect") {
    char *p = anon(1);
    R(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, -1));
    IN_CHILD(p[0] = 1);
    R(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 77));
}

CASE(fault_on_kernel_address, "mmap") {
    IN_CHILD(*(volatile char *)0xffff888000000000 = 1);
    IN_CHILD(*(volatile char *)0x1234567812345678 = 1);
    IN_CHILD(*(volatile char *)0 = 1);
}

CASE(stack_grows_to_limit, "setrlimit") {
    struct rlimit r;
    R(getrlimit(RLIMIT_STACK, &r));
    volatile char *sp = __builtin_frame_address(0);
    IN_CHILD({
        for (long i = 0; i < 4 << 20; i += 4096) sp[-i] = 1;
        say("4 MiB of stack\n");
    });
    IN_CHILD({
        for (long i = 0; i < 16 << 20; i += 4096) sp[-i] = 1;
        say("not reached\n");
    });
}

// How many mappings of the file there are, and which of their first two pages memory is promised for.
static void show_promised(const char *label, char *at) {
    int maps = 0, within = 0;
    char line[512], *found;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f && fgets(line, sizeof line, f)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
            within = start >= (unsigned long)at && end <= (unsigned long)at + 4 * PAGE;
            maps += within;
        } else if (within && (found = strstr(line, "VmFlags:"))) {
            say("%s: %s\n", label, strstr(found, " ac") ? "promised" : "not promised");
        }
    }
    if (f) fclose(f);
    say("%s: %d mappings\n", label, maps);
}

CASE(mprotect_keeps_what_is_promised_of_files, "mmap mprotect") {
    int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 4 * PAGE));
    char *p = mmap(0, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    show_promised("read-only", p);
    MUST(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE));
    p[PAGE] = 1;
    show_promised("written", p);
    // As the dynamic linker does with relocated data.
    MUST(mprotect(p + PAGE, PAGE, PROT_READ));
    show_promised("read-only again", p);
    MUST(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE));
    show_promised("all", p);
    MUST(mprotect(p, 4 * PAGE, PROT_NONE));
    show_promised("none", p);
    p = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(mprotect(p, PAGE, PROT_READ));
    MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
    show_promised("shared", p);
}
