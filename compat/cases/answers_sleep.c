// Sleeps on private words that a sandbox may leave to its host, once the call's site has been used for some time: they end,
// are counted and are interrupted as any others, whoever wakes.
#include "hot_futex.h"
#include <stdatomic.h>
#define FAMILY "answers"

// The same, used too seldom to become quick.
FUTEX_SITE(cold_futex)

struct sleeper {
    long (*call)(void *, long, long, long, void *, long);
    int *word;
    long op, time, bits;
    _Atomic pid_t tid;
    long result;
    pthread_t thread;
};

#define SLEEPER(call_, word_, op_, time_, bits_)                                                                      \
    { .call = call_, .word = word_, .op = op_, .time = time_, .bits = bits_ }

static void *go_to_sleep(void *arg) {
    struct sleeper *it = arg;
    it->tid = gettid_();
    it->result = it->call(it->word, it->op, *it->word, it->time, 0, it->bits);
    return 0;
}

// Starts a thread and waits until it sleeps.
static void put_to_sleep(struct sleeper *it) {
    pthread_create(&it->thread, 0, go_to_sleep, it);
    while (!it->tid) sched_yield();
    settle(it->tid);
}

static long result_of(struct sleeper *it) {
    pthread_join(it->thread, 0);
    return it->result;
}

CASE(answers_sleep_woken, "futex") {
    warm_up();
    static int word;
    struct sleeper s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = (struct sleeper)SLEEPER(hot_futex, &word, WAIT, 0, 0);
        put_to_sleep(&s[i]);
    }
    R(hot_futex(&word, WAKE, 1, 0, 0, 0));
    R(cold_futex(&word, WAKE, 1, 0, 0, 0));
    R(cold_futex(&word, WAKE, 1, 0, 0, 0));
    R(hot_futex(&word, WAKE, 1, 0, 0, 0));
    for (int i = 0; i < 3; i++) R(result_of(&s[i]));
}

CASE(answers_sleep_both_kinds, "futex") {
    warm_up();
    static int word;
    struct timespec far = {1000, 0};
    struct sleeper s[5] = {SLEEPER(hot_futex, &word, WAIT, 0, 0),
                           SLEEPER(cold_futex, &word, WAIT, 0, 0),
                           SLEEPER(hot_futex, &word, WAIT, (long)&far, 0),
                           SLEEPER(hot_futex, &word, WAIT, 0, 0),
                           SLEEPER(cold_futex, &word, WAIT_BITS, 0, 1)};
    for (int i = 0; i < 5; i++) put_to_sleep(&s[i]);
    R(hot_futex(&word, WAKE, 4, 0, 0, 0));
    R(hot_futex(&word, WAKE, 9, 0, 0, 0));
    R(hot_futex(&word, WAKE, 9, 0, 0, 0));
    for (int i = 0; i < 5; i++) R(result_of(&s[i]));
}

CASE(answers_sleep_bits, "futex") {
    warm_up();
    static int word;
    struct sleeper s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = (struct sleeper)SLEEPER(hot_futex, &word, WAIT_BITS, 0, 1 << i);
        put_to_sleep(&s[i]);
    }
    R(hot_futex(&word, WAKE_BITS, 9, 0, 0, 8));
    R(hot_futex(&word, WAKE_BITS, 9, 0, 0, 2));
    R(cold_futex(&word, WAKE_BITS, 9, 0, 0, 6));
    R(hot_futex(&word, WAKE, 9, 0, 0, 0));
    for (int i = 0; i < 3; i++) R(result_of(&s[i]));
}

CASE(answers_sleep_until, "futex") {
    warm_up();
    static int word;
    struct timespec past = {1, 0}, bad = {0, 2000000000}, soon;
    R(hot_futex(&word, WAIT_BITS, 0, (long)&past, 0, -1));
    R(hot_futex(&word, WAIT_BITS | FUTEX_CLOCK_REALTIME, 0, (long)&past, 0, -1));
    R(hot_futex(&word, WAIT_BITS, 0, (long)&bad, 0, -1));
    R(hot_futex(&word, WAIT_BITS, 1, (long)&bad, 0, -1));
    R(hot_futex(&word, WAIT_BITS, 1, (long)&past, 0, -1));
    R(hot_futex(&word, WAIT_BITS, 0, (long)BAD, 0, -1));
    R(hot_futex(&word, WAIT_BITS, 0, (long)&past, 0, 0));
    for (int clock = 0; clock < 2; clock++) {
        long flag = clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0;
        clock_gettime(clock, &soon);
        if ((soon.tv_nsec += 50000000) >= 1000000000) soon.tv_sec++, soon.tv_nsec -= 1000000000;
        long began = now_ms();
        R(hot_futex(&word, WAIT_BITS | flag, 0, (long)&soon, 0, -1));
        T(now_ms() - began >= 49);
    }
}

