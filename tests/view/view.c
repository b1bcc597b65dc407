// What a container's files are like: once from inside, once for somebody who enters its mount namespace on the host. Both must
// print the same. `view same DIR`, `view enter PID same DIR FIRST` (the id of
// the container's root); `view enter PID only` checks what is so from outside only.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *dir;
// What users and groups of the container have for root's number, seen from here.
static int first;

// A path below the directory; one at a time may be in use for each of four calls.
static const char *at(const char *name) {
    static char paths[4][5000];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void say(const char *what, long result) {
    if (result < 0) printf("%s: %s\n", what, strerror(errno));
    else printf("%s: %ld\n", what, result);
}

static void show(const char *name) {
    struct stat s;
    if (lstat(at(name), &s) < 0) {
        printf("%s: %s\n", name, strerror(errno));
        return;
    }
    long size = S_ISDIR(s.st_mode) ? 0 : (long)s.st_size;
    printf("%s: mode %o, links %ld, owner %d:%d, size %ld, device %x, changed at %ld.%09ld\n", name, s.st_mode,
           S_ISDIR(s.st_mode) ? 0 : (long)s.st_nlink, s.st_uid - first, s.st_gid - first, size, (int)s.st_rdev,
           s.st_mtim.tv_sec < 1000 ? s.st_mtim.tv_sec : -1, s.st_mtim.tv_sec < 1000 ? s.st_mtim.tv_nsec : 0);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *name) {
    DIR *open = opendir(at(name));
    char *names[3000];
    int count = 0;
    if (!open) {
        say(name, -1);
        return;
    }
    for (struct dirent *entry; (entry = readdir(open)) && count < 3000;) names[count++] = strdup(entry->d_name);
    closedir(open);
    qsort(names, count, sizeof *names, by_name);
    printf("%s holds %d:", name, count);
    for (int i = 0; i < count && i < 12; i++) printf(" %s", names[i]);
    printf("\n");
}

static void content(const char *path) {
    char text[100] = "";
    int fd = open(path, O_RDONLY);
    long got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    say(path, got);
    printf("%s", text);
    if (fd >= 0) close(fd);
}

static void same(void) {
    umask(022);
    say("mkdir", mkdir(at("made"), 0777));
    say("mkdir again", mkdir(at("made"), 0777));
    int fd = open(at("made/file"), O_RDWR | O_CREAT | O_EXCL, 0666);
    say("create", fd < 0 ? -1 : 0);
    say("write", write(fd, "0123456789", 10));
    say("pwrite", pwrite(fd, "AB", 2, 4));
    say("a hole", pwrite(fd, "end", 3, 5000));
    char text[11] = "";
    say("pread", pread(fd, text, 10, 0));
    printf("%s\n", text);
    say("read at the end", pread(fd, text, 10, 5003));
    say("seek", lseek(fd, 0, SEEK_END));
    say("truncate", ftruncate(fd, 7));
    say("fsync", fsync(fd));
    close(fd);
    show("made/file");
    say("exclusively", open(at("made/file"), O_CREAT | O_EXCL | O_RDWR, 0600));
    fd = open(at("made/file"), O_WRONLY | O_APPEND);
    say("append", write(fd, "more", 4));
    say("read what is open for writing", read(fd, text, 1));
    close(fd);
    content(at("made/file"));
    printf("\n");
    fd = open(at("made/file"), O_RDWR | O_TRUNC);
    say("size after O_TRUNC", lseek(fd, 0, SEEK_END));
    close(fd);

    static char big[3 << 20];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7 + i / 4096);
    fd = open(at("big"), O_RDWR | O_CREAT, 0600);
    long done = 0;
    for (long part; done < (long)sizeof big && (part = write(fd, big + done, sizeof big - done)) > 0;) done += part;
    say("write much", done);
    static char back[sizeof big];
    for (done = 0; done < (long)sizeof back;) {
        long part = pread(fd, back + done, sizeof back - done, done);
        if (part <= 0) break;
        done += part;
    }
    printf("read it: %ld, %s\n", done, memcmp(big, back, sizeof big) ? "another" : "the same");
    char *map = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 4096);
    printf("map it: %s\n", map != MAP_FAILED && !memcmp(map, big + 4096, 8192) ? "the same" : "no");
    close(fd);

    say("chmod", chmod(at("made/file"), 06755));
    say("chown", chown(at("made/file"), first + 12, first + 34));
    show("made/file");
    struct timespec times[2] = {{1, 2}, {3, 4}};
    say("times", utimensat(AT_FDCWD, at("made/file"), times, 0));
    show("made/file");
    say("a wrong time", utimensat(AT_FDCWD, at("made/file"), (struct timespec[]){{1, 2000000000}, {0, 0}}, 0));
    say("link", link(at("made/file"), at("second")));
    show("second");
    say("symlink", symlink("made/file", at("link")));
    say("lchown", lchown(at("link"), first + 5, first + 6));
    show("link");
    char target[100] = "";
    say("readlink", readlink(at("link"), target, sizeof target - 1));
    printf("%s\n", target);
    say("through the link", access(at("link"), F_OK));
    say("symlink in a circle", symlink("circle", at("circle")));
    say("in a circle", open(at("circle"), O_RDONLY));
    say("fifo", mkfifo(at("fifo"), 0640));
    show("fifo");
    say("device", mknod(at("null"), S_IFCHR | 0666, makedev(1, 3)));
    show("null");

    say("set an attribute", setxattr(at("second"), "user.word", "value", 5, 0));
    say("once more", setxattr(at("made/file"), "user.word", "other", 5, XATTR_CREATE));
    char value[16] = "";
    say("get it", getxattr(at("made/file"), "user.word", value, sizeof value));
    printf("%s\n", value);
    say("too little room", getxattr(at("made/file"), "user.word", value, 2));
    say("one that isn't", getxattr(at("made/file"), "user.none", value, sizeof value));
    say("list them", listxattr(at("made/file"), value, sizeof value));
    say("remove it", removexattr(at("made/file"), "user.word"));

    say("rename", rename(at("second"), at("made/third")));
    say("rename over it", renameat2(AT_FDCWD, at("link"), AT_FDCWD, at("made/third"), RENAME_NOREPLACE));
    say("exchange", renameat2(AT_FDCWD, at("link"), AT_FDCWD, at("made/third"), RENAME_EXCHANGE));
    show("link");
    say("rename below itself", rename(at("made"), at("made/below")));
    say("rmdir of what is full", rmdir(at("made")));
    say("unlink a directory", unlink(at("made")));
    say("rmdir of a file", rmdir(at("big")));
    say("a file as a directory", open(at("big/x"), O_RDONLY));
    say("write a directory", open(at("made"), O_WRONLY));
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    say("a long name", open(at(name), O_CREAT | O_RDWR, 0600));

    say("mkdir", mkdir(at("many"), 0700));
    for (int i = 0; i < 1000; i++) {
        char each[40];
        snprintf(each, sizeof each, "many/entry-%04d", i);
        close(open(at(each), O_CREAT | O_WRONLY, 0600));
    }
    list("many");
    list("made");
    fd = open(at("unlinked"), O_RDWR | O_CREAT, 0600);
    say("unlink what is open", unlink(at("unlinked")));
    say("write it", write(fd, "x", 1));
    say("read it", pread(fd, text, 1, 0));
    struct stat s;
    printf("its links: %ld\n", fstat(fd, &s) ? -1L : (long)s.st_nlink);
    close(fd);
    struct statfs figures;
    say("statfs", statfs(at("made"), &figures));
    printf("names of %ld bytes\n", (long)figures.f_namelen);

    content("/proc/1/comm");
    content("/proc/1/cmdline");
    content("/volume/of-the-host");
    fd = open("/read-only/new", O_CREAT | O_RDWR, 0600);
    say("make in what is read-only", fd);
    say("write what the first process made", open("/memory/first", O_RDWR | O_TRUNC) < 0 ? -1 : 0);
    content("/memory/first");
}

