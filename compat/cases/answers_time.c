// The time and the CPU by system calls at sites that have become quick: a sandbox may answer them without asking its kernel, and
// they must agree with every other way to ask.
#include "case.h"
#include "forbid.h"
#include "pester.h"
#include <stdatomic.h>
#define FAMILY "answers"

// Sites of our own, so that it is these that become quick.
#define SITE(name, nr)                                                                                                \
    __attribute__((naked, noinline, aligned(64))) static long name(long a, long b, long c) {                          \
        (void)a, (void)b, (void)c;                                                                                    \
        __asm__("mov $" #nr ", %eax\n syscall\n ret\n");                                                              \
    }
SITE(hot_gettimeofday, 96)
SITE(hot_time, 201)
SITE(hot_clock_gettime, 228)
SITE(hot_clock_getres, 229)
SITE(hot_getcpu, 309)

static void warm_up(void) {
    struct timespec time;
    for (int i = 0; i < 12; i++) {
        hot_gettimeofday((long)&time, 0, 0), hot_time(0, 0, 0), hot_clock_gettime(1, (long)&time, 0);
        hot_clock_getres(1, (long)&time, 0), hot_getcpu(0, 0, 0);
    }
}

static int64_t nanos(struct timespec time) { return time.tv_sec * 1000000000l + time.tv_nsec; }
static int64_t by_vdso(clockid_t clock) {
    struct timespec time;
    MUST(clock_gettime(clock, &time));
    return nanos(time);
}
static int64_t by_call(clockid_t clock) {
    struct timespec time;
    if (hot_clock_gettime(clock, (long)&time, 0)) return -1;
    return nanos(time);
}

CASE(answers_time_by_all_clocks, "clock_gettime clock_getres") {
    warm_up();
    for (clockid_t clock = 0; clock < 14; clock++) {
        // Those of alarms are there where the machine has a clock for them.
        if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM) continue;
        int ordered = 0, fine = 0, failed = 0;
        for (int i = 0; i < 30; i++) {
            struct timespec time = {-1, -1}, again;
            long r = hot_clock_gettime(clock, (long)&time, 0);
            failed += r == -EINVAL && time.tv_sec == -1;
            fine += r == 0 && time.tv_nsec >= 0 && time.tv_nsec < 1000000000;
            if (r || clock_gettime(clock, &again)) continue;
            int64_t before = nanos(again), now = by_call(clock), after = by_vdso(clock);
            ordered += nanos(time) <= before && before <= now && now <= after;
        }
        struct timespec res = {-1, -1}, known = {-1, -1};
        long r = hot_clock_getres(clock, (long)&res, 0);
        say("clock %d: %d fine, %d ordered, %d refused; resolution %ld, without a place %ld", clock, fine, ordered, failed, r,
            hot_clock_getres(clock, 0, 0));
        say(", %s\n", clock_getres(clock, &known) == 0 && nanos(res) == nanos(known) ? "agrees" : "differs");
    }
    for (int i = 0; i < 4; i++) {
        long odd[] = {-1, 1l << 31, (1l << 32) + 1, -(1l << 32)};
        struct timespec time;
        long r = hot_clock_gettime(odd[i], (long)&time, 0);
        say("clock %lx: %ld %ld\n", odd[i], r, hot_clock_getres(odd[i], (long)&time, 0));
    }
}

CASE(answers_time_by_old_calls, "gettimeofday time") {
    warm_up();
    int good = 0, seconds = 0;
    for (int i = 0; i < 100; i++) {
        struct timeval time = {-1, -1};
        int64_t before = by_vdso(CLOCK_REALTIME) / 1000;
        long r = hot_gettimeofday((long)&time, 0, 0);
        int64_t now = time.tv_sec * 1000000l + time.tv_usec, after = by_vdso(CLOCK_REALTIME) / 1000;
        good += r == 0 && before <= now && now <= after && time.tv_usec < 1000000;
        long told = -1, coarse = by_vdso(CLOCK_REALTIME_COARSE) / 1000000000;
        long returned = hot_time((long)&told, 0, 0);
        seconds += returned == told && coarse <= told && told <= by_vdso(CLOCK_REALTIME_COARSE) / 1000000000;
        seconds += hot_time(0, 0, 0) >= told;
    }
    R(good), R(seconds);
    struct timeval time = {-1, -1};
    struct timezone zone = {-1, -1};
    R(hot_gettimeofday(0, 0, 0));
    R(hot_gettimeofday((long)&time, (long)&zone, 0));
    T(time.tv_sec > 1000000000 && zone.tz_minuteswest != -1);
    R(hot_gettimeofday(0, (long)&zone, 0));
}

