// Futexes: every operation, robust lists, priority inheritance, waiting on several.
#include "case.h"
#include <linux/futex.h>
#define FAMILY "futex"

static long fut(void *a, int op, unsigned v, const void *t, void *b, unsigned v3) {
    return syscall(SYS_futex, a, op, v, t, b, v3);
}
static int *shared(void) {
    int *p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) give_up("mmap", errno);
    return p;
}
static const struct timespec shortly = {0, 5000000};

CASE(futex_wait_value_differs, "futex") {
    int w = 5;
    R(fut(&w, FUTEX_WAIT, 4, 0, 0, 0));
    R(fut(&w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 4, 0, 0, 0));
    R(fut(&w, FUTEX_WAIT, 5, &shortly, 0, 0));
    R(fut(&w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 5, &shortly, 0, 0));
    R(fut(&w, FUTEX_WAKE, 1, 0, 0, 0));
}

CASE(futex_bad_arguments, "futex") {
    int w = 0;
    struct timespec bad = {0, 1000000000}, neg = {-1, 0};
    R(fut((char *)&w + 1, FUTEX_WAIT, 0, &shortly, 0, 0));
    R(fut(BAD, FUTEX_WAIT, 0, &shortly, 0, 0));
    R(fut(0, FUTEX_WAIT, 0, &shortly, 0, 0));
    R(fut(&w, FUTEX_WAIT, 0, &bad, 0, 0));
    R(fut(&w, FUTEX_WAIT, 0, &neg, 0, 0));
    R(fut(&w, FUTEX_WAIT, 0, BAD, 0, 0));
    R(fut(&w, 99, 0, 0, 0, 0));
    R(fut(&w, FUTEX_WAIT_BITSET, 0, 0, 0, 0));
    R(fut(&w, FUTEX_WAKE_BITSET, 1, 0, 0, 0));
    R(fut(&w, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, 0, 0, 0));
    R(fut((void *)(1ul << 63), FUTEX_WAKE, 1, 0, 0, 0));
    R(fut(read_only_page(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0));
    R(fut(read_only_page(), FUTEX_WAKE, 1, 0, 0, 0));
    R(fut(&w, FUTEX_WAKE, -1, 0, 0, 0));
}

// A child that waits with the operation and says how it ended.
static pid_t waiter(int *w, int op, unsigned bits, int id) {
    pid_t p = FORK(long r = fut(w, op, *w, 0, 0, bits); _exit(r ? 99 : id));
    settle(p);
    return p;
}

CASE(futex_wake_across_processes, "futex") {
    int *w = shared();
    pid_t a = waiter(w, FUTEX_WAIT, 0, 1), b = waiter(w, FUTEX_WAIT, 0, 2), c = waiter(w, FUTEX_WAIT, 0, 3);
    R(fut(w, FUTEX_WAKE, 1, 0, 0, 0));
    show_wait(a);
    R(fut(w, FUTEX_WAKE, 10, 0, 0, 0));
    show_wait(b);
    show_wait(c);
}

CASE(futex_private_is_per_process, "futex") {
    int *w = shared();
    pid_t a = waiter(w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 1);
    R(fut(w, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0));
    kill(a, SIGTERM);
    show_wait(a);
}

CASE(futex_shared_on_file_mapping, "futex") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    MUST(ftruncate(fd, PAGE));
    int *p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int *q = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t a = waiter(p + 3, FUTEX_WAIT, 0, 4);
    R(fut(q + 3, FUTEX_WAKE, 1, 0, 0, 0));
    show_wait(a);
}

CASE(futex_bitset, "futex") {
    int *w = shared();
    pid_t a = waiter(w, FUTEX_WAIT_BITSET, 1, 1), b = waiter(w, FUTEX_WAIT_BITSET, 6, 2);
    R(fut(w, FUTEX_WAKE_BITSET, 10, 0, 0, 8));
    R(fut(w, FUTEX_WAKE_BITSET, 10, 0, 0, 4));
    show_wait(b);
    R(fut(w, FUTEX_WAKE_BITSET, 10, 0, 0, 1));
    show_wait(a);
    struct timespec past = {1, 0};
    R(fut(w, FUTEX_WAIT_BITSET, 0, &past, 0, 1));
    R(fut(w, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, 0, 1));
}

CASE(futex_requeue, "futex") {
    int *w = shared();
    pid_t p[3];
    for (int i = 0; i < 3; i++) p[i] = waiter(w, FUTEX_WAIT, 0, i);
    R(fut(w, FUTEX_CMP_REQUEUE, 1, (void *)1L, w + 1, 9));
    R(fut(w, FUTEX_CMP_REQUEUE, 1, (void *)1L, w + 1, 0));
    show_wait(p[0]);
    R(fut(w + 1, FUTEX_WAKE, 10, 0, 0, 0));
    show_wait(p[1]);
    R(fut(w, FUTEX_REQUEUE, 0, (void *)5L, w + 1, 0));
    R(fut(w, FUTEX_WAKE, 10, 0, 0, 0));
    R(fut(w + 1, FUTEX_WAKE, 10, 0, 0, 0));
    show_wait(p[2]);
    R(fut(w, FUTEX_REQUEUE, -1, (void *)5L, w + 1, 0));
    R(fut(w, FUTEX_REQUEUE, 0, (void *)5L, BAD, 0));
}

