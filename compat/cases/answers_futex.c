// Futex calls that a sandbox may answer without asking its kernel: wake-ups where nobody sleeps, waits that are over before
// they begin. No wake-up may be lost over that.
#include "hot_futex.h"
#include <stdatomic.h>
#define FAMILY "answers"

CASE(answers_futex_errors, "futex") {
    warm_up();
    static int words[2] = {1, 2};
    R(hot_futex(words, WAKE, 1, 0, 0, 0));
    R(hot_futex(words, WAKE, -1, 0, 0, 0));
    R(hot_futex(words, WAKE_BITS, 1, 0, 0, 1));
    R(hot_futex(words, WAKE_BITS, 1, 0, 0, 0));
    R(hot_futex((char *)words + 1, WAKE, 1, 0, 0, 0));
    R(hot_futex((char *)words + 2, WAIT, 7, 0, 0, 0));
    R(hot_futex((void *)0x1000, WAKE, 1, 0, 0, 0));
    R(hot_futex((void *)-4096, WAKE, 1, 0, 0, 0));
    R(hot_futex((void *)0x1000, WAIT, 0, 0, 0, 0));
    R(hot_futex(words, WAIT, 7, 0, 0, 0));
    R(hot_futex(words, WAIT, 7 | 1l << 32, 0, 0, 0));
    R(hot_futex(words, WAIT_BITS, 7, 0, 0, 1));
    R(hot_futex(words, WAIT_BITS, 7, 0, 0, 0));
    R(hot_futex(words, WAIT | FUTEX_CLOCK_REALTIME, 7, 0, 0, 0));
    R(hot_futex(words, WAIT | 1l << 32, 7, 0, 0, 0));
    struct timespec bad = {.tv_nsec = -1}, good = {.tv_nsec = 1000};
    R(hot_futex(words, WAIT, 7, (long)&bad, 0, 0));
    R(hot_futex(words, WAIT, 7, (long)&good, 0, 0));
    R(hot_futex(words, WAIT, 1, (long)&good, 0, 0));
    R(hot_futex(words, WAIT, 7, 8, 0, 0));
    R(hot_futex(words, 77, 7, 0, 0, 0));
}

static atomic_int turn;
static int rounds;

static void *take_turns(void *arg) {
    int mine = arg != 0;
    for (int i = 0; i < rounds; i++) {
        for (int now; (now = atomic_load(&turn)) % 2 != mine;) hot_futex(&turn, WAIT, now, 0, 0, 0);
        atomic_fetch_add(&turn, 1);
        hot_futex(&turn, WAKE, 1, 0, 0, 0);
    }
    return 0;
}

CASE(answers_futex_turns, "futex") {
    warm_up();
    rounds = 20000;
    pthread_t other;
    pthread_create(&other, 0, take_turns, (void *)1);
    take_turns(0);
    pthread_join(other, 0);
    R(atomic_load(&turn));
}

// A lock that makes a call only where it must, taken by threads that come and go.
static atomic_int lock_word;
static long counter;

static void lock(void) {
    int free = 0;
    if (atomic_compare_exchange_strong(&lock_word, &free, 1)) return;
    while (atomic_exchange(&lock_word, 2)) hot_futex(&lock_word, WAIT, 2, 0, 0, 0);
}
static void unlock(void) {
    // Also where nobody waits, so that wake-ups and sleepers meet often.
    atomic_store(&lock_word, 0);
    hot_futex(&lock_word, WAKE, 1, 0, 0, 0);
}
static void *count_up(void *arg) {
    (void)arg;
    for (int i = 0; i < 2000; i++) lock(), counter++, unlock();
    return 0;
}

CASE(answers_futex_lock, "futex clone3") {
    warm_up();
    for (int round = 0; round < 4; round++) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, count_up, 0);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    }
    R(counter);
}

static void *sleep_there(void *word) {
    hot_futex(word, WAIT, 0, 0, 0, 0);
    return 0;
}

// Sleepers that were moved are woken where they are now, and words that share a place in a table don't share sleepers.
CASE(answers_futex_moved, "futex") {
    warm_up();
    static int words[1024];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, sleep_there, words);
    int moved = 0;
    while (moved < 3) {
        moved += hot_futex(words, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, 3, words + 700, 0);
        sched_yield();
    }
    R(hot_futex(words, WAKE, 9, 0, 0, 0));
    int woken = 0;
    for (int i = 0; i < 1024; i++) woken += i == 700 ? 0 : hot_futex(words + i, WAKE, 9, 0, 0, 0);
    R(woken);
    R(hot_futex(words + 700, WAKE, 2, 0, 0, 0));
    R(hot_futex(words + 700, WAKE, 2, 0, 0, 0));
    R(hot_futex(words + 700, WAKE, 2, 0, 0, 0));
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
}

// After a fork the child has sleepers of its own.
CASE(answers_futex_after_fork, "futex fork clone3") {
    warm_up();
    static int word;
    pthread_t thread;
    pthread_create(&thread, 0, sleep_there, &word);
    IN_CHILD({
        R(hot_futex(&word, WAKE, 9, 0, 0, 0));
        pthread_t inner;
        pthread_create(&inner, 0, sleep_there, &word);
        while (!hot_futex(&word, WAKE, 9, 0, 0, 0)) sched_yield();
        pthread_join(inner, 0);
        say("woken in the child\n");
    });
    while (!hot_futex(&word, WAKE, 9, 0, 0, 0)) sched_yield();
    pthread_join(thread, 0);
}