static atomic_int handled;
static void note(int sig) { (void)sig, handled++; }

// Without SA_RESTART the sleep ends; with it, it goes on, and a wake-up finds it.
CASE(answers_sleep_signals, "futex") {
    warm_up();
    static int word;
    on_signal(SIGUSR1, note, 0);
    on_signal(SIGUSR2, note, SA_RESTART);
    struct sleeper s = SLEEPER(hot_futex, &word, WAIT, 0, 0);
    put_to_sleep(&s);
    pthread_kill(s.thread, SIGUSR1);
    R(result_of(&s));
    R(handled);
    struct timespec far;
    clock_gettime(CLOCK_MONOTONIC, &far);
    far.tv_sec += 1000;
    struct sleeper with_time = SLEEPER(hot_futex, &word, WAIT_BITS, (long)&far, -1);
    put_to_sleep(&with_time);
    pthread_kill(with_time.thread, SIGUSR1);
    R(result_of(&with_time));
    struct sleeper again = SLEEPER(hot_futex, &word, WAIT, 0, 0);
    put_to_sleep(&again);
    pthread_kill(again.thread, SIGUSR2);
    UNTIL(handled == 3);
    settle(again.tid);
    R(hot_futex(&word, WAKE, 9, 0, 0, 0));
    R(result_of(&again));
}

// Signals and wake-ups at the same time. The word never changes, so a wake-up that is lost or counted twice shows.
static _Atomic long slept, ended;
static atomic_int over;
static int storm_word;

static void *sleep_often(void *arg) {
    (void)arg;
    while (!over) {
        long r = hot_futex(&storm_word, WAIT, 0, 0, 0, 0);
        if (r == 0) slept++;
        else if (r != -EINTR && r != -EAGAIN) say("a sleep has returned %ld\n", r);
    }
    ended++;
    return 0;
}

CASE(answers_sleep_storm, "futex") {
    warm_up();
    on_signal(SIGUSR1, note, 0);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, sleep_often, 0);
    long woken = 0;
    for (int i = 0; i < 6000; i++) {
        woken += hot_futex(&storm_word, WAKE, 1 + i % 2, 0, 0, 0);
        if (i % 3 == 0) pthread_kill(threads[i % 9 / 3], SIGUSR1);
        if (i % 64 == 0) sched_yield();
    }
    over = 1;
    while (ended < 3) {
        woken += hot_futex(&storm_word, WAKE, 9, 0, 0, 0);
        usleep(100);
    }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
    T(woken == slept);
    T(handled > 0);
}

CASE(answers_sleep_requeued, "futex") {
    warm_up();
    static int words[512];
    struct sleeper s[4];
    for (int i = 0; i < 4; i++) {
        s[i] = (struct sleeper)SLEEPER(i == 1 ? cold_futex : hot_futex, words, WAIT, 0, 0);
        put_to_sleep(&s[i]);
    }
    R(hot_futex(words, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 1, words + 300, 7));
    R(hot_futex(words, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 1, words + 300, 0));
    R(hot_futex(words, FUTEX_REQUEUE | FUTEX_PRIVATE_FLAG, 0, 1, words + 300, 0));
    R(hot_futex(words, WAKE, 9, 0, 0, 0));
    R(hot_futex(words + 300, WAKE, 9, 0, 0, 0));
    for (int i = 0; i < 4; i++) R(result_of(&s[i]));
}

CASE(answers_sleep_wake_op, "futex") {
    warm_up();
    static int words[2];
    struct sleeper s[2] = {SLEEPER(hot_futex, words, WAIT, 0, 0), SLEEPER(hot_futex, words + 1, WAIT, 0, 0)};
    put_to_sleep(&s[0]);
    put_to_sleep(&s[1]);
    // The second word was 0, and becomes 5.
    int op = FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 0);
    R(hot_futex(words, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1, words + 1, op));
    R(words[1]);
    R(result_of(&s[0]));
    R(result_of(&s[1]));
}

