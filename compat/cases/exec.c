// Programs: what exec loads, refuses, keeps and drops.
#include "case.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#define FAMILY "exec"

static void exec_helper(const char *program_name, const char *helper, ...) {
    char *argv[32] = {"cases", "helper", (char *)helper};
    va_list ap;
    va_start(ap, helper);
    int n = 3;
    while (n < 31 && (argv[n] = va_arg(ap, char *))) n++;
    va_end(ap);
    argv[n] = 0;
    execv(program(program_name), argv);
    say("exec: %s\n", err_name(errno));
}

static void copy_program(const char *from, const char *to) {
    int in = MUST(open(from, O_RDONLY)), out = MUST(open(to, O_CREAT | O_TRUNC | O_WRONLY, 0755));
    char buf[65536];
    ssize_t n;
    while ((n = read(in, buf, sizeof buf)) > 0)
        if (write(out, buf, n) != n) give_up("write", errno);
    close(in);
    close(out);
}

static void script(const char *path, const char *text) {
    put(path, text);
    MUST(chmod(path, 0755));
}

CASE(exec_dynamic, "execve") { IN_CHILD(exec_helper("cases", "args", "one", "two words", "", NULL)); }
CASE(exec_static, "execve") { IN_CHILD(exec_helper("cases-static", "args", "one", "two", NULL)); }
CASE(exec_static_pie, "execve") { IN_CHILD(exec_helper("cases-static-pie", "args", "one", NULL)); }

CASE(exec_environment, "execve") {
    char *env[] = {"A=1", "B=two words", "NOEQUALS", NULL}, *argv[] = {"x", "helper", "args", NULL};
    IN_CHILD(execve(program("cases"), argv, env));
    char *none[] = {NULL};
    IN_CHILD(execve(program("cases"), argv, none));
}

CASE(exec_empty_argv, "execve") {
    char *none[] = {NULL};
    script("s", "#!/bin/sh\necho \"$#: $0\"\n");
    IN_CHILD(execve("./s", none, none); say("%s\n", err_name(errno)));
    IN_CHILD(execve(program("cases"), NULL, NULL); say("%s\n", err_name(errno)));
}

CASE(exec_auxv_dynamic, "execve") { IN_CHILD(exec_helper("cases", "auxv", NULL)); }
CASE(exec_auxv_static, "execve") { IN_CHILD(exec_helper("cases-static", "auxv", NULL)); }
CASE(exec_auxv_static_pie, "execve") { IN_CHILD(exec_helper("cases-static-pie", "auxv", NULL)); }

CASE(exec_exit_codes, "execve exit_group wait4") {
    IN_CHILD(exec_helper("cases", "exit", "0", NULL));
    IN_CHILD(exec_helper("cases", "exit", "3", NULL));
    IN_CHILD(exec_helper("cases", "exit", "256", NULL));
    IN_CHILD(exec_helper("cases", "exit", "-1", NULL));
    IN_CHILD(exec_helper("cases", "die", "15", NULL));
    IN_CHILD(exec_helper("cases", "die", "6", NULL));
}

CASE(exec_script, "execve") {
    script("s", "#!/bin/sh\necho \"$0 $# $1 $2\"\n");
    IN_CHILD(execl("./s", "argv0", "a", "b c", NULL));
    script("t", "#! /bin/echo  opt one two  \n");
    IN_CHILD(execl("./t", "argv0", "a", NULL));
    script("u", "#!/bin/echo");
    IN_CHILD(execl("./u", "argv0", "x", NULL));
    script("v", "#!/bin/echo\r\n");
    IN_CHILD(execl("./v", "argv0", NULL); say("%s\n", err_name(errno)));
}

