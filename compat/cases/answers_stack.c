// The alternate signal stack at call sites that have become quick: what a sandbox may remember of it without asking its
// kernel must be what signals, children and programs find.
#include "case.h"
#include "forbid.h"
#include "pester.h"
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/ucontext.h>
#define FAMILY "answers"

#define AUTODISARM (1u << 31)
enum { LEN = 65536 };

// A site of our own, so that it is this one that becomes quick.
__attribute__((naked, noinline, aligned(64))) static long hot_stack(const stack_t *new, stack_t *old) {
    (void)new, (void)old;
    __asm__("mov $131, %eax\n syscall\n ret\n");
}

static void warm_up(void) {
    stack_t old;
    for (int i = 0; i < 12; i++) hot_stack(0, &old);
}

// Makes the call and says what it was told, and what is so afterwards.
static void change(void *sp, unsigned flags, size_t size) {
    stack_t new = {.ss_sp = sp, .ss_flags = (int)flags, .ss_size = size}, old, now;
    memset(&old, 0x55, sizeof old), memset(&now, 0x55, sizeof now);
    long r = hot_stack(&new, &old);
    hot_stack(0, &now);
    uint32_t pads[2];
    memcpy(&pads[0], (char *)&old + 12, 4), memcpy(&pads[1], (char *)&now + 12, 4);
    say("%p %x %zu: %ld, was %p %x %zu %x, is %p %x %zu %x\n", sp, flags, size, r, old.ss_sp, old.ss_flags, old.ss_size,
        pads[0], now.ss_sp, now.ss_flags, now.ss_size, pads[1]);
}

CASE(answers_stack_operations, "sigaltstack") {
    for (int round = 0; round < 2; round++) {
        change(0, 0, 0);
        change(0, SS_ONSTACK, 0);
        change(0, SS_DISABLE, 0);
        change(0, 0, 0);
        change((void *)0x5000, SS_DISABLE | AUTODISARM, 7);
        change(0, AUTODISARM, 0);
        change((void *)0x10000, 0, 2047);
        change((void *)0x10000, 0, 2048);
        change((void *)0x10000, SS_ONSTACK, 2048);
        change((void *)0x10000, 3, 2048);
        change((void *)0x10000, 4, 2048);
        change((void *)0x10000, AUTODISARM | 1, 5000);
        change((void *)0x10000, 1u << 30, 2048);
        change((void *)0x20000, AUTODISARM, 1ul << 40);
        change((void *)-1, 0, (size_t)-1);
        change((void *)(1ul << 62), 0, 1ul << 62);
        change(0, SS_DISABLE, 0);
        warm_up();
    }
}

CASE(answers_stack_pointers, "sigaltstack") {
    warm_up();
    char *at = anon(16);
    stack_t good = {.ss_sp = at, .ss_size = LEN}, off = {.ss_flags = SS_DISABLE}, now;
    R(hot_stack(BAD, 0));
    R(hot_stack(0, BAD));
    R(hot_stack((void *)-8, &now));
    R(hot_stack((void *)(1ul << 62), &now));
    // It has changed although nobody could be told what was before.
    R(hot_stack(&good, BAD));
    R(hot_stack(0, &now)), T(now.ss_sp == at);
    R(hot_stack(&off, (stack_t *)read_only_page()));
    R(hot_stack(0, &now)), T(now.ss_flags == SS_DISABLE);
    // Parts of the struct beyond the end.
    for (size_t part = 0; part <= 24; part += 4) {
        char *end = edge(part);
        memcpy(end, &good, part);
        say("%zu bytes: %ld", part, hot_stack((stack_t *)end, &now));
        say(" %ld", hot_stack(&off, 0));
        say(" %ld\n", hot_stack(0, (stack_t *)end));
    }
    // What is refused tells nothing, and both may be one place.
    stack_t small = {.ss_sp = at, .ss_size = 1}, told;
    memset(&told, 0x55, sizeof told);
    R(hot_stack(&small, &told));
    T(told.ss_flags == 0x55555555);
    MUST(hot_stack(&off, 0));
    int fine = 0;
    for (int i = -24; i <= 24; i += 4) {
        char room[96] __attribute__((aligned(16)));
        memcpy(room + 32, &good, sizeof good);
        long r = hot_stack((stack_t *)(room + 32), (stack_t *)(room + 32 + i));
        memcpy(&told, room + 32 + i, sizeof told);
        hot_stack(0, &now);
        fine += r == 0 && told.ss_flags == SS_DISABLE && told.ss_sp == 0 && now.ss_sp == at && now.ss_size == LEN;
        hot_stack(&off, 0);
    }
    R(fine);
}

static char *stack;
static atomic_int handled;
static void on_it(int signal) {
    (void)signal;
    stack_t seen, off = {.ss_flags = SS_DISABLE};
    char here;
    say("in the handler: %s stack", &here > stack && &here < stack + LEN ? "alternate" : "usual");
    say(" %ld", hot_stack(0, &seen));
    say(" %x %d", seen.ss_flags, seen.ss_sp == stack);
    say(" %ld", hot_stack(&off, 0));
    say(" %ld", hot_stack(&off, &seen));
    say(" %ld\n", hot_stack(BAD, 0));
    handled++;
}

