// Calls that a sandbox may answer without asking its kernel: who a thread is, its signal mask, and the like. What they say
// must be true at any time, whoever has changed it, and nothing may be seen of how they are answered.
#include "case.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/ucontext.h>
#define FAMILY "answers"

// Sites of our own, so that it is these that become quick.
#define SITE(name, nr)                                                                                                \
    __attribute__((naked, noinline, aligned(64))) static long name(long a, long b, long c, long d) {                  \
        (void)a, (void)b, (void)c, (void)d;                                                                           \
        __asm__("mov %rcx, %r10\n mov $" #nr ", %eax\n syscall\n ret\n");                                             \
    }
SITE(hot_sigprocmask, 14)
SITE(hot_yield, 24)
SITE(hot_getpid, 39)
SITE(hot_getuid, 102)
SITE(hot_getgid, 104)
SITE(hot_geteuid, 107)
SITE(hot_getegid, 108)
SITE(hot_getppid, 110)
SITE(hot_getpgrp, 111)
SITE(hot_getpgid, 121)
SITE(hot_getsid, 124)
SITE(hot_arch_prctl, 158)
SITE(hot_gettid, 186)
SITE(hot_set_tid_address, 218)
SITE(hot_set_robust_list, 273)

// Sites that no sandbox will change: nothing is known before the call.
#define COLD_SITE(name, nr)                                                                                           \
    __attribute__((naked, noinline, aligned(64))) static long name(long a, long b, long c, long d) {                  \
        (void)a, (void)b, (void)c, (void)d;                                                                           \
        __asm__("mov $" #nr ", %eax\n nop\n syscall\n ret\n");                                                       \
    }
COLD_SITE(cold_arch_prctl, 158)
COLD_SITE(cold_set_tid_address, 218)
COLD_SITE(cold_set_robust_list, 273)

static uint64_t mask_now(void) {
    uint64_t mask = 0;
    if (hot_sigprocmask(0, 0, (long)&mask, 8)) give_up("hot_sigprocmask", 0);
    return mask;
}
static long mask_op(int how, uint64_t set) { return hot_sigprocmask(how, (long)&set, 0, 8); }
static uint64_t bit(int signal) { return 1ul << (signal - 1); }

static void warm_up(void) {
    for (int i = 0; i < 5; i++) {
        mask_now(), hot_yield(0, 0, 0, 0), hot_getpid(0, 0, 0, 0), hot_gettid(0, 0, 0, 0), hot_getppid(0, 0, 0, 0);
        hot_getuid(0, 0, 0, 0), hot_geteuid(0, 0, 0, 0), hot_getgid(0, 0, 0, 0), hot_getegid(0, 0, 0, 0);
        hot_getpgrp(0, 0, 0, 0), hot_getpgid(0, 0, 0, 0), hot_getsid(0, 0, 0, 0), hot_arch_prctl(-1, 0, 0, 0);
    }
}

CASE(answers_agree, "getpid gettid getppid getuid geteuid getgid getegid getpgrp getpgid getsid sched_yield") {
    warm_up();
    T(hot_getpid(0, 0, 0, 0) == getpid());
    T(hot_gettid(0, 0, 0, 0) == syscall(SYS_gettid));
    T(hot_getppid(0, 0, 0, 0) == getppid());
    T(hot_getpgrp(0, 0, 0, 0) == getpgrp() && hot_getpgid(0, 0, 0, 0) == getpgrp());
    T(hot_getpgid(getppid(), 0, 0, 0) == getpgid(getppid()));
    T(hot_getsid(0, 0, 0, 0) == getsid(0) && hot_getsid(getpid(), 0, 0, 0) == getsid(0));
    R(hot_getpgid(-1, 0, 0, 0));
    R(hot_getsid(1 << 30, 0, 0, 0));
    T(hot_getpgid(1l << 32, 0, 0, 0) == getpgrp());
    R(hot_yield(0, 0, 0, 0));
    IN_CHILD({
        MUST(setgid(7)), MUST(setresuid(5, 6, 0));
        R(hot_getuid(0, 0, 0, 0)), R(hot_geteuid(0, 0, 0, 0)), R(hot_getgid(0, 0, 0, 0)), R(hot_getegid(0, 0, 0, 0));
        MUST(setresgid(-1, 7, -1)), MUST(setresuid(-1, 0, -1));
        R(hot_getuid(0, 0, 0, 0)), R(hot_geteuid(0, 0, 0, 0));
        T(hot_getpid(0, 0, 0, 0) == getpid() && hot_gettid(0, 0, 0, 0) == getpid());
        T(hot_getppid(0, 0, 0, 0) == getppid());
    });
}

// All registers after a call, for several states of the flags.
struct after {
    uint64_t rax, rcx, r11, flags, rsp, rest;
};
static uint64_t probe_flags;
static struct after *probe_out;
#define PROBE(nr, flags_in, out)                                                                                      \
    probe_flags = (flags_in), probe_out = (out);                                                                      \
    __asm__ volatile("mov %[fl], %%r15\n mov %[o], %%r14\n mov $0x1111, %%rbx\n mov $0x2222, %%r12\n"                 \
                     "xor %%edi, %%edi\n xor %%esi, %%esi\n xor %%edx, %%edx\n mov $8, %%r10d\n mov $0x3333, %%r8\n"  \
                     "mov $0x4444, %%r9\n mov %%rsp, 32(%%r14)\n mov %%rsp, %%r13\n lea -256(%%rsp), %%rsp\n"         \
                     "push %%r15\n popfq\n mov $" #nr ", %%eax\n syscall\n 1:\n"                                      \
                     "pushfq\n pop 24(%%r14)\n cld\n lea 256(%%rsp), %%rsp\n mov %%rax, (%%r14)\n"                    \
                     "lea 1b(%%rip), %%rax\n sub %%rax, %%rcx\n mov %%rcx, 8(%%r14)\n mov %%r11, 16(%%r14)\n"         \
                     "sub %%rsp, 32(%%r14)\n lea (%%rbx, %%r12), %%rax\n add %%r8, %%rax\n add %%r9, %%rax\n"         \
                     "add %%rdi, %%rax\n add %%rsi, %%rax\n add %%rdx, %%rax\n add %%r10, %%rax\n"                    \
                     "mov %%rax, 40(%%r14)\n"                                                                         \
                     :                                                                                                \
                     : [fl] "m"(probe_flags), [o] "m"(probe_out)                                                        \
                     : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",       \
                       "r15", "memory", "cc")

CASE(answers_keep_registers, "getpid rt_sigprocmask sched_yield") {
    // Carry, parity, adjust, zero, sign, direction, overflow, alignment check, identification.
    static const uint64_t flags[] = {0, 0x8d5, 0x801, 0x800, 0x44, 0x80, 0x894, 0x400, 0xc95, 0x40001, 0x200000};
    long self = getpid();
    int good = 1;
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            struct after a, b, c;
            PROBE(39, flags[i] | 0x202, &a);
            PROBE(14, flags[i] | 0x202, &b);
            PROBE(24, flags[i] | 0x202, &c);
            struct after all[] = {a, b, c};
            for (int k = 0; k < 3; k++) {
                struct after *it = &all[k];
                int fine = it->rax == (k ? 0 : (uint64_t)self) && it->rcx == 0 && it->rsp == 0 &&
                           it->rest == 0x1111 + 0x2222 + 0x3333 + 0x4444 + 8 && it->flags == (flags[i] | 0x202) &&
                           it->r11 == it->flags;
                if (!fine && good) say("flags %lx call %d: %lx %lx %lx %lx\n", flags[i], k, it->rcx, it->r11, it->flags, it->rest);
                good &= fine;
            }
        }
    }
    T(good);
}

static atomic_long step, seen;
static atomic_int leave;

// Says what a call returns whenever it is asked to, by memory alone.
static void *answer_when_asked(void *call) {
    long (*ask)(long, long, long, long) = (long (*)(long, long, long, long))call;
    for (int i = 0; i < 10; i++) ask(0, 0, 0, 0);
    for (long at = 1; !leave;) {
        if (step != at) continue;
        seen = ask(0, 0, 0, 0);
        step = -at;
        at++;
    }
    return 0;
}

static long asked(long at) {
    step = at;
    while (step != -at) sched_yield();
    return seen;
}

CASE(answers_after_setuid_of_all_threads, "setuid setresuid getuid geteuid") {
    IN_CHILD({
        warm_up();
        pthread_t other = thread(answer_when_asked, (void *)hot_getuid);
        T(asked(1) == 0);
        MUST(setresuid(1000, 0, 0));
        R(asked(2));
        // One thread alone.
        R(syscall(SYS_setresuid, 2000, -1, -1));
        R(asked(3));
        R(hot_getuid(0, 0, 0, 0));
        leave = 1;
        pthread_join(other, 0);
    });
}

struct shared_words {
    atomic_long go, told[4];
};

CASE(answers_after_setpgid_by_the_parent, "setpgid getpgrp getpgid getsid setsid") {
    struct shared_words *words = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    warm_up();
    int good = 1;
    for (int round = 0; round < 10; round++) {
        words->go = 0;
        pid_t child = FORK({
            for (int i = 0; i < 5; i++) hot_getpgrp(0, 0, 0, 0);
            words->told[0] = hot_getpgrp(0, 0, 0, 0);
            words->go = 1;
            while (words->go != 2) continue;
            words->told[1] = hot_getpgrp(0, 0, 0, 0);
            words->told[2] = hot_getpgid(0, 0, 0, 0);
            words->go = 3;
            while (words->go != 4) continue;
            words->told[1] = hot_getpgrp(0, 0, 0, 0);
            MUST(setpgid(0, 0));
            _exit(hot_getpgrp(0, 0, 0, 0) == getpid() ? 0 : 1);
        });
        UNTIL(words->go == 1);
        good &= words->told[0] == getpgrp();
        good &= setpgid(child, child) == 0;
        words->go = 2;
        UNTIL(words->go == 3);
        good &= words->told[1] == child && words->told[2] == child;
        good &= setpgid(child, getpgrp()) == 0;
        words->go = 4;
        int status;
        waitpid(child, &status, 0);
        good &= status == 0 && words->told[1] == getpgrp();
    }
    T(good);
    IN_CHILD({
        T(hot_getsid(0, 0, 0, 0) != getpid());
        OK(setsid());
        T(hot_getsid(0, 0, 0, 0) == getpid() && hot_getpgrp(0, 0, 0, 0) == getpid());
    });
}

CASE(answers_after_the_parent_has_gone, "getppid prctl") {
    struct shared_words *words = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    warm_up();
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    int good = 1;
    for (int round = 0; round < 10; round++) {
        words->go = 0;
        pid_t middle = FORK({
            pid_t self = getpid();
            if (fork() == 0) {
                for (int i = 0; i < 5; i++) hot_getppid(0, 0, 0, 0);
                words->told[0] = hot_getppid(0, 0, 0, 0) == self;
                words->go = 1;
                while (words->go != 2) continue;
                words->told[1] = hot_getppid(0, 0, 0, 0);
                _exit(0);
            }
            while (words->go != 1) usleep(100);
        });
        int status;
        waitpid(middle, &status, 0);
        words->go = 2;
        waitpid(-1, &status, 0);
        good &= words->told[0] && words->told[1] == getpid() && status == 0;
    }
    T(good);
}

static volatile int handled;
static volatile uint64_t mask_in_handler;
static void count(int signal) {
    (void)signal;
    handled++;
    mask_in_handler = mask_now();
}

CASE(answers_mask_operations, "rt_sigprocmask rt_sigpending kill") {
    warm_up();
    on_signal(SIGUSR1, count, 0), on_signal(SIGUSR2, count, 0);
    T(mask_now() == 0);
    R(mask_op(SIG_BLOCK, bit(SIGUSR1)));
    T(mask_now() == bit(SIGUSR1));
    R(mask_op(SIG_BLOCK, bit(SIGUSR2) | bit(SIGKILL) | bit(SIGSTOP)));
    T(mask_now() == (bit(SIGUSR1) | bit(SIGUSR2)));
    MUST(kill(getpid(), SIGUSR1));
    T(handled == 0);
    // Another one may be changed while one is pending.
    R(mask_op(SIG_UNBLOCK, bit(SIGUSR2)));
    T(handled == 0 && mask_now() == bit(SIGUSR1));
    R(mask_op(SIG_UNBLOCK, bit(SIGUSR1)));
    T(handled == 1 && mask_in_handler == bit(SIGUSR1) && mask_now() == 0);
    // To the thread, and again quick afterwards.
    for (int i = 0; i < 5; i++) {
        mask_op(SIG_SETMASK, ~0ul);
        MUST(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR2));
        sigset_t pending;
        sigpending(&pending);
        if (handled != 1 + i || !sigismember(&pending, SIGUSR2)) say("too early\n");
        mask_op(SIG_SETMASK, 0);
        if (handled != 2 + i) say("too late\n");
    }
    T(mask_in_handler == bit(SIGUSR2));
    mask_op(SIG_SETMASK, ~0ul);
    T(mask_now() == ~(bit(SIGKILL) | bit(SIGSTOP)));
    mask_op(SIG_SETMASK, 0);
    // What the call itself refuses, and where it reads and writes.
    uint64_t set = bit(SIGHUP), other = 0;
    R(hot_sigprocmask(3, (long)&set, 0, 8));
    R(hot_sigprocmask(-1, (long)&set, 0, 8));
    R(hot_sigprocmask(77, 0, (long)&set, 8));
    T(set == 0);
    R(hot_sigprocmask(0, (long)&set, 0, 4));
    R(hot_sigprocmask(0, (long)BAD, 0, 8));
    R(hot_sigprocmask(0, -8, 0, 8));
    R(hot_sigprocmask(0, 1l << 62, 0, 8));
    set = bit(SIGHUP);
    R(hot_sigprocmask(0, (long)&set, (long)BAD, 8));
    T(mask_now() == bit(SIGHUP));
    R(hot_sigprocmask(0, (long)&set, (long)read_only_page(), 8));
    // The same place for both.
    set = bit(SIGINT);
    R(hot_sigprocmask(0, (long)&set, (long)&set, 8));
    T(set == bit(SIGHUP) && mask_now() == (bit(SIGHUP) | bit(SIGINT)));
    char *end = edge(8);
    memset(end, 0, 8);
    R(hot_sigprocmask(2, (long)end, (long)&other, 8));
    T(other == (bit(SIGHUP) | bit(SIGINT)) && mask_now() == 0);
    R(hot_sigprocmask(2, (long)end + 1, (long)&other, 8));
    R(hot_sigprocmask(0, 0, (long)end, 8));
    R(hot_sigprocmask(0, 0, 0, 8));
}

