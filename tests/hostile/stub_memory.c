// Memory that the guest may only read, made writable by the stub's own calls; the stub's region; descriptors of the sentry.
// Ends with status 77, which is a failure, if something could be written.
#include "stub.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/shm.h>

static char *shared; // Tells the parent that a write got through.

static void on_fault(int s) {
    (void)s;
    _exit(0);
}
static void write_through(char *at) {
    struct machine *m = new_machine();
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    raw(m, SYS_mprotect, (long)at, 4096, PROT_READ | PROT_WRITE, 0, 0, 0);
    *(volatile char *)at = 'X';
    _exit(0);
}
static void file(long how) {
    static const char *const names[] = {"/etc/hostname", "/bin/true", "/tmp/readonly", "/etc/passwd"};
    int fd = open(names[how], O_RDONLY);
    char *at = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) write_through(at);
}
static int id, memory;
static void segment(long how) {
    (void)how;
    char *at = shmat(id, 0, SHM_RDONLY);
    if (at != (void *)-1) write_through(at);
}
static void sealed(long how) {
    (void)how;
    char *at = mmap(0, 4096, PROT_READ, MAP_SHARED, memory, 0);
    if (at != MAP_FAILED) write_through(at);
}
// Maps whatever the sentry has open, for reading, writing and executing.
static void descriptor(long fd) {
    struct machine *m = new_machine();
    for (int shared_map = 1; shared_map <= 2; shared_map++)
        raw(m, SYS_mmap, 0x30000000, 4096, fd % 2 ? PROT_READ | PROT_WRITE : PROT_READ, shared_map | MAP_FIXED, fd / 2, 0);
    _exit(0);
}
static void region(long how) {
    struct machine *m = new_machine();
    uint64_t own = own_context();
    uintptr_t at = (uintptr_t[]){STUB, CONTROL, own, own + 0x10000, CONTEXTS, 0x7e7e00000000}[how % 6];
    switch (how / 6) {
    case 0: raw(m, SYS_munmap, at, 0x1000, 0, 0, 0, 0); break;
    case 1: raw(m, SYS_mprotect, at, 0x1000, 7, 0, 0, 0); break;
    case 2: raw(m, SYS_mremap, at, 0x1000, 0x1000, 3, 0x30000000, 0); break;
    case 3: raw(m, SYS_mremap, 0x30000000, 0x1000, 0x1000, 3, at, 0); break;
    case 4: raw(m, SYS_mmap, at, 0x1000, 7, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
    case 5: raw(m, SYS_madvise, at, 0x1000, MADV_DONTNEED, 0, 0, 0); break;
    case 6: raw(m, SYS_madvise, at, 0x10000, 11, 0, 0, 0); break; // MADV_DOFORK
    case 7: // Out of the copies that a fork makes.
        raw(m, SYS_madvise, at & ~0xfffl, 0x1000, MADV_DONTFORK, 0, 0, 0);
        if (fork() == 0) _exit(0);
        break;
    default: // Both of a wrapped range.
        raw(m, SYS_munmap, 0x10000, -0x20000, 0, 0, 0, 0);
    }
    for (int i = 0; i < 20; i++) syscall(SYS_getppid);
    _exit(0);
}

int main(void) {
    if (!find_stub()) return 0;
    int readonly = open("/tmp/readonly", O_RDWR | O_CREAT, 0644);
    if (write(readonly, "original", 8) != 8) return 77;
    id = shmget(IPC_PRIVATE, 4096, 0600);
    shared = shmat(id, 0, 0);
    memory = memfd_create("sealed", MFD_ALLOW_SEALING);
    if (ftruncate(memory, 4096) || fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE)) return 77;
    in_children(file, 4, 1000);
    in_children(segment, 1, 1000);
    in_children(sealed, 1, 1000);
    char now[8] = "";
    if (pread(readonly, now, 8, 0) != 8 || memcmp(now, "original", 8) || shared[0]) return 77;
    if (pread(memory, now, 8, 0) != 8 || now[0]) return 77;
    in_children(descriptor, 128, 500);
    in_children(region, 54, 500);
    return 0;
}
