// What of its memory a process sees to be resident.
#include "case.h"
#include <sys/prctl.h>
#define FAMILY "proc"

static const int AP = MAP_ANONYMOUS | MAP_PRIVATE, RW = PROT_READ | PROT_WRITE;

// Prints what /proc/self/smaps says of the mapping at an address.
static void show_smaps(const char *label, void *at) {
    FILE *f = fopen("/proc/self/smaps", "re");
    if (!f) give_up("smaps", errno);
    char line[512];
    int inside = 0;
    unsigned long from, to;
    say("%s\n", label);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr(line, '-') < line + 17) {
            inside = from <= (unsigned long)at && (unsigned long)at < to;
            continue;
        }
        // Newer kernels have more lines than older ones.
        if (inside && strncmp(line, "Pss_Dirty", 9) && strncmp(line, "KSM", 3)) say("  %s", line);
    }
    fclose(f);
}

CASE(smaps_of_anonymous_memory, "openat read mmap") {
    char *p = anon(8);
    madvise(p, 8 * PAGE, MADV_NOHUGEPAGE);
    show_smaps("untouched", p);
    memset(p, 1, 3 * PAGE);
    show_smaps("three pages", p);
    madvise(p, PAGE, MADV_DONTNEED);
    show_smaps("two pages", p);
    mlock(p, 8 * PAGE);
    show_smaps("locked", p);
    munlock(p, 8 * PAGE);
    IN_CHILD(show_smaps("shared with the parent", p));
}

CASE(smaps_of_kinds, "openat read mmap") {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    MUST(ftruncate(fd, 4 * PAGE));
    char *shared = mmap(0, 4 * PAGE, RW, MAP_SHARED, fd, 0);
    shared[0] = 1;
    show_smaps("shared file", shared);
    char *grows = mmap(0, PAGE, RW, AP | MAP_GROWSDOWN | MAP_NORESERVE, -1, 0);
    show_smaps("grows, not reserved", grows);
    show_smaps("no access", mmap(0, PAGE, PROT_NONE, AP, -1, 0));
    char *advised = anon(1);
    madvise(advised, PAGE, MADV_DONTFORK);
    madvise(advised, PAGE, MADV_DONTDUMP);
    madvise(advised, PAGE, MADV_WIPEONFORK);
    show_smaps("advised", advised);
}

CASE(auxiliary_vector_by_prctl, "prctl") {
    char by_file[1024], by_call[1024];
    int fd = MUST(open("/proc/self/auxv", O_RDONLY));
    long n = read(fd, by_file, sizeof by_file);
    // "AUXV"
    long m = prctl(0x41555856, by_call, sizeof by_call, 0, 0);
    T(m >= n && n > 0 && !memcmp(by_file, by_call, n));
    T(prctl(0x41555856, by_call, 16, 0, 0) == m);
    R(prctl(0x41555856, by_call, 16, 1, 0));
    R(prctl(0x41555856, BAD, 16, 0, 0));
}
