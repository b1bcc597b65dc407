// The multi-call program: lists the cases, runs them each in a child of its own and a fresh directory, and reports
// what they printed, how they ended and what they left behind, in a form that says the length of each part.
#include "case.h"
#include <dirent.h>
#include <sys/prctl.h>
#include <sys/xattr.h>

extern const struct case_def *const __start_case_ptrs[], *const __stop_case_ptrs[];
extern const struct helper_def *const __start_helper_ptrs[], *const __stop_helper_ptrs[];

static char root[PATH_MAX];
static volatile sig_atomic_t timed_out;
static pid_t current;

static const struct case_def *find(const char *name) {
    for (const struct case_def *const *c = __start_case_ptrs; c < __stop_case_ptrs; c++)
        if (!strcmp((*c)->name, name)) return *c;
    return 0;
}

static void fail(const char *what, const char *on) {
    fprintf(stderr, "cases: %s %s: %s\n", what, on, strerror(errno));
    exit(125);
}

// --- what a case leaves behind ------------------------------------------------------------------------------------

static void add(FILE *out, const char *path, const char *shown);

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void add_children(FILE *out, const char *path, const char *shown) {
    DIR *d = opendir(path);
    if (!d) {
        fprintf(out, "  unreadable %s\n", err_name(errno));
        return;
    }
    char **names = 0;
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        names = realloc(names, (n + 1) * sizeof *names);
        names[n++] = strdup(e->d_name);
    }
    closedir(d);
    if (n) qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        char *p = 0, *s = 0;
        if (asprintf(&p, "%s/%s", path, names[i]) < 0 || asprintf(&s, "%s/%s", shown, names[i]) < 0) abort();
        add(out, p, s);
        free(p);
        free(s);
        free(names[i]);
    }
    free(names);
}

static void add_content(FILE *out, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        fprintf(out, " unreadable %s", err_name(errno));
        return;
    }
    uint64_t hash = 14695981039346656037ull;
    unsigned char buf[65536];
    ssize_t n;
    long total = 0;
    while (total < 64 << 20 && (n = read(fd, buf, sizeof buf)) > 0) {
        for (ssize_t i = 0; i < n; i++) hash = (hash ^ buf[i]) * 1099511628211ull;
        if (!total) {
            fprintf(out, " \"");
            for (ssize_t i = 0; i < n && i < 48; i++) {
                if (buf[i] >= 32 && buf[i] < 127) fputc(buf[i], out);
                else fprintf(out, "\\x%02x", buf[i]);
            }
            fputc('"', out);
        }
        total += n;
    }
    close(fd);
    fprintf(out, " hash %016lx", (unsigned long)hash);
}

static void add_xattrs(FILE *out, const char *path) {
    char names[4096], value[1024];
    ssize_t n = llistxattr(path, names, sizeof names);
    char *sorted[64];
    int k = 0;
    for (char *p = names; n > 0 && p < names + n && k < 64; p += strlen(p) + 1)
        if (!strncmp(p, "user.", 5) || !strncmp(p, "trusted.case", 12)) sorted[k++] = p;
    if (k) qsort(sorted, k, sizeof *sorted, by_name);
    for (int i = 0; i < k; i++) {
        ssize_t v = lgetxattr(path, sorted[i], value, sizeof value);
        fprintf(out, " xattr %s=", sorted[i]);
        for (ssize_t j = 0; j < v; j++) fprintf(out, "%02x", (unsigned char)value[j]);
    }
}

static void add(FILE *out, const char *path, const char *shown) {
    struct stat st;
    if (lstat(path, &st)) {
        fprintf(out, "%s ? %s\n", shown, err_name(errno));
        return;
    }
    fprintf(out, "%s %06o %d:%d", shown, st.st_mode, st.st_uid, st.st_gid);
    if (!S_ISDIR(st.st_mode)) fprintf(out, " links %ld", (long)st.st_nlink);
    if (S_ISREG(st.st_mode)) {
        fprintf(out, " size %ld", (long)st.st_size);
        add_content(out, path);
    }
    if (S_ISLNK(st.st_mode)) {
        char target[PATH_MAX];
        ssize_t n = readlink(path, target, sizeof target - 1);
        fprintf(out, " -> %.*s", n < 0 ? 0 : (int)n, target);
    }
    add_xattrs(out, path);
    fputc('\n', out);
    if (S_ISDIR(st.st_mode)) add_children(out, path, shown);
}

static void remove_tree(const char *path) {
    struct stat st;
    if (lstat(path, &st)) return;
    if (!S_ISDIR(st.st_mode)) {
        unlink(path);
        return;
    }
    chmod(path, 0700);
    DIR *d = opendir(path);
    if (d) {
        for (struct dirent *e; (e = readdir(d));) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
            char *p = 0;
            if (asprintf(&p, "%s/%s", path, e->d_name) < 0) abort();
            remove_tree(p);
            free(p);
        }
        closedir(d);
    }
    rmdir(path);
}

// --- running ------------------------------------------------------------------------------------------------------

static void too_late(int sig) {
    (void)sig;
    timed_out = 1;
    if (current > 0) {
        kill(-current, SIGKILL);
        kill(current, SIGKILL);
    }
}

