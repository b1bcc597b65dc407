// Text that many processes map from one file: a sandbox may know its system-call sites from earlier ones. What each process
// sees is the file as it is, and its own changes.
#include "case.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#define FAMILY "text"

#define SITES 5
#define STEP 64
// Processes that the sandbox may learn from, and more that it may lead.
#define PROCESSES 9

// `mov $nr, %eax; syscall; ret`, but the last one: `xor %eax, %eax; syscall; ret`, and padding up to a function.
static void fill(unsigned char *page, const int numbers[SITES - 1]) {
    static const unsigned char mov[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};
    static const unsigned char zero[] = {0x31, 0xc0, 0x0f, 0x05, 0xc3, 0x66, 0x66, 0x2e,
                                         0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00};
    memset(page, 0xcc, 4096);
    for (int i = 0; i < SITES - 1; i++) {
        memcpy(page + i * STEP, mov, sizeof mov);
        page[i * STEP + 1] = (unsigned char)numbers[i];
    }
    memcpy(page + (SITES - 1) * STEP, zero, sizeof zero);
}

static const int first[SITES - 1] = {SYS_getppid, SYS_getuid, SYS_getgid, SYS_getpgrp};
static const int second[SITES - 1] = {SYS_getpgrp, SYS_getppid, SYS_getuid, SYS_getgid};

// `old`: as if nobody had written to it for long.
static int code_file(const char *name, const int numbers[SITES - 1], int old) {
    unsigned char page[4096];
    fill(page, numbers);
    int fd = (int)MUST(open(name, O_RDWR | O_CREAT, 0755));
    MUST(pwrite(fd, page, sizeof page, 0));
    struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    if (old) MUST(futimens(fd, times));
    return fd;
}

static unsigned char *map_code(int fd) {
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    if (page == MAP_FAILED) give_up("mmap of the text", errno);
    return page;
}

static long call(unsigned char *page, int site) {
    long (*code)(long, void *, long) = (long (*)(long, void *, long))(page + site * STEP);
    return code(-1, 0, 0);
}

static int right(unsigned char *page, const int numbers[SITES - 1]) {
    int good = call(page, SITES - 1) == -EBADF;
    for (int i = 0; i < SITES - 1; i++) good &= call(page, i) == syscall(numbers[i], -1, 0, 0);
    return good;
}