static void *report_mask(void *to) {
    *(uint64_t *)to = mask_now();
    mask_op(SIG_BLOCK, bit(SIGTERM));
    return 0;
}

static uint64_t blocked_in_proc(void) {
    char text[8192] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) < 0) give_up("status", errno);
    close(fd);
    char *line = strstr(text, "SigBlk:");
    return line ? strtoul(line + 7, 0, 16) : 1;
}

CASE(answers_mask_is_inherited, "rt_sigprocmask fork vfork clone3 execve rt_sigsuspend") {
    warm_up();
    uint64_t set = bit(SIGUSR1) | bit(SIGRTMIN + 1);
    mask_op(SIG_SETMASK, set);
    T(blocked_in_proc() == set);
    IN_CHILD(T(mask_now() == set); mask_op(SIG_SETMASK, 0); T(mask_now() == 0));
    T(mask_now() == set);
    uint64_t of_thread = 0;
    pthread_t other = thread(report_mask, &of_thread);
    pthread_join(other, 0);
    T(of_thread == set && mask_now() == set);
    pid_t child = vfork();
    if (child == 0) {
        mask_op(SIG_BLOCK, bit(SIGUSR2));
        execl(program("cases"), "cases", "helper", "state", NULL);
        _exit(9);
    }
    show_wait(child);
    T(mask_now() == set);
    // A mask for the time of a call.
    on_signal(SIGUSR1, count, 0);
    MUST(kill(getpid(), SIGUSR1));
    uint64_t none = bit(SIGHUP);
    R(syscall(SYS_rt_sigsuspend, &none, 8));
    T(handled == 1 && mask_in_handler == (bit(SIGHUP) | bit(SIGUSR1)) && mask_now() == set);
}