CASE(answers_stack_in_use, "sigaltstack rt_sigreturn tgkill") {
    warm_up();
    stack = anon(16);
    stack_t new = {.ss_sp = stack, .ss_size = LEN}, now;
    on_signal(SIGUSR1, on_it, SA_ONSTACK), on_signal(SIGUSR2, on_it, 0);
    for (int round = 0; round < 2; round++) {
        new.ss_flags = round ? (int)AUTODISARM : 0;
        R(hot_stack(&new, 0));
        raise(SIGUSR1);
        R(hot_stack(0, &now)), T(now.ss_sp == stack && now.ss_size == LEN && now.ss_flags == new.ss_flags);
        MUST(hot_stack(&new, 0));
        raise(SIGUSR2);
        R(hot_stack(0, &now));
        say("%x\n", now.ss_flags);
    }
    R(handled);
}

// Where it begins and ends, by the stack pointer alone.
__attribute__((naked, noinline)) static long with_rsp(uint64_t rsp, stack_t *old) {
    (void)rsp, (void)old;
    __asm__("push %rbx\n mov %rsp, %rbx\n mov %rdi, %rsp\n xor %edi, %edi\n mov $131, %eax\n syscall\n mov %rbx, %rsp\n pop %rbx\n ret\n");
}
CASE(answers_stack_bounds, "sigaltstack") {
    char *at = anon(16);
    stack_t new = {.ss_sp = at + PAGE, .ss_size = 2 * PAGE}, now;
    MUST(hot_stack(&new, 0));
    long ends[] = {-1, 0, 1, 8, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1};
    for (int i = 0; i < 20; i++) with_rsp((uint64_t)at + PAGE, &now);
    for (int i = 0; i < 7; i++) {
        long r = with_rsp((uint64_t)at + PAGE + (uint64_t)ends[i], &now);
        say("%ld: %ld %x\n", ends[i], r, now.ss_flags);
    }
}

static void *tell(void *to) {
    warm_up();
    stack_t own = {.ss_sp = to, .ss_size = 4000};
    hot_stack(0, to);
    hot_stack(&own, 0);
    return 0;
}
HELPER(stack_after_exec) {
    stack_t now;
    MUST(sigaltstack(0, &now));
    say("%p %x %zu\n", now.ss_sp, now.ss_flags, now.ss_size);
    change(0, 0, 0);
    return 0;
}

CASE(answers_stack_is_inherited, "sigaltstack fork vfork clone3 execve") {
    warm_up();
    stack = anon(16);
    stack_t new = {.ss_sp = stack, .ss_size = LEN, .ss_flags = (int)AUTODISARM}, now, other;
    MUST(hot_stack(&new, 0));
    IN_CHILD({
        R(hot_stack(0, &now)), T(now.ss_sp == stack && now.ss_size == LEN && now.ss_flags == (int)AUTODISARM);
        stack_t off = {.ss_flags = SS_DISABLE};
        R(hot_stack(&off, 0)), R(hot_stack(0, &now)), T(now.ss_sp == 0 && now.ss_flags == SS_DISABLE);
    });
    pid_t child = vfork();
    if (child == 0) {
        hot_stack(0, &other);
        _exit(0);
    }
    show_wait(child);
    T(other.ss_sp == stack && other.ss_size == LEN);
    pthread_join(thread(tell, &other), 0);
    say("in a thread: %p %x %zu\n", other.ss_sp, other.ss_flags, other.ss_size);
    R(hot_stack(0, &now)), T(now.ss_sp == stack && now.ss_size == LEN);
    pid_t p = fork();
    if (p == 0) {
        execl(program("cases"), "cases", "helper", "stack_after_exec", NULL);
        _exit(9);
    }
    show_wait(p);
}

static atomic_int ready, leave, odd;
static void look(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    stack_t *was = &((ucontext_t *)context)->uc_stack;
    uint64_t number = ((uint64_t)was->ss_sp - 0x10000000) / 0x10000;
    if (was->ss_size != 4096 + number || (was->ss_flags & 1) != (int)(number & 1)) odd++;
    handled++;
}
static void *change_often(void *bad) {
    stack_t last = {.ss_sp = (void *)0x10000000, .ss_size = 4096}, old;
    MUST(hot_stack(&last, 0));
    ready = 1;
    for (uint64_t i = 0; !leave; i = (i + 1) % 1000) {
        stack_t new = {.ss_sp = (void *)(0x10000000 + i * 0x10000), .ss_size = 4096 + i, .ss_flags = i & 1};
        long r = hot_stack(&new, &old);
        if (r || old.ss_sp != last.ss_sp || old.ss_size != last.ss_size) ++*(int *)bad;
        last = new;
    }
    return 0;
}

// Its three words are one whenever somebody looks.
CASE(answers_stack_changes_at_once, "sigaltstack tgkill") {
    warm_up();
    struct sigaction action = {.sa_sigaction = look, .sa_flags = SA_SIGINFO | SA_RESTART};
    MUST(sigaction(SIGUSR1, &action, 0));
    int bad = 0;
    pthread_t other = thread(change_often, &bad);
    UNTIL(ready);
    int good = pester(other, 500, &handled);
    leave = 1;
    pthread_join(other, 0);
    T(good), T(odd == 0), T(bad == 0);
}

CASE(answers_stack_obeys_filters, "seccomp sigaltstack") {
    warm_up();
    stack = anon(16);
    stack_t new = {.ss_sp = stack, .ss_size = LEN}, now;
    IN_CHILD({
        MUST(hot_stack(&new, 0));
        R(forbid(SYS_sigaltstack));
        R(hot_stack(0, &now));
        on_signal(SIGUSR1, on_it, SA_ONSTACK);
        raise(SIGUSR1);
    });
}
