// Signals: sending, blocking, queueing, what handlers are told.
#include "case.h"
#include <ucontext.h>
#define FAMILY "signal"

static volatile sig_atomic_t n, order[16], codes[16], values[16];
static volatile pid_t from;
static void count(int s) {
    order[n & 15] = s;
    n++;
}
static void info(int s, siginfo_t *i, void *u) {
    (void)u;
    order[n & 15] = s;
    codes[n & 15] = i->si_code;
    values[n & 15] = i->si_value.sival_int;
    from = i->si_pid;
    n++;
}
static void with_info(int sig, int flags) {
    struct sigaction sa = {.sa_sigaction = info, .sa_flags = SA_SIGINFO | flags};
    MUST(sigaction(sig, &sa, 0));
}
static void show_order(void) {
    say("got %d:", n);
    for (int i = 0; i < n && i < 16; i++) say(" %s", sig_name(order[i]));
    say("\n");
}
static void unblock_all(void) {
    sigset_t s;
    sigemptyset(&s);
    sigprocmask(SIG_SETMASK, &s, 0);
}

CASE(handler_runs_and_returns, "rt_sigaction rt_sigreturn kill") {
    on_signal(SIGUSR1, count, 0);
    R(kill(getpid(), SIGUSR1));
    R(raise(SIGUSR1));
    show_order();
}

CASE(sigaction_reports_old, "rt_sigaction") {
    struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART | SA_NODEFER}, old;
    sa.sa_mask = set_of(SIGTERM, SIGKILL, SIGSTOP, 0);
    R(sigaction(SIGUSR1, &sa, 0));
    R(sigaction(SIGUSR1, 0, &old));
    say("%d flags %x term %d kill %d stop %d\n", old.sa_handler == count, old.sa_flags & ~0x04000000,
        sigismember(&old.sa_mask, SIGTERM), sigismember(&old.sa_mask, SIGKILL), sigismember(&old.sa_mask, SIGSTOP));
    R(syscall(SYS_rt_sigaction, SIGKILL, 0, &old, 8));
    R(syscall(SYS_rt_sigaction, SIGKILL, &sa, 0, 8));
    R(syscall(SYS_rt_sigaction, 65, 0, &old, 8));
    R(syscall(SYS_rt_sigaction, 0, 0, &old, 8));
    R(syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4));
    R(syscall(SYS_rt_sigaction, SIGUSR1, BAD, 0, 8));
    R(syscall(SYS_rt_sigaction, SIGUSR1, 0, BAD, 8));
}

CASE(sigaction_flag_probe, "rt_sigaction") {
    struct { void *h; unsigned long f; void *r; unsigned long m; } k = {(void *)1, ~0ul, 0, ~0ul}, o;
    R(syscall(SYS_rt_sigaction, SIGUSR2, &k, 0, 8));
    R(syscall(SYS_rt_sigaction, SIGUSR2, 0, &o, 8));
    say("%lx %lx\n", o.f, o.m);
}

CASE(standard_signals_merge, "rt_sigprocmask kill rt_sigpending") {
    on_signal(SIGUSR1, count, 0);
    block(SIGUSR1);
    for (int i = 0; i < 5; i++) kill(getpid(), SIGUSR1);
    sigset_t p;
    sigpending(&p);
    T(sigismember(&p, SIGUSR1));
    unblock_all();
    show_order();
}

CASE(realtime_signals_queue_in_order, "rt_sigqueueinfo rt_sigprocmask") {
    for (int s = SIGRTMIN; s < SIGRTMIN + 3; s++) {
        with_info(s, 0);
        block(s);
    }
    with_info(SIGUSR1, 0);
    block(SIGUSR1);
    int sent[] = {2, 0, 1, 0, 2};
    for (int i = 0; i < 5; i++) {
        union sigval v = {.sival_int = i};
        MUST(sigqueue(getpid(), SIGRTMIN + sent[i], v));
    }
    kill(getpid(), SIGUSR1);
    unblock_all();
    // Handlers nest: the last one set up runs first.
    say("got %d:", n);
    for (int i = 0; i < n; i++) say(" %d/%d/%d", order[i], codes[i], codes[i] == SI_QUEUE ? values[i] : 0);
    say("\n");
}

