// Futexes that move their sleepers to a lock with priority inheritance.
#include "case.h"
#include <linux/futex.h>
#define FAMILY "futex"

static long fut(void *a, int op, unsigned v, const void *t, void *b, unsigned v3) {
    return syscall(SYS_futex, a, op, v, t, b, v3);
}
static unsigned *shared(void) {
    unsigned *p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) give_up("mmap", errno);
    return p;
}
static const struct timespec past = {1, 0};

// A child that waits on the condition; it ends with 10 once it owns the lock, which it gives up.
static pid_t waiter(unsigned *condition, unsigned *lock) {
    pid_t p = FORK({
        long r = fut(condition, FUTEX_WAIT_REQUEUE_PI, 0, 0, lock, 0);
        int owns = (*lock & FUTEX_TID_MASK) == (unsigned)gettid_();
        long u = fut(lock, FUTEX_UNLOCK_PI, 0, 0, 0, 0);
        _exit(r == 0 && owns && u == 0 ? 10 : 11);
    });
    settle(p);
    return p;
}

CASE(requeue_pi_onto_a_held_lock, "futex") {
    unsigned *c = shared(), *lock = c + 1;
    R(fut(lock, FUTEX_LOCK_PI, 0, 0, 0, 0));
    pid_t p[3];
    for (int i = 0; i < 3; i++) p[i] = waiter(c, lock);
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)0L, lock, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)5L, lock, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)5L, lock, 0));
    T(*lock & FUTEX_WAITERS);
    R(fut(lock, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    for (int i = 0; i < 3; i++) show_wait(p[i]);
    R(*lock & FUTEX_TID_MASK);
}

CASE(requeue_pi_onto_a_free_lock, "futex") {
    unsigned *c = shared(), *lock = c + 1;
    pid_t a = waiter(c, lock), b = waiter(c, lock);
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 0));
    show_wait(a);
    show_wait(b);
    R(*lock & FUTEX_TID_MASK);
}

CASE(requeue_pi_bad_arguments, "futex") {
    unsigned *c = shared(), *lock = c + 1, *other = c + 2;
    struct timespec bad = {0, -1};
    R(fut(c, FUTEX_WAIT_REQUEUE_PI, 0, &past, c, 0));
    R(fut(c, FUTEX_WAIT_REQUEUE_PI, 5, &past, lock, 0));
    R(fut(c, FUTEX_WAIT_REQUEUE_PI, 0, &past, lock, 0));
    R(fut(c, FUTEX_WAIT_REQUEUE_PI | FUTEX_CLOCK_REALTIME, 0, &past, lock, 0));
    R(fut(c, FUTEX_WAIT_REQUEUE_PI, 0, &bad, lock, 0));
    R(fut(c, FUTEX_WAIT_REQUEUE_PI, 0, &past, BAD, 0));
    R(fut(BAD, FUTEX_WAIT_REQUEUE_PI, 0, &past, lock, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, c, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 2, (void *)1L, lock, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)-1L, lock, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 7));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 0));
    pid_t p = waiter(c, lock);
    R(fut(c, FUTEX_WAKE, 1, 0, 0, 0));
    R(fut(c, FUTEX_CMP_REQUEUE, 1, (void *)1L, other, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, other, 0));
    *lock = 99999;
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 0));
    *lock = p;
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 0));
    *lock = 0;
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 0));
    show_wait(p);
}

static void nothing(int sig) { (void)sig; }

CASE(requeue_pi_interrupted, "futex") {
    unsigned *c = shared(), *lock = c + 1;
    // Before the move the call begins anew, after it the caller has to.
    pid_t p = FORK({
        on_signal(SIGUSR1, nothing, 0);
        R(fut(c, FUTEX_WAIT_REQUEUE_PI, 0, 0, lock, 0));
    });
    settle(p);
    kill(p, SIGUSR1);
    settle(p);
    R(fut(lock, FUTEX_LOCK_PI, 0, 0, 0, 0));
    R(fut(c, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, lock, 0));
    settle(p);
    kill(p, SIGUSR1);
    show_wait(p);
    R(fut(lock, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
}
