// Signal frames and the way back from handlers, at call sites that have become quick: what the stub may do by itself. All of the
// state is the interrupted code's afterwards, and whatever a handler changes in its frame is obeyed.
#include "case.h"
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/ucontext.h>
#define FAMILY "signal"

// Sites of our own, so that it is these that become quick.
__attribute__((naked, noinline, aligned(64))) static long hot_tgkill(long pid, long tid, long signal) {
    (void)pid, (void)tid, (void)signal;
    __asm__("mov $234, %eax\n syscall\n ret\n");
}
__attribute__((naked, noinline, aligned(64))) static void hot_restorer(void) { __asm__("mov $15, %eax\n syscall\n"); }

#define SA_RESTORER 0x04000000
typedef void (*handler)(int, siginfo_t *, ucontext_t *);
struct kernel_action {
    handler handler;
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static uint64_t bit(int signal) { return 1ul << (signal - 1); }
static void on(int signal, handler handler, unsigned long flags) {
    struct kernel_action action = {handler, flags | SA_RESTORER | SA_SIGINFO, hot_restorer, 0};
    MUST(syscall(SYS_rt_sigaction, signal, &action, 0, 8));
}
static long raise_hot(int signal) { return hot_tgkill(getpid(), syscall(SYS_gettid), signal); }
static uint64_t mask_now(void) {
    uint64_t mask = 0;
    MUST(syscall(SYS_rt_sigprocmask, 0, 0, &mask, 8));
    return mask;
}
enum { ROUNDS = 40 };

static atomic_int handled;
static void scramble(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info, (void)uc;
    __asm__ volatile("fninit\n fld1\n fldpi\n pcmpeqd %%xmm0, %%xmm0\n movaps %%xmm0, %%xmm7\n movaps %%xmm0, %%xmm15\n"
                     "xor %%ebx, %%ebx\n xor %%r12d, %%r12d\n std\n cld\n" ::: "rbx", "r12", "xmm0", "xmm7", "xmm15", "memory");
    handled++;
}

static void warm_up(void) {
    on(SIGUSR1, scramble, 0);
    for (int i = 0; i < 16; i++) raise_hot(SIGUSR1);
}

// All that a handler may not change: general registers in the order that the code below knows, then an `xsave` image.
struct state {
    uint64_t general[9];
    uint64_t unused[7];
    unsigned char image[832] __attribute__((aligned(64)));
};
static int components(void) { return __builtin_cpu_supports("avx") ? 7 : 3; }

// Loads `in`, sends the signal, and saves what is there afterwards to `out`.
__attribute__((naked, noinline)) static void call_with(struct state *in, struct state *out, long pid, long tid, long signal,
                                                       int components) {
    (void)in, (void)out, (void)pid, (void)tid, (void)signal, (void)components;
    __asm__("push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %r9\n push %rsi\n"
            "mov %rdx, %r10\n mov %r9d, %eax\n xor %edx, %edx\n xrstor64 128(%rdi)\n"
            "mov %rdi, %rax\n mov %r10, %rdi\n mov %rcx, %rsi\n mov %r8, %rdx\n"
            "mov (%rax), %rbx\n mov 8(%rax), %rbp\n mov 16(%rax), %r8\n mov 24(%rax), %r9\n mov 32(%rax), %r10\n"
            "mov 40(%rax), %r12\n mov 48(%rax), %r13\n mov 56(%rax), %r14\n mov 64(%rax), %r15\n"
            "mov $234, %eax\n syscall\n"
            "pop %rcx\n pop %rax\n"
            "mov %rbx, (%rcx)\n mov %rbp, 8(%rcx)\n mov %r8, 16(%rcx)\n mov %r9, 24(%rcx)\n mov %r10, 32(%rcx)\n"
            "mov %r12, 40(%rcx)\n mov %r13, 48(%rcx)\n mov %r14, 56(%rcx)\n mov %r15, 64(%rcx)\n"
            "xor %edx, %edx\n xsave64 128(%rcx)\n"
            "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n cld\n ret\n");
}

// Makes the call with known registers; returns whether all of them are the same afterwards.
static int keeps_all(int seed, int signal) {
    static struct state in, out, first;
    memset(&in, 0, sizeof in), memset(&out, 0, sizeof out), memset(&first, 0, sizeof first);
    for (unsigned i = 0; i < 9; i++) in.general[i] = 0x0101010101010101ul * (unsigned)(i + seed);
    in.image[0] = 0x7f, in.image[1] = 2, in.image[4] = 0xff; // fcw, tags
    in.image[24] = 0xc0, in.image[25] = 0x3f;                // mxcsr
    for (int i = 32; i < 416; i++)
        if (i >= 160 || i % 16 < 8) in.image[i] = (unsigned char)(i * seed);
    for (int i = 576; i < 832; i++) in.image[i] = (unsigned char)(i * seed + 1);
    in.image[512] = (unsigned char)components();
    long pid = getpid(), tid = syscall(SYS_gettid);
    call_with(&in, &first, pid, tid, 0, components());
    call_with(&in, &out, pid, tid, signal, components());
    struct state usual = {.image = {[0] = 0x7f, [1] = 3, [24] = 0x80, [25] = 0x1f, [512] = 3}};
    call_with(&usual, &first, pid, tid, 0, components());
    call_with(&in, &first, pid, tid, 0, components());
    int general = !memcmp(in.general, out.general, sizeof in.general);
    int legacy = !memcmp(first.image, out.image, 416), avx = !memcmp(first.image + 576, out.image + 576, 256);
    call_with(&usual, &first, pid, tid, 0, components());
    return general && legacy && avx;
}

CASE(frames_keep_registers, "rt_sigreturn tgkill") {
    warm_up();
    int kept = 0;
    for (int i = 0; i < ROUNDS; i++) kept += keeps_all(i + 1, SIGUSR1);
    T(kept == ROUNDS);
    on(SIGUSR1, scramble, SA_ONSTACK);
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    MUST(sigaltstack(&stack, 0));
    for (int i = kept = 0; i < ROUNDS; i++) kept += keeps_all(i + 1, SIGUSR1);
    T(kept == ROUNDS);
}

// What the frame says to the handler, and of what the handler may change in it.
static struct {
    uint64_t mask, rip_offset, flags, magic1, magic2_ok, xfeatures_ok, stack_flags, info_ok, aligned, initial;
} seen;
static void look(int signal, siginfo_t *info, ucontext_t *uc) {
    unsigned mxcsr = 0;
    uint16_t word = 0;
    __asm__ volatile("stmxcsr %0\n fnstcw %1" : "=m"(mxcsr), "=m"(word));
    char *image = (char *)uc->uc_mcontext.fpregs;
    uint32_t notes[12];
    memcpy(notes, image + 464, sizeof notes);
    uint32_t mark;
    memcpy(&mark, image + notes[4], 4);
    memcpy(&seen.mask, &uc->uc_sigmask, 8);
    seen.rip_offset = (uint64_t)uc->uc_mcontext.gregs[REG_RIP] - (uint64_t)hot_tgkill;
    seen.flags = uc->uc_flags, seen.magic1 = notes[0], seen.magic2_ok = mark == 0x46505845 && notes[1] == notes[4] + 4;
    seen.xfeatures_ok = (notes[2] & 3) == 3;
    seen.stack_flags = (uint64_t)uc->uc_stack.ss_flags;
    seen.info_ok = info->si_signo == signal && info->si_code == SI_TKILL && info->si_pid == getpid();
    seen.aligned = (uintptr_t)image % 64 == 0 && (uintptr_t)uc % 16 == 0;
    seen.initial = mxcsr == 0x1f80 && word == 0x37f;
}

CASE(frames_tell, "rt_sigreturn tgkill") {
    warm_up();
    on(SIGUSR2, look, 0);
    for (int i = 0; i < 3; i++) {
        raise_hot(SIGUSR2);
        say("mask %lx, rip +%lu, flags %lx, magic %lx, mark %lu, features %lu, stack %lx, info %lu, aligned %lu, initial %lu\n",
            seen.mask, seen.rip_offset, seen.flags, seen.magic1, seen.magic2_ok, seen.xfeatures_ok, seen.stack_flags,
            seen.info_ok, seen.aligned, seen.initial);
        sigset_t set;
        sigemptyset(&set), sigaddset(&set, SIGHUP + i);
        MUST(sigprocmask(SIG_BLOCK, &set, 0));
    }
}

static void change(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info;
    uint64_t mask = bit(SIGTERM) | bit(SIGKILL) | bit(SIGSTOP) | bit(SIGCHLD);
    memcpy(&uc->uc_sigmask, &mask, 8);
    uc->uc_mcontext.gregs[REG_RAX] = 4711 + handled;
    uc->uc_mcontext.gregs[REG_EFL] |= 0x1 | 0x40;
    uc->uc_mcontext.fpregs->mxcsr = 0x1fa0;
    uc->uc_mcontext.fpregs->_xmm[5].element[2] = 77;
    handled++;
}
CASE(frames_obey, "rt_sigreturn") {
    warm_up();
    on(SIGUSR2, change, 0);
    handled = 0;
    int all = 0;
    for (int i = 0; i < ROUNDS; i++) {
        long pid = getpid(), tid = syscall(SYS_gettid), result = 234;
        uint32_t xmm5[4] __attribute__((aligned(16))) = {1, 2, 3, 4}, mxcsr = 0;
        uint64_t flags = 0;
        __asm__ volatile("movaps %[xmm], %%xmm5\n call hot_tgkill_here\n pushfq\n pop %[flags]\n movaps %%xmm5, %[xmm]\n"
                         "stmxcsr %[mxcsr]\n"
                         : [xmm] "+m"(xmm5), [mxcsr] "=m"(mxcsr), "+a"(result), [flags] "=&r"(flags)
                         : "D"(pid), "S"(tid), "d"(SIGUSR2)
                         : "rcx", "r11", "xmm5", "memory", "cc");
        all += result == 4711 + i && xmm5[2] == 77 && xmm5[1] == 2 && mxcsr == 0x1fa0 && (flags & 0x41) == 0x41;
    }
    T(all == ROUNDS);
    say("mask %lx\n", mask_now());
}
__asm__(".text\nhot_tgkill_here:\n mov $234, %eax\n syscall\n ret\n");

// A signal that waits while a handler runs, and one that only the frame's mask lets through.
static char order[8 * ROUNDS];
static int places;
static void second(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info, (void)uc;
    order[places++] = '2';
}
static void first(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info;
    raise_hot(SIGUSR2);
    order[places++] = '1';
    if (handled++ % 2) memset(&uc->uc_sigmask, 0, 8);
}
CASE(frames_and_what_waits, "rt_sigreturn tgkill rt_sigprocmask") {
    warm_up();
    handled = places = 0;
    struct kernel_action action = {first, SA_RESTORER | SA_SIGINFO, hot_restorer, bit(SIGUSR2)};
    MUST(syscall(SYS_rt_sigaction, SIGUSR1, &action, 0, 8));
    on(SIGUSR2, second, 0);
    uint64_t set = bit(SIGUSR2), none = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 4 >= 2) MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, 0, 8));
        raise_hot(SIGUSR1);
        order[places++] = mask_now() ? 'b' : '-';
        MUST(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, 8));
    }
    say("%s\n", order);
}

