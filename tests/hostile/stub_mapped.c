// Attacks on the mappings by which files are read and written that are used again and again: taken away, replaced, made
// writable by the stub's own calls. Whoever does that may read nonsense; the file, and what others read, stay what they are.
// Ends with status 77, which is a failure, if that isn't so, or if there were no such mappings.
#include "stub.h"
#include <fcntl.h>
#include <stdio.h>

enum { SIZE = 1 << 20, ATTACKS = 7 };
static const uintptr_t OWN = 0x7e7a00000000, LEN = 1l << 30;
static volatile char *seen; // By attack: 1: there was a mapping; 2: a read was not as long as it should be.

static char byte_of(long at) { return (char)(at * 7 + (at >> 9)); }

// Returns whether all that is read is the file's; -1 where a read is too short.
static int reads_well(int fd) {
    char buf[4096];
    int well = 1;
    for (int i = 0; i < 40; i++) {
        long from = i * 7 % 30 * 4096;
        if (pread(fd, buf, sizeof buf, from) != sizeof buf) return -1;
        for (int at = 0; at < 4096; at++) well &= buf[at] == byte_of(from + at);
    }
    return well;
}

static int is_mapped(uintptr_t at) {
    struct sigaction sa = {.sa_handler = stub_fault, .sa_flags = SA_NODEFER}, old;
    sigaction(SIGSEGV, &sa, &old);
    volatile int mapped = 0;
    if (sigsetjmp(stub_back, 1) == 0) {
        (void)*(volatile char *)at;
        mapped = 1;
    }
    sigaction(SIGSEGV, &old, 0);
    return mapped;
}

static void attack(long how) {
    int fd = open("/tmp/mapped", O_RDONLY);
    if (reads_well(fd) != 1) seen[how] |= 2;
    if (is_mapped(OWN)) seen[how] |= 1;
    struct machine *m = new_machine();
    switch (how) {
    case 0: raw(m, SYS_munmap, OWN, 16 * LEN, 0, 0, 0, 0); break;
    case 1: raw(m, SYS_mprotect, OWN, LEN, PROT_NONE, 0, 0, 0); break;
    case 2: raw(m, SYS_mmap, OWN, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); break;
    case 3:
        raw(m, SYS_mprotect, OWN, LEN, PROT_READ | PROT_WRITE, 0, 0, 0);
        if (is_mapped(OWN)) memset((void *)OWN, 'X', 4096);
        break;
    case 4: raw(m, SYS_mremap, OWN, 0x10000, 0x10000, 3, 0x30000000, 0); break;
    case 5: raw(m, SYS_madvise, OWN, LEN, MADV_DONTNEED, 0, 0, 0); break;
    default: // Each read meets the end of the mapping, or its beginning.
        for (int i = 0; i < 50; i++) {
            raw(m, SYS_munmap, OWN, LEN, 0, 0, 0, 0);
            if (reads_well(fd) != 1) seen[how] |= 2;
            close(fd);
            fd = open("/tmp/mapped", O_RDONLY);
        }
    }
    // Nonsense may come of a mapping that was replaced, of one that is gone the file itself.
    int well = reads_well(fd);
    if (well < 0 || (!well && how != 2 && how != 3)) seen[how] |= 2;
    _exit(0);
}

// A mapping that can be written, of one's own file: what is written through the file is in the file.
static void replace(long how) {
    char name[32], buf[4096];
    snprintf(name, sizeof name, "/tmp/own-%ld", how);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    memset(buf, 'a', sizeof buf);
    for (int i = 0; i < 40; i++)
        if (pwrite(fd, buf, sizeof buf, i * 4096) != sizeof buf) _exit(0);
    for (int i = 0; i < 40; i++)
        if (pwrite(fd, buf, sizeof buf, i % 20 * 4096) != sizeof buf) seen[how] |= 2;
    seen[how] |= is_mapped(OWN);
    struct machine *m = new_machine();
    if (how == 0) raw(m, SYS_munmap, OWN, 16 * LEN, 0, 0, 0, 0);
    if (how == 1) raw(m, SYS_mprotect, OWN, LEN, PROT_READ, 0, 0, 0);
    m->done = 1;
    usleep(20000);
    memset(buf, 'b', sizeof buf);
    for (int i = 0; i < 20; i++)
        if (pwrite(fd, buf, sizeof buf, i * 4096) != sizeof buf) seen[how] |= 2;
    int again = open(name, O_RDONLY);
    for (int i = 0; i < 20; i++)
        if (pread(again, buf, sizeof buf, i * 4096) != sizeof buf || buf[0] != 'b' || buf[4095] != 'b') seen[how] |= 2;
    _exit(0);
}

int main(void) {
    if (!find_stub()) return 0;
    seen = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = open("/tmp/mapped", O_RDWR | O_CREAT | O_TRUNC, 0644);
    static char all[SIZE];
    for (long at = 0; at < SIZE; at++) all[at] = byte_of(at);
    if (write(fd, all, SIZE) != SIZE) return 77;
    in_children(attack, ATTACKS, 5000);
    for (int how = 0; how < ATTACKS; how++)
        if (seen[how] != 1) return 77;
    if (reads_well(fd) != 1) return 77;
    memset((void *)seen, 0, 4096);
    in_children(replace, 2, 5000);
    return seen[0] == 1 && seen[1] == 1 ? 0 : 77;
}
