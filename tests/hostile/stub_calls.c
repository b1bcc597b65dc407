// Every call number, made by guest code, by a patched site and by the stub's own code, with registers that would hurt the
// host; numbers of other ABIs and of none.
#include "stub.h"
#include <stdio.h>

static long here(long nr, long a, long b, long c) {
    register long d __asm__("r10") = 0, e __asm__("r8") = 0, f __asm__("r9") = 0;
    __asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c), "r"(d), "r"(e), "r"(f) : "rcx", "r11", "memory");
    return nr;
}

static const long odd[] = {0x0f570001, 0x0f570002, 0x0f570003, 0x0f570004, 0x0f570005, 0x0f570006, 1023, 4095, 0x1fffffff,
                           0x7fffffff, 0x80000000, 0xffffffff, -1, -38, -4096, 1l << 63, 0x100000000, 0x100000009};

static int ends_or_waits(long nr) {
    return nr == SYS_exit || nr == SYS_exit_group || nr == SYS_pause || nr == SYS_rt_sigsuspend || nr == SYS_kill ||
           nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_reboot || nr == SYS_fork || nr == SYS_vfork ||
           nr == SYS_clone || nr == SYS_clone3 || nr == SYS_vhangup;
}

static void plain(long step) {
    struct sigaction sa = {.sa_handler = SIG_IGN};
    sigaction(SIGSYS, &sa, 0);
    for (long nr = step; nr < 600; nr += 8)
        for (long abi = 0; abi <= 0x40000000; abi += 0x40000000) {
            if (ends_or_waits(nr)) continue;
            here(nr | abi, 1, 0, 0);
            // Through the C library's function, which is patched by now.
            syscall(nr | abi, 1, 0, 0, 0, 0, 0);
        }
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) syscall(odd[i], 1, 2, 3, 4, 5, 6);
}

static void old_gate(long step) {
    long nr = step * 9;
    __asm__ volatile("int $0x80" : "+a"(nr) : "b"(1), "c"(0), "d"(0) : "memory");
}

static void vsyscall(long at) {
    long nr = at % 3 * 1024 + 0xffffffffff600000;
    __asm__ volatile("call *%0" : "+r"(nr) : "D"(0), "S"(0) : "rax", "rcx", "r11", "memory");
}

// One number for a while, with a few patterns of arguments; most end the process at the first.
static void from_stub(long nr) {
    struct machine *m = new_machine();
    for (long i = 0; i < 6; i++) {
        long fill = (long[]){0, 1, -1, STUB, CONTEXTS, 0x100000}[i];
        raw(m, nr, fill, i % 2 ? 0x1000 : fill, fill, fill, fill, fill);
    }
    _exit(0);
}

static void number(long at) { from_stub(at < 600 ? at : odd[at - 600]); }

int main(void) {
    in_children(plain, 8, 4000);
    in_children(old_gate, 48, 1000);
    in_children(vsyscall, 3, 1000);
    if (find_stub()) in_children(number, 600 + sizeof odd / sizeof *odd, 200);
    return 0;
}