CASE(pending_limit, "rt_sigqueueinfo setrlimit") {
    struct rlimit r = {0, 0};
    MUST(setrlimit(RLIMIT_SIGPENDING, &r));
    block(SIGRTMIN);
    block(SIGUSR1);
    drop_to(4242, 4242);
    union sigval v = {0};
    R(sigqueue(getpid(), SIGRTMIN, v));
    R(kill(getpid(), SIGRTMIN));
    R(kill(getpid(), SIGUSR1));
}

CASE(siginfo_of_senders, "kill tgkill rt_sigqueueinfo rt_tgsigqueueinfo tkill") {
    with_info(SIGUSR1, 0);
    kill(getpid(), SIGUSR1);
    syscall(SYS_tgkill, getpid(), gettid_(), SIGUSR1);
    syscall(SYS_tkill, gettid_(), SIGUSR1);
    union sigval v = {.sival_int = 42};
    sigqueue(getpid(), SIGUSR1, v);
    siginfo_t i = {.si_signo = SIGUSR1, .si_code = -7};
    i.si_value.sival_int = 9;
    R(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid_(), SIGUSR1, &i));
    say("codes %d %d %d %d %d values %d %d\n", codes[0], codes[1], codes[2], codes[3], codes[4], values[3], values[4]);
    i.si_code = SI_USER;
    pid_t c = FORK(pause());
    R(syscall(SYS_rt_sigqueueinfo, c, SIGUSR1, &i));
    i.si_code = SI_TKILL;
    R(syscall(SYS_rt_sigqueueinfo, c, SIGUSR1, &i));
    kill(c, 9);
    show_wait(c);
    R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, BAD));
}

CASE(kill_arguments, "kill tkill tgkill") {
    R(kill(getpid(), 0));
    R(kill(getpid(), 65));
    R(kill(getpid(), -1));
    R(kill(99999, 0));
    R(kill(-99999, 0));
    R(kill(INT_MIN, 0));
    R(syscall(SYS_tkill, 0, SIGUSR1));
    R(syscall(SYS_tkill, -1, SIGUSR1));
    R(syscall(SYS_tkill, 99999, 0));
    R(syscall(SYS_tgkill, 1, gettid_(), 0));
    R(syscall(SYS_tgkill, getpid(), gettid_(), 0));
    R(syscall(SYS_tgkill, 0, gettid_(), 0));
    R(syscall(SYS_tgkill, getpid(), gettid_(), 65));
}

CASE(kill_permissions, "kill") {
    pid_t root = FORK(pause()), user = FORK(drop_to(1000, 1000); pause()), other = FORK(drop_to(2000, 2000); pause());
    settle(root);
    settle(user);
    settle(other);
    IN_CHILD({
        drop_to(1000, 1000);
        R(kill(root, 0));
        R(kill(user, 0));
        R(kill(other, 0));
        R(kill(other, SIGTERM));
        R(kill(user, SIGTERM));
        R(kill(root, SIGCONT));
    });
    show_wait(user);
    kill(root, 9);
    kill(other, 9);
    show_wait(root);
    show_wait(other);
}

CASE(kill_saved_uid_counts, "kill setresuid") {
    pid_t c = FORK(setresuid(5, 6, 7); pause());
    settle(c);
    IN_CHILD(setresuid(7, 7, 7); R(kill(c, 0)));
    IN_CHILD(setresuid(6, 6, 6); R(kill(c, 0)));
    IN_CHILD(setresuid(5, 5, 5); R(kill(c, SIGKILL)));
    show_wait(c);
}

