// Filters of system calls that a program puts on itself.
#include "case.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#define FAMILY "seccomp"

// Answers `action` to one call, and allows the rest.
static long filter_one(int nr, unsigned action, unsigned flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static long install(struct sock_filter *code, unsigned short len) {
    struct sock_fprog program = {len, code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static void show_status_lines(void) {
    char text[8192] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0)
        for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n"))
            if (!strncmp(line, "NoNewPrivs", 10) || !strncmp(line, "Seccomp", 7)) say("%s\n", line);
    close(fd);
}

CASE(seccomp_errno, "seccomp") {
    IN_CHILD({
        R(filter_one(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, 0));
        R(syscall(SYS_getppid));
        R(filter_one(SYS_getpgrp, SECCOMP_RET_ERRNO | 0, 0));
        R(syscall(SYS_getpgrp));
        R(filter_one(SYS_getsid, SECCOMP_RET_ERRNO | 0xffff, 0));
        long value = syscall(SYS_getsid, 0);
        say("beyond MAX_ERRNO: %ld %d\n", value, errno);
        show_status_lines();
    });
}

CASE_USER(seccomp_needs_no_new_privs, "seccomp prctl") {
    IN_CHILD({
        R(filter_one(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, 0));
        R(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, BAD));
        R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        R(filter_one(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, 0));
        R(syscall(SYS_getppid));
        show_status_lines();
    });
}

CASE(seccomp_kill_actions, "seccomp") {
    IN_CHILD(R(filter_one(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0)); syscall(SYS_getppid));
    IN_CHILD(R(filter_one(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0)); syscall(SYS_getppid));
    // Nothing is known by that value.
    IN_CHILD(R(filter_one(SYS_getppid, 0x12340000, 0)); syscall(SYS_getppid));
    IN_CHILD(R(filter_one(SYS_getppid, SECCOMP_RET_LOG, 0)); T(syscall(SYS_getppid) > 0));
    IN_CHILD(R(filter_one(SYS_getppid, SECCOMP_RET_TRACE | 5, 0)); R(syscall(SYS_getppid)));
}

static void *ends_in_filter(void *a) {
    filter_one(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0);
    syscall(SYS_getppid);
    say("not reached\n");
    return a;
}
CASE(seccomp_kill_one_thread, "seccomp") {
    IN_CHILD(pthread_join(thread(ends_in_filter, 0), 0); T(syscall(SYS_getppid) > 0));
}

static volatile int trapped;
static void on_trap(int sig, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    say("%s code %d errno %d call %d arch %x\n", sig_name(sig), info->si_code, info->si_errno, info->si_syscall,
        info->si_arch);
    T((greg_t)info->si_call_addr == regs[REG_RIP]);
    say("rax %lld\n", regs[REG_RAX]);
    regs[REG_RAX] = 4711;
    trapped++;
}
CASE(seccomp_trap, "seccomp rt_sigreturn") {
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGSYS, &action, 0));
    IN_CHILD({
        R(filter_one(SYS_getppid, SECCOMP_RET_TRAP | 9, 0));
        R(syscall(SYS_getppid, 1, 2));
        R(trapped);
        block(SIGSYS);
        R(syscall(SYS_getppid));
    });
}

CASE(seccomp_strictest_filter_wins, "seccomp") {
    IN_CHILD({
        R(filter_one(SYS_getppid, SECCOMP_RET_ERRNO | 1, 0));
        R(filter_one(SYS_getppid, SECCOMP_RET_ALLOW, 0));
        R(syscall(SYS_getppid));
        R(filter_one(SYS_getppid, SECCOMP_RET_ERRNO | 2, 0));
        R(syscall(SYS_getppid));
        show_status_lines();
        R(filter_one(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0));
        syscall(SYS_getppid);
    });
}

CASE(seccomp_looks_at_arguments, "seccomp") {
    IN_CHILD({
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 0, 6),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
            BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1),
            BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
            BPF_STMT(BPF_RET | BPF_A, 0),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        R(install(code, 9));
        R(syscall(SYS_personality, -1, 0));
        R(syscall(SYS_personality, -1, 32));
        R(syscall(SYS_personality, -1, 0x100000021));
    });
}