static atomic_int ready;
static void *flip(void *unused) {
    (void)unused;
    ready++;
    while (!leave) {
        mask_op(SIG_BLOCK, bit(SIGUSR1));
        mask_op(SIG_UNBLOCK, bit(SIGUSR1));
    }
    return 0;
}

static atomic_int caught;
static void catch (int signal) {
    (void)signal;
    caught++;
}

// Not one signal is lost, to whomever it was sent, while masks change.
CASE(answers_lose_no_signal, "rt_sigprocmask kill tgkill") {
    warm_up();
    on_signal(SIGUSR1, catch, SA_RESTART);
    pthread_t threads[2] = {thread(flip, 0), thread(flip, 0)};
    UNTIL(ready == 2);
    mask_op(SIG_BLOCK, bit(SIGUSR1));
    int good = 1;
    for (int i = 0; i < 300 && good; i++) {
        int before = caught;
        if (i % 2) MUST(kill(getpid(), SIGUSR1));
        else pthread_kill(threads[i / 2 % 2], SIGUSR1);
        good = UNTIL(caught == before + 1);
    }
    T(good);
    leave = 1;
    pthread_join(threads[0], 0), pthread_join(threads[1], 0);
}

static atomic_int odd;
extern char __executable_start, etext;
static void inspect(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint8_t *rip = (uint8_t *)regs[REG_RIP];
    if ((char *)rip < &__executable_start || (char *)rip >= &etext) {
        odd++;
        return;
    }
    // Just behind a call: as the processor leaves it.
    if (rip[-2] == 0x0f && rip[-1] == 0x05 && (greg_t)rip != regs[REG_RCX]) odd += 1000;
    caught++;
}

