// Paths: how names are walked, made, renamed and removed.
#include "case.h"
#include <dirent.h>
#include <linux/openat2.h>
#define FAMILY "path"

static long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {flags, mode, resolve};
    long fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    if (fd >= 0) close(fd);
    return fd;
}
static void tree(void) {
    MUST(mkdir("d", 0755) | mkdir("d/e", 0755));
    put("d/f", "in d");
    put("d/e/g", "in e");
    MUST(symlink("d", "ld") | symlink("d/f", "lf") | symlink("nowhere", "dangling") | symlink("..", "d/up"));
}

CASE(path_dots_and_slashes, "openat stat") {
    tree();
    struct stat st;
    const char *paths[] = {"d", "./d", "d/.", "d/..", "d/../d/f", "d//f", "d/./e/../f", "d/f/", "d/f/.", "d/f/..",
                           "d/e/", "d/e//", ".", "..", "", "/", "//", "/..", "d/up/d/f", "ld/f", "ld/", "lf/",
                           "dangling", "dangling/", "d/none", "d/none/x", "d/f/x"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        long r = stat(paths[i], &st), e = errno;
        long l = lstat(paths[i], &st), m = errno;
        say("%s: stat %s lstat %s %o\n", paths[i], r ? err_name(e) : "ok", l ? err_name(m) : "ok",
            l ? 0 : st.st_mode & S_IFMT);
    }
}

CASE(path_lengths, "openat mkdirat") {
    char name[300], path[4200];
    memset(name, 'n', 299);
    name[255] = 0;
    R(mkdir(name, 0755));
    name[255] = 'n';
    name[256] = 0;
    R(mkdir(name, 0755));
    struct stat st;
    strcpy(path, ".");
    while (strlen(path) < 4094) strcat(path, "/.");
    path[4095] = 0;
    say("%zu ", strlen(path));
    R(stat(path, &st));
    strcat(path, "/");
    strcat(path, ".");
    R(stat(path, &st));
    R(stat(BAD, &st));
    char *e = edge(3);
    memcpy(e, "abc", 3);
    R(stat(e, &st));
    memcpy(e, "a/", 3);
    R(stat(e, &st));
}

CASE(path_symlink_loops, "symlinkat openat readlinkat") {
    MUST(symlink("b", "a") | symlink("a", "b"));
    R(open("a", O_RDONLY));
    R(open("a/x", O_RDONLY));
    R(open("a", O_RDONLY | O_NOFOLLOW));
    R(open("a", O_CREAT | O_WRONLY, 0600));
    put("t", "end");
    MUST(symlink("t", "s0"));
    char name[8], target[8];
    for (int i = 1; i <= 41; i++) {
        sprintf(name, "s%d", i);
        sprintf(target, "s%d", i - 1);
        MUST(symlink(target, name));
    }
    OK(open("s39", O_RDONLY));
    OK(open("s40", O_RDONLY));
}

CASE(path_symlink_calls, "symlink symlinkat readlink readlinkat") {
    char buf[32];
    memset(buf, '#', 32);
    R(symlink("target", "l"));
    R(symlink("other", "l"));
    R(symlink("", "m"));
    R(symlink("x", "no/such"));
    R(symlink("x", "trail/"));
    R(readlink("l", buf, 32));
    show_bytes("buf", buf, 8);
    R(readlink("l", buf, 3));
    R(readlink("l", buf, 0));
    R(readlink("l", buf, -1));
    R(readlink("l", BAD, 10));
    R(readlink(".", buf, 10));
    R(readlink("none", buf, 10));
    R(readlink("l/", buf, 10));
    R(readlinkat(AT_FDCWD, "", buf, 10));
    int fd = MUST(open("l", O_PATH | O_NOFOLLOW));
    R(readlinkat(fd, "", buf, 10));
    show_stat("l");
    char big[4097];
    memset(big, 'y', 4096);
    big[4096] = 0;
    R(symlink(big, "big"));
    big[4095] = 0;
    R(symlink(big, "big"));
}