CASE(exec_script_nested, "execve") {
    char cwd[400], text[500];
    MUST(getcwd(cwd, sizeof cwd) ? 0 : -1);
    script("s1", "#!/bin/echo s1\n");
    for (int i = 2; i <= 7; i++) {
        char name[8];
        snprintf(text, sizeof text, "#!%s/s%d arg%d\n", ".", i - 1, i);
        snprintf(name, sizeof name, "s%d", i);
        script(name, text);
    }
    for (int i = 1; i <= 7; i++) {
        char name[8];
        snprintf(name, sizeof name, "./s%d", i);
        IN_CHILD(execl(name, name, "end", NULL); say("%s: %s\n", name, err_name(errno)));
    }
}

CASE(exec_script_self, "execve") {
    script("loop", "#!./loop\n");
    IN_CHILD(execl("./loop", "loop", NULL); say("%s\n", err_name(errno)));
}

CASE(exec_script_bad_interpreter, "execve") {
    const char *text[] = {"#!\n", "#!   \n", "#!/no/such/file\n", "#!/\n", "#!/etc/passwd\n", "#!./plain\n", "#", "#!", ""};
    put("plain", "x");
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        script("s", text[i]);
        IN_CHILD(execl("./s", "s", NULL); say("%zu: %s\n", i, err_name(errno)));
    }
}

CASE(exec_script_long_line, "execve") {
    char text[600] = "#!/bin/echo ";
    memset(text + 12, 'a', 560);
    strcpy(text + 572, "\n");
    script("s", text);
    IN_CHILD(execl("./s", "s", NULL); say("%s\n", err_name(errno)));
    memset(text, '/', 571);
    text[0] = '#';
    text[1] = '!';
    script("t", text);
    IN_CHILD(execl("./t", "t", NULL); say("%s\n", err_name(errno)));
}

CASE(exec_path_errors, "execve") {
    char *argv[] = {"x", NULL}, longpath[5000];
    put("plain", "not a program");
    MUST(mkdir("dir", 0755));
    MUST(symlink("loop", "loop"));
    MUST(mkfifo("fifo", 0755));
    memset(longpath, 'a', 4999);
    longpath[4999] = 0;
    R(execve("nothere", argv, NULL));
    R(execve("", argv, NULL));
    R(execve("plain", argv, NULL));
    R(execve("plain/x", argv, NULL));
    R(execve("dir", argv, NULL));
    R(execve("dir/", argv, NULL));
    R(execve("loop", argv, NULL));
    R(execve("fifo", argv, NULL));
    R(execve(longpath, argv, NULL));
    longpath[300] = 0;
    R(execve(longpath, argv, NULL));
    R(execve(BAD, argv, NULL));
    R(execve("/dev/null", argv, NULL));
    MUST(chmod("plain", 0755));
    R(execve("plain", argv, NULL));
    R(execve("plain", BAD, NULL));
    R(execve("plain", argv, BAD));
    char *bad[] = {BAD, NULL};
    R(execve("plain", bad, NULL));
}

CASE_USER(exec_permissions_as_user, "execve") {
    copy_program("/bin/true", "t");
    char *argv[] = {"t", NULL};
    MUST(chmod("t", 0644));
    R(execve("./t", argv, NULL));
    MUST(chmod("t", 0100));
    IN_CHILD(execve("./t", argv, NULL); say("%s\n", err_name(errno)));
    MUST(chmod("t", 0011));
    R(execve("./t", argv, NULL));
    script("s", "#!/bin/sh\nexit 4\n");
    MUST(chmod("s", 0111));
    IN_CHILD(execve("./s", argv, NULL); say("%s\n", err_name(errno)));
    MUST(mkdir("d", 0755));
    MUST(rename("s", "d/s"));
    MUST(chmod("d", 0600));
    R(execve("d/s", argv, NULL));
    MUST(chmod("d", 0755));
}

CASE(exec_root_needs_one_x_bit, "execve") {
    copy_program("/bin/true", "t");
    char *argv[] = {"t", NULL};
    MUST(chmod("t", 0600));
    R(execve("./t", argv, NULL));
    MUST(chmod("t", 0001));
    IN_CHILD(execve("./t", argv, NULL); say("%s\n", err_name(errno)));
}