static void *call_all(void *bad) {
    long self = hot_getpid(0, 0, 0, 0), tid = hot_gettid(0, 0, 0, 0);
    ready = 1;
    while (!leave) {
        if (hot_getpid(0, 0, 0, 0) != self || hot_gettid(0, 0, 0, 0) != tid) ++*(int *)bad;
        uint64_t block = bit(SIGUSR2), old = 1, older = 1;
        if (hot_sigprocmask(SIG_BLOCK, (long)&block, (long)&old, 8) || old != 0) ++*(int *)bad;
        if (hot_sigprocmask(SIG_UNBLOCK, (long)&block, (long)&older, 8) || older != bit(SIGUSR2)) ++*(int *)bad;
    }
    return 0;
}

CASE(answers_are_interrupted_anywhere, "tgkill rt_sigaction getpid gettid rt_sigprocmask") {
    warm_up();
    struct sigaction action = {.sa_sigaction = inspect, .sa_flags = SA_SIGINFO | SA_RESTART};
    MUST(sigaction(SIGUSR1, &action, 0));
    int bad = 0;
    pthread_t other = thread(call_all, &bad);
    UNTIL(ready);
    int good = 1;
    for (int i = 0; i < 500 && good && !odd; i++) {
        int before = caught;
        pthread_kill(other, SIGUSR1);
        good = UNTIL(caught == before + 1);
    }
    leave = 1;
    pthread_join(other, 0);
    T(good);
    T(odd == 0);
    T(bad == 0);
}