CASE(open_flags, "openat open creat") {
    tree();
    OK(open("new", O_CREAT | O_EXCL | O_RDWR, 0640));
    R(open("new", O_CREAT | O_EXCL | O_RDWR, 0640));
    R(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0640));
    OK(open("dangling", O_CREAT | O_RDWR, 0640));
    R(open("lf", O_NOFOLLOW | O_RDONLY));
    R(open("d", O_WRONLY));
    R(open("d", O_RDWR));
    R(open("d", O_CREAT | O_RDONLY, 0600));
    R(open("d/", O_CREAT | O_RDONLY, 0600));
    R(open("fresh/", O_CREAT | O_WRONLY, 0600));
    R(open("d/f", O_DIRECTORY));
    R(open("d/f/", O_RDONLY));
    R(open("d", O_CREAT | O_DIRECTORY | O_RDONLY, 0600));
    R(open("brandnew", O_CREAT | O_DIRECTORY | O_RDONLY, 0600));
    OK(open("ld", O_DIRECTORY));
    R(open("ld", O_DIRECTORY | O_NOFOLLOW));
    R(open("none", O_RDONLY));
    OK(open("d/f", O_TRUNC | O_WRONLY));
    OK(syscall(SYS_creat, "made", 0755));
    OK(open("d/f", 3));
    OK(openat(AT_FDCWD, "d/f", 0x40000000));
    R(openat(99, "d/f", O_RDONLY));
    R(openat(1, "d/f", O_RDONLY));
    char abs[PATH_MAX];
    getcwd(abs, sizeof abs);
    OK(openat(99, abs, O_RDONLY));
}

CASE(open_mode_and_umask, "openat umask mkdirat mknodat") {
    umask(027);
    close(open("a", O_CREAT | O_WRONLY, 0777));
    close(open("b", O_CREAT | O_WRONLY, 06777));
    close(open("c", O_CREAT | O_WRONLY, 01644));
    R(mkdir("d", 01777));
    R(mkdir("e", 06777));
    R(mknod("p", S_IFIFO | 0666, 0));
    int fd = open("none", O_CREAT | O_RDWR, 0);
    R(write(fd, "still", 5));
    const char *all[] = {"a", "b", "c", "d", "e", "p", "none"};
    for (int i = 0; i < 7; i++) show_stat(all[i]);
    R(umask(0));
    R(umask(07777));
    R(umask(0));
}

CASE(open_path_only, "openat fstat read fchmod fchdir fcntl fchown fchmodat2") {
    tree();
    int fd = MUST(open("d/f", O_PATH)), d = MUST(open("d", O_PATH));
    char b[8];
    struct stat st;
    R(read(fd, b, 8));
    R(write(fd, b, 1));
    R(lseek(fd, 0, SEEK_SET));
    R(fchmod(fd, 0600));
    R(fchown(fd, 0, 0));
    R(ftruncate(fd, 0));
    R(fstat(fd, &st));
    R(ioctl(fd, 0x5401, b));
    R(fchdir(d));
    R(fcntl(fd, F_GETFL) & ~0100000);
    R(fcntl(fd, F_SETFL, O_APPEND));
    OK(dup(fd));
    OK(openat(d, "f", O_RDONLY));
    OK(open("e", O_PATH | O_NOFOLLOW));
    int l = OK(open("up", O_PATH | O_NOFOLLOW));
    R(fstat(l, &st));
    say("%o\n", st.st_mode & S_IFMT);
    char p[64];
    snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
    OK(open(p, O_RDONLY));
    R(flock(fd, 1));
    R(fsync(fd));
    R(syscall(SYS_getdents64, d, b, 8));
}

