// deny WHAT PROGRAM ARGS…: runs a program with fewer rights. WHAT is `user` (uid 1000, no groups) or a list of system
// calls that are to fail with EPERM: unshare, clone (only with namespace flags), seccomp, ptrace.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter prog[64];
static int len;

static void emit(unsigned short code, unsigned char jt, unsigned char jf, unsigned k) {
    prog[len++] = (struct sock_filter){code, jt, jf, k};
}

static void deny(int nr) {
    emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, nr);
    emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM);
}

static void deny_new_namespaces(void) {
    unsigned flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, SYS_clone);
    emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args));
    emit(BPF_JMP | BPF_JSET | BPF_K, 0, 1, flags);
    emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM);
    emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    // clone3 hides its flags in memory: the C library then falls back to clone.
    emit(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_clone3);
    emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    if (!strcmp(argv[1], "user")) {
        if (setgroups(0, 0) || setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)) return 2;
    } else {
        emit(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
        if (strstr(argv[1], "unshare")) deny(SYS_unshare);
        if (strstr(argv[1], "clone")) deny_new_namespaces();
        if (strstr(argv[1], "seccomp")) deny(SYS_seccomp);
        if (strstr(argv[1], "ptrace")) deny(SYS_ptrace);
        emit(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
        struct sock_fprog f = {len, prog};
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &f)) {
            perror("deny");
            return 2;
        }
    }
    execv(argv[2], argv + 2);
    perror("deny: exec");
    return 2;
}