static long forbid(int nr, unsigned flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}

CASE(answers_obey_filters, "seccomp getpid getppid rt_sigprocmask") {
    warm_up();
    IN_CHILD({
        mask_op(SIG_BLOCK, bit(SIGUSR2));
        R(forbid(SYS_getpid, 0));
        R(hot_getpid(0, 0, 0, 0));
        T(hot_getppid(0, 0, 0, 0) == getppid());
        T(mask_now() == bit(SIGUSR2));
        R(mask_op(SIG_UNBLOCK, bit(SIGUSR2)));
        T(mask_now() == 0);
        IN_CHILD(R(hot_getpid(0, 0, 0, 0)); T(hot_getppid(0, 0, 0, 0) == getppid()));
        R(forbid(SYS_rt_sigprocmask, 0));
        R(mask_op(SIG_BLOCK, bit(SIGHUP)));
        T(blocked_in_proc() == 0);
    });
    IN_CHILD({
        // One that allows everything.
        R(forbid(1000, 0));
        T(hot_getpid(0, 0, 0, 0) == getpid());
        mask_op(SIG_BLOCK, bit(SIGUSR2));
        T(blocked_in_proc() == bit(SIGUSR2));
    });
    IN_CHILD({
        pthread_t other = thread(answer_when_asked, (void *)hot_getpid);
        T(asked(1) == getpid());
        R(forbid(SYS_getpid, SECCOMP_FILTER_FLAG_TSYNC));
        R(asked(2));
        leave = 1;
        pthread_join(other, 0);
    });
}