// The alternate stack that a frame brings back.
static stack_t other;
static void move_stack(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info, (void)uc;
    errno = 0;
    int result = sigaltstack(&other, 0);
    if (handled++ < 2) say("in the handler: %d %s\n", result, err_name(errno));
}
static void show_stack(const char *what, const stack_t *known) {
    stack_t now;
    MUST(sigaltstack(0, &now));
    say("%s: %s, %zu bytes, flags %x\n", what,
        now.ss_sp == known->ss_sp ? "the first" : now.ss_sp == other.ss_sp ? "the other" : now.ss_sp ? "?" : "none",
        now.ss_size, (unsigned)now.ss_flags);
}
CASE(frames_and_stacks, "rt_sigreturn sigaltstack") {
    warm_up();
    handled = 0;
    stack_t one = {.ss_sp = malloc(32768), .ss_size = 32768};
    other = (stack_t){.ss_sp = malloc(65536), .ss_size = 65536};
    MUST(sigaltstack(&one, 0));
    on(SIGUSR1, move_stack, 0);
    on(SIGUSR2, move_stack, SA_ONSTACK);
    for (int i = 0; i < 3; i++) {
        raise_hot(SIGUSR1), show_stack("after a handler on the usual stack", &one);
        raise_hot(SIGUSR2), show_stack("after one on the alternate stack", &one);
    }
    stack_t disarmed = {.ss_sp = one.ss_sp, .ss_size = one.ss_size, .ss_flags = (int)(1u << 31)};
    MUST(sigaltstack(&disarmed, 0));
    for (int i = 0; i < 3; i++) raise_hot(SIGUSR2), show_stack("after one that disarms it", &one);
    stack_t none = {.ss_flags = SS_DISABLE};
    MUST(sigaltstack(&none, 0));
    for (int i = 0; i < 3; i++) raise_hot(SIGUSR2), show_stack("without one", &one);
}

