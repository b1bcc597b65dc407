// What `xtask stress` runs: workers that fork, execute, make threads, sleep, talk through pipes and futexes, while others stop,
// continue, signal and kill them. Ends after the seconds given, prints what it has done, and fails if a child ends otherwise
// than it was to, or if one is left.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static volatile sig_atomic_t caught;
static void catches(int s) { caught = s; }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;
static void *takes_turns(void *a) {
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&lock);
        turn++;
        pthread_cond_broadcast(&cond);
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 100000;
        if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
        pthread_cond_timedwait(&cond, &lock, &t);
        pthread_mutex_unlock(&lock);
    }
    return a;
}
static void *maps(void *a) {
    for (int i = 0; i < 30; i++) {
        char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) continue;
        memset(p, 1, 65536);
        mprotect(p, 4096, PROT_READ);
        munmap(p, 65536);
    }
    return a;
}

// Each sort of work ends with the status that its name in the switch says.
static int work(int kind, char **argv) {
    int p[2], st;
    switch (kind) {
    case 10: return 10;
    case 11: // An orderly tree.
        for (int i = 0; i < 3; i++) {
            pid_t c = fork();
            if (c == 0) _exit(i);
            while (c > 0 && waitpid(c, &st, 0) < 0 && errno == EINTR) {}
            if (c > 0 && (!WIFEXITED(st) || WEXITSTATUS(st) != i)) return 99;
        }
        return 11;
    case 12: {
        pthread_t t[6];
        int n = 0;
        for (; n < 6; n++)
            if (pthread_create(&t[n], 0, n % 2 ? maps : takes_turns, 0)) break;
        for (int i = 0; i < n; i++) pthread_join(t[i], 0);
        return 12;
    }
    case 13: // Execs itself: argument 1 is the status to end with.
        execl("/proc/self/exe", argv[0], "exit", "13", (char *)0);
        return 98;
    case 14: { // An exec with other threads about.
        pthread_t t;
        for (int i = 0; i < 3; i++) pthread_create(&t, 0, takes_turns, 0);
        execl("/proc/self/exe", argv[0], "exit", "14", (char *)0);
        return 98;
    }
    case 15: { // A pipe between two.
        if (pipe(p)) return 97;
        pid_t c = fork();
        if (c == 0) {
            close(p[0]);
            for (int i = 0; i < 200; i++)
                if (write(p[1], "0123456789abcdef", 16) != 16) _exit(1);
            _exit(0);
        }
        close(p[1]);
        char buf[64];
        long sum = 0, got;
        while ((got = read(p[0], buf, sizeof buf)) > 0 || (got < 0 && errno == EINTR)) sum += got > 0 ? got : 0;
        while (c > 0 && waitpid(c, &st, 0) < 0 && errno == EINTR) {}
        return c < 0 || sum == 3200 ? 15 : 96;
    }
    case 16: { // Timers and signals of its own.
        struct itimerval t = {{0, 500}, {0, 500}};
        signal(SIGALRM, catches);
        setitimer(ITIMER_REAL, &t, 0);
        for (int i = 0; i < 20; i++) usleep(300), raise(SIGUSR1);
        return 16;
    }
    case 17: { // vfork.
        pid_t c = vfork();
        if (c == 0) {
            execl("/proc/self/exe", argv[0], "exit", "5", (char *)0);
            _exit(4);
        }
        while (c > 0 && waitpid(c, &st, 0) < 0 && errno == EINTR) {}
        return c < 0 || (WIFEXITED(st) && WEXITSTATUS(st) == 5) ? 17 : 95;
    }
    default: // Sockets back and forth.
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, p)) return 94;
        for (int i = 0; i < 100; i++) {
            char c = i;
            if (write(p[0], &c, 1) != 1 || read(p[1], &c, 1) != 1 || c != (char)i) return 93;
        }
        return 18;
    }
}

enum { CHILDREN = 12 };
struct child {
    pid_t pid;
    int kind, killed;
};

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "exit")) return atoi(argv[2]);
    if (argc != 3) return 2;
    double end = now() + atof(argv[1]);
    state = strtoull(argv[2], 0, 10) * 2654435761u + 88172645463325252ull;
    struct sigaction sa = {.sa_handler = catches, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &sa, 0);
    sigaction(SIGUSR2, &sa, 0);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1)) return 3;
    struct child children[CHILDREN] = {{0}};
    long ended = 0, killed = 0, wrong = 0;
    int running = 0;
    while (now() < end || running) {
        for (int i = 0; i < CHILDREN; i++) {
            struct child *c = &children[i];
            if (!c->pid && now() < end) {
                c->kind = 10 + next() % 9;
                c->killed = 0;
                c->pid = fork();
                if (c->pid == 0) {
                    state += getpid();
                    _exit(work(c->kind, argv));
                }
                if (c->pid < 0) return 4;
                running++;
            } else if (c->pid) {
                int blow = next() % 16;
                if (now() >= end) blow = 3;
                if (blow == 0 && next() % 4 == 0) kill(c->pid, SIGKILL), c->killed = 1;
                else if (blow == 1) kill(c->pid, SIGSTOP);
                else if (blow < 6) kill(c->pid, SIGCONT);
                else if (blow < 9) kill(c->pid, blow == 6 ? SIGUSR2 : SIGUSR1);
            }
        }
        int st;
        pid_t pid;
        while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
            // Grandchildren whose parent was killed come here as well.
            for (int i = 0; i < CHILDREN; i++) {
                struct child *c = &children[i];
                if (c->pid != pid) continue;
                int fine = WIFEXITED(st) ? WEXITSTATUS(st) == c->kind : c->killed && WTERMSIG(st) == SIGKILL;
                // An exec resets handlers: until then a signal kills what comes after it.
                if (WIFSIGNALED(st) && (WTERMSIG(st) == SIGUSR1 || WTERMSIG(st) == SIGUSR2)) fine = c->kind == 13 || c->kind == 14;
                if (!fine) fprintf(stderr, "work %d ended with status %#x\n", c->kind, st), wrong++;
                killed += c->killed;
                c->pid = 0;
                running--;
                ended++;
            }
        }
        usleep(next() % 500);
    }
    // Nobody may be left; those without a parent end by themselves.
    for (double patience = now() + 5; now() < patience;) {
        int st;
        pid_t pid = waitpid(-1, &st, WNOHANG);
        if (pid < 0 && errno == ECHILD) {
            printf("%ld ended, %ld of them killed, %ld wrongly\n", ended, killed, wrong);
            return wrong ? 1 : 0;
        }
        if (pid == 0) usleep(1000);
    }
    fprintf(stderr, "children are left\n");
    return 5;
}