// Ends, and has that told at this word, so libc doesn't learn of it.
static void *take_number(void *word) {
    syscall(SYS_set_tid_address, word);
    syscall(SYS_exit, 0);
    return 0;
}

// The end of a thread wakes who waits for its number, but not one that sleeps on the word as a private one.
CASE(answers_sleep_ended_thread, "futex set_tid_address") {
    warm_up();
    static int number = 1;
    struct sleeper s = SLEEPER(hot_futex, &number, WAIT, 0, 0);
    put_to_sleep(&s);
    struct sleeper shared = SLEEPER(hot_futex, &number, FUTEX_WAIT, 0, 0);
    put_to_sleep(&shared);
    pthread_t ending;
    pthread_create(&ending, 0, take_number, &number);
    R(result_of(&shared));
    R(number);
    R(hot_futex(&number, WAKE, 9, 0, 0, 0));
    R(result_of(&s));
}

// A thread that sleeps ends with its process, and at another program's start.
CASE(answers_sleep_ends, "futex exit_group execve") {
    warm_up();
    static int word;
    show_wait(FORK({
        struct sleeper s = SLEEPER(hot_futex, &word, WAIT, 0, 0);
        put_to_sleep(&s);
        _exit(3);
    }));
    show_wait(FORK({
        struct sleeper s = SLEEPER(hot_futex, &word, WAIT, 0, 0);
        put_to_sleep(&s);
        execl("/bin/true", "true", (char *)0);
    }));
    pid_t p = FORK(hot_futex(&word, WAIT, 0, 0, 0, 0));
    settle(p);
    say("state %c\n", proc_state(p));
    kill(p, SIGSTOP);
    UNTIL(proc_state(p) == 'T');
    say("state %c\n", proc_state(p));
    kill(p, SIGCONT);
    settle(p);
    kill(p, SIGTERM);
    show_wait(p);
}

// Threads that sleep for long while others make calls are heard again once they are awake.
#define CROWD 24
static struct {
    int word;
    int pipe[2];
} place[CROWD];

static void *answer_when_woken(void *arg) {
    long me = (long)arg;
    for (int round = 0;; round++) {
        while (*(volatile int *)&place[me].word == round) hot_futex(&place[me].word, WAIT, round, 0, 0, 0);
        if (place[me].word < 0) return 0;
        if (write(place[me].pipe[1], "x", 1) != 1) give_up("write", errno);
    }
}

CASE(answers_sleep_long, "futex lseek") {
    warm_up();
    int fd = MUST(open("/dev/zero", O_RDONLY));
    pthread_t threads[CROWD];
    for (long i = 0; i < CROWD; i++) {
        MUST(pipe(place[i].pipe));
        pthread_create(&threads[i], 0, answer_when_woken, (void *)i);
    }
    long heard = 0;
    for (int i = 0; i < 400; i++) {
        for (int j = 0; j < 150; j++) lseek(fd, 0, SEEK_CUR);
        int at = i * 7 % CROWD;
        char c;
        place[at].word++;
        hot_futex(&place[at].word, WAKE, 1, 0, 0, 0);
        heard += read(place[at].pipe[0], &c, 1);
    }
    R(heard);
    for (int i = 0; i < CROWD; i++) {
        place[i].word = -1;
        hot_futex(&place[i].word, WAKE, 1, 0, 0, 0);
        pthread_join(threads[i], 0);
    }
}

// Waits whose time is over about when they begin, and longer ones after them.
CASE(answers_sleep_briefly, "futex nanosleep poll") {
    warm_up();
    static int word;
    int wrong = 0;
    for (int i = 0; i < 3000; i++) {
        struct timespec brief = {0, i % 40 * 250};
        wrong += hot_futex(&word, WAIT, 0, (long)&brief, 0, 0) != -ETIMEDOUT;
        wrong += nanosleep(&brief, 0) != 0;
        if (i % 100 == 0) wrong += poll(0, 0, 1) != 0;
    }
    R(wrong);
}
