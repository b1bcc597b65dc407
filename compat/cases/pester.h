// A thread that is interrupted wherever it is.
#pragma once
#include "case.h"
#include <stdatomic.h>

// Sends so many signals, each once the handler has counted the one before; tells whether all of them were.
static int pester(pthread_t other, int times, atomic_int *handled) {
    int good = 1;
    for (int i = 0; i < times && good; i++) {
        int before = *handled;
        pthread_kill(other, SIGUSR1);
        good = UNTIL(*handled == before + 1);
    }
    return good;
}
