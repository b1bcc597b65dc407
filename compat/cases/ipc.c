// System V shared memory, semaphores, message queues; POSIX message queues.
#include "case.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#define FAMILY "ipc"

CASE(shm_segments, "shmget shmat shmdt shmctl") {
    int id = OK(shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600));
    char *p = shmat(id, 0, 0);
    T(p != (void *)-1);
    strcpy(p, "shared");
    IN_CHILD(char *q = shmat(id, 0, SHM_RDONLY); say("%s\n", q); q[0] = 1);
    struct shmid_ds d;
    R(shmctl(id, IPC_STAT, &d));
    say("size %zu attached %d mode %o\n", d.shm_segsz, (int)d.shm_nattch, d.shm_perm.mode);
    R(shmctl(id, IPC_RMID, 0));
    say("%s\n", p);
    R(shmdt(p));
    R(shmdt(p));
    R(shmctl(id, IPC_STAT, &d));
    OK(shmat(id, 0, 0));
    R(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600));
    R(shmget(0x7eadbeef, 100, 0));
}

CASE(shm_keys, "shmget shmctl") {
    key_t k = 0x5000000 + getpid();
    int id = OK(shmget(k, 100, IPC_CREAT | IPC_EXCL | 0600));
    R(shmget(k, 100, IPC_CREAT | IPC_EXCL | 0600));
    T(shmget(k, 50, 0) == id);
    R(shmget(k, 5000, 0));
    IN_CHILD(drop_to(1000, 1000); R(shmget(k, 100, 0600)); OK(shmat(id, 0, 0)); R(shmctl(id, IPC_RMID, 0)));
    R(shmctl(id, IPC_RMID, 0));
    R(shmget(k, 100, 0));
}

CASE(semaphores, "semget semop semctl semtimedop") {
    int id = OK(semget(IPC_PRIVATE, 3, IPC_CREAT | 0600));
    unsigned short all[3] = {1, 2, 3};
    R(semctl(id, 0, SETALL, all));
    R(semctl(id, 1, GETVAL));
    struct sembuf down = {1, -2, IPC_NOWAIT}, zero = {1, 0, IPC_NOWAIT}, up = {0, 1, SEM_UNDO};
    R(semop(id, &zero, 1));
    R(semop(id, &down, 1));
    R(semop(id, &zero, 1));
    R(semop(id, &down, 1));
    IN_CHILD(R(semop(id, &up, 1)); R(semctl(id, 0, GETVAL)));
    R(semctl(id, 0, GETVAL));
    struct sembuf wait = {1, -1, 0}, give = {1, 1, 0};
    pid_t c = FORK(_exit(semop(id, &wait, 1)));
    settle(c);
    R(semctl(id, 1, GETNCNT));
    R(semop(id, &give, 1));
    show_wait(c);
    struct timespec t = {0, 5000000};
    R(semtimedop(id, &wait, 1, &t));
    R(semctl(id, 9, GETVAL));
    R(semctl(id, 0, SETVAL, 40000));
    struct sembuf bad = {7, 1, 0};
    R(semop(id, &bad, 1));
    R(semop(id, &give, 0));
    R(semop(id, &give, 1000));
    R(semop(id, BAD, 1));
    c = FORK(_exit(semop(id, &wait, 1) < 0 && errno == EIDRM ? 1 : 2));
    settle(c);
    R(semctl(id, 0, IPC_RMID));
    show_wait(c);
    R(semop(id, &give, 1));
}

struct note {
    long type;
    char text[16];
};
CASE(message_queues, "msgget msgsnd msgrcv msgctl") {
    int id = OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
    struct note a = {2, "two"}, b = {1, "one"}, c = {3, "three"}, r;
    R(msgsnd(id, &a, 4, 0) | msgsnd(id, &b, 4, 0) | msgsnd(id, &c, 6, 0));
    R(msgrcv(id, &r, 16, 1, 0));
    say("%ld %s\n", r.type, r.text);
    R(msgrcv(id, &r, 16, -5, 0));
    say("%ld %s\n", r.type, r.text);
    R(msgrcv(id, &r, 2, 0, 0));
    R(msgrcv(id, &r, 2, 0, MSG_NOERROR));
    R(msgrcv(id, &r, 16, 0, IPC_NOWAIT));
    a.type = 0;
    R(msgsnd(id, &a, 4, 0));
    a.type = 1;
    R(msgsnd(id, &a, -1, 0));
    R(msgsnd(id, &a, 1 << 20, 0));
    R(msgsnd(id, BAD, 4, 0));
    struct msqid_ds d;
    R(msgctl(id, IPC_STAT, &d));
    say("%d\n", (int)d.msg_qnum);
    pid_t p = FORK(_exit(msgrcv(id, &r, 16, 0, 0) < 0 && errno == EIDRM ? 1 : 2));
    settle(p);
    R(msgctl(id, IPC_RMID, 0));
    show_wait(p);
}

CASE(posix_message_queue, "mq_open mq_unlink mq_timedsend mq_timedreceive mq_getsetattr mq_notify") {
    char name[32];
    snprintf(name, sizeof name, "/case-%d", getpid());
    struct mq_attr a = {.mq_maxmsg = 2, .mq_msgsize = 16};
    mqd_t q = OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &a));
    if (q < 0) return;
    R(mq_send(q, "low", 3, 1));
    R(mq_send(q, "high", 4, 9));
    R(mq_send(q, "full", 4, 9));
    char b[32];
    unsigned prio;
    R(mq_receive(q, b, 32, &prio));
    R(prio);
    R(mq_receive(q, b, 8, &prio));
    R(mq_getattr(q, &a));
    say("%ld %ld %ld\n", a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs);
    R(mq_receive(q, b, 32, &prio));
    R(mq_receive(q, b, 32, &prio));
    R(mq_send(q, b, 17, 0));
    R(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
    R(mq_unlink(name));
    R(mq_unlink(name));
}