CASE(exec_text_busy, "execve open") {
    copy_program("/bin/true", "t");
    int fd = MUST(open("t", O_WRONLY));
    char *argv[] = {"t", NULL};
    R(execve("./t", argv, NULL));
    close(fd);
    IN_CHILD(execve("./t", argv, NULL));
}

CASE(exec_write_to_running_program, "open truncate") {
    copy_program("/bin/sleep", "t");
    int p[2];
    MUST(pipe2(p, O_CLOEXEC));
    pid_t child = FORK(execl("./t", "t", "20", NULL));
    close(p[1]);
    char c;
    R(read(p[0], &c, 1));
    R(open("t", O_WRONLY));
    R(truncate("t", 0));
    R(unlink("t"));
    MUST(kill(child, SIGKILL));
    show_wait(child);
}

static char *repeat(char c, size_t n) {
    char *s = malloc(n + 1);
    memset(s, c, n);
    s[n] = 0;
    return s;
}

CASE(exec_argument_limits, "execve") {
    char *argv[] = {"true", repeat('a', 131071), NULL}, *none[] = {NULL};
    IN_CHILD(execve("/bin/true", argv, none); say("%s\n", err_name(errno)));
    argv[1] = repeat('a', 131072);
    IN_CHILD(execve("/bin/true", argv, none); say("%s\n", err_name(errno)));
    char *env[] = {repeat('e', 131072), NULL};
    argv[1] = NULL;
    IN_CHILD(execve("/bin/true", argv, env); say("%s\n", err_name(errno)));
    char **many = malloc(40 * sizeof *many);
    for (int i = 0; i < 39; i++) many[i] = repeat('m', 100000);
    many[39] = NULL;
    IN_CHILD(execve("/bin/true", many, none); say("%s\n", err_name(errno)));
    many[10] = NULL;
    IN_CHILD(execve("/bin/true", many, none); say("%s\n", err_name(errno)));
}

CASE(exec_argument_limit_follows_stack_rlimit, "execve setrlimit") {
    struct rlimit r = {1 << 20, 1 << 20};
    MUST(setrlimit(RLIMIT_STACK, &r));
    char *many[8] = {0}, *none[] = {NULL};
    for (int i = 0; i < 5; i++) many[i] = repeat('m', 60000);
    IN_CHILD(execve("/bin/true", many, none); say("%s\n", err_name(errno)));
    many[4] = NULL;
    IN_CHILD(execve("/bin/true", many, none); say("%s\n", err_name(errno)));
}

CASE(exec_keeps_and_drops, "execve sigaltstack") {
    on_signal(SIGUSR1, SIG_IGN, 0);
    on_signal(SIGUSR2, (void (*)(int))exit, 0);
    block(SIGUSR2);
    block(SIGRTMIN + 1);
    raise(SIGUSR2);
    stack_t ss = {.ss_sp = anon(4), .ss_size = 4 * PAGE};
    MUST(sigaltstack(&ss, 0));
    umask(027);
    MUST(dup2(1, 10));
    MUST(fcntl(1, F_DUPFD_CLOEXEC, 11));
    exec_helper("cases", "state", NULL);
}

CASE(exec_cloexec, "execve dup3 fcntl") {
    int fd = MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));
    MUST(dup2(fd, 7));
    MUST(dup3(fd, 8, O_CLOEXEC));
    MUST(dup2(fd, 9));
    MUST(fcntl(9, F_SETFD, FD_CLOEXEC));
    close(fd);
    exec_helper("cases", "state", NULL);
}

static void *other_thread(void *a) {
    pause();
    return a;
}

CASE(exec_kills_other_threads, "execve clone") {
    thread(other_thread, 0);
    thread(other_thread, 0);
    exec_helper("cases", "args", "after threads", NULL);
}

