// What every case is written with: registration, printing that holds nothing volatile, small helpers.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct case_def {
    const char *name;   // unique over all families
    const char *family; // group in the report
    const char *calls;  // system calls under test, separated by blanks
    int user;           // runs as uid and gid 1000
    void (*run)(void);
};

#define CASE_DEF(id, calls_, user_)                                                                                   \
    static void case_##id(void);                                                                                      \
    static const struct case_def def_##id = {#id, FAMILY, calls_, user_, case_##id};                                  \
    static const struct case_def *const ptr_##id __attribute__((used, section("case_ptrs"))) = &def_##id;             \
    static void case_##id(void)

// A case that runs with the rights of the caller (root in the sandbox).
#define CASE(id, calls) CASE_DEF(id, calls, 0)
// A case that runs as an ordinary user, uid and gid 1000, without capabilities.
#define CASE_USER(id, calls) CASE_DEF(id, calls, 1)

// A program inside the program: `cases helper NAME args…`, for what exec has to start.
struct helper_def {
    const char *name;
    int (*run)(int argc, char **argv);
};
#define HELPER(id)                                                                                                    \
    static int helper_##id(int argc, char **argv);                                                                    \
    static const struct helper_def hdef_##id = {#id, helper_##id};                                                    \
    static const struct helper_def *const hptr_##id __attribute__((used, section("helper_ptrs"))) = &hdef_##id;       \
    static int helper_##id(int argc __attribute__((unused)), char **argv __attribute__((unused)))

// Prints one formatted piece with a single write, so that output of forked children never mixes or doubles.
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *err_name(int e);
const char *sig_name(int sig);

long show_ret(const char *expr, long value, int err, int hide);
// Evaluates, prints `expression = value` (or -1 and the name of errno), gives the value.
#define R(...) ({ errno = 0; long r_ = (long)(__VA_ARGS__); show_ret(#__VA_ARGS__, r_, errno, 0); })
// The same, but prints `ok` instead of a value that may differ from run to run (descriptor, pid, address).
#define OK(...) ({ errno = 0; long r_ = (long)(__VA_ARGS__); show_ret(#__VA_ARGS__, r_, errno, 1); })
// Evaluates a boolean and prints it.
#define T(...) ({ int t_ = !!(__VA_ARGS__); say("%s: %s\n", #__VA_ARGS__, t_ ? "yes" : "no"); t_; })
// Evaluates a call that only prepares; ends the case with status 99 when it fails.
#define MUST(...) ({ errno = 0; long r_ = (long)(__VA_ARGS__); if (r_ == -1) give_up(#__VA_ARGS__, errno); r_; })
void give_up(const char *expr, int err) __attribute__((noreturn));

// Runs the statements in a forked child and gives its pid.
#define FORK(...) ({ pid_t p_ = fork(); if (p_ == 0) { __VA_ARGS__; _exit(0); } p_; })
// Runs the statements in a forked child, waits, prints how it ended.
#define IN_CHILD(...) show_wait(FORK(__VA_ARGS__))
int show_wait(pid_t pid);
void show_status(const char *label, int status);

// Waits, at most some seconds, until the condition holds.
#define UNTIL(...) ({ int u_ = 0; for (int i_ = 0; i_ < 4000 && !(u_ = !!(__VA_ARGS__)); i_++) usleep(1000); u_; })
// Waits until the thread sleeps (state S), and a little longer.
void settle(pid_t tid);
char proc_state(pid_t tid);
void msleep(int ms);
long now_ms(void);

// Files.
int put(const char *path, const char *text);
void show_file(const char *path);
void show_stat(const char *path);
void show_fd(int fd);
void show_bytes(const char *label, const void *bytes, size_t len);
int make(const char *path, mode_t mode);
// Names in a directory, sorted.
void show_dir(const char *path);

// Memory.
#define PAGE 4096UL
char *anon(size_t pages);
// The last `len` bytes before an unmapped page.
char *edge(size_t len);
// An address where nothing is mapped.
#define BAD ((void *)8)
// A page that may only be read.
char *read_only_page(void);

// Path of a sibling of this program: "cases", "cases-static", "cases-static-pie".
const char *program(const char *name);
void drop_to(uid_t uid, gid_t gid);
int count_fds(void);
void on_signal(int sig, void (*handler)(int), int flags);
sigset_t set_of(int first, ...); // ends with 0
void block(int sig);
pid_t gettid_(void);
pthread_t thread(void *(*fn)(void *), void *arg);
