// Helpers of the cases; see case.h.
#include "case.h"
#include <dirent.h>
#include <grp.h>

void say(const char *fmt, ...) {
    char buf[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (n > (int)sizeof buf - 1) n = sizeof buf - 1;
    for (int done = 0; done < n;) {
        ssize_t w = write(1, buf + done, n - done);
        if (w <= 0) {
            if (w < 0 && errno == EINTR) continue;
            break;
        }
        done += w;
    }
}

const char *err_name(int e) {
    const char *n = strerrorname_np(e);
    return n ? n : "E?";
}

const char *sig_name(int sig) {
    static char buf[32];
    const char *n = sigabbrev_np(sig);
    if (n) snprintf(buf, sizeof buf, "SIG%s", n);
    else snprintf(buf, sizeof buf, "SIG#%d", sig);
    return buf;
}

long show_ret(const char *expr, long value, int err, int hide) {
    if (value == -1 && err) say("%s = -1 %s\n", expr, err_name(err));
    else if (hide) say("%s = %s\n", expr, value == -1 ? "-1" : "ok");
    else say("%s = %ld\n", expr, value);
    errno = err;
    return value;
}

void give_up(const char *expr, int err) {
    say("MUST %s: %s\n", expr, err_name(err));
    _exit(99);
}

void show_status(const char *label, int status) {
    if (WIFEXITED(status)) say("%s: exit %d\n", label, WEXITSTATUS(status));
    else if (WIFSIGNALED(status)) say("%s: killed by %s\n", label, sig_name(WTERMSIG(status)));
    else if (WIFSTOPPED(status)) say("%s: stopped by %s\n", label, sig_name(WSTOPSIG(status)));
    else if (WIFCONTINUED(status)) say("%s: continued\n", label);
    else say("%s: status %#x\n", label, status);
}

int show_wait(pid_t pid) {
    int status = 0;
    if (pid < 0) {
        say("child: fork failed %s\n", err_name(errno));
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) {
            say("child: wait failed %s\n", err_name(errno));
            return -1;
        }
    show_status("child", status);
    return status;
}

char proc_state(pid_t tid) {
    char path[64], buf[512];
    snprintf(path, sizeof path, "/proc/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return '?';
    ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    if (n <= 0) return '?';
    buf[n] = 0;
    char *p = strrchr(buf, ')');
    return p && p[1] == ' ' ? p[2] : '?';
}

void settle(pid_t tid) {
    for (int i = 0; i < 2000; i++) {
        char s = proc_state(tid);
        if (s == '?') {
            msleep(30);
            break;
        }
        if (s == 'S' || s == 'Z' || s == 'T') break;
        msleep(1);
    }
    msleep(3);
}

void msleep(int ms) {
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int make(const char *path, mode_t mode) {
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    if (fd < 0) give_up(path, errno);
    if (fchmod(fd, mode)) give_up("fchmod", errno);
    close(fd);
    return 0;
}

int put(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) give_up(path, errno);
    size_t len = strlen(text);
    if (write(fd, text, len) != (ssize_t)len) give_up("write", errno);
    close(fd);
    return 0;
}

void show_bytes(const char *label, const void *bytes, size_t len) {
    char out[1024];
    size_t o = 0;
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len && o < sizeof out - 8; i++) {
        if (p[i] >= 32 && p[i] < 127 && p[i] != '\\') out[o++] = p[i];
        else o += snprintf(out + o, 8, "\\x%02x", p[i]);
    }
    out[o] = 0;
    say("%s: \"%s\"\n", label, out);
}

void show_fd(int fd) {
    char buf[256];
    ssize_t n = pread(fd, buf, sizeof buf, 0);
    if (n < 0) say("content: %s\n", err_name(errno));
    else show_bytes("content", buf, n);
}

void show_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        say("%s: %s\n", path, err_name(errno));
        return;
    }
    char buf[256];
    ssize_t n = read(fd, buf, sizeof buf);
    if (n < 0) say("%s: read %s\n", path, err_name(errno));
    else show_bytes(path, buf, n);
    close(fd);
}

static const char *type_name(mode_t m) {
    return S_ISREG(m)    ? "file"
           : S_ISDIR(m)  ? "dir"
           : S_ISLNK(m)  ? "link"
           : S_ISFIFO(m) ? "fifo"
           : S_ISSOCK(m) ? "sock"
           : S_ISCHR(m)  ? "chr"
           : S_ISBLK(m)  ? "blk"
                         : "anon";
}

void show_stat(const char *path) {
    struct stat st;
    if (lstat(path, &st)) {
        say("stat %s: %s\n", path, err_name(errno));
        return;
    }
    say("stat %s: %s mode %04o nlink %ld uid %d gid %d", path, type_name(st.st_mode), st.st_mode & 07777,
        S_ISDIR(st.st_mode) ? 0L : (long)st.st_nlink, st.st_uid, st.st_gid);
    if (S_ISDIR(st.st_mode)) say("\n");
    else say(" size %ld\n", (long)st.st_size);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void show_dir(const char *path) {
    DIR *d = opendir(path);
    if (!d) {
        say("dir %s: %s\n", path, err_name(errno));
        return;
    }
    char *names[256];
    int n = 0;
    struct dirent *e;
    while (n < 256 && (e = readdir(d)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    say("dir %s:", path);
    for (int i = 0; i < n; i++) {
        say(" %s", names[i]);
        free(names[i]);
    }
    say("\n");
}

char *anon(size_t pages) {
    char *p = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) give_up("mmap", errno);
    return p;
}

char *edge(size_t len) {
    size_t pages = (len + PAGE - 1) / PAGE;
    char *p = anon(pages + 1);
    if (munmap(p + pages * PAGE, PAGE)) give_up("munmap", errno);
    return p + pages * PAGE - len;
}

char *read_only_page(void) {
    char *p = anon(1);
    if (mprotect(p, PAGE, PROT_READ)) give_up("mprotect", errno);
    return p;
}

const char *program(const char *name) {
    static char paths[4][PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 32);
    if (n < 0) give_up("readlink /proc/self/exe", errno);
    path[n] = 0;
    strcpy(strrchr(path, '/') + 1, name);
    return path;
}

void drop_to(uid_t uid, gid_t gid) {
    if (setgroups(0, 0) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) give_up("drop_to", errno);
}

int count_fds(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) n++;
    return n;
}

void on_signal(int sig, void (*handler)(int), int flags) {
    struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};
    if (sigaction(sig, &sa, 0)) give_up("sigaction", errno);
}

sigset_t set_of(int first, ...) {
    sigset_t set;
    sigemptyset(&set);
    va_list ap;
    va_start(ap, first);
    for (int s = first; s; s = va_arg(ap, int)) sigaddset(&set, s);
    va_end(ap);
    return set;
}

void block(int sig) {
    sigset_t s = set_of(sig, 0);
    sigprocmask(SIG_BLOCK, &s, 0);
}

pid_t gettid_(void) { return syscall(SYS_gettid); }

pthread_t thread(void *(*fn)(void *), void *arg) {
    pthread_t t;
    int e = pthread_create(&t, 0, fn, arg);
    if (e) give_up("pthread_create", e);
    return t;
}