CASE(seccomp_refuses_bad_programs, "seccomp") {
    struct sock_filter ret = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct { const char *name; struct sock_filter code[4]; unsigned short len; } bad[] = {
        {"empty", {ret}, 0},
        {"no return", {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)}, 1},
        {"beyond the data", {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), ret}, 2},
        {"unaligned", {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), ret}, 2},
        {"half word", {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), ret}, 2},
        {"indirect", {BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), ret}, 2},
        {"modulo", {BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), ret}, 2},
        {"by zero", {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), ret}, 2},
        {"wide shift", {BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), ret}, 2},
        {"memory read first", {BPF_STMT(BPF_LD | BPF_MEM, 0), ret}, 2},
        {"memory beyond", {BPF_STMT(BPF_ST, 16), ret}, 2},
        {"jump out", {BPF_STMT(BPF_JMP | BPF_JA, 1), ret}, 2},
        {"branch out", {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), ret}, 2},
        {"memory on one way", {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_LD | BPF_MEM, 0), ret}, 4},
        {"return of x", {BPF_STMT(BPF_RET | BPF_X, 0)}, 1},
        {"sound", {BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_LDX | BPF_MEM, 0), BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), ret}, 4},
    };
    IN_CHILD(for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        long r = install(bad[i].code, bad[i].len);
        say("%s: %s\n", bad[i].name, r ? err_name(errno) : "accepted");
    });
    struct sock_fprog far = {1, BAD};
    R(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &far));
    struct sock_fprog large = {4097, BAD};
    R(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &large));
    R(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0x8000, &far));
    R(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0));
    R(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, &far));
    R(prctl(PR_SET_SECCOMP, 3, 0));
    R(prctl(PR_GET_SECCOMP));
}

CASE(seccomp_division_by_zero_kills, "seccomp") {
    IN_CHILD({
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 2),
            BPF_STMT(BPF_LDX | BPF_IMM, 0),
            BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        R(install(code, 5));
        syscall(SYS_getppid);
    });
}

CASE(seccomp_strict, "seccomp prctl") {
    IN_CHILD(R(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)); say("may write\n"); syscall(SYS_exit, 3));
    IN_CHILD(R(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0)); syscall(SYS_getpid));
    IN_CHILD(R(filter_one(SYS_getppid, SECCOMP_RET_ALLOW, 0)); R(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)); R(prctl(PR_GET_SECCOMP)));
}

CASE(seccomp_is_inherited, "seccomp fork clone execve") {
    IN_CHILD({
        R(filter_one(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, 0));
        IN_CHILD(R(syscall(SYS_getppid)); execl(program("cases"), "cases", "helper", "seccomp_after_exec", (char *)0));
    });
}
HELPER(seccomp_after_exec) {
    R(syscall(SYS_getppid));
    R(prctl(PR_GET_SECCOMP));
    return 0;
}

static int stage;
static void *waits_for_filter(void *own) {
    if (own) R(filter_one(SYS_getsid, SECCOMP_RET_ERRNO | 1, 0));
    __atomic_store_n(&stage, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&stage, __ATOMIC_SEQ_CST) == 1) usleep(1000);
    OK(syscall(SYS_getppid));
    R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return 0;
}
static void synchronize(void *own, unsigned flags) {
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    pthread_t other = thread(waits_for_filter, own);
    UNTIL(__atomic_load_n(&stage, __ATOMIC_SEQ_CST) == 1);
    long r = filter_one(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, flags);
    say("sync %s\n", r > 0 ? "names a thread" : r ? err_name(errno) : "done");
    __atomic_store_n(&stage, 2, __ATOMIC_SEQ_CST);
    pthread_join(other, 0);
    R(prctl(PR_GET_SECCOMP));
}
CASE(seccomp_thread_sync, "seccomp") {
    IN_CHILD(synchronize(0, SECCOMP_FILTER_FLAG_TSYNC));
}
CASE(seccomp_thread_sync_refused, "seccomp") {
    IN_CHILD(synchronize("own", SECCOMP_FILTER_FLAG_TSYNC));
    IN_CHILD(synchronize("own", SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH));
}

CASE(seccomp_actions_available, "seccomp") {
    unsigned actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                          SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x12340000, SECCOMP_RET_ALLOW | 1};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) R(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]));
    R(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &actions[0]));
    R(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, BAD));
}

CASE(seccomp_limits_all_filters, "seccomp") {
    IN_CHILD({
        static struct sock_filter code[4096];
        for (int i = 0; i < 4096; i++) code[i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        int installed = 0;
        while (installed < 20 && install(code, 4096) == 0) installed++;
        say("some fit: %d, then %s\n", installed >= 3 && installed < 10, err_name(errno));
    });
}