CASE(futex_wake_op, "futex") {
    int *w = shared();
    w[1] = 10;
    pid_t a = waiter(w, FUTEX_WAIT, 0, 1), b = waiter(w + 1, FUTEX_WAIT, 0, 2);
    // Adds 5 to w[1]; wakes there too when it was 10.
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, w + 1, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 10)));
    say("%d\n", w[1]);
    show_wait(a);
    show_wait(b);
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, w + 1, FUTEX_OP(FUTEX_OP_OR, 64, FUTEX_OP_CMP_LT, 3)));
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, w + 1, FUTEX_OP(FUTEX_OP_ANDN, 1, FUTEX_OP_CMP_GE, 3)));
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, w + 1, FUTEX_OP(FUTEX_OP_XOR, 3, FUTEX_OP_CMP_NE, 3)));
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, w + 1, FUTEX_OP((FUTEX_OP_SET | 8), 4, FUTEX_OP_CMP_GT, 3)));
    say("%d\n", w[1]);
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, w + 1, FUTEX_OP(7, 4, FUTEX_OP_CMP_GT, 3)));
    R(fut(w, FUTEX_WAKE_OP, 1, (void *)1L, BAD, FUTEX_OP(FUTEX_OP_SET, 4, FUTEX_OP_CMP_GT, 3)));
}