static void *execs(void *a) {
    exec_helper("cases", "exit", "7", NULL);
    return a;
}

CASE(exec_from_second_thread, "execve clone") {
    pid_t child = FORK(thread(execs, 0); pause());
    int status;
    T(waitpid(child, &status, 0) == child);
    show_status("child", status);
}

CASE(exec_failed_leaves_threads_alone, "execve") {
    pthread_t t = thread(other_thread, 0);
    char *argv[] = {"x", NULL};
    R(execve("nothere", argv, NULL));
    R(pthread_kill(t, 0));
}

CASE(execveat_descriptor, "execveat") {
    int fd = MUST(open("/bin/echo", O_PATH | O_CLOEXEC)), dir = MUST(open("/bin", O_PATH | O_DIRECTORY));
    char *argv[] = {"echo", "hello", NULL}, *none[] = {NULL};
    IN_CHILD(syscall(SYS_execveat, fd, "", argv, none, AT_EMPTY_PATH); say("%s\n", err_name(errno)));
    IN_CHILD(syscall(SYS_execveat, dir, "echo", argv, none, 0); say("%s\n", err_name(errno)));
    R(syscall(SYS_execveat, fd, "", argv, none, 0));
    R(syscall(SYS_execveat, fd, "", argv, none, 0x10000));
    R(syscall(SYS_execveat, 77, "x", argv, none, 0));
    R(syscall(SYS_execveat, fd, "x", argv, none, 0));
    MUST(symlink("/bin/echo", "link"));
    R(syscall(SYS_execveat, AT_FDCWD, "link", argv, none, AT_SYMLINK_NOFOLLOW));
    IN_CHILD(syscall(SYS_execveat, AT_FDCWD, "link", argv, none, 0));
}

CASE(execveat_check_only, "execveat") {
    int fd = MUST(open("/bin/echo", O_PATH | O_CLOEXEC));
    char *argv[] = {"echo", "not run", NULL}, *none[] = {NULL};
    R(syscall(SYS_execveat, fd, "", argv, none, AT_EMPTY_PATH | 0x10000));
    R(syscall(SYS_execveat, AT_FDCWD, "/bin/echo", argv, none, 0x10000));
    R(syscall(SYS_execveat, AT_FDCWD, "/etc/passwd", argv, none, 0x10000));
    R(syscall(SYS_execveat, AT_FDCWD, "none", argv, none, 0x10000));
    put("text", "no program");
    chmod("text", 0755);
    R(syscall(SYS_execveat, AT_FDCWD, "text", argv, none, 0x10000));
    R(syscall(SYS_execveat, AT_FDCWD, "text", argv, none, 0x20000));
}

CASE(execveat_script_by_descriptor, "execveat") {
    script("s", "#!/bin/sh\necho script $#\n");
    char *argv[] = {"s", "x", NULL}, *none[] = {NULL};
    int open_fd = MUST(open("s", O_RDONLY)), closing = MUST(open("s", O_RDONLY | O_CLOEXEC));
    IN_CHILD(syscall(SYS_execveat, open_fd, "", argv, none, AT_EMPTY_PATH); say("%s\n", err_name(errno)));
    IN_CHILD(syscall(SYS_execveat, closing, "", argv, none, AT_EMPTY_PATH); say("%s\n", err_name(errno)));
}

CASE(exec_memfd, "execveat memfd_create") {
    int fd = memfd_create("prog", 0), in = MUST(open("/bin/echo", O_RDONLY));
    char buf[65536], *argv[] = {"echo", "from memory", NULL}, *none[] = {NULL};
    ssize_t n;
    while ((n = read(in, buf, sizeof buf)) > 0)
        if (write(fd, buf, n) != n) give_up("write", errno);
    IN_CHILD(syscall(SYS_execveat, fd, "", argv, none, AT_EMPTY_PATH); say("%s\n", err_name(errno)));
    close(fd);
}

