// Single operations as a guest sees them, in nanoseconds each. Prints "NAME NS" lines; an argument selects by name.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t nanos(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static void must(int ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(1);
}

static char block[65536];
static char scratch[64];
static int file, zero, event, poller, duplex[2], there[2], back[2], tcp;
static volatile int word;

static void do_getpid(void) { syscall(SYS_getpid); }
static void do_getppid(void) { syscall(SYS_getppid); }
static void do_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
}
static void do_yield(void) { sched_yield(); }
static void do_sigmask(void) {
    sigset_t s;
    sigemptyset(&s);
    sigprocmask(SIG_BLOCK, &s, 0);
}
static void do_read_zero(void) { must(read(zero, block, 1) == 1, "read"); }
static void do_pread(void) { must(pread(file, block, 4096, 8192) == 4096, "pread"); }
static void do_pread_64k(void) { must(pread(file, block, 65536, 0) == 65536, "pread"); }
static void do_pwrite(void) { must(pwrite(file, block, 4096, 8192) == 4096, "pwrite"); }
static void do_lseek(void) { lseek(file, 0, SEEK_SET); }
static void do_fstat(void) {
    struct stat s;
    must(!fstat(file, &s), "fstat");
}
static void do_stat(void) {
    struct stat s;
    must(!stat(scratch, &s), "stat");
}
static void do_stat_missing(void) {
    struct stat s;
    must(stat("/tmp/no-such-name", &s), "stat");
}
static void do_open_close(void) {
    int fd = open(scratch, O_RDONLY);
    must(fd >= 0, "open");
    close(fd);
}
static void do_create_unlink(void) {
    int fd = open("/tmp/.micro-new", O_CREAT | O_RDWR, 0600);
    must(fd >= 0, "open");
    close(fd);
    unlink("/tmp/.micro-new");
}
static void do_map(void) {
    void *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(p != MAP_FAILED, "mmap");
    munmap(p, 65536);
}
static char *arena;
static void do_touch(void) {
    madvise(arena, 16 << 20, MADV_DONTNEED);
    for (int i = 0; i < 16 << 20; i += 4096) arena[i] = 1;
}
static void do_eventfd(void) {
    uint64_t v = 1;
    must(write(event, &v, 8) == 8 && read(event, &v, 8) == 8, "eventfd");
}
static void do_pipe_self(void) { must(write(there[1], block, 1) == 1 && read(there[0], block, 1) == 1, "pipe"); }
static void do_epoll(void) {
    struct epoll_event e;
    must(epoll_wait(poller, &e, 1, 0) == 1, "epoll_wait");
}
static void do_futex_wake(void) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0); }
static void on_signal(int s) { (void)s; }
static void do_signal(void) { raise(SIGUSR1); }
static void *nothing(void *a) { return a; }
static void do_thread(void) {
    pthread_t t;
    must(!pthread_create(&t, 0, nothing, 0), "pthread_create");
    pthread_join(t, 0);
}
static void do_fork(void) {
    pid_t p = fork();
    if (p == 0) _exit(0);
    must(waitpid(p, 0, 0) == p, "waitpid");
}
static void do_exec(void) {
    pid_t p = vfork();
    if (p == 0) {
        execl("/proc/self/exe", "micro", "--end", (char *)0);
        _exit(1);
    }
    must(waitpid(p, 0, 0) == p, "waitpid");
}
static void round_trip(int out, int in) { must(write(out, block, 1) == 1 && read(in, block, 1) == 1, "round trip"); }
static void do_pipe_threads(void) { round_trip(there[1], back[0]); }
static void do_unix(void) { round_trip(duplex[0], duplex[0]); }
static void do_tcp(void) { round_trip(tcp, tcp); }
static void *echo_pipe(void *a) {
    char c;
    while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1) {}
    return a;
}
static void *echo_socket(void *a) {
    char c;
    int fd = (int)(intptr_t)a;
    while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1) {}
    return 0;
}
static void turn(int mine, int theirs) {
    __atomic_store_n(&word, mine, __ATOMIC_RELEASE);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != theirs && word >= 0)
        syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, mine, 0, 0, 0);
}
static void *futex_partner(void *a) {
    while (word != 1 && word >= 0) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, word, 0, 0, 0);
    while (word >= 0) turn(2, 1);
    return a;
}
static void do_futex(void) { turn(1, 2); }