CASE(mask_operations, "rt_sigprocmask") {
    sigset_t s = set_of(SIGUSR1, SIGUSR2, SIGKILL, SIGSTOP, 0), o;
    R(sigprocmask(SIG_BLOCK, &s, 0));
    s = set_of(SIGUSR1, 0);
    R(sigprocmask(SIG_UNBLOCK, &s, &o));
    say("%d %d %d\n", sigismember(&o, SIGUSR1), sigismember(&o, SIGUSR2), sigismember(&o, SIGKILL));
    R(sigprocmask(0, 0, &o));
    say("%d %d\n", sigismember(&o, SIGUSR1), sigismember(&o, SIGUSR2));
    R(syscall(SYS_rt_sigprocmask, 9, &s, 0, 8));
    R(syscall(SYS_rt_sigprocmask, 9, 0, &o, 8));
    R(syscall(SYS_rt_sigprocmask, 0, &s, 0, 16));
    R(syscall(SYS_rt_sigprocmask, 0, BAD, 0, 8));
    R(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &s, BAD, 8));
    R(syscall(SYS_rt_sigpending, BAD, 8));
    R(syscall(SYS_rt_sigpending, &s, 9));
}

static void show_mask_in_handler(int s) {
    sigset_t m;
    sigprocmask(0, 0, &m);
    say("in %s: usr1 %d usr2 %d term %d\n", sig_name(s), sigismember(&m, SIGUSR1), sigismember(&m, SIGUSR2),
        sigismember(&m, SIGTERM));
}
CASE(mask_during_handler, "rt_sigaction rt_sigreturn") {
    struct sigaction sa = {.sa_handler = show_mask_in_handler};
    sa.sa_mask = set_of(SIGTERM, 0);
    block(SIGUSR2);
    MUST(sigaction(SIGUSR1, &sa, 0));
    raise(SIGUSR1);
    sa.sa_flags = SA_NODEFER;
    sigemptyset(&sa.sa_mask);
    MUST(sigaction(SIGUSR1, &sa, 0));
    raise(SIGUSR1);
    show_mask_in_handler(0);
}

static void reenter(int s) {
    if (++n < 4) raise(s);
    say("level %d\n", n--);
}
CASE(nodefer_nests, "rt_sigaction") {
    on_signal(SIGUSR1, reenter, SA_NODEFER);
    raise(SIGUSR1);
}

CASE(resethand, "rt_sigaction") {
    on_signal(SIGUSR1, count, SA_RESETHAND);
    raise(SIGUSR1);
    struct sigaction sa;
    sigaction(SIGUSR1, 0, &sa);
    say("%d %d\n", n, sa.sa_handler == SIG_DFL);
    IN_CHILD(raise(SIGUSR1));
}

