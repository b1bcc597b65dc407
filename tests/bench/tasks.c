// Threads and processes: making them, many of them, and computing on more of them than there are CPUs.
#include "measure.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 64

static void *nothing(void *a) { return a; }
static void do_thread(void) {
    pthread_t t;
    must(!pthread_create(&t, 0, nothing, 0), "pthread_create");
    pthread_join(t, 0);
}
static void do_fork(void) {
    pid_t p = fork();
    if (p == 0) _exit(0);
    must(p > 0 && waitpid(p, 0, 0) == p, "fork");
}
static void do_exec(void) {
    pid_t p = vfork();
    if (p == 0) {
        execl(self_path, "ops", "--end", (char *)0);
        _exit(1);
    }
    int status = 0;
    must(p > 0 && waitpid(p, &status, 0) == p && status == 0, "exec");
}

// All alive at once: each waits for the one gate.
static pthread_barrier_t gate;
static void *passer(void *a) {
    pthread_barrier_wait(&gate);
    return a;
}
static void do_many_threads(void) {
    pthread_t t[MANY];
    must(!pthread_barrier_init(&gate, 0, MANY), "barrier");
    for (int i = 0; i < MANY; i++) must(!pthread_create(&t[i], 0, passer, 0), "pthread_create");
    for (int i = 0; i < MANY; i++) pthread_join(t[i], 0);
    pthread_barrier_destroy(&gate);
}
static void do_many_processes(void) {
    int p[2];
    char c;
    must(!pipe(p), "pipe");
    for (int i = 0; i < MANY; i++) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child > 0) continue;
        close(p[1]);
        _exit(read(p[0], &c, 1) == 0 ? 0 : 1);
    }
    close(p[1]);
    for (int i = 0; i < MANY; i++) {
        int status = 1;
        must(wait(&status) > 0 && status == 0, "wait");
    }
    close(p[0]);
}

// A fixed piece of work for each of twice as many threads as there are CPUs; `calls` of its 4000 parts end in a call.
static int calls;
static volatile uint64_t sink;
static void *worker(void *a) {
    uint64_t x = 88172645463325252ull;
    for (int part = 0; part < 4000; part++) {
        for (int i = 0; i < 5000; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        if (calls) syscall(SYS_getppid);
    }
    sink = x;
    return a;
}
static void busy(void) {
    long count = 2 * sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t t[256];
    if (count > 256) count = 256;
    double best = 1e18;
    for (int trial = 0; trial < TRIALS; trial++) {
        int64_t start = nanos();
        for (long i = 0; i < count; i++) must(!pthread_create(&t[i], 0, worker, 0), "pthread_create");
        for (long i = 0; i < count; i++) pthread_join(t[i], 0);
        double took = (double)(nanos() - start);
        if (took < best) best = took;
    }
    print_result(best);
}
static void busy_calls(void) {
    calls = 1;
    busy();
}

static void thread_(void) { measure(do_thread); }
static void fork_(void) { measure(do_fork); }
static void exec_(void) { measure(do_exec); }
static void many_threads(void) { measure(do_many_threads); }
static void many_processes(void) { measure(do_many_processes); }

const struct item TASK_ITEMS[] = {
    {"pthread_create_join", thread_}, {"fork_exit_wait", fork_}, {"vfork_exec_wait", exec_}, {"threads_64", many_threads},
    {"processes_64", many_processes}, {"busy_threads", busy},    {"busy_threads_calls", busy_calls}, {0, 0},
};
