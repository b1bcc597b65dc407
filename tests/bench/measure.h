// How an operation of the benchmark is timed and printed.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Nanoseconds of one trial, and the number of trials of which the best counts.
#define TRIAL 40000000ll
#define TRIALS 3

static inline int64_t nanos(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline void must(int ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(1);
}

static inline void print_result(double ns) {
    printf("ns %.1f\n", ns);
    fflush(stdout);
}

// Repeats the operation for the time of a trial; prints the best trial's nanoseconds for each.
static inline void measure(void (*op)(void)) {
    double best = 1e18;
    for (int trial = 0; trial < TRIALS; trial++) {
        long count = 0, chunk = 1;
        int64_t start = nanos(), now;
        do {
            for (long i = 0; i < chunk; i++) op();
            count += chunk;
            now = nanos();
            // The clock is asked about every millisecond.
            if (now - start < TRIAL / 40) chunk *= 2;
        } while (now - start < TRIAL);
        double each = (double)(now - start) / count;
        if (each < best) best = each;
    }
    print_result(best);
}

struct item {
    const char *name;
    void (*run)(void);
};
extern const struct item FILE_ITEMS[], WAIT_ITEMS[], TASK_ITEMS[];
// The program's own path, to execute it again.
extern const char *self_path;