CASE(futex_pi_uncontended, "futex") {
    unsigned w = 0;
    R(fut(&w, FUTEX_LOCK_PI, 0, 0, 0, 0));
    T(w == (unsigned)gettid_());
    R(fut(&w, FUTEX_LOCK_PI, 0, 0, 0, 0));
    R(fut(&w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0));
    R(fut(&w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    R(w);
    R(fut(&w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    R(fut(&w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0));
    w = 99999;
    R(fut(&w, FUTEX_LOCK_PI, 0, 0, 0, 0));
    R(fut(BAD, FUTEX_LOCK_PI, 0, 0, 0, 0));
}

CASE(futex_pi_contended, "futex") {
    unsigned *w = (unsigned *)shared();
    R(fut(w, FUTEX_LOCK_PI, 0, 0, 0, 0));
    pid_t c = FORK({
        R(fut(w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0));
        R(fut(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
        R(fut(w, FUTEX_LOCK_PI, 0, 0, 0, 0));
        T((*w & 0x3fffffff) == (unsigned)gettid_());
        R(fut(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    });
    T(UNTIL(*w & FUTEX_WAITERS));
    // The bit is set before the waiter is asleep.
    settle(c);
    // From here on the child prints, and nobody else until it has ended.
    long unlocked = fut(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0);
    show_wait(c);
    R(unlocked);
    R(*w);
}

CASE(futex_pi_timeout, "futex") {
    unsigned *w = (unsigned *)shared();
    fut(w, FUTEX_LOCK_PI, 0, 0, 0, 0);
    struct timespec past = {1, 0};
    IN_CHILD(R(fut(w, FUTEX_LOCK_PI, 0, &past, 0, 0)));
}

CASE(futex_pi_owner_dies, "futex") {
    unsigned *w = (unsigned *)shared();
    show_wait(FORK(fut(w, FUTEX_LOCK_PI, 0, 0, 0, 0)));
    R(fut(w, FUTEX_LOCK_PI, 0, 0, 0, 0));
}

static pthread_mutex_t make_mutex(int protocol, int robust) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setprotocol(&a, protocol);
    pthread_mutexattr_setrobust(&a, robust);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_t m;
    pthread_mutex_init(&m, &a);
    return m;
}
static void robust_round(int protocol) {
    pthread_mutex_t *m = (pthread_mutex_t *)shared();
    *m = make_mutex(protocol, PTHREAD_MUTEX_ROBUST);
    show_wait(FORK(pthread_mutex_lock(m)));
    say("lock: %s\n", err_name(pthread_mutex_lock(m)));
    R(pthread_mutex_consistent(m));
    R(pthread_mutex_unlock(m));
    // It ends once it has the lock and somebody waits for that.
    int locked[2];
    char byte;
    pid_t me = getpid();
    MUST(pipe(locked));
    pid_t c = FORK(pthread_mutex_lock(m); write(locked[1], "l", 1); settle(me); kill(getpid(), SIGKILL));
    MUST(read(locked[0], &byte, 1));
    say("lock: %s\n", err_name(pthread_mutex_lock(m)));
    show_wait(c);
    pthread_mutex_unlock(m);
    say("lock: %s\n", err_name(pthread_mutex_lock(m)));
}
CASE(robust_mutex_owner_dies, "set_robust_list futex exit_group") { robust_round(PTHREAD_PRIO_NONE); }
CASE(robust_pi_mutex_owner_dies, "set_robust_list futex exit_group") { robust_round(PTHREAD_PRIO_INHERIT); }

static void *holder(void *a) {
    pthread_mutex_lock(a);
    return 0;
}
CASE(robust_mutex_thread_ends, "set_robust_list exit") {
    pthread_mutex_t m = make_mutex(PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST);
    pthread_join(thread(holder, &m), 0);
    say("lock: %s\n", err_name(pthread_mutex_lock(&m)));
}

CASE(robust_list_calls, "set_robust_list get_robust_list") {
    void *head = 0;
    size_t len = 0;
    R(syscall(SYS_get_robust_list, 0, &head, &len));
    T(head != 0);
    R(len);
    R(syscall(SYS_set_robust_list, head, 23));
    R(syscall(SYS_set_robust_list, head, 24));
    R(syscall(SYS_get_robust_list, 99999, &head, &len));
    R(syscall(SYS_get_robust_list, 0, BAD, &len));
    // A list in bad memory is not followed into harm.
    IN_CHILD(syscall(SYS_set_robust_list, BAD, 24));
    uint64_t loop[3] = {(uintptr_t)loop, 0, 0};
    loop[0] = (uintptr_t)loop;
    IN_CHILD(syscall(SYS_set_robust_list, loop, 24));
}

CASE(thread_exit_wakes_child_tid, "set_tid_address futex exit") {
    int *w = shared();
    *w = 1;
    pid_t c = FORK(syscall(SYS_set_tid_address, w); syscall(SYS_exit, 0));
    show_wait(c);
    // Cleared only while others share the memory.
    R(*w);
}

struct waitv {
    uint64_t val, uaddr;
    uint32_t flags, reserved;
};
CASE(futex_waitv, "futex_waitv") {
    int *w = shared();
    struct waitv v[3] = {{0, (uintptr_t)&w[0], 2, 0}, {0, (uintptr_t)&w[1], 2, 0}, {0, (uintptr_t)&w[2], 2, 0}};
    pid_t c = FORK(_exit(syscall(SYS_futex_waitv, v, 3, 0, 0, 0)));
    settle(c);
    R(fut(w + 1, FUTEX_WAKE, 1, 0, 0, 0));
    show_wait(c);
    w[2] = 9;
    R(syscall(SYS_futex_waitv, v, 3, 0, 0, 0));
    struct timespec past = {1, 0};
    R(syscall(SYS_futex_waitv, v, 2, 0, &past, CLOCK_MONOTONIC));
    R(syscall(SYS_futex_waitv, v, 0, 0, 0, 0));
    R(syscall(SYS_futex_waitv, v, 129, 0, 0, 0));
    R(syscall(SYS_futex_waitv, v, 2, 1, 0, 0));
    R(syscall(SYS_futex_waitv, BAD, 2, 0, 0, 0));
    R(syscall(SYS_futex_waitv, v, 2, 0, &past, CLOCK_TAI));
    v[1].reserved = 1;
    R(syscall(SYS_futex_waitv, v, 2, 0, 0, 0));
    v[1] = (struct waitv){0, (uintptr_t)&w[1], 0x700, 0};
    R(syscall(SYS_futex_waitv, v, 2, 0, 0, 0));
}

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int turn;
static void *plays(void *a) {
    int me = (int)(long)a;
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % 2 != me) pthread_cond_wait(&cond, &mutex);
        turn++;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return 0;
}
CASE(condition_variable_ping_pong, "futex") {
    pthread_t a = thread(plays, (void *)0L), b = thread(plays, (void *)1L);
    pthread_join(a, 0);
    pthread_join(b, 0);
    R(turn);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    pthread_mutex_lock(&mutex);
    say("%s\n", err_name(pthread_cond_timedwait(&cond, &mutex, &t)));
}

CASE(futex2_calls, "futex_wake futex_wait futex_requeue") {
    int w = 3;
    struct timespec past = {1, 0};
    long r = syscall(SYS_futex_waitv + 5, &w, ~0ul, 1, 2);
    T(r == 0 || errno == ENOSYS);
    if (r == 0) {
        R(syscall(455, &w, 4ul, ~0ul, 2, 0, 0));
        R(syscall(455, &w, 3ul, ~0ul, 2, &past, CLOCK_MONOTONIC));
        R(syscall(454, &w, 0ul, 1, 2));
        R(syscall(454, &w, ~0ul, 1, 0x900));
    }
}