static char *alt;
static void where(int s) {
    char here;
    stack_t ss;
    sigaltstack(0, &ss);
    say("%s: %s stack, flags %d\n", sig_name(s), &here > alt && &here < alt + 16 * PAGE ? "alternate" : "normal",
        ss.ss_flags);
    if (&here > alt && &here < alt + 16 * PAGE) {
        stack_t none = {.ss_flags = SS_DISABLE};
        R(sigaltstack(&none, 0));
    }
}
CASE(alternate_stack, "sigaltstack") {
    alt = anon(16);
    stack_t ss = {.ss_sp = alt, .ss_size = 16 * PAGE}, old;
    R(sigaltstack(&ss, &old));
    say("was %d\n", old.ss_flags);
    on_signal(SIGUSR1, where, SA_ONSTACK);
    on_signal(SIGUSR2, where, 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
    ss.ss_size = 100;
    R(sigaltstack(&ss, 0));
    ss.ss_flags = 77;
    R(sigaltstack(&ss, 0));
    R(sigaltstack(BAD, 0));
    R(sigaltstack(0, BAD));
    ss = (stack_t){.ss_flags = SS_DISABLE};
    R(sigaltstack(&ss, 0));
    raise(SIGUSR1);
}

CASE(alternate_stack_autodisarm, "sigaltstack") {
    alt = anon(16);
    stack_t ss = {.ss_sp = alt, .ss_size = 16 * PAGE, .ss_flags = 1u << 31}, old;
    R(sigaltstack(&ss, 0));
    on_signal(SIGUSR1, where, SA_ONSTACK);
    raise(SIGUSR1);
    R(sigaltstack(0, &old));
    say("%d %d\n", (int)(old.ss_flags == (int)(1u << 31)), old.ss_sp == alt);
}

static void overflow(int s) {
    (void)s;
    say("overflow caught\n");
    _exit(7);
}
static int deep(volatile char *p) {
    volatile char b[4096];
    b[0] = p[0];
    return p == (char *)1 ? 0 : deep(b) + b[1];
}
CASE(stack_overflow_on_alternate_stack, "sigaltstack setrlimit") {
    struct rlimit r = {256 << 10, 256 << 10};
    MUST(setrlimit(RLIMIT_STACK, &r));
    stack_t ss = {.ss_sp = anon(16), .ss_size = 16 * PAGE};
    MUST(sigaltstack(&ss, 0));
    on_signal(SIGSEGV, overflow, SA_ONSTACK);
    char c = 0;
    IN_CHILD(deep(&c));
    signal(SIGSEGV, SIG_DFL);
    IN_CHILD(deep(&c));
}

static char *fault_page;
static void fault(int s, siginfo_t *i, void *u) {
    ucontext_t *uc = u;
    say("%s code %d address %s errno %d trap %ld error %ld\n", sig_name(s), i->si_code,
        (char *)i->si_addr == fault_page ? "exact" : i->si_addr ? "other" : "null", i->si_errno,
        (long)uc->uc_mcontext.gregs[REG_TRAPNO], (long)uc->uc_mcontext.gregs[REG_ERR]);
    _exit(0);
}
static void catch_faults(void) {
    int all[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; i++) {
        struct sigaction sa = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
        sigaction(all[i], &sa, 0);
    }
}
CASE(fault_siginfo, "rt_sigaction") {
    catch_faults();
    fault_page = anon(1);
    munmap(fault_page, PAGE);
    IN_CHILD(*(volatile char *)fault_page);
    IN_CHILD(*(volatile char *)fault_page = 1);
    fault_page = read_only_page();
    IN_CHILD(*(volatile char *)fault_page = 1);
    IN_CHILD(((void (*)(void))fault_page)());
    fault_page = 0;
    IN_CHILD(*(volatile int *)0 = 1);
    IN_CHILD(*(volatile char *)0x8000000000000000 = 1);
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    fault_page = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    IN_CHILD(*(volatile char *)fault_page);
}

CASE(cpu_exception_siginfo, "rt_sigaction") {
    catch_faults();
    IN_CHILD(volatile int z = 0; z = 1 / z);
    IN_CHILD(volatile int m = INT_MIN, o = -1; m = m / o);
    IN_CHILD(__asm__ volatile("ud2"));
    IN_CHILD(__asm__ volatile("int3"));
    IN_CHILD(__asm__ volatile("hlt"));
    IN_CHILD(__asm__ volatile("int $0x77"));
    IN_CHILD(__asm__ volatile("cli"));
    IN_CHILD(__asm__ volatile("pushf; orq $0x100, (%rsp); popf; nop; nop"));
    IN_CHILD(__asm__ volatile("pushf; orq $0x40000, (%%rsp); popf; movl 1(%0), %%eax" ::"r"(anon(1)) : "eax"));
}

CASE(synchronous_fault_while_blocked_kills, "rt_sigprocmask") {
    catch_faults();
    IN_CHILD(block(SIGSEGV); *(volatile int *)0 = 1);
    IN_CHILD(signal(SIGSEGV, SIG_IGN); *(volatile int *)0 = 1);
    IN_CHILD(signal(SIGSEGV, SIG_IGN); raise(SIGSEGV); say("sent is ignored\n"));
}

static void skip_instruction(int s, siginfo_t *i, void *u) {
    (void)s;
    (void)i;
    ucontext_t *uc = u;
    uc->uc_mcontext.gregs[REG_RIP] += 2;
    uc->uc_mcontext.gregs[REG_RAX] = 1234;
}
CASE(handler_changes_registers, "rt_sigreturn") {
    struct sigaction sa = {.sa_sigaction = skip_instruction, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGILL, &sa, 0));
    long rax = 5;
    __asm__ volatile("ud2" : "+a"(rax));
    R(rax);
}