static void in_case(const struct case_def *c, int out, int err, const char *dir) {
    setsid();
    dup2(out, 1);
    dup2(err, 2);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0) dup2(null, 0);
    syscall(SYS_close_range, 3, ~0u, 0);
    for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, 0);
    if (chdir(dir)) _exit(98);
    if (c->user) drop_to(1000, 1000);
    prctl(PR_SET_DUMPABLE, 1);
    c->run();
    _exit(0);
}

static char *slurp(int fd, size_t *len) {
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0) size = 0;
    if (size > 1 << 20) size = 1 << 20;
    char *buf = malloc(size + 1);
    ssize_t n = pread(fd, buf, size, 0);
    *len = n < 0 ? 0 : n;
    return buf;
}

static void reap_leftovers(void) {
    for (int i = 0; i < 200; i++) {
        int st;
        pid_t p = waitpid(-1, &st, WNOHANG);
        if (p < 0) return;
        if (p == 0) {
            if (i == 100) return;
            usleep(500);
        }
    }
}

static void run_case(const struct case_def *c, int timeout) {
    printf("#CASE %s\n", c->name);
    fflush(stdout);
    char dir[PATH_MAX + 80], outp[PATH_MAX + 80], errp[PATH_MAX + 80];
    snprintf(dir, sizeof dir, "%s/d", root);
    snprintf(outp, sizeof outp, "%s/out", root);
    snprintf(errp, sizeof errp, "%s/err", root);
    remove_tree(dir);
    if (mkdir(dir, 0755)) fail("mkdir", dir);
    if (c->user && chown(dir, 1000, 1000)) fail("chown", dir);
    int out = open(outp, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    int err = open(errp, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0 || err < 0) fail("open", outp);
    timed_out = 0;
    current = fork();
    if (current == 0) in_case(c, out, err, dir);
    if (current < 0) fail("fork for", c->name);
    alarm(timeout);
    int status = 0;
    while (waitpid(current, &status, 0) < 0)
        if (errno != EINTR) fail("waitpid for", c->name);
    alarm(0);
    kill(-current, SIGKILL);
    current = 0;
    reap_leftovers();
    size_t outn, errn, mann = 0;
    char *outb = slurp(out, &outn), *errb = slurp(err, &errn), *man = 0;
    close(out);
    close(err);
    FILE *m = open_memstream(&man, &mann);
    add(m, dir, ".");
    fclose(m);
    char how[64];
    if (timed_out) snprintf(how, sizeof how, "timeout");
    else if (WIFEXITED(status)) snprintf(how, sizeof how, "exit:%d", WEXITSTATUS(status));
    else snprintf(how, sizeof how, "signal:%d", WTERMSIG(status));
    printf("#END %s %s %zu %zu %zu\n", c->name, how, outn, errn, mann);
    fwrite(outb, 1, outn, stdout);
    fwrite(errb, 1, errn, stdout);
    fwrite(man, 1, mann, stdout);
    fputc('\n', stdout);
    fflush(stdout);
    free(outb);
    free(errb);
    free(man);
    remove_tree(dir);
}

static void prepare(const char *base) {
    snprintf(root, sizeof root - 1, "%s/case.XXXXXX", base);
    if (!mkdtemp(root)) fail("mkdtemp", root);
    chmod(root, 0755);
    syscall(SYS_close_range, 3, ~0u, 0);
    clearenv();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("LC_ALL", "C", 1);
    umask(022);
    struct rlimit core = {0, 0}, stack = {8 << 20, RLIM_INFINITY}, files = {1024, 4096}, old;
    setrlimit(RLIMIT_CORE, &core);
    if (!getrlimit(RLIMIT_STACK, &old) && old.rlim_max < stack.rlim_max) stack.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_STACK, &stack);
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    struct sigaction sa = {.sa_handler = too_late};
    sigaction(SIGALRM, &sa, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
}

static int usage(void) {
    fprintf(stderr, "usage: cases list | run [-t SECONDS] [-d DIR] NAME… | helper NAME ARGS…\n");
    return 125;
}

int main(int argc, char **argv) {
    if (argc < 2) return usage();
    if (!strcmp(argv[1], "list")) {
        for (const struct case_def *const *c = __start_case_ptrs; c < __stop_case_ptrs; c++)
            printf("%s\t%s\t%d\t%s\n", (*c)->name, (*c)->family, (*c)->user, (*c)->calls);
        return 0;
    }
    if (!strcmp(argv[1], "helper") && argc > 2) {
        for (const struct helper_def *const *h = __start_helper_ptrs; h < __stop_helper_ptrs; h++)
            if (!strcmp((*h)->name, argv[2])) return (*h)->run(argc - 3, argv + 3);
        fprintf(stderr, "cases: no helper %s\n", argv[2]);
        return 125;
    }
    if (strcmp(argv[1], "run")) return usage();
    // A sandbox starts from 0 whatever its caller is at; so do cases on the host, where that is allowed.
    setpriority(PRIO_PROCESS, 0, 0);
    int timeout = 10, i = 2;
    const char *base = "/tmp";
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (!strcmp(argv[i], "-t")) timeout = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "-d")) base = argv[i + 1];
        else return usage();
    }
    for (int j = i; j < argc; j++)
        if (!find(argv[j])) {
            fprintf(stderr, "cases: no case %s\n", argv[j]);
            return 125;
        }
    prepare(base);
    for (; i < argc; i++) run_case(find(argv[i]), timeout);
    remove_tree(root);
    return 0;
}