CASE(exec_comm_name, "execve prctl") {
    char name[20] = {0};
    IN_CHILD(prctl(PR_GET_NAME, name); say("%s\n", name));
    IN_CHILD(execl("/bin/cat", "different", "/proc/self/comm", NULL));
    copy_program("/bin/cat", "a-name-longer-than-15");
    IN_CHILD(execl("./a-name-longer-than-15", "x", "/proc/self/comm", NULL));
}

CASE_USER(exec_setuid_program_as_user, "execve") {
    // The bit is set by a file's owner: uid 1000 again, so nothing is gained, but the rules are run through.
    copy_program(program("cases-static"), "prog");
    MUST(chmod("prog", 04755));
    IN_CHILD(execl("./prog", "x", "helper", "state", NULL); say("%s\n", err_name(errno)));
}

CASE(exec_setuid_program, "execve setresuid") {
    copy_program(program("cases-static"), "prog");
    MUST(chown("prog", 1234, 2345));
    MUST(chmod("prog", 06755));
    IN_CHILD(drop_to(1000, 1000); execl("./prog", "x", "helper", "auxv", NULL); say("%s\n", err_name(errno)));
    IN_CHILD(drop_to(1000, 1000); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
             execl("./prog", "x", "helper", "auxv", NULL); say("%s\n", err_name(errno)));
}

CASE(exec_setuid_script_is_ignored, "execve") {
    script("s", "#!/bin/sh\nid -u\n");
    MUST(chown("s", 1234, 1234));
    MUST(chmod("s", 04755));
    IN_CHILD(drop_to(1000, 1000); execl("./s", "s", NULL));
}

CASE(exec_vfork, "vfork execve") {
    static volatile int shared;
    pid_t p = vfork();
    if (p == 0) {
        shared = 5;
        execl(program("cases"), "x", "helper", "exit", "6", NULL);
        _exit(1);
    }
    say("shared %d\n", shared);
    show_wait(p);
}

HELPER(timers) {
    struct itimerval v;
    getitimer(ITIMER_REAL, &v);
    T(v.it_value.tv_sec > 0);
    say("every %ld\n", (long)v.it_interval.tv_sec);
    getitimer(ITIMER_VIRTUAL, &v);
    T(v.it_value.tv_sec > 0);
    struct itimerspec it;
    R(syscall(SYS_timer_gettime, atoi(argv[0]), &it));
    sigset_t pending;
    sigpending(&pending);
    T(sigismember(&pending, SIGUSR1));
    return 0;
}

CASE(exec_timers_and_alarm, "execve setitimer getitimer timer_create timer_settime") {
    // Interval timers survive exec, POSIX timers don't, nor do the signals that they have sent.
    struct itimerval v = {.it_value = {1000, 0}, .it_interval = {7, 0}};
    MUST(setitimer(ITIMER_REAL, &v, 0)), MUST(setitimer(ITIMER_VIRTUAL, &v, 0));
    int id;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    block(SIGUSR1);
    struct itimerspec it = {.it_value = {0, 1}};
    MUST(syscall(SYS_timer_settime, id, 0, &it, 0));
    sigset_t pending;
    T(UNTIL(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1)));
    it = (struct itimerspec){.it_value = {1000, 0}};
    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    MUST(syscall(SYS_timer_settime, id, 0, &it, 0));
    char number[16];
    snprintf(number, sizeof number, "%d", id);
    // An alarm that is set before exec ends the new program.
    IN_CHILD(execl(program("cases"), "x", "helper", "timers", number, NULL));
    IN_CHILD(struct itimerval soon = {.it_value = {0, 1000}}; setitimer(ITIMER_REAL, &soon, 0);
             execl("/bin/sleep", "sleep", "1000", NULL));
    execl(program("cases"), "x", "helper", "timers", number, NULL);
}
