// What `xtask host-calls` has a sandbox do to files of the host: every operation of the gofer, and the sentry's own on files
// that it has from there. The directory to do it in is the only argument.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MUST(call) do { if ((call) < 0) { perror(#call); return 1; } } while (0)

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    MUST(chdir(argv[1]));
    MUST(mkdir("d", 0755));
    int fd = open("d/f", O_RDWR | O_CREAT | O_EXCL, 0644);
    MUST(fd);
    char one[8] = "one", two[8] = "two";
    struct iovec v[2] = {{one, 4}, {two, 4}};
    MUST(writev(fd, v, 2));
    MUST(pwritev(fd, v, 2, 100));
    MUST(preadv(fd, v, 2, 0));
    MUST(lseek(fd, 0, SEEK_SET));
    MUST(readv(fd, v, 2));
    MUST(fsync(fd));
    MUST(fdatasync(fd));
    MUST(ftruncate(fd, 10000));
    MUST(fallocate(fd, 0, 0, 20000));
    struct statvfs fs;
    MUST(fstatvfs(fd, &fs));
    MUST(lseek(fd, 0, SEEK_HOLE));
    char *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return 1;
    at[1] = 'x';
    MUST(msync(at, 4096, MS_SYNC));
    MUST(link("d/f", "d/g"));
    MUST(symlink("f", "d/s"));
    MUST(mkfifo("d/p", 0600));
    MUST(rename("d/g", "d/h"));
    MUST(chmod("d/f", 0600));
    MUST(chown("d/f", 1, 1));
    struct timespec times[2] = {{1, 2}, {3, 4}};
    MUST(utimensat(AT_FDCWD, "d/f", times, 0));
    MUST(truncate("d/h", 5));
    char value[16];
    if (fsetxattr(fd, "user.x", "y", 1, 0) == 0) {
        MUST(fgetxattr(fd, "user.x", value, sizeof value));
        MUST(flistxattr(fd, value, sizeof value));
        MUST(fremovexattr(fd, "user.x"));
    }
    MUST(syncfs(fd));
    for (int i = 0; i < 300; i++) {
        char name[32];
        snprintf(name, sizeof name, "d/%d", i);
        MUST(close(open(name, O_CREAT | O_WRONLY, 0600)));
    }
    DIR *dir = opendir("d");
    if (!dir) return 1;
    MUST(fsync(dirfd(dir)));
    for (int i = 0; i < 10; i++) readdir(dir);
    long here = telldir(dir);
    while (readdir(dir)) {}
    seekdir(dir, here);
    while (readdir(dir)) {}
    rewinddir(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') MUST(unlinkat(dirfd(dir), e->d_name, 0));
    MUST(rmdir("d"));
    return 0;
}
