// The operations that `cargo xtask bench` measures, one for each run of the program:
//   ops ITEM             prints "ns N", the nanoseconds of one operation
//   ops run N PROGRAM …  runs a program N times, one after the other; prints the nanoseconds of one run
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

const char *self_path;

static int64_t once(char **words) {
    int64_t start = nanos();
    pid_t p = vfork();
    if (p == 0) {
        execvp(words[0], words);
        _exit(127);
    }
    int status = 0;
    must(p > 0 && waitpid(p, &status, 0) == p, "starting a program");
    if (status != 0) {
        fprintf(stderr, "%s ended with wait status %#x\n", words[0], status);
        exit(1);
    }
    return nanos() - start;
}

static int run(int times, char **words) {
    once(words); // brings its files into memory
    int64_t best = INT64_MAX;
    for (int i = 0; i < times; i++) {
        int64_t took = once(words);
        if (took < best) best = took;
    }
    print_result((double)best);
    return 0;
}

static int find(const struct item *items, const char *name) {
    for (; items->name; items++) {
        if (strcmp(items->name, name)) continue;
        items->run();
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    self_path = argv[0];
    if (argc > 1 && !strcmp(argv[1], "--end")) return 0;
    if (argc > 3 && !strcmp(argv[1], "run")) return run(atoi(argv[2]), argv + 3);
    if (argc != 2) {
        fprintf(stderr, "usage: ops ITEM | ops run N PROGRAM ...\n");
        return 2;
    }
    if (find(FILE_ITEMS, argv[1]) || find(WAIT_ITEMS, argv[1]) || find(TASK_ITEMS, argv[1])) return 0;
    fprintf(stderr, "no item %s\n", argv[1]);
    return 2;
}