// Frames that can't be written, and frames that can't be returned by: how the process ends.
static int broken_by;
static void damage(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info;
    char *image = (char *)uc->uc_mcontext.fpregs;
    switch (broken_by) {
    case 0: uc->uc_mcontext.gregs[REG_RIP] = 0x10; break;
    case 1: uc->uc_mcontext.fpregs = (void *)0x1000; break;
    case 2: uc->uc_mcontext.fpregs = (void *)(image + 8); break;
    case 3: memset(image + 24, 0xff, 4); break;       // mxcsr
    case 4: memset(image + 512, 0xff, 8); break;      // components that there are not
    case 5: memset(image + 520, 0xff, 8); break;      // a compacted form
    case 6: memset(image + 464, 0, 4); break;         // only the legacy part
    case 7: uc->uc_mcontext.fpregs = 0; break;        // no state: that of a new program
    case 8: uc->uc_mcontext.gregs[REG_CSGSFS] = 0; break;
    case 9: memset(image + 472, 0, 8); break;         // none of the components
    case 10: uc->uc_mcontext.gregs[REG_RSP] = 0x10; break;
    }
}
static void survive(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)uc;
    say("SIGSEGV in turn: %d, %s\n", signal == SIGSEGV, info->si_code == SI_KERNEL ? "by the kernel" : "by an access");
    _exit(3);
}
CASE(frames_broken, "rt_sigreturn") {
    for (int handles = 0; handles < 2; handles++) {
        for (broken_by = 0; broken_by <= 10; broken_by++) {
            if (broken_by == 8) continue;
            pid_t child = FORK({
                warm_up();
                if (handles) {
                    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
                    MUST(sigaltstack(&stack, 0));
                    on(SIGSEGV, survive, SA_ONSTACK);
                }
                on(SIGUSR2, damage, 0);
                uint32_t xmm5[4] __attribute__((aligned(16))) = {1, 2, 3, 4};
                long result = 0;
                __asm__ volatile("movaps %[xmm], %%xmm5\n call hot_tgkill_here\n movaps %%xmm5, %[xmm]\n"
                                 : [xmm] "+m"(xmm5), "=a"(result)
                                 : "D"((long)getpid()), "S"(syscall(SYS_gettid)), "d"(SIGUSR2)
                                 : "rcx", "r11", "xmm5", "memory", "cc");
                say("came back: %ld, xmm5 %u\n", result, xmm5[1]);
            });
            int status = 0;
            MUST(waitpid(child, &status, 0));
            say("%d: %s %d\n", broken_by, WIFSIGNALED(status) ? "killed by" : "exit",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
}

// Raises a signal with a stack that has no room for the frame.
__attribute__((naked, noinline)) static long raise_on(void *stack, long pid, long tid, long signal) {
    (void)stack, (void)pid, (void)tid, (void)signal;
    __asm__("push %rbp\n mov %rsp, %rbp\n mov %rdi, %rsp\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n"
            "call hot_tgkill_here\n mov %rbp, %rsp\n pop %rbp\n ret\n");
}
static sigjmp_buf back;
static void jump(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)uc;
    handled += info->si_code == SI_KERNEL;
    siglongjmp(back, 1);
}
CASE(frames_without_room, "tgkill rt_sigreturn") {
    warm_up();
    stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
    MUST(sigaltstack(&alternate, 0));
    on(SIGSEGV, jump, SA_ONSTACK | SA_NODEFER);
    char *area = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(mprotect(area, 4096, PROT_NONE));
    // From where the whole frame fits to where nothing does.
    int fits = 0, fails = 0;
    for (int room = 8192; room >= 64; room -= 64) {
        handled = 0;
        if (sigsetjmp(back, 1) == 0) {
            raise_on(area + 4096 + room, getpid(), syscall(SYS_gettid), SIGUSR1);
            fits += handled == 1;
        } else {
            fails += handled == 1;
        }
    }
    T(fits + fails == 8192 / 64 && fits > 64 && fails > 8);
    say("mask %lx\n", mask_now());
    struct rlimit none = {0, 0};
    MUST(setrlimit(RLIMIT_CORE, &none));
    pid_t child = FORK({
        signal(SIGSEGV, SIG_DFL);
        raise_on(area + 4096 + 64, getpid(), syscall(SYS_gettid), SIGUSR1);
    });
    int status = 0;
    MUST(waitpid(child, &status, 0));
    say("killed by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

// Frames upon frames, and some that are never returned by.
static int depth, deepest;
static void again(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)info, (void)uc;
    if (++depth > deepest) deepest = depth;
    if (depth < 20) raise_hot(signal);
    depth--;
    handled++;
}
static void away(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info, (void)uc;
    siglongjmp(back, 2);
}
CASE(frames_nested, "rt_sigreturn tgkill") {
    warm_up();
    handled = 0;
    on(SIGUSR1, again, SA_NODEFER);
    for (int i = 0; i < 4; i++) raise_hot(SIGUSR1);
    say("%d handled, %d deep\n", handled, deepest);
    on(SIGUSR2, away, 0);
    volatile int jumps = 0;
    while (jumps < ROUNDS)
        if (sigsetjmp(back, 1) == 0) raise_hot(SIGUSR2);
        else jumps++;
    say("%d jumps, mask %lx\n", jumps, mask_now());
    T(keeps_all(9, SIGUSR1));
}

// Signals from elsewhere, while quick ones come and go and other threads do the same.
static atomic_int alarms, over;
static void count(int signal, siginfo_t *info, ucontext_t *uc) {
    (void)signal, (void)info, (void)uc;
    scramble(signal, info, uc);
    alarms++;
}
static _Thread_local int mine;
static void count_mine(int signal, siginfo_t *info, ucontext_t *uc) {
    scramble(signal, info, uc);
    mine++;
}
static void *sums(void *arg) {
    double sum = 0;
    int sent = 0;
    while (!over) {
        for (int i = 1; i < 200; i++) sum += 1.0 / i;
        raise_hot(SIGUSR1), sent++;
        double expected = 0;
        for (int i = 1; i < 200; i++) expected += 1.0 / i;
        if (sum != expected || mine != sent) return "a wrong sum";
        sum = 0;
    }
    return arg;
}
CASE(frames_under_fire, "rt_sigreturn tgkill setitimer") {
    warm_up();
    on(SIGUSR1, count_mine, 0);
    on(SIGALRM, count, SA_RESTART);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) MUST(-pthread_create(&threads[i], 0, sums, 0));
    struct itimerval soon = {{0, 500}, {0, 500}};
    MUST(setitimer(ITIMER_REAL, &soon, 0));
    while (alarms < 300) usleep(1000);
    struct itimerval never = {0};
    MUST(setitimer(ITIMER_REAL, &never, 0));
    over = 1;
    for (int i = 0; i < 2; i++) {
        void *result;
        MUST(-pthread_join(threads[i], &result));
        say("%s\n", result ? (char *)result : "all sums are right");
    }
}
