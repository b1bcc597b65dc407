// Every attack includes this: it refuses to start outside a sandbox. Run on a host, as root, these programs change the
// machine itself: garbage arguments reach sethostname, fchown, msgget and the like.
#pragma once
#include <stdlib.h>
#include <unistd.h>
static void __attribute__((constructor)) only_inside(void) {
    if (!getenv("RUNSC_HOSTILE_INSIDE")) {
        static const char why[] = "refused: attacks run only by `cargo xtask hostile`, inside a sandbox\n";
        if (write(2, why, sizeof why - 1)) {}
        _exit(77);
    }
}