// What is so only for those who come from outside.
static void only(void) {
    dir = "/memory";
    say("execute", execl("/bin/true", "true", NULL));
    say("a device", open("/dev/null", O_RDWR));
    say("a device of one's own", mknod(at("zero"), S_IFCHR | 0666, makedev(1, 5)) ?: open(at("zero"), O_RDWR));
    say("a socket", mknod(at("socket"), S_IFSOCK | 0666, 0));
    // The host's own FIFO, not the guest's pipe.
    mkfifo(at("outside"), 0600);
    say("a FIFO without a writer", open(at("outside"), O_RDONLY | O_NONBLOCK) < 0 ? -1 : 0);
    say("and its writer", open(at("outside"), O_WRONLY | O_NONBLOCK) < 0 ? -1 : 0);
    content("/proc/self/comm");
    int fd = open(at("left"), O_CREAT | O_RDWR, 0644);
    say("leave a file", write(fd, "left by the host\n", 17));
    fflush(stdout);
    // An ordinary user of the host has an ordinary user's rights here.
    pid_t child = fork();
    if (child == 0) {
        close(open(at("secret"), O_CREAT | O_RDWR, 0600));
        if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)) say("become a user", -1);
        say("another's file", open(at("secret"), O_RDONLY));
        say("another's directory", open("/new", O_CREAT | O_RDWR, 0600));
        exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 20);
    argv++;
    if (argc > 3 && !strcmp(argv[0], "enter")) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s/ns/mnt", argv[1]);
        int fd = open(path, O_RDONLY);
        if (fd < 0 || unshare(CLONE_FS) || setns(fd, CLONE_NEWNS)) {
            perror("enter the mount namespace");
            return 1;
        }
        close(fd);
        argv += 2;
    }
    if (argv[0] && !strcmp(argv[0], "same") && argv[1]) {
        dir = argv[1];
        first = argv[2] ? atoi(argv[2]) : 0;
        same();
        return 0;
    }
    if (argv[0] && !strcmp(argv[0], "only")) {
        only();
        return 0;
    }
    fprintf(stderr, "view [enter PID] same DIR [FIRST] | only\n");
    return 2;
}