CASE(answers_time_to_nowhere, "clock_gettime clock_getres gettimeofday time getcpu") {
    warm_up();
    long places[] = {0, (long)BAD, -8, 1l << 62, (long)read_only_page()};
    for (int i = 0; i < 5; i++) {
        long at = places[i];
        say("place %d:", i);
        say(" %ld", hot_clock_gettime(CLOCK_MONOTONIC, at, 0));
        say(" %ld", hot_clock_gettime(77, at, 0));
        say(" %ld", hot_clock_getres(CLOCK_MONOTONIC, at, 0));
        say(" %ld", hot_gettimeofday(at, 0, 0));
        say(" %s", hot_time(at, 0, 0) == -EFAULT ? "fault" : "time");
        say(" %ld", hot_getcpu(at, 0, 0));
        say(" %ld\n", hot_getcpu(0, at, 0));
    }
    for (size_t len = 0; len <= 16; len += 4) {
        char *end = edge(len);
        say("%zu bytes:", len);
        say(" %ld", hot_clock_gettime(CLOCK_REALTIME, (long)end, 0));
        say(" %ld", hot_clock_getres(CLOCK_REALTIME, (long)end, 0));
        say(" %ld", hot_gettimeofday((long)end, 0, 0));
        say(" %s", hot_time((long)end, 0, 0) == -EFAULT ? "fault" : "time");
        say(" %ld\n", hot_getcpu((long)end, (long)end, 0));
    }
    // Odd addresses.
    char room[64];
    R(hot_clock_gettime(CLOCK_MONOTONIC, (long)room + 1, 0));
    R(hot_getcpu((long)room + 3, (long)room + 7, 0));
}

CASE(answers_time_of_the_cpu, "getcpu") {
    warm_up();
    int good = 0;
    for (int i = 0; i < 50; i++) {
        unsigned cpu = 77777, node = 77777, known, place;
        long r = hot_getcpu((long)&cpu, (long)&node, 0);
        getcpu(&known, &place);
        good += r == 0 && cpu < 4096 && node == place;
        r = hot_getcpu((long)&cpu, 0, 8);
        good += r == 0 && hot_getcpu(0, 0, 0) == 0;
    }
    R(good);
}

// All that a call keeps, for several states of the flags; a place for `struct timespec` is 16 bytes long.
static uint64_t probe_flags;
static struct {
    uint64_t rax, rcx, r11, flags, rsp, rest, time[2], guard;
} probe;
static unsigned char vectors[2][512] __attribute__((aligned(64)));
__attribute__((naked, noinline, aligned(64))) static void probe_call(void) {
    __asm__("push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
            "mov $0x1111, %ebx\n mov $0x2222, %r12d\n mov $0x3333, %r8d\n mov $0x4444, %r9d\n mov $0x5555, %r10d\n"
            "mov $0x6666, %edx\n mov $0x7777, %ebp\n mov $0x8888, %r13d\n lea probe(%rip), %r14\n mov $0x9999, %r15d\n"
            "lea 48(%r14), %rsi\n mov $1, %edi\n fxrstor64 vectors(%rip)\n"
            "mov %rsp, 32(%r14)\n push probe_flags(%rip)\n popfq\n mov $228, %eax\n syscall\n 1:\n"
            "pushfq\n pop 24(%r14)\n cld\n mov %rax, (%r14)\n lea 1b(%rip), %rax\n sub %rax, %rcx\n mov %rcx, 8(%r14)\n"
            "mov %r11, 16(%r14)\n sub %rsp, 32(%r14)\n fxsave64 512+vectors(%rip)\n"
            "lea (%rbx, %r12), %rax\n add %r8, %rax\n add %r9, %rax\n add %r10, %rax\n add %rdx, %rax\n add %rbp, %rax\n"
            "add %r13, %rax\n add %r15, %rax\n add %rdi, %rax\n sub %r14, %rsi\n add %rsi, %rax\n mov %rax, 40(%r14)\n"
            "pushq $0x202\n popfq\n"
            "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");
}

