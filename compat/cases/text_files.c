// Text that many processes map from one file: a sandbox may know its system-call sites from earlier ones. What each process
// sees is the file as it is, and its own changes.
#include "case.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
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

static const struct timespec long_ago[2] = {{1000000000, 0}, {1000000000, 0}};

// `old`: as if nobody had written to it for long.
static int code_file(const char *name, const int numbers[SITES - 1], int old) {
    unsigned char page[4096];
    fill(page, numbers);
    int fd = (int)MUST(open(name, O_RDWR | O_CREAT, 0755));
    MUST(pwrite(fd, page, sizeof page, 0));
    if (old) MUST(futimens(fd, long_ago));
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

// Maps the file's second page at the second page of a mapping of all of it, as a loader does.
static void map_over(unsigned char *whole, int fd, int prot) {
    if (mmap(whole + 4096, 4096, prot, MAP_PRIVATE | MAP_FIXED, fd, 4096) != whole + 4096)
        give_up("mmap over a part", errno);
}

static int protection_of(unsigned char *addr, char *text) {
    unsigned long start, end;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int found = 0;
    while (!found && fgets(line, sizeof line, maps))
        found = sscanf(line, "%lx-%lx %4s", &start, &end, text) == 3 && start == (unsigned long)addr;
    fclose(maps);
    return found;
}

CASE(text_mapped_over_a_mapping_of_the_same_file, "mmap mprotect pwrite64") {
    int fd = code_file("code", first, 1);
    unsigned char page[4096], prot[8];
    fill(page, second);
    MUST(pwrite(fd, page, sizeof page, 4096));
    MUST(ftruncate(fd, 3 * 4096));
    struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    MUST(futimens(fd, times));
    unsigned char *whole = mmap(0, 3 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    T(whole != MAP_FAILED && whole[4096] == 0xb8);
    map_over(whole, fd, PROT_READ | PROT_EXEC);
    T(protection_of(whole + 4096, (char *)prot) && strcmp((char *)prot, "r-xp") == 0);
    for (int i = 0; i < 20; i++) T(right(whole + 4096, second));
    // What was written to a private mapping goes with it.
    map_over(whole, fd, PROT_READ | PROT_WRITE);
    memset(whole + 4096, 0x55, 4096);
    MUST(mprotect(whole + 4096, 4096, PROT_READ));
    map_over(whole, fd, PROT_READ | PROT_EXEC);
    T(right(whole + 4096, second));
    MUST(mprotect(whole + 4096, 4096, PROT_READ | PROT_WRITE));
    whole[4096] = 0x55;
    MUST(mprotect(whole + 4096, 4096, PROT_READ | PROT_EXEC));
    map_over(whole, fd, PROT_READ);
    T(memcmp(whole + 4096, page, sizeof page) == 0);
    // The file changes, and looks as old as before; its code has been run.
    map_over(whole, fd, PROT_READ | PROT_EXEC);
    for (int i = 0; i < 20; i++) T(right(whole + 4096, second));
    fill(page, first);
    MUST(pwrite(fd, page, sizeof page, 4096));
    MUST(futimens(fd, times));
    map_over(whole, fd, PROT_READ | PROT_EXEC);
    T(memcmp(whole + 4096, page, sizeof page) == 0 && right(whole + 4096, first));
    // Another part, and another file.
    T(mmap(whole + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == whole + 4096 && whole[4097] == first[0]);
    T(mmap(whole + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 2 * 4096) == whole + 4096 && whole[4096] == 0);
    int other = code_file("other", second, 1);
    T(mmap(whole + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, other, 0) == whole + 4096);
    T(whole[4097] == second[0]);
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

// Makes a copy of this program that has not been written to for long.
static void old_copy(const char *name) {
    int from = (int)MUST(open("/proc/self/exe", O_RDONLY)), to = (int)MUST(open(name, O_WRONLY | O_CREAT, 0755));
    static char buffer[1 << 16];
    for (ssize_t got; (got = MUST(read(from, buffer, sizeof buffer))) > 0;) MUST(write(to, buffer, (size_t)got));
    MUST(futimens(to, long_ago));
    close(from), close(to);
}

CASE(text_of_a_program_that_changes, "execve getppid getpgrp") {
    old_copy("copy");
    int good = 1;
    for (int i = 0; i < PROCESSES; i++) good &= exec_copy(SYS_getppid);
    T(good);
    unsigned char number = SYS_getpgrp;
    int to = (int)MUST(open("copy", O_WRONLY));
    MUST(pwrite(to, &number, 1, offset_of((void *)own_call) + 1));
    MUST(futimens(to, long_ago));
    close(to);
    for (int i = 0; i < PROCESSES; i++) good &= exec_copy(SYS_getpgrp);
    T(good);
}

// Questions to the processor, each in the form in which a C library puts them when a program begins. All registers are to be as the
// instruction leaves them, and flags as before.
#define ASK(n)                                                                                               \
    __attribute__((naked, noinline)) static void ask_##n(unsigned long *out __attribute__((unused))) {       \
        __asm__("push %rbx\n mov $-1, %rax\n mov %rax, %rbx\n mov %rax, %rcx\n mov %rax, %rdx\n stc\n" \
                "mov $0x8000000" #n ", %eax\n cpuid\n"                                                      \
                "pushfq\n pop %r8\n mov %rax, (%rdi)\n mov %rbx, 8(%rdi)\n mov %rcx, 16(%rdi)\n"         \
                "mov %rdx, 24(%rdi)\n and $1, %r8\n mov %r8, 32(%rdi)\n pop %rbx\n ret\n");              \
    }
ASK(0) ASK(1) ASK(2) ASK(3) ASK(4) ASK(5) ASK(6) ASK(7) ASK(8)
static void (*const asks[])(unsigned long *) = {ask_0, ask_1, ask_2, ask_3, ask_4, ask_5, ask_6, ask_7, ask_8};

static int answers_are_right(void) {
    int good = 1;
    for (unsigned n = 0; n < sizeof asks / sizeof *asks; n++) {
        unsigned long out[5];
        unsigned a, b, c, d, leaf = 0x80000000u + n;
        __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(-1));
        asks[n](out);
        good &= out[0] == a && out[1] == b && out[2] == c && out[3] == d && out[4] == 1;
    }
    return good;
}

static volatile int rings;
static void ring(int sig) {
    (void)sig;
    rings++;
}

HELPER(ask) {
    (void)argc, (void)argv;
    int good = answers_are_right();
    for (int i = 0; i < 30; i++) good &= own_call() == getppid();
    // Interrupted anywhere.
    signal(SIGALRM, ring);
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    MUST(setitimer(ITIMER_REAL, &often, 0));
    while (rings < 20) good &= answers_are_right();
    MUST(setitimer(ITIMER_REAL, &never, 0));
    pid_t pid = (pid_t)MUST(fork());
    if (pid == 0) _exit(answers_are_right() ? 0 : 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    good &= status == 0;
    // The text is the file's as soon as anybody can write to it.
    unsigned long page = (unsigned long)ask_6 & -4096ul;
    MUST(mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
    static const unsigned char code[] = {0xb8, 6, 0, 0, 0x80, 0x0f, 0xa2};
    good &= memmem((void *)ask_6, 48, code, sizeof code) != NULL;
    return good & answers_are_right() ? 0 : 1;
}

CASE(text_that_asks_the_processor, "execve mprotect fork setitimer") {
    old_copy("asking");
    int good = 1;
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = (pid_t)MUST(fork());
        if (pid == 0) {
            execl("./asking", "asking", "helper", "ask", NULL);
            _exit(2);
        }
        int status;
        MUST(waitpid(pid, &status, 0));
        good &= status == 0;
    }
    T(good);
}