// Runs this in a process of its own; returns whether it was content.
static int in_child(int (*run)(int fd, const int *numbers), int fd, const int *numbers) {
    pid_t pid = (pid_t)MUST(fork());
    if (pid == 0) _exit(run(fd, numbers) ? 0 : 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    return status == 0;
}

static int use(int fd, const int *numbers) {
    unsigned char *page = map_code(fd);
    int good = 1;
    for (int i = 0; i < 10; i++) good &= right(page, numbers);
    return good;
}

static int used_by_many(int fd, const int *numbers) {
    int good = 1;
    for (int i = 0; i < PROCESSES; i++) good &= in_child(use, fd, numbers);
    return good;
}

CASE(text_of_a_file_that_changes, "mmap getppid getuid read") {
    int fd = code_file("code", first, 1);
    T(used_by_many(fd, first));
    // In place, and as if it were the same.
    close(code_file("code", second, 1));
    T(used_by_many(fd, second));
    // Another one by that name.
    MUST(unlink("code"));
    int other = code_file("code", first, 1);
    T(used_by_many(other, first));
    T(used_by_many(fd, second));
}

static int use_twice(int fd, const int *numbers) {
    unsigned char *one = map_code(fd), *two = map_code(fd);
    int good = right(one, numbers) && right(two, numbers);
    for (int i = 0; i < 10; i++) good &= right(one, numbers) && right(two, numbers);
    MUST(munmap(one, 4096));
    good &= right(two, numbers);
    one = map_code(fd);
    return good & right(one, numbers) & right(two, numbers);
}

CASE(text_mapped_twice, "mmap munmap getppid read") {
    int fd = code_file("code", first, 1);
    T(used_by_many(fd, first));
    for (int i = 0; i < 3; i++) T(in_child(use_twice, fd, first));
}

static int change(int fd, const int *numbers) {
    unsigned char *page = map_code(fd), expected[4096];
    fill(expected, numbers);
    int good = right(page, numbers);
    MUST(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    good &= memcmp(page, expected, sizeof expected) == 0;
    page[1] = SYS_geteuid;
    MUST(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    for (int i = 0; i < 10; i++) good &= call(page, 0) == geteuid() && call(page, 1) == syscall(numbers[1]);
    // What the file holds, again; elsewhere; and gone in part.
    MUST(madvise(page, 4096, MADV_DONTNEED));
    good &= right(page, numbers);
    unsigned char *far = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x123450000000);
    good &= far == (void *)0x123450000000 && right(far, numbers);
    pid_t pid = (pid_t)MUST(fork());
    if (pid == 0) _exit(right(far, numbers) ? 0 : 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    return good && status == 0;
}

CASE(text_of_a_file_made_writable, "mmap mprotect madvise mremap fork") {
    int fd = code_file("code", first, 1);
    T(used_by_many(fd, first));
    for (int i = 0; i < 3; i++) T(in_child(change, fd, first));
    T(used_by_many(fd, first));
}

static int write_meanwhile(int fd, const int *numbers) {
    unsigned char *page = map_code(fd), number = SYS_geteuid, before = (unsigned char)numbers[1];
    // The page is nobody's own: what is written to the file shows.
    int good = call(page, 0) == syscall(numbers[0]) && call(page, 1) == syscall(numbers[1]);
    MUST(pwrite(fd, &number, 1, STEP + 1));
    good &= page[STEP + 1] == number && call(page, 1) == geteuid();
    MUST(pwrite(fd, &before, 1, STEP + 1));
    return good && page[STEP + 1] == before && call(page, 1) == syscall(numbers[1]);
}

CASE(text_of_a_file_being_written, "mmap pwrite64 getuid") {
    int fd = code_file("code", first, 0);
    T(used_by_many(fd, first));
    for (int i = 0; i < 3; i++) T(in_child(write_meanwhile, fd, first));
}

// A site whose number the file decides; and others, to be worth something.
__attribute__((naked, noinline, aligned(64))) static long own_call(void) {
    __asm__("mov $110, %eax\n syscall\n ret\n");
}

HELPER(own_call) {
    (void)argc;
    long expected = syscall(atoi(argv[0]));
    int good = 1;
    for (int i = 0; i < 30; i++) good &= own_call() == expected;
    return good ? 0 : 1;
}

static int exec_copy(int number) {
    pid_t pid = (pid_t)MUST(fork());
    if (pid == 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", number);
        execl("./copy", "copy", "helper", "own_call", text, NULL);
        _exit(2);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    return status == 0;
}

// Returns where in the program's file its code is.
static off_t offset_of(void *code) {
    unsigned long addr = (unsigned long)code, start, end, offset = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && start <= addr && addr < end) break;
    fclose(maps);
    return (off_t)(offset + (addr - start));
}

CASE(text_of_a_program_that_changes, "execve getppid getpgrp") {
    int from = (int)MUST(open("/proc/self/exe", O_RDONLY)), to = (int)MUST(open("copy", O_WRONLY | O_CREAT, 0755));
    static char buffer[1 << 16];
    for (ssize_t got; (got = MUST(read(from, buffer, sizeof buffer))) > 0;) MUST(write(to, buffer, (size_t)got));
    struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    MUST(futimens(to, times));
    close(to);
    int good = 1;
    for (int i = 0; i < PROCESSES; i++) good &= exec_copy(SYS_getppid);
    T(good);
    unsigned char number = SYS_getpgrp;
    to = (int)MUST(open("copy", O_WRONLY));
    MUST(pwrite(to, &number, 1, offset_of((void *)own_call) + 1));
    MUST(futimens(to, times));
    close(to);
    for (int i = 0; i < PROCESSES; i++) good &= exec_copy(SYS_getpgrp);
    T(good);
}