CASE(answers_about_the_thread_pointer, "arch_prctl") {
    warm_up();
    uint64_t base = 0, self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    R(hot_arch_prctl(0x1003, (long)&base, 0, 0));
    T(base == self);
    R(hot_arch_prctl(0x1002, (long)base, 0, 0));
    R(hot_arch_prctl(0x1003, (long)BAD, 0, 0));
    R(hot_arch_prctl(0x1002, 1l << 47, 0, 0));
    R(hot_arch_prctl(0x1002, -1, 0, 0));
    R(hot_arch_prctl(0x1004, (long)&base, 0, 0));
    T(base == 0);
    // It holds over a call that the kernel serves, and over a signal.
    uint64_t block[2] = {0, 0x1234};
    uint64_t read_back;
    hot_arch_prctl(0x1002, (long)block, 0, 0);
    __asm__ volatile("syscall\n mov %%fs:8, %0" : "=r"(read_back) : "a"(SYS_getpriority), "D"(0), "S"(0) : "rcx", "r11", "memory");
    hot_arch_prctl(0x1002, (long)base == 0 ? (long)self : 0, 0, 0);
    T(read_back == 0x1234);
}

typedef long (*call)(long, long, long, long);
static long robust_list_of(pid_t tid) {
    long head = -1;
    size_t len = 0;
    if (syscall(SYS_get_robust_list, tid, &head, &len) || len != 24) give_up("get_robust_list", 0);
    return head;
}

static _Atomic pid_t lister;
static void *keep_a_list(void *set) {
    ((call)set)(0x7000, 24, 0, 0);
    lister = gettid_();
    while (!leave) sched_yield();
    ((call)set)(0, 24, 0, 0);
    return 0;
}