CASE(open_tmpfile, "openat linkat") {
    int fd = OK(open(".", O_TMPFILE | O_RDWR, 0600));
    write(fd, "temporary", 9);
    struct stat st;
    fstat(fd, &st);
    say("nlink %ld mode %o\n", (long)st.st_nlink, st.st_mode);
    show_dir(".");
    char p[64];
    snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
    R(linkat(AT_FDCWD, p, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    show_dir(".");
    R(open(".", O_TMPFILE | O_RDONLY, 0600));
    fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
    R(linkat(AT_FDCWD, p, AT_FDCWD, "named2", AT_SYMLINK_FOLLOW));
    put("file", "");
    R(open("file", O_TMPFILE | O_RDWR, 0600));
    R(open("none", O_TMPFILE | O_RDWR, 0600));
}

CASE(openat2_resolve, "openat2") {
    tree();
    int d = MUST(open("d", O_PATH));
    OK(openat2_(d, "f", O_RDONLY, 0, 0));
    OK(openat2_(d, "../d/f", O_RDONLY, 0, 0));
    R(openat2_(d, "../d/f", O_RDONLY, 0, RESOLVE_BENEATH));
    R(openat2_(d, "up/d/f", O_RDONLY, 0, RESOLVE_BENEATH));
    R(openat2_(d, "/", O_RDONLY, 0, RESOLVE_BENEATH));
    OK(openat2_(d, "e/../f", O_RDONLY, 0, RESOLVE_BENEATH));
    OK(openat2_(d, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    OK(openat2_(d, "../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    OK(openat2_(d, "up/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    R(openat2_(d, "up/d/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    R(openat2_(AT_FDCWD, "lf", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    R(openat2_(AT_FDCWD, "lf", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS) >= 0);
    R(openat2_(AT_FDCWD, "/proc/self/cwd", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
    R(openat2_(AT_FDCWD, "/proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV));
    OK(openat2_(AT_FDCWD, "d/f", O_RDONLY, 0, RESOLVE_NO_XDEV));
    R(openat2_(AT_FDCWD, "d/f", O_RDONLY, 0, 0x1000));
    R(openat2_(AT_FDCWD, "d/f", O_RDONLY, 0644, 0));
    R(openat2_(AT_FDCWD, "d/f", O_RDONLY | 0x40000000, 0, 0));
    R(openat2_(AT_FDCWD, "d/f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
    R(openat2_(AT_FDCWD, "n", O_CREAT | O_RDWR, 010644, 0));
    struct { struct open_how h; uint64_t more; } big = {{O_RDONLY, 0, 0}, 0};
    OK(syscall(SYS_openat2, AT_FDCWD, "d/f", &big, sizeof big));
    big.more = 1;
    R(syscall(SYS_openat2, AT_FDCWD, "d/f", &big, sizeof big));
    R(syscall(SYS_openat2, AT_FDCWD, "d/f", &big, 8));
    R(syscall(SYS_openat2, AT_FDCWD, "d/f", BAD, 24));
}

CASE(mkdir_rmdir, "mkdir mkdirat rmdir unlinkat") {
    R(mkdir("d", 0750));
    R(mkdir("d", 0750));
    R(mkdir("d/", 0750));
    R(mkdir("n/", 0750));
    R(mkdir("x/y", 0750));
    R(mkdir("", 0750));
    R(mkdir("/", 0750));
    R(mkdir("d/.", 0750));
    R(mkdir("d/..", 0750));
    MUST(symlink("nowhere", "l"));
    R(mkdir("l", 0755));
    put("f", "");
    R(mkdir("f/x", 0755));
    R(rmdir("f"));
    R(rmdir("l"));
    R(rmdir("d/."));
    R(rmdir("d/.."));
    R(rmdir("/"));
    put("d/in", "");
    R(rmdir("d"));
    R(unlink("d"));
    R(unlink("d/in/"));
    R(unlink("d/in"));
    R(rmdir("d/"));
    R(rmdir("d"));
    R(unlinkat(AT_FDCWD, "n", 0));
    R(unlinkat(AT_FDCWD, "n", AT_REMOVEDIR));
    R(unlinkat(AT_FDCWD, "f", 0x1000));
    R(unlink("none"));
    R(unlink("."));
    R(unlink(".."));
    R(unlink("/"));
}

CASE(removed_directory_as_cwd, "getcwd openat mkdirat rmdir chdir") {
    MUST(mkdir("d", 0755) | chdir("d"));
    R(rmdir("../d"));
    char b[PATH_MAX];
    R(syscall(SYS_getcwd, b, sizeof b));
    R(open("x", O_CREAT | O_WRONLY, 0600));
    R(mkdir("y", 0755));
    OK(open(".", O_RDONLY));
    struct stat st;
    R(stat(".", &st));
    say("nlink %ld\n", (long)st.st_nlink);
    R(stat("..", &st));
    R(chdir(".."));
    R(rmdir("d"));
}

CASE(cwd_calls, "chdir fchdir getcwd") {
    tree();
    char b[PATH_MAX], base[PATH_MAX];
    getcwd(base, sizeof base);
    R(chdir("ld/e"));
    getcwd(b, sizeof b);
    say("%s\n", b + strlen(base));
    R(chdir("none"));
    R(chdir("g"));
    R(chdir(""));
    R(chdir(BAD));
    int f = open("g", O_RDONLY), d = open("..", O_RDONLY);
    R(fchdir(f));
    R(fchdir(d));
    R(fchdir(99));
    getcwd(b, sizeof b);
    say("%s\n", b + strlen(base));
    R(syscall(SYS_getcwd, b, 1));
    R(syscall(SYS_getcwd, BAD, 4096));
    R(syscall(SYS_getcwd, b, 0));
    T(syscall(SYS_getcwd, b, sizeof b) == (long)strlen(b) + 1);
}

CASE(hard_links, "link linkat unlink") {
    put("a", "text");
    R(link("a", "b"));
    show_stat("a");
    R(link("a", "b"));
    R(link("none", "c"));
    R(link("a", "none/c"));
    R(link("a", "c/"));
    MUST(mkdir("d", 0755));
    R(link("d", "e"));
    MUST(symlink("a", "s"));
    R(link("s", "t"));
    R(linkat(AT_FDCWD, "s", AT_FDCWD, "u", AT_SYMLINK_FOLLOW));
    R(linkat(AT_FDCWD, "s", AT_FDCWD, "v", 0x4000));
    show_stat("t");
    show_stat("u");
    int fd = open("a", O_RDWR);
    R(unlink("a") | unlink("b") | unlink("u"));
    struct stat st;
    fstat(fd, &st);
    say("nlink %ld\n", (long)st.st_nlink);
    R(write(fd, "more", 4));
    show_fd(fd);
    R(linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH));
}

CASE(rename_files, "rename renameat renameat2") {
    tree();
    put("a", "A");
    put("b", "B");
    R(rename("a", "b"));
    show_file("b");
    R(rename("a", "c"));
    R(rename("b", "d"));
    R(rename("d", "b"));
    R(rename("b", "none/x"));
    R(rename("b", "b"));
    MUST(link("b", "b2"));
    R(rename("b", "b2"));
    show_stat("b");
    R(rename("b", "new/"));
    R(rename("b/", "new"));
    R(rename("d", "d/e/inside"));
    R(rename("d/e", "d"));
    R(rename("d", "d2/"));
    R(rename("d2", "d"));
    R(rename(".", "x"));
    R(rename("d/..", "x"));
    R(rename("d", "d/."));
    MUST(mkdir("empty", 0755));
    R(rename("empty", "d"));
    R(rename("d", "empty"));
    R(rename("lf", "moved-link"));
    R(renameat(99, "x", AT_FDCWD, "y"));
    show_dir(".");
}

CASE(rename_flags, "renameat2") {
    put("a", "A");
    put("b", "B");
    MUST(mkdir("d", 0755));
    put("d/x", "X");
    R(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
    R(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
    R(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
    show_file("b");
    show_file("c");
    R(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE));
    show_stat("b");
    show_stat("d");
    R(renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE));
    R(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE));
    R(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 0x100));
    R(renameat2(AT_FDCWD, "b", AT_FDCWD, "b/x", RENAME_EXCHANGE));
}

CASE(rename_keeps_open_files, "rename") {
    put("a", "old");
    put("b", "new");
    int fd = open("a", O_RDWR), dir;
    R(rename("b", "a"));
    show_fd(fd);
    show_file("a");
    MUST(mkdir("d", 0755));
    dir = open("d", O_RDONLY);
    R(rename("d", "e"));
    OK(openat(dir, "x", O_CREAT | O_RDWR, 0600));
    show_dir("e");
    char p[64], t[PATH_MAX];
    snprintf(p, sizeof p, "/proc/self/fd/%d", dir);
    ssize_t n = readlink(p, t, sizeof t);
    t[n > 0 ? n : 0] = 0;
    say("%s\n", strrchr(t, '/') ? strrchr(t, '/') : t);
}

CASE(unlinked_open_file_name, "unlink readlink") {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    unlink("f");
    char p[64], t[PATH_MAX];
    snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(p, t, sizeof t);
    t[n > 0 ? n : 0] = 0;
    say("%s\n", strrchr(t, '/'));
    write(fd, "kept", 4);
    int again = OK(open(p, O_RDONLY));
    show_fd(again);
}

CASE(getdents_listing, "getdents64 getdents lseek") {
    for (int i = 0; i < 100; i++) {
        char n[16];
        sprintf(n, "f%02d", i);
        put(n, "");
    }
    MUST(mkdir("sub", 0755) | symlink("x", "ln") | mkfifo("pp", 0600));
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    char buf[500];
    long n, total = 0, kinds[16] = {0};
    while ((n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0)
        for (long o = 0; o < n;) {
            struct dirent64 *e = (void *)(buf + o);
            kinds[e->d_type & 15]++;
            total++;
            o += e->d_reclen;
        }
    say("%ld entries: %ld dirs %ld files %ld links %ld fifos, end %ld\n", total, kinds[4], kinds[8], kinds[10], kinds[1], n);
    R(lseek(fd, 0, SEEK_SET));
    T(syscall(SYS_getdents64, fd, buf, sizeof buf) > 0);
    R(syscall(SYS_getdents64, fd, buf, 10));
    R(syscall(SYS_getdents64, fd, BAD, 500));
    R(syscall(SYS_getdents64, 1, buf, 500));
    R(syscall(SYS_getdents64, 99, buf, 500));
    lseek(fd, 0, SEEK_SET);
    T(syscall(SYS_getdents, fd, buf, sizeof buf) > 0);
    MUST(mkdir("gone", 0755));
    fd = open("gone", O_RDONLY);
    rmdir("gone");
    R(syscall(SYS_getdents64, fd, buf, sizeof buf));
}

CASE(getdents_while_changing, "getdents64 unlinkat") {
    for (int i = 0; i < 50; i++) {
        char n[16];
        sprintf(n, "f%02d", i);
        put(n, "");
    }
    DIR *d = opendir(".");
    struct dirent *e;
    int n = 0;
    while ((e = readdir(d)))
        if (e->d_name[0] == 'f') n += unlink(e->d_name) == 0;
    closedir(d);
    R(n);
    show_dir(".");
}

CASE(mknod_kinds, "mknod mknodat") {
    R(mknod("f", S_IFREG | 0640, 0));
    R(mknod("g", 0640, 0));
    R(mknod("p", S_IFIFO | 0640, 0));
    R(mknod("s", S_IFSOCK | 0640, 0));
    R(mknod("d", S_IFDIR | 0640, 0));
    R(mknod("l", S_IFLNK | 0640, 0));
    R(mknod("p", S_IFIFO | 0640, 0));
    R(mknod("x/y", S_IFIFO | 0640, 0));
    R(mknod("t/", S_IFREG | 0640, 0));
    R(mknodat(99, "z", S_IFIFO, 0));
    R(open("s", O_RDWR));
}

CASE(chroot_confines, "chroot chdir") {
    tree();
    IN_CHILD({
        R(chroot("d"));
        R(chdir("/"));
        show_file("/f");
        show_file("/e/g");
        show_file("/../f");
        show_file("up/f");
        char b[64];
        say("%s\n", getcwd(b, 64));
    });
    IN_CHILD({
        R(chroot("d"));
        char b[PATH_MAX];
        long n = syscall(SYS_getcwd, b, sizeof b);
        say("%d %.13s\n", n > 0, b);
    });
    R(chroot("d/f"));
    R(chroot("none"));
}

CASE(name_to_handle, "name_to_handle_at") {
    put("f", "");
    struct { unsigned bytes; int type; char h[128]; } h = {0, 0, {0}};
    int mount;
    long r = syscall(SYS_name_to_handle_at, AT_FDCWD, "f", &h, &mount, 0);
    T(r == -1 && (errno == EOVERFLOW || errno == EOPNOTSUPP));
    R(syscall(SYS_name_to_handle_at, AT_FDCWD, "none", &h, &mount, 0));
    R(syscall(SYS_name_to_handle_at, AT_FDCWD, "f", &h, &mount, 0x8000));
    R(syscall(SYS_name_to_handle_at, AT_FDCWD, BAD, &h, &mount, 0));
    R(syscall(SYS_name_to_handle_at, 77, "f", &h, &mount, 0));
    // What no file system knows.
    int proc = MUST(open("/proc", O_RDONLY));
    r = syscall(SYS_name_to_handle_at, proc, "stat", &h, &mount, 0);
    T(r == -1 && (errno == EOVERFLOW || errno == EOPNOTSUPP));
}

CASE(open_by_handle_errors, "open_by_handle_at") {
    struct { unsigned bytes; int type; char h[128]; } h = {129, 0, {0}};
    R(syscall(SYS_open_by_handle_at, 77, &h, O_RDONLY));
    R(syscall(SYS_open_by_handle_at, AT_FDCWD, BAD, O_RDONLY));
    R(syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY));
    h.bytes = 0;
    R(syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY));
    h.bytes = 8;
    h.type = 77;
    R(syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY));
    IN_CHILD(drop_to(1000, 1000); R(syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY)));
}

CASE(tmpfile_gets_a_first_name_once, "openat linkat") {
    int fd = MUST(open(".", O_TMPFILE | O_WRONLY, 0640));
    R(linkat(fd, "", AT_FDCWD, "a", AT_EMPTY_PATH));
    R(unlink("a"));
    R(linkat(fd, "", AT_FDCWD, "b", AT_EMPTY_PATH));
}

CASE(hard_links_of_others_as_user, "linkat") {
    make("readable", 0644);
    make("open", 0666);
    make("setuid", 06777);
    MUST(mkfifo("fifo", 0666) | chmod("fifo", 0666) | chmod(".", 0777));
    IN_CHILD({
        drop_to(1000, 1000);
        put("mine", "");
        MUST(chmod("mine", 0));
        R(link("readable", "l1"));
        R(link("open", "l2"));
        R(link("setuid", "l3"));
        R(link("fifo", "l4"));
        R(link("mine", "l5"));
        R(link("readable", "mine"));
    });
    MUST(chmod(".", 0755));
    IN_CHILD(drop_to(1000, 1000); R(link("readable", "l6")); R(link("open", "l7")));
}
