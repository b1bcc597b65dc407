// What `xtask posture` runs: two processes, one of them with two threads, and a file of each sort that the sentry keeps
// descriptors for. Says "up" when all is there.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

static void *sleeps(void *a) {
    pause();
    return a;
}

int main(void) {
    pthread_t t;
    if (pthread_create(&t, 0, sleeps, 0)) return 1;
    int memory = memfd_create("guest", 0);
    if (ftruncate(memory, 4096) || mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) == MAP_FAILED) return 2;
    int file = open("/tmp/posture", O_RDWR | O_CREAT, 0600);
    if (write(file, "x", 1) != 1) return 3;
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    if (shmat(id, 0, SHM_RDONLY) == (void *)-1) return 4;
    // The sentry makes its timer when it first needs one.
    usleep(1000);
    if (fork() == 0) pause();
    if (write(1, "up\n", 3) != 3) return 5;
    pause();
    return 0;
}
