// What files are besides their bytes: modes, owners, times, xattrs, statx, statfs; and who may do what.
#include "case.h"
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <utime.h>
#define FAMILY "meta"

static void times_of(const char *path) {
    struct stat st;
    MUST(lstat(path, &st));
    say("%s: atime %ld.%09ld mtime %ld.%09ld\n", path, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
        st.st_mtim.tv_nsec);
}

CASE(stat_fields, "stat fstat lstat newfstatat") {
    put("f", "12345");
    struct stat a, b;
    R(stat("f", &a));
    say("mode %o nlink %ld size %ld uid %d gid %d\n", a.st_mode, (long)a.st_nlink, (long)a.st_size, a.st_uid, a.st_gid);
    T(a.st_blksize >= 512 && a.st_ino > 0);
    T(labs(a.st_mtim.tv_sec - time(0)) < 5);
    int fd = open("f", O_RDONLY);
    R(fstat(fd, &b));
    T(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    R(fstatat(fd, "", &b, AT_EMPTY_PATH));
    R(fstatat(fd, "", &b, 0));
    R(fstatat(fd, "x", &b, 0));
    R(fstatat(AT_FDCWD, "f", &b, 0x8));
    R(syscall(SYS_stat, "f", BAD));
    R(syscall(SYS_fstat, 99, &b));
    R(fstatat(AT_FDCWD, "", &b, AT_EMPTY_PATH));
    R(stat("/dev/null", &a));
    say("%o %d:%d\n", a.st_mode, major(a.st_rdev), minor(a.st_rdev));
    int p[2];
    MUST(pipe(p));
    R(fstat(p[0], &a));
    say("%o %ld\n", a.st_mode, (long)a.st_size);
}

CASE(statx_call, "statx") {
    put("f", "1234567");
    struct statx x;
    memset(&x, 0xff, sizeof x);
    R(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
    T((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    say("%o %d %ld\n", x.stx_mode, x.stx_nlink, (long)x.stx_size);
    T(!(x.stx_mask & STATX_BTIME) || x.stx_btime.tv_sec > 0);
    R(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x80000000, &x));
    R(syscall(SYS_statx, AT_FDCWD, "f", 0x1, STATX_ALL, &x));
    R(syscall(SYS_statx, AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &x));
    R(syscall(SYS_statx, AT_FDCWD, "none", 0, STATX_ALL, &x));
    R(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_ALL, BAD));
    R(syscall(SYS_statx, AT_FDCWD, BAD, 0, STATX_ALL, &x));
    R(syscall(SYS_statx, open("f", O_PATH), "", AT_EMPTY_PATH, STATX_SIZE, &x));
    R(syscall(SYS_statx, 99, "f", 0, STATX_ALL, &x));
}

CASE(chmod_calls, "chmod fchmod fchmodat fchmodat2") {
    put("f", "");
    MUST(symlink("f", "l") | mkdir("d", 0755));
    R(chmod("f", 07777));
    show_stat("f");
    R(chmod("f", 0170644));
    show_stat("f");
    R(chmod("l", 0600));
    show_stat("l");
    show_stat("f");
    R(chmod("d", 01711));
    show_stat("d");
    R(chmod("none", 0));
    R(fchmod(99, 0));
    R(fchmodat(AT_FDCWD, "f", 0444, 0));
    R(syscall(452, AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
    R(syscall(452, open("f", O_PATH), "", 0640, AT_EMPTY_PATH));
    R(syscall(452, AT_FDCWD, "f", 0600, 0x10));
    show_stat("f");
}

CASE(chown_calls, "chown fchown lchown fchownat") {
    put("f", "");
    MUST(symlink("f", "l"));
    MUST(chmod("f", 06755));
    R(chown("f", 10, 20));
    show_stat("f");
    R(chown("f", -1, 30));
    R(chown("f", 40, -1));
    show_stat("f");
    R(lchown("l", 1, 2));
    show_stat("l");
    R(chown("l", 3, 4));
    show_stat("f");
    R(fchown(open("f", O_RDONLY), 5, 6));
    R(fchownat(AT_FDCWD, "l", 7, 8, AT_SYMLINK_NOFOLLOW));
    R(fchownat(open("f", O_PATH), "", 9, 9, AT_EMPTY_PATH));
    show_stat("f");
    R(fchownat(AT_FDCWD, "f", 0, 0, 0x8));
    R(chown("none", 0, 0));
    MUST(chmod("f", 02745));
    R(chown("f", 0, 0));
    show_stat("f");
}

CASE_USER(chown_chmod_as_user, "chown chmod") {
    put("f", "");
    R(chmod("f", 06777));
    show_stat("f");
    R(chown("f", 1000, 1000));
    show_stat("f");
    R(chown("f", 1001, -1));
    R(chown("f", -1, 1001));
    R(chmod("/", 0777));
    R(chown("/", 1000, 1000));
}

CASE(suid_cleared_on_write, "write chown ftruncate") {
    make("f", 06755);
    MUST(chown("f", 1000, 1000) | chmod("f", 06755) | chmod(".", 0777));
    IN_CHILD(drop_to(1000, 1000); int fd = open("f", O_WRONLY); write(fd, "x", 1); show_stat("f"));
    MUST(chmod("f", 06755));
    IN_CHILD(drop_to(1000, 1000); R(truncate("f", 0)); show_stat("f"));
    MUST(chmod("f", 06755));
    int fd = open("f", O_WRONLY);
    write(fd, "x", 1);
    show_stat("f");
}

CASE(setgid_directory, "mkdirat openat chmod") {
    MUST(mkdir("d", 0755) | chown("d", 0, 777) | chmod("d", 02777));
    put("d/f", "");
    MUST(mkdir("d/s", 0755));
    show_stat("d/f");
    show_stat("d/s");
    IN_CHILD(drop_to(1000, 1000); int fd = open("d/u", O_CREAT | O_RDWR, 02775); close(fd); show_stat("d/u");
             R(chmod("d/u", 02775)); show_stat("d/u"));
}

CASE(utimens_calls, "utimensat futimesat utimes utime") {
    put("f", "");
    MUST(symlink("f", "l"));
    struct timespec t[2] = {{1000, 5}, {2000, 999999999}};
    R(utimensat(AT_FDCWD, "f", t, 0));
    times_of("f");
    t[0] = (struct timespec){77, UTIME_OMIT};
    t[1] = (struct timespec){3000, 7};
    R(utimensat(AT_FDCWD, "f", t, 0));
    times_of("f");
    t[0].tv_nsec = 1000000000;
    R(utimensat(AT_FDCWD, "f", t, 0));
    t[0] = t[1] = (struct timespec){0, UTIME_OMIT};
    R(utimensat(AT_FDCWD, "none", t, 0));
    t[0] = t[1] = (struct timespec){0, UTIME_NOW};
    R(utimensat(AT_FDCWD, "f", t, 0));
    struct stat st;
    stat("f", &st);
    T(labs(st.st_mtim.tv_sec - time(0)) < 5);
    t[0] = t[1] = (struct timespec){-100, 3};
    R(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
    times_of("l");
    R(futimens(open("f", O_RDONLY), t));
    times_of("f");
    R(utimensat(AT_FDCWD, "f", t, 0x2));
    R(utimensat(AT_FDCWD, "f", BAD, 0));
    R(syscall(SYS_utimensat, 99, 0, t, 0));
    struct timeval v[2] = {{5, 6}, {7, 1000000}};
    R(utimes("f", v));
    v[1].tv_usec = 8;
    R(utimes("f", v));
    times_of("f");
    struct utimbuf u = {11, 12};
    R(utime("f", &u));
    times_of("f");
    R(syscall(SYS_futimesat, AT_FDCWD, "f", v));
    times_of("f");
}

CASE_USER(utimens_as_user, "utimensat") {
    put("f", "");
    struct timespec t[2] = {{1000, 5}, {2000, 6}};
    R(utimensat(AT_FDCWD, "f", t, 0));
    R(utimensat(AT_FDCWD, "/", t, 0));
    R(utimensat(AT_FDCWD, "/", 0, 0));
}

CASE(times_change_when_they_should, "read write rename chmod") {
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    struct stat st;
    put("f", "abc");
#define RESET MUST(utimensat(AT_FDCWD, "f", old, 0))
#define SHOW(what) stat("f", &st); say(what ": mtime %s ctime recent %d\n", st.st_mtime == 1000 ? "kept" : "set", st.st_ctime > 1000)
    RESET;
    chmod("f", 0600);
    SHOW("chmod");
    RESET;
    int fd = open("f", O_RDWR);
    SHOW("open");
    write(fd, "x", 1);
    SHOW("write");
    RESET;
    write(fd, "", 0);
    SHOW("write nothing");
    RESET;
    ftruncate(fd, 3);
    SHOW("ftruncate same size");
    RESET;
    truncate("f", 3);
    SHOW("truncate same size");
    RESET;
    close(open("f", O_TRUNC | O_WRONLY));
    SHOW("O_TRUNC");
    RESET;
    rename("f", "g");
    rename("g", "f");
    SHOW("rename");
    MUST(mkdir("d", 0755));
    MUST(utimensat(AT_FDCWD, "d", old, 0));
    put("d/x", "");
    stat("d", &st);
    say("create in directory: %s\n", st.st_mtime == 1000 ? "kept" : "set");
}

CASE(access_as_root, "access faccessat faccessat2") {
    make("f", 0000);
    make("x", 0001);
    R(access("f", F_OK));
    R(access("f", R_OK | W_OK));
    R(access("f", X_OK));
    R(access("x", X_OK));
    R(access("none", F_OK));
    R(access("f", 8));
    R(faccessat(AT_FDCWD, "f", F_OK, 0));
    R(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
    R(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, 0x1));
    R(syscall(SYS_faccessat2, open("f", O_PATH), "", R_OK, AT_EMPTY_PATH));
    R(access(BAD, F_OK));
}

CASE(access_uses_real_ids, "access faccessat2 setresuid") {
    make("f", 0600);
    MUST(setresuid(1000, -1, -1));
    R(access("f", R_OK));
    R(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
    MUST(setresuid(0, 1000, 0));
    R(access("f", R_OK));
    R(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
}

CASE(permission_bits_as_user, "openat") {
    int owners[3][2] = {{1000, 5}, {5, 1000}, {5, 5}};
    int modes[] = {0400, 0200, 0040, 0020, 0004, 0002, 0777, 0070, 0007};
    for (int o = 0; o < 3; o++)
        for (int m = 0; m < 9; m++) {
            char n[16];
            sprintf(n, "f%d-%o", o, modes[m]);
            make(n, modes[m]);
            MUST(chown(n, owners[o][0], owners[o][1]));
        }
    IN_CHILD({
        drop_to(1000, 1000);
        for (int o = 0; o < 3; o++)
            for (int m = 0; m < 9; m++) {
                char n[16];
                sprintf(n, "f%d-%o", o, modes[m]);
                int r = open(n, O_RDONLY), w = open(n, O_WRONLY), b = open(n, O_RDWR);
                say("%s:%s%s%s\n", n, r >= 0 ? " r" : "", w >= 0 ? " w" : "", b >= 0 ? " rw" : "");
            }
    });
}

CASE(directory_permissions_as_user, "openat mkdirat unlinkat renameat getdents64") {
    int modes[] = {0700, 0600, 0500, 0400, 0300, 0100};
    for (int m = 0; m < 6; m++) {
        char n[16], f[32];
        sprintf(n, "d%o", modes[m]);
        MUST(mkdir(n, 0755));
        sprintf(f, "%s/f", n);
        put(f, "x");
        MUST(chown(f, 1000, 1000) | chown(n, 1000, 1000) | chmod(n, modes[m]));
    }
    IN_CHILD({
        drop_to(1000, 1000);
        for (int m = 0; m < 6; m++) {
            char n[16], f[32], g[32];
            sprintf(n, "d%o", modes[m]);
            sprintf(f, "%s/f", n);
            sprintf(g, "%s/g", n);
            struct stat st;
            say("%s: list %s", n, open(n, O_RDONLY) < 0 ? err_name(errno) : "ok");
            say(" stat %s", stat(f, &st) ? err_name(errno) : "ok");
            say(" create %s", open(g, O_CREAT | O_WRONLY, 0600) < 0 ? err_name(errno) : "ok");
            say(" rename %s", rename(f, g) ? err_name(errno) : "ok");
            say(" unlink %s", unlink(g) ? err_name(errno) : "ok");
            say(" chdir %s\n", chdir(n) ? err_name(errno) : "ok");
            chdir("..");
        }
    });
}

CASE(sticky_directory, "unlinkat renameat rmdir") {
    MUST(mkdir("t", 0755) | chmod("t", 01777));
    put("t/root", "");
    put("t/mine", "");
    MUST(chown("t/mine", 1000, 1000) | chmod("t/root", 0666) | mkdir("t/dir", 0777));
    IN_CHILD({
        drop_to(1000, 1000);
        R(unlink("t/root"));
        R(rename("t/root", "t/x"));
        R(rename("t/mine", "t/root"));
        R(rmdir("t/dir"));
        R(rename("t/mine", "t/mine2"));
        R(unlink("t/mine2"));
    });
}

CASE_USER(capability_free_root_paths, "openat unlinkat mkdirat") {
    R(open("/etc/shadow", O_RDONLY));
    R(open("/etc/passwd", O_WRONLY));
    R(mkdir("/newdir", 0755));
    R(unlink("/etc/passwd"));
    R(rename("/etc/passwd", "/etc/x"));
    R(open("/root/x", O_CREAT | O_WRONLY, 0600));
    OK(open("/etc/passwd", O_RDONLY));
}

CASE_USER(noatime_needs_owner, "openat fcntl") {
    put("f", "");
    OK(open("f", O_RDONLY | O_NOATIME));
    R(open("/etc/passwd", O_RDONLY | O_NOATIME));
    R(fcntl(open("/etc/passwd", O_RDONLY), F_SETFL, O_NOATIME));
}

CASE(xattr_user, "setxattr getxattr listxattr removexattr") {
    put("f", "");
    char b[64];
    R(setxattr("f", "user.a", "one", 3, 0));
    R(setxattr("f", "user.b", "", 0, XATTR_CREATE));
    R(setxattr("f", "user.a", "two!", 4, XATTR_CREATE));
    R(setxattr("f", "user.c", "x", 1, XATTR_REPLACE));
    R(setxattr("f", "user.a", "two!", 4, XATTR_REPLACE));
    R(getxattr("f", "user.a", b, 64));
    show_bytes("a", b, 4);
    R(getxattr("f", "user.a", b, 0));
    R(getxattr("f", "user.a", b, 2));
    R(getxattr("f", "user.none", b, 2));
    R(listxattr("f", b, 0));
    R(listxattr("f", b, 3));
    R(listxattr("f", b, 64));
    R(removexattr("f", "user.b"));
    R(removexattr("f", "user.b"));
    R(listxattr("f", b, 64));
    R(setxattr("f", "nospace.a", "x", 1, 0));
    R(setxattr("f", "user.", "x", 1, 0));
    R(setxattr("f", "", "x", 1, 0));
    R(setxattr("f", "user.x", "x", 1, 9));
    char name[300] = "user.";
    memset(name + 5, 'n', 280);
    R(setxattr("f", name, "x", 1, 0));
    R(setxattr("f", "user.big", b, 70000, 0));
    R(setxattr("f", BAD, b, 1, 0));
    R(setxattr("f", "user.bad", BAD, 1, 0));
    R(getxattr("f", "user.a", BAD, 10));
}

CASE(xattr_variants, "lsetxattr lgetxattr llistxattr lremovexattr fsetxattr fgetxattr flistxattr fremovexattr") {
    put("f", "");
    MUST(symlink("f", "l") | mkdir("d", 0755));
    char b[32];
    R(lsetxattr("l", "user.a", "x", 1, 0));
    R(setxattr("l", "user.a", "x", 1, 0));
    R(lgetxattr("l", "user.a", b, 32));
    R(lgetxattr("f", "user.a", b, 32));
    R(setxattr("d", "user.d", "dir", 3, 0));
    int fd = open("f", O_RDONLY), path = open("f", O_PATH);
    R(fsetxattr(fd, "user.b", "yy", 2, 0));
    R(fgetxattr(fd, "user.b", b, 32));
    R(flistxattr(fd, b, 32));
    R(llistxattr("l", b, 32));
    R(fremovexattr(fd, "user.b"));
    R(lremovexattr("l", "user.a"));
    R(fgetxattr(path, "user.a", b, 32));
    R(fgetxattr(99, "user.a", b, 32));
    MUST(mkfifo("p", 0600));
    R(setxattr("p", "user.a", "x", 1, 0));
    IN_CHILD(drop_to(1000, 1000); R(setxattr("f", "user.z", "x", 1, 0)); R(getxattr("f", "user.a", b, 32));
             R(setxattr("f", "trusted.z", "x", 1, 0)));
}

CASE(statfs_calls, "statfs fstatfs ustat") {
    struct statfs s;
    R(statfs(".", &s));
    T(s.f_bsize > 0 && s.f_namelen == 255);
    R(fstatfs(open(".", O_RDONLY), &s));
    R(statfs("none", &s));
    R(fstatfs(99, &s));
    R(statfs(".", BAD));
    R(statfs("/proc", &s));
    say("%lx\n", (long)s.f_type);
    int p[2];
    MUST(pipe(p));
    R(fstatfs(p[0], &s));
    say("%lx\n", (long)s.f_type);
}

CASE(statfs_of_the_root_shows_use, "statfs") {
    struct statfs f;
    R(statfs("/usr", &f));
    T(f.f_blocks > f.f_bfree); // what the image holds is taken
    T(f.f_bfree >= f.f_bavail);
    T(f.f_bavail > 0);
    T(f.f_bsize > 0 && f.f_namelen == 255);
}
