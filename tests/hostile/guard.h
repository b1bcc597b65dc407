// Goes on after faults: `if (!sigsetjmp(back, 1)) attack();` behind `guard()`.
#pragma once
#include "inside.h"
#include <setjmp.h>
#include <signal.h>

static sigjmp_buf back;
static char alternate[65536];
static void on_fault(int s) {
    (void)s;
    siglongjmp(back, 1);
}

static void guard(void) {
    stack_t ss = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&ss, 0);
    int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGALRM};
    for (int i = 0; i < 7; i++) {
        struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_NODEFER | SA_ONSTACK};
        sigaction(all[i], &sa, 0);
    }
}