static void change_mask(int s, siginfo_t *i, void *u) {
    (void)s;
    (void)i;
    sigaddset(&((ucontext_t *)u)->uc_sigmask, SIGUSR2);
}
CASE(handler_changes_mask, "rt_sigreturn") {
    struct sigaction sa = {.sa_sigaction = change_mask, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR1, &sa, 0));
    raise(SIGUSR1);
    sigset_t m;
    sigprocmask(0, 0, &m);
    T(sigismember(&m, SIGUSR2));
    T(sigismember(&m, SIGUSR1));
}

static void clobber(int s) {
    (void)s;
    __asm__ volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm15");
    __asm__ volatile("fninit; fldz; fldz");
    unsigned csr = 0x7f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(csr));
}
CASE(fp_state_survives_handler, "rt_sigreturn") {
    if (!__builtin_cpu_supports("avx")) {
        say("256-bit kept: yes\nx87 kept: yes\nmxcsr kept: yes\n");
        return;
    }
    on_signal(SIGUSR1, clobber, 0);
    unsigned char in[32], out[32];
    for (int i = 0; i < 32; i++) in[i] = i * 7;
    double x = 1.5, y = 0;
    unsigned csr = 0x1fa0, csr2 = 0;
    pid_t me = getpid();
    __asm__ volatile("ldmxcsr %[csr]; fldl %[x]; vmovdqu %[in], %%ymm15\n\t"
                     "mov %[nr], %%eax; mov %[me], %%edi; mov %[sig], %%esi; syscall\n\t"
                     "vmovdqu %%ymm15, %[out]; fstpl %[y]; stmxcsr %[csr2]; vzeroupper"
                     : [out] "=m"(out), [y] "=m"(y), [csr2] "=m"(csr2)
                     : [in] "m"(in), [x] "m"(x), [csr] "m"(csr), [nr] "i"(SYS_kill), [me] "r"(me), [sig] "i"(SIGUSR1)
                     : "rax", "rdi", "rsi", "rcx", "r11", "xmm15", "memory");
    say("256-bit kept: %s\nx87 kept: %s\nmxcsr kept: %s\n", memcmp(in, out, 32) ? "no" : "yes", x == y ? "yes" : "no",
        csr == csr2 ? "yes" : "no");
}

static void frame(int s, siginfo_t *i, void *u) {
    (void)s;
    (void)i;
    ucontext_t *uc = u;
    say("flags %lx aligned %d fp %d sw %x\n", uc->uc_flags, (int)((uintptr_t)u & 7),
        uc->uc_mcontext.fpregs != 0, *(unsigned *)((char *)uc->uc_mcontext.fpregs + 464));
    say("cs %x\n", (int)(uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff));
    T((((uintptr_t)__builtin_frame_address(0)) & 15) == 0);
}
CASE(frame_layout, "rt_sigaction rt_sigreturn") {
    struct sigaction sa = {.sa_sigaction = frame, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR1, &sa, 0));
    raise(SIGUSR1);
}

CASE(bad_sigreturn_frame_kills, "rt_sigreturn") {
    IN_CHILD(__asm__ volatile("xor %%esp, %%esp; mov $15, %%eax; syscall" ::: "rax", "memory"));
}

CASE(bad_stack_at_delivery_kills, "rt_sigaction") {
    on_signal(SIGUSR1, count, 0);
    IN_CHILD({
        pid_t me = getpid();
        __asm__ volatile("mov $4096, %%esp; mov $62, %%eax; mov %0, %%edi; mov $10, %%esi; syscall; hlt" ::"r"(me)
                         : "rax", "rdi", "rsi", "memory");
    });
}

static void jump_out(int s) {
    (void)s;
    n++;
}
CASE(self_signal_is_delivered_before_return, "kill tgkill") {
    on_signal(SIGUSR1, jump_out, 0);
    for (int i = 0; i < 100; i++) {
        kill(getpid(), SIGUSR1);
        if (n != i + 1) {
            say("late at %d\n", i);
            return;
        }
    }
    say("always in time\n");
}

CASE(disabled_stack_keeps_its_flag, "sigaltstack") {
    stack_t off = {.ss_flags = SS_DISABLE | (1u << 31)}, seen;
    R(sigaltstack(&off, 0));
    R(sigaltstack(0, &seen));
    say("%x %zu\n", seen.ss_flags, seen.ss_size);
}
