// Namespaces: making, naming, entering them.
#include "case.h"
#include <linux/nsfs.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#define FAMILY "namespace"

static const char *host(void) {
    static struct utsname u;
    uname(&u);
    return u.nodename;
}

CASE(uts_namespace_of_a_clone, "clone sethostname uname") {
    char *stack = anon(16);
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("outer", 5));
    int status;
    pid_t p = syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);
    if (p == 0) {
        say("child %s\n", host());
        R(sethostname("inner", 5));
        say("child %s\n", host());
        show_file("/proc/sys/kernel/hostname");
        _exit(0);
    }
    MUST(waitpid(p, &status, 0));
    show_status("child", status);
    say("parent %s\n", host());
    (void)stack;
}

CASE_USER(namespaces_need_rights, "unshare clone setns") {
    R(unshare(CLONE_NEWUTS));
    R(unshare(CLONE_NEWNS));
    R(syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0));
    int fd = MUST(open("/proc/self/ns/uts", O_RDONLY));
    R(setns(fd, 0));
    R(setns(fd, CLONE_NEWNS));
}

CASE(setns_by_file, "setns unshare") {
    int old = MUST(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("fresh", 5));
    int new = MUST(open("/proc/self/ns/uts", O_RDONLY));
    struct stat a, b, c;
    fstat(old, &a), fstat(new, &b);
    T(a.st_ino != b.st_ino);
    T(a.st_dev == b.st_dev);
    R(setns(old, CLONE_NEWNET));
    R(setns(old, CLONE_NEWUTS));
    T(strcmp(host(), "fresh") != 0);
    MUST(stat("/proc/self/ns/uts", &c));
    T(c.st_ino == a.st_ino);
    R(setns(new, 0));
    say("%s\n", host());
    R(setns(0, 0));
    R(setns(77, 0));
    R(sethostname("again", 5));
    MUST(setns(old, 0));
    T(strcmp(host(), "again") != 0);
}

CASE(setns_by_pidfd, "setns pidfd_open") {
    int ready[2], done[2];
    char byte = 0;
    MUST(pipe(ready));
    MUST(pipe(done));
    pid_t p = FORK(MUST(unshare(CLONE_NEWUTS)); MUST(sethostname("theirs", 6)); MUST(write(ready[1], "x", 1)); close(done[1]); if (read(done[0], &byte, 1)) {});
    MUST(read(ready[0], &byte, 1));
    int fd = MUST(syscall(SYS_pidfd_open, p, 0));
    R(setns(fd, 0));
    R(setns(fd, CLONE_FILES));
    R(setns(fd, CLONE_NEWUTS));
    say("%s\n", host());
    close(done[0]);
    close(done[1]);
    show_wait(p);
}

CASE(namespace_files, "openat fstat ioctl readlinkat") {
    const char *names[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "user", "uts"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64], link[64] = "", own[64] = "";
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        int fd = MUST(open(path, O_RDONLY));
        MUST(readlink(path, link, sizeof link - 1));
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        MUST(readlink(path, own, sizeof own - 1));
        struct stat st;
        MUST(fstat(fd, &st));
        char text[64];
        snprintf(text, sizeof text, "[%lu]", st.st_ino);
        say("%.*s same %d number %d mode %o\n", (int)strcspn(link, ":"), link, !strcmp(link, own), strstr(link, text) != 0, st.st_mode);
        say("type %x\n", ioctl(fd, NS_GET_NSTYPE));
        char byte;
        R(read(fd, &byte, 1));
        R(ioctl(fd, 0xb7ff));
        close(fd);
    }
    int uts = MUST(open("/proc/self/ns/uts", O_RDONLY)), user = MUST(open("/proc/self/ns/user", O_RDONLY));
    R(open("/proc/self/ns/uts", O_RDWR));
    R(open("/proc/self/ns/none", O_RDONLY));
    OK(ioctl(uts, NS_GET_USERNS));
    R(ioctl(uts, NS_GET_PARENT));
    uid_t uid = 7;
    R(ioctl(uts, NS_GET_OWNER_UID, &uid));
    R(ioctl(user, NS_GET_OWNER_UID, BAD));
    R(setns(user, 0));
}

CASE(mount_namespace_by_file, "setns unshare mount") {
    MUST(mkdir("m", 0755));
    char here[PATH_MAX];
    MUST(getcwd(here, sizeof here) ? 0 : -1);
    int old = MUST(open("/proc/self/ns/mnt", O_RDONLY));
    MUST(unshare(CLONE_NEWNS));
    MUST(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0));
    MUST(mount("none", "m", "tmpfs", 0, 0));
    put("m/inside", "");
    int new = MUST(open("/proc/self/ns/mnt", O_RDONLY));
    R(setns(old, 0));
    MUST(chdir(here));
    R(access("m/inside", F_OK));
    R(setns(new, CLONE_NEWNS));
    char where[PATH_MAX];
    MUST(getcwd(where, sizeof where) ? 0 : -1);
    say("at %s\n", where);
    MUST(chdir(here));
    R(access("m/inside", F_OK));
    R(umount("m"));
    MUST(setns(old, 0));
    MUST(chdir(here));
}
