// Programs that cases start with exec.
#include "case.h"
#include <sys/auxv.h>

HELPER(args) {
    for (int i = 0; i < argc; i++) say("arg %d: %s\n", i, argv[i]);
    extern char **environ;
    for (char **e = environ; *e; e++) say("env %s\n", *e);
    return 0;
}

HELPER(exit) { return argc ? atoi(argv[0]) : 0; }

HELPER(die) {
    raise(atoi(argv[0]));
    return 1;
}

// What survives exec: mask, dispositions, pending signals, descriptors, ids.
HELPER(state) {
    sigset_t mask, pending;
    sigprocmask(SIG_BLOCK, 0, &mask);
    sigpending(&pending);
    struct sigaction sa;
    int shown[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN + 1};
    for (size_t i = 0; i < 4; i++) {
        sigaction(shown[i], 0, &sa);
        say("%s: %s%s%s\n", sig_name(shown[i]),
            sa.sa_handler == SIG_IGN ? "ignored" : sa.sa_handler == SIG_DFL ? "default" : "handled",
            sigismember(&mask, shown[i]) ? " blocked" : "", sigismember(&pending, shown[i]) ? " pending" : "");
    }
    for (int fd = 0; fd < 20; fd++)
        if (fcntl(fd, F_GETFD) >= 0) say("fd %d open\n", fd);
    say("uid %d %d gid %d %d umask %o\n", getuid(), geteuid(), getgid(), getegid(), umask(0));
    stack_t ss;
    sigaltstack(0, &ss);
    say("altstack %s\n", ss.ss_flags & SS_DISABLE ? "none" : "set");
    say("secure %lu\n", getauxval(AT_SECURE));
    return 0;
}

HELPER(auxv) {
    T(getauxval(AT_PAGESZ) == 4096);
    T(getauxval(AT_PHDR) != 0);
    say("phent %lu\n", getauxval(AT_PHENT));
    T(getauxval(AT_PHNUM) > 2);
    T(getauxval(AT_ENTRY) != 0);
    say("uid %lu euid %lu gid %lu egid %lu secure %lu clktck %lu flags %lu\n", getauxval(AT_UID), getauxval(AT_EUID),
        getauxval(AT_GID), getauxval(AT_EGID), getauxval(AT_SECURE), getauxval(AT_CLKTCK), getauxval(AT_FLAGS));
    T(getauxval(AT_RANDOM) != 0);
    T(getauxval(AT_SYSINFO_EHDR) != 0);
    T(!memcmp((void *)getauxval(AT_SYSINFO_EHDR), "\177ELF", 4));
    say("execfn %s\n", strrchr((char *)getauxval(AT_EXECFN), '/'));
    say("platform %s\n", (char *)getauxval(AT_PLATFORM));
    T(getauxval(AT_HWCAP) != 0);
    T(getauxval(AT_MINSIGSTKSZ) >= 1024);
    T((getauxval(AT_HWCAP2) & ~7ul) == 0);
    (void)argc;
    return 0;
}

HELPER(execme) {
    if (argc < 1) return 90;
    execv(argv[0], argv);
    say("execv: %s\n", err_name(errno));
    return 91;
}
