// Changes memory and descriptors while other threads have the kernel copy from and to them.
#define _GNU_SOURCE
#include "inside.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char *area;
static struct iovec *vec;
static volatile int stop;
static int p[2], file;

static void *flips(void *a) {
    for (int i = 0; !stop; i++) {
        char *at = area + (i % 16) * 4096;
        switch (i % 4) {
        case 0: munmap(at, 4096); break;
        case 1: mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
        case 2: mprotect(at, 4096, i & 8 ? PROT_NONE : PROT_READ | PROT_WRITE); break;
        default: vec[i % 8].iov_len = i & 16 ? ~0ul >> 1 : 4096; vec[i % 8].iov_base = i & 32 ? (void *)8 : area;
        }
    }
    return a;
}
static void *copies(void *a) {
    struct stat st;
    for (int i = 0; !stop; i++) {
        read(file, area + i % 65536, 8192);
        write(p[1], area + i % 60000, 4096);
        read(p[0], area + i % 50000, 4096);
        readv(file, vec, 8);
        writev(p[1], vec, 8);
        stat(area + i % 65536, &st);
        fstat(file, (struct stat *)(area + i % 65536));
        poll((struct pollfd *)(area + i % 65536), 8, 0);
        lseek(file, 0, SEEK_SET);
    }
    return a;
}
static void *closes(void *a) {
    while (!stop) {
        close(file);
        file = open("/dev/zero", O_RDWR);
        int sv[2];
        if (!socketpair(AF_UNIX, SOCK_STREAM, 0, sv)) close(sv[0]), close(sv[1]);
    }
    return a;
}

int main(void) {
    pid_t child = fork();
    if (child == 0) {
        area = mmap(0, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        vec = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (pipe2(p, O_NONBLOCK)) _exit(77);
        file = open("/dev/zero", O_RDWR);
        pthread_t t[6];
        void *(*all[])(void *) = {flips, flips, copies, copies, copies, closes};
        for (int i = 0; i < 6; i++) pthread_create(&t[i], 0, all[i], 0);
        usleep(1500000);
        _exit(0);
    }
    int st;
    waitpid(child, &st, 0);
    return 0;
}