CASE(answers_time_keeps_registers, "clock_gettime") {
    static const uint64_t flags[] = {0, 0x8d5, 0x801, 0x800, 0x44, 0x80, 0x894, 0x400, 0xc95, 0x40001, 0x200000};
    int good = 0;
    __asm__ volatile("fxsave64 %0" : "=m"(vectors[0]));
    for (int i = 160; i < 416; i++) vectors[0][i] = (unsigned char)(i * 7 + 1);
    for (int round = 0; round < 30; round++) {
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            probe_flags = flags[i] | 0x202;
            probe.time[0] = probe.time[1] = probe.guard = ~0ul;
            probe_call();
            int fine = probe.rax == 0 && probe.rcx == 0 && probe.rsp == 0 && probe.flags == probe_flags &&
                       probe.r11 == probe_flags && probe.rest == 0x1111 * 45 + 1 + 48 && probe.time[1] < 1000000000 &&
                       probe.guard == ~0ul && !memcmp(vectors[0] + 160, vectors[1] + 160, 256);
            if (!fine) say("%lx: %lx %lx %lx %lx %lx %lx\n", probe_flags, probe.rax, probe.rcx, probe.r11, probe.flags, probe.rsp, probe.rest);
            good += fine;
        }
    }
    R(good);
}

static atomic_int ready, leave, handled;
static void count(int signal) {
    (void)signal;
    struct timespec time;
    // From the handler, too.
    handled += hot_clock_gettime(CLOCK_MONOTONIC, (long)&time, 0) == 0;
}
static void *look_often(void *bad) {
    struct timespec time[2] = {{0}};
    ready = 1;
    for (int64_t last = 0; !leave;) {
        if (hot_clock_gettime(CLOCK_MONOTONIC, (long)time, 0) || nanos(time[0]) < last) ++*(int *)bad;
        last = nanos(time[0]);
        struct timeval day;
        if (hot_gettimeofday((long)&day, 0, 0) || hot_time(0, 0, 0) < day.tv_sec - 1) ++*(int *)bad;
    }
    return 0;
}

CASE(answers_time_interrupted_anywhere, "tgkill clock_gettime gettimeofday time") {
    warm_up();
    on_signal(SIGUSR1, count, SA_RESTART);
    int bad = 0;
    pthread_t other = thread(look_often, &bad);
    UNTIL(ready);
    int good = pester(other, 1000, &handled);
    leave = 1;
    pthread_join(other, 0);
    T(good), T(bad == 0);
    // Another process comes and goes.
    leave = ready = 0;
    pid_t child = FORK(look_often(&bad));
    msleep(20);
    kill(child, SIGSTOP);
    int status;
    waitpid(child, &status, WUNTRACED);
    T(WIFSTOPPED(status));
    kill(child, SIGCONT), kill(child, SIGTERM);
    show_wait(child);
}

CASE(answers_time_obeys_filters, "seccomp clock_gettime gettimeofday time getcpu") {
    warm_up();
    IN_CHILD({
        struct timespec time;
        R(forbid(SYS_clock_gettime));
        R(hot_clock_gettime(CLOCK_MONOTONIC, (long)&time, 0));
        R(hot_gettimeofday((long)&time, 0, 0));
        IN_CHILD(R(hot_clock_gettime(CLOCK_MONOTONIC, (long)&time, 0)); R(hot_getcpu(0, 0, 0)));
        R(forbid(SYS_gettimeofday));
        R(hot_gettimeofday((long)&time, 0, 0));
        R(hot_getcpu(0, 0, 0));
        R(forbid(SYS_rt_sigprocmask));
        R(hot_getcpu(0, 0, 0));
        R(forbid(SYS_getcpu));
        R(hot_getcpu(0, 0, 0));
    });
}