CASE(answers_about_robust_lists, "set_robust_list get_robust_list") {
    call calls[2] = {hot_set_robust_list, cold_set_robust_list};
    for (int at = 0; at < 2; at++) {
        call set = calls[at];
        long before = robust_list_of(0);
        int good = 0;
        for (long i = 1; i <= 30; i++) {
            good += set(0x1000 * i, 24, 0, 0) == 0 && robust_list_of(0) == 0x1000 * i;
            good += set(0, 23, 0, 0) == -EINVAL && set(0, 24 + (1l << 32), 0, 0) == -EINVAL;
            good += robust_list_of(0) == 0x1000 * i;
        }
        R(good);
        // A child has none of its own, a thread has another.
        pid_t p = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (p == 0) _exit(robust_list_of(0) == 0 && set(0x5000, 24, 0, 0) == 0 && robust_list_of(0) == 0x5000);
        show_wait(p);
        leave = lister = 0;
        pthread_t other = thread(keep_a_list, (void *)set);
        while (!lister) sched_yield();
        T(robust_list_of(lister) == 0x7000 && robust_list_of(0) == 0x1000 * 30);
        leave = 1;
        pthread_join(other, 0);
        set(before, 24, 0, 0);
    }
}

static int cleared[2], own_ids;
static void *end_elsewhere(void *set) {
    for (int i = 0; i < 30; i++) own_ids += ((call)set)((long)&cleared[i % 2], 0, 0, 0) == gettid_();
    return 0;
}

CASE(answers_about_the_end_of_a_thread, "set_tid_address futex exit") {
    call calls[2] = {hot_set_tid_address, cold_set_tid_address};
    for (int at = 0; at < 2; at++) {
        cleared[0] = cleared[1] = 1;
        // Nobody can join it any more.
        pthread_detach(thread(end_elsewhere, (void *)calls[at]));
        while (__atomic_load_n(&cleared[1], __ATOMIC_ACQUIRE)) syscall(SYS_futex, &cleared[1], FUTEX_WAIT, 1, 0, 0, 0);
        T(cleared[0] == 1 && cleared[1] == 0);
    }
    R(own_ids);
}

CASE(answers_by_sites_that_stay, "arch_prctl") {
    uint64_t self, blocks[2] = {11, 22};
    __asm__("mov %%fs:0, %0" : "=r"(self));
    int good = 0;
    for (int i = 0; i < 40; i++) {
        uint64_t read_back, base;
        long set = cold_arch_prctl(0x1002, (long)&blocks[i % 2], 0, 0);
        __asm__ volatile("mov %%fs:0, %0" : "=r"(read_back)::"memory");
        long got = cold_arch_prctl(0x1003, (long)&base, 0, 0);
        long wrong = cold_arch_prctl(0x1002, 1l << 47, 0, 0);
        cold_arch_prctl(0x1002, (long)self, 0, 0);
        good += set == 0 && read_back == blocks[i % 2] && got == 0 && base == (uint64_t)&blocks[i % 2] && wrong == -EPERM;
    }
    R(good);
}

// Sites as those at which a C library sets signal masks: the set's address comes last.
static uint64_t site_set __attribute__((used));
__attribute__((naked, noinline, aligned(64))) static long set_from_here(void) {
    __asm__("xor %edx, %edx\n mov $8, %r10d\n xor %edi, %edi\n mov $14, %eax\n lea site_set(%rip), %rsi\n syscall\n ret\n");
}
__attribute__((naked, noinline, aligned(64))) static long set_from(uint64_t *block) {
    (void)block;
    __asm__("xor %edx, %edx\n mov $8, %r10d\n mov %rdi, %rax\n mov $2, %edi\n push %rbx\n mov %rax, %rbx\n mov $14, %eax\n"
            "lea 0x800(%rbx), %rsi\n syscall\n pop %rbx\n ret\n");
}

CASE(answers_where_an_address_comes_last, "rt_sigprocmask fork") {
    static uint64_t block[0x101];
    int good = 0;
    for (int i = 1; i <= 40; i++) {
        block[0x100] = bit(1 + i % 8);
        good += set_from(block) == 0 && mask_now() == block[0x100];
        site_set = bit(10 + i % 5);
        good += set_from_here() == 0 && mask_now() == (block[0x100] | site_set);
    }
    R(good);
    IN_CHILD(R(set_from_here()), T(mask_now() == (block[0x100] | site_set)));
}