static const char *only;
static void measure(const char *name, void (*op)(void)) {
    if (only && !strstr(name, only)) return;
    double best = 1e18;
    for (int trial = 0; trial < 3; trial++) {
        long count = 0, chunk = 1;
        int64_t start = nanos(), now;
        do {
            for (long i = 0; i < chunk; i++) op();
            count += chunk;
            now = nanos();
            if (now - start < 2000000) chunk *= 2;
        } while (now - start < 30000000);
        double each = (double)(now - start) / count;
        if (each < best) best = each;
    }
    printf("%s %.1f\n", name, best);
    fflush(stdout);
}

static int tcp_pair(int *peer) {
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    if (bind(l, (void *)&a, n) || listen(l, 1) || getsockname(l, (void *)&a, &n) || connect(c, (void *)&a, n)) return -1;
    *peer = accept(l, 0, 0);
    close(l);
    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(*peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return c;
}

static void prepare(void) {
    snprintf(scratch, sizeof scratch, "/tmp/.micro-%d", getpid());
    file = open(scratch, O_CREAT | O_RDWR | O_TRUNC, 0600);
    must(file >= 0 && write(file, block, sizeof block) == sizeof block, scratch);
    zero = open("/dev/zero", O_RDONLY);
    event = eventfd(0, 0);
    must(!pipe(there) && !pipe(back) && !socketpair(AF_UNIX, SOCK_STREAM, 0, duplex), "pipes");
    arena = mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(arena != MAP_FAILED, "mmap");
    madvise(arena, 16 << 20, MADV_NOHUGEPAGE);
    signal(SIGUSR1, on_signal);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--end")) return 0;
    only = argc > 1 ? argv[1] : 0;
    prepare();
    static const struct { const char *name; void (*op)(void); } alone[] = {
        {"getpid", do_getpid}, {"getppid", do_getppid}, {"clock_gettime", do_clock}, {"sched_yield", do_yield},
        {"sigprocmask", do_sigmask}, {"read_zero", do_read_zero}, {"pread_4k", do_pread}, {"pread_64k", do_pread_64k},
        {"pwrite_4k", do_pwrite}, {"lseek", do_lseek}, {"fstat", do_fstat}, {"stat", do_stat},
        {"stat_missing", do_stat_missing}, {"open_close", do_open_close}, {"create_unlink", do_create_unlink},
        {"map_unmap_64k", do_map}, {"touch_16m", do_touch}, {"eventfd_pair", do_eventfd}, {"pipe_self", do_pipe_self},
        {"futex_wake_none", do_futex_wake}, {"signal_self", do_signal}, {"thread", do_thread}, {"fork_exit", do_fork},
        {"vfork_exec", do_exec},
    };
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) measure(alone[i].name, alone[i].op);
    poller = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    must(!epoll_ctl(poller, EPOLL_CTL_ADD, there[0], &e) && write(there[1], block, 1) == 1, "epoll");
    measure("epoll_ready", do_epoll);
    must(read(there[0], block, 1) == 1, "read");
    pthread_t t;
    pthread_create(&t, 0, echo_pipe, 0);
    measure("pipe_round_trip", do_pipe_threads);
    pthread_create(&t, 0, futex_partner, 0);
    measure("futex_round_trip", do_futex);
    word = -1;
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    pthread_create(&t, 0, echo_socket, (void *)(intptr_t)duplex[1]);
    measure("unix_round_trip", do_unix);
    int peer;
    tcp = tcp_pair(&peer);
    if (tcp >= 0) {
        pthread_create(&t, 0, echo_socket, (void *)(intptr_t)peer);
        measure("tcp_round_trip", do_tcp);
    }
    unlink(scratch);
    return 0;
}
